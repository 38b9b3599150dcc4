"""Four neurons across m inputs: the activation and its differences, summed into the Gram matrix of the layer.

Coordinates. Input 0 is carried as it is and input a as its difference to input 0, divided by the size r_a of that
difference. So coordinate 0 is z^0 and coordinate a is (z^a - z^0) / r_a, all of order one however close the inputs
are; with a positively homogeneous activation the inputs are first divided by their norms, so that r_a^2 / 2 = 1 - rho.

Neurons come in tiles of ROWS, entry (a, row) of a tile at a * ROWS + row, so that a number read from a matrix serves
all of them.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np

from deeplim.simd.lanes import COUNT, absolute, any_lane, fma, inline, load, maximum, select, spread, store, to_double
from deeplim.simd.smooth import difference, shaped_difference, shaped_value, value
from deeplim.simd.streams import two_normals

ROWS = 4
"""Neurons in a tile; ``four`` and ``put_four`` spell it out."""
_ZERO = np.float32(0)
Form = Literal["plain", "shaped", "transformed"]
"""How a named function is used: as it is, shaped towards the identity, or between two affine maps."""


@inline
def corner(a, b):
    """Where entry (a, b), b <= a, of a symmetric matrix stands when its lower triangle is stored row by row."""
    return a * (a + 1) // 2 + b


@inline
def four(tile, a):
    """Coordinate a of the four neurons."""
    at = a * ROWS
    return load(tile, at), load(tile, at + 1), load(tile, at + 2), load(tile, at + 3)


@inline
def put_four(tile, a, values):
    """Write coordinate a of the four neurons."""
    at = a * ROWS
    store(tile, at, values[0])
    store(tile, at + 1, values[1])
    store(tile, at + 2, values[2])
    store(tile, at + 3, values[3])


@inline
def draw(m, normals, s0, s1, s2, s3):
    """Store four times m independent standard normals a lane, and return the next state of the streams."""
    for j in range(0, m * ROWS, 2):
        one, two, s0, s1, s2, s3 = two_normals(s0, s1, s2, s3)
        store(normals, j, one)
        store(normals, j + 1, two)
    return s0, s1, s2, s3


@inline
def correlate(factor, normals, a):
    """Coordinate a of four Gaussian rows whose covariance has the lower triangular factor given."""
    f = load(factor, corner(a, 0))
    g = four(normals, 0)
    one, two, three, last = f * g[0], f * g[1], f * g[2], f * g[3]
    for k in range(1, a + 1):
        f = load(factor, corner(a, k))
        g = four(normals, k)
        one, two, three, last = fma(f, g[0], one), fma(f, g[1], two), fma(f, g[2], three), fma(f, g[3], last)
    return one, two, three, last


@inline
def activate_slopes(m, slopes, point, size, inverse_size, row, scratch):
    """Store (phi(z), (phi(z + r h) - phi(z)) / r) for an activation given by two slopes, z = z^0, for every h and r.

    With s the slope at z, the difference is s h while z + r h has the sign of z, and s' h + (s' - s) z / r, with the
    other slope s', where it does not: nothing cancels.
    """
    for t in range(ROWS):
        z = load(point, t)
        negative = z < _ZERO
        here, there = select(negative, slopes[1], slopes[0]), select(negative, slopes[0], slopes[1])
        bend = (there - here) * z
        store(row, t, here * z)
        for a in range(1, m):
            h = load(point, a * ROWS + t)
            beyond = (fma(load(size, a), h, z) < _ZERO) ^ negative
            crossed = fma(there, h, bend * load(inverse_size, a))
            store(row, a * ROWS + t, select(beyond, crossed, here * h))


def activation_of(phi: str | Callable | None, form: Form) -> Callable:
    """Return a compiled activate(m, parameters, point, size, inverse_size, row, scratch) that stores the same for phi.

    None: slopes, the parameters. A name: a smooth function of ``deeplim.simd.smooth``; shaped it is
    s (phi(x / s) - phi(0)) / phi'(0) with the parameters (s, 1 / s, 1 / phi'(0)), and transformed
    b (phi(a x + t) + u) with (a, t, b, u, |a|, 1 / |a|, b (phi(t) + u)). Anything else: a scalar function, compiled.
    """
    if phi is None:
        return activate_slopes
    if isinstance(phi, str):
        return {"plain": _smooth, "shaped": _shaped, "transformed": _transformed}[form](phi)
    return _lane_by_lane(phi)


@inline
def put_own(row, a, t, own, size, inverse_size):
    """Write phi(z^a) / r_a in the lanes where z^a is its own coordinate, and leave the difference in the others."""
    at = a * ROWS + t
    store(row, at, select(load(size, a) < 0.0, own * load(inverse_size, a), load(row, at)))


def _smooth(name: str) -> Callable:
    @inline
    def activate(m, parameters, point, size, inverse_size, row, scratch):
        for t in range(ROWS):
            z = load(point, t)
            store(row, t, value(name, z))
            for a in range(1, m):
                h, r = load(point, a * ROWS + t), absolute(load(size, a))
                store(row, a * ROWS + t, difference(name, z, h, r, load(inverse_size, a)))
        for a in range(1, m):
            if any_lane(load(size, a) < 0.0):
                for t in range(ROWS):
                    own = value(name, load(point, a * ROWS + t) * absolute(load(size, a)))
                    put_own(row, a, t, own, size, inverse_size)

    return activate


def _shaped(name: str) -> Callable:
    @inline
    def activate(m, parameters, point, size, inverse_size, row, scratch):
        s, inverse_s, inverse_slope = parameters
        for t in range(ROWS):
            z = load(point, t)
            store(row, t, shaped_value(name, z, s, inverse_s, inverse_slope))
            for a in range(1, m):
                h, r, inverse_r = load(point, a * ROWS + t), absolute(load(size, a)), load(inverse_size, a)
                store(row, a * ROWS + t, shaped_difference(name, z, h, r, inverse_r, s, inverse_s, inverse_slope))
        for a in range(1, m):
            if any_lane(load(size, a) < 0.0):
                for t in range(ROWS):
                    x = load(point, a * ROWS + t) * absolute(load(size, a))
                    put_own(row, a, t, shaped_value(name, x, s, inverse_s, inverse_slope), size, inverse_size)

    return activate


def _transformed(name: str) -> Callable:
    @inline
    def activate(m, parameters, point, size, inverse_size, row, scratch):
        a, t, b, u, reach, inverse_reach, at_zero = parameters
        side = a * inverse_reach
        for k in range(ROWS):
            z = a * load(point, k) + t
            store(row, k, b * (value(name, z) + u))
            for i in range(1, m):
                r, inverse_r = reach * absolute(load(size, i)), inverse_reach * load(inverse_size, i)
                found = difference(name, z, side * load(point, i * ROWS + k), r, inverse_r)
                store(row, i * ROWS + k, (b * reach) * found)
        for i in range(1, m):
            if any_lane(load(size, i) < 0.0):
                for k in range(ROWS):
                    # From 0 on, so that a small input keeps its digits where phi(0) = 0.
                    h, r = side * load(point, i * ROWS + k), reach * absolute(load(size, i))
                    rise = b * (r * difference(name, spread(t), h, r, inverse_reach * load(inverse_size, i)))
                    put_own(row, i, k, rise + at_zero, size, inverse_size)

    return activate


def _lane_by_lane(phi: Callable) -> Callable:
    """Differences smaller than 1e-5 of input 0's own scale, size[0], are taken over that much, centred where they
    belong, and rescaled: a derivative to 1e-10.
    """
    least = 1e-5

    @inline
    def apply(x, scratch):
        store(scratch, 0, x)
        for k in range(COUNT):
            scratch[k] = phi(scratch[k])
        return load(scratch, 0)

    @inline
    def activate(m, parameters, point, size, inverse_size, row, scratch):
        for t in range(ROWS):
            z = load(point, t)
            store(row, t, apply(z, scratch))
            for a in range(1, m):
                r, h = absolute(load(size, a)), load(point, a * ROWS + t)
                used = maximum(r, least * load(size, 0))
                low = z - 0.5 * (used - r) * h
                store(row, a * ROWS + t, (apply(fma(used, h, low), scratch) - apply(low, scratch)) / used)
        for a in range(1, m):
            if any_lane(load(size, a) < 0.0):
                for t in range(ROWS):
                    own = apply(load(point, a * ROWS + t) * absolute(load(size, a)), scratch)
                    put_own(row, a, t, own, size, inverse_size)

    return activate


@inline
def blank(m, rows, tile):
    """Set the rows of a tile from the ``rows``-th on to zero, where a layer has no more neurons."""
    for a in range(m):
        for t in range(rows, ROWS):
            store(tile, a * ROWS + t, spread(0.0))


@inline
def add_products(m, tile, sums):
    """Add the sum over four rows of row row^T to the lower triangle of sums, in the precision of the rows."""
    for a in range(m):
        y = four(tile, a)
        for b in range(a + 1):
            x = four(tile, b)
            at = corner(a, b)
            store(sums, at, fma(y[3], x[3], fma(y[2], x[2], fma(y[1], x[1], fma(y[0], x[0], load(sums, at))))))


@inline
def add_up(count, part, sums):
    """Add sums over a few rows to the sums over all, in double precision, and start the former again from zero."""
    for k in range(count):
        store(sums, k, load(sums, k) + to_double(load(part, k)))
    clear(count, part)


@inline
def clear(count, sums):
    """Set the first ``count`` sums to zero."""
    for k in range(count):
        store(sums, k, spread(0.0))


@inline
def copy(count, source, target):
    """Copy the first ``count`` Lanes of a buffer or array to another."""
    for k in range(count):
        store(target, k, load(source, k))
