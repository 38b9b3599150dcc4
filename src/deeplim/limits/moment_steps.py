"""Compiled steps of the moment chain: look up one layer's map in a table, bend three normals, move the pair.

The pair is (1, 0) and (1 + u, v), v >= 0, in the plane of the two inputs, divided by the size of the first: u and v
keep their relative precision as the inputs align. A layer moves it to its mean place, and its scatter (g, Y, h) on from
there: log V^{00} gains g, u gains v Y, and v is multiplied by exp(h / 2). A second input that is far smaller is
followed by its size and its direction in the plane, which is moved in the same way.
"""

import numpy as np

from deeplim.gaussian import angle_of_gap
from deeplim.limits.drifts import SMALLEST_GAP, TURN_DOUBLE, gap_series, piece, settled, turning
from deeplim.simd.caching import kernel
from deeplim.simd.exponentials import exp, log
from deeplim.simd.lanes import COUNT, fma, inline, load, maximum, raised, select, spread, sqrt, store
from deeplim.simd.seeding import begin_streams
from deeplim.simd.streams import resume, two_normals

ARC = gap_series(lambda gap: angle_of_gap(gap) / np.sqrt(gap), 15)
"""The angle of a gap from 0 to 1, over its root."""
MARGIN = 1
"""Nodes a table of angles has beyond either end of what it covers, for the cubic rule."""


@piece
def _weights(place, size):
    """Index of the first of four nodes around a place (in units of nodes), and the cubic weights there."""
    index = min(max(int(np.floor(place)) - 1, 0), size - 4)
    s = place - index
    a, b, c, d = s, s - 1, s - 2, s - 3
    return index, -b * c * d / 6, a * c * d / 2, -a * b * d / 2, a * b * c / 6


@piece
def _bend(k, x, y, z):
    """(g, Y, h) from the 19 coefficients k and three standard normals."""
    xx, xy, yy = x * x - 1, x * y, y * y - 1
    g = k[0] + k[3] * x + k[9] * xx
    lean = k[1] + k[4] * x + k[5] * y + k[10] * xx + k[11] * xy + k[12] * yy
    h = k[2] + k[6] * x + k[7] * y + k[8] * z + k[13] * xx + k[14] * xy + k[15] * yy
    return g, lean, h + k[16] * x * z + k[17] * y * z + k[18] * (z * z - 1)


@piece
def _scatter(k, along, across, x, y, z):
    """What the scatter with coefficients k makes of a second output at (along, across), the first at (1, 0).

    Returns (g, Y, h, d): log V^{00} gains g, and the second stands at (along + across Y, across e^(h / 2)) e^d. d is 0
    but where log V^{11} scatters less than the square of an angle, as in a saturated layer: there it is given its
    variance, k[19], which a square of Y would drown.
    """
    g, lean, h = _bend(k, x, y, z)
    square = along * along + across * across
    mixed, own = 2 * along * across / square, across * across / square
    drowned = 4 * (own * (k[4] * k[4] + k[5] * k[5])) ** 2
    if not (own > 1e-6 and drowned * drowned > 1e-12 * k[19] * k[19]):
        return g, lean, h, 0.0
    # log V^{11} to first order in the normals
    a, b, c = k[3] + mixed * k[4] + own * k[6], mixed * k[5] + own * k[7], own * k[8]
    scale = np.sqrt(k[19] / (a * a + b * b + c * c)) if k[19] > 0 else 0.0
    linear = scale * (a * x + b * y + c * z) - k[19] / 2 - g
    size = np.log(((along + across * lean) ** 2 + across * across * np.exp(h)) / square)
    return g, lean, h, (linear - size) / 2 / (1 + (k[19] / drowned) ** 2)


@piece
def square_height(far, turn, bent):
    """The square of the mean v by unit of size, up to a smooth factor: v itself for a linear network, bent = 0."""
    return (1 - far) ** 2 * (np.sin(turn) ** 2 + bent * bent)


@piece
def gap_of(u, v):
    """1 - rho of (1, 0) and (1 + u, v), to full relative precision for small u and v."""
    square = (1 + u) ** 2 + v * v
    cosine = (1 + u) / np.sqrt(square)
    gap = v * v / square / (1 + cosine) if cosine > 0 else 1 - cosine
    return min(max(gap, SMALLEST_GAP), 2.0)


