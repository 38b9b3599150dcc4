"""The normalizations of rows in difference coordinates, for sixteen networks at a time.

RMSNorm and LayerNorm go over the neurons of an input. In difference coordinates they change every row linearly, by
moments of all the rows: x_0 <- stretch_0 (x_0 - mean_0), x_a <- stretch_a (x_a - mean_a - tilt_a (x_0 - mean_0)).
BatchNorm goes over the inputs of a neuron, so it is a function of one row. ``deeplim.differences`` does the same in
NumPy.
"""

import numpy as np

from deeplim.finite.coordinates import inverse
from deeplim.finite.rows import ROWS, blank, four, put_four
from deeplim.resolution import COLLAPSED, VANISHED
from deeplim.simd.exponentials import exp
from deeplim.simd.lanes import fma, inline, load, maximum, piece, select, spread, sqrt, store

NONE, RMSNORM, LAYERNORM, BATCHNORM = 0, 1, 2, 3
KINDS = {"none": NONE, "rmsnorm": RMSNORM, "layernorm": LAYERNORM, "batchnorm": BATCHNORM}


@inline
def over_neurons(kind):
    """Whether a normalization needs all neurons before it can change one."""
    return kind in (RMSNORM, LAYERNORM)


@inline
def less(x, y):
    """x - y for four numbers."""
    return x[0] - y, x[1] - y, x[2] - y, x[3] - y


@inline
def times(f, x):
    """f x for four numbers."""
    return f * x[0], f * x[1], f * x[2], f * x[3]


@inline
def plus(f, x, y):
    """f x + y for four numbers."""
    return fma(f, x[0], y[0]), fma(f, x[1], y[1]), fma(f, x[2], y[2]), fma(f, x[3], y[3])


@inline
def _dot(x, y, total):
    """total + the sum over four neurons of x y."""
    return fma(x[3], y[3], fma(x[2], y[2], fma(x[1], y[1], fma(x[0], y[0], total))))


@inline
def trim(m, left, tile):
    """Set the rows of a tile to zero that are past the ``left`` neurons that the layer still has."""
    if left < ROWS:
        blank(m, left, tile)


@inline
def take(m, rows, place, tile):
    """Copy the tile at a place, counted in coordinates, of the rows."""
    for a in range(m):
        put_four(tile, a, four(rows, place + a))


@inline
def put(m, tile, rows, place):
    """Copy a tile to its place among the rows."""
    for a in range(m):
        put_four(rows, place + a, four(tile, a))


@inline
def changed(m, rows, place, change, tile):
    """Copy the tile at a place of the rows with the change that ``find_change`` has found: mean, tilt and stretch."""
    first = less(four(rows, place), load(change, 0))
    put_four(tile, 0, times(load(change, 2 * m), first))
    for a in range(1, m):
        own = less(four(rows, place + a), load(change, a))
        put_four(tile, a, times(load(change, 2 * m + a), plus(0.0 - load(change, m + a), first, own)))


@piece
def _find_mean(m, n, rows, mean):
    """Store the mean of every coordinate over the neurons, and make it that of the last tile's missing rows."""
    for a in range(m):
        store(mean, a, spread(0.0))
    for i in range(0, n, ROWS):
        place = i // ROWS * m
        for a in range(m):
            x = four(rows, place + a)
            store(mean, a, load(mean, a) + ((x[0] + x[1]) + (x[2] + x[3])))
    last = n // ROWS * m
    for a in range(m):
        store(mean, a, load(mean, a) * (1.0 / n))
        if n % ROWS > 0:
            for t in range(n % ROWS, ROWS):
                store(rows, (last + a) * ROWS + t, load(mean, a))


@piece
def _add_moments(m, n, rows, size, mean, moments):
    """Sum x_0^2 and, for every a > 0, x_0 x_a, x_a^2 and (x_0 + r_a x_a)^2 over the neurons, means taken off first."""
    for k in range(3 * m):
        store(moments, k, spread(0.0))
    for i in range(0, n, ROWS):
        place = i // ROWS * m
        z = less(four(rows, place), load(mean, 0))
        store(moments, 0, _dot(z, z, load(moments, 0)))
        for a in range(1, m):
            x = less(four(rows, place + a), load(mean, a))
            y = plus(load(size, a), x, z)
            store(moments, 3 * a, _dot(z, x, load(moments, 3 * a)))
            store(moments, 3 * a + 1, _dot(x, x, load(moments, 3 * a + 1)))
            store(moments, 3 * a + 2, _dot(y, y, load(moments, 3 * a + 2)))


