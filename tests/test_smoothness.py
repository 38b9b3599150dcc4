"""Derivatives at zero against mpmath's, what is refused, and normalised functions at very large scales."""

from collections.abc import Callable

import mpmath
import numpy as np
import pytest
from numba import njit
from refusals import refused_as_spec
from test_functions import EXACT

from deeplim import functions
from deeplim.gaussian import mean_square
from deeplim.smoothness import derivatives_at_zero, normalised, normalised_scalar

Function = Callable[[np.ndarray], np.ndarray]
KINKED = ("elu", "selu", "softsign")
ANALYTIC = [name for name in EXACT if name not in KINKED]
NORMALISED = {"tanh": (0, -2), "sin": (0, -1), "logistic": (0, -0.5), "softplus": (0.5, 0), "silu": (1, 0)}


def exact_derivatives(function: Callable[[mpmath.mpf], mpmath.mpf]) -> list[mpmath.mpf]:
    with mpmath.workdps(40):
        return [mpmath.factorial(k) * a for k, a in enumerate(mpmath.taylor(function, 0, 3))]


@pytest.mark.parametrize("name", ANALYTIC)
def test_derivatives_of_named_functions_have_ten_digits_and_an_honest_bound(name: str) -> None:
    found = derivatives_at_zero(getattr(functions, name))
    exact = exact_derivatives(EXACT[name])
    errors = [
        abs(x - float(y)) for x, y in zip((found.value, found.first, found.second, found.third), exact, strict=True)
    ]
    assert max(errors) <= found.error + 1e-16
    assert max(errors) < 1e-11
    assert found.error < 1e-10
    assert errors[1] < 1e-14


@pytest.mark.parametrize("name", KINKED)
def test_functions_whose_derivatives_jump_at_zero_are_not_shaped(name: str) -> None:
    assert "smooth" in refused_as_spec(lambda: normalised(getattr(functions, name)))


@pytest.mark.parametrize("name", NORMALISED)
def test_normalised_derivatives_of_the_theory(name: str) -> None:
    found = normalised(getattr(functions, name))[1]
    assert (found.value, found.first) == (0, 1)
    assert (found.second, found.third) == pytest.approx(NORMALISED[name], abs=1e-11)
    assert all(
        value == 0 for value, exact in zip((found.second, found.third), NORMALISED[name], strict=True) if not exact
    )


def test_normalised_derivatives_of_gelu() -> None:
    found = normalised(functions.gelu)[1]
    assert found.second == pytest.approx(4 / np.sqrt(2 * np.pi), abs=1e-12)
    assert found.third == 0


SMOOTH: list[tuple[str, Function, tuple[float, float, float]]] = [
    ("identity", lambda x: x, (1, 0, 0)),
    ("cubic", lambda x: 3 * x - 2 * x**2 + x**3, (3, -4, 6)),
    ("exp", np.exp, (1, 1, 1)),
    ("log1p, singular at -1", np.log1p, (1, -1, 2)),
    ("arctan", np.arctan, (1, 0, -2)),
    ("a short scale", lambda x: np.tanh(1000 * x), (1e3, 0, -2e9)),
    ("fast", lambda x: np.sin(50 * x), (50, 0, -125e3)),
    ("narrow", lambda x: x / (1 + 1e4 * x * x), (1, 0, -6e4)),
    ("small", lambda x: 1e-8 * np.tanh(x), (1e-8, 0, -2e-8)),
    ("a kink at 1", lambda x: np.clip(x, -1, 1), (1, 0, 0)),
    ("even", np.cos, (0, -1, 0)),
    ("flat", lambda x: x**4, (0, 0, 0)),
    ("constant", np.ones_like, (0, 0, 0)),
]


@pytest.mark.parametrize(("name", "function", "exact"), SMOOTH, ids=[row[0] for row in SMOOTH])
def test_derivatives_of_other_smooth_functions(name: str, function: Function, exact: tuple[float, ...]) -> None:
    found = derivatives_at_zero(function)
    assert (found.first, found.second, found.third) == pytest.approx(exact, rel=1e-10, abs=max(1e-19, found.error))
    assert found.error <= max(1e-15, 1e-9 * max(map(abs, exact)))


def test_a_large_constant_costs_digits_and_the_bound_says_so() -> None:
    found = derivatives_at_zero(lambda x: 1e6 + np.tanh(x))
    assert 1e-9 < found.error < 1e-4
    assert abs(found.third + 2) < found.error


ROUGH: dict[str, Function] = {
    "relu": lambda x: np.maximum(x, 0),
    "leaky": lambda x: np.where(x > 0, x, 0.2 * x),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "x|x|": lambda x: x * np.abs(x),
    "|x|^3": lambda x: np.abs(x) ** 3,
    "smooth but for |x|^3": lambda x: np.sin(x) + 0.01 * np.abs(x) ** 3,
    "smooth but for little": lambda x: np.tanh(x) + 1e-9 * np.abs(x),
    "step": np.sign,
    "kink at 1/1000": lambda x: np.maximum(x - 1e-3, 0),
    "leaky at 1/1000": lambda x: np.where(x > 1e-3, x, 0.2 * x + 0.8e-3),
    "kink at 1/10": lambda x: x + np.abs(x - 0.1),
    "cusp": np.cbrt,
    "wild": lambda x: x**2 * np.sin(1 / np.where(x == 0, 1, x)),
    "rounded": lambda x: np.round(x, 6),
    "single precision": lambda x: np.tanh(x.astype(np.float32)),
}