@inline
def _supplement_and_mean(gap, kappa):
    """pi minus the angle of sixteen gaps, and the mean gap of the next layer."""
    least = maximum(select(gap < 1.0, gap, 2.0 - gap), 0.0)
    y = 2.0 * least - 1.0
    arc = fma(y, ARC[0], ARC[1])
    for k in range(2, len(ARC)):
        arc = fma(arc, y, ARC[k])
    arc = arc * sqrt(least)
    speed, _ = turning(False, gap, TURN_DOUBLE)
    return select(gap < 1.0, np.pi - arc, arc), fma(speed, kappa, gap)


@inline
def _gap_of(u, v):
    """``gap_of`` for sixteen pairs."""
    along = u + 1.0
    square = fma(along, along, v * v)
    root = sqrt(square)
    size = maximum(along, -1.0 * along)
    near = v * v / (root * (root + size))
    return settled(select(along < 0.0, 2.0 - near, near))


@piece
def _bend_lanes(table, places, normals, k, bent):
    """(g, Y, h) of sixteen paths from the table at their places; k is room for the coefficients of one."""
    for lane in range(COUNT):
        index, w0, w1, w2, w3 = _weights(places[lane], table.shape[0])
        for j in range(table.shape[1]):
            k[j] = w0 * table[index, j] + w1 * table[index + 1, j] + w2 * table[index + 2, j] + w3 * table[index + 3, j]
        g, lean, h = _bend(k, normals[lane], normals[COUNT + lane], normals[2 * COUNT + lane])
        bent[lane], bent[COUNT + lane], bent[2 * COUNT + lane] = g, lean, h


@kernel(nogil=True, error_model="numpy")
def slope_paths(seed, first, table, scale, kappa, log_norm, gap, recorded, norms, gaps, stop):
    """Fill norms (path, layer, 2) and gaps (path, layer) with paths first, ... of a network with two slopes.

    table: the 19 coefficients at places asinh((pi - angle) / scale), evenly spaced. recorded: layers, increasing.
    Sixteen paths side by side, each drawing its normals, three a layer, from the stream (seed, path).
    """
    size, columns = table.shape
    spacing = np.arcsinh(np.pi / scale) / (size - 1 - 2 * MARGIN)
    bits, normals = np.empty(4 * COUNT, np.uint32), np.empty(4 * COUNT)
    places, bent, now, k = np.empty(COUNT), np.empty(3 * COUNT), np.empty(3 * COUNT), np.empty(columns)
    for block in range(0, norms.shape[0], COUNT):
        if raised(stop):
            return
        begin_streams(seed, first + block, bits)
        s0, s1, s2, s3 = resume(bits)
        one, other, apart = spread(log_norm[0]), spread(log_norm[1]), spread(gap)
        done = 0
        for layer in range(recorded[-1] + 1):
            if layer > 0:
                for word in (0, 2):
                    x, y, s0, s1, s2, s3 = two_normals(s0, s1, s2, s3)
                    store(normals, word, x)
                    store(normals, word + 1, y)
                supplement, mean = _supplement_and_mean(apart, kappa)
                far = supplement * (1 / scale)
                # asinh, which is nowhere small enough for its digits to matter
                place = log(far + sqrt(fma(far, far, 1.0)))
                store(places, 0, fma(place, 1 / spacing, MARGIN))
                _bend_lanes(table, places, normals, k, bent)
                height = sqrt(maximum(mean * (2.0 - mean), 0.0))
                u, v = fma(height, load(bent, 1), -1.0 * mean), height * exp(0.5 * load(bent, 2))
                one = one + load(bent, 0)
                other = other + load(bent, 0) + log(fma(v, v, fma(u, u, 2.0 * u)) + 1.0)
                apart = _gap_of(u, v)
            if recorded[done] == layer:
                store(now, 0, one)
                store(now, 1, other)
                store(now, 2, apart)
                for lane in range(min(COUNT, norms.shape[0] - block)):
                    norms[block + lane, done, 0] = now[lane]
                    norms[block + lane, done, 1] = now[COUNT + lane]
                    gaps[block + lane, done] = now[2 * COUNT + lane]
                done += 1


