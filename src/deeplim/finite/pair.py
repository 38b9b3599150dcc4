"""The exact chain of two inputs whose activation is given by two slopes, in one pass and with no row formed.

Every neuron sees the two inputs through a Gaussian in the plane, sqrt(w) (cos a, sin a) with w exponential, and its
activation is positively homogeneous: of the row only w times a function of the angle is summed, so no square root is
taken and a half turn with a fair sign serves for the whole. Coordinates are those of ``deeplim.finite.rows``: the
first input u and the difference x of the second to it, divided by its size r; |u| = |x| = 1 and <u, x> = -r / 2.
"""

from typing import NamedTuple

import numpy as np

from deeplim.finite.coordinates import inverse
from deeplim.finite.relu_pair import add_active_rows
from deeplim.resolution import COLLAPSED, DEAD
from deeplim.simd.caching import kernel
from deeplim.simd.exponentials import log
from deeplim.simd.lanes import (
    COUNT,
    aligned,
    fma,
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
from deeplim.simd.streams import half_turn, log2_uniform, next_bits, pause, resume

_ROWS_TOGETHER = 32
"""Rows summed in single precision before the sum is added to the total in double precision."""
_FLUSH_EVERY = 8
_SMALLEST_SIZE, _SMALLEST_SINGLE = 1e-280, 1e-30
_LOG_2 = float(np.log(2.0))
_u32, _f32 = np.uint32, np.float32
_ZERO = _f32(0)


@inline
def _add_row(slopes, lean, height, r, inverse_r, sums, s0, s1, s2, s3):
    """Add one neuron to (sum p^2, sum p D, sum D^2) / log2(e^-2), p = phi(z), D = (phi(z + r x) - phi(z)) / r."""
    weight_bits, s0, s1, s2, s3 = next_bits(s0, s1, s2, s3)
    angle_bits, s0, s1, s2, s3 = next_bits(s0, s1, s2, s3)
    weight = log2_uniform(weight_bits)
    z, across = half_turn(angle_bits)
    x = fma(height, across, lean * z)
    # z > 0 here; the bit that the weight leaves says whether the neuron sees the inputs or their opposites.
    same = (weight_bits & _u32(1)) < _u32(1)
    here = select(same, slopes[0], slopes[1])
    there = select(fma(r, x, z) < _ZERO, select(same, slopes[1], slopes[0]), here)
    p = here * z
    difference = fma(there - here, z * inverse_r, there * x)
    weighted, other = weight * p, weight * difference
    first, mixed, second = sums
    return (fma(weighted, p, first), fma(weighted, difference, mixed), fma(other, difference, second)), s0, s1, s2, s3


@inline
def _next_size(a, b, c, r):
    """The factors by which |z|^2, |z'|^2 and r change in a layer with sums a, b, c.

    With S = a + 2 r b + r^2 c and N = sqrt(a S), cos = (a + r b) / N, sin^2 = r^2 (a c - b^2) / N^2 and
    1 - cos = sin^2 / (1 + cos), or itself where cos < 0: nothing cancels.
    """
    second = fma(r, fma(r, c, b + b), a)
    second = select(DEAD * a < second, second, spread(0.0))
    product = sqrt(a * second)
    along = fma(r, b, a)
    square = a * c - b * b
    square = select(COLLAPSED * a * c < square, square, spread(0.0))
    obtuse = along < 0.0
    over = select(obtuse, (product - along) * inverse(r * r), square)
    under = product * select(obtuse, spread(1.0), product + along)
    return second, sqrt(2.0 * over * inverse(under))


class Room(NamedTuple):
    """The state of sixteen networks, sixteen numbers to an entry: random streams, and logarithms kept so far."""

    bits: np.ndarray
    log_norm: np.ndarray
    log_size: np.ndarray
    row: np.ndarray
    found: np.ndarray


def room() -> Room:
    """Return room for a block of sixteen networks."""
    return Room(aligned(4, np.uint32), aligned(2), aligned(1), aligned(4, np.float32), aligned(3))


@inline
def _rows(n, slopes, r, w):
    """The sums of ``_add_row`` over the n neurons of a layer, in double precision; r: the size of the difference."""
    # Anything smaller would be a subnormal number in single precision, which takes a hundred times as long.
    single = maximum(r, spread(_SMALLEST_SINGLE))
    store(w.row, 0, -0.5 * single)
    store(w.row, 1, sqrt(maximum((1.0 - 0.5 * r) * (1.0 + 0.5 * r), spread(0.0))))
    store(w.row, 2, single)
    store(w.row, 3, 1.0 / single)
    lean, height, size, inverse_size = load(w.row, 0), load(w.row, 1), load(w.row, 2), load(w.row, 3)
    if slopes[1] == _ZERO:
        return add_active_rows(n, size, inverse_size, lean, height, w)
    sums = spread(0.0), spread(0.0), spread(0.0)
    s0, s1, s2, s3 = resume(w.bits)
    for begin in range(0, n, _ROWS_TOGETHER):
        part = spread(_ZERO), spread(_ZERO), spread(_ZERO)
        for _ in range(min(_ROWS_TOGETHER, n - begin)):
            part, s0, s1, s2, s3 = _add_row(slopes, lean, height, size, inverse_size, part, s0, s1, s2, s3)
        sums = sums[0] + to_double(part[0]), sums[1] + to_double(part[1]), sums[2] + to_double(part[2])
    pause(w.bits, s0, s1, s2, s3)
    return sums


@inline
def _restart(block, states, start, w):
    """Put sixteen networks at their inputs, with random streams of their own."""
    for k in range(COUNT):
        for word in range(4):
            w.bits[word * COUNT + k] = states[word, block * COUNT + k]
        for a in range(2):
            w.log_norm[a * COUNT + k] = start.log_norm[a]
        w.log_size[k] = start.log_size[1]


@inline
def _logs(w, first, second, shrink, into_norm, into_size):
    """Logarithms of norms and size, of those kept and of the factors since."""
    store(into_norm, 0, load(w.log_norm, 0) + log(first))
    store(into_norm, 1, load(w.log_norm, 1) + log(second))
    store(into_size, 0, load(w.log_size, 0) + log(shrink))


@kernel(nogil=True)
def pair_mlp(states, n, depth, scale, slopes, start, w, layers, norms, gaps, stop):
    """Fill norms (network, layer, input) and gaps (network, layer, 1) with log V^{aa} and log(1 - rho) of exact MLPs.

    states (word, network) uint32; scale = gain / n; the two slopes, single precision; start: a Start; w: a Room;
    layers: those recorded; stop: a flag that makes it return.
    """
    # w / -log2(u) is log(e^2) / log 2
    weighted = -2 * _LOG_2 * scale
    for block in range(states.shape[1] // COUNT):
        begin = block * COUNT
        networks = min(COUNT, norms.shape[0] - begin)
        _restart(block, states, start, w)
        r = spread(np.exp(start.log_size[1]))
        first, second, shrink = spread(1.0), spread(1.0), spread(1.0)
        done = 0
        for layer in range(depth + 1):
            if raised(stop):
                return
            if layer > 0:
                a, b, c = _rows(n, slopes, r, w)
                a = a * weighted
                last, change = _next_size(a, b * weighted, c * weighted, r)
                first, second, shrink = first * a, second * last, shrink * change
                r = maximum(r * change, spread(_SMALLEST_SIZE))
            if layer % _FLUSH_EVERY == 0:
                _logs(w, first, second, shrink, w.log_norm, w.log_size)
                first, second, shrink = spread(1.0), spread(1.0), spread(1.0)
            if done < len(layers) and layers[done] == layer:
                _logs(w, first, second, shrink, w.found, w.found[2 * COUNT :])
                for k in range(networks):
                    norms[begin + k, done, 0] = w.found[k]
                    norms[begin + k, done, 1] = w.found[COUNT + k]
                    gaps[begin + k, done, 0] = 2 * w.found[2 * COUNT + k] - _LOG_2
                done += 1
