"""Gaussian expectations in one and two variables: closed forms for slopes, series and quadrature for the rest.

All kernels are written in the correlation gap ``1 - rho`` rather than in ``rho``, because deep networks drive
``rho`` to one and a subtraction would then lose every digit. Functions are those of a user: they are given Gaussians of
standard deviations from 1e-304 to 1e304, and whatever is not resolved within a budget is refused.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from deeplim.errors import LimitError
from deeplim.hermite import coefficients, expand_scaled, one_minus_powers, resolving_nodes
from deeplim.near_zero import from_zero
from deeplim.panels import Integral, integrate
from deeplim.plane import Plane, check_error

Function = Callable[[np.ndarray], np.ndarray]
Array = Float[np.ndarray, "..."]
Pairs = tuple[Int[np.ndarray, " pair"], Int[np.ndarray, " pair"]]

LARGEST_LOG_NORM = 1400.0
"""Log of the largest variance, e^1400 = 1e608, at which a function is evaluated, and minus that of the smallest."""
_SERIES_BELOW = 0.02
"""Gap below which nuhat is summed as a series; above it the direct form loses two digits at most."""
_CORE, _REACH = 12, 38
"""Standard deviations integrated always, and at most: beyond the second the density underflows."""
_CHUNK = 4096
_ORDER, _NEGLIGIBLE = 700, 1e-12
"""Terms of a series that is cut off, and what that leaves of it."""
_SAME, _ALIKE = 1e-12, 1e-8


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


def check_log_norm(log_norm: Array) -> None:
    """Raise LimitError where a function cannot be evaluated at Gaussians of these log variances."""
    beyond = ~(np.abs(log_norm) <= LARGEST_LOG_NORM)
    if beyond.any():
        raise LimitError(
            f"mean squares of e^{float(log_norm[beyond][0]):.0f} leave every float that an activation could be given; "
            f"it can be followed between e^-{LARGEST_LOG_NORM:.0f} and e^{LARGEST_LOG_NORM:.0f}, so rescale the inputs."
        )


def mean_square(function: Function, variance: float = 1.0) -> float:
    """Return E f(sqrt(variance) g)^2 for g ~ N(0, 1), by quadrature on panels that are halved where needed.

    Relative accuracy about 1e-13 for piecewise smooth functions: kinks and jumps may lie anywhere, and the steep middle
    of a saturating function is resolved whatever the variance. Infinity when the mean does not exist or is too large
    for a float, that is when it has not settled by 38 standard deviations. LimitError where 30,000 panels do not get
    within 1e-4, as for a function of a hundred thousand periods.
    """
    with np.errstate(over="ignore"):
        return float(np.exp(log_mean_square(function, float(np.sqrt(variance)))))


def log_mean_square(function: Function, deviation: float) -> float:
    """Return log E f(deviation g)^2, of squares that no float need hold; accuracy and errors of ``mean_square``."""
    log_scale, found = _line(function, deviation, lambda f: f * f)
    check_error(found, "the mean square of a function")
    with np.errstate(divide="ignore"):
        return log_scale + float(np.log(found.value))


def log_mean_squares(
    function: Function, deviations: Float[np.ndarray, " deviation"]
) -> Float[np.ndarray, " deviation"]:
    """Return ``log_mean_square`` for each deviation, by Hermite series where they converge and quadrature elsewhere."""
    some, which = np.unique(deviations, return_inverse=True)
    return np.asarray(averages(function, some).log_square[which])


def mean_squares(function: Function, variances: Float[np.ndarray, " variance"]) -> Float[np.ndarray, " variance"]:
    """Return ``mean_square`` for each variance, by Hermite series where they converge and by quadrature elsewhere."""
    with np.errstate(over="ignore"):
        return np.exp(log_mean_squares(function, np.sqrt(variances)))


def mean_product(function: Function, covariance: tuple[float, float, float]) -> float:
    """Return E f(a) f(b) for centred Gaussians with covariance (Var a, Cov(a, b), Var b).

    Accurate to about 1e-13 of sqrt(E f(a)^2 E f(b)^2) for piecewise smooth functions, wherever their kinks are; by a
    Hermite series where one converges, and elsewhere by quadrature.
    """
    var_a, cov, var_b = covariance
    deviations = np.sqrt(np.array([var_a, var_b]))
    rho = float(np.clip(cov / deviations.prod(), -1.0, 1.0)) if deviations.all() else 0.0
    log_square, gap = kernel(function, deviations, np.array([1 - rho]), (np.zeros(1, int), np.ones(1, int)))
    return float(np.exp(log_square.sum() / 2) * (1 - gap[0]))


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
    one that saturates within a small part of a deviation. With equal deviations it is proportional to the gap as the
    gap vanishes (to the angle where f jumps).
    """
    count = len(gaps)
    pairs = np.arange(count), np.arange(count, 2 * count)
    log_square, found = kernel(function, np.concatenate([deviations_a, deviations_b]), gaps, pairs)
    size = np.exp(log_square / 2)
    first, second = size[:count], size[count:]
    return (first - second) ** 2 + 2 * first * second * found


