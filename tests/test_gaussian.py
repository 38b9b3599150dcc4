"""Gaussian kernels against closed forms, and against the same formulas in fifty digits and more."""

from collections.abc import Callable
from math import factorial

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import erf

from deeplim.gaussian import (
    angle_of_gap,
    kernel_gaps,
    mean_product,
    mean_square,
    mean_square_difference,
    mean_square_differences,
    mean_squares,
    nuhat,
    slope_kernel_strength,
)
from deeplim.hermite import expand, one_minus_powers
from deeplim.panels import breaks_and_edges

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


@pytest.mark.parametrize("deviation", [1.0, 3.0, 10.0, 100.0])
@pytest.mark.parametrize("rho", [-1.0, -0.5, 0.0, 0.3, 0.99, 1 - 1e-6, 1.0])
def test_saturating_functions_of_any_deviation_have_twelve_digits(deviation: float, rho: float) -> None:
    function, exact = PRODUCTS["erf"]
    covariance = deviation**2, rho * deviation**2, deviation**2
    assert abs(mean_product(function, covariance) - exact(*covariance)) < 1e-12


def exact_erf_difference(first: float, second: float, gap: float) -> float:
    """E (erf(a) - erf(b))^2 from the arcsine kernel in sixty digits."""
    with mpmath.workdps(60):
        v, w, apart = mpmath.mpf(first) ** 2, mpmath.mpf(second) ** 2, mpmath.mpf(gap)

        def kernel(v: mpmath.mpf, w: mpmath.mpf, gap: mpmath.mpf) -> mpmath.mpf:
            return mpmath.asin(2 * mpmath.sqrt(v * w) * (1 - gap) / mpmath.sqrt((1 + 2 * v) * (1 + 2 * w)))

        return float(2 / mpmath.pi * (kernel(v, v, 0) + kernel(w, w, 0) - 2 * kernel(v, w, apart)))


@pytest.mark.parametrize("deviations", [(1.0, 1.0), (3.0, 3.0), (10.0, 10.0), (100.0, 100.0), (1.0, 100.0)])
@pytest.mark.parametrize("gap", [2.0, 0.7, 1e-3, 1e-9, 1e-20])
def test_differences_of_saturating_functions_have_nine_digits(deviations: tuple[float, float], gap: float) -> None:
    found = mean_square_difference(erf, deviations, gap)
    assert found == pytest.approx(exact_erf_difference(*deviations, gap), rel=1e-9, abs=0)


@pytest.mark.parametrize("deviation", [1e3, 1e5])
@pytest.mark.parametrize("gap", [1.5, 0.3, 1e-3])
def test_beyond_a_deviation_of_200_four_digits_are_left(deviation: float, gap: float) -> None:
    found = mean_square_difference(erf, (deviation, deviation), gap)
    assert found == pytest.approx(exact_erf_difference(deviation, deviation, gap), rel=1e-4)


def kernel_of_hinges(gap: float, threshold: float) -> float:
    """E max(a - k, 0) max(b - k, 0) at unit variances: k^2 P minus 2 k E a 1 plus E a b 1, each by one integral.

    Plackett: d P(a > k, b > k) / d rho is the normal density at (k, k), and for hinges d^2 E / d rho^2 is the same.
    """
    with mpmath.workdps(25):
        k, rho = mpmath.mpf(threshold), 1 - mpmath.mpf(gap)
        tail = mpmath.erfc(k / mpmath.sqrt(2)) / 2
        start, slope = (mpmath.npdf(k) - k * tail) ** 2, tail**2

        def density(r: mpmath.mpf) -> mpmath.mpf:
            return mpmath.exp(-k * k / (1 + r)) / (2 * mpmath.pi * mpmath.sqrt(1 - r * r))

        return float(start + slope * rho + mpmath.quad(lambda r: (rho - r) * density(r), [0, rho]))


@pytest.mark.parametrize("threshold", [0.3, 1.0, -2.0, 1e-4])
@pytest.mark.parametrize("gap", [1.6, 0.7, 0.1, 1e-3])
def test_kinks_away_from_zero_cost_nothing(threshold: float, gap: float) -> None:
    def hinge(x: np.ndarray) -> np.ndarray:
        return np.maximum(x - threshold, 0)

    exact = kernel_of_hinges(gap, threshold)
    assert mean_product(hinge, (1.0, 1 - gap, 1.0)) == pytest.approx(exact, rel=1e-10, abs=1e-12)
    difference = 2 * (mean_square(hinge) - exact)
    assert mean_square_difference(hinge, (1.0, 1.0), gap) == pytest.approx(difference, rel=1e-9, abs=1e-13)


def test_jumps_away_from_zero_cost_little() -> None:
    # P(a > 1, b > 1) at rho = 0.5, by Plackett's integral of the density at (1, 1)
    with mpmath.workdps(25):
        both = (mpmath.erfc(1 / mpmath.sqrt(2)) / 2) ** 2 + mpmath.quad(
            lambda r: mpmath.exp(-1 / (1 + r)) / (2 * mpmath.pi * mpmath.sqrt(1 - r * r)), [0, 0.5]
        )
    assert mean_product(lambda x: np.where(x > 1, 1.0, 0.0), (1.0, 0.5, 1.0)) == pytest.approx(float(both), abs=1e-11)


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


