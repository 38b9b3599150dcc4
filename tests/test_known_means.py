"""A true mean is rejected as rarely as is said, however rare the networks that carry it; a wrong one is found."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from tiers import slow

import deeplim as dl
from deeplim.known_means import known_mean_probability, missed
from deeplim.statistics import Sample, mean_test

CORRELATION = (-1.0, 1.0)
TRIALS = 300
MOST_ALARMS = 10  # of 300 at 1%: more has a probability of 3e-4


@pytest.mark.parametrize("share", [0.05, 0.3, 0.9])
@pytest.mark.parametrize("ones", [0, 1, 7, 19, 20])
def test_of_zeros_and_ones_it_is_the_test_of_clopper_and_pearson(ones: int, share: float):
    values = (np.arange(20) < ones).astype(float)
    exact = min(1.0, 2 * min(stats.binom.cdf(ones, 20, share), stats.binom.sf(ones - 1, 20, share)))
    assert known_mean_probability(values, share, (0.0, 1.0)) == pytest.approx(exact, rel=0.1)


@pytest.mark.parametrize("mean", [-0.2, 0.0, 0.35, 0.6])
def test_it_is_the_probability_of_weighted_means_with_uniform_spacings(mean: float):
    values = np.tanh(np.random.default_rng(3).normal(0.2, 0.6, 12))
    weights = np.random.default_rng(4).dirichlet(np.ones(13), 400_000)
    below = np.mean(weights @ np.append(values, -1.0) <= mean)
    above = np.mean(weights @ np.append(values, 1.0) >= mean)
    assert known_mean_probability(values, mean, CORRELATION) == pytest.approx(min(1, 2 * min(below, above)), rel=0.05)


def test_small_probabilities_keep_falling():
    values = np.random.default_rng(5).normal(0.0, 0.1, 1000)
    found = [known_mean_probability(values, mean, CORRELATION) for mean in (0.02, 0.05, 0.1, 0.3)]
    assert np.diff(np.log(found)).max() < -2
    assert 0 < found[-1] < 1e-50
    assert known_mean_probability(values, 1.5, CORRELATION) == 0.0
    assert known_mean_probability(np.ones(9), 1.0) == 1.0
    assert known_mean_probability(np.ones(9), 1.1) == 0.0


def test_what_a_sample_may_have_missed_falls_with_its_size():
    values = np.random.default_rng(6).uniform(-0.5, 0.5, 999)
    assert missed(values, CORRELATION) == pytest.approx(1.0e-3, rel=0.05)
    assert missed(values[:99]) == pytest.approx((0.5 + 2 * 0.29) / 100, rel=0.1)


def chunk(paths: dl.Paths, index: int, size: int) -> dl.Paths:
    part = slice(index * size, (index + 1) * size)
    return replace(paths, log_norm=paths.log_norm[part], log_gap=paths.log_gap[part], alive=paths.alive[part])


def stated(many: dl.Paths, shift: float = 0.0) -> dl.Paths:
    """A deterministic law: the mean correlation of many networks, at each layer, plus ``shift`` standard deviations."""
    gap = np.exp(many.log_gap[many.alive.all(axis=1)])
    told = gap.mean(0, keepdims=True) - shift * gap.std(0, keepdims=True)
    return replace(
        many,
        log_norm=many.log_norm[many.alive.all(axis=1)].mean(0, keepdims=True),
        log_gap=np.log(told),
        alive=np.ones((1, gap.shape[1]), dtype=bool),
        deterministic=True,
        kind="limit",
        source="the true mean correlation",
    )


def alarms(few: dl.Paths, truth: dl.Paths, size: int) -> int:
    """How many comparisons reject a correlation at 1%, corrected for its layers."""
    count = 0
    for trial in range(few.samples // size):
        rows = dl.compare(chunk(few, trial, size), truth, bootstrap=0).rows
        found = [row.p_value for row in rows if row.tested and row.observable == "correlation"]
        count += min(found) * len(found) < 0.01
    return count


@pytest.mark.slow
def test_rare_networks_that_carry_the_mean_raise_no_false_alarm():
    network, layers = dl.MLP(width=32, depth=128), [64, 128]
    inputs = dl.gram(correlation=0.3)
    truth = stated(dl.simulate(network, inputs, networks=60_000, seed=1, layers=layers))
    few = dl.simulate(network, inputs, networks=50 * TRIALS, seed=9, layers=layers)
    assert alarms(few, truth, 50) <= MOST_ALARMS
    # The control, which this must differ from: Student's test of the same samples.
    last, known = 1 - np.exp(few.log_gap[:, -1, 0]), 1 - float(np.exp(truth.log_gap[0, -1, 0]))
    student = [stats.ttest_1samp(last[50 * t : 50 * t + 50], known).pvalue < 0.01 for t in range(TRIALS)]
    assert np.mean(student) > 0.2


@pytest.mark.parametrize(
    "network",
    [
        slow(dl.MLP(width=40, depth=80, activation=dl.Elementwise(function="gelu"))),
        dl.MLP(width=16, depth=20),
        dl.ResNet(width=50, depth=50),
        slow(dl.MLP(width=100, depth=100, activation=dl.ShapedReLU())),
    ],
    ids=str,
)
def test_true_means_pass_and_wrong_ones_do_not(network):
    inputs, layers = dl.gram(correlation=0.3), [network.depth]
    many = dl.simulate(network, inputs, networks=60_000, seed=1, layers=layers)
    few = dl.simulate(network, inputs, networks=60 * TRIALS, seed=9, layers=layers)
    assert alarms(few, stated(many), 60) <= MOST_ALARMS
    assert alarms(chunk(few, 0, 400 * 40), stated(many, 0.4), 400) >= 38, "a shift of 0.4 deviations is found"


@pytest.mark.slow
def test_norms_and_log_gaps_raise_no_false_alarm_either():
    network = dl.MLP(width=40, depth=80, activation=dl.Elementwise(function="gelu"))
    paths = dl.simulate(network, dl.gram(correlation=0.3), networks=40_000, seed=3, layers=[80])
    for values in (paths.log_norm[:, 0, 0], paths.log_gap[:, 0, 0]):
        values = values[paths.alive[:, 0] & np.isfinite(values)]
        mean = Sample.of(np.array([values.mean()]), known=True)
        found = [mean_test(Sample.of(part), mean)[1] for part in np.split(values[:15_000], TRIALS)]
        assert sum(p < 0.01 for p in found) <= MOST_ALARMS


def test_a_flat_sample_of_correlations_may_have_missed_what_carries_the_mean():
    some = dl.simulate(dl.MLP(width=50, depth=3), dl.gram(correlation=0.3), networks=20, layers=[3])
    flat = replace(some, log_gap=np.full((20, 1, 1), -40.0))
    truth = replace(stated(flat), log_gap=np.full((1, 1, 1), np.log(1e-3)))
    [row] = [r for r in dl.compare(flat, truth, bootstrap=0).rows if (r.observable, r.tested) == ("correlation", True)]
    assert row.statistic == "mean"
    assert row.p_value > 0.5