def kernel_gaps(
    function: Function,
    deviations_a: Float[np.ndarray, " pair"],
    deviations_b: Float[np.ndarray, " pair"],
    gaps: Float[np.ndarray, " pair"],
) -> Float[np.ndarray, " pair"]:
    """Return 1 - E f(a) f(b) / sqrt(E f(a)^2 E f(b)^2) for each pair: the gap that a layer of infinite width maps to.

    It is E (f(a) / |f(a)| - f(b) / |f(b)|)^2 / 2, so nothing cancels; accurate as ``mean_square_differences``.
    """
    pairs = np.arange(len(gaps)), np.arange(len(gaps), 2 * len(gaps))
    return kernel(function, np.concatenate([deviations_a, deviations_b]), gaps, pairs)[1]


class Averages(NamedTuple):
    """What a function f = f(0) + h makes of Gaussians of several deviations.

    mean: E f. log_scale, offset, spread: h has the mean e^log_scale offset and the standard deviation e^log_scale
    spread. series: the Hermite coefficients of h / (e^log_scale spread) but for the constant, where converged.
    """

    mean: Float[np.ndarray, " deviation"]
    log_scale: Float[np.ndarray, " deviation"]
    offset: Float[np.ndarray, " deviation"]
    spread: Float[np.ndarray, " deviation"]
    series: Float[np.ndarray, "deviation order"]
    converged: Bool[np.ndarray, " deviation"]

    @property
    def log_variance(self) -> Float[np.ndarray, " deviation"]:
        """log Var f."""
        with np.errstate(divide="ignore"):
            return 2 * (self.log_scale + np.log(self.spread))

    @property
    def log_square(self) -> Float[np.ndarray, " deviation"]:
        """log E f^2."""
        with np.errstate(divide="ignore"):
            return np.logaddexp(2 * np.log(np.abs(self.mean)), self.log_variance)

    @property
    def angle(self) -> Float[np.ndarray, " deviation"]:
        """The angle in (0, pi) whose tangent is sqrt(Var f) / E f, to relative precision near 0."""
        with np.errstate(all="ignore"):
            size = self.log_square / 2
            return np.arctan2(np.exp(self.log_variance / 2 - size), self.mean * np.exp(-size))


def averages(function: Function, deviations: Float[np.ndarray, " deviation"]) -> Averages:
    """Return the first moments of a function of Gaussians, relative precision kept where it hardly leaves f(0)."""
    value, added = from_zero(function)
    series, log_scale, converged = expand_scaled(added, deviations)
    offset, spread = series[:, 0].copy(), np.sqrt((series[:, 1:] ** 2).sum(axis=1))
    for k in np.flatnonzero(converged):
        # a function that jumps from one node to the next, floor of large numbers, can look like a smooth one
        _, _, other = _moments_on_panels(added, float(deviations[k]), 1.0, np.exp(log_scale[k]))
        converged[k] = not abs(other - spread[k]) > _ALIKE * spread[k]
    for k in np.flatnonzero(~converged):
        log_scale[k], offset[k], spread[k] = _moments(added, float(deviations[k]))
    with np.errstate(all="ignore"):
        series = np.where(spread[:, None] > 0, series[:, 1:] / spread[:, None], 0.0)
        mean = value + np.exp(log_scale) * offset
    return Averages(mean, log_scale, offset, spread, series, converged)


