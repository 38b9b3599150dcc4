"""The natural logarithm of sixteen doubles at a time."""

import numpy as np

from deeplim.simd.lanes import as_double, as_long_bits, fma, inline, select, spread

_u64 = np.uint64
_ROOT_HALF = 0x3FE6A09E667F3BCD  # the bits of sqrt(1/2)
_BIAS = 1023
_TWO_TO_52 = 0x4330000000000000  # the bits of 2^52: an integer below it in its last bits is added to it exactly
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
    found = fma(exponent, float(np.log(2.0)), fma(p, z, spread(2.0)) * s)
    found = select(x < np.inf, found, x)
    return select(x < _SMALLEST, spread(-np.inf), found)