@piece
def _slab(log_norm, scale, spacing, slabs, free):
    """The place of a log norm among the slabs, and the first of four; -1 where there are none.

    free: whether the law is the same below the lowest slab, and above the highest.
    """
    place = np.arcsinh(log_norm / scale) / spacing + (slabs - 1) / 2
    if free[0] and place < 1:
        place = 1.0
    if free[1] and place > slabs - 2:
        place = slabs - 2.0
    # also where it is no number
    inside = place >= 1 and place <= slabs - 2
    return place, min(int(np.floor(place)) - 1, slabs - 4) if inside else -1


@kernel(nogil=True, error_model="numpy")
def grid_step(grid, ready, sharp, bounds, free, bent, log_norm, u, v, normals, outside):
    """Move pairs one layer in place by a table over log V^{00} and the place of the second input.

    grid: (slab, size, direction, 23), columns log K^{00} - log V^{00}, the mean u by unit of the size |(u, v)| before,
    of the mean v the log of its square by unit of that size and of ``square_height``, and the 20 coefficients of
    ``_scatter``.

    The place is zeta = (u + i v) / (1 + u + i v), 0 where the inputs agree and infinite where the second is 0; the law
    is smooth in polar coordinates of zeta around both. Sizes are |zeta| / (1 + |zeta|) to ``furthest``, evenly spaced
    in asinh(sharp size), ``sharp`` by slab; directions are arg zeta at midpoints of (0, pi), mirrored twice beyond
    either end; slabs are evenly spaced in asinh(log V^{00} / scale) with 0 in the middle. bounds: scale, spacing,
    furthest. free: as in ``_slab``. ``outside`` is set for pairs that no ready slab or size covers, which are left as
    they are.
    """
    slabs, sizes, directions, columns = grid.shape
    scale, spacing, furthest = bounds
    k = np.empty(columns)
    for row in range(log_norm.shape[0]):
        second, size = np.hypot(1 + u[row], v[row]), np.hypot(u[row], v[row])
        far = size / (size + second)
        place, slab = _slab(log_norm[row], scale, spacing, slabs, free)
        outside[row] = slab < 0 or not far <= furthest
        for i in range(4):
            outside[row] = outside[row] or not ready[slab + i]
        if outside[row]:
            continue
        _, a0, a1, a2, a3 = _weights(place, slabs)
        # zeta has the direction of (u + i v) times the conjugate of (1 + u + i v)
        turn = np.arctan2(v[row], u[row] * (1 + u[row]) + v[row] * v[row])
        low_turn, c0, c1, c2, c3 = _weights(turn / np.pi * (directions - 4) + 1.5, directions)
        a, c = (a0, a1, a2, a3), (c0, c1, c2, c3)
        k[:] = 0.0
        for i in range(4):
            here = sharp[slab + i]
            at = np.arcsinh(far * here) / np.arcsinh(furthest * here) * (sizes - 1)
            low_size, b0, b1, b2, b3 = _weights(at, sizes)
            b = (b0, b1, b2, b3)
            for j in range(4):
                for m in range(4):
                    weight = a[i] * b[j] * c[m]
                    for column in range(columns):
                        k[column] += weight * grid[slab + i, low_size + j, low_turn + m, column]
        height = size * np.sqrt(square_height(far, turn, bent) * np.exp(k[2]))
        mean = size * k[1]
        g, lean, h, d = _scatter(k[3:], 1 + mean, height, normals[row, 0], normals[row, 1], normals[row, 2])
        log_norm[row] += k[0] + g
        u[row], v[row] = (mean + height * lean) * np.exp(d) + np.expm1(d), height * np.exp(h / 2 + d)


