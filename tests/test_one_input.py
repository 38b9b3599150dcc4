"""One input through slopes: K active neurons and two chi-squares, against closed forms and the same drawn by NumPy."""

import numpy as np
import pytest
from laws import SIGMAS, z_of_mean
from scipy import stats

from deeplim.activations import LeakyReLU, ReLU, ShapedReLU
from deeplim.architecture import MLP
from deeplim.finite import chain
from deeplim.inputs import gram

ONE = gram(np.array([[2.0, -1.0, 0.5]]))
COUNT = 100_000
WIDTHS = [1, 2, 5, 31, 32, 100, 1024, 1025, 1_000_000]
ACTIVATIONS = [ReLU(), LeakyReLU(slope=0.3), LeakyReLU(slope=-0.5), ShapedReLU(c_plus=0.5, c_minus=-0.5)]


def _factors(network: MLP, seed: int = 1) -> np.ndarray:
    """V_1 / V_0 of many networks."""
    paths = chain.sample(network, ONE, networks=COUNT, layers=[1], seed=seed)
    return np.exp(paths.log_norm[:, 0, 0] - ONE.log_norm[0])


def _moments(network: MLP, factors: np.ndarray) -> tuple[float, float]:
    """How many standard errors the mean and the variance are from 1 and (3 E s^4 / (E s^2)^2 - 1) / n."""
    squares = np.square(network.slopes)
    variance = (3 * np.mean(squares**2) / np.mean(squares) ** 2 - 1) / network.width
    return z_of_mean(factors, 1.0), z_of_mean((factors - 1) ** 2, variance)


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
@pytest.mark.parametrize("width", WIDTHS)
def test_a_layer_has_the_moments_of_its_sum_over_neurons(width: int, activation):
    network = MLP(width=width, depth=1, activation=activation)
    assert max(_moments(network, _factors(network))) < SIGMAS


def test_another_slope_fails_the_same_test():
    factors = _factors(MLP(width=100, depth=1, activation=LeakyReLU(slope=0.3)))
    assert max(_moments(MLP(width=100, depth=1, activation=LeakyReLU(slope=0.2)), factors)) > SIGMAS


@pytest.mark.parametrize("width", [3, 40, 1025, 200_000])
def test_a_layer_has_the_law_of_numpys_binomial_and_chi_squares(width: int):
    rng = np.random.default_rng(4)
    active = rng.binomial(width, 0.5, COUNT)
    drawn = (rng.standard_gamma(active / 2) + 0.3**2 * rng.standard_gamma((width - active) / 2)) * 4 / width / 1.09
    factors = _factors(MLP(width=width, depth=1, activation=LeakyReLU(slope=0.3)))
    # False alarms: one in a million for each of the four widths.
    assert stats.ks_2samp(factors, drawn).pvalue > 1e-6
    assert stats.ks_2samp(factors, drawn * 1.05).pvalue < 1e-6 or width == 3


def test_layers_are_dead_as_often_as_no_neuron_is_active():
    for width in (1, 4):
        dead = (_factors(MLP(width=width, depth=1)) == 0).mean()
        assert abs(dead - 0.5**width) < SIGMAS * np.sqrt(0.5**width / COUNT)


@pytest.mark.parametrize("width", [6, 2000])
def test_a_network_is_the_same_whatever_runs_beside_it(width: int):
    network = MLP(width=width, depth=20, activation=LeakyReLU(slope=0.3))
    whole = chain.sample(network, ONE, networks=70, seed=5, layers=[0, 3, 20], threads=1)
    part = chain.sample(network, ONE, networks=9, first=21, seed=5, layers=[3, 20], threads=2)
    assert np.array_equal(part.log_norm, whole.log_norm[21:30, 1:])
    assert len(np.unique(whole.log_norm[:, 2])) == 70


def test_layers_of_a_network_are_independent():
    paths = chain.sample(MLP(width=64, depth=2), ONE, networks=COUNT, seed=2)
    first, second = np.diff(paths.log_norm[:, :, 0], axis=1).T
    assert abs(np.corrcoef(first, second)[0, 1]) < SIGMAS / np.sqrt(COUNT)
