"""Gaussian expectations in one and two variables: closed forms for slopes, quadrature for the rest.

All kernels are written in the correlation gap ``1 - rho`` rather than in ``rho``, because deep networks drive
``rho`` to one and a subtraction would then lose every digit.
"""

from collections.abc import Callable
from functools import lru_cache, partial

import numpy as np
from jaxtyping import Float

Function = Callable[[np.ndarray], np.ndarray]
Array = Float[np.ndarray, "..."]

_SERIES_BELOW = 0.02
"""Gap below which nuhat is summed as a series; above it the direct form loses two digits at most."""
_CORE, _REACH = 12, 38
"""Standard deviations integrated always, and at most: beyond the second the density underflows."""
_MOST_PANELS = 500


def nuhat(gap: Array | float) -> Array:
    """Return sqrt(1 - rho^2) - rho arccos(rho) at rho = 1 - gap, to full precision for gap in [0, 2].

    Pins: nuhat = 0 at rho = 1 and pi at rho = -1; d nuhat / d rho = -arccos(rho). It is (2 sqrt(2)/3)
    gap^(3/2) for small gaps, so it underflows below a gap of 1e-205. (Li & Nica 2023; in terms of the
    degree-one arc-cosine kernel of Cho & Saul 2009, pi K_1(rho) = nuhat(rho) + pi rho.)
    """
    gap = np.asarray(gap, dtype=float)
    angle = angle_of_gap(gap)
    square = angle * angle
    # sin t - t cos t = t^3/3 (1 - t^2/10 + t^4/280 - t^6/15120 + t^8/1330560 ...)
    series = 1 - square / 10 * (1 - square / 28 * (1 - square / 54 * (1 - square / 88)))
    return np.where(gap < _SERIES_BELOW, angle * square / 3 * series, np.sin(angle) - angle * np.cos(angle))


def angle_of_gap(gap: Array | float) -> Array:
    """Return arccos(1 - gap) in radians, precise at both ends: 2 arctan(sqrt(gap / (2 - gap)))."""
    gap = np.clip(np.asarray(gap, dtype=float), 0.0, 2.0)
    return np.asarray(2 * np.arctan2(np.sqrt(gap), np.sqrt(2.0 - gap)))


def slope_kernel_strength(s_plus: float, s_minus: float) -> float:
    """Return kappa = (s_+ - s_-)^2 / (pi (s_+^2 + s_-^2)), the strength of the leaky-ReLU correlation map.

    One layer of infinite width maps rho to rho + kappa nuhat(rho): 1/pi for ReLU, 0 for a linear network.
    """
    return float(((s_plus - s_minus) / np.hypot(s_plus, s_minus)) ** 2 / np.pi)


def mean_square(function: Function, variance: float = 1.0) -> float:
    """Return E f(sqrt(variance) g)^2 for g ~ N(0, 1), by quadrature on panels that are halved where needed.

    Relative accuracy about 1e-13 for piecewise smooth functions: kinks and jumps may lie anywhere, and the
    steep middle of a saturating function is resolved up to a variance of 1e8. Infinity when the mean does not
    exist or is too large for a float, that is when it has not settled by 38 standard deviations.
    """
    integrand = partial(_weighted_square, function, np.sqrt(variance))
    # Panels shrink towards zero, where the scale of f is that of g divided by a root of the variance.
    half = np.concatenate([[0.0], 2.0 ** np.arange(-30, 0), np.arange(1.0, _CORE + 1)])
    with np.errstate(all="ignore"):
        total = _integrate(integrand, -half[::-1]) + _integrate(integrand, half)
        for edge in range(_CORE, _REACH):
            ends = np.array([edge, edge + 1.0])
            tail = _integrate(integrand, -ends[::-1]) + _integrate(integrand, ends)
            total += tail
            if tail <= 1e-17 * total:
                return float(total)
    return float("inf")


def mean_product(function: Function, covariance: tuple[float, float, float]) -> float:
    """Return E f(a) f(b) for centred Gaussians with covariance (Var a, Cov(a, b), Var b), by quadrature.

    In polar coordinates a and b change sign along four rays, and the rule has a break at each: a kink or jump
    of f at zero costs nothing. Accurate to about 1e-13 at variances up to one for f smooth on each side of
    zero; 1e-10 at variance 10 and 1e-7 at 100 when f saturates, as tanh and erf do; about 1e-4 when f has a
    kink elsewhere.
    """
    var_a, cov, var_b = covariance
    sd_a, sd_b = np.sqrt(var_a), np.sqrt(var_b)
    rho = cov / (sd_a * sd_b) if sd_a > 0 and sd_b > 0 else 0.0
    between = float(np.arccos(np.clip(rho, -1.0, 1.0)))
    return _polar_mean(lambda a, b: function(a) * function(b), (sd_a, sd_b), between)


