"""The exact chain of one input whose activation is given by two slopes: a few random numbers a layer, at any width.

Of n neurons K ~ Binomial(n, 1/2) are active, and the layer multiplies V by (gain / n) (s_+^2 chi^2_K + s_-^2
chi^2_{n - K}), the three independent given K (Hanin & Nica 2019). Sixteen networks side by side, in double precision.
"""

from typing import NamedTuple

import numpy as np

from deeplim.finite.active import advance, half_of, uniform
from deeplim.simd.caching import kernel
from deeplim.simd.exponentials import log
from deeplim.simd.lanes import (
    COUNT,
    aligned,
    any_lane,
    inline,
    load,
    maximum,
    raised,
    select,
    spread,
    sqrt,
    store,
    to_double,
)
from deeplim.simd.streams import log2_uniform, next_bits, pause, resume, two_normals

_FLUSH_EVERY = 8
_LOG_2 = float(np.log(2.0))


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
        s0, s1, s2, s3 = advance(waiting > 0.0, (s0, s1, s2, s3), (t0, t1, t2, t3))
        value, accepted = _attempt(one, first, d, c)
        other, also = _attempt(two, second, d, c)
        value = select(accepted, value, other)
        accepted = (accepted | also) & (waiting > 0.0)
        found = select(accepted, value, found)
        waiting = select(accepted, spread(0.0), waiting)
    bits, s0, s1, s2, s3 = next_bits(s0, s1, s2, s3)
    u = uniform(bits)
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
    active, s0, s1, s2, s3 = half_of(n, s0, s1, s2, s3)
    total, s0, s1, s2, s3 = _chi_square(active, s0, s1, s2, s3)
    total = total * plus
    if minus > 0:
        other, s0, s1, s2, s3 = _chi_square(n - active, s0, s1, s2, s3)
        total = total + other * minus
    pause(w.bits, s0, s1, s2, s3)
    return total


@kernel(nogil=True)
def one_input_mlp(states, n, depth, scale, slopes, start, w, layers, norms, gaps, stop):
    """Fill norms (network, layer, 1) with log V of exact MLPs; gaps has no pairs.

    states (word, network) uint32; scale = gain / n; the two slopes; start: a Start; w: a Room; layers: those recorded.
    stop: a flag that makes it return.
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
            if raised(stop):
                return
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
