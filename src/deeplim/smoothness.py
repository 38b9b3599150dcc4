"""Derivatives of a smooth function at 0, and the function normalised there, without finite differences.

The function is interpolated at Chebyshev points of [-h, h] for many h; where its coefficients fall to rounding, the
interpolant is the function, and its derivatives at 0 are read off.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float

from deeplim.errors import SpecError

Array = Float[np.ndarray, "..."]
Function = Callable[[Array], Array]
Coefficients = Float[np.ndarray, " order"]

_POINTS = 256
_HALF_WIDTHS = 2.0 ** np.arange(-24, 6)
_NEAR = 0.25
"""A kink closer to 0 than this is refused, unless the function itself varies on so short a scale."""
_RICH = 40
"""Degree from which an interpolant shows the function's own scale: doubling h doubles it, and no kink hides behind."""
_SHORT = 16
"""Largest degree of the polynomial that stands for the normalised function near 0."""
_EPS = float(np.finfo(float).eps)


@dataclass(frozen=True)
class Derivatives:
    """phi(0), phi'(0), phi''(0), phi'''(0), and a bound on the absolute error of each, as estimated."""

    value: float
    first: float
    second: float
    third: float
    error: float


@dataclass(frozen=True)
class _Interpolant:
    """Chebyshev coefficients on [-h, h] up to where rounding begins, and the size of that rounding."""

    half_width: float
    coefficients: Coefficients
    noise: float

    @property
    def degree(self) -> int:
        return len(self.coefficients) - 1

    def derivatives(self) -> tuple[np.ndarray, np.ndarray]:
        """The derivatives of order 0 to 3 at 0, and a bound on the error of each."""
        # Coefficients left out are as large as the noise: the bound counts two of them, and those of a cubic always.
        table = _derivatives_of_basis(max(self.degree + 2, 4)) / self.half_width ** np.arange(4)[:, None]
        return table[:, : self.degree + 1] @ self.coefficients, self.noise * np.abs(table).sum(axis=1)


def derivatives_at_zero(function: Function) -> Derivatives:
    """Return phi(0) and the first three derivatives at 0, of any vectorised function that is smooth there.

    Errors are about 1e-14 for the first and 1e-11 for the third when phi varies on the scale of 1. A derivative
    smaller than its error is 0. SpecError when phi is not smooth near 0 (a kink or jump within 1/4 of it), or is
    computed in less than double precision.
    """
    best, bounds = _derivatives(function)
    best = np.where(np.abs(best) <= bounds, 0.0, best)
    value, first, second, third = (float(derivative) for derivative in best)
    return Derivatives(value, first, second, third, float(bounds.max()))


def normalised(function: Function) -> tuple[Function, Derivatives]:
    """Return (phi(x) - phi(0)) / phi'(0), and its derivatives at 0: value 0 and first derivative 1.

    It keeps its relative precision as x vanishes, where phi(x) - phi(0) would cancel: near 0 it is a polynomial
    without constant term. SpecError when phi is not smooth at 0 or phi'(0) = 0.
    """
    normal = normalisation(function)

    def phi(x: Array) -> Array:
        x = np.asarray(x, dtype=float)
        near = np.abs(x) < normal.reach
        inside = np.where(near, x, 0.0)
        total = np.full_like(inside, normal.series[-1])
        for coefficient in normal.series[-2::-1]:
            total = coefficient + inside * total
        if near.all():
            return inside * total
        outside = (np.asarray(function(x), dtype=float) - normal.value) / normal.slope
        return np.where(near, inside * total, outside)

    return phi, normal.derivatives


def normalised_scalar(function: Function) -> Callable[[float], float] | None:
    """Return the normalised function of one float, in a form that Numba compiles; None when it cannot.

    ``function.scalar`` is compiled where there is one, ``function`` itself otherwise. SpecError as for ``normalised``.
    """
    from numba import njit

    normal = normalisation(function)
    reach, value, slope = normal.reach, normal.value, normal.slope
    series = normal.series
    plain = getattr(function, "scalar", function)
    try:
        inner: Any = njit(plain) if hasattr(plain, "__code__") else plain
        njit(lambda x: float(inner(x)))(0.5)
    except Exception:  # Numba refuses a function in as many ways as it has passes
        return None

    def phi(x: float) -> float:
        if abs(x) < reach:
            total = 0.0
            for coefficient in series[::-1]:
                total = coefficient + x * total
            return x * total
        return (float(inner(x)) - value) / slope

    return phi


@dataclass(frozen=True)
class Normalisation:
    """phi(0) and phi'(0), and the series x (series[0] + series[1] x + ...), the normalised function for |x| < reach."""

    value: float
    slope: float
    reach: float
    series: tuple[float, ...]
    derivatives: Derivatives


