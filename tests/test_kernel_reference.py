"""Kernel maps against thirty-digit references: a checked-in table made by mpmath, some of it made again here.

The table is the work of tests/reference/make_kernels.py: closed forms for slopes, erf and GELU, and the trapezoid rule
in the plane, in many digits, for tanh and SiLU. Nothing in it comes from the library.
"""

import json
from collections.abc import Callable
from pathlib import Path

import mpmath
import numpy as np
import pytest
from reference.make_kernels import GAPS, VARIANCES, means

from deeplim import functions
from deeplim.gaussian import (
    kernel_gaps,
    mean_product,
    mean_square,
    mean_square_difference,
    mean_square_differences,
    mean_squares,
    nuhat,
    slope_kernel_strength,
)

FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "relu": lambda x: np.maximum(x, 0),
    "leaky": lambda x: np.where(x > 0, x, 0.2 * x),
    **{name: getattr(functions, name) for name in ("erf", "gelu", "tanh", "silu")},
}
ROWS = json.loads((Path(__file__).parent / "reference" / "kernels.json").read_text())
TABLE = {(row["function"], row["v"], row["w"], row["gap"]): row for row in ROWS}


def rows(name: str) -> list[dict[str, str]]:
    return [row for row in ROWS if row["function"] == name]


def exact_gap(row: dict[str, str]) -> float:
    """1 - E f(a) f(b) / sqrt(E f(a)^2 E f(b)^2), from (difference - (|a| - |b|)^2) / (2 |a| |b|)."""
    with mpmath.workdps(40):
        first = mpmath.sqrt(mpmath.mpf(row["square"]))
        second = mpmath.sqrt(mpmath.mpf(TABLE[row["function"], row["w"], row["w"], "1"]["square"]))
        apart = mpmath.mpf(row["difference"]) - (first - second) ** 2
        return float(apart / (2 * first * second))


def test_the_table_is_whole() -> None:
    assert set(TABLE) == {(name, v, w, gap) for name in FUNCTIONS for v, w in VARIANCES for gap in GAPS}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_rows_of_the_table_made_again_are_the_same(name: str) -> None:
    # tanh and SiLU at variance 0.1, where the trapezoid rule needs the fewest points
    for row in [rows(name)[2], rows(name)[6]]:
        again = means(name, row["v"], row["w"], row["gap"])
        assert {key: float(value) for key, value in again.items()} == {key: float(row[key]) for key in again}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_mean_squares_and_products_have_twelve_digits(name: str) -> None:
    for row in rows(name):
        v, w, gap = (float(row[key]) for key in ("v", "w", "gap"))
        second = float(TABLE[name, row["w"], row["w"], "1"]["square"])
        assert mean_square(FUNCTIONS[name], v) == pytest.approx(float(row["square"]), rel=1e-13)
        size = np.sqrt(float(row["square"]) * second)
        found = mean_product(FUNCTIONS[name], (v, np.sqrt(v * w) * (1 - gap), w))
        assert abs(found - float(row["product"])) < 1e-12 * size, row


@pytest.mark.parametrize("name", FUNCTIONS)
def test_square_differences_and_gaps_have_ten_digits_relative(name: str) -> None:
    table = rows(name)
    v, w, gap = (np.array([float(row[key]) for row in table]) for key in ("v", "w", "gap"))
    found = mean_square_differences(FUNCTIONS[name], np.sqrt(v), np.sqrt(w), gap)
    assert found == pytest.approx(np.array([float(row["difference"]) for row in table]), rel=1e-10, abs=0)
    gaps = kernel_gaps(FUNCTIONS[name], np.sqrt(v), np.sqrt(w), gap)
    exact = np.array([exact_gap(row) for row in table])
    # Where norms differ the table's own twenty digits cancel; 1e-17 is what is left of them.
    assert np.all(np.abs(gaps - exact) <= 1e-10 * exact + np.where(v != w, 1e-17, 0))


@pytest.mark.parametrize(("name", "s_minus"), [("relu", 0.0), ("leaky", 0.2)])
def test_the_closed_form_of_slopes_has_twelve_digits_of_the_gap(name: str, s_minus: float) -> None:
    for row in (row for row in rows(name) if row["v"] == row["w"]):
        gap = float(row["gap"])
        found = gap - slope_kernel_strength(1.0, s_minus) * float(nuhat(gap))
        assert found == pytest.approx(exact_gap(row), rel=1e-12, abs=0)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_ends_of_the_correlations(name: str) -> None:
    function = FUNCTIONS[name]
    assert mean_square_difference(function, (1.3, 1.3), 0.0) == 0
    assert kernel_gaps(function, np.ones(1), np.ones(1), np.zeros(1))[0] == 0
    opposite = mean_square(lambda x: function(x) - function(-x))
    assert mean_square_difference(function, (1.0, 1.0), 2.0) == pytest.approx(opposite, rel=1e-12)


def test_batches_are_the_scalars_one_by_one() -> None:
    rng = np.random.default_rng(41)
    a, b, gaps = rng.uniform(0.2, 2, 12), rng.uniform(0.2, 2, 12), rng.uniform(0, 2, 12)
    for function in FUNCTIONS.values():
        together = mean_square_differences(function, a, b, gaps)
        alone = [mean_square_difference(function, (x, y), g) for x, y, g in zip(a, b, gaps, strict=True)]
        assert together == pytest.approx(np.array(alone), rel=1e-11)
        assert mean_squares(function, a) == pytest.approx(np.array([mean_square(function, x) for x in a]), rel=1e-13)


def test_a_wrong_kernel_is_seen() -> None:
    # The control: a tanh that is off by one part in a hundred million.
    row = TABLE["tanh", "1", "1", "0.7"]
    found = mean_square_difference(lambda x: np.tanh(x * (1 + 1e-8)), (1.0, 1.0), 0.7)
    assert found != pytest.approx(float(row["difference"]), rel=1e-10)
