"""A law on the line kept as a density on an even grid, read in the variable one asks about.

The grid lives in a point x whose noise is additive, as artanh(rho) or log R; the answers are given in the natural
variable, rho or R. For a smooth density that dies out before both ends the sum over an even grid is an integral to
nearly all digits, and so is the integral of the spline of degree seven through it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
from jaxtyping import Float

from deeplim.checks import brief, check_callable, check_kind, check_real, check_whole
from deeplim.errors import InputError

Map = Callable[[np.ndarray], np.ndarray]
_DEGREE = 7
MOST_POWER = 100
"""The largest power of which there is a moment."""
_NORMAL_REACH, _NORMAL_POINTS = 14.0, 561


@dataclass(frozen=True)
class Variable:
    """An increasing function ``value`` of the point x, its inverse ``point`` and its derivative ``slope``.

    ``range`` holds its values. A correlation also has its ``gap`` 1 - rho as a function of the point, and
    ``point_of_gap``, so that neither is ever found by subtraction.
    """

    name: str
    value: Map
    point: Map
    slope: Map
    range: tuple[float, float]
    gap: Map | None = None
    point_of_gap: Map | None = None

    def at(self, value: float) -> float:
        """Return the point of a value; InputError for a value out of range."""
        low, high = self.range
        value = check_real(f"the {self.name}", value, above=low, below=high)
        return float(self.point(np.asarray(value, dtype=float)))

    def at_gap(self, gap: float) -> float:
        """Return the point of a gap 1 - rho in (0, 2); InputError outside it or where there is no such gap."""
        if self.point_of_gap is None:
            raise InputError(f"a gap was asked of the {self.name}; only a correlation has one, so ask for its values.")
        check_real("the gap", gap, above=0, below=2)
        return float(self.point_of_gap(np.asarray(gap, dtype=float)))


def _gap(u: np.ndarray) -> np.ndarray:
    return 2 / (1 + np.exp(np.minimum(2 * u, 700.0)))


def _sech_squared(u: np.ndarray) -> np.ndarray:
    return _gap(u) * _gap(-u)


def _point_of_gap(gap: np.ndarray) -> np.ndarray:
    return (np.log(2 - gap) - np.log(gap)) / 2


LINE = Variable("value", np.positive, np.positive, np.ones_like, (-np.inf, np.inf))
"""The point itself."""
CORRELATION = Variable("correlation", np.tanh, np.arctanh, _sech_squared, (-1.0, 1.0), _gap, _point_of_gap)
"""rho = tanh(u), gap 2 / (1 + e^{2u})."""
LOG_NORM = replace(LINE, name="log norm")
"""log V."""
RATIO = Variable("ratio", np.exp, np.log, np.exp, (0.0, np.inf))
"""R = e^x; 1 / (width sqrt(1 - rho)) for the unshaped network."""


@dataclass(frozen=True, eq=False)
class Density:
    """A law by its ``density`` at evenly spaced points ``x``, and the mass lost through either end (an explosion).

    ``density`` is dP/dx: never negative, and its sum times the spacing is 1 - ``lost``. Moments and the standard
    deviation are those of what is not lost; probabilities and quantiles count the lost mass as beyond the ends.
    ``error`` is the solver's own estimate of the L1 error, 0 for a closed form.
    """

    x: Float[np.ndarray, " point"]
    density: Float[np.ndarray, " point"]
    variable: Variable = LINE
    lost_below: float = 0.0
    lost_above: float = 0.0
    error: float = 0.0

    @property
    def lost(self) -> float:
        """The probability of having left for infinity, of an explosion."""
        return self.lost_below + self.lost_above

    @property
    def spacing(self) -> float:
        """The distance between neighbouring points."""
        return float((self.x[-1] - self.x[0]) / (len(self.x) - 1))

    @property
    def mass(self) -> Float[np.ndarray, " point"]:
        """The probability around each point; the sum is 1 - lost."""
        return self.density * self.spacing

    @property
    def values(self) -> Float[np.ndarray, " point"]:
        """The points in the natural variable."""
        return self.variable.value(self.x)

    @property
    def pdf(self) -> Float[np.ndarray, " point"]:
        """The density in the natural variable, at ``values``."""
        return self.density / self.variable.slope(self.x)

    @property
    def gap(self) -> Float[np.ndarray, " point"]:
        """The gap 1 - rho at the points, without cancellation; InputError where the variable has none."""
        if self.variable.gap is None:
            raise InputError(
                f"a gap was asked of the {self.variable.name}; only a correlation has one, so ask for its values."
            )
        return self.variable.gap(self.x)

    @property
    def support(self) -> tuple[float, float]:
        """The least and the greatest value on the grid; what lies beyond is below 1e-20, or lost."""
        values = self.values
        return float(values[0]), float(values[-1])

    @property
    def mean(self) -> float:
        """The mean of the natural variable."""
        return self.moment(1)

    @property
    def mean_gap(self) -> float:
        """E (1 - rho), to full relative precision however small."""
        return float(self.mass @ self.gap / self.mass.sum())

    @property
    def std(self) -> float:
        """The standard deviation; of a correlation by its gap, so that it is precise however close to one rho is."""
        values = self.values if self.variable.gap is None else self.gap
        weight = self.mass / self.mass.sum()
        return float(np.sqrt(weight @ (values - weight @ values) ** 2))

    def moment(self, power: int) -> float:
        """Return E value^power."""
        power = check_whole("power", power, -MOST_POWER, MOST_POWER)
        return self.expect(lambda value: value**power)

    def expect(self, function: Map) -> float:
        """Return E function(value) for a smooth vectorised function; InputError where it is not finite."""
        check_callable("function", function, "give a function of an array")
        try:
            values = np.asarray(function(self.values), dtype=float)
        except (TypeError, ValueError) as error:
            raise InputError(f"the function {brief(function)} takes no array of numbers ({error}); give one.") from None
        if values.shape != self.x.shape or not np.isfinite(values).all():
            raise InputError(
                f"the function is not finite between {self.support[0]:g} and {self.support[1]:g}; give one that is."
            )
        return float(self.mass @ values / self.mass.sum())

    def cdf(self, value: float) -> float:
        """Return P(natural variable <= value); InputError for a value out of range."""
        return self._below(self.variable.at(value))

    def tail(self, value: float) -> float:
        """Return P(natural variable > value), not as 1 - cdf; InputError for a value out of range."""
        return self._above(self.variable.at(value))

    def tail_gap(self, gap: float) -> float:
        """Return P(1 - rho < gap), however small the gap; InputError unless 0 < gap < 2."""
        return self._above(self.variable.at_gap(gap))

    def quantile(self, q: float) -> float:
        """Return the value below which a fraction q of the law lies; InputError unless lost_below < q < 1 - lost_above.

        Beyond that lies only what has left for infinity.
        """
        return float(self.variable.value(np.asarray(self._point_at(q))))

    def gap_quantile(self, q: float) -> float:
        """Return the gap 1 - rho of the correlation below which a fraction q lies: small for q near one."""
        point = self._point_at(q)
        gap = self.variable.gap
        if gap is None:
            return float(self.gap[0])
        return float(gap(np.asarray(point)))

    def read_as(self, variable: Variable) -> "Density":
        """Return the same law read in another variable of the same point."""
        check_kind("a variable", variable, Variable, "give one of deeplim.limits.density")
        return replace(self, variable=variable)

    def at_points(self, x: Float[np.ndarray, " any"]) -> Float[np.ndarray, " any"]:
        """Return dP/dx at any points: interpolated on the grid, zero beyond it, never negative."""
        check_kind("the points", x, np.ndarray, "give an array of numbers")
        if x.dtype.kind not in "iuf":
            raise InputError(f"points of type {x.dtype} were given; give an array of numbers.")
        inside = (x >= self.x[0]) & (x <= self.x[-1])
        return np.where(inside, np.maximum(self._spline(np.clip(x, self.x[0], self.x[-1])), 0.0), 0.0)

    @cached_property
    def _spline(self) -> Map:
        return _spline(self.x, self.density)

    @cached_property
    def _from_below(self) -> Map:
        return self._spline.antiderivative()  # type: ignore[attr-defined]

    @cached_property
    def _from_above(self) -> Map:
        # Summed from its own end, a small tail is not the difference of two large numbers.
        return _spline(-self.x[::-1], self.density[::-1]).antiderivative()  # type: ignore[attr-defined]

    def _below(self, point: float) -> float:
        held = self._from_below(np.clip(point, self.x[0], self.x[-1]))
        return float(np.clip(held, 0.0, 1 - self.lost) + self.lost_below)

    def _above(self, point: float) -> float:
        held = self._from_above(-np.clip(point, self.x[0], self.x[-1]))
        return float(np.clip(held, 0.0, 1 - self.lost) + self.lost_above)

    def _point_at(self, q: float) -> float:
        from scipy.optimize import brentq

        q = check_real("the quantile", q)
        if not self.lost_below < q < 1 - self.lost_above:
            raise InputError(
                f"the quantile {q} was asked for; give a number between {self.lost_below:g} and "
                f"{1 - self.lost_above:g}, for beyond lies only what has left for infinity."
            )
        excess = partial(_excess, self._below, q) if q < 0.5 else partial(_shortfall, self._above, 1 - q)
        ends = float(self.x[0]), float(self.x[-1])
        if excess(ends[0]) >= 0 or excess(ends[1]) <= 0:
            return ends[0] if excess(ends[0]) >= 0 else ends[1]
        return float(brentq(excess, *ends, xtol=1e-14, rtol=1e-14, maxiter=500))


def _excess(below: Callable[[float], float], q: float, x: float) -> float:
    return below(x) - q


def _shortfall(above: Callable[[float], float], left: float, x: float) -> float:
    return left - above(x)


def _spline(x: np.ndarray, density: np.ndarray) -> Map:
    from scipy.interpolate import make_interp_spline

    return make_interp_spline(x, density, k=_DEGREE)


def normal_density(mean: float, variance: float, *, variable: Variable = LINE) -> Density:
    """Return the law in which the point x is N(mean, variance); InputError unless these are finite, the second > 0."""
    mean, variance = check_real("mean", mean), check_real("variance", variance, above=0)
    deviation = np.sqrt(variance)
    z = np.linspace(-_NORMAL_REACH, _NORMAL_REACH, _NORMAL_POINTS)
    return Density(mean + deviation * z, np.exp(-z * z / 2) / (deviation * np.sqrt(2 * np.pi)), variable)
