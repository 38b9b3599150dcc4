"""Summaries: merging chunks is summarising the whole, and nothing that is dropped goes uncounted."""

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeplim.bins import BINS
from deeplim.errors import ClockError, InputError
from deeplim.observables import OBSERVABLES
from deeplim.paths import Paths
from deeplim.summary import QUANTILES, Moments, Summary, describe

SUMS = ("count", "mean", "m2", "m3", "m4", "low", "high")


def make_paths(
    samples: int = 400, *, seed: int = 0, inputs: int = 2, dead: float = 0.1, parallel: float = 0.1
) -> Paths:
    """Three layers: every sample alike; random; random with dead samples and exactly parallel pairs."""
    generator = np.random.default_rng(seed)
    pairs = inputs * (inputs - 1) // 2
    log_norm = generator.normal(size=(samples, 3, inputs)) * np.array([0.0, 1.0, 3.0])[:, None] + 0.1
    log_gap = np.minimum(generator.normal(size=(samples, 3, pairs)) * np.array([0, 1, 40])[:, None] - 1.0, 0.69)
    log_gap[generator.random(samples) < parallel, 2] = -np.inf
    alive = np.ones((samples, 3), dtype=bool)
    alive[:, 2] = generator.random(samples) >= dead
    log_norm[~alive], log_gap[~alive] = np.nan, np.nan
    names = tuple(f"input {i}" for i in range(inputs))
    return Paths(log_norm, log_gap, alive, np.array([0.0, 5.0, 10.0]), "layer", names, "by hand", 10, 10)


def part(paths: Paths, start: int, stop: int) -> Paths:
    chosen = slice(start, stop)
    return replace(paths, log_norm=paths.log_norm[chosen], log_gap=paths.log_gap[chosen], alive=paths.alive[chosen])


def assert_same(merged: Summary, whole: Summary) -> None:
    assert merged.samples == whole.samples
    np.testing.assert_array_equal(merged.dead, whole.dead)
    np.testing.assert_array_equal(merged.aligned, whole.aligned)
    for name in whole.moments:
        np.testing.assert_array_equal(merged.histograms[name], whole.histograms[name])
        one, other = merged.moments[name], whole.moments[name]
        for field in ("count", "low", "high"):
            np.testing.assert_array_equal(getattr(one, field), getattr(other, field))
        spread = np.sqrt(other.m2 / np.maximum(other.count, 1))
        for power, field in enumerate(("mean", "m2", "m3", "m4"), start=1):
            scale = np.abs(getattr(other, field)) + np.maximum(other.count, 1) * spread**power
            assert (np.abs(getattr(one, field) - getattr(other, field)) <= 1e-11 * scale).all()


def test_moments_of_four_numbers() -> None:
    moments = Moments.of(np.array([[1.0], [2.0], [3.0], [4.0], [np.nan], [-np.inf]]))
    assert [float(getattr(moments, field)[0]) for field in SUMS] == [4, 2.5, 5, 0, 10.25, 1, 4]
    assert moments.std[0] == pytest.approx(np.sqrt(5 / 3))


def test_a_constant_has_exactly_its_value_and_no_spread_also_after_merging() -> None:
    constant = np.full((1000, 1), 0.1)
    merged = Moments.of(constant).merge(Moments.of(constant[:7]))
    assert merged.mean[0] == 0.1
    assert merged.std[0] == merged.std_error[0] == merged.standard_error[0] == 0.0


