"""From the Gram matrix of a layer to the coordinates of the next, for sixteen networks at a time.

State of a block, all in double precision: ``size`` r_a, how large the difference of input a to input 0 is;
``growth`` and ``shrink``, products since the last flush of the factors by which norms and sizes changed, whose logs are
kept in ``log_norm`` and ``log_size`` so that neither underflows at any depth; ``matrix``, the covariance of the
coordinates (z^0, (z^a - b_a z^0) / r_a) with which the next row is drawn.

``base`` b_a is 1. Only where the norm of input a has parted from that of input 0, for smooth activations alone, it is
0: the coordinate is then z^a / r_a itself, which no rounding of z^0 touches.
"""

import numpy as np

from deeplim.finite.rows import corner
from deeplim.resolution import ANTIPODAL, APART, COLLAPSED, DEAD, PARALLEL
from deeplim.simd.exponentials import exp, log
from deeplim.simd.lanes import (
    absolute,
    any_lane,
    fma,
    inline,
    load,
    maximum,
    minimum,
    piece,
    select,
    spread,
    sqrt,
    store,
)

_SMALLEST_SIZE = 1e-280
_FARTHEST = 1e300


@inline
def inverse(x):
    """1 / x, and 0 where x is 0: what is dead or collapsed stays zero instead of turning into infinity."""
    return select(spread(0.0) < x, 1.0 / x, spread(0.0))


@inline
def renormalise(m, gram, scale, size, growth, shrink, tilt, stretch, matrix):
    """Divide every input by its norm (positively homogeneous activations only) and find the new differences.

    gram: sums over rows of y y^T, y = (p, D_1 / r_1, ...). With root_a = |p + D_a| / |p| the new difference is
    (D_a - (root_a - 1) p) / (|p| root_a), in which nothing cancels: (root_a - 1) / r_a is formed as ``tilt``. The new
    coordinates are x_0 <- stretch_0 x_0 and x_a <- stretch_a (x_a - tilt_a x_0).
    """
    total = load(gram, 0)
    inverse_total = inverse(total)
    unit = sqrt(inverse_total * (1.0 / scale))
    store(growth, 0, load(growth, 0) * total * scale)
    store(stretch, 0, unit)
    for a in range(1, m):
        r = load(size, a)
        change = (2.0 * load(gram, corner(a, 0)) + r * load(gram, corner(a, a))) * inverse_total
        square = fma(r, change, spread(1.0))
        square = select(spread(DEAD) < square, square, spread(0.0))
        root = sqrt(square)
        store(tilt, a, change / (root + 1.0))
        store(stretch, a, inverse(root))
        store(growth, a, load(growth, a) * total * scale * square)
    for a in range(1, m):
        for b in range(1, a + 1):
            across = load(gram, corner(a, b)) - load(tilt, a) * load(gram, corner(b, 0))
            along = load(tilt, b) * (load(gram, corner(a, 0)) - load(tilt, a) * total)
            scaled = (across - along) * inverse_total * load(stretch, a) * load(stretch, b)
            store(matrix, corner(a, b), scaled)
    for a in range(1, m):
        raw = load(gram, corner(a, a)) * inverse_total * load(stretch, a) * load(stretch, a)
        kept = load(matrix, corner(a, a))
        factor = sqrt(select(COLLAPSED * raw < kept, kept, spread(0.0)))
        inverse_factor = rescale(m, a, factor, size, shrink, matrix)
        store(stretch, a, unit * load(stretch, a) * inverse_factor)
    store(matrix, 0, spread(1.0))
    for a in range(1, m):
        # Two unit vectors at distance r: the difference leans back by exactly r / 2.
        store(matrix, corner(a, 0), -0.5 * load(size, a) * load(matrix, corner(a, a)))


@inline
def rescale(m, a, factor, size, shrink, matrix):
    """Make the factor part of size a, divide it out of row and column a of the matrix, and return its inverse."""
    inverse_factor = inverse(factor)
    store(size, a, maximum(load(size, a) * factor, spread(_SMALLEST_SIZE)))
    store(shrink, a, load(shrink, a) * factor)
    for b in range(1, a):
        store(matrix, corner(a, b), load(matrix, corner(a, b)) * inverse_factor)
    for b in range(a + 1, m):
        store(matrix, corner(b, a), load(matrix, corner(b, a)) * inverse_factor)
    store(matrix, corner(a, a), factor * inverse_factor)
    return inverse_factor


