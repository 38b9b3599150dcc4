"""Inputs: their norms and gaps against many digits, symmetries, files, and one sentence for what cannot be used."""

from collections.abc import Callable
from itertools import combinations
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from refusals import refused_as_input as refusal

from deeplim import digits, gram, read_inputs
from deeplim.inputs import MOST_INPUTS, Inputs, check_pair

fixed = settings(derandomize=True, deadline=None, database=None, max_examples=60)
entries = st.integers(-1000, 1000).map(float)
tables = st.tuples(st.integers(2, 4), st.integers(5, 8)).flatmap(lambda shape: arrays(float, shape, elements=entries))


def usable(x: np.ndarray) -> bool:
    """Whether no row is zero and no two rows, whole numbers all, are positive multiples of one another."""
    products, norms = x @ x.T, (x * x).sum(axis=1)
    parallel = (products > 0) & (products**2 == norms[:, None] * norms)
    return bool(norms.all() and not np.triu(parallel, 1).any())


def exact_gap(a: np.ndarray, b: np.ndarray) -> mpmath.mpf:
    """1 - a.b / |a||b| of two rows of floats, exactly as they stand."""
    u, v = ([mpmath.mpf(float(entry)) for entry in row] for row in (a, b))
    return 1 - mpmath.fdot(u, v) / mpmath.sqrt(mpmath.fdot(u, u) * mpmath.fdot(v, v))


def error_of_gap(found: float, a: np.ndarray, b: np.ndarray) -> float:
    with mpmath.workdps(120):
        return float(abs(mpmath.mpf(float(found)) / exact_gap(a, b) - 1))


@fixed
@given(tables.filter(usable))
def test_rows_give_the_norms_and_correlations_of_their_gram_matrix(x: np.ndarray) -> None:
    inputs = gram(x)
    covariance = x @ x.T / x.shape[1]
    np.testing.assert_allclose(np.exp(inputs.log_norm), covariance.diagonal(), rtol=1e-13)
    np.testing.assert_allclose(inputs.covariance, covariance, rtol=1e-12, atol=1e-12 * covariance.max())
    np.testing.assert_array_equal(inputs.gap, inputs.gap.T)
    assert not inputs.gap.diagonal().any()
    assert inputs.names == tuple(f"input {i}" for i in range(len(x)))
    for i, j in combinations(range(len(x)), 2):
        assert 0 < inputs.gap[i, j] <= 2
        assert error_of_gap(inputs.gap[i, j], x[i], x[j]) < 1e-12


@pytest.mark.parametrize("distance", [1e-1, 1e-3, 1e-6, 1e-9, 1e-12, 1e-15])
@pytest.mark.parametrize("scale", [1.0, 2.0**-900, 2.0**900])
def test_nearly_identical_rows_keep_every_digit_of_their_gap(distance: float, scale: float) -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        a = rng.standard_normal(40)
        b = a + distance * rng.standard_normal(40)
        assert error_of_gap(gram([a, scale * b]).gap[0, 1], a, b) < 1e-13


def test_the_formula_written_in_the_correlation_does_not_keep_them() -> None:
    rng = np.random.default_rng(1)
    a = rng.standard_normal(40)
    b = a + 1e-6 * rng.standard_normal(40)
    assert error_of_gap(1 - a @ b / np.sqrt((a @ a) * (b @ b)), a, b) > 1e-6


@pytest.mark.parametrize("scale", [0.3, 3.0, 1e200, 1e-200])
def test_rows_at_a_small_angle_and_of_any_length_lose_rounding_over_the_angle(scale: float) -> None:
    rng = np.random.default_rng(2)
    for angle in (1e-3, 1e-6, 1e-9):
        a = rng.standard_normal(40)
        b = scale * (a + angle * rng.standard_normal(40))
        assert error_of_gap(gram([a, b]).gap[0, 1], a, b) < 1e-15 / angle * 20


def test_neighbours_on_two_sides_of_a_power_of_two_keep_every_digit() -> None:
    a = np.array([1 - 1e-10, 0.3, -0.7])
    b = np.array([1 + 1e-10, 0.3, -0.7])
    assert error_of_gap(gram([a, b]).gap[0, 1], a, b) < 1e-13


@fixed
@given(tables.filter(usable), st.lists(st.integers(-1000, 1000), min_size=4, max_size=4))
def test_lengths_change_norms_and_no_gap(x: np.ndarray, powers: list[int]) -> None:
    factor = 2.0 ** np.array(powers[: len(x)])
    plain, scaled = gram(x), gram(x * factor[:, None])
    np.testing.assert_array_equal(scaled.gap, plain.gap)
    np.testing.assert_allclose(scaled.log_norm, plain.log_norm + 2 * np.log(factor), rtol=1e-13, atol=1e-12)


