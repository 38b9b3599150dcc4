"""The natural logarithm and the exponential of sixteen doubles at a time."""

import math

import numpy as np

from deeplim.simd.lanes import as_double, as_long_bits, fma, inline, select, spread

_u64 = np.uint64
_ROOT_HALF = 0x3FE6A09E667F3BCD  # the bits of sqrt(1/2)
_BIAS = 1023
_TWO_TO_52 = 0x4330000000000000  # the bits of 2^52: an integer below it in its last bits is added to it exactly
_LOG_2 = math.log(2.0)
_LOG_2_HIGH = float(np.float32(_LOG_2))  # 24 bits, so that a whole number below 2^29 times it is exact
_LOG_2_LOW = -1.9046542999577680e-09  # the rest of it
_ROUND = 1.5 * 2.0**52  # added and subtracted, it rounds to the nearest whole number
_SMALLEST = float(np.finfo(float).tiny)


@inline
def log(x):
    """log x to 4e-16 of itself; minus infinity at 0 and below the smallest normal number, NaN and infinity kept.

    x = 2^e (1 + f), 1 + f in [sqrt(1/2), sqrt(2)), and log(1 + f) = 2 artanh(s), s = f / (2 + f), by a minimax
    polynomial in s^2.
    """
    shifted = as_long_bits(x) - _u64(_ROOT_HALF - (_BIAS << 52))
    exponent = as_double((shifted >> _u64(52)) | _u64(_TWO_TO_52)) - float(2**52 + _BIAS)
    f = as_double((shifted & _u64(2**52 - 1)) + _u64(_ROOT_HALF)) - 1.0
    s = f / (f + 2.0)
    z = s * s
    p = fma(z, 0.1461773676993849, 0.15331607967937536)
    p = fma(p, z, 0.18182892887123378)
    p = fma(p, z, 0.22222211077399734)
    p = fma(p, z, 0.28571428626371254)
    p = fma(p, z, 0.39999999999898506)
    p = fma(p, z, 0.666666666666667)
    found = fma(exponent, _LOG_2, fma(p, z, spread(2.0)) * s)
    found = select(x < np.inf, found, x)
    return select(x < _SMALLEST, spread(-np.inf), found)


@inline
def exp(x):
    """e^x to 4e-16 of itself for x >= -708, 0 below, infinity above 709.7; NaN kept.

    x = k log 2 + y, |y| <= log(2) / 2, and e^y by its series.
    """
    inside = select(x < 709.7, x, spread(709.7))
    inside = select(inside > -708.0, inside, spread(-708.0))
    shifted = fma(inside, 1 / _LOG_2, spread(_ROUND))
    k = shifted - _ROUND
    y = fma(k, -_LOG_2_LOW, fma(k, -_LOG_2_HIGH, inside))
    p = fma(y, 1 / 6227020800.0, spread(1 / 479001600.0))
    p = fma(p, y, 1 / 39916800.0)
    p = fma(p, y, 1 / 3628800.0)
    p = fma(p, y, 1 / 362880.0)
    p = fma(p, y, 1 / 40320.0)
    p = fma(p, y, 1 / 5040.0)
    p = fma(p, y, 1 / 720.0)
    p = fma(p, y, 1 / 120.0)
    p = fma(p, y, 1 / 24.0)
    p = fma(p, y, 1 / 6.0)
    p = fma(p, y, 0.5)
    p = fma(p * y, y, y) + 1.0
    # k stands in the last bits of ``shifted``; two factors, since 2^1024 alone is no number
    half = (as_long_bits(shifted) << _u64(52)) + _u64(1022 << 52)
    found = p * as_double(half) * 2.0
    found = select(x > 709.7, spread(np.inf), found)
    found = select(x < -708.0, spread(0.0), found)
    return select((x < np.inf) | (x > 0.0), found, x)
