"""Paths: what they derive from norms and gaps, how samples are lost, and which pairs and times can be picked."""

from dataclasses import FrozenInstanceError, replace
from itertools import combinations
from typing import Any, get_args

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_paths import LAYERS, one_pair, random_paths, with_losses
from refusals import refusal

from deeplim.errors import ClockError
from deeplim.paths import Clock, every

fixed = settings(derandomize=True, deadline=None, database=None, max_examples=60)
CLOCKS = get_args(Clock)


@pytest.mark.parametrize("inputs", [1, 2, 3, 5])
def test_matrices_are_those_of_their_norms_and_gaps(inputs: int) -> None:
    paths = random_paths(inputs=inputs)
    assert (paths.samples, paths.inputs) == (5, inputs)
    assert paths.pairs == list(combinations(range(inputs), 2))
    np.testing.assert_allclose(paths.correlation_gap, np.exp(paths.log_gap), rtol=1e-15)
    for s, k in np.ndindex(5, len(LAYERS)):
        norm = np.exp(paths.log_norm[s, k])
        rho, covariance = paths.correlation[s, k], paths.covariance[s, k]
        np.testing.assert_allclose(covariance.diagonal(), norm, rtol=1e-14)
        np.testing.assert_array_equal(rho.diagonal(), np.ones(inputs))
        for at, (i, j) in enumerate(paths.pairs):
            assert rho[i, j] == rho[j, i] == pytest.approx(1 - np.exp(paths.log_gap[s, k, at]), abs=1e-15)
            assert covariance[i, j] == covariance[j, i] == pytest.approx(rho[i, j] * np.sqrt(norm[i] * norm[j]))
    assert paths.dead.tolist() == paths.exploded.tolist() == paths.aligned.tolist() == [0, 0, 0, 0]


@fixed
@given(st.lists(st.floats(-720, float(np.log(2))), min_size=1, max_size=6))
def test_every_gap_that_a_float_can_hold_is_kept(log_gaps: list[float]) -> None:
    paths = one_pair(*log_gaps)
    for found, log_gap in zip(paths.correlation_gap.ravel(), log_gaps, strict=True):
        assert found == pytest.approx(float(mpmath.exp(log_gap)), rel=1e-12)
    assert (np.abs(paths.correlation) <= 1).all()


def test_an_exactly_parallel_pair_has_gap_zero_and_no_other_has() -> None:
    paths = one_pair(-np.inf, -900.0, -1e300, 0.0)
    gap = paths.correlation_gap.ravel()
    assert gap[0] == 0
    assert (gap[1:3] == np.finfo(float).smallest_subnormal).all()
    assert gap[3] == 1
    assert paths.correlation[0, :, 0, 1].tolist() == [1, 1, 1, 0]
    assert paths.covariance[0, :, 0, 1].tolist() == [1, 1, 1, 0]
    assert paths.aligned.tolist() == [1, 0, 0, 0]


def test_aligned_counts_samples_and_not_pairs() -> None:
    log_gap = random_paths().log_gap.copy()
    log_gap[0, 1:] = -np.inf
    log_gap[3, 2, 1] = -np.inf
    assert random_paths(log_gap=log_gap).aligned.tolist() == [0, 1, 2, 1]
    lost = np.arange(20).reshape(5, 4) != 2
    assert random_paths(log_gap=log_gap, alive=lost).aligned.tolist() == [0, 1, 1, 1]


@pytest.mark.parametrize("log_norm", [-700.0, -80.0, 80.0, 700.0])
def test_norms_within_the_floats_give_a_covariance(log_norm: float) -> None:
    covariance = one_pair(np.log(0.5), log_norm=log_norm).covariance[0, 0]
    np.testing.assert_allclose(covariance, np.exp(log_norm) * np.array([[1, 0.5], [0.5, 1]]), rtol=1e-12)


def test_norms_beyond_the_floats_give_correlations_and_no_covariance() -> None:
    paths = one_pair(np.log(0.5), log_norm=800.0)
    assert paths.correlation[0, 0].tolist() == [[1, 0.5], [0.5, 1]]
    with pytest.raises(OverflowError, match="use log_norm and correlation, which hold it"):
        _ = paths.covariance
    assert one_pair(np.log(0.5), log_norm=-800.0).covariance.tolist() == [[[[0, 0], [0, 0]]]]


def test_a_huge_and_a_tiny_norm_beside_each_other() -> None:
    paths = replace(one_pair(np.log(0.5)), log_norm=np.array([[[700.0, -700.0]]]))
    np.testing.assert_allclose(paths.covariance[0, 0], [[np.exp(700), 0.5], [0.5, np.exp(-700)]], rtol=1e-12)


def test_the_dead_and_the_exploded_are_counted_apart() -> None:
    paths = with_losses()
    assert paths.dead.tolist() == [0, 1, 1, 1]
    assert paths.exploded.tolist() == [0, 0, 2, 2]
    np.testing.assert_array_equal(paths.dead + paths.exploded + paths.alive.sum(axis=0), 5)