@fixed
@given(tables.filter(usable), st.integers(0, 2**32 - 1))
def test_neither_the_order_of_rows_nor_rotations_matter(x: np.ndarray, seed: int) -> None:
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(x))
    np.testing.assert_allclose(gram(x[order]).gap, gram(x).gap[np.ix_(order, order)], rtol=1e-14)
    rotation = np.linalg.qr(rng.standard_normal((x.shape[1], x.shape[1])))[0]
    np.testing.assert_allclose(gram(x @ rotation).gap, gram(x).gap, rtol=1e-9)


def test_huge_and_tiny_rows_neither_overflow_nor_underflow() -> None:
    inputs = gram([[3e200, 4e200], [4e-200, 3e-200], [5e-324, 0.0], [0.0, 1e308]])
    np.testing.assert_allclose(inputs.gap[0], [0, 1 / 25, 2 / 5, 1 / 5], rtol=1e-14)
    expected = np.log([12.5, 12.5, 0.5, 0.5]) + 2 * np.array(
        [np.log(1e200), np.log(1e-200), np.log(5e-324), np.log(1e308)]
    )
    np.testing.assert_allclose(inputs.log_norm, expected, rtol=1e-14)
    with pytest.raises(OverflowError, match="use log_norm and gap"):
        _ = inputs.covariance


@pytest.mark.parametrize("factor", [1.0, 2.0, 3.0, 0.1, 7 / 3, 1e100, 1 + 1e-9])
def test_proportional_rows_are_refused(factor: float) -> None:
    rng = np.random.default_rng(3)
    for count in (1, 2, 100):
        row = rng.standard_normal(count)
        message = refusal(lambda: gram([row, factor * row]))  # noqa: B023
        assert message == "input 0 and input 1 have correlation 1, so no layer can tell them apart; drop one."
    assert refusal(lambda: gram([[1, 0], row[:2], factor * row[:2]], names="abc")).startswith("b and c have")


def test_rows_that_differ_in_the_last_bit_are_two_inputs() -> None:
    a = np.random.default_rng(4).standard_normal(9)
    b = a.copy()
    b[3] = np.nextafter(b[3], 9)
    assert error_of_gap(gram([a, b]).gap[0, 1], a, b) < 1e-13


def test_rows_that_differ_in_one_small_entry_are_two_inputs() -> None:
    assert gram([[1.0, 0.0], [3.0, 1e-100]]).gap[0, 1] == pytest.approx(1e-200 / 18, rel=1e-13)


@pytest.mark.parametrize("factor", [1.0, 3.3, 1e-200])
def test_antiparallel_rows_are_allowed(factor: float) -> None:
    row = np.random.default_rng(5).standard_normal(50)
    inputs = gram([row, -factor * row])
    assert inputs.gap[0, 1] == pytest.approx(2, rel=1e-15)
    assert inputs.gap.max() <= 2


def test_one_input_has_a_norm_and_no_gap() -> None:
    for inputs in (gram([[3.0, 4.0]]), gram(covariance=[[12.5]])):
        assert inputs.count == 1
        assert inputs.covariance == pytest.approx(np.array([[12.5]]), rel=1e-15)
        assert "at least two inputs" in refusal(lambda: inputs.pair(0, 1))  # noqa: B023


@fixed
@given(st.floats(-1, 1, exclude_max=True))
def test_a_correlation_is_two_inputs_of_unit_mean_square(rho: float) -> None:
    inputs = gram(correlation=rho)
    np.testing.assert_allclose(inputs.covariance, [[1, rho], [rho, 1]], atol=1.2e-16, rtol=0)
    assert inputs.gap[0, 1] == 1 - rho


@fixed
@given(st.floats(0, 2, exclude_min=True))
def test_a_gap_is_kept_as_given(gap: float) -> None:
    assert gram(gap=gap).gap.tolist() == [[0, gap], [gap, 0]]
    assert gram(gap=gap).log_norm.tolist() == [0, 0]


@pytest.mark.parametrize("value", [0.3, np.float32(0.3), np.array(0.3), [0.3], 0, -1])
def test_numbers_of_every_type_are_correlations(value: Any) -> None:
    assert gram(correlation=value).correlation[0, 1] == pytest.approx(float(np.asarray(value).item()), abs=1e-16)


