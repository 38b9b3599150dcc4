"""How many of a layer's neurons are active: binomial numbers for sixteen networks at a time."""

import math

import numpy as np

from deeplim.simd.exponentials import log
from deeplim.simd.lanes import (
    any_lane,
    as_double,
    count_ones,
    floor,
    inline,
    maximum,
    select,
    spread,
    to_double,
    unsigned_to_float,
    widen,
)
from deeplim.simd.streams import next_bits

_COUNT_BITS_UP_TO = 1024
"""The width up to which ones are counted bit by bit; beyond, by rejection, in a time that does not grow."""
_TWO_TO_52 = 0x4330000000000000
_HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)


@inline
def uniform(bits):
    """A uniform number in (0, 1), an odd multiple of 2^-33, in double precision."""
    return ((as_double(widen(bits) | np.uint64(_TWO_TO_52)) - 2.0**52) + 0.5) * 2.0**-32


@inline
def _log_factorial(x):
    """log x! for x >= 10, by Stirling's series to 1e-9 or the rounding of x log x."""
    y = x + 1.0
    z = 1.0 / (y * y)
    series = ((1 / 1260.0 * z - 1 / 360.0) * z + 1 / 12.0) / y
    return (y - 0.5) * log(y) - y + _HALF_LOG_TWO_PI + series


@inline
def advance(live, old, new):
    """The new states of the streams that the condition holds for, and the old ones of the rest.

    What a network draws must not depend on how much those beside it draw.
    """
    return (
        select(live, new[0], old[0]),
        select(live, new[1], old[1]),
        select(live, new[2], old[2]),
        select(live, new[3], old[3]),
    )


@inline
def _counted(n, s0, s1, s2, s3):
    """K as the number of ones among n random bits."""
    active = spread(np.float32(0))
    for _ in range(n // 32):
        bits, s0, s1, s2, s3 = next_bits(s0, s1, s2, s3)
        active = active + unsigned_to_float(count_ones(bits))
    bits, s0, s1, s2, s3 = next_bits(s0, s1, s2, s3)
    left = np.uint32((1 << (n % 32)) - 1)
    active = active + unsigned_to_float(count_ones(bits & left))
    return to_double(active), s0, s1, s2, s3


@inline
def _by_rejection(n, s0, s1, s2, s3):
    """K by the transformed rejection BTRS of Hoermann (1993), at p = 1/2."""
    deviation = 0.5 * math.sqrt(n)
    b = 1.15 + 2.53 * deviation
    a = -0.0873 + 0.0248 * b + 0.005
    alpha = (2.83 + 5.1 / b) * deviation
    middle = float((n + 1) // 2)
    highest = math.lgamma(middle + 1.0) + math.lgamma(n - middle + 1.0)
    found, waiting = spread(0.0), spread(1.0)
    while any_lane(waiting > 0.0):
        first, t0, t1, t2, t3 = next_bits(s0, s1, s2, s3)
        second, t0, t1, t2, t3 = next_bits(t0, t1, t2, t3)
        s0, s1, s2, s3 = advance(waiting > 0.0, (s0, s1, s2, s3), (t0, t1, t2, t3))
        u, v = uniform(first) - 0.5, uniform(second)
        near = 0.5 - maximum(u, 0.0 - u)
        k = floor((2.0 * a / near + b) * u + (0.5 * n + 0.5))
        inside = (k > -0.5) & (k < n + 0.5)
        safe = select(inside, k, spread(0.5 * n))
        bound = highest - _log_factorial(safe) - _log_factorial(n - safe)
        height = log(v * alpha / (a / (near * near) + b))
        accepted = inside & (height < bound) & (waiting > 0.0)
        found = select(accepted, k, found)
        waiting = select(accepted, spread(0.0), waiting)
    return found, s0, s1, s2, s3


@inline
def half_of(n, s0, s1, s2, s3):
    """K ~ Binomial(n, 1/2) in each lane, in double precision, and the next state of the streams."""
    if n <= _COUNT_BITS_UP_TO:
        active, s0, s1, s2, s3 = _counted(n, s0, s1, s2, s3)
    else:
        active, s0, s1, s2, s3 = _by_rejection(float(n), s0, s1, s2, s3)
    return active, s0, s1, s2, s3
