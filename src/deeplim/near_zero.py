"""What a function adds to its value at 0, with relative precision however near to 0."""

from collections.abc import Callable
from functools import lru_cache
from math import factorial

import numpy as np
from jaxtyping import Float

Array = Float[np.ndarray, "..."]
Function = Callable[[Array], Array]

_POINTS, _DEGREE = 20, 6
_WIDTHS = 2.0 ** -np.arange(21)
_NEAR = 1e-3
"""Part of an interval on which a polynomial is resolved where the first powers say all, to rounding."""
_RESOLVED = 16 * np.finfo(float).eps


@lru_cache(maxsize=64)
def from_zero(function: Function) -> tuple[float, Function]:
    """Return f(0) and x -> f(x) - f(0), which keeps its relative precision as x vanishes where f is smooth on a side.

    Near 0 it is a polynomial on either side, read off an interpolant at Chebyshev points; so f may have a kink there.
    Where f(0) = 0 it is f itself.
    """
    value = float(np.asarray(function(np.zeros(1)), dtype=float)[0])
    if value == 0:
        return value, function
    sides = [_powers(function, value, sign) for sign in (1.0, -1.0)]

    def added(x: Array) -> Array:
        x = np.asarray(x, dtype=float)
        found = np.asarray(function(x), dtype=float) - value
        for (reach, powers), size in zip(sides, (x, -x), strict=True):
            near = (size < reach) & (size > 0)
            if near.any():
                some = x[near]
                total = np.zeros_like(some)
                for power in powers[::-1]:
                    total = power + some * total
                found[near] = some * total
        return found

    return value, added


def _powers(function: Function, value: float, sign: float) -> tuple[float, Array]:
    """How far from 0, on one side, f(x) - f(0) is a sum of its first powers of x, and their coefficients."""
    turn = (np.arange(_POINTS) + 0.5) * np.pi / _POINTS
    order = np.arange(_POINTS)
    transform = np.cos(np.outer(order, turn)) * (2 / _POINTS)
    transform[0] /= 2
    for width in _WIDTHS:
        with np.errstate(all="ignore"):
            values = np.asarray(function(sign * width * (1 + np.cos(turn)) / 2), dtype=float)
        if not np.isfinite(values).all():
            continue
        coefficients = transform @ (values - value)
        if np.abs(coefficients[-4:]).max() <= _RESOLVED * np.abs(values).max():
            # T_k^(p)(-1) = (-1)^(k + p) prod_j (k^2 - j^2) / (2 j + 1), and x = width (1 + y) / 2
            slopes, powers, rounding = (-1.0) ** order, [], np.finfo(float).eps * np.abs(values).max()
            for p in range(1, _DEGREE + 1):
                slopes = -slopes * (order**2 - (p - 1) ** 2) / (2 * p - 1)
                slope, noise = float(slopes @ coefficients), rounding * float(np.abs(slopes).sum())
                powers.append(slope * (2 * sign / width) ** p / factorial(p) if abs(slope) > noise else 0.0)
            return _NEAR * width, np.array(powers)
    return 0.0, np.zeros(_DEGREE)
