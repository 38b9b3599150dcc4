"""Comparisons: equal laws differ as rarely as stated, different laws are told apart, and it is said why."""

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from tiers import quick

from deeplim.comparison import Comparison, compare
from deeplim.errors import ClockError, InputError
from deeplim.paths import Clock, Kind, Paths
from deeplim.statistics import Row

MANY = 20_000


def normal_paths(
    samples: int = MANY,
    *,
    seed: int = 0,
    layers: tuple[int, ...] = (0, 10, 20),
    clock: Clock = "layer",
    shift: float = 0.0,
    scale: float = 1.0,
    source: str = "a network",
    kind: Kind = "networks",
) -> Paths:
    """artanh(correlation) and the log norm are normal of variance layer / 20; two inputs."""
    generator = np.random.default_rng(seed)
    spread = np.sqrt(np.array(layers) / 20)
    u = np.arctanh(0.3) + spread * (scale * generator.normal(size=(samples, len(layers))) + shift)
    log_norm = spread[:, None] * generator.normal(size=(samples, len(layers), 2))
    alive = np.ones(u.shape, dtype=bool)
    time = np.array(layers) / (1.0 if clock == "layer" else 20.0)
    # log(1 - tanh u) = log 2 - log(1 + exp(2u))
    log_gap = np.log(2.0) - np.logaddexp(0.0, 2 * u[..., None])
    return Paths(log_norm, log_gap, alive, time, clock, ("a", "b"), source, 20, 20, kind=kind)


def values_as_norms(values: np.ndarray, *, clock: Clock = "layer", source: str = "a network") -> Paths:
    """One input at one layer, whose log norms are the values."""
    shape = (len(values), 1)
    empty, alive = np.zeros((*shape, 0)), np.ones(shape, dtype=bool)
    return Paths(values[:, None, None], empty, alive, np.array([20.0]), clock, ("a",), source, 20, 20)


def deterministic_paths(*, shift: float = 0.0, clock: Clock = "layer/width") -> Paths:
    log_gap = np.log(0.7) + np.array([[[0.0], [shift], [shift]]])
    return Paths(
        np.zeros((1, 3, 2)),
        log_gap,
        np.ones((1, 3), dtype=bool),
        np.array([0.0, 0.5, 1.0]) * (20 if clock == "layer" else 1),
        clock,
        ("a", "b"),
        "ode limit of a network",
        20,
        20,
        deterministic=True,
        kind="limit",
    )


def kill(paths: Paths, count: int) -> Paths:
    """The same paths with the first samples dead from the second layer on."""
    alive = paths.alive.copy()
    alive[:count, 1:] = False
    gone = ~alive[..., None]
    return replace(
        paths,
        alive=alive,
        log_norm=np.where(gone, np.nan, paths.log_norm),
        log_gap=np.where(gone, np.nan, paths.log_gap),
    )


def align(paths: Paths, count: int) -> Paths:
    """The same paths with the pair of the first samples exactly parallel from the second layer on."""
    log_gap = paths.log_gap.copy()
    log_gap[:count, 1:] = -np.inf
    return replace(paths, log_gap=log_gap)


def find(comparison: Comparison, observable: str, statistic: str, time: float = 20.0) -> Row:
    place = (observable, statistic, time)
    [row] = [row for row in comparison.rows if (row.observable, row.statistic, row.time) == place]
    return row


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


def read_json(comparison: Comparison) -> dict:
    read = json.loads(comparison.to_json(), parse_constant=refuse)
    assert read == comparison.to_dict()
    return read


# Equal laws


def alarms(law: Callable[[np.random.Generator, int], np.ndarray], sizes: tuple[int, int], rate: float) -> int:
    """How many of 300 comparisons of equal laws say that they differ."""
    generator = np.random.default_rng(11)
    count = 0
    for _ in range(300):
        one, other = (values_as_norms(law(generator, size)) for size in sizes)
        count += compare(one, other, false_alarm=rate, bootstrap=0).differ
    return count


LAWS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "normal": lambda generator, size: generator.normal(size=size),
    "log-normal": lambda generator, size: np.exp(generator.normal(size=size)),
    "rare": lambda generator, size: (generator.random(size) < 0.02) + 0.01 * generator.normal(size=size),
    "two values": lambda generator, size: np.tanh(30 * generator.normal(size=size)),
}


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("sizes", quick((60, 1500), of=[(200, 200), (60, 1500)]))
def test_equal_laws_differ_no_more_often_than_stated(law: str, sizes: tuple[int, int]) -> None:
    # More alarms than this have probability 1e-6 when each has probability 0.05, for each of the eight cases
    assert alarms(LAWS[law], sizes, rate=0.05) <= stats.binom.isf(1e-6, 300, 0.05)


