"""One random stream per network, named by (seed, index): the same numbers whatever the batch, order or threads.

Bits come from xoshiro128++ (Blackman & Vigna 2021), one generator a lane, its 128-bit state hashed from the seed and
the network's index by SplitMix64. Two of 10^7 streams of 10^9 numbers overlap with probability below 1e-15.
Normals come in pairs from the Box-Muller transform, in single precision: g = sqrt(-2 log u) (cos, sin)(2 pi v).
"""

import numpy as np
from jaxtyping import UInt

from deeplim.simd.lanes import (
    as_bits,
    as_float,
    fma,
    inline,
    load,
    signed_shift,
    signed_to_float,
    sqrt,
    store,
    unsigned_to_float,
)

_u32, _f32 = np.uint32, np.float32
_MINUS_TWO_LOG_TWO = np.float32(-2 * np.log(2.0))
_ROOT_HALF = 0x3F3504F3  # the bits of sqrt(1/2)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mix(x: np.ndarray) -> np.ndarray:
    """The finalizer of SplitMix64."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def stream_states(seed: int, first: int, count: int) -> UInt[np.ndarray, "word network"]:
    """Return the 128-bit starting states of networks first, ..., first + count - 1, as uint32 of shape (4, count)."""
    with np.errstate(over="ignore"):
        index = np.arange(first, first + count, dtype=np.uint64)
        key = _mix(np.array([seed], dtype=np.uint64) + _GOLDEN) ^ _mix(index * _GOLDEN + np.uint64(1))
        words = [_mix(key + _GOLDEN * np.uint64(i)) for i in (1, 2)]
    halves = [half for word in words for half in (word & np.uint64(0xFFFFFFFF), word >> np.uint64(32))]
    states = np.array(halves, dtype=np.uint32)
    states[0, ~states.any(axis=0)] = 1  # the one state that xoshiro cannot leave
    return states


@inline
def _rotate(x, k):
    return (x << _u32(k)) | (x >> _u32(32 - k))


@inline
def next_bits(s0, s1, s2, s3):
    """One step of xoshiro128++: 32 random bits a lane, and the next state."""
    out = _rotate(s0 + s3, 7) + s0
    t = s1 << _u32(9)
    s2 = s2 ^ s0
    s3 = s3 ^ s1
    s1 = s1 ^ s2
    s0 = s0 ^ s3
    return out, s0, s1, s2 ^ t, _rotate(s3, 11)


@inline
def resume(bits):
    """The state of sixteen streams, from where ``pause`` put it."""
    return load(bits, 0), load(bits, 1), load(bits, 2), load(bits, 3)


@inline
def pause(bits, s0, s1, s2, s3):
    """Put the state of sixteen streams into a flat array of four words each."""
    store(bits, 0, s0)
    store(bits, 1, s1)
    store(bits, 2, s2)
    store(bits, 3, s3)


@inline
def log2_uniform(bits):
    """log2(u) for u uniform in (0, 1], an odd multiple of 2^-32 in single precision; error below 3e-7 of it.

    u rounds to 1, and the pair of normals to 0, with probability 3e-8. The least significant bit is not used.

    The logarithm is split as e + log2(1 + m), 1 + m in [sqrt(1/2), sqrt(2)), the latter m times a minimax polynomial.
    """
    shifted = as_bits(unsigned_to_float(bits | _u32(1))) - _u32(_ROOT_HALF + (32 << 23))
    exponent = signed_to_float(signed_shift(shifted, 23))
    m = as_float((shifted & _u32(0x007FFFFF)) + _u32(_ROOT_HALF)) - _f32(1)
    p = fma(m, _f32(-0.14973328), _f32(0.23570964))
    p = fma(p, m, _f32(-0.24832281))
    p = fma(p, m, _f32(0.28686888))
    p = fma(p, m, _f32(-0.36026346))
    p = fma(p, m, _f32(0.48093116))
    p = fma(p, m, _f32(-0.72135249))
    p = fma(p, m, _f32(1.4426949))
    return fma(p, m, exponent)


@inline
def half_turn(bits):
    """(cos, sin) of an angle uniform in (-pi/2, pi/2), from 24 of its 32 bits; error below 2e-7.

    The mean of cos^2 is 1/2 - 4e-9 and that of sin^2 1/2 - 3e-10: what 10^5 layers make of it is still small.
    """
    x = signed_to_float(bits) * _f32(2.0**-31)
    y = x * x
    s = fma(y, _f32(0.00015315507), _f32(-0.0046774703))
    s = fma(s, y, _f32(0.0796924))
    s = fma(s, y, _f32(-0.64596444))
    s = fma(s, y, _f32(1.5707964))
    c = fma(y, _f32(0.00085768237), _f32(-0.020809518))
    c = fma(c, y, _f32(0.25364995))
    c = fma(c, y, _f32(-1.233698))
    c = fma(c, y, _f32(0.99999994))
    return c, s * x


@inline
def two_normals(s0, s1, s2, s3):
    """Two independent standard normals a lane, and the next state."""
    radius_bits, s0, s1, s2, s3 = next_bits(s0, s1, s2, s3)
    angle_bits, s0, s1, s2, s3 = next_bits(s0, s1, s2, s3)
    radius = sqrt(log2_uniform(radius_bits) * _MINUS_TWO_LOG_TWO)
    # The bit that the radius leaves takes the half turn to the whole.
    radius = as_float(as_bits(radius) ^ (radius_bits << _u32(31)))
    cosine, sine = half_turn(angle_bits)
    return radius * cosine, radius * sine, s0, s1, s2, s3