@inline
def _part(m, first, size, tilt, base, matrix):
    """Change the base of inputs whose norms have parted from input 0's, or come back: x_a <- x_a - tilt_a z^0."""
    change = spread(0.0)
    for a in range(1, m):
        r, old = load(size, a), load(base, a)
        own = old * (first + 2.0 * r * load(matrix, corner(a, 0))) + r * r * load(matrix, corner(a, a))
        new = select(own < APART * first, spread(0.0), spread(1.0))
        new = select(APART * own > first, spread(0.0), new)
        store(tilt, a, (new - old) * inverse(r))
        store(base, a, new)
        change = maximum(change, absolute(new - old))
    if any_lane(change > 0.5):
        for a in range(m - 1, 0, -1):
            for b in range(a, 0, -1):
                along = load(tilt, b) * (load(matrix, corner(a, 0)) - load(tilt, a) * first)
                across = load(matrix, corner(a, b)) - load(tilt, a) * load(matrix, corner(b, 0))
                store(matrix, corner(a, b), across - along)
        for a in range(1, m):
            store(matrix, corner(a, 0), load(matrix, corner(a, 0)) - load(tilt, a) * first)


@inline
def measure(m, gram, scale, bias, apart, size, growth, shrink, tilt, stretch, base, matrix):
    """Find the new differences without dividing by norms, where those matter: no slopes, or biases.

    bias: the variance of what is added to all inputs alike, and so to no difference. apart: whether norms can part,
    there being no bias. What has once left every float stays there: rows of no size would else be given one again by
    their bias.
    """
    finite = load(growth, 0) < np.inf
    for at in range(m * (m + 1) // 2):
        store(matrix, at, load(gram, at) * scale)
    store(matrix, 0, select(finite, load(matrix, 0) + bias, spread(np.inf)))
    store(growth, 0, load(matrix, 0))
    store(size, 0, sqrt(load(matrix, 0)))
    store(stretch, 0, spread(1.0))
    for a in range(1, m):
        store(tilt, a, spread(0.0))
    if apart:
        _part(m, load(matrix, 0), size, tilt, base, matrix)
    for a in range(1, m):
        factor = sqrt(maximum(load(matrix, corner(a, a)), spread(0.0)))
        reached = load(size, a) * factor
        inverse_factor = rescale(m, a, factor, size, shrink, matrix)
        store(size, a, select(reached < np.inf, load(size, a), spread(np.inf)))
        store(matrix, corner(a, 0), load(matrix, corner(a, 0)) * inverse_factor)
        store(stretch, a, inverse_factor)


@inline
def change_coordinates(m, tilt, stretch, gram):
    """The Gram matrix of activations after the change of coordinates that renormalise or measure has found."""
    for a in range(m - 1, 0, -1):
        for b in range(a, 0, -1):
            first = load(gram, corner(a, b)) - load(tilt, a) * load(gram, corner(b, 0))
            second = load(tilt, b) * (load(gram, corner(a, 0)) - load(tilt, a) * load(gram, 0))
            store(gram, corner(a, b), (first - second) * load(stretch, a) * load(stretch, b))
    for a in range(1, m):
        mixed = load(gram, corner(a, 0)) - load(tilt, a) * load(gram, 0)
        store(gram, corner(a, 0), mixed * load(stretch, a) * load(stretch, 0))
    store(gram, 0, load(gram, 0) * load(stretch, 0) * load(stretch, 0))


@inline
def factorise(m, matrix, scale, factor):
    """The lower triangular Cholesky factor of scale times a positive semi-definite matrix; null directions give 0."""
    for b in range(m):
        total = load(matrix, corner(b, b)) * scale
        least = COLLAPSED * total
        for k in range(b):
            total = total - load(factor, corner(b, k)) * load(factor, corner(b, k))
        root = sqrt(select(least < total, total, spread(0.0)))
        inverse_root = inverse(root)
        store(factor, corner(b, b), root)
        for a in range(b + 1, m):
            total = load(matrix, corner(a, b)) * scale
            for k in range(b):
                total = total - load(factor, corner(a, k)) * load(factor, corner(b, k))
            store(factor, corner(a, b), total * inverse_root)


@inline
def add_logs(m, divided, w, log_norm, log_size):
    """Store the logarithms of norms and sizes so far: those kept, and those of the products since."""
    for a in range(m):
        if divided:
            store(log_norm, a, load(w.log_norm, a) + log(load(w.growth, a)))
        store(log_size, a, load(w.log_size, a) + log(load(w.shrink, a)))


@piece
def flush(m, divided, w):
    """Move the products of factors into logarithms, before they can underflow."""
    add_logs(m, divided, w, w.log_norm, w.log_size)
    for a in range(m):
        if divided:
            store(w.growth, a, spread(1.0))
        store(w.shrink, a, spread(1.0))


@inline
def _square_norm(first, r, lean):
    """|z^0 + r x|^2 where x leans by ``lean`` on z^0; 0 when that is rounding, infinity once a network has exploded."""
    square = first + r * (2.0 * lean + r)
    sound = select(COLLAPSED * (first + r * r) < square, square, spread(0.0))
    return select(square < np.inf, sound, spread(np.inf))


@inline
def _entry(matrix, a, b):
    return load(matrix, corner(max(a, b), min(a, b)))


@inline
def _norm(m, divided, w, a):
    """|z^a|, in units of |z^0| where inputs are divided by their norms; 0 where it is lost."""
    first = spread(1.0) if divided else load(w.growth, 0)
    if a == 0:
        return sqrt(first)
    r = load(w.size, a)
    return select(load(w.base, a) < 0.5, r, sqrt(_square_norm(first, r, load(w.matrix, corner(a, 0)))))


@inline
def log_square_norm(m, w, a):
    """log |z^a|^2 where inputs are not divided by their norms; now_size is log r_a."""
    found = 2.0 * log(_norm(m, False, w, a))
    return found if a == 0 else select(load(w.base, a) < 0.5, 2.0 * load(w.now_size, a), found)


@inline
def _log_gap_apart(w, a, b, norm_a, norm_b, as_differences):
    """The same where z^a or z^b is its own coordinate; of a pair of which one is, 1 - rho is a difference."""
    base_a, c_a, size_a = load(w.base, a), _entry(w.matrix, a, 0), load(w.size, a)
    base_b = load(w.base, b) if b > 0 else spread(1.0)
    c_b, size_b = (_entry(w.matrix, b, 0), load(w.size, b)) if b > 0 else (spread(0.0), spread(0.0))
    between = _entry(w.matrix, a, b) if b > 0 else spread(0.0)
    k = exp(spread(0.0) - absolute(load(w.now_size, a) - load(w.now_size, b))) if b > 0 else spread(1.0)
    # Both: |x^a - x^b|^2 - (|x^a| - |x^b|)^2 over 2 |x^a| |x^b|, divided by the larger size squared.
    distance, radial = 1.0 + k * k - 2.0 * k * between, 1.0 - k
    both = (distance - radial * radial) / (2.0 * k)
    both = select(PARALLEL * (1.0 + k * k) < distance - radial * radial, both, spread(0.0))
    one = 1.0 - select(base_a < 0.5, (c_a + size_b * between) / norm_b, (c_b + size_a * between) / norm_a)
    one = select(one > COLLAPSED, one, spread(0.0))
    found = log(select(base_a + base_b < 0.5, both, one))
    return select(base_a + base_b > 1.5, as_differences, found)


@inline
def _log_gap(m, divided, w, a, b):
    """log(1 - rho^{ab}), a > b, from sizes and correlations of differences; NaN where a norm is 0.

    |z^a - z^b|^2 - (|z^a| - |z^b|)^2 = 2 |z^a| |z^b| (1 - rho), every term divided by the larger size squared.
    """
    log_a = load(w.now_size, a)
    log_b = load(w.now_size, b) if b > 0 else spread(-np.inf)
    largest = maximum(log_a, log_b)
    lost = largest < -_FARTHEST
    shift = select(lost, spread(0.0), largest)
    k_a, k_b = exp(log_a - shift), exp(log_b - shift)
    r = maximum(load(w.size, a), load(w.size, b)) if b > 0 else load(w.size, a)
    c_a = _entry(w.matrix, a, 0)
    c_b = _entry(w.matrix, b, 0) if b > 0 else spread(0.0)
    squares = k_a * k_a + k_b * k_b
    distance = squares - 2.0 * k_a * k_b * _entry(w.matrix, a, b) if b > 0 else squares
    norm_a, norm_b = _norm(m, divided, w, a), _norm(m, divided, w, b)
    radial = (2.0 * (k_a * c_a - k_b * c_b) + r * (k_a * k_a - k_b * k_b)) / (norm_a + norm_b)
    rest = distance - radial * radial
    rounding = COLLAPSED * distance if b == 0 else PARALLEL * squares
    found = 2.0 * shift + log(rest / (2.0 * norm_a * norm_b))
    found = select(rounding < rest, found, spread(-np.inf))
    found = select(lost, spread(-np.inf), found)
    least = load(w.base, a) if b == 0 else minimum(load(w.base, a), load(w.base, b))
    if any_lane(least < 0.5):
        found = _log_gap_apart(w, a, b, norm_a, norm_b, found)
    found = minimum(found, spread(ANTIPODAL))
    # Not their product, which may underflow.
    alive = select(norm_a > 0.0, norm_b, spread(0.0))
    return select(alive > 0.0, found, spread(np.nan))


@piece
def _scatter(w, count, into):
    """Write the first ``count`` of sixteen numbers."""
    for lane in range(count):
        into[lane] = w.found[lane]


@piece
def record(m, divided, w, norms, gaps):
    """Write log norms (network, input) and log gaps (network, pair) of the first networks of a block's Workspace."""
    # Products stay as they are: what is recorded changes no number of a later layer.
    add_logs(m, divided, w, w.now_norm, w.now_size)
    count, pair = norms.shape[0], 0
    for b in range(m):
        if divided:
            store(w.found, 0, load(w.now_norm, b))
        else:
            store(w.found, 0, log_square_norm(m, w, b))
        _scatter(w, count, norms[:, b])
        for a in range(b + 1, m):
            store(w.found, 0, _log_gap(m, divided, w, a, b))
            _scatter(w, count, gaps[:, pair])
            pair += 1
