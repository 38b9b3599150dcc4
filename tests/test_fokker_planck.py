"""The law of the correlation without sampling: conservation, closed forms, convergence, and the sampled laws."""

import numpy as np
import pytest
from laws import SIGMAS, z_of_mean, z_of_std

from deeplim.activations import LeakyReLU, ShapedReLU
from deeplim.architecture import MLP
from deeplim.errors import InputError
from deeplim.inputs import gram
from deeplim.limits.covariance_sde import CovarianceSDE, sample_correlation
from deeplim.limits.flow import nuhat_flow
from deeplim.limits.fokker_planck import Density, correlation_density

SHAPED = CovarianceSDE(MLP(width=100, depth=100, activation=ShapedReLU(c_plus=0, c_minus=-1)))
LINEAR = CovarianceSDE(MLP(width=100, depth=100, activation=LeakyReLU(slope=1)))
STRONG = CovarianceSDE(MLP(width=100, depth=100, activation=ShapedReLU(c_plus=0, c_minus=-3.5)))
CASES = [(SHAPED, 0.3, 1.0), (LINEAR, 0.3, 0.5), (STRONG, -0.9, 4.0), (STRONG, -0.999, 0.5), (SHAPED, 0.999, 0.01)]


def distribution(density: Density, at: np.ndarray) -> np.ndarray:
    return np.array([1 - density.tail(value) for value in at])


@pytest.mark.parametrize(("limit", "start", "time"), CASES)
def test_no_probability_is_lost_or_negative(limit: CovarianceSDE, start: float, time: float):
    density = correlation_density(limit, start, time)
    assert density.mass.min() >= 0
    assert density.clipped < 1e-12
    assert density.mass.sum() == pytest.approx(1, abs=2e-11)
    assert density.mass[0] + density.mass[-1] < 1e-15, "the ends of the grid are beyond the law"


@pytest.mark.parametrize(("limit", "start", "time"), CASES)
def test_the_error_is_of_second_order_in_the_spacing(limit: CovarianceSDE, start: float, time: float):
    at = np.tanh(np.linspace(-3, 5, 33))
    fine = distribution(correlation_density(limit, start, time, points=32_000), at)
    coarse, half = (
        np.abs(distribution(correlation_density(limit, start, time, points=points), at) - fine).max()
        for points in (1000, 4000)
    )
    assert half < 1e-4
    assert half < coarse / 8 or half < 1e-6, "a quarter of the spacing leaves a sixteenth of the error"


def test_the_published_moments_are_met_to_their_three_digits():
    density = correlation_density(SHAPED, 0.3, 1.0)
    # Published from a simulation, 0.344 and 0.593; without sampling they are 0.3416 and 0.5912.
    assert density.mean == pytest.approx(0.344, abs=0.003)
    assert density.std == pytest.approx(0.593, abs=0.003)


@pytest.mark.parametrize(("limit", "start", "time"), [(SHAPED, 0.3, 1.0), (STRONG, -0.9, 0.5), (LINEAR, 0.8, 2.0)])
def test_both_samplers_have_this_law(limit: CovarianceSDE, start: float, time: float):
    density = correlation_density(limit, start, time)
    layer = round(100 * time)
    network = limit.network.model_copy(update={"depth": max(layer, 1)})
    samples = {
        "correlation": 1 - sample_correlation(limit, start, time=np.array([time]), samples=100_000, seed=1)[:, 0],
        "covariance": type(limit)(network)
        .sample(gram(correlation=start), samples=100_000, seed=2, layers=[layer])
        .correlation[:, 0, 0, 1],
    }
    for rho in samples.values():
        assert z_of_mean(rho, density.mean) < SIGMAS
        assert z_of_std(rho, density.std) < SIGMAS
        for level in (-0.5, 0.0, 0.5, 0.9, 0.99):
            expected = density.tail(level)
            error = np.sqrt(expected * (1 - expected) / len(rho))
            assert abs(np.mean(rho > level) - expected) < SIGMAS * error + 1e-4


def test_a_wrong_law_is_told_apart():
    density = correlation_density(SHAPED, 0.3, 1.0)
    rho = 1 - sample_correlation(SHAPED, 0.32, time=np.array([1.0]), samples=100_000, seed=1)[:, 0]
    assert z_of_mean(rho, density.mean) > SIGMAS


def test_a_short_time_is_a_normal_about_the_flow():
    time = 1e-4
    density = correlation_density(STRONG, 0.2, time)
    gamma = STRONG.parameters["gamma"]
    moved = 1 - nuhat_flow(np.array([0.8]), gamma * time)[0] - 0.2 * (1 - 0.04) / 2 * time
    assert density.mean == pytest.approx(moved, abs=1e-7)
    assert density.std == pytest.approx((1 - 0.04) * np.sqrt(time), rel=1e-3)


def test_quantiles_and_tails_are_inverse():
    density = correlation_density(SHAPED, 0.3, 1.0)
    for q in (1e-6, 0.05, 0.5, 0.95, 1 - 1e-6):
        assert 1 - density.tail(density.quantile(q)) == pytest.approx(q, abs=1e-9)
    assert density.quantile(0.05) < density.quantile(0.5) < density.mean + 1


def test_what_cannot_be_is_refused():
    for words in ((1.0, 1.0), (0.3, 0.0), (-1.0, 1.0)):
        with pytest.raises(InputError, match="give a correlation between -1 and 1"):
            correlation_density(SHAPED, *words)
    with pytest.raises(InputError, match="between 0 and 1"):
        correlation_density(SHAPED, 0.3, 1.0).quantile(1.0)
    with pytest.raises(InputError, match="between -1 and 1"):
        correlation_density(SHAPED, 0.3, 1.0).tail(1.0)
