"""The noise of the covariance SDEs for sixteen paths at a time: of a pair exactly, of more inputs to second weak order.

dV has Cov(dV^{ab}, dV^{cd}) = (V^{ac} V^{bd} + V^{ad} V^{bc}) dt and no drift. It is invariant under V -> Q V Q^T for
every invertible Q: a Brownian motion on the positive definite matrices, where another strength is another time.

A pair. Their determinant is geometric Brownian motion; what is left moves in the hyperbolic plane. So with V = T T^T a
step is V -> e^delta T K T^T, delta ~ N(-3h/2, h) and K a rotation by a uniform angle away from diag(e^R, e^-R), where R
is how far Brownian motion in the hyperbolic plane gets in the time h. With u = artanh(rho) the distance of that motion
from a geodesic, du = tanh(u)/2 dt + dB. Its heat kernel (McKean 1970) is a mixture: cosh R - 1 = (cosh S - 1)(1 - U^2),
U uniform on (0, 1) and S^2 = (h^(1/2) g + h/2)^2 + 2 h E, g normal and E exponential. No step is too long.

More inputs. With V = T T^T, T lower triangular, dT = T dN for a Brownian motion N with drift on lower triangular
matrices: of Stratonovich drift -i/2 on the i-th diagonal entry (i = 1, ...), variance 1/2 on the diagonal and 1 below.
The step is that of Ninomiya & Victoir (2008): exact flows of the single directions, in one order or the reverse with
probability 1/2. V stays positive semi-definite because it is T T^T, and one diagonal entry alone is exactly log-normal.
"""

import numpy as np

from deeplim.limits.drifts import SMALLEST_GAP, settled
from deeplim.simd.exponentials import exp, log
from deeplim.simd.lanes import (
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
    with_sign,
)
from deeplim.simd.streams import half_turn, log2_uniform, next_bits

_f32 = np.float32
_TINY = _f32(1e-30)
_NULL, _LEAST_RATIO = 1e-14, 1e-30


@inline
def hyperbolic_step(h, along, s0, s1, s2, s3):
    """Brownian motion in the hyperbolic plane for a time h: (cosh R, sinh R cos phi, sinh R sin phi), and the streams.

    along: a standard normal. Three words of random bits. For h up to 1, the series is good to single precision.
    """
    radius_bits, s0, s1, s2, s3 = next_bits(s0, s1, s2, s3)
    angle_bits, s0, s1, s2, s3 = next_bits(s0, s1, s2, s3)
    height_bits, s0, s1, s2, s3 = next_bits(s0, s1, s2, s3)
    cosine, sine = half_turn(angle_bits)
    # The bit that the radius leaves takes the half turn to the whole.
    side = with_sign(spread(_f32(1)), as_float(radius_bits << np.uint32(31)))
    height = signed_to_float(height_bits >> np.uint32(1)) * _f32(2.0**-31)
    lifted = fma(along, _f32(np.sqrt(h)), _f32(h / 2))
    z = fma(lifted, lifted, _f32(-2 * np.log(2.0)) * _f32(h) * log2_uniform(radius_bits)) * _f32(1 / 64)
    # sinh^2 of S/8 by its series, then of S/4 and S/2 by doubling
    p = fma(z, _f32(2 / 467775), _f32(2 / 14175))
    p = fma(fma(p, z, _f32(1 / 315)), z, _f32(2 / 45))
    p = z * fma(fma(p, z, _f32(1 / 3)), z, _f32(1))
    p = _f32(4) * fma(p, p, p)
    p = _f32(4) * fma(p, p, p)
    rise = _f32(2) * p * fma(_f32(0) - height, height, _f32(1))
    far = side * sqrt(fma(rise, rise, rise + rise))
    return rise + _f32(1), far * cosine, far * sine, s0, s1, s2, s3


@inline
def moved_gap(gap, g, across):
    """The gap when V^{01} of unit inputs becomes ``across``, the determinant aside; g is the gap in single precision.

    1 - rho' = (1 - rho^2) / (D (D + V^{01})), D^2 = V^{00} V^{11} = V^{01}^2 + 1 - rho^2, in which nothing cancels.
    """
    size = maximum(across, _f32(0) - across)
    root = sqrt(fma(across, across, g * (_f32(2) - g)))
    factor = (_f32(2) - g) / maximum(root * (root + size), _TINY)
    near = gap * to_double(factor)
    return maximum(select(across < _f32(0), 2.0 - near, near), SMALLEST_GAP)


