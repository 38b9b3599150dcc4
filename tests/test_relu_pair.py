"""ReLU networks of two inputs from their active neurons alone, against all neurons: a slope too small to matter."""

import numpy as np
import pytest
from laws import SIGMAS, z_of_mean, z_of_means, z_of_variances

from deeplim.activations import LeakyReLU, ReLU
from deeplim.architecture import MLP
from deeplim.finite import chain
from deeplim.inputs import gram
from deeplim.paths import Paths

ALL = LeakyReLU(slope=1e-9)
ROUNDING = 1e-6


def _ensemble(activation, width: int, gap: float, seed: int, networks: int = 20_000, depth: int = 3) -> Paths:
    network = MLP(width=width, depth=depth, activation=activation)
    return chain.sample(network, gram(gap=gap), networks=networks, seed=seed, layers=[1, depth])


def _worst(one: Paths, other: Paths) -> float:
    """The largest difference of a mean or variance of log norms, their difference, and log gaps, in standard errors."""
    worst = 0.0
    for layer in range(2):
        a, b = (
            np.column_stack([paths.log_norm[:, layer], np.diff(paths.log_norm[:, layer]), paths.log_gap[:, layer]])
            for paths in (one, other)
        )
        for column in range(a.shape[1]):
            pair = a[:, column], b[:, column]
            if max(values.std() for values in pair) < ROUNDING:
                # Opposite inputs share no active neuron: exactly uncorrelated after one layer.
                assert np.abs(np.concatenate(pair)).max() < ROUNDING
                continue
            worst = max(worst, z_of_means(*pair), z_of_variances(*pair))
    return worst


@pytest.mark.parametrize("gap", [1e-8, 1e-3, 0.7, 1.5, 1.99, 2.0])
@pytest.mark.parametrize("width", [64, 67, 500])
def test_active_neurons_alone_give_the_law_of_all(width: int, gap: float):
    assert _worst(_ensemble(ReLU(), width, gap, 1), _ensemble(ALL, width, gap, 2)) < SIGMAS


@pytest.mark.parametrize("gap", [1e-2, 0.7, 1.5])
@pytest.mark.parametrize("width", [64, 67])
def test_a_layer_has_the_moments_of_the_arc_cosine_kernel(width: int, gap: float):
    paths = _ensemble(ReLU(), width, gap, 11, networks=200_000, depth=2)
    squares = np.exp(paths.log_norm[:, 0])
    product = (1 - np.exp(paths.log_gap[:, 0, 0])) * np.sqrt(squares.prod(axis=1))
    rho = 1 - gap
    kernel = rho + (np.sqrt(1 - rho**2) - rho * np.arccos(rho)) / np.pi
    assert z_of_mean(product, kernel) < SIGMAS
    for square in squares.T:
        assert z_of_mean(square, 1.0) < SIGMAS
        assert z_of_mean((square - 1) ** 2, 5 / width) < SIGMAS
    assert z_of_mean(product, kernel * 1.01) > SIGMAS


@pytest.mark.parametrize("gap", [1e-3, 0.7])
def test_wide_layers_count_their_active_neurons_by_rejection(gap: float):
    found = [_ensemble(phi, 1500, gap, seed, networks=4000) for seed, phi in enumerate((ReLU(), ALL))]
    assert _worst(*found) < SIGMAS


@pytest.mark.parametrize("wrong", [{"activation": LeakyReLU(slope=0.05)}, {"width": 70}, {"gap": 0.75}], ids=str)
def test_another_network_fails_the_same_test(wrong: dict):
    given = {"activation": ReLU(), "width": 64, "gap": 0.7}
    assert _worst(_ensemble(**given, seed=1), _ensemble(**given | wrong, seed=2)) > SIGMAS


def test_a_network_is_the_same_whatever_runs_beside_it():
    whole = _ensemble(ReLU(), 64, 0.7, 5, networks=70)
    part = chain.sample(MLP(width=64, depth=3), gram(gap=0.7), networks=9, first=21, seed=5, layers=[1, 3], threads=2)
    assert np.array_equal(part.log_norm, whole.log_norm[21:30])
    assert np.array_equal(part.log_gap, whole.log_gap[21:30])