def test_errors_of_a_normal_sample_are_those_of_theory() -> None:
    # The standard error of s is s / sqrt(2 N), itself known to about 1.3 / sqrt(N) relatively: 5 of those
    count = 40_000
    moments = Moments.of(np.random.default_rng(4).normal(2.0, 3.0, size=(count, 1)))
    assert moments.standard_error[0] == pytest.approx(3 / np.sqrt(count), rel=0.02)
    assert moments.std_error[0] == pytest.approx(3 / np.sqrt(2 * count), rel=0.035)
    assert abs(moments.mean[0] - 2) < 5 * moments.standard_error[0]
    assert abs(moments.std[0] - 3) < 5 * moments.std_error[0]


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(0, 300), max_size=5), inputs=st.integers(1, 3), seed=st.integers(0, 1000))
def test_merging_any_chunks_is_summarising_the_whole(cuts: list[int], inputs: int, seed: int) -> None:
    paths = make_paths(300, seed=seed, inputs=inputs)
    edges = [0, *sorted(cuts), 300]  # chunks may be empty
    chunks = [Summary.of(part(paths, a, b)) for a, b in pairwise(edges)]
    left = chunks[0]
    for chunk in chunks[1:]:
        left = left.merge(chunk)
    right = chunks[-1]
    for chunk in reversed(chunks[:-1]):
        right = chunk.merge(right)
    whole = Summary.of(paths)
    assert_same(left, whole)
    assert_same(right, whole)


def bin_width(name: str, value: float) -> float:
    """What the docstring of Summary states."""
    widths = {
        "correlation": 2 / BINS,
        "angle": np.pi / BINS,
        "log_correlation_gap": 0.0033 * np.hypot(1, value),
        "log_norm": 0.0062 * np.hypot(1, value),
    }
    if name == "correlation_gap":
        return float(value * np.expm1(1.01 * 0.0033 * np.hypot(1, np.log(value))))
    return float(widths[name])


@pytest.mark.parametrize("name", OBSERVABLES)
@pytest.mark.parametrize("q", [0.0, 0.01, 0.05, 0.37, 0.5, 0.95, 1.0])
def test_quantiles_are_within_a_bin_of_the_order_statistic(name: str, q: float) -> None:
    paths = make_paths(3000, parallel=0.0)
    values = OBSERVABLES[name].values(paths, (0, 1))
    quantile = Summary.of(paths).quantile(name, q)
    for layer in range(3):
        column = np.sort(values[:, layer][np.isfinite(values[:, layer])])
        exact = column[max(int(np.ceil(q * len(column))) - 1, 0)]
        assert abs(quantile[layer] - exact) <= bin_width(name, exact) + 1e-15


def test_log_gaps_of_minus_1_and_minus_800_are_both_resolved() -> None:
    paths = make_paths(100, dead=0.0, parallel=0.0)
    paths = replace(paths, log_gap=np.where(np.arange(100)[:, None, None] < 50, -1.0, -800.0) * np.ones((100, 3, 1)))
    summary = Summary.of(paths)
    assert summary.quantile("log_correlation_gap", 0.25)[1] == pytest.approx(-800, rel=0.004)
    assert summary.quantile("log_correlation_gap", 0.75)[1] == pytest.approx(-1, abs=0.005)


def test_values_beyond_the_edges_are_put_at_the_extremes() -> None:
    paths = make_paths(10, dead=0.0, parallel=0.0)
    paths = replace(paths, log_norm=np.full((10, 3, 2), -3e5))
    assert Summary.of(paths).quantile("log_norm", 0.5)[0] == -3e5


def test_description_is_that_of_numpy() -> None:
    paths = make_paths(500)
    described = describe(paths)
    for name, observable in OBSERVABLES.items():
        values = observable.values(paths, (0, 1))
        for layer in range(3):
            column = values[:, layer][np.isfinite(values[:, layer])]
            assert described[name]["count"][layer] == len(column)
            assert described[name]["mean"][layer] == pytest.approx(np.mean(column), rel=1e-12)
            assert described[name]["std"][layer] == pytest.approx(np.std(column, ddof=1), rel=1e-12, abs=1e-14)
            for q in QUANTILES:
                assert described[name]["quantiles"][str(q)][layer] == np.quantile(column, q)