def mean_square_difference(function: Function, deviations: tuple[float, float], gap: float) -> float:
    """Return E (f(a) - f(b))^2 for centred Gaussians of these standard deviations and correlation 1 - gap.

    Relative accuracy about 1e-10 for deviations up to one and f continuous; 1e-4 at deviations of ten when f saturates.
    With equal deviations it is proportional to the gap as the gap vanishes (not where f jumps), and below a gap of
    1e-10 that is how it is found.
    """
    # Rounding in f(a) - f(b) weighs 1e-16 / sqrt(gap); the square of the angle measures smaller gaps by larger ones.
    used = max(gap, 1e-10) if deviations[0] == deviations[1] else gap
    angle, used_angle = (float(angle_of_gap(value)) for value in (gap, used))
    found = _polar_mean(lambda a, b: (function(a) - function(b)) ** 2, deviations, used_angle)
    return found * (angle / used_angle) ** 2 if used_angle > 0 else found


def _polar_mean(
    of: Callable[[np.ndarray, np.ndarray], np.ndarray], deviations: tuple[float, float], between: float
) -> float:
    """E of(a, b) with a = sd_a r cos t, b = sd_b r cos(t - between), r^2 / 2 exponential and t uniform."""
    radius, radius_weight = _radial_rule()
    node, weight = _panel_rule(32)
    rays = np.array([0.0, between, np.pi, np.pi + between, 2 * np.pi]) - np.pi / 2
    width = np.diff(rays)[:, None]
    angle = (rays[:-1, None] + width * node).ravel()
    with np.errstate(all="ignore"):
        a = deviations[0] * np.outer(radius, np.cos(angle))
        b = deviations[1] * np.outer(radius, np.cos(angle - between))
        values = of(a, b)
    return float(radius_weight @ values @ (width * weight).ravel() / (2 * np.pi))


@lru_cache(maxsize=8)
def _panel_rule(order: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre nodes and weights on [0, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(order)
    return (1 + nodes) / 2, weights / 2


@lru_cache(maxsize=1)
def _radial_rule() -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights for the integral of f(r) r exp(-r^2 / 2) over r > 0, finer towards r = 0."""
    node, weight = _panel_rule(10)
    edges = np.array([0, 1 / 16, 1 / 4, 1 / 2, 1, 2, 3.5, 5, 7, 10])
    width = np.diff(edges)[:, None]
    r = (edges[:-1, None] + width * node).ravel()
    return r, (width * weight).ravel() * r * np.exp(-r * r / 2)


def _weighted_square(function: Function, scale: float, g: np.ndarray) -> np.ndarray:
    return np.exp(-g * g / 2) / np.sqrt(2 * np.pi) * np.asarray(function(scale * g), dtype=float) ** 2


def _integrate(integrand: Function, edges: np.ndarray) -> float:
    """Integrate a non-negative function over panels, each halved until its halves add up to the whole."""
    left, right = edges[:-1], edges[1:]
    whole = _panels(integrand, left, right)
    allowed, total = 1e-15 * whole.sum(), 0.0
    # A jump is fenced in to 1e-15 in fifty halvings. More open panels than a function has jumps means that it
    # is not smooth at all (it computes in single precision, say), and halving would never end.
    for _ in range(60):
        middle = (left + right) / 2
        halves = _panels(integrand, np.concatenate([left, middle]), np.concatenate([middle, right]))
        both = halves[: len(whole)] + halves[len(whole) :]
        rough = np.abs(both - whole) > allowed
        total += both[~rough].sum()
        if not rough.any() or rough.sum() > _MOST_PANELS:
            return float(total + both[rough].sum())
        left, middle, right = left[rough], middle[rough], right[rough]
        left, right = np.concatenate([left, middle]), np.concatenate([middle, right])
        whole = halves[np.tile(rough, 2)]
    return float(total + whole.sum())


def _panels(integrand: Function, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    node, weight = _panel_rule(12)
    width = (right - left)[:, None]
    return integrand(left[:, None] + width * node) @ weight * width[:, 0]