@pytest.mark.parametrize("gap", [1e-300, 1e-30, 1e-16, 1e-12, 1e-9, 1e-4, 0.3, 2.0])
def test_mean_square_difference_of_relu_is_its_kernel(gap: float) -> None:
    # E (relu(a) - relu(b))^2 = 1 - (rho + nuhat / pi) at unit variances
    expected = gap - float(nuhat(gap)) / np.pi
    assert mean_square_difference(lambda x: np.maximum(x, 0), (1.0, 1.0), gap) == pytest.approx(
        expected, rel=3e-10, abs=0
    )


def test_where_a_function_jumps_its_differences_go_with_the_angle() -> None:
    # E (sign a - sign b)^2 = 4 P(the signs differ) = 4 angle / pi
    for gap in (1.0, 1e-6, 1e-20):
        expected = 4 * float(angle_of_gap(gap)) / np.pi
        assert mean_square_difference(np.sign, (1.0, 1.0), gap) == pytest.approx(expected, rel=1e-9, abs=0)


@pytest.mark.parametrize("function", [np.tanh, lambda x: np.maximum(x, 0), lambda x: x + 1e4])
def test_kernel_gaps_do_not_cancel_where_norms_differ(function: Function) -> None:
    a, b, gaps = np.array([1.0, 0.5]), np.array([1.1, 0.5]), np.array([1e-8, 1e-8])
    squares = mean_squares(function, a**2), mean_squares(function, b**2)
    apart = mean_square_differences(function, a, b, gaps) - (np.sqrt(squares[0]) - np.sqrt(squares[1])) ** 2
    expected = apart / (2 * np.sqrt(squares[0] * squares[1]))
    assert kernel_gaps(function, a, b, gaps) == pytest.approx(expected, rel=1e-6, abs=1e-14)


def test_homogeneity_of_kernel_gaps() -> None:
    # Slopes map the gap whatever the norms.
    gaps, a, b = np.array([1e-10, 1e-3, 0.7]), np.array([1.0, 2.0, 3.0]), np.array([2.0, 0.1, 3.0])
    found = kernel_gaps(lambda x: np.maximum(x, 0), a, b, gaps)
    assert found == pytest.approx(gaps - nuhat(gaps) / np.pi, rel=1e-9, abs=0)


def test_series_follow_mehler() -> None:
    # exp(s g) = exp(s^2/2) sum_k s^k / sqrt(k!) he_k(g)
    found, converged = expand(np.exp, np.array([0.5, 1.0]))
    assert converged.all()
    for row, s in zip(found, (0.5, 1.0), strict=True):
        exact = np.array([np.exp(s * s / 2) * s**k / np.sqrt(float(factorial(k))) for k in range(12)])
        assert row[:12] == pytest.approx(exact, rel=1e-12, abs=1e-15)


def test_series_of_rough_or_growing_functions_do_not_count_as_converged() -> None:
    rough = [np.abs, np.sign, lambda x: np.clip(x, -1, 1), lambda x: np.exp(x * x / 5), lambda x: np.tanh(50 * x)]
    for function in rough:
        assert not expand(function, np.ones(1))[1].any(), function


@pytest.mark.parametrize("gap", [1e-300, 1e-12, 0.1, 0.5, 0.6, 1.0, 1.5, 2.0])
def test_one_minus_powers(gap: float) -> None:
    with mpmath.workdps(350):
        exact = [float(1 - (1 - mpmath.mpf(gap)) ** k) for k in range(50)]
    assert one_minus_powers(np.array([gap]), 50)[0] == pytest.approx(np.array(exact), rel=1e-13, abs=0)


@pytest.mark.parametrize("reach", [12.0, 1200.0])
@pytest.mark.parametrize("kinks", [[-1.0, 1.0], [0.3], [-1e-3, 5.0], [-3.0, 3.0]])
def test_kinks_and_jumps_are_found_where_they_are(reach: float, kinks: list[float]) -> None:
    def bent(x: np.ndarray) -> np.ndarray:
        return np.sin(x) / 9 + sum(np.abs(x - kink) for kink in kinks)

    def broken(x: np.ndarray) -> np.ndarray:
        return np.tanh(x) + sum(np.sign(x - kink) for kink in kinks)

    for function in (bent, broken):
        found, edges = breaks_and_edges(function, reach)
        near = found[np.abs(found[:, None] - kinks).argmin(axis=0)]
        assert near == pytest.approx(np.array(kinks), rel=1e-11, abs=1e-11)
        assert np.isin(found, edges).all()


def test_smooth_functions_have_no_kinks() -> None:
    for function in (np.tanh, np.exp, np.sin, lambda x: x / (1 + x * x)):
        assert len(breaks_and_edges(function, 12.0)[0]) == 0