def test_summary_and_description_have_one_layout_and_one_set_of_moments() -> None:
    paths = make_paths(500, inputs=3)
    described, summarised = describe(paths, (0, 2)), Summary.of(paths, (0, 2)).to_dict()
    assert list(described) == list(summarised) == [*OBSERVABLES, "dead", "exploded", "aligned"]
    assert described["dead"] == summarised["dead"] == paths.dead.tolist()
    for name in OBSERVABLES:
        assert list(described[name]) == list(summarised[name]) == ["count", "mean", "std", "quantiles"]
        assert list(described[name]["quantiles"]) == ["0.05", "0.5", "0.95"]
        assert described[name]["count"] == summarised[name]["count"]
        for key in ("mean", "std"):
            assert described[name][key] == pytest.approx(summarised[name][key], rel=1e-12, abs=1e-14)


def test_dead_samples_are_counted_and_parallel_pairs_have_no_log_gap() -> None:
    paths = make_paths(1000)
    summary = Summary.of(paths)
    dead, aligned = int(summary.dead[2]), int(summary.aligned[2])
    assert dead > 50
    assert aligned > 50
    assert summary.aligned.tolist() == paths.aligned.tolist()
    assert summary.moments["correlation"].count.tolist() == [1000, 1000, 1000 - dead]
    assert summary.moments["log_correlation_gap"].count.tolist() == [1000, 1000, 1000 - dead - aligned]
    assert np.isfinite(summary.mean("log_correlation_gap")).all()
    assert summary.quantile("correlation_gap", 0.0)[2] == 0.0
    assert (summary.histograms["correlation"].sum(axis=1) == summary.moments["correlation"].count).all()


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


@pytest.mark.parametrize("samples", [0, 1, 5])
@pytest.mark.parametrize("dead", [0.0, 1.0])
def test_json_has_null_where_nothing_is_alive_and_never_nan(samples: int, dead: float) -> None:
    paths = make_paths(samples, dead=dead)
    for described in (describe(paths), Summary.of(paths).to_dict()):
        read = json.loads(json.dumps(described, allow_nan=False), parse_constant=refuse)
        assert read == described
        nothing = samples == 0 or dead == 1.0
        assert (read["correlation"]["mean"][2] is None) == nothing
        assert (read["correlation"]["quantiles"]["0.5"][2] is None) == nothing
        assert read["dead"][2] == samples * dead
        if samples == 1:
            assert read["log_norm"]["std"][1] == 0.0


def test_a_single_input_is_summarised_by_its_norm() -> None:
    paths = make_paths(50, inputs=1)
    summary = Summary.of(paths)
    assert list(summary.moments) == ["log_norm"]
    assert summary.names == ("input 0",)
    assert summary.aligned.tolist() == [0, 0, 0]
    assert list(describe(paths)) == ["log_norm", "dead", "exploded", "aligned"]
    assert_same(summary.merge(summary), Summary.of(make_double(paths)))


def make_double(paths: Paths) -> Paths:
    both = [*range(paths.samples)] * 2
    return replace(paths, log_norm=paths.log_norm[both], log_gap=paths.log_gap[both], alive=paths.alive[both])


def test_only_summaries_of_the_same_inputs_times_and_clock_merge() -> None:
    paths = make_paths(20, inputs=3)
    summary = Summary.of(paths)
    with pytest.raises(ClockError, match="layer/width"):
        summary.merge(Summary.of(paths.on_clock("layer/width")))
    with pytest.raises(InputError, match="same layers"):
        summary.merge(Summary.of(paths.at([0.0, 5.0])))
    with pytest.raises(InputError, match="same inputs"):
        summary.merge(Summary.of(paths, (0, 2)))
    assert summary.merge(Summary.of(replace(paths, source="another"))).sources == ("by hand", "another")


def test_unknown_names_and_quantiles_are_refused() -> None:
    summary = Summary.of(make_paths(20))
    with pytest.raises(InputError, match="no observable 'rho'"):
        summary.mean("rho")
    with pytest.raises(InputError, match="from 0 to 1"):
        summary.quantile("angle", 1.5)


def test_errors_of_a_summary_are_those_of_its_moments() -> None:
    summary = Summary.of(make_paths(200))
    np.testing.assert_array_equal(
        summary.standard_error("angle"), summary.std("angle") / np.sqrt(summary.moments["angle"].count)
    )
    np.testing.assert_array_equal(summary.std_error("angle"), summary.moments["angle"].std_error)
