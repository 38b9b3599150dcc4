"""Norms and gaps of activations against a hundred and twenty digits, and the collector that makes paths of them."""

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import refusal

from deeplim.probe.gaps import measure, norms_and_gaps
from deeplim.probe.products import sums_of_rows
from deeplim.probe.signals import Signals

fixed = settings(derandomize=True, deadline=None, database=None, max_examples=40)


def to_many_digits(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log norms and gaps of rows; the gap, not its log, so that exactly parallel rows have one."""
    with mpmath.workdps(120):
        rows = [[mpmath.mpf(float(value)) for value in row] for row in x]
        square = [mpmath.fdot(row, row) for row in rows]
        norms = [float(mpmath.log(value / len(rows[0]))) for value in square]
        gaps = [
            float(1 - mpmath.fdot(rows[a], rows[b]) / mpmath.sqrt(square[a] * square[b]))
            for a in range(len(rows))
            for b in range(a + 1, len(rows))
        ]
    return np.array(norms), np.array(gaps)


@pytest.mark.parametrize("scale", [1.0, 1e-2, 1e-5, 1e-9, 1e-40])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_gaps_keep_their_digits_at_every_scale(scale: float, kind: type):
    # Inputs near one another in a cluster within a cluster, opposite ones, and one far away.
    rng = np.random.default_rng(1)
    centre, other = np.append(rng.standard_normal(30), np.zeros(3)), rng.standard_normal(33)
    aside = np.zeros((4, 33))
    aside[1, 30], aside[2, 31], aside[3, 31:] = scale, -scale, [-scale, 1e-2 * scale]
    x = np.vstack([centre + aside, 4 * (centre + aside[1]) + 2 * aside[2], -centre, other]).astype(kind)
    log_norm, log_gap = norms_and_gaps(x)
    norms, gaps = to_many_digits(x)
    assert log_norm == pytest.approx(norms, rel=1e-14, abs=1e-14)
    assert np.exp(log_gap) == pytest.approx(gaps, rel=3e-11)
    if scale < 1e-2:  # what subtracting from 1 would have made of them
        units = x.astype(float) / np.linalg.norm(x.astype(float), axis=1, keepdims=True)
        assert not np.allclose(1 - (units @ units.T)[0, 1], gaps[0], rtol=1e-11, atol=0)


def test_other_norms_cost_a_rounding_of_the_angle():
    rng = np.random.default_rng(2)
    centre = rng.standard_normal(50)
    for scale in (1e-3, 1e-6, 1e-9):
        x = np.stack([centre, 3 * (centre + scale * rng.standard_normal(50))])
        [gap] = to_many_digits(x)[1]
        error = 1e-15 / np.sqrt(gap) + 1e-13
        assert np.exp(norms_and_gaps(x)[1]) == pytest.approx([gap], rel=error)


def test_proportional_rows_are_exactly_parallel():
    rng = np.random.default_rng(3)
    for kind in (np.float32, np.float64):
        row = rng.standard_normal(40).astype(kind)
        rows = np.stack([row, row, row * kind(4), row * kind(0.25)])
        assert (norms_and_gaps(rows)[1] == -np.inf).all()
        assert np.exp(norms_and_gaps(np.stack([row, -row]))[1]) == pytest.approx([2.0], rel=1e-14)
    multiples = np.stack([row, 3 * row, 7.3 * row, row / 11, row])
    assert (norms_and_gaps(multiples)[1] == -np.inf).all()
    changed = row.copy()
    changed[4] = np.nextafter(row[4], 10)
    assert np.isfinite(norms_and_gaps(np.stack([row, changed]))[1]).all()


@pytest.mark.parametrize("exponent", [-1070, -600, 0, 600, 1015])
def test_norms_neither_overflow_nor_underflow(exponent: int):
    x = np.array([[1.0, 0.5, 0.25], [1.0, 0.5, 0.5]])
    norms, gaps = norms_and_gaps(x)
    with mpmath.workdps(120):
        moved = norms + float(2 * exponent * mpmath.log(2))
    found = norms_and_gaps(np.ldexp(x, exponent))
    assert found[0] == pytest.approx(moved, rel=1e-14)
    assert found[1] == pytest.approx(gaps, rel=1e-12)


@pytest.mark.parametrize("rows", [3, 20])
@pytest.mark.parametrize("apart", [1e-4, 1e-8, 1e-13])
def test_gaps_of_near_inputs_are_the_same_at_every_scale_of_doubles(apart: float, rows: int):
    rng = np.random.default_rng(9)
    centre = rng.uniform(0.5, 1.0, 50) * rng.choice([-1, 1], 50)
    x = np.append(centre + apart * rng.standard_normal((rows, 50)), rng.standard_normal((1, 50)), axis=0)
    x[1] *= 3.0
    _, gaps = norms_and_gaps(x)
    exact = to_many_digits(x)[1]
    error = 1e-11 + 1e-15 / np.sqrt(exact)
    assert (np.abs(np.exp(gaps) - exact) < error * exact).all()
    for exponent in (*range(-1000, 1000, 37), -1010, -1, 1, 1020):  # exact, so that not a bit may change
        assert norms_and_gaps(np.ldexp(x, exponent))[1].tolist() == gaps.tolist(), exponent
    for exponent in (-300, 255, 256, 600):  # one input of another scale
        moved = x.copy()
        moved[2] = np.ldexp(x[2], exponent)
        assert norms_and_gaps(moved)[1].tolist() == gaps.tolist(), exponent


@pytest.mark.parametrize("x", [np.ones(3), np.ones((2, 0)), np.ones((0, 2)), np.ones((2, 3), dtype=complex), [["a"]]])
def test_what_is_no_matrix_of_numbers_is_refused(x: object):
    assert "give real numbers, one input a row" in refusal(lambda: norms_and_gaps(x))


@pytest.mark.parametrize("kind", [np.float16, np.int64, bool, np.longdouble, ">f4"])
def test_other_kinds_of_numbers_are_made_doubles(kind: object):
    x = np.array([[1, 0, 1], [0, 1, 1]]).astype(kind)
    for rows in (x, np.repeat(x, 10, axis=0)[::10]):
        log_norm, log_gap = norms_and_gaps(rows)
        assert log_norm == pytest.approx(np.log([2 / 3, 2 / 3]), rel=1e-15)
        assert log_gap == pytest.approx([np.log(0.5)], rel=1e-15)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_what_is_not_finite_has_exploded_and_zero_is_dead(bad: float, kind: type):
    x = np.ones((3, 4), dtype=kind)
    x[0, 1] = bad
    x[1] = 0
    log_norm, log_gap = norms_and_gaps(x)
    assert log_norm.tolist() == [np.inf, -np.inf, 0.0]
    assert np.isnan(log_gap).all()


@fixed
@given(st.integers(2, 6), st.integers(1, 40), st.integers(0, 2**32 - 1), st.booleans())
def test_rotations_scales_and_orders_change_nothing(inputs: int, features: int, seed: int, near: bool):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((inputs, features + 1))
    if near:
        x = x[:1] + 1e-4 * x
    rotation = np.linalg.qr(rng.standard_normal((features + 1, features + 1)))[0]
    log_norm, log_gap = norms_and_gaps(x)
    turned = norms_and_gaps(x @ rotation)
    assert turned[0] == pytest.approx(log_norm, abs=1e-12)
    assert np.exp(turned[1]) == pytest.approx(np.exp(log_gap), rel=1e-10, abs=1e-30)
    scaled = norms_and_gaps(np.ldexp(x, rng.integers(-20, 20, (inputs, 1))))
    assert np.exp(scaled[1]) == pytest.approx(np.exp(log_gap), rel=1e-10)
    back = norms_and_gaps(x[::-1])
    assert back[0].tolist() == pytest.approx(log_norm[::-1], abs=1e-13)
    assert np.sort(back[1]) == pytest.approx(np.sort(log_gap), abs=1e-9)


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 16, 17, 70])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_sums_in_blocks_are_sums(rows: int, kind: type):
    x = np.random.default_rng(4).standard_normal((3, rows, 5003)).astype(kind)
    x[1, :, 100:140] = 0  # silent, in the second sample only
    x[:, 0, ::3] = 0
    for some in (x, x[:, ::-1], x.transpose(0, 2, 1).copy().transpose(0, 2, 1), np.repeat(x, 2, axis=1)[:, ::2]):
        sums = sums_of_rows(some)
        wide = some.astype(float)
        lower = np.tril_indices(rows)
        expected = (wide @ wide.transpose(0, 2, 1))[:, *lower]
        assert sums.products[:, *lower] == pytest.approx(expected, rel=1e-12, abs=1e-10)
        assert sums.sizes == pytest.approx(np.abs(wide).sum(axis=2), rel=1e-12)
        assert sums.silent.tolist() == (some == 0).all(axis=1).sum(axis=1).tolist()


def test_samples_are_measured_each_by_itself():
    x = np.random.default_rng(6).standard_normal((4, 5, 300)).astype(np.float32)
    x[1, 2], x[2, 3, 7], x[3, 4] = 0, np.nan, x[3, 0] * 2
    found = measure(x)
    for s in range(4):
        norms, gaps = norms_and_gaps(x[s])
        assert found.log_norm[s].tolist() == norms.tolist()
        assert np.array_equal(found.log_gap[s], gaps, equal_nan=True)
    assert np.isnan(found.log_gap).all(axis=1).tolist() == [False, True, True, False]
    assert found.log_gap[3].min() == -np.inf
    assert found.absolute[[0, 1, 3]] == pytest.approx(np.abs(x[[0, 1, 3]]).mean(axis=(1, 2)), rel=1e-6)


def filled(names: list[str], x: np.ndarray, networks: int = 2) -> Signals:
    signals = Signals(networks)
    for network in range(networks):
        for name in names:
            signals.add(name, x + network, rounding=-30.0)
        signals.finish()
    return signals


def test_the_collector_orders_samples_and_names_second_runs():
    x = np.random.default_rng(5).standard_normal((3, 4, 7))
    paths = filled(["a", "b", "a"], x).paths("by hand", ("p", "q", "r", "s"))
    assert paths.layer_names == ("a", "b", "a#2")
    assert (paths.clock, paths.time.tolist(), paths.width, paths.depth) == ("layer", [0.0, 1.0, 2.0], None, None)
    for network in range(2):
        for sample in range(3):
            norms, gaps = norms_and_gaps(x[sample] + network)
            assert (paths.log_norm[3 * network + sample] == norms).all()
            assert (paths.log_gap[3 * network + sample] == gaps).all()


def test_a_layer_that_is_lost_may_be_followed_by_one_that_is_not():
    signals = Signals(1)
    for values in (np.ones((1, 2, 3)), np.zeros((1, 2, 3)), np.full((1, 2, 3), np.inf), np.ones((1, 2, 3))):
        signals.add("layer", values)
    signals.finish()
    paths = signals.paths("by hand", ("a", "b"))
    assert paths.alive.tolist() == [[True, False, False, True]]
    assert (paths.dead.tolist(), paths.exploded.tolist()) == ([0, 1, 0, 0], [0, 0, 1, 0])
    assert paths.log_gap_floor is None


def test_networks_with_other_layers_are_refused():
    x = np.random.default_rng(6).standard_normal((1, 2, 3))
    for second, ran in ((["a"], "nothing more"), (["a", "c"], "c")):
        signals = Signals(2)
        for names in (["a", "b"], second):
            for name in names:
                signals.add(name, x)
            if names == ["a", "b"]:
                signals.finish()
        assert f"network 1 ran {ran} where network 0 ran b" in refusal(signals.finish)
    with pytest.raises(ValueError, match="samples and inputs where others have"):
        signals.add("d", x[:, :1])


def test_what_cannot_fit_in_memory_is_refused_before_it_is_made():
    signals = Signals(10**9)
    signals.add("a", np.random.default_rng(7).standard_normal((50, 20, 4)))
    assert "GiB" in refusal(signals.finish)


@pytest.mark.parametrize("scale", [1.0, 1e-44, 3e38])
def test_silent_features_and_mean_absolute_values(scale: float):
    x = np.random.default_rng(8).uniform(0.5, 1.0, (2, 7, 1000)).astype(np.float32) * np.float32(scale)
    x[0, :, :250] = 0
    x[0, :6, 250:500] *= -1
    x[1, 1:, 3] = 0
    signals = Signals(1)
    signals.add("layer", x)
    signals.finish()
    paths = signals.paths("by hand", tuple("abcdefg"))
    modules = paths.modules
    assert modules is not None
    assert modules.silent[:, 0].tolist() == [0.25, 0.0]
    assert modules.absolute[:, 0] == pytest.approx(np.abs(x.astype(float)).mean(axis=(1, 2)), rel=1e-6)