def test_a_sample_that_dies_and_explodes_is_counted_once() -> None:
    paths = with_losses()
    log_norm = paths.log_norm.copy()
    log_norm[0, 3] = [np.inf, -np.inf, 0]
    log_norm[1, 3] = np.nan
    paths = replace(paths, log_norm=log_norm)
    assert paths.dead.tolist() == [0, 1, 1, 1]
    assert paths.exploded.tolist() == [0, 0, 2, 2]


def test_what_is_lost_is_nan_and_hides_nothing_else() -> None:
    paths, whole = with_losses(), random_paths()
    for name in ("correlation", "covariance", "correlation_gap"):
        found, expected = getattr(paths, name), getattr(whole, name)
        np.testing.assert_array_equal(found[paths.alive], expected[paths.alive])
        assert np.isnan(found[~paths.alive]).all()
    assert not paths.aligned.any()


@pytest.mark.parametrize("asked", [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)])
def test_a_pair_comes_in_the_order_asked(asked: tuple[int, int]) -> None:
    paths = random_paths()
    pair = paths.pair(*asked)
    assert pair.names == tuple("abc"[i] for i in asked)
    assert (pair.inputs, pair.samples, pair.width, pair.clock) == (2, 5, 200, "layer")
    np.testing.assert_array_equal(pair.log_norm, paths.log_norm[..., list(asked)])
    np.testing.assert_array_equal(pair.covariance, paths.covariance[..., list(asked), :][..., list(asked)])
    np.testing.assert_array_equal(pair.log_gap, paths.pair(*asked[::-1]).log_gap)
    assert paths.pair_index(asked) == paths.pair_index(asked[::-1]) == paths.pairs.index((min(asked), max(asked)))


@pytest.mark.parametrize("asked", [(0, 1), (1, 0), (0, 2), (1, 2), (2, 1)])
def test_a_pair_remembers_why_samples_were_lost(asked: tuple[int, int]) -> None:
    paths = with_losses()
    pair = paths.pair(*asked)
    np.testing.assert_array_equal(pair.alive, paths.alive)
    np.testing.assert_array_equal(pair.dead, paths.dead)
    np.testing.assert_array_equal(pair.exploded, paths.exploded)
    np.testing.assert_array_equal(pair.log_norm[paths.alive], paths.log_norm[..., list(asked)][paths.alive])
    np.testing.assert_array_equal(paths.log_norm, with_losses().log_norm)


@pytest.mark.parametrize("asked", [(0, 0), (0, 3), (-1, 0), (0, 1.0), (0, "1")])
def test_pairs_that_are_none(asked: Any) -> None:
    paths = random_paths()
    said = "does not name two different inputs; use 0 to 2."
    assert said in refusal(lambda: paths.pair(*asked))
    assert said in refusal(lambda: paths.pair_index(asked))
    assert "needs two" in refusal(lambda: random_paths(inputs=1).pair(0, 1))


BAD_SHAPES: dict[str, tuple[dict[str, Any], str]] = {
    "norms of two axes": ({"log_norm": np.zeros((5, 4))}, "log norms of shape (5, 4) were given"),
    "no layer": ({"log_norm": np.zeros((5, 0, 3))}, "at least one layer and one input"),
    "no input": ({"log_norm": np.zeros((5, 4, 0))}, "at least one layer and one input"),
    "too few gaps": ({"log_gap": np.zeros((5, 4, 2))}, "(5, 4, 2)"),
    "gaps of other samples": ({"log_gap": np.zeros((4, 4, 3))}, "(4, 4, 3)"),
    "gaps as a matrix": ({"log_gap": np.zeros((5, 4, 3, 3))}, "(5, 4, 3, 3)"),
    "alive by input": ({"alive": np.ones((5, 4, 3), dtype=bool)}, "(5, 4, 3)"),
    "alive as numbers": ({"alive": np.ones((5, 4))}, "alive is of type float64; give an array of True and False."),
    "too many times": ({"time": np.arange(5.0)}, "(5,)"),
    "times of two axes": ({"time": np.zeros((4, 1))}, "(4, 1)"),
    "too few names": ({"names": ("a", "b")}, "give arrays of one ensemble."),
    "an infinite norm": ({"log_norm": np.full((5, 4, 3), np.inf)}, "mark lost samples with alive = False."),
    "a norm of zero": ({"log_norm": np.full((5, 4, 3), -np.inf)}, "mark lost samples with alive = False."),
    "a gap that is no number": ({"log_gap": np.full((5, 4, 3), np.nan)}, "mark lost samples with alive = False."),
    "an infinite gap": ({"log_gap": np.full((5, 4, 3), np.inf)}, "mark lost samples with alive = False."),
}


@pytest.mark.parametrize("name", BAD_SHAPES)
def test_arrays_that_do_not_belong_together(name: str) -> None:
    changes, said = BAD_SHAPES[name]
    assert said in refusal(lambda: random_paths(**changes))