def test_the_count_of_alarms_would_see_a_rate_that_is_too_high() -> None:
    def drifting(generator: np.random.Generator, size: int) -> np.ndarray:
        return generator.normal(0.25 * generator.choice([-1, 1]), size=size)

    assert alarms(drifting, (200, 200), rate=0.05) > stats.binom.isf(1e-6, 300, 0.05)


def test_equal_laws_of_pairs_agree_and_say_what_would_have_been_seen() -> None:
    comparison = compare(normal_paths(seed=1), normal_paths(seed=2))
    assert comparison.verdict == "agree"
    assert not comparison.differ
    assert comparison.tests == 3 * 3 * 2
    assert {row.time for row in comparison.rows} == {10.0, 20.0}
    z = stats.norm.isf(1e-3 / 18 / 2) + stats.norm.isf(0.1)
    assert comparison.detectable_shift == pytest.approx(z * np.sqrt(2 / MANY), rel=0.01)
    assert comparison.samples_needed == pytest.approx(2 * (z / 0.2) ** 2, rel=0.02)
    assert f"{comparison.detectable_shift:.2g} standard deviations" in comparison.sentence


# Different laws


def test_a_spread_ten_percent_too_wide_is_found() -> None:
    comparison = compare(normal_paths(seed=1, scale=1.1), normal_paths(seed=2))
    assert comparison.verdict == "differ"
    assert comparison.worst is not None
    assert comparison.worst.statistic == "std"
    assert "standard deviation" in comparison.sentence
    assert "Significant but small" in comparison.sentence
    assert find(comparison, "log_correlation_gap", "std").effect == pytest.approx(0.1, abs=0.03)


def test_a_variance_ten_percent_too_large_is_found() -> None:
    # sd 4.9% too large: 0.049 sqrt(MANY) = 6.9 standard errors, twice the 4.4 that 9 tests ask of two samples
    one, other = np.random.default_rng(5).normal(size=(2, MANY))
    assert compare(values_as_norms(np.sqrt(1.1) * one), values_as_norms(other)).differ
    assert not compare(values_as_norms(one), values_as_norms(other)).differ


def test_a_shift_of_a_tenth_of_a_standard_deviation_is_found() -> None:
    comparison = compare(normal_paths(seed=1, shift=0.1), normal_paths(seed=2))
    assert comparison.verdict == "differ"
    assert comparison.worst is not None
    assert comparison.worst.statistic == "mean"
    assert abs(find(comparison, "correlation", "mean").effect or 0) == pytest.approx(0.1, abs=0.04)
    assert "Significant but small" in comparison.sentence


def test_a_large_difference_is_not_called_small() -> None:
    comparison = compare(normal_paths(2000, seed=1, shift=1.0), normal_paths(2000, seed=2))
    assert comparison.differ
    assert "small" not in comparison.sentence


def test_a_law_with_the_same_mean_and_spread_is_found_by_its_shape() -> None:
    generator = np.random.default_rng(3)
    uniform = generator.uniform(-np.sqrt(3), np.sqrt(3), size=MANY)
    comparison = compare(values_as_norms(uniform), values_as_norms(generator.normal(size=MANY)))
    assert comparison.differ
    assert comparison.worst is not None
    assert comparison.worst.statistic == "ks"
    assert "Kolmogorov-Smirnov" in comparison.sentence


# Clocks and times


def test_a_network_is_put_on_the_clock_of_the_limit_on_either_side() -> None:
    network = normal_paths(2000, seed=1)
    limit = normal_paths(2000, seed=2, clock="layer/width", kind="limit")
    for comparison in (compare(network, limit), compare(limit, network)):
        assert comparison.clock == "layer/width"
        assert {row.time for row in comparison.rows} == {0.5, 1.0}
        assert comparison.verdict == "agree"


def test_two_limits_on_different_clocks_are_refused() -> None:
    one, other = normal_paths(20, clock="layer/width"), normal_paths(20, clock="layer/depth")
    with pytest.raises(ClockError, match=r"layer/width .* layer/depth"):
        compare(one, other)
    with pytest.raises(ClockError, match="belong to no one network"):
        compare(replace(normal_paths(20), width=None), one)


