"""Gaussian kernels against closed forms, and against the same formulas in fifty digits and more."""

from collections.abc import Callable

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import erf
from scipy.stats import multivariate_normal

from deeplim.gaussian import (
    angle_of_gap,
    mean_product,
    mean_square,
    mean_square_difference,
    nuhat,
    slope_kernel_strength,
)

Function = Callable[[np.ndarray], np.ndarray]
UNDERFLOWS_BELOW = 1e-205
EVERY_SIZE = [
    *np.geomspace(1e-204, 1.0, 150),
    *np.linspace(1e-3, 0.03, 90),
    *(2.0 - np.geomspace(1e-15, 1.0, 40)),
    2.0,
]
fixed = settings(derandomize=True, deadline=None, database=None, max_examples=60)


def enough_digits(gap: float) -> int:
    """The cancellation in sin t - t cos t costs as many digits as the gap has leading zeros."""
    return 50 + 2 * int(max(0.0, -np.log10(gap)))


def exact_angle(gap: float) -> mpmath.mpf:
    return 2 * mpmath.asin(mpmath.sqrt(mpmath.mpf(gap) / 2))


def error_of_nuhat(found: float, gap: float) -> float:
    with mpmath.workdps(enough_digits(gap)):
        angle = exact_angle(gap)
        return float(abs(mpmath.mpf(found) / (mpmath.sin(angle) - angle * mpmath.cos(angle)) - 1))


def test_the_pins_of_nuhat() -> None:
    assert nuhat(0.0) == 0
    assert nuhat(1.0) == pytest.approx(1.0, rel=1e-15)  # rho = 0
    assert nuhat(2.0) == pytest.approx(np.pi, rel=1e-15)  # rho = -1


def test_nuhat_has_nearly_fourteen_digits_at_every_gap() -> None:
    for gap, found in zip(EVERY_SIZE, nuhat(np.array(EVERY_SIZE)), strict=True):
        assert error_of_nuhat(found, gap) < 2e-14, gap


def test_the_formula_written_in_rho_does_not_have_them() -> None:
    gap = 1e-6
    rho = 1 - gap
    assert error_of_nuhat(np.sqrt(1 - rho**2) - rho * np.arccos(rho), gap) > 1e-10


@fixed
@given(st.floats(UNDERFLOWS_BELOW, 2.0))
def test_nuhat_has_nearly_fourteen_digits_at_any_gap(gap: float) -> None:
    assert error_of_nuhat(float(nuhat(gap)), gap) < 2e-14


@pytest.mark.parametrize("gap", [1e-300, 1e-250, 1e-206])
def test_nuhat_underflows_towards_zero_where_no_float_holds_it(gap: float) -> None:
    assert 0 <= nuhat(gap) < np.finfo(float).tiny


@pytest.mark.parametrize("rho", [-0.999, -0.7, 0.0, 0.3, 0.979, 0.981, 0.999])
def test_the_derivative_of_nuhat_is_minus_the_angle(rho: float) -> None:
    step = 1e-5 * (1 - abs(rho))
    slope = (nuhat(1 - rho - step) - nuhat(1 - rho + step)) / (2 * step)
    assert slope == pytest.approx(-np.arccos(rho), rel=1e-7)


def test_nuhat_keeps_the_shape_of_its_argument_and_what_is_no_number() -> None:
    assert nuhat(np.full((2, 3), 0.5)).shape == (2, 3)
    assert np.isnan(nuhat(np.array([np.nan, 1.0]))).tolist() == [True, False]


def test_the_angle_is_precise_at_both_ends() -> None:
    for gap in (1e-300, *EVERY_SIZE):
        with mpmath.workdps(enough_digits(gap)):
            assert abs(float(angle_of_gap(gap)) / exact_angle(gap) - 1) < 1e-15, gap


def test_the_angle_of_a_gap_out_of_range_by_rounding_is_the_nearest() -> None:
    assert angle_of_gap(-1e-17) == 0
    assert angle_of_gap(2 + 1e-15) == np.pi