def test_paths_are_frozen_and_may_hold_no_sample() -> None:
    with pytest.raises(FrozenInstanceError):
        random_paths().width = 3  # type: ignore[misc]
    assert random_paths(samples=0).dead.tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("clock", ["", "Layer", "depth", None])
def test_clocks_that_are_none(clock: Any) -> None:
    said = "is not known; use one of layer, layer/width, layer/depth."
    assert said in refusal(lambda: random_paths(clock=clock), ClockError)
    assert said in refusal(lambda: random_paths().on_clock(clock), ClockError)


@pytest.mark.parametrize(("clock", "unit"), [("layer", 1), ("layer/width", 200), ("layer/depth", 400)])
def test_a_clock_counts_layers_in_units(clock: Clock, unit: int) -> None:
    paths = random_paths().on_clock(clock)
    assert paths.clock == clock
    np.testing.assert_allclose(paths.time, LAYERS / unit, rtol=1e-15)


@pytest.mark.parametrize("first", CLOCKS)
@pytest.mark.parametrize("second", CLOCKS)
def test_every_layer_comes_back_from_every_clock(first: Clock, second: Clock) -> None:
    for width, depth in ((200, 201), (3, 10_000), (999_983, 201)):
        count = min(depth, 1000) + 1
        time = np.arange(count, dtype=float)
        paths = replace(one_pair(*np.zeros(count)), time=time, width=width, depth=depth)
        np.testing.assert_array_equal(paths.on_clock(first).on_clock(second).on_clock("layer").time, time)


def test_times_between_layers_are_not_rounded_to_layers() -> None:
    paths = replace(one_pair(0.0), time=np.array([0.0125]), clock="layer/width")
    assert paths.on_clock("layer").time.tolist() == [2.5]


@pytest.mark.parametrize("size", ["width", "depth"])
def test_a_clock_that_the_paths_do_not_know(size: str) -> None:
    clock: Clock = "layer/width" if size == "width" else "layer/depth"
    said = f"and belong to no one network, so they cannot be put on {clock}; compare paths on one clock."
    assert said in refusal(lambda: random_paths(**{size: None}).on_clock(clock), ClockError)
    unknown = random_paths(**{size: None, "clock": clock})
    assert unknown.on_clock(clock) is unknown
    assert "cannot be put on" in refusal(lambda: unknown.on_clock("layer"), ClockError)


def test_times_are_picked_by_their_value_and_in_their_order() -> None:
    paths = with_losses()
    some = paths.at([200, 3])
    assert some.time.tolist() == [200, 3]
    np.testing.assert_array_equal(some.log_norm, paths.log_norm[:, [3, 1]])
    np.testing.assert_array_equal(some.log_gap, paths.log_gap[:, [3, 1]])
    np.testing.assert_array_equal(some.dead, paths.dead[[3, 1]])
    assert paths.on_clock("layer/width").at([0.1 * 0.35]).time.tolist() == [0.035]


@pytest.mark.parametrize("time", [1, 3.001, -1, 201, np.nan, np.inf])
def test_times_that_were_not_recorded(time: float) -> None:
    assert "was not recorded; recorded are 0, 3, 7, 200." in refusal(lambda: random_paths().at([0, time]))


def test_many_recorded_times_are_not_all_listed() -> None:
    paths = one_pair(*np.zeros(50))
    assert refusal(lambda: paths.at([0.5])).endswith("recorded are 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 38 more.")
    assert "give at least one of the recorded times" in refusal(lambda: paths.at([]))


def test_xarray_has_the_arrays_with_labels() -> None:
    paths = with_losses()
    labelled = paths.to_xarray()
    assert dict(labelled.sizes) == {"sample": 5, "layer": 4, "input": 3, "pair": 3}
    assert labelled["pair"].values.tolist() == ["a, b", "a, c", "b, c"]
    assert labelled["input"].values.tolist() == ["a", "b", "c"]
    assert labelled.attrs == {"clock": "layer", "source": "random numbers", "width": 200, "depth": 400}
    np.testing.assert_array_equal(labelled["log_norm"].sel(layer=7, input="c"), paths.log_norm[:, 2, 2])
    np.testing.assert_array_equal(labelled["log_gap"].sel(pair="b, c"), paths.log_gap[..., 2])
    np.testing.assert_array_equal(labelled["correlation"].sel(pair="a, c"), paths.correlation[..., 0, 2])
    np.testing.assert_array_equal(labelled["alive"], paths.alive)


def test_xarray_of_one_input_and_no_known_size() -> None:
    labelled = random_paths(inputs=1, width=None, depth=None).to_xarray()
    assert labelled.sizes["pair"] == 0
    assert set(labelled.attrs) == {"clock", "source"}


@pytest.mark.parametrize("columns", [0, 1, 2, 3, 16, 17, 40])
@pytest.mark.parametrize("false", [0.0, 0.02, 1.0])
def test_every_is_numpys_all_along_the_last_axis(columns: int, false: float) -> None:
    truth = np.random.default_rng(columns).random((30, 4, columns)) >= false
    found = every(truth)
    assert found.dtype == bool
    np.testing.assert_array_equal(found, truth.all(axis=2))
