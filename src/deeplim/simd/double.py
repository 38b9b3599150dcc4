"""Logarithm and exponential of sixteen numbers in double precision.

Exponents go through single precision, whose range, 1e-37 to 1e37, is that of one step of a diffusion.
"""

import numpy as np

from deeplim.simd.lanes import as_bits, as_float, fma, inline, signed_to_float, to_double, to_single

_u32, _f32 = np.uint32, np.float32
_ONE, _ROOT_HALF = 0x3F800000, 0x3F3504F3
"""The bits of 1 and of sqrt(1/2) in single precision."""
_ROUNDING = 1.5 * 2**23
"""Added to a number in single precision, it leaves the nearest whole number in the lowest bits."""


@inline
def log(x):
    """log(x), to 1e-15 or as much of it: e log 2 + 2 artanh((m - 1) / (m + 1)), x = 2^e m, sqrt(1/2) < m < sqrt(2)."""
    biased = (as_bits(to_single(x)) + _u32(_ONE - _ROOT_HALF)) >> _u32(23)  # e + 127
    m = x * to_double(as_float((_u32(254) - biased) << _u32(23)))
    s = (m - 1.0) / (m + 1.0)
    square = s * s
    series = fma(square, 1 / 17, 1 / 15)
    for odd in (13, 11, 9, 7, 5, 3):
        series = fma(series, square, 1 / odd)
    exponent = to_double(signed_to_float(biased) - _f32(127))
    return fma(exponent, np.log(2.0), 2.0 * fma(s * square, series, s))


@inline
def exp(x):
    """exp(x), to 1e-14 of it: 2^k times the Taylor series at x - k log 2."""
    shifted = fma(to_single(x), _f32(1 / np.log(2.0)), _f32(_ROUNDING))
    power = as_float((as_bits(shifted) + _u32(127)) << _u32(23))
    rest = fma(to_double(shifted - _f32(_ROUNDING)), -np.log(2.0), x)
    series = fma(rest, 1 / 479001600, 1 / 39916800)
    for factorial in (3628800.0, 362880.0, 40320.0, 5040.0, 720.0, 120.0, 24.0, 6.0, 2.0, 1.0):
        series = fma(series, rest, 1 / factorial)
    return to_double(power) * fma(series, rest, 1.0)
