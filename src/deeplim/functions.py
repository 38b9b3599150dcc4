"""Named smooth activations, array to array: accurate to a few units in the last place, tails included.

Each carries ``scalar``, the same function of one float, which Numba compiles into the exact chain. (In the lower tail
of gelu the rounding of x itself weighs about x^2 / 2 times as much: 1e-13 of its value at -38.)
"""

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from scipy import special

Array = Float[np.ndarray, "..."]
Function = Callable[[Array], Array]
_ROOT_HALF = math.sqrt(0.5)


def _with_scalar(scalar: Callable[[float], float]) -> Callable[[Function], Function]:
    """Give a function of arrays its counterpart of one float."""

    def attach(function: Function) -> Function:
        function.scalar = scalar  # type: ignore[attr-defined]
        return function

    return attach


def _tanh(x: float) -> float:
    return math.tanh(x)


def _sin(x: float) -> float:
    return math.sin(x)


def _erf(x: float) -> float:
    return math.erf(x)


def _logistic(x: float) -> float:
    # exp of a negative number only: the other sign overflows.
    small = math.exp(-abs(x))
    return 1.0 / (1.0 + small) if x >= 0 else small / (1.0 + small)


def _softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def _silu(x: float) -> float:
    small = math.exp(-abs(x))
    return x / (1.0 + small) if x >= 0 else x * small / (1.0 + small)


def _gelu(x: float) -> float:
    # erfc keeps its digits as x falls, where 1 + erf would cancel.
    return 0.5 * x * math.erfc(-x * _ROOT_HALF)


@_with_scalar(_tanh)
def tanh(x: Array) -> Array:
    """Return tanh(x)."""
    return np.tanh(np.asarray(x, dtype=float))


@_with_scalar(_sin)
def sin(x: Array) -> Array:
    """Return sin(x), x in radians."""
    return np.sin(np.asarray(x, dtype=float))


@_with_scalar(_erf)
def erf(x: Array) -> Array:
    """Return the error function, 2/sqrt(pi) times the integral of exp(-u^2) over (0, x)."""
    return np.asarray(special.erf(np.asarray(x, dtype=float)))


@_with_scalar(_logistic)
def logistic(x: Array) -> Array:
    """Return 1 / (1 + exp(-x)), also called the sigmoid."""
    return np.asarray(special.expit(np.asarray(x, dtype=float)))


@_with_scalar(_softplus)
def softplus(x: Array) -> Array:
    """Return log(1 + exp(x))."""
    return np.logaddexp(0.0, np.asarray(x, dtype=float))


@_with_scalar(_silu)
def silu(x: Array) -> Array:
    """Return x / (1 + exp(-x)), also called swish (Elfwing, Uchibe & Doya 2018)."""
    x = np.asarray(x, dtype=float)
    return x * np.asarray(special.expit(x))


@_with_scalar(_gelu)
def gelu(x: Array) -> Array:
    """Return x P(g < x) for g ~ N(0, 1), written x erfc(-x / sqrt(2)) / 2 (Hendrycks & Gimpel 2016)."""
    x = np.asarray(x, dtype=float)
    return 0.5 * x * np.asarray(special.erfc(-x * _ROOT_HALF))
