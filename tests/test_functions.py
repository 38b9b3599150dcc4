"""Named functions against mpmath, and each array function against its counterpart of one float."""

from collections.abc import Callable

import mpmath
import numpy as np
import pytest
from numba import njit

from deeplim import functions

SELU = ("1.0507009873554804934193349852946", "1.6732632423543772848170429916717")
"""Scale and slope of Klambauer et al. 2017."""
EXACT: dict[str, Callable[[mpmath.mpf], mpmath.mpf]] = {
    "tanh": mpmath.tanh,
    "sin": mpmath.sin,
    "erf": mpmath.erf,
    "logistic": lambda x: 1 / (1 + mpmath.exp(-x)),
    "softplus": lambda x: mpmath.log1p(mpmath.exp(x)),
    "silu": lambda x: x / (1 + mpmath.exp(-x)),
    "gelu": lambda x: x * mpmath.erfc(-x / mpmath.sqrt(2)) / 2,
    "elu": lambda x: x if x > 0 else mpmath.expm1(x),
    "selu": lambda x: mpmath.mpf(SELU[0]) * (x if x > 0 else mpmath.mpf(SELU[1]) * mpmath.expm1(x)),
    "softsign": lambda x: x / (1 + abs(x)),
    "mish": lambda x: x * mpmath.tanh(mpmath.log1p(mpmath.exp(x))),
    "gelu_tanh": lambda x: x / (1 + mpmath.exp(-2 * mpmath.sqrt(2 / mpmath.pi) * (x + mpmath.mpf("0.044715") * x**3))),
}
SMALL = np.geomspace(1e-12, 0.5, 40)
POINTS = np.concatenate([np.linspace(-40, 40, 321), SMALL, -SMALL])
LEAST = 1e-290
"""Below it floats lose digits one by one."""


def condition(name: str) -> np.ndarray:
    """How much of a relative rounding in x reaches the value: x^2 / 2 and more in the lower tail of the normal law.

    Its approximation by a tanh has a tail that falls like exp(-0.07 |x|^3), whose exponent is rounded too.
    """
    if name == "gelu_tanh":
        return np.where(POINTS < 0, 2 + np.abs(POINTS) ** 3 / 4 + 2 * np.abs(POINTS), 1.0)
    return np.where((name == "gelu") & (POINTS < 0), 1 + POINTS**2 / 4, 1.0)


@pytest.mark.parametrize("name", EXACT)
def test_every_value_is_right_to_its_last_digits_tails_included(name: str) -> None:
    found = getattr(functions, name)(POINTS)
    with mpmath.workdps(60):
        for x, value, times in zip(POINTS, found, condition(name), strict=True):
            exact = EXACT[name](mpmath.mpf(float(x)))
            assert abs(float(value) - exact) <= 1e-15 * times * abs(exact) + LEAST, x


@pytest.mark.parametrize("name", EXACT)
def test_the_array_and_the_compiled_scalar_agree(name: str) -> None:
    function = getattr(functions, name)
    scalar = njit(function.scalar)
    found = np.array([scalar(float(x)) for x in POINTS])
    assert np.all(np.abs(found - function(POINTS)) <= 1e-15 * condition(name) * np.abs(found) + LEAST)
    plain = np.array([function.scalar(float(x)) for x in POINTS])
    assert np.all(np.abs(plain - found) <= 1e-15 * np.abs(found) + LEAST)


@pytest.mark.parametrize("name", EXACT)
def test_no_argument_overflows_or_changes_shape(name: str) -> None:
    function = getattr(functions, name)
    far = np.array([[-1e4, -800.0, 0.0], [700.0, 800.0, 1e4]])
    with np.errstate(all="raise", under="ignore"):
        found = function(far)
    assert found.shape == far.shape
    assert found.dtype == float
    assert np.isfinite(found).all()
    assert all(np.isfinite(function.scalar(float(x))) for x in far.ravel())


def test_symmetries() -> None:
    for odd in (functions.tanh, functions.sin, functions.erf):
        assert np.array_equal(odd(-POINTS), -odd(POINTS))
    x = np.linspace(-5, 5, 41)
    assert functions.silu(x) - functions.silu(-x) == pytest.approx(x, abs=2e-15)
    assert functions.gelu(x) - functions.gelu(-x) == pytest.approx(x, abs=2e-15)
    assert functions.softplus(x) - functions.softplus(-x) == pytest.approx(x, abs=2e-15)