@pytest.mark.parametrize(
    ("slopes", "kappa"),
    [((1.0, 0.0), 1 / np.pi), ((0.0, 3.0), 1 / np.pi), ((1.0, 1.0), 0.0), ((1.0, -1.0), 2 / np.pi)],
)
def test_strength_of_slopes(slopes: tuple[float, float], kappa: float) -> None:
    assert slope_kernel_strength(*slopes) == pytest.approx(kappa, rel=1e-15, abs=1e-300)


@fixed
@given(st.floats(-3, 3), st.floats(0.1, 3), st.floats(-150, 150))
def test_strength_depends_on_the_ratio_of_the_slopes_alone(s_plus: float, s_minus: float, power: float) -> None:
    kappa = slope_kernel_strength(s_plus, s_minus)
    scaled = slope_kernel_strength(s_plus * 10**power, s_minus * 10**power)
    assert scaled == pytest.approx(kappa, rel=1e-12, abs=1e-25)
    assert slope_kernel_strength(s_minus, s_plus) == pytest.approx(kappa, rel=1e-15)
    assert 0 <= kappa <= 2 / np.pi + 1e-15


def leaky(s_minus: float) -> Function:
    return lambda x: np.where(x > 0, x, s_minus * x)


@pytest.mark.parametrize("s_minus", [-1.0, -0.3, 0.0, 0.5, 1.0])
@pytest.mark.parametrize("rho", [-1.0, -0.9, 0.0, 0.3, 0.999, 1.0])
def test_nuhat_and_the_strength_are_the_kernel_of_slopes(s_minus: float, rho: float) -> None:
    kernel = mean_product(leaky(s_minus), (1.0, rho, 1.0)) / ((1 + s_minus**2) / 2)
    assert rho + slope_kernel_strength(1.0, s_minus) * nuhat(1 - rho) == pytest.approx(kernel, abs=1e-13)


def normal_square(moment: int, low: float, high: float) -> float:
    """E g^moment 1{low < g < high} in twenty digits."""
    with mpmath.workdps(25):
        return float(
            mpmath.quad(lambda g: g**moment * mpmath.npdf(g), [low, 0, high] if low < 0 < high else [low, high])
        )


MEAN_SQUARES: list[tuple[str, Function, float, float]] = [
    ("constant", np.ones_like, 3.0, 1.0),
    ("g", lambda x: x, 1.0, 1.0),
    ("g^3", lambda x: x**3, 1.0, 15.0),
    ("g^10", lambda x: x**10, 1.0, 654729075.0),
    ("g^20", lambda x: x**20, 1.0, 3.19830986772877770815625e23),
    ("scaled", lambda x: x, 1e-300, 1e-300),
    ("exp", np.exp, 1.0, np.exp(2.0)),
    ("exp, large variance", np.exp, 100.0, np.exp(200.0)),
    ("exp(g^2/5)", lambda x: np.exp(x * x / 5), 1.0, np.sqrt(5.0)),
    ("sin", np.sin, 1.0, (1 - np.exp(-2.0)) / 2),
    ("sin, large variance", np.sin, 1e6, 0.5),
    ("relu", lambda x: np.maximum(x, 0), 1.0, 0.5),
    ("relu - 0.3", lambda x: np.maximum(x - 0.3, 0), 1.0, 0.0),
    ("clip", lambda x: np.clip(x, -1, 1), 1.0, 0.0),
    ("sign", np.sign, 1.0, 1.0),
    ("step at 0.7", lambda x: np.where(x > 0.7, 1.0, 0.0), 1.0, 0.0),
    *[(f"erf, {v:g}", erf, v, 2 / np.pi * np.arcsin(2 * v / (1 + 2 * v))) for v in (1e-4, 0.01, 1.0, 10.0, 100.0, 1e8)],
    ("zero", np.zeros_like, 1.0, 0.0),
]
TRUNCATED = {
    "relu - 0.3": normal_square(2, 0.3, 40) - 0.6 * normal_square(1, 0.3, 40) + 0.09 * normal_square(0, 0.3, 40),
    "clip": normal_square(2, -1, 1) + 2 * normal_square(0, 1, 40),
    "step at 0.7": normal_square(0, 0.7, 40),
}


