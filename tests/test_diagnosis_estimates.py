"""Intervals of the diagnosis hold what they are of as often as they say, at a stated false-alarm rate."""

from math import exp, log, sqrt

import numpy as np
import pytest
from laws import SIGMAS
from scipy.special import gammaincinv
from scipy.stats import norm
from test_diagnosis import one_layer

import deeplim as dl
from deeplim.diagnosis.estimates import FEWEST, deviation, spread

RUNS = 10_000
ONE = dl.gram(np.ones((1, 4)))


def standard(draws: np.ndarray) -> np.ndarray:
    """Draws of a law, at mean 0 and standard deviation 1, in runs of one column."""
    return draws[..., None]


def chain(network: dl.MLP, count: int) -> np.ndarray:
    """Log norms of exact ReLU networks in units of their standard deviation, which is known in closed form."""
    drawn = dl.simulate(network, ONE, networks=RUNS * count, seed=31, layers=[network.depth])
    sigma = sqrt(network.depth * one_layer(network.width)[1])
    return standard(drawn.log_norm[:, 0, 0].reshape(RUNS, count) / sigma)


def gaussian(count: int) -> np.ndarray:
    return standard(np.random.default_rng(32).standard_normal((RUNS, count)))


def laplace(count: int) -> np.ndarray:
    return standard(np.random.default_rng(33).laplace(scale=sqrt(1 / 2), size=(RUNS, count)))


def share(intervals: list[tuple[float, float]]) -> float:
    """How many of the intervals hold the true standard deviation, 1."""
    return float(np.mean([low <= 1 <= high for low, high in intervals]))


def of_bonett(runs: np.ndarray) -> list[tuple[float, float]]:
    return [(found.low, found.high) for found in map(deviation, runs)]


def of_chi_square(runs: np.ndarray) -> list[tuple[float, float]]:
    """What is exact for a Gaussian law and for no other."""
    freedom = runs.shape[1] - 1
    tails = [sqrt(freedom / (2 * gammaincinv(freedom / 2, q))) for q in (0.975, 0.025)]
    return [(tails[0] * value, tails[1] * value) for value in runs.std(axis=1, ddof=1)[:, 0]]


@pytest.mark.parametrize("count", [16, 64])
@pytest.mark.parametrize("law", ["gaussian", "deep chain", "shallow chain"])
def test_the_interval_of_a_spread_covers_as_often_as_it_says(law, count):
    # layers of 32 neurons: after one the log norm is skewed (-0.6) and has an excess kurtosis of 0.7
    makes = {
        "gaussian": gaussian,
        "deep chain": lambda n: chain(dl.MLP(width=32, depth=64), n),
        "shallow chain": lambda n: chain(dl.MLP(width=32, depth=1), n),
    }
    held = share(of_bonett(makes[law](count)))
    # the aim is 93% to 97%; beyond that, five standard errors of 10,000 runs
    assert abs(held - 0.95) < 0.02 + SIGMAS * sqrt(0.95 * 0.05 / RUNS)


def test_long_tails_are_seen_where_chi_square_misses_them():
    runs = laplace(32)
    ours, theirs = share(of_bonett(runs)), share(of_chi_square(runs))
    error = SIGMAS * sqrt(0.9 * 0.1 / RUNS)
    assert ours > 0.9 - error
    assert theirs < 0.9 - error  # the control
    assert abs(share(of_chi_square(gaussian(32))) - 0.95) < SIGMAS * sqrt(0.95 * 0.05 / RUNS)


def test_inputs_that_are_one_count_as_one_and_others_as_more():
    runs = gaussian(16)
    same = np.repeat(runs, 5, axis=2)
    assert deviation(same[0]).low == pytest.approx(deviation(runs[0]).low)
    pooled = same.transpose(0, 2, 1).reshape(RUNS, -1, 1)
    # the control: five copies of an input taken for five initializations
    assert share(of_bonett(pooled)) < 0.8
    apart = np.random.default_rng(34).standard_normal((RUNS, 16, 5))
    assert share(of_bonett(apart)) > 0.95 - SIGMAS * sqrt(0.95 * 0.05 / RUNS)
    widths = [np.median([log(high / low) for low, high in of_bonett(each)]) for each in (runs, apart)]
    assert widths[1] < widths[0] / 1.5


def test_the_interval_of_a_spread_is_bonetts_by_hand():
    # as many at 1 as at -1: mean and trimmed mean 0, and a kurtosis of 1
    count, z = 20, norm.ppf(0.975)
    found = deviation(np.repeat([[1.0], [-1.0]], count // 2, axis=0))
    balance = count / (count - z)
    error = balance * sqrt((1 - 17 / 20) / 19)
    assert found.value == pytest.approx(sqrt(20 / 19))
    assert found.low == pytest.approx(sqrt(balance * 20 / 19) * exp(-z * error / 2))
    assert found.high == pytest.approx(sqrt(balance * 20 / 19) * exp(z * error / 2))
    values = np.random.default_rng(35).standard_normal((9, 3))
    first, second = deviation(values), deviation(7 - 3 * values)
    assert (second.low, second.high) == pytest.approx((3 * first.low, 3 * first.high))


def test_a_spread_of_few_or_equal_values_has_no_interval():
    values = np.random.default_rng(36).standard_normal((FEWEST, 2))
    assert not deviation(values).certain
    assert deviation(values[:-1]).certain
    assert deviation(np.ones((9, 2))).certain
    assert np.isnan(deviation(values[:1]).value)
    paths = dl.simulate(dl.MLP(width=32, depth=2), ONE, networks=12, layers=[0, 2])
    assert spread(paths, 0).high == 0 < spread(paths, 1).low
