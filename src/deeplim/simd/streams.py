"""One random stream per network, named by (seed, index): the same numbers whatever the batch, order or threads.

Bits come from xoshiro128++ (Blackman & Vigna 2021), one generator a lane, its 128-bit state hashed from the seed and
the network's index by SplitMix64. Two of 10^7 streams of 10^9 numbers overlap with probability below 1e-15.
Normals come in pairs from the Box-Muller transform, in single precision: g = sqrt(-2 log u) (cos, sin)(2 pi v).
"""

import numpy as np
from jaxtyping import UInt

from deeplim.simd.lanes import as_bits, as_float, fma, inline, load, select, signed_to_float, sqrt, store

_u32, _f32 = np.uint32, np.float32
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
def minus_two_log(bits):
    """-2 log(u) for u uniform in (0, 1], an odd multiple of 2^-31 in single precision; error below 3e-7 of it or 3e-10.

    u rounds to 1, and the pair of normals to 0, with probability 3e-8.

    The logarithm is split as e log 2 + log(1 + m), 1 + m in [sqrt(1/2), sqrt(2)), with the polynomial of Cephes logf.
    """
    x = signed_to_float((bits >> _u32(1)) | _u32(1))  # an integer in [1, 2^31)
    shifted = as_bits(x) - _u32(0x3F3504F3)  # bits of sqrt(1/2)
    exponent = signed_to_float(shifted >> _u32(23)) - _f32(31)
    m = as_float((shifted & _u32(0x007FFFFF)) + _u32(0x3F3504F3)) - _f32(1)
    p = fma(m, _f32(7.0376836292e-2), _f32(-1.1514610310e-1))
    p = fma(p, m, _f32(1.1676998740e-1))
    p = fma(p, m, _f32(-1.2420140846e-1))
    p = fma(p, m, _f32(1.4249322787e-1))
    p = fma(p, m, _f32(-1.6668057665e-1))
    p = fma(p, m, _f32(2.0000714765e-1))
    p = fma(p, m, _f32(-2.4999993993e-1))
    p = fma(p, m, _f32(3.3333331174e-1))
    square = m * m
    log1p = fma(square, fma(p, m, _f32(-0.5)), m)
    return fma(exponent, _f32(-2 * np.log(2.0)), _f32(-2) * log1p)


@inline
def cosine_and_sine(bits):
    """(cos, sin) of a uniform angle: two bits choose the quarter turn, thirty the angle in it; error below 1e-7."""
    a = signed_to_float(bits & _u32(0x3FFFFFFF)) * _f32(np.pi / 2**31) - _f32(np.pi / 4)
    square = a * a
    s = fma(square, _f32(-1.9515295891e-4), _f32(8.3321608736e-3))
    s = fma(fma(s, square, _f32(-1.6666654611e-1)) * square, a, a)
    c = fma(square, _f32(2.443315711809948e-5), _f32(-1.388731625493765e-3))
    c = fma(fma(fma(c, square, _f32(4.166664568298827e-2)), square, _f32(-0.5)), square, _f32(1))
    even = (bits & _u32(0x40000000)) < _u32(1)
    sign_c = (bits ^ (bits << _u32(1))) & _u32(0x80000000)
    sign_s = bits & _u32(0x80000000)
    cosine = as_float(as_bits(select(even, c, s)) ^ sign_c)
    return cosine, as_float(as_bits(select(even, s, c)) ^ sign_s)


@inline
def two_normals(s0, s1, s2, s3):
    """Two independent standard normals a lane, and the next state."""
    radius_bits, s0, s1, s2, s3 = next_bits(s0, s1, s2, s3)
    angle_bits, s0, s1, s2, s3 = next_bits(s0, s1, s2, s3)
    radius = sqrt(minus_two_log(radius_bits))
    cosine, sine = cosine_and_sine(angle_bits)
    return radius * cosine, radius * sine, s0, s1, s2, s3