@pytest.mark.parametrize(("name", "function", "variance", "value"), MEAN_SQUARES, ids=[row[0] for row in MEAN_SQUARES])
def test_mean_square_has_thirteen_digits(name: str, function: Function, variance: float, value: float) -> None:
    assert mean_square(function, variance) == pytest.approx(TRUNCATED.get(name, value), rel=1e-13, abs=0)


@pytest.mark.parametrize("rate", [0.25, 0.3, 0.5, 1.0, 20.0])
def test_a_mean_square_that_does_not_exist_is_infinite(rate: float) -> None:
    assert mean_square(lambda x: np.exp(rate * x * x)) == np.inf


def test_a_mean_square_beyond_the_floats_is_infinite() -> None:
    assert mean_square(lambda x: 1e160 * x) == np.inf
    assert mean_square(np.exp, 1e4) == np.inf  # exp(20000)


def test_values_that_overflow_far_out_do_not_matter() -> None:
    assert mean_square(lambda x: x / (1 + np.exp(-x)), 1e4) == pytest.approx(5e3, rel=1e-3)


def test_a_function_in_single_precision_is_integrated_as_far_as_it_goes() -> None:
    single = mean_square(lambda x: np.tanh(x.astype(np.float32)))
    assert single == pytest.approx(mean_square(np.tanh), rel=1e-6)
    assert single != mean_square(np.tanh)