@lru_cache(maxsize=64)
def normalisation(function: Function) -> Normalisation:
    """Return the numbers that ``normalised`` computes with, for arrays of another library; SpecError as there."""
    best, bounds = _derivatives(function)
    value, slope = float(best[0]), float(best[1])
    if abs(slope) <= max(10 * bounds[1], 1e-10 * abs(best).max()):
        raise SpecError(
            f"{_name(function)} has derivative 0 at 0, and shaping divides by it; give a function with a slope there."
        )
    short = max(
        (found for found in _interpolants(function) if found.degree <= _SHORT), key=lambda found: found.half_width
    )
    powers = np.polynomial.chebyshev.cheb2poly(short.coefficients) if short.degree > 0 else short.coefficients
    series = powers[1:] / slope / short.half_width ** np.arange(1, len(powers))
    series[0] = 1.0
    scaled = bounds / abs(slope) * (1 + abs(best / slope))
    second, third = (float(d / slope) if abs(d) > bound else 0.0 for d, bound in zip(best[2:], bounds[2:], strict=True))
    return Normalisation(
        value,
        slope,
        short.half_width,
        tuple(map(float, series)),
        Derivatives(0.0, 1.0, second, third, float(scaled.max())),
    )


@lru_cache(maxsize=64)
def _derivatives(function: Function) -> tuple[np.ndarray, np.ndarray]:
    """The derivatives of order 0 to 3 at 0, each from the h where its error bound is least, and those bounds."""
    found = [interpolant.derivatives() for interpolant in _interpolants(function)]
    values, bounds = (np.array(table) for table in zip(*found, strict=True))
    least = bounds.argmin(axis=0), np.arange(4)
    best, error = values[least], bounds[least]
    best[0], error[0] = np.asarray(function(np.zeros(1)), dtype=float)[0], 0.0
    size = max(np.abs(one.coefficients).max() for one in _interpolants(function) if one.half_width <= 1)
    if error[3] > 1e-6 * max(np.abs(best[1:]).max(), size):
        raise _not_smooth(function)
    return best, error


@lru_cache(maxsize=64)
def _interpolants(function: Function) -> tuple[_Interpolant, ...]:
    """The interpolants for growing h, as far as each resolves the function."""
    found: list[_Interpolant] = []
    for half_width in _HALF_WIDTHS:
        one = _interpolate(function, float(half_width))
        if one is not None:
            found.append(one)
        elif found:  # unresolved from here on; before the first, values near 0 may still be all rounding
            break
    widest = found[-1] if found else None
    # A function that is simple up to some h and unresolved at 2 h has a kink in between.
    if widest is None or (widest.half_width < _NEAR and widest.degree < _RICH):
        raise _not_smooth(function)
    return tuple(found)


def _interpolate(function: Function, half_width: float) -> _Interpolant | None:
    """The interpolant on [-h, h], or None when its coefficients do not fall to rounding."""
    points = _chebyshev_points()
    try:
        with np.errstate(all="ignore"):
            values = np.asarray(function(half_width * points), dtype=float)
    except Exception:  # whatever a function does outside the range it was written for
        return None
    if values.shape != points.shape or not np.isfinite(values).all():
        return None
    # Even and odd parts apart: an odd function then has a second derivative of exactly 0.
    coefficients = _transform() @ (values + values[::-1]) / 2
    odd = _transform() @ (values - values[::-1]) / 2
    coefficients[1::2] = odd[1::2]
    size = np.abs(values).max()
    plateau = np.abs(coefficients[3 * _POINTS // 4 :]).max()
    if plateau > 4 * _EPS * size:
        return None
    noise = max(2 * plateau, _EPS * size / 4)
    above = np.flatnonzero(np.abs(coefficients) > noise)
    return _Interpolant(half_width, coefficients[: above[-1] + 1 if len(above) else 1], noise)


@lru_cache(maxsize=1)
def _chebyshev_points() -> np.ndarray:
    half = np.cos((np.arange(_POINTS // 2) + 0.5) * np.pi / _POINTS)
    return np.concatenate([half, -half[::-1]])


@lru_cache(maxsize=1)
def _transform() -> np.ndarray:
    """The matrix from values at the Chebyshev points to coefficients: 2/N sum_i f(x_i) cos(k t_i), half at k = 0."""
    # k t_i is reduced to one turn in whole numbers: the cosine of a large argument has lost digits.
    turns = np.outer(np.arange(_POINTS), 2 * np.arange(_POINTS) + 1) % (4 * _POINTS)
    table = np.cos(turns * (np.pi / (2 * _POINTS))) * (2 / _POINTS)
    table[0] /= 2
    return np.asarray(table)


def _derivatives_of_basis(degree: int) -> np.ndarray:
    """T_k and its first three derivatives at 0, by the equation (1 - x^2) y'' - x y' + k^2 y = 0."""
    k = np.arange(degree + 1.0)
    value = np.array([1.0, 0.0, -1.0, 0.0])[np.arange(degree + 1) % 4]
    first = k * np.array([0.0, 1.0, 0.0, -1.0])[np.arange(degree + 1) % 4]
    return np.array([value, first, -k * k * value, (1 - k * k) * first])


def _name(function: Function) -> str:
    return str(getattr(function, "__name__", type(function).__name__))


def _not_smooth(function: Function) -> SpecError:
    return SpecError(
        f"{_name(function)} is not smooth at 0, or is not computed in double precision, and shaping it as s phi(x / s) "
        f"needs three derivatives there and no kink within {_NEAR:g}; shape a kinked function by its two slopes."
    )