def test_no_common_time_names_both_sets_and_the_cure() -> None:
    with pytest.raises(InputError, match=r"10, 20 and .* at 0, 5, 7; pass the same layers="):
        compare(normal_paths(20, layers=(10, 20)), normal_paths(20, layers=(0, 5, 7)))
    with pytest.raises(InputError, match="no time after 0 is common"):
        compare(normal_paths(20, layers=(0,)), normal_paths(20, layers=(0, 1)))


@pytest.mark.parametrize(("last", "times"), [(12, list(range(1, 13))), (40, [5, 10, 15, 20, 25, 30, 35, 40])])
def test_at_most_eight_of_many_times_are_compared_with_the_last(last: int, times: list[int]) -> None:
    layers = tuple(range(last + 1))
    comparison = compare(normal_paths(20, layers=layers), normal_paths(20, seed=1, layers=layers), bootstrap=0)
    found = [tally.time for tally in comparison.counts]
    assert len(found) == len(times)
    np.testing.assert_allclose(found, times, atol=1)
    assert found[-1] == last


@pytest.mark.parametrize("bad", [{"false_alarm": 0.0}, {"false_alarm": 1.0}, {"resolution": 0.0}, {"bootstrap": -1}])
def test_settings_out_of_range_are_refused(bad: dict) -> None:
    with pytest.raises(InputError, match="give"):
        compare(normal_paths(20), normal_paths(20), **bad)


# Too few samples


def test_too_few_samples_are_told_with_the_number_that_would_do() -> None:
    comparison = compare(normal_paths(300, seed=1), normal_paths(300, seed=2))
    assert comparison.verdict == "too few samples"
    needed = comparison.samples_needed
    assert needed is not None
    assert f"{needed:,} samples" in comparison.sentence
    enough = compare(normal_paths(needed + 50, seed=1), normal_paths(needed + 50, seed=2))
    assert enough.verdict == "agree"
    assert enough.detectable_shift == pytest.approx(0.2, rel=0.05)


def test_fewer_than_eight_alive_are_not_compared() -> None:
    comparison = compare(kill(normal_paths(1000), 995), normal_paths(1000, seed=1, kind="limit"))
    assert comparison.verdict == "too few samples"
    assert "fewer than 8 are alive at layer = 10, 20" in comparison.sentence
    assert {row.observable for row in comparison.rows} == {"samples"}
    # at a level of 1e-3 / 18, 2 (z / 0.2)^2 alive a side, of which 5 in 1000 are
    assert comparison.samples_needed == pytest.approx(1412 * 200, rel=0.01)


def test_no_sample_alive_is_told_without_a_number() -> None:
    comparison = compare(kill(normal_paths(1000), 1000), normal_paths(1000, kind="limit"))
    assert comparison.verdict == "too few samples"
    assert comparison.samples_needed is None
    read_json(comparison)


# Deterministic sides and constants


def test_a_deterministic_prediction_is_tested_by_means_and_told_what_it_leaves_out() -> None:
    network = normal_paths(4000)
    limit = deterministic_paths(shift=float(network.log_gap[:, 2].mean()) - np.log(0.7))
    comparison = compare(network, limit)
    assert comparison.tests == 3 * 2
    assert {row.statistic for row in comparison.rows} == {"mean", "std"}
    row = find(comparison, "log_correlation_gap", "mean", 1.0)
    assert row.difference == pytest.approx(0, abs=1e-12)
    assert row.predicted_error == 0.0
    assert not find(comparison, "log_correlation_gap", "std", 1.0).tested
    spread = find(comparison, "log_norm", "std", 1.0).observed
    assert "The prediction is deterministic" in comparison.sentence
    assert f"{spread:.3g} (log norm)" in comparison.sentence


def test_a_deterministic_side_that_is_wrong_differs_whichever_side_it_is() -> None:
    network, limit = normal_paths(4000), deterministic_paths(shift=-2.0)
    for comparison in (compare(network, limit), compare(limit, network)):
        assert comparison.differ
        assert "small" not in comparison.sentence
    assert "The observed side is deterministic" in compare(limit, network).sentence


@pytest.mark.parametrize(("shift", "verdict"), [(0.0, "agree"), (1e-8, "agree"), (1e-4, "differ")])
def test_two_deterministic_sides_agree_to_a_millionth(shift: float, verdict: str) -> None:
    comparison = compare(deterministic_paths(shift=shift), deterministic_paths())
    assert comparison.verdict == verdict
    assert comparison.tests == 0
    assert comparison.detectable_shift is None
    read_json(comparison)


