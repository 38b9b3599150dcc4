"""One neuron across m inputs: the activation and its differences, summed into the Gram matrix of the layer.

Coordinates. Input 0 is carried as it is and input a as its difference to input 0, divided by the size r_a of that
difference. So coordinate 0 is z^0 and coordinate a is (z^a - z^0) / r_a, all of order one however close the inputs
are; with a positively homogeneous activation the inputs are first divided by their norms, so that r_a^2 / 2 = 1 - rho.
"""

from collections.abc import Callable

import numpy as np

from deeplim.simd.lanes import COUNT, fma, inline, load, maximum, select, spread, store, to_double
from deeplim.simd.streams import two_normals

_ZERO = np.float32(0)


@inline
def corner(a, b):
    """Where entry (a, b), b <= a, of a symmetric matrix stands when its lower triangle is stored row by row."""
    return a * (a + 1) // 2 + b


@inline
def slope_value(s_plus, s_minus, z):
    """phi(z) for an activation given by two slopes."""
    return select(z < _ZERO, s_minus, s_plus) * z


@inline
def slope_difference(s_plus, s_minus, z, h, r, inverse_r):
    """(phi(z + r h) - phi(z)) / r without cancellation: s' h + (s' - s) z / r, with s, s' the slopes at the ends."""
    here = select(z < _ZERO, s_minus, s_plus)
    there = select(fma(r, h, z) < _ZERO, s_minus, s_plus)
    return fma(there - here, z * inverse_r, there * h)


@inline
def draw(m, normals, s0, s1, s2, s3):
    """Store m independent standard normals a lane, and return the next state of the streams."""
    for j in range(0, m - 1, 2):
        one, two, s0, s1, s2, s3 = two_normals(s0, s1, s2, s3)
        store(normals, j, one)
        store(normals, j + 1, two)
    if m % 2 == 1:
        one, _, s0, s1, s2, s3 = two_normals(s0, s1, s2, s3)
        store(normals, m - 1, one)
    return s0, s1, s2, s3


@inline
def correlate(factor, normals, a):
    """Coordinate a of a Gaussian row whose covariance has the lower triangular factor given."""
    total = load(factor, corner(a, 0)) * load(normals, 0)
    for k in range(1, a + 1):
        total = fma(load(factor, corner(a, k)), load(normals, k), total)
    return total


@inline
def activate_slopes(m, slopes, point, size, inverse_size, row):
    """Store (phi(z^0), (phi(z^a) - phi(z^0)) / r_a) for an activation given by two slopes."""
    z = load(point, 0)
    store(row, 0, slope_value(slopes[0], slopes[1], z))
    for a in range(1, m):
        r, inverse_r = load(size, a), load(inverse_size, a)
        store(row, a, slope_difference(slopes[0], slopes[1], z, load(point, a), r, inverse_r))


def activation_of(phi: Callable) -> Callable:
    """Return the same for any scalar function that Numba has compiled, in double precision.

    Differences smaller than 1e-5 of input 0's own scale, size[0], are taken over that much, centred where they belong,
    and rescaled: a derivative to 1e-10.
    """
    least = 1e-5

    @inline
    def apply(x, scratch):
        store(scratch, 0, x)
        for k in range(COUNT):
            scratch[k] = phi(scratch[k])
        return load(scratch, 0)

    @inline
    def activate(m, point, size, row, scratch):
        z = load(point, 0)
        store(row, 0, apply(z, scratch))
        for a in range(1, m):
            r, h = load(size, a), load(point, a)
            used = maximum(r, least * load(size, 0))
            low = z - 0.5 * (used - r) * h
            store(row, a, (apply(fma(used, h, low), scratch) - apply(low, scratch)) / used)

    return activate


@inline
def add_products(m, row, sums):
    """Add row row^T to the lower triangle of sums, in the precision of the row."""
    for a in range(m):
        for b in range(a + 1):
            at = corner(a, b)
            store(sums, at, fma(load(row, a), load(row, b), load(sums, at)))


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