def relu_kernel(var_a: float, cov: float, var_b: float) -> float:
    """E relu(a) relu(b) = sqrt(Var a Var b) (sin t + (pi - t) cos t) / (2 pi) (Cho & Saul 2009)."""
    scale = np.sqrt(var_a * var_b)
    angle = np.arccos(np.clip(cov / scale, -1, 1))
    return scale * (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / (2 * np.pi)


PRODUCTS: dict[str, tuple[Function, Callable[[float, float, float], float]]] = {
    "constant": (np.ones_like, lambda a, c, b: 1.0),
    "g": (lambda x: x, lambda a, c, b: c),
    "g^2": (lambda x: x**2, lambda a, c, b: a * b + 2 * c * c),
    "g^3": (lambda x: x**3, lambda a, c, b: 9 * a * b * c + 6 * c**3),
    "exp": (np.exp, lambda a, c, b: np.exp((a + b) / 2 + c)),
    "sin": (np.sin, lambda a, c, b: np.exp(-(a + b) / 2) * np.sinh(c)),
    "sign": (np.sign, lambda a, c, b: 2 / np.pi * np.arcsin(np.clip(c / np.sqrt(a * b), -1, 1))),
    "relu": (lambda x: np.maximum(x, 0), relu_kernel),
    "erf": (erf, lambda a, c, b: 2 / np.pi * np.arcsin(2 * c / np.sqrt((1 + 2 * a) * (1 + 2 * b)))),
}


@pytest.mark.parametrize("name", PRODUCTS)
@fixed
@given(st.floats(0.05, 1.0), st.floats(-1.0, 1.0), st.floats(0.05, 1.0))
def test_mean_product_has_thirteen_digits(name: str, sd_a: float, rho: float, sd_b: float) -> None:
    function, exact = PRODUCTS[name]
    covariance = sd_a**2, rho * sd_a * sd_b, sd_b**2
    # Near rho = +-1 the last digit of rho itself is worth 1e-8 radians to a function that jumps.
    allowed = 1e-13 if name != "sign" else 1e-13 + 1e-15 / np.sqrt(max(1 - rho**2, 1e-15))
    scale = np.sqrt(mean_square(function, sd_a**2) * mean_square(function, sd_b**2))
    assert abs(mean_product(function, covariance) - exact(*covariance)) < allowed * scale


@pytest.mark.parametrize(("variance", "allowed"), [(1.0, 1e-13), (10.0, 1e-10), (100.0, 1e-7)])
@pytest.mark.parametrize("rho", [-1.0, -0.5, 0.0, 0.3, 0.99, 1 - 1e-6, 1.0])
def test_how_accurate_saturating_functions_are(variance: float, allowed: float, rho: float) -> None:
    function, exact = PRODUCTS["erf"]
    covariance = variance, rho * variance, variance
    assert abs(mean_product(function, covariance) - exact(*covariance)) < allowed


@pytest.mark.parametrize("rho", [0.3, 0.9])
def test_how_accurate_kinks_away_from_zero_are(rho: float) -> None:
    def both_inside(c: float) -> float:
        law = multivariate_normal(cov=[[1, c], [c, 1]])
        return float(law.cdf([1, 1], lower_limit=[-1, -1]))

    # Price's theorem: d/dc E f(a) f(b) = E f'(a) f'(b), and f' is the indicator of (-1, 1).
    exact = quad(both_inside, 0, rho, epsabs=1e-7)[0]
    assert mean_product(lambda x: np.clip(x, -1, 1), (1.0, rho, 1.0)) == pytest.approx(exact, abs=1e-4)


def test_mean_product_is_symmetric_and_meets_mean_square_on_the_diagonal() -> None:
    assert mean_product(np.exp, (0.3, 0.1, 0.9)) == pytest.approx(mean_product(np.exp, (0.9, 0.1, 0.3)), rel=1e-13)
    assert mean_product(np.tanh, (0.7, 0.7, 0.7)) == pytest.approx(mean_square(np.tanh, 0.7), rel=1e-13)


def test_a_variance_of_zero_is_a_constant() -> None:
    assert mean_product(np.exp, (0.0, 0.0, 1.0)) == pytest.approx(np.exp(0.5), rel=1e-13)
    assert mean_product(np.exp, (0.0, 0.0, 0.0)) == pytest.approx(1.0, rel=1e-13)


def test_a_covariance_out_of_range_by_rounding_is_the_nearest() -> None:
    assert mean_product(np.tanh, (1.0, 1 + 1e-15, 1.0)) == pytest.approx(mean_square(np.tanh), rel=1e-13)


@pytest.mark.parametrize("gap", [1e-250, 1e-30, 1e-14, 1e-8, 1e-3, 0.5, 1.7])
def test_mean_square_difference_keeps_its_digits_at_any_gap(gap: float) -> None:
    # f(x) = x: Var(a - b) = 2 v gap. f(x) = x^3: E a^6 = 15 v^3, E a^3 b^3 = (9 rho + 6 rho^3) v^3.
    assert mean_square_difference(lambda x: x, (1.3, 1.3), gap) == pytest.approx(2 * 1.69 * gap, rel=1e-7)
    cubic = 2 * (15 - 9 * (1 - gap) - 6 * (1 - gap) ** 3) if gap > 1e-6 else 54 * gap * (1 - 18 / 27 * gap)
    assert mean_square_difference(lambda x: x**3, (1.0, 1.0), gap) == pytest.approx(cubic, rel=1e-7)
    # unequal deviations: (s - t)^2 + 2 s t gap
    expected = 0.25 + 2 * 1.5 * gap
    assert mean_square_difference(lambda x: x, (1.0, 1.5), gap) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("gap", [1e-9, 1e-4, 0.3])
def test_mean_square_difference_of_relu_is_its_kernel(gap: float) -> None:
    # E (relu(a) - relu(b))^2 = 1 - (rho + nuhat / pi) at unit variances
    expected = gap - float(nuhat(gap)) / np.pi
    assert mean_square_difference(lambda x: np.maximum(x, 0), (1.0, 1.0), gap) == pytest.approx(expected, rel=1e-6)