@pytest.mark.parametrize(("shift", "verdict"), [(0.0, "agree"), (1e-12, "agree"), (0.1, "differ")])
def test_constants_on_both_sides_are_compared_as_values(shift: float, verdict: str) -> None:
    one, other = values_as_norms(np.full(20, 0.3)), values_as_norms(np.full(30, 0.3 + shift))
    comparison = compare(one, other)
    assert comparison.verdict == verdict
    assert {row.statistic for row in comparison.rows} == {"value"}
    assert "constant" in comparison.sentence
    read_json(comparison)


def test_a_constant_on_one_side_differs_from_a_spread_around_it() -> None:
    spread = np.random.default_rng(0).normal(size=1000)
    comparison = compare(values_as_norms(spread), values_as_norms(np.full(1000, spread.mean())))
    assert comparison.differ


# Dead and aligned samples


def test_dead_fractions_are_tested_between_networks_and_only_reported_against_a_limit() -> None:
    one, other = normal_paths(4000, seed=1), kill(normal_paths(4000, seed=2), 200)
    comparison = compare(one, other)
    assert comparison.differ
    assert find(comparison, "samples", "dead").predicted == 0.05
    assert comparison.counts[-1].predicted_dead == 200
    assert "200 predicted samples are dead" in comparison.sentence
    against_limit = compare(other, replace(one, kind="limit"))
    assert against_limit.verdict == "agree"
    assert find(against_limit, "samples", "dead").p_value is None


def test_equal_dead_fractions_agree() -> None:
    comparison = compare(kill(normal_paths(4000, seed=1), 200), kill(normal_paths(4000, seed=2), 210))
    assert comparison.verdict == "agree"
    assert find(comparison, "samples", "dead").p_value == pytest.approx(0.65, abs=0.1)


def test_aligned_pairs_are_left_out_of_the_log_gap_and_their_fraction_is_tested() -> None:
    one, other = normal_paths(4000, seed=1), align(normal_paths(4000, seed=2), 100)
    comparison = compare(one, other)
    assert comparison.differ
    row = find(comparison, "samples", "aligned")
    assert row.tested
    assert row.predicted == 0.025
    gap = find(comparison, "log_correlation_gap", "mean")
    assert gap.predicted == pytest.approx(float(other.log_gap[100:, 2].mean()), rel=1e-12)
    assert comparison.counts[-1].predicted_aligned == 100
    assert "100 predicted samples are exactly parallel" in comparison.sentence
    assert find(comparison, "correlation", "mean").predicted is not None


def test_everything_aligned_has_no_log_gap_and_no_warning() -> None:
    one, other = align(normal_paths(200, seed=1), 200), align(normal_paths(200, seed=2), 200)
    comparison = compare(one, other, resolution=2.0)
    assert comparison.verdict == "agree"
    assert "log_correlation_gap" not in {row.observable for row in comparison.rows}
    assert find(comparison, "correlation", "value").observed == 1.0


# What is printed and written


def test_the_table_shows_the_last_time_and_the_verdict() -> None:
    comparison = compare(normal_paths(2000, seed=1), normal_paths(2000, seed=2))
    text = str(comparison)
    lines = text.splitlines()
    assert lines[0] == "observed:  a network"
    assert lines[-1] == comparison.sentence
    table = [line for line in lines if line.startswith("log_norm")]
    assert [line.split()[1] for line in table] == ["20"] * 7
    assert len({line.index("20") for line in table}) == 1
    mean = find(comparison, "log_norm", "mean")
    assert f"{mean.standard_errors:+.2f}" in table[0]


@pytest.mark.parametrize("samples", [0, 1, 5, 9, 150])
def test_json_is_valid_whatever_is_missing(samples: int) -> None:
    one, other = kill(align(normal_paths(200), 20), 10), normal_paths(samples, seed=1)
    read = read_json(compare(one, other, bootstrap=0))
    assert read["verdict"] in ("agree", "differ", "too few samples")
    assert read["sentence"].endswith(".")
    assert read["counts"][0]["predicted_alive"] == samples


def test_the_seed_decides_the_bootstrap_and_nothing_else() -> None:
    one, other = normal_paths(500, seed=1), normal_paths(500, seed=2)
    first, again, another = (compare(one, other, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first != another
    assert first.worst == another.worst