@fixed
@given(tables.filter(usable), st.integers(-300, 300))
def test_a_covariance_comes_back(x: np.ndarray, power: int) -> None:
    covariance = (x @ x.T / x.shape[1] + 1e-3 * np.eye(len(x))) * 10.0 ** (power // 2)
    inputs = gram(covariance=covariance)
    np.testing.assert_allclose(inputs.covariance, covariance, rtol=1e-12, atol=1e-13 * covariance.max())
    np.testing.assert_allclose(inputs.gap, gram(x).gap, atol=3e-3)


def test_a_covariance_in_single_precision_is_made_symmetric() -> None:
    x = np.random.default_rng(6).standard_normal((5, 20))
    covariance = x @ x.T / 20
    nudged = covariance * (1 + 1e-7 * np.triu(np.ones((5, 5)), 1))
    gap = gram(covariance=nudged).gap
    np.testing.assert_array_equal(gap, gap.T)
    np.testing.assert_allclose(gap, gram(x).gap, atol=1e-7)


def test_rows_and_their_covariance_are_the_same_inputs() -> None:
    x = np.random.default_rng(7).standard_normal((6, 30))
    rows, matrix = gram(x), gram(covariance=x @ x.T / 30)
    np.testing.assert_allclose(rows.gap, matrix.gap, atol=1e-14)
    np.testing.assert_allclose(rows.log_norm, matrix.log_norm, atol=1e-14)


BAD_ROWS: list[tuple[object, str]] = [
    (0.3, "inputs of shape () were given; they must be a table"),
    ([1.0, 2.0], "inputs of shape (2,) were given"),
    (np.ones((2, 2, 2)), "inputs of shape (2, 2, 2) were given"),
    ([], "inputs of shape (0,) were given"),
    ([[]], "inputs of shape (1, 0) were given"),
    (np.ones((0, 3)), "inputs of shape (0, 3) were given"),
    ([[1.0, 2.0], [3.0]], "cannot be read as real numbers ("),
    ("abc", "cannot be read as real numbers (it is of type <U3)"),
    ([["1.0"]], "cannot be read as real numbers (it is of type <U3)"),
    ([[1j]], "cannot be read as real numbers (it is of type complex128)"),
    ([[None]], "cannot be read as real numbers (it is of type object)"),
    (np.array([["2020-01-01"]], dtype="M8[D]"), "cannot be read as real numbers (it is of type datetime64[D])"),
    ([[1.0, np.nan]], "the inputs contain a NaN or an infinity"),
    ([[1.0, -np.inf]], "the inputs contain a NaN or an infinity"),
    ([[1.0, 1.0], [0.0, 0.0]], "input 1 is all zeros; drop it"),
    (np.ones((MOST_INPUTS + 1, 1)), f"{MOST_INPUTS + 1} inputs were given; at most {MOST_INPUTS}"),
]


@pytest.mark.parametrize(("x", "said"), BAD_ROWS, ids=[said for _, said in BAD_ROWS])
def test_arrays_that_are_no_inputs(x: Any, said: str) -> None:
    assert said in refusal(lambda: gram(x))


def test_extended_precision_beyond_the_floats_is_infinite() -> None:
    huge = np.full((1, 2), np.longdouble("1e400"))
    assert "a NaN or an infinity" in refusal(lambda: gram(huge))


@pytest.mark.parametrize("value", [1, 1.0, 1 - 1e-17, 1.5, -1.0001, np.nan, np.inf, "0.3", [0.1, 0.2], 1j, object()])
def test_correlations_that_are_none(value: Any) -> None:
    assert " a correlation " in " " + refusal(lambda: gram(correlation=value))


@pytest.mark.parametrize("value", [0, -0.1, 2.1, np.nan, np.inf, "0.3", [0.1, 0.2], []])
def test_gaps_that_are_none(value: Any) -> None:
    assert "a gap 1 - rho " in refusal(lambda: gram(gap=value))


BAD_COVARIANCES: list[tuple[object, str]] = [
    (4.0, "a covariance of shape () was given"),
    ([], "a covariance of shape (0,) was given"),
    (np.ones((0, 0)), "a covariance of shape (0, 0) was given"),
    ([[1.0, 2.0, 3.0]], "a covariance of shape (1, 3) was given"),
    ([[np.nan]], "the covariance contains a NaN or an infinity"),
    ([[1.0, 0.3], [0.4, 1.0]], "is not symmetric"),
    ([[1.0, 0.3], [0.30001, 1.0]], "is not symmetric"),
    ([[1e-12, 5e-13], [0.0, 1e-12]], "is not symmetric"),
    ([[1.0, 2.0], [2.0, 1.0]], "have an eigenvalue -1; give a positive semi-definite matrix"),
    ([[1.0, -1e-9], [-1e-9, 1e-20]], "have an eigenvalue -9; give a positive semi-definite matrix"),
    ([[1.0, 0.0], [0.0, 0.0]], "the variance of input 1 is 0; give a positive diagonal"),
    ([[-1.0]], "the variance of input 0 is -1; give a positive diagonal"),
    ([[4.0, 6.0], [6.0, 9.0]], "input 0 and input 1 have correlation 1"),
    ([["a"]], "cannot be read as real numbers"),
    (np.eye(MOST_INPUTS + 1), f"at most {MOST_INPUTS} at a time"),
]


@pytest.mark.parametrize(("covariance", "said"), BAD_COVARIANCES, ids=[said for _, said in BAD_COVARIANCES])
def test_matrices_that_are_no_covariance(covariance: Any, said: str) -> None:
    assert said in refusal(lambda: gram(covariance=covariance))


def test_a_covariance_of_rank_one_with_opposite_inputs_is_allowed() -> None:
    assert gram(covariance=[[4.0, -6.0], [-6.0, 9.0]]).gap[0, 1] == 2


@pytest.mark.parametrize(
    "given_",
    [{}, {"gap": 0.1, "correlation": 0.9}, {"x": [[1.0]], "covariance": [[1.0]]}, {"x": [[1.0]], "gap": 0.5}],
)
def test_exactly_one_description_is_taken(given_: dict[str, Any]) -> None:
    assert "give exactly one of" in refusal(lambda: gram(**given_))


def test_names_are_kept_and_counted() -> None:
    assert gram(gap=0.1, names=["cat", "dog"]).names == ("cat", "dog")
    assert gram([[1.0, 0], [0, 1]], names=(1, 2)).names == ("1", "2")  # type: ignore[arg-type]
    assert gram(covariance=np.eye(2), names=("a", "b")).pair(1, 0).names == ("b", "a")
    for names in ([], ["a"], ["a", "b", "c"]):
        assert f"{len(names)} names were given for 2 inputs" in refusal(lambda: gram(gap=0.1, names=names))  # noqa: B023


def test_a_pair_is_taken_in_the_order_asked() -> None:
    x = np.random.default_rng(8).standard_normal((4, 9))
    inputs, pair = gram(x, names="abcd"), gram(x, names="abcd").pair(3, 1)
    assert pair.names == ("d", "b")
    assert pair.source == inputs.source
    np.testing.assert_array_equal(pair.log_norm, inputs.log_norm[[3, 1]])
    assert pair.gap.tolist() == [[0, inputs.gap[3, 1]], [inputs.gap[1, 3], 0]]


@pytest.mark.parametrize("pair", [(0, 0), (0, 4), (-1, 0), (0, 1.0), (0.5, 1), (0,), (0, 1, 2), ("0", "1"), (None, 1)])
def test_pairs_that_are_none(pair: Any) -> None:
    assert "does not name two different inputs; use 0 to 3." in refusal(lambda: check_pair(pair, 4))


def test_pairs_of_whole_numbers_of_every_type() -> None:
    check_pair((np.int64(3), 0), 4)
    assert "needs two" in refusal(lambda: check_pair((0, 1), 1))


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        (lambda: gram(correlation=0.3), "2 inputs at correlation 0.3 (given correlation)"),
        (lambda: gram(correlation=-1), "2 inputs at correlation -1 (given correlation)"),
        (lambda: gram(gap=1e-12), "2 inputs at correlation 1 - 1e-12 (given gap)"),
        (lambda: gram([[3.0]]), "one input (array)"),
        (lambda: gram(covariance=[[1, 0.5, 0], [0.5, 1, -0.5], [0, -0.5, 1]]), "from -0.5 to 0.5 (given covariance)"),
        (digits, "10 inputs at correlations from 0.4523 to 0.8887 (handwritten digits)"),
    ],
)
def test_inputs_in_words(inputs: Callable[[], Inputs], text: str) -> None:
    assert str(inputs()).endswith(text)


def test_the_digits_are_ten_different_images() -> None:
    found = digits()
    assert found.images is not None
    assert found.images.shape == (10, 64)
    assert len(np.unique(found.images, axis=0)) == 10
    assert ((found.images >= 0) & (found.images <= 16) & (found.images == np.round(found.images))).all()
    assert found.names == tuple(f"digit {i}" for i in range(10))
    # The printed correlations of test_inputs_in_words, from the pixels.
    unit = found.images / np.linalg.norm(found.images, axis=1, keepdims=True)
    np.testing.assert_allclose(found.correlation, unit @ unit.T, atol=1e-14)
    pair = found.pair(7, 2)
    assert pair.images is not None
    np.testing.assert_array_equal(pair.images, found.images[[7, 2]])
    assert read_inputs("digits").gap.tolist() == found.gap.tolist()
