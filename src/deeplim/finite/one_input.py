"""The exact chain of one input whose activation is given by two slopes: a few random numbers a layer, at any width.

Of n neurons K ~ Binomial(n, 1/2) are active, and the layer multiplies V by (gain / n) (s_+^2 chi^2_K + s_-^2
chi^2_{n - K}), the three independent given K (Hanin & Nica 2019). Sixteen networks side by side, in double precision.
"""

import math
from typing import NamedTuple

import numpy as np

from deeplim.simd.caching import kernel
from deeplim.simd.exponentials import log
from deeplim.simd.lanes import (
    COUNT,
    aligned,
    any_lane,
    as_double,
    count_ones,
    inline,
    load,
    maximum,
    select,
    spread,
    sqrt,
    store,
    to_double,
    unsigned_to_float,
    widen,
)
from deeplim.simd.streams import log2_uniform, next_bits, pause, resume, two_normals

_FLUSH_EVERY = 8
_COUNT_BITS_UP_TO = 1024
"""The width up to which K is counted bit by bit; beyond, it is drawn by rejection, in a time that does not grow."""
_LOG_2 = float(np.log(2.0))
_TWO_TO_52 = 0x4330000000000000
_HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)


@inline
def _uniform(bits):
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
def _advance(waiting, old, new):
    """The new states of streams whose network still waits and the old of others, which nothing beside them changes."""
    wait = waiting > 0.0
    return (
        select(wait, new[0], old[0]),
        select(wait, new[1], old[1]),
        select(wait, new[2], old[2]),
        select(wait, new[3], old[3]),
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
def _floor(x):
    """The largest whole number not above x, for |x| < 2^51."""
    nearest = (x + 1.5 * 2.0**52) - 1.5 * 2.0**52
    return select(x < nearest, nearest - 1.0, nearest)


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
        s0, s1, s2, s3 = _advance(waiting, (s0, s1, s2, s3), (t0, t1, t2, t3))
        u, v = _uniform(first) - 0.5, _uniform(second)
        near = 0.5 - maximum(u, 0.0 - u)
        k = _floor((2.0 * a / near + b) * u + (0.5 * n + 0.5))
        inside = (k > -0.5) & (k < n + 0.5)
        safe = select(inside, k, spread(0.5 * n))
        bound = highest - _log_factorial(safe) - _log_factorial(n - safe)
        height = log(v * alpha / (a / (near * near) + b))
        accepted = inside & (height < bound) & (waiting > 0.0)
        found = select(accepted, k, found)
        waiting = select(accepted, spread(0.0), waiting)
    return found, s0, s1, s2, s3


@inline
def _attempt(x, uniform_bits, d, c):
    """d v, v = (1 + c x)^3, and whether Marsaglia & Tsang (2000) accept it."""
    x = to_double(x)
    root = x * c + 1.0
    v = root * root * root
    level = 0.5 * x * x + d * (1.0 - v + log(maximum(v, spread(1e-300))))
    return d * v, (v > 0.0) & (to_double(log2_uniform(uniform_bits)) * _LOG_2 < level)


@inline
def _chi_square(k, s0, s1, s2, s3):
    """chi^2 with k degrees of freedom, 0 where k is 0: twice a gamma of shape k / 2."""
    low = k < 1.5
    # Below shape 1 from the next one up: gamma(1/2) = gamma(3/2) U^2.
    d = 0.5 * k + select(low, spread(1.0), spread(0.0)) - 1 / 3.0
    c = 1.0 / sqrt(9.0 * d)
    found, waiting = spread(0.0), select(k > 0.5, spread(1.0), spread(0.0))
    while any_lane(waiting > 0.0):
        one, two, t0, t1, t2, t3 = two_normals(s0, s1, s2, s3)
        first, t0, t1, t2, t3 = next_bits(t0, t1, t2, t3)
        second, t0, t1, t2, t3 = next_bits(t0, t1, t2, t3)
        s0, s1, s2, s3 = _advance(waiting, (s0, s1, s2, s3), (t0, t1, t2, t3))
        value, accepted = _attempt(one, first, d, c)
        other, also = _attempt(two, second, d, c)
        value = select(accepted, value, other)
        accepted = (accepted | also) & (waiting > 0.0)
        found = select(accepted, value, found)
        waiting = select(accepted, spread(0.0), waiting)
    bits, s0, s1, s2, s3 = next_bits(s0, s1, s2, s3)
    u = _uniform(bits)
    return 2.0 * found * select(low, u * u, spread(1.0)), s0, s1, s2, s3


class Room(NamedTuple):
    """The state of sixteen networks: random streams, and the logarithm of V kept so far."""

    bits: np.ndarray
    log_norm: np.ndarray
    found: np.ndarray


def room() -> Room:
    """Return room for a block of sixteen networks."""
    return Room(aligned(4, np.uint32), aligned(1), aligned(1))


@inline
def _layer(n, plus, minus, w):
    """The factor by which a layer multiplies V, over its scale."""
    s0, s1, s2, s3 = resume(w.bits)
    if n <= _COUNT_BITS_UP_TO:
        active, s0, s1, s2, s3 = _counted(n, s0, s1, s2, s3)
    else:
        active, s0, s1, s2, s3 = _by_rejection(float(n), s0, s1, s2, s3)
    total, s0, s1, s2, s3 = _chi_square(active, s0, s1, s2, s3)
    total = total * plus
    if minus > 0:
        other, s0, s1, s2, s3 = _chi_square(n - active, s0, s1, s2, s3)
        total = total + other * minus
    pause(w.bits, s0, s1, s2, s3)
    return total


@kernel(nogil=True)
def one_input_mlp(states, n, depth, scale, slopes, start, w, layers, norms, gaps):
    """Fill norms (network, layer, 1) with log V of exact MLPs; gaps has no pairs.

    states (word, network) uint32; scale = gain / n; the two slopes; start: a Start; w: a Room; layers: those recorded.
    """
    plus, minus = slopes[0] * slopes[0] * scale, slopes[1] * slopes[1] * scale
    for block in range(states.shape[1] // COUNT):
        begin = block * COUNT
        networks = min(COUNT, norms.shape[0] - begin)
        for k in range(COUNT):
            for word in range(4):
                w.bits[word * COUNT + k] = states[word, begin + k]
            w.log_norm[k] = start.log_norm[0]
        product, done = spread(1.0), 0
        for layer in range(depth + 1):
            if layer > 0:
                product = product * _layer(n, plus, minus, w)
            if layer % _FLUSH_EVERY == 0:
                store(w.log_norm, 0, load(w.log_norm, 0) + log(product))
                product = spread(1.0)
            if done < len(layers) and layers[done] == layer:
                store(w.found, 0, load(w.log_norm, 0) + log(product))
                for k in range(networks):
                    norms[begin + k, done, 0] = w.found[k]
                done += 1
