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
_ROOT_TWO_OVER_PI = math.sqrt(2 / math.pi)
_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772


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


def _elu(x: float) -> float:
    return x if x > 0 else math.expm1(x)


def _selu(x: float) -> float:
    return _SELU_SCALE * (x if x > 0 else _SELU_ALPHA * math.expm1(x))


def _softsign(x: float) -> float:
    return x / (1.0 + abs(x))


def _mish(x: float) -> float:
    # tanh(log(1 + e)) = e (e + 2) / (e (e + 2) + 2) with e = exp(x), and its like in 1 / e where that would overflow.
    small = math.exp(-abs(x))
    if x >= 0:
        return x * (1.0 + 2.0 * small) / (1.0 + 2.0 * small * (1.0 + small))
    small *= small + 2.0
    return x * small / (small + 2.0)


def _gelu_tanh(x: float) -> float:
    # (1 + tanh(u)) / 2 = logistic(2 u), which keeps its digits as x falls.
    twice = 2.0 * _ROOT_TWO_OVER_PI * x * (1.0 + 0.044715 * x * x)
    small = math.exp(-abs(twice))
    return x / (1.0 + small) if twice >= 0 else x * small / (1.0 + small)


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


@_with_scalar(_elu)
def elu(x: Array) -> Array:
    """Return x where x > 0 and exp(x) - 1 elsewhere (Clevert, Unterthiner & Hochreiter 2016)."""
    x = np.asarray(x, dtype=float)
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0.0)))


@_with_scalar(_selu)
def selu(x: Array) -> Array:
    """Return 1.0507 x where x > 0 and 1.0507 * 1.6733 (exp(x) - 1) elsewhere (Klambauer et al. 2017)."""
    x = np.asarray(x, dtype=float)
    return _SELU_SCALE * np.where(x > 0, x, _SELU_ALPHA * np.expm1(np.minimum(x, 0.0)))


@_with_scalar(_softsign)
def softsign(x: Array) -> Array:
    """Return x / (1 + |x|)."""
    x = np.asarray(x, dtype=float)
    return x / (1.0 + np.abs(x))


@_with_scalar(_mish)
def mish(x: Array) -> Array:
    """Return x tanh(log(1 + exp(x))) (Misra 2019)."""
    x = np.asarray(x, dtype=float)
    small = np.exp(-np.abs(x))
    falling = small * (small + 2.0)
    rising = (1.0 + 2.0 * small) / (1.0 + 2.0 * small * (1.0 + small))
    return x * np.where(x >= 0, rising, falling / (falling + 2.0))


@_with_scalar(_gelu_tanh)
def gelu_tanh(x: Array) -> Array:
    """Return x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2, the approximation of gelu that many models use."""
    x = np.asarray(x, dtype=float)
    return x * np.asarray(special.expit(2.0 * _ROOT_TWO_OVER_PI * x * (1.0 + 0.044715 * x * x)))