@inline
def corner(a, b):
    """Where entry (a, b), b <= a, of a symmetric matrix stands when its lower triangle is stored row by row."""
    return a * (a + 1) // 2 + b


@inline
def coordinates(m, gap, size, matrix):
    """The Gram matrix of (u_0, (u_a - u_0) / r_a) for unit vectors with these gaps; nothing cancels."""
    store(matrix, 0, spread(1.0))
    for a in range(1, m):
        store(size, a, sqrt(2.0 * load(gap, corner(a, 0))))
        store(matrix, corner(a, 0), -0.5 * load(size, a))
        for b in range(1, a):
            apart = load(gap, corner(a, 0)) + load(gap, corner(b, 0)) - load(gap, corner(a, b))
            store(matrix, corner(a, b), apart / (load(size, a) * load(size, b)))
        store(matrix, corner(a, a), spread(1.0))


@inline
def factorise(m, matrix):
    """Replace the lower triangle of a positive semi-definite matrix by its Cholesky factor; null directions give 0."""
    for a in range(m):
        for b in range(a + 1):
            total = load(matrix, corner(a, b))
            for k in range(b):
                total = total - load(matrix, corner(a, k)) * load(matrix, corner(b, k))
            if a == b:
                store(matrix, corner(a, a), sqrt(select(total < _NULL, 0.0 * total, total)))
            else:
                under = load(matrix, corner(b, b))
                store(matrix, corner(a, b), select(under < _NULL, 0.0 * total, total / under))


@inline
def _damp(m, factor, duration):
    """The drift -i/2 of the logarithm of the i-th diagonal entry, i = 1, ..., m."""
    for i in range(m):
        damped = np.exp(-(i + 1) * duration / 2)
        for a in range(i, m):
            store(factor, corner(a, i), load(factor, corner(a, i)) * damped)


@inline
def triangular_step(m, factor, h, normals, coin):
    """Multiply sixteen triangular factors on the right by one random step of the triangular group.

    normals: m (m + 1) / 2 standard normals a lane. coin: fair, 0 where the diagonal goes first. Both orders are gone
    through, and a lane takes no step in the one that is not its own.
    """
    _damp(m, factor, h / 2)
    count = m * (m - 1) // 2
    for turn in range(2):
        if turn == 1:
            for i in range(m):
                scale = exp(to_double(load(normals, i)) * np.sqrt(h / 2))
                for a in range(i, m):
                    store(factor, corner(a, i), load(factor, corner(a, i)) * scale)
        for step in range(count):
            at = step if turn == 1 else count - 1 - step
            i = int((1 + np.sqrt(1 + 8 * at)) / 2)
            j = at - i * (i - 1) // 2
            z = load(normals, m + at) * _f32(np.sqrt(h))
            diagonal_first = coin < np.uint32(1)
            taken = select(diagonal_first, z, _f32(0)) if turn == 1 else select(diagonal_first, _f32(0), z)
            for a in range(i, m):
                moved = fma(to_double(taken), load(factor, corner(a, i)), load(factor, corner(a, j)))
                store(factor, corner(a, j), moved)
    _damp(m, factor, h / 2)


@inline
def read_factor(m, factor, size, log_norm, gap, new):
    """Norms and gaps from the factor T in coordinates (u_0, (u_a - u_0) / r_a), as differences of unit vectors."""
    first = load(factor, 0)
    total = first * first
    gained = log(total)
    for a in range(1, m):
        square = total * 0.0
        for k in range(a + 1):
            square = fma(load(factor, corner(a, k)), load(factor, corner(a, k)), square)
        r = load(size, a)
        change = fma(2.0 * load(factor, corner(a, 0)), first, r * square) / total
        # |u_0 + r w|^2 = total (1 + r change); a sum of squares, kept away from rounding below zero
        ratio = maximum(fma(r, change, 1.0), _LEAST_RATIO)
        root = sqrt(ratio)
        store(log_norm, a, load(log_norm, a) + (gained + log(ratio)))
        stretch = r / (first * root)
        along = first * change / (root + 1.0)
        store(new, corner(a, 0), stretch * (load(factor, corner(a, 0)) - along))
        for k in range(1, a + 1):
            store(new, corner(a, k), stretch * load(factor, corner(a, k)))
    store(log_norm, 0, load(log_norm, 0) + gained)
    for a in range(1, m):
        for b in range(a):
            distance = total * 0.0
            for k in range(a + 1):
                apart = load(new, corner(a, k))
                if b > 0 and k <= b:
                    apart = apart - load(new, corner(b, k))
                distance = fma(apart, apart, distance)
            store(gap, corner(a, b), settled(0.5 * distance))
