"""The fused pass that summaries are made by: moments and histograms of every observable of a block of paths.

A block is gone over layer by layer. Each observable of its living samples is put side by side in a buffer that stays in
cache, summed sixteen numbers at a time, and counted into bins.
"""

import math

import numpy as np
from numba import njit

from deeplim.bins import BINS
from deeplim.simd.caching import kernel
from deeplim.simd.lanes import (
    COUNT,
    as_bits,
    as_float,
    fma,
    inline,
    load,
    maximum,
    select,
    signed_to_float,
    spread,
    sqrt,
    store,
    to_double,
)

CORRELATION, GAP, LOG_GAP, LOG_NORM, ANGLE = range(5)
"""Places of the observables in sums, histograms, bins and buffers."""
DEAD, EXPLODED, ALIGNED = range(3)
"""Places in outcomes."""
_SMALLEST = float(np.finfo(float).smallest_subnormal)
_LOG_2, _DEEP = math.log(2.0), -700.0
_u32, _f32 = np.uint32, np.float32

piece = njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, error_model="numpy")


@inline
def _sum(lanes, sixteen):
    store(sixteen, 0, lanes)
    total = 0.0
    for k in range(COUNT):
        total += sixteen[k]
    return total


@inline
def _largest(lanes, sixteen):
    store(sixteen, 0, lanes)
    largest = sixteen[0]
    for k in range(1, COUNT):
        largest = max(largest, sixteen[k])
    return largest


@piece
def _moments(values, count, deviations, sixteen, out):
    """Moments of a buffer, by deviations from its first value: a constant has that mean and m2 = 0 exactly."""
    blocks = (count + COUNT - 1) // COUNT
    first = values[0]
    for i in range(count, blocks * COUNT):
        values[i] = first
    origin = spread(first)
    total, high, low = spread(0.0), origin, 0.0 - origin
    for k in range(blocks):
        value = load(values, k)
        deviation = value - origin
        store(deviations, k, deviation)
        total = total + deviation
        high, low = maximum(high, value), maximum(low, 0.0 - value)
    shift = _sum(total, sixteen) / count
    for i in range(count):
        deviations[i] -= shift
    for i in range(count, blocks * COUNT):
        deviations[i] = 0.0
    m2, m3, m4 = spread(0.0), spread(0.0), spread(0.0)
    for k in range(blocks):
        deviation = load(deviations, k)
        square = deviation * deviation
        m2, m3, m4 = m2 + square, m3 + square * deviation, m4 + square * square
    out[0], out[1] = count, first + shift
    out[2], out[3], out[4] = _sum(m2, sixteen), _sum(m3, sixteen), _sum(m4, sixteen)
    out[5], out[6] = -_largest(low, sixteen), _largest(high, sixteen)


@inline
def _asinh(value, single):
    """asinh of sixteen doubles in single precision, to 2e-5: enough to guess a bin, which is then put right.

    log(|x| + sqrt(x^2 + 1)) is split as e log 2 + log(1 + m), m in [0, 1), with a minimax polynomial.
    """
    size = maximum(value, 0.0 - value)
    store(single, 0, size + sqrt(fma(size, size, 1.0)))
    bits = as_bits(load(single, 0))
    exponent = signed_to_float(bits >> _u32(23)) - _f32(127)
    m = as_float((bits & _u32(0x007FFFFF)) | _u32(0x3F800000)) - _f32(1)
    p = fma(m, _f32(0.03215188), _f32(-0.13604374))
    p = fma(p, m, _f32(0.28945534))
    p = fma(p, m, _f32(-0.49190078))
    p = fma(p, m, _f32(0.99949440))
    log = fma(exponent, _f32(math.log(2.0)), p * m)
    return select(value < 0.0, _f32(0) - log, log)


@piece
def _count(values, count, smallest, low, per_unit, curved, coordinates, single, row):
    """Count the values of a buffer into bins: a guess from the coordinate, put right by the edges.

    The bin is that of the edges, however the guess was rounded.
    """
    for k in range((count + COUNT - 1) // COUNT):
        value = load(values, k)
        store(coordinates, k, to_double(_asinh(value, single)) if curved else value)
    for i in range(count):
        number = min(max(int((coordinates[i] - low) * per_unit) + 1, 0), BINS + 1)
        while values[i] < smallest[number]:
            number -= 1
        while values[i] >= smallest[number + 1]:
            number += 1
        row[number] += 1


@piece
def _gather(log_norm, log_gap, alive, one, pair, outcomes, norm, log):
    """Put the living samples' log norms and finite log gaps side by side; return how many, and count the others."""
    living = apart = 0
    for i in range(len(alive)):
        if alive[i]:
            norm[living] = log_norm[i, one]
            living += 1
            if pair >= 0 and log_gap[i, pair] > -np.inf:
                log[apart] = log_gap[i, pair]
                apart += 1
        else:
            exploded = False
            for a in range(log_norm.shape[1]):
                exploded |= log_norm[i, a] == np.inf
            outcomes[EXPLODED if exploded else DEAD] += 1
    if pair >= 0:
        outcomes[ALIGNED] = living - apart
    return living, apart


@piece
def _derive(log, apart, living, gap, rho, angle):
    """Gap, correlation and angle of log gaps, as in ``observables``, and after them those of exactly parallel pairs."""
    for i in range(apart):
        gap[i] = max(math.exp(log[i]), _SMALLEST)
        rho[i] = 1.0 - gap[i]
        # The gap underflows, or loses its digits, long before the angle does.
        half_sine = math.sqrt(gap[i] / 2) if log[i] > _DEEP else math.exp((log[i] - _LOG_2) / 2)
        angle[i] = 2.0 * math.asin(min(half_sine, 1.0))
    for i in range(apart, living):
        gap[i], rho[i], angle[i] = 0.0, 1.0, 0.0


@kernel(nogil=True, error_model="numpy")
def add_block(log_norm, log_gap, alive, columns, bins, buffers, outcomes, sums, histograms):
    """Count a block of paths into histograms (observable, layer, bin) and outcomes, and write its sums.

    columns: the input and the pair observed, -1 when there is none. bins: the smallest value of each bin, the lowest
    coordinate, bins per unit of it and whether it is curved, by observable. buffers: room for each observable and one
    more, in whole sixteens of samples. outcomes: (outcome, layer). sums: count, mean, m2, m3, m4, low and high, (sum,
    observable, layer), not touched where nothing is counted. The gap is not counted into bins: see ``bins``.
    """
    one, pair = columns
    smallest, low, per_unit, curved = bins
    rows, room = buffers[:-1], buffers[-1]
    sixteen, single = np.empty(COUNT), np.empty(COUNT, np.float32)
    counts = np.zeros(len(rows), np.int64)
    for layer in range(alive.shape[1]):
        here = log_norm[:, layer], log_gap[:, layer], alive[:, layer]
        living, apart = _gather(*here, one, pair, outcomes[:, layer], rows[LOG_NORM], rows[LOG_GAP])
        counts[LOG_NORM] = living
        if pair >= 0:
            _derive(rows[LOG_GAP], apart, living, rows[GAP], rows[CORRELATION], rows[ANGLE])
            counts[LOG_GAP], counts[GAP], counts[CORRELATION], counts[ANGLE] = apart, living, living, living
        for o in range(len(rows)):
            if counts[o] > 0:
                _moments(rows[o], counts[o], room, sixteen, sums[:, o, layer])
                if o != GAP:
                    of = smallest[o], low[o], per_unit[o], curved[o]
                    _count(rows[o], counts[o], *of, room, single, histograms[o, layer])