@inline
def _vanished(square, least):
    """1 where a square is no more than ``least``, which is rounding, and 0 elsewhere, also where it has overflowed."""
    return select(least < square, spread(0.0), select(least < np.inf, spread(1.0), spread(0.0)))


@piece
def find_change(m, n, centred, rows, size, change, moments, lost):
    """Find RMSNorm of n rows, or LayerNorm (centred), as a change of the rows; mark in ``lost`` networks with 0 / 0.

    rows: those missing from the last tile are zero, and the change leaves them so. size: r_a. change: m means, m tilts
    and m stretches. With sigma_a^2 = |z^a|^2 / n = sigma_0^2 + r_a q_a, q_a = (2 <z^0, x^a> + r_a |x^a|^2) / n, the
    difference of z^a / sigma_a and z^0 / sigma_0 is r_a (x^a - z^0 q_a / (sigma_0 (sigma_0 + sigma_a))) / sigma_a:
    nothing cancels. Means are taken off before squares are summed, so that a mean however large costs no digits.
    """
    for a in range(m):
        store(change, a, spread(0.0))
    if centred:
        _find_mean(m, n, rows, change)
    _add_moments(m, n, rows, size, change, moments)
    for k in range(3 * m):
        store(moments, k, load(moments, k) * (1.0 / n))
    first = load(moments, 0)
    gone = _vanished(first, VANISHED * (first + load(change, 0) * load(change, 0)))
    for a in range(1, m):
        r = load(size, a)
        gone = maximum(gone, _vanished(load(moments, 3 * a + 2), VANISHED * (first + r * r * load(moments, 3 * a + 1))))
    store(lost, 0, maximum(load(lost, 0), gone))
    # A lost network's rows stay finite until it is taken to zero.
    sigma = sqrt(select(gone > 0.0, spread(1.0), first))
    store(change, 2 * m, 1.0 / sigma)
    for a in range(1, m):
        both, own = load(moments, 3 * a), load(moments, 3 * a + 1)
        other = sqrt(select(gone > 0.0, spread(1.0), load(moments, 3 * a + 2)))
        along = (2.0 * both + load(size, a) * own) / (sigma * (sigma + other))
        # What is left of a difference along z^0, as where a single neuron is active, is rounding.
        left = own - along * (2.0 * both - along * first)
        store(change, m + a, along)
        store(change, 2 * m + a, select(COLLAPSED * own < left, 1.0 / other, spread(0.0)))


@piece
def exponentiate(m, log_size, size):
    """Store r_a from log r_a."""
    for a in range(m):
        store(size, a, exp(load(log_size, a)))


@piece
def find_ratios(m, log_size, ratio):
    """Take log r_a to units of the largest r_a, which BatchNorm does, and store the new r_a."""
    largest = spread(-np.inf)
    for a in range(1, m):
        largest = maximum(largest, load(log_size, a))
    largest = select(largest > -np.inf, largest, spread(0.0))
    for a in range(1, m):
        store(log_size, a, load(log_size, a) - largest)
    exponentiate(m, log_size, ratio)


@piece
def over_inputs(m, ratio, tile):
    """BatchNorm: z^a less its mean over a depends on the differences alone; a neuron with none of them gives 0."""
    for t in range(ROWS):
        mean = spread(0.0)
        for a in range(1, m):
            mean = fma(load(ratio, a), load(tile, a * ROWS + t), mean)
        mean = mean * (1.0 / m)
        square = mean * mean
        for a in range(1, m):
            off = fma(load(ratio, a), load(tile, a * ROWS + t), 0.0 - mean)
            square = fma(off, off, square)
        scale = inverse(sqrt(square * (1.0 / m)))
        store(tile, t, (0.0 - mean) * scale)
        for a in range(1, m):
            store(tile, a * ROWS + t, load(tile, a * ROWS + t) * scale)