@kernel(nogil=True, error_model="numpy")
def distant_step(blocks, index, bounds, free, bent, log_norm, log_ratio, cosine, sine, normals, outside):
    """Move pairs whose second input is far smaller, (cosine, sine) times exp(log_ratio), one layer in place.

    blocks: (block, direction, 24), columns log K^{00} - log V^{00}, the log by which the ratio of the norms grows, the
    mean cosine, the log of the square of the mean sine by unit of sine^2 + bent^2 before, and the 20 coefficients.
    index: (slab, slab), the block of the slabs of the two norms, or -1. Directions and slabs as in ``grid_step``.
    """
    slabs, directions, columns = index.shape[0], blocks.shape[1], blocks.shape[2]
    scale, spacing, _ = bounds
    k = np.empty(columns)
    for row in range(log_norm.shape[0]):
        place, slab = _slab(log_norm[row], scale, spacing, slabs, free)
        other_place, other = _slab(log_norm[row] + 2 * log_ratio[row], scale, spacing, slabs, free)
        outside[row] = slab < 0 or other < 0
        for i in range(4):
            for j in range(4):
                outside[row] = outside[row] or index[slab + i, other + j] < 0
        if outside[row]:
            continue
        _, a0, a1, a2, a3 = _weights(place, slabs)
        _, b0, b1, b2, b3 = _weights(other_place, slabs)
        turn = np.arctan2(sine[row], cosine[row])
        low_turn, c0, c1, c2, c3 = _weights(turn / np.pi * (directions - 4) + 1.5, directions)
        a, b, c = (a0, a1, a2, a3), (b0, b1, b2, b3), (c0, c1, c2, c3)
        k[:] = 0.0
        for i in range(4):
            for j in range(4):
                block = index[slab + i, other + j]
                for m in range(4):
                    weight = a[i] * b[j] * c[m]
                    for column in range(columns):
                        k[column] += weight * blocks[block, low_turn + m, column]
        height = np.sqrt((sine[row] ** 2 + bent * bent) * np.exp(k[3]))
        g, lean, h, d = _scatter(k[4:], k[2], height, normals[row, 0], normals[row, 1], normals[row, 2])
        x, y = (k[2] + height * lean) * np.exp(d), height * np.exp(h / 2 + d)
        size = np.hypot(x, y)
        log_norm[row] += k[0] + g
        log_ratio[row] += k[1] + np.log(size)
        cosine[row], sine[row] = (x / size, y / size) if size > 0 else (1.0, 0.0)


@kernel(nogil=True, error_model="numpy")
def place_rows(coefficients, base, along, across, normals, found):
    """Fill found (row, 3) with the gain of log V^{00} and the place of the second output, less (base, 0).

    coefficients: (row, 20); along, across: its mean place less (base, 0), by row.
    """
    for row in range(found.shape[0]):
        x, y, z = normals[row, 0], normals[row, 1], normals[row, 2]
        g, lean, h, d = _scatter(coefficients[row], base + along[row], across[row], x, y, z)
        found[row, 0] = g
        found[row, 1] = (along[row] + across[row] * lean) * np.exp(d) + base * np.expm1(d)
        found[row, 2] = across[row] * np.exp(h / 2 + d)


@kernel(nogil=True, error_model="numpy")
def moment_sums(p, q, share, nothing, means, fourth, sixth):
    """Fill means (row, 3) with E p^2, E p q and E r^2, r = q - p E p q / E p^2, and moments of the whitened p and r.

    fourth (row, 5), sixth (row, 7): E p^(4 - j) r^j and E p^(6 - j) r^j, of p and r divided by their root mean squares;
    0 where r is ``nothing`` beside q, and E r^2 with it.
    """
    for row in range(p.shape[0]):
        first, cross, whole = 0.0, 0.0, 0.0
        for k in range(p.shape[1]):
            first += share[row, k] * p[row, k] * p[row, k]
            cross += share[row, k] * p[row, k] * q[row, k]
            whole += share[row, k] * q[row, k] * q[row, k]
        lean, residual = cross / first, 0.0
        for k in range(p.shape[1]):
            residual += share[row, k] * (q[row, k] - lean * p[row, k]) ** 2
        residual = residual if residual > nothing * whole else 0.0
        one, two = 1 / np.sqrt(first), 1 / np.sqrt(residual) if residual > 0 else 0.0
        fourth[row], sixth[row] = 0.0, 0.0
        for k in range(p.shape[1]):
            x, y = p[row, k] * one, (q[row, k] - lean * p[row, k]) * two
            xx, xy, yy = x * x, x * y, y * y
            s0, s1, s2 = share[row, k] * xx, share[row, k] * xy, share[row, k] * yy
            fourth[row, 0] += s0 * xx
            fourth[row, 1] += s0 * xy
            fourth[row, 2] += s0 * yy
            fourth[row, 3] += s1 * yy
            fourth[row, 4] += s2 * yy
            sixth[row, 0] += s0 * xx * xx
            sixth[row, 1] += s0 * xx * xy
            sixth[row, 2] += s0 * xx * yy
            sixth[row, 3] += s0 * xy * yy
            sixth[row, 4] += s0 * yy * yy
            sixth[row, 5] += s1 * yy * yy
            sixth[row, 6] += s2 * yy * yy
        means[row, 0], means[row, 1], means[row, 2] = first, cross, residual
