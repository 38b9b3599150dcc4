"""Gaussian expectations in one and two variables: closed forms for slopes, series and quadrature for the rest.

All kernels are written in the correlation gap ``1 - rho`` rather than in ``rho``, because deep networks drive
``rho`` to one and a subtraction would then lose every digit.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
from jaxtyping import Float

from deeplim.hermite import expand, one_minus_powers
from deeplim.panels import breaks_and_edges, integrate, panel_rule

Function = Callable[[np.ndarray], np.ndarray]
Array = Float[np.ndarray, "..."]

_SERIES_BELOW = 0.02
"""Gap below which nuhat is summed as a series; above it the direct form loses two digits at most."""
_CORE, _REACH = 12, 38
"""Standard deviations integrated always, and at most: beyond the second the density underflows."""
_RADIUS = 12.0
_RADII = np.array([0, 1 / 2, 1.25, 2.5, 4, 6, 8.5, _RADIUS])
_SMALLEST = 1e-6
"""Angle in radians below which a quadrature extrapolates: rounding in f(a) - f(b) weighs 1e-16 / angle."""
_LARGEST = 200.0
"""Deviation up to which a plane resolves what f does near zero; beyond, it is a small part of the mean."""
_WIDE = 0.4
"""Angle in radians that one panel resolves whatever f does at x of the order of a deviation."""
_CHUNK = 4096


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
        total = integrate(integrand, -half[::-1]) + integrate(integrand, half)
        for edge in range(_CORE, _REACH):
            ends = np.array([edge, edge + 1.0])
            tail = integrate(integrand, -ends[::-1]) + integrate(integrand, ends)
            total += tail
            if tail <= 1e-17 * total:
                return float(total)
    return float("inf")


def mean_squares(function: Function, variances: Float[np.ndarray, " variance"]) -> Float[np.ndarray, " variance"]:
    """Return ``mean_square`` for each variance, by Hermite series where they converge and by quadrature elsewhere."""
    some, which = np.unique(variances, return_inverse=True)
    return np.asarray(_squares(function, np.sqrt(some), *expand(function, np.sqrt(some)))[which])


def mean_product(function: Function, covariance: tuple[float, float, float]) -> float:
    """Return E f(a) f(b) for centred Gaussians with covariance (Var a, Cov(a, b), Var b).

    Accurate to about 1e-13 of sqrt(E f(a)^2 E f(b)^2) for piecewise smooth functions, wherever their kinks are and
    for deviations up to 200 (1e-6 beyond); by a Hermite series where one converges, and elsewhere by quadrature.
    """
    var_a, cov, var_b = covariance
    sd_a, sd_b = np.sqrt(var_a), np.sqrt(var_b)
    rho = float(np.clip(cov / (sd_a * sd_b), -1.0, 1.0)) if sd_a > 0 and sd_b > 0 else 0.0
    found, converged = expand(function, np.array([sd_a, sd_b]))
    if converged.all():
        return float((found[0] * found[1]) @ rho ** np.arange(found.shape[1]))
    size = np.sqrt(mean_square(function, var_a) * mean_square(function, var_b))
    plane = _Plane(function, float(max(sd_a, sd_b)))
    return plane.mean(lambda fa, fb: fa * fb, (sd_a, sd_b), float(np.arccos(rho)), size)


def mean_square_difference(function: Function, deviations: tuple[float, float], gap: float) -> float:
    """Return E (f(a) - f(b))^2 for centred Gaussians of these standard deviations and correlation 1 - gap.

    Relative accuracy as for ``mean_square_differences``.
    """
    first, second = (np.array([float(deviation)]) for deviation in deviations)
    return float(mean_square_differences(function, first, second, np.array([float(gap)]))[0])


def mean_square_differences(
    function: Function,
    deviations_a: Float[np.ndarray, " pair"],
    deviations_b: Float[np.ndarray, " pair"],
    gaps: Float[np.ndarray, " pair"],
) -> Float[np.ndarray, " pair"]:
    """Return E (f(a) - f(b))^2 for each pair of centred Gaussians, of these deviations and correlation 1 - gap.

    Relative accuracy about 1e-12 for smooth f at any gap, by Hermite series; 1e-9 for f with kinks, or for a smooth
    one that saturates within a small part of a deviation, up to deviations of 200, and about 1e-5 beyond. With equal
    deviations it is proportional to the gap as the gap vanishes (to the angle where f jumps).
    """
    some, which = np.unique(np.concatenate([deviations_a, deviations_b]), return_inverse=True)
    return _square_differences(function, some, which, gaps, np.ones(len(some)), *expand(function, some))


def kernel_gaps(
    function: Function,
    deviations_a: Float[np.ndarray, " pair"],
    deviations_b: Float[np.ndarray, " pair"],
    gaps: Float[np.ndarray, " pair"],
) -> Float[np.ndarray, " pair"]:
    """Return 1 - E f(a) f(b) / sqrt(E f(a)^2 E f(b)^2) for each pair: the gap that a layer of infinite width maps to.

    It is E (f(a) / |f(a)| - f(b) / |f(b)|)^2 / 2, so nothing cancels; accurate as ``mean_square_differences``.
    """
    some, which = np.unique(np.concatenate([deviations_a, deviations_b]), return_inverse=True)
    series, converged = expand(function, some)
    scales = 1 / np.sqrt(_squares(function, some, series, converged))
    return _square_differences(function, some, which, gaps, scales, series, converged) / 2


def _squares(function: Function, deviations: Array, series: Array, converged: np.ndarray) -> Array:
    found = (series**2).sum(axis=1)
    found[~converged] = [mean_square(function, float(one) ** 2) for one in deviations[~converged]]
    return found


def _square_differences(
    function: Function,
    some: Array,
    which: np.ndarray,
    gaps: Array,
    scales: Array,
    series: Array,
    converged: np.ndarray,
) -> Array:
    """E (u f(a) - v f(b))^2 for each pair; ``which`` says which of ``some`` deviations, scales and series it has."""
    first, second = np.split(which, 2)
    result = np.empty(len(gaps))
    smooth = converged[first] & converged[second]
    scaled = scales[:, None] * series
    for part in np.array_split(np.flatnonzero(smooth), 1 + len(gaps) // _CHUNK):
        u, v = scaled[first[part]], scaled[second[part]]
        result[part] = ((u - v) ** 2 + 2 * u * v * one_minus_powers(gaps[part], series.shape[1])).sum(axis=1)
    if not smooth.all():
        plane = _Plane(function, float(some.max()))
        for i in np.flatnonzero(~smooth):
            a, b = first[i], second[i]
            pair = (float(some[a]), float(some[b])), (float(scales[a]), float(scales[b]))
            result[i] = plane.square_difference(pair[0], float(gaps[i]), pair[1])
    return result


class _Plane:
    """Means over a plane of two Gaussians, in polar coordinates: a = sd_a r cos t, b = sd_b r cos(t - between).

    Along each ray the panels of f itself, for a and for b, are the panels of the rule, so f is resolved whatever its
    scale; across rays panels are halved where needed, and begin at the rays through the points (kink, kink).
    """

    def __init__(self, function: Function, deviation: float) -> None:
        self.function = function
        self.tolerance = 1e-11 if deviation <= _LARGEST else 1e-8
        if deviation <= _LARGEST:
            self.breaks, self.edges = breaks_and_edges(function, _RADIUS * max(deviation, 1e-3))
        else:
            self.breaks, self.edges = np.zeros(0), deviation * np.append(-_RADII[:0:-1], _RADII)

    def square_difference(self, deviations: tuple[float, float], gap: float, scales: tuple[float, float]) -> float:
        """E (u f(a) - v f(b))^2."""
        u, v = scales

        def at(angle: float) -> float:
            return self.mean(lambda fa, fb: (u * fa - v * fb) ** 2, deviations, angle)

        angle, least = float(angle_of_gap(gap)), _SMALLEST / max(1.0, *deviations)
        if angle >= least or u * deviations[0] != v * deviations[1]:
            return at(angle)
        near, far, share = at(least), at(2 * least), angle / least
        if far < 3 * near:  # f jumps: the mean is proportional to the angle, not to its square
            return near * share
        # near / x^2 = A + B x, B from kinks: extrapolated to the angle, the next term weighs angle^2.
        return share**2 * (near + (near - far / 4) * (1 - share))

    def mean(
        self,
        of: Callable[[np.ndarray, np.ndarray], np.ndarray],
        deviations: tuple[float, float],
        between: float,
        size: float | None = None,
    ) -> float:
        """E of(f(a), f(b)); the size is that of the mean, where it may vanish."""
        signs = np.array([0.0, between, np.pi, np.pi + between])
        rays = np.concatenate([signs, self._corners(deviations, between) + np.pi / 2])
        # Where f turns at a small x, the mean along a ray turns at a small angle from where a or b is zero.
        turn = np.abs(self.edges[self.edges != 0]).min() / max(*deviations, 1e-300)
        if turn < _WIDE:
            steps = turn * 4.0 ** np.arange(np.ceil(np.log(_WIDE / turn) / np.log(4.0)))
            rays = np.concatenate([rays, *(sign + np.append(-steps, steps) for sign in signs)])
        edges = np.append(np.unique(np.mod(rays, 2 * np.pi)), 2 * np.pi) - np.pi / 2
        tolerance = self.tolerance if size is not None else self.tolerance + 1e-15 / max(between, 1e-8)
        total = integrate(
            lambda t: self._along(of, deviations, t, between),
            edges,
            tolerance=tolerance,
            size=size and size * 2 * np.pi,
        )
        return total / (2 * np.pi)

    def _corners(self, deviations: tuple[float, float], between: float) -> np.ndarray:
        """The angles t at which a and b are both at kinks: a / sd_a = r cos t, b / sd_b = r cos(t - between)."""
        if not len(self.breaks) or min(deviations) == 0 or np.sin(between) == 0:
            return np.zeros(0)
        x, y = np.meshgrid(self.breaks / deviations[0], self.breaks / deviations[1])
        # r sin t = (y - x cos(between)) / sin(between), with y - x cos = (y - x) + 2 x sin^2(between / 2)
        height = ((y - x) + 2 * x * np.sin(between / 2) ** 2) / np.sin(between)
        return np.arctan2(height, x).ravel()

    def _along(
        self,
        of: Callable[[np.ndarray, np.ndarray], np.ndarray],
        deviations: tuple[float, float],
        angles: np.ndarray,
        between: float,
    ) -> np.ndarray:
        """The integral of of(f(a), f(b)) r exp(-r^2 / 2) over r > 0, at each angle."""
        angle = angles.ravel()
        node, weight = panel_rule()
        # cos(angle - between), written so that its rounding does not depend on the angle in steps.
        turned = np.cos(angle) + (np.sin(between) * np.sin(angle) - 2 * np.sin(between / 2) ** 2 * np.cos(angle))
        slopes = [deviations[0] * np.cos(angle), deviations[1] * turned]
        with np.errstate(all="ignore"):
            cuts = [np.nan_to_num(self.edges / slope[:, None], nan=0.0) for slope in slopes]
            cuts.append(np.broadcast_to(_RADII, (angle.size, len(_RADII))))
            r = np.sort(np.clip(np.concatenate(cuts, axis=1), 0.0, _RADIUS), axis=1)
            ray, panel = np.nonzero(np.diff(r) > 1e-14)
            left, width = r[ray, panel], r[ray, panel + 1] - r[ray, panel]
            r = left[:, None] + width[:, None] * node
            a, b = (self.function(slope[ray, None] * r) for slope in slopes)
            sums = np.einsum("ij,j->i", of(a, b) * r * np.exp(-r * r / 2), weight) * width
        return np.bincount(ray, sums, minlength=angle.size).reshape(angles.shape)


def _weighted_square(function: Function, scale: float, g: np.ndarray) -> np.ndarray:
    return np.exp(-g * g / 2) / np.sqrt(2 * np.pi) * np.asarray(function(scale * g), dtype=float) ** 2