def kernel(
    function: Function,
    deviations: Float[np.ndarray, " input"],
    gaps: Float[np.ndarray, " pair"],
    pairs: Pairs,
    *,
    centred: bool = False,
) -> tuple[Float[np.ndarray, " input"], Float[np.ndarray, " pair"]]:
    """Return log E f^2 of centred Gaussians of these deviations, and the gaps of the matrix E f(a) f(b) for each pair.

    centred: the same for f - E f, that is the covariance. The mean and the rest of f are orthogonal: with phi the angle
    of the vector (E f, standard deviation of f), 1 - rho' = 2 sin^2((phi_a - phi_b) / 2) + sin phi_a sin phi_b (1 -
    rho_h), rho_h the correlation of f(a) and f(b): sums of squares, in which nothing cancels.
    """
    some, which = np.unique(deviations, return_inverse=True)
    found = averages(function, some)
    first, second = which[pairs[0]], which[pairs[1]]
    apart = _correlation_gaps(function, some, found, first, second, gaps)
    if centred:
        return found.log_variance[which], apart
    angle = found.angle
    part = np.sin(angle)
    turned = 2 * np.sin((angle[first] - angle[second]) / 2) ** 2
    return found.log_square[which], np.minimum(turned + part[first] * part[second] * apart, 2.0)