@pytest.mark.parametrize("name", ROUGH)
def test_a_function_that_is_not_smooth_at_zero_is_refused(name: str) -> None:
    message = refused_as_spec(lambda: derivatives_at_zero(ROUGH[name]))
    assert "not smooth at 0" in message
    assert "two slopes" in message


@pytest.mark.parametrize("function", [np.cos, np.ones_like, np.zeros_like, lambda x: x**2, lambda x: x**3])
def test_a_function_without_slope_at_zero_is_not_normalised(function: Function) -> None:
    assert "derivative 0 at 0" in refused_as_spec(lambda: normalised(function))


@pytest.mark.parametrize("name", ANALYTIC)
def test_the_normalised_function_keeps_its_digits_towards_zero(name: str) -> None:
    function = normalised(getattr(functions, name))[0]
    x = np.concatenate([np.geomspace(1e-300, 3, 150), -np.geomspace(1e-300, 3, 150)])
    with mpmath.workdps(360):
        zero = EXACT[name](mpmath.mpf(0))
        slope = mpmath.taylor(EXACT[name], 0, 1)[1]
        exact = np.array([float((EXACT[name](mpmath.mpf(float(at))) - zero) / slope) for at in x])
    assert np.abs(function(x) / exact - 1).max() < 3e-14


@pytest.mark.parametrize("name", ANALYTIC)
@pytest.mark.parametrize("s", [10.0, 1e4])
def test_the_mean_square_of_a_shaped_function_has_twelve_digits(name: str, s: float) -> None:
    # With phi = x + a x^2/2 + b x^3/6 + c x^4/24 + d x^5/120 ...:
    # E phi_s^2 = 1 + (3/4 a^2 + b)/s^2 + 15 (b^2/36 + a c/24 + d/60)/s^4 + O(s^-6)
    with mpmath.workdps(40):
        _, one, *rest = (mpmath.factorial(k) * t for k, t in enumerate(mpmath.taylor(EXACT[name], 0, 5)))
        a, b, c, d = (float(value / one) for value in rest)
    function = normalised(getattr(functions, name))[0]
    excess = (0.75 * a * a + b) / s**2 + 15 * (b * b / 36 + a * c / 24 + d / 60) / s**4
    allowed = 1e-12 + 300 / s**6
    assert abs(mean_square(lambda x: s * function(x / s)) - 1 - excess) < allowed


def test_without_normalisation_near_zero_the_digits_are_lost() -> None:
    s, x = 1e4, np.linspace(0.1, 3, 30)
    naive = s * 2 * (functions.softplus(x / s) - np.log(2))
    kept = s * normalised(functions.softplus)[0](x / s)
    exact = x + x**2 / (4 * s) - x**4 / (96 * s**3)
    assert np.abs(kept / exact - 1).max() < 1e-14
    assert np.abs(naive / exact - 1).max() > 1e-13


@pytest.mark.parametrize("name", ANALYTIC)
def test_the_compiled_scalar_is_the_normalised_function(name: str) -> None:
    function = getattr(functions, name)
    scalar = normalised_scalar(function)
    assert scalar is not None
    compiled = njit(scalar)
    x = np.concatenate([np.geomspace(1e-9, 8, 60), -np.geomspace(1e-9, 8, 60), [0.0]])
    assert np.array([compiled(float(at)) for at in x]) == pytest.approx(normalised(function)[0](x), rel=1e-14, abs=0)
    assert scalar(0.3) == pytest.approx(compiled(0.3), rel=1e-15)


def test_a_function_that_numba_does_not_compile_has_no_scalar() -> None:
    assert normalised_scalar(lambda x: np.polynomial.Polynomial([0, 1, 2])(x)) is None


def test_the_normalised_function_keeps_shapes() -> None:
    function = normalised(functions.silu)[0]
    assert function(np.zeros((2, 3))).shape == (2, 3)
    assert function(np.array([[-50.0, 1e-5], [0.0, 50.0]])).shape == (2, 2)
    assert function(np.zeros(0)).shape == (0,)


@pytest.mark.parametrize(
    ("function", "second", "third"),
    [
        (lambda x: 2 / (1 + np.exp(-x)) - 1, 0.0, -0.5),
        (lambda x: np.log(1 + np.exp(x)) - np.log(2), 0.5, 0.0),
        (lambda x: np.exp(x) - 1, 1.0, 1.0),
        (lambda x: np.arctan(x + 1) - np.pi / 4, -1.0, 1.0),
    ],
    ids=["logistic", "softplus", "exp", "arctan"],
)
def test_functions_that_cancel_at_zero_are_smooth_all_the_same(function, second, third):
    # Near 0 their values are nearly all rounding; wider intervals resolve them.
    phi = normalised(function)[1]
    assert phi.second == pytest.approx(second, abs=1e-8)
    assert phi.third == pytest.approx(third, abs=1e-8)
