"""The statistics that laws are compared by: sampling errors, distances and p-values, against theory."""

import numpy as np
import pytest
from scipy import stats

from deeplim.statistics import (
    Estimate,
    Sample,
    kolmogorov_smirnov,
    mean_test,
    std_test,
    tail_probability,
    wasserstein,
)

MANY = 20_000


def test_errors_of_quantiles_are_those_of_theory() -> None:
    # sqrt(q (1 - q) / N) / density; the estimated error itself fluctuates by about N^{-1/4}, hence 20%
    sample = Sample.of(np.random.default_rng(8).normal(size=MANY))
    for q in (0.05, 0.5, 0.95):
        exact = stats.norm.ppf(q)
        estimate = sample.quantile(q)
        assert estimate.error == pytest.approx(np.sqrt(q * (1 - q) / MANY) / stats.norm.pdf(exact), rel=0.2)
        assert abs(estimate.value - exact) < 5 * estimate.error


def test_distances_of_a_shift_are_the_shift() -> None:
    grid = (np.arange(1000) + 0.5) / 1000
    one, other = Sample.of(grid), Sample.of(grid + 0.25)
    assert kolmogorov_smirnov(one, other)[0] == pytest.approx(0.25, abs=1.5 / 1000)
    distance = wasserstein(one, other, bootstrap=0, generator=np.random.default_rng(0))
    assert distance.value == pytest.approx(0.25)
    assert np.isnan(distance.error)


def test_the_bootstrap_error_of_a_distance_is_that_of_the_means_when_one_law_is_all_to_the_right() -> None:
    # then int |F_a - F_b| is the difference of the means, with variance 2 / N; 400 resamples know it to 3.5%
    one, other = np.random.default_rng(6).normal(size=(2, 2000))
    distance = wasserstein(Sample.of(one), Sample.of(other + 20), bootstrap=400, generator=np.random.default_rng(0))
    assert distance.value == pytest.approx(20 + other.mean() - one.mean())
    assert distance.error == pytest.approx(np.sqrt(2 / 2000), rel=0.2)


@pytest.mark.parametrize("z", [-6.0, -1.5, 0.3, 2.0, 6.0])
def test_without_skewness_the_p_value_is_that_of_student(z: float) -> None:
    assert tail_probability(Estimate(z, 1.0), 30.0, 0.0) == pytest.approx(2 * stats.t.sf(abs(z), 30), rel=1e-9)


@pytest.mark.parametrize("skewness", [-1.0, -0.1, 0.1, 1.0])
@pytest.mark.parametrize("z", [-4.0, -1.0, 1.0, 4.0])
def test_with_skewness_the_p_value_is_the_larger_of_student_and_pearson(z: float, skewness: float) -> None:
    law = stats.pearson3(skewness)
    pearson = min(1.0, 2 * min(law.sf(z), law.cdf(z)))
    expected = max(pearson, 2 * stats.t.sf(abs(z), 1e6))
    assert tail_probability(Estimate(2 * z, 2.0), 1e6, skewness) == pytest.approx(expected, rel=1e-6)


def test_no_error_gives_no_p_value() -> None:
    assert tail_probability(Estimate(1.0, 0.0), 10.0, 0.0) is None


def test_the_error_of_a_small_sample_includes_the_tail_it_missed() -> None:
    # A sample of 50 zeros against 2,000 values of which 40 are 1: equal laws give that with probability 0.36
    rare = Sample.of((np.arange(2000) < 40).astype(float))
    difference, p = mean_test(Sample.of(np.zeros(50)), rare)
    assert difference.error == pytest.approx(np.sqrt(0.02 * 0.98 * (1 / 50 + 1 / 2000)), rel=0.02)
    assert p is not None
    assert p > 0.3


def test_spreads_of_fewer_than_a_hundred_are_described_and_not_tested() -> None:
    values = np.random.default_rng(0).normal(size=400)
    difference, p = std_test(Sample.of(values[:99]), Sample.of(values[99:]))
    assert p is None
    assert difference.value == pytest.approx(np.std(values[:99], ddof=1) - np.std(values[99:], ddof=1))
    assert std_test(Sample.of(values[:100]), Sample.of(values[100:]))[1] is not None