def _correlation_gaps(
    function: Function, some: Array, found: Averages, first: np.ndarray, second: np.ndarray, gaps: Array
) -> Array:
    """1 minus the correlation of f(a) and f(b) for each pair, ``first`` and ``second`` of ``some`` deviations."""
    result = np.zeros(len(gaps))
    spread = (found.spread > 0) & (found.spread < np.inf)
    varied = spread[first] & spread[second]
    smooth = found.converged[first] & found.converged[second] & varied
    for part in np.array_split(np.flatnonzero(smooth), 1 + len(gaps) // _CHUNK):
        u, v = found.series[first[part]], found.series[second[part]]
        beside = one_minus_powers(gaps[part], found.series.shape[1] + 1)[:, 1:]
        result[part] = ((u - v) ** 2 + 2 * u * v * beside).sum(axis=1) / 2
    rough = varied & ~smooth
    distant = rough & (np.abs(1 - gaps) ** _ORDER < _NEGLIGIBLE)
    if distant.any():
        result[distant] = _gaps_by_truncation(function, some, found, (first[distant], second[distant]), gaps[distant])
    rough = np.flatnonzero(rough & ~distant)
    if len(rough):
        plane = Plane(from_zero(function)[1])
        for i in rough:
            pair = int(first[i]), int(second[i])
            deviations = float(some[pair[0]]), float(some[pair[1]])
            result[i] = _gap_by_quadrature(plane, deviations, float(gaps[i]), found, pair)
    return result


def _gaps_by_truncation(function: Function, some: Array, found: Averages, pair: Pairs, gaps: Array) -> Array:
    """The same for correlations whose 700th power is nothing, by a series that need not have converged by then."""
    added, largest = from_zero(function)[1], float(np.abs(1 - gaps).max())
    order = 2 + int(np.log(_NEGLIGIBLE) / np.log(max(largest, 1e-6)))
    series = np.zeros((len(some), order))
    for k in np.unique(np.concatenate(pair)):
        scale = float(np.exp(found.log_scale[k]) * found.spread[k])
        series[k] = coefficients(added, float(some[k]), scale, order)
    powers = np.vander(1 - gaps, order, increasing=True)[:, 1:]
    return np.clip(1 - (series[pair[0], 1:] * series[pair[1], 1:] * powers).sum(axis=1), 0.0, 2.0)


def _gap_by_quadrature(
    plane: Plane, deviations: tuple[float, float], gap: float, found: Averages, pair: tuple[int, int]
) -> float:
    """E (u (h(a) - E h(a)) - v (h(b) - E h(b)))^2 / 2, u and v the inverse standard deviations."""
    (u, v), (mean_a, mean_b) = (column[list(pair)] for column in (1 / found.spread, found.offset / found.spread))
    scales = np.exp(-found.log_scale[list(pair)])

    def square(ha: Array, hb: Array) -> Array:
        return (u * (ha * scales[0]) - mean_a - (v * (hb * scales[1]) - mean_b)) ** 2 / 2

    return float(check_error(plane.square_difference(deviations, gap, square), "the kernel of a function").value[0])


def _line(function: Function, deviation: float, of: Function, size: float | None = None) -> tuple[float, Integral]:
    """log of the square of a scale, and E of(f(deviation g) / scale), of square size at most."""
    near = np.asarray(function(deviation * np.linspace(-3, 3, 61)), dtype=float)
    scale = float(np.abs(near).max())
    scale = scale if 0 < scale < np.inf else 1.0
    integrand = partial(_weighted, function, deviation, scale, of)
    # Panels shrink towards zero, where the scale of f is that of g divided by the deviation.
    half = np.concatenate([[0.0], 2.0 ** np.arange(-30, 0), np.arange(1.0, _CORE + 1)])
    with np.errstate(all="ignore"):
        parts = [integrate(integrand, one, size=size) for one in (-half[::-1], half)]
        value, error = parts[0].value + parts[1].value, parts[0].error + parts[1].error
        for edge in range(_CORE, _REACH):
            ends = np.array([edge, edge + 1.0])
            tails = [integrate(integrand, one, size=size) for one in (-ends[::-1], ends)]
            value = value + tails[0].value + tails[1].value
            if np.abs(tails[0].value) + np.abs(tails[1].value) <= 1e-17 * (np.abs(value) if size is None else size):
                return 2 * np.log(scale), Integral(value, error if value < np.inf else np.array(0.0))
    return 2 * np.log(scale), Integral(np.array(np.inf), np.array(0.0))


def _moments(function: Function, deviation: float) -> tuple[float, float, float]:
    """log of a scale, and by unit of it the mean and the standard deviation of f(deviation g)."""
    coarse = _moments_on_panels(function, deviation, 1.0)
    fine = _moments_on_panels(function, deviation, 0.5, np.exp(coarse[0]))
    if np.allclose(coarse, fine, rtol=_SAME, atol=_SAME):
        return fine
    log_scale, square = _line(function, deviation, lambda f: f * f)
    check_error(square, "the mean square of a function")
    if not 0 < square.value < np.inf:
        return log_scale / 2, 0.0, float(np.sqrt(square.value))
    mean = float(_line(function, deviation, lambda f: f, size=float(np.sqrt(square.value)))[1].value)
    variance = _line(function, deviation, lambda f: (f - mean) ** 2)[1]
    check_error(variance, "the variance of a function", size=float(square.value))
    return log_scale / 2, mean, float(np.sqrt(variance.value))


def _moments_on_panels(
    function: Function, deviation: float, widest: float, scale: float | None = None
) -> tuple[float, float, float]:
    """The same on panels that are not halved any more, NaN where the weight has not won at 16 deviations."""
    x, weight = resolving_nodes(function, deviation, widest)
    share = weight * np.exp(-x * x / 2) / np.sqrt(2 * np.pi)
    with np.errstate(all="ignore"):
        values = np.asarray(function(deviation * x), dtype=float)
        scale = float(np.abs(values[np.abs(x) < 3]).max()) if scale is None else scale
        values = values / scale
        mean = float(share @ values)
        squares = share * (values - mean) ** 2
        spread = np.sqrt(squares.sum())
        settled = max(squares[0], squares[-1]) <= 1e-17 * squares.sum()
        return float(np.log(scale)), mean, float(spread) if settled else np.nan


def _weighted(function: Function, deviation: float, scale: float, of: Function, g: np.ndarray) -> np.ndarray:
    return np.exp(-g * g / 2) / np.sqrt(2 * np.pi) * of(np.asarray(function(deviation * g), dtype=float) / scale)
