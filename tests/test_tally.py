"""The fused pass against NumPy: every bin exactly, every moment to rounding, whatever the blocks and threads."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from numba import njit

import deeplim as dl
from deeplim import tally, tally_kernel
from deeplim.bins import BINS, OF
from deeplim.errors import InputError
from deeplim.observables import OBSERVABLES
from deeplim.paths import Paths
from deeplim.simd.lanes import COUNT
from deeplim.summary import Moments, Summary, summarize_blocks
from deeplim.tally import OBSERVED, block_size

FIELDS = ("count", "mean", "m2", "m3", "m4", "low", "high")
TINY = float(np.finfo(float).smallest_subnormal)
COUNTED = [name for name in OBSERVED if name != "correlation_gap"]


def lone_layers(log_norm: np.ndarray, log_gap: np.ndarray) -> Paths:
    """One sample with a layer for each of some log norms and log gaps."""
    norms = np.repeat(log_norm[None, :, None], 2, axis=2)
    alive = np.ones((1, len(log_norm)), dtype=bool)
    times = np.arange(float(len(log_norm)))
    return Paths(norms, log_gap[None, :, None], alive, times, "layer", ("a", "b"), "by hand")


def lossy(samples: int = 700, inputs: int = 3, seed: int = 5) -> Paths:
    """Four layers: all living; then more and more samples dead, exploded or exactly parallel; then none living."""
    rng = np.random.default_rng(seed)
    norms = rng.normal(size=(samples, 4, inputs)) * 20
    gaps = np.minimum(rng.normal(size=(samples, 4, inputs * (inputs - 1) // 2)) * 30 - 20, np.log(2))
    fate = np.where(np.arange(4) == 3, 0.2, 1.0) * rng.random((samples, 1)) * np.where(np.arange(4) == 0, 0, 1) + 0.0
    alive = ~((fate > 0.6) | (np.arange(4) == 3))
    gaps[(rng.random(gaps.shape) < 0.1) & (np.arange(4) > 0)[:, None]] = -np.inf
    norms[..., 1][~alive] = np.where(rng.random((~alive).sum()) < 0.5, np.inf, -np.inf)
    gaps[~alive] = np.nan
    names = tuple("abcdef"[:inputs])
    return Paths(norms, gaps, alive, np.arange(4.0), "layer", names, "by hand")


def assert_identical(one: Summary, other: Summary) -> None:
    for count in ("samples", "dead", "exploded", "aligned", "names", "clock"):
        np.testing.assert_array_equal(getattr(one, count), getattr(other, count))
    assert list(one.moments) == list(other.moments)
    for name in one.moments:
        np.testing.assert_array_equal(one.histograms[name], other.histograms[name])
        for field in FIELDS:
            np.testing.assert_array_equal(getattr(one.moments[name], field), getattr(other.moments[name], field))


def counts_of(name: str, values: np.ndarray) -> np.ndarray:
    """The kernel's counts of any values in the bins of an observable."""
    count = tally_kernel._count

    @njit
    def run(values, samples, smallest, low, per_unit, curved, room, single, row):
        count(values, samples, smallest, low, per_unit, curved, room, single, row)

    bins, samples = OF[name], len(values)
    padded = np.zeros(-(-samples // 16) * 16)
    padded[:samples] = values
    row = np.zeros(BINS + 2, dtype=np.int64)
    room, single = np.empty_like(padded), np.empty(16, np.float32)
    run(padded, samples, bins.smallest, bins.low, bins.per_unit, bins.curved, room, single, row)
    return row


def hard_values(name: str) -> np.ndarray:
    """Every edge, its neighbours among the floats, what lies beyond the ends, and zeros of both signs."""
    edges = OF[name].smallest[1:-1]
    ends = np.array([0.0, -0.0, TINY, -TINY, 1e-300, 1e5, -1e5, 1e6, -1e6, 1e150, -1e150, 1.7e308, -1.7e308])
    near = [edges, np.nextafter(edges, -np.inf), np.nextafter(edges, np.inf), (edges[1:] + edges[:-1]) / 2]
    return np.concatenate([*near, ends])


@pytest.mark.parametrize("name", COUNTED)
def test_every_value_falls_in_the_bin_of_its_edges(name):
    values = hard_values(name)
    expected = np.searchsorted(OF[name].smallest, values, side="right") - 1
    np.testing.assert_array_equal(counts_of(name, values), np.bincount(expected, minlength=BINS + 2))
    one_off = np.bincount(np.searchsorted(OF[name].smallest, values, side="left") - 1, minlength=BINS + 2)
    assert (counts_of(name, values) != one_off).any()


@pytest.mark.parametrize("name", COUNTED)
def test_edges_are_those_of_equal_widths_in_the_coordinate(name):
    bins = OF[name]
    coordinates = np.linspace(bins.low, bins.high, 7 * BINS)[1:-1]
    forward = np.arcsinh if bins.curved else np.positive
    place = (forward(bins.inverse(coordinates)) - bins.low) / (bins.high - bins.low) * BINS
    inside = np.abs(place - np.round(place)) > 1e-6
    found = np.searchsorted(bins.smallest, bins.inverse(coordinates), side="right") - 1
    np.testing.assert_array_equal(found[inside], np.floor(place[inside]).astype(int) + 1)
    assert inside.sum() > 6 * BINS


def test_an_outermost_value_is_counted_inside_and_what_is_beyond_outside():
    for name in COUNTED:
        low, high = OF[name].smallest[1], OF[name].inverse(np.array([OF[name].high]))[0]
        row = counts_of(name, np.array([low, high, np.nextafter(low, -np.inf), np.nextafter(high, np.inf)]))
        assert [row[0], row[1], row[BINS], row[BINS + 1]] == [1, 1, 1, 1]


def test_observables_of_one_sample_are_those_of_numpy_to_rounding():
    gaps = np.array([np.log(2), 0.1, 0.0, -1e-9, -0.5, -20, -700, -708, -744, -746, -1000, -1480, -1e5, -3e5, -np.inf])
    norms = np.array([0.0, -0.0, 1e-300, 1.5, -1.5, 300, -300, 7e4, 1e5, 2e5, -2e5, 1e300, -1e300, TINY, -1.0])
    paths = lone_layers(norms, gaps)
    summary = Summary.of(paths)
    for name, observable in OBSERVABLES.items():
        values = observable.values(paths, (0, 1))[0]
        finite = np.isfinite(values)
        moments = summary.moments[name]
        np.testing.assert_array_equal(moments.count, finite)
        atol = 2e-16 if name == "correlation" else 2 * TINY  # 1 - (1 - 1e-9) has lost nine digits
        for field in ("mean", "low", "high"):
            found = getattr(moments, field)[finite]
            np.testing.assert_allclose(found, values[finite], rtol=1e-15, atol=atol, err_msg=name)
        assert (moments.m2 == 0).all()
        assert (moments.m4 == 0).all()
        place = np.searchsorted(OF[name].smallest, values[finite], side="right") - 1
        near = np.abs(np.argmax(summary.histograms[name][finite], axis=1) - place)
        # A gap is binned by its log, of which one that is not a normal float keeps few digits.
        assert (near[values[finite] > 1e-306] == 0).all() if name == "correlation_gap" else (near == 0).all()


@pytest.mark.parametrize("inputs", [1, 2, 3])
@pytest.mark.parametrize("samples", [1, 15, 16, 17, 700])
def test_lossy_paths_are_summarised_as_numpy_does(samples, inputs):
    paths = lossy(samples, max(inputs, 2))
    if inputs == 1:
        gone = np.where(paths.alive, paths.log_norm[..., 1], paths.log_norm[..., 1])[..., None]
        paths = replace(paths, log_norm=gone, log_gap=paths.log_gap[..., :0], names=("a",))
    pair = (inputs - 1, 0)
    summary = Summary.of(paths, pair)
    assert summary.samples == samples
    np.testing.assert_array_equal(summary.dead, paths.dead)
    np.testing.assert_array_equal(summary.exploded, paths.exploded)
    for name in summary.moments:
        values = OBSERVABLES[name].values(paths, pair)
        expected, found = Moments.of(values), summary.moments[name]
        np.testing.assert_array_equal(found.count, expected.count)
        spread = np.sqrt(expected.m2 / np.maximum(expected.count, 1))
        for field in ("low", "high"):
            np.testing.assert_allclose(getattr(found, field), getattr(expected, field), rtol=1e-14)
        for power, field in enumerate(("mean", "m2", "m3", "m4"), start=1):
            scale = np.abs(getattr(expected, field)) + np.maximum(expected.count, 1) * spread**power
            assert (np.abs(getattr(found, field) - getattr(expected, field)) <= 1e-13 * scale).all()
        np.testing.assert_array_equal(summary.histograms[name].sum(axis=1), expected.count)
    if inputs > 1:
        parallel = np.isneginf(OBSERVABLES["log_correlation_gap"].values(paths, pair)).sum(axis=0)
        np.testing.assert_array_equal(summary.aligned, parallel)
        assert (summary.histograms["correlation_gap"][:, 0] >= parallel).all()


def test_the_kernel_knows_every_observable_in_order():
    assert tuple(OBSERVABLES) == OBSERVED == tuple(OF)
    assert tally.LANES == COUNT


def test_arrays_in_another_order_in_memory_are_summarised_alike():
    paths = lossy()
    turned = {name: np.asfortranarray(getattr(paths, name)) for name in ("log_norm", "log_gap", "alive")}
    assert_identical(Summary.of(replace(paths, **turned), (0, 2)), Summary.of(paths, (0, 2)))


@pytest.mark.parametrize("network", [dl.MLP(width=4, depth=12), dl.ResNet(width=6, depth=5)], ids=["dying", "resnet"])
def test_a_run_and_its_paths_have_one_summary_whatever_the_threads(network):
    inputs = dl.gram(np.eye(3) + 0.4)
    options = {"networks": 3001, "seed": 4}
    whole = Summary.of(dl.simulate(network, inputs, **options), (2, 0))
    for threads in (1, 2, 5):
        assert_identical(dl.summarize(network, inputs, pair=(2, 0), threads=threads, **options), whole)


def test_progress_counts_every_network():
    seen = []
    dl.summarize(dl.MLP(width=4, depth=3), dl.gram(correlation=0.1), networks=1234, progress=seen.append)
    assert sum(seen) == 1234


@pytest.mark.parametrize("layers", [1, 21, 50, 1000])
@pytest.mark.parametrize("inputs", [1, 2, 10, 300])
def test_blocks_are_whole_lanes_fit_in_cache_and_leave_work_for_many_threads(layers, inputs):
    for samples in (1, 100, 10_000, 10**9):
        size = block_size(samples, layers, inputs)
        assert size % 16 == 0
        assert size == 16 or 8 * size * layers * inputs * (inputs + 1) // 2 <= 2**20
        assert size == 16 or samples / size >= 32


def peak_memory(run) -> int:
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_number_of_networks(monkeypatch):
    monkeypatch.setattr(tally, "_MOST", 64)
    options = {"network": dl.MLP(width=2, depth=4), "inputs": dl.gram(correlation=0.1), "threads": 1}
    dl.summarize(networks=1000, **options)  # what is loaded on first use
    few, many = (peak_memory(lambda n=n: dl.summarize(networks=n, **options)) for n in (5_000, 20_000))
    assert many < 1.1 * few
    few, many = (peak_memory(lambda n=n: dl.simulate(networks=n, **options)) for n in (5_000, 20_000))
    assert many > 2 * few


def test_a_block_is_drawn_only_when_a_thread_is_free_for_it():
    paths = lossy(4000)
    drawn, received = [], []

    def draw(begin: int, end: int) -> Paths:
        drawn.append(begin)
        assert len(drawn) - len(received) <= 12
        return replace(
            paths, log_norm=paths.log_norm[begin:end], log_gap=paths.log_gap[begin:end], alive=paths.alive[begin:end]
        )

    summarize_blocks(draw, 4000, 4, 3, (0, 1), threads=2, progress=received.append)
    assert sorted(drawn) == list(range(0, 4000, block_size(4000, 4, 3)))


@pytest.mark.parametrize(("inputs", "pair"), [(1, (1, 0)), (3, (0, 3)), (3, (1, 1))])
def test_a_pair_that_is_not_there_is_refused_before_anything_is_drawn(inputs, pair):
    def draw(begin: int, end: int) -> Paths:
        raise AssertionError("drawn")

    with pytest.raises(InputError, match=r"(no input 1|pair (0,3|1,1))"):
        summarize_blocks(draw, 10, 2, inputs, pair)
