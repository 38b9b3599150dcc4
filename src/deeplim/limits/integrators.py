"""Structure-preserving steps of second weak order for the covariance and correlation SDEs.

Both are split (Strang): half a step of drift, a step of noise, half a step of drift.

Drift, d rho / dt = strength nuhat(rho) on every pair: a two-stage strong-stability-preserving Runge-Kutta step, that is
an average of compositions of the exact infinite-width layer rho -> rho + a nuhat(rho). For a <= 2/pi that layer is a
power series in rho with non-negative coefficients, so it keeps correlation matrices positive semi-definite (Schur) and
the average does too; longer steps are divided.

Noise, Cov(dV^{ab}, dV^{cd}) = V^{ac} V^{bd} + V^{ad} V^{bc}: the process is invariant under V -> Q V Q^T, so with
V = T T^T, T lower triangular, it is dT = T dN for a Brownian motion N with drift on lower triangular matrices,
Stratonovich drift -i/2 on the i-th diagonal entry (i = 1, ...), variance 1/2 on the diagonal and 1 below. The step is
that of Ninomiya & Victoir (2008): exact flows of the single directions, in one order or the reverse with probability
1/2. V stays positive semi-definite because it is T T^T, and one diagonal entry alone is exactly log-normal.
"""

import numpy as np
from numba import njit

_LONGEST_LAYER = 0.3
"""Longest drift layer: below 1/pi, where rho -> rho + a nuhat(rho) also increases, and below 2/pi (Schur)."""
_NULL = 1e-14
_SMALLEST_GAP = 1e-300

_piece = njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, error_model="numpy")


@_piece
def _nuhat(gap):
    """sin t - t cos t at 1 - cos t = gap, by its series for small angles."""
    t = 2 * np.arcsin(np.sqrt(min(gap / 2, 1.0)))
    if gap > 1e-3:
        return np.sin(t) - t * np.cos(t)
    square = t * t
    return t * square / 3 * (1 - square / 10 * (1 - square / 28 * (1 - square / 54)))


@_piece
def drift_step(gap, amount):
    """The gap after d rho / da = nuhat(rho) for a time ``amount``, to second order, in (0, 2] whatever the amount."""
    layers = max(1, int(np.ceil(amount / _LONGEST_LAYER)))
    a = amount / layers
    for _ in range(layers):
        once = gap - a * _nuhat(gap)
        gap = (gap + once - a * _nuhat(once)) / 2
    return max(gap, _SMALLEST_GAP)


@_piece
def _coordinates(m, gap, size, matrix):
    """The Gram matrix of (u_0, (u_a - u_0) / r_a) for unit vectors with these gaps; nothing cancels."""
    matrix[0, 0] = 1.0
    for a in range(1, m):
        size[a] = np.sqrt(2 * gap[a, 0])
        matrix[a, 0] = -size[a] / 2
        for b in range(1, a):
            matrix[a, b] = (gap[a, 0] + gap[b, 0] - gap[a, b]) / (size[a] * size[b])
        matrix[a, a] = 1.0


@_piece
def _factorise(m, matrix):
    """Replace the lower triangle of a positive semi-definite matrix by its Cholesky factor; null directions give 0."""
    for a in range(m):
        for b in range(a + 1):
            total = matrix[a, b]
            for k in range(b):
                total -= matrix[a, k] * matrix[b, k]
            if a == b:
                matrix[a, a] = np.sqrt(total) if total > _NULL else 0.0
            else:
                matrix[a, b] = total / matrix[b, b] if matrix[b, b] > 0 else 0.0


@_piece
def _noise(m, factor, h, normals, forward):
    """Multiply the triangular factor on the right by one random step of the triangular group."""
    for turn in range(2):
        if (turn == 0) == forward:
            for i in range(m):
                scale = np.exp(np.sqrt(h / 2) * normals[i])
                for a in range(i, m):
                    factor[a, i] *= scale
        else:
            count = m * (m - 1) // 2
            for step in range(count):
                at = step if forward else count - 1 - step
                i = int((1 + np.sqrt(1 + 8 * at)) / 2)
                j = at - i * (i - 1) // 2
                z = np.sqrt(h) * normals[m + at]
                for a in range(i, m):
                    factor[a, j] += z * factor[a, i]


@_piece
def _damp(m, factor, duration):
    """The drift -i/2 of the logarithm of the i-th diagonal entry, i = 1, ..., m."""
    for i in range(m):
        scale = np.exp(-(i + 1) * duration / 2)
        for a in range(i, m):
            factor[a, i] *= scale


@_piece
def _read(m, factor, size, log_norm, gap, new):
    """Norms and gaps from the factor T in coordinates (u_0, (u_a - u_0) / r_a), as differences of unit vectors."""
    total = factor[0, 0] ** 2
    log_norm[0] += np.log(total)
    for a in range(1, m):
        square = 0.0
        for k in range(a + 1):
            square += factor[a, k] ** 2
        change = (2 * factor[a, 0] * factor[0, 0] + size[a] * square) / total
        # |u_0 + r w|^2 = total (1 + r change); a sum of squares, kept away from rounding below zero
        ratio = max(1 + size[a] * change, 1e-290)
        root = np.sqrt(ratio)
        log_norm[a] += np.log(total * ratio)
        for k in range(a + 1):
            along = factor[0, 0] * change / (1 + root) if k == 0 else 0.0
            new[a, k] = size[a] * (factor[a, k] - along) / (np.sqrt(total) * root)
    for a in range(1, m):
        for b in range(a):
            distance = 0.0
            for k in range(a + 1):
                difference = new[a, k] - (new[b, k] if b > 0 and k <= b else 0.0)
                distance += difference**2
            gap[a, b] = min(max(distance / 2, _SMALLEST_GAP), 2.0)


@_piece
def covariance_step(m, h, strength, normals, forward, log_norm, gap, size, matrix, new):
    """Advance log norms (m,) and gaps (lower triangle of (m, m)) by one step of length h, in place.

    normals: m (m + 1) / 2 standard normals; forward: a fair coin; size, matrix, new: work space.
    """
    for a in range(1, m):
        for b in range(a):
            gap[a, b] = drift_step(gap[a, b], strength * h / 2)
    _coordinates(m, gap, size, matrix)
    _factorise(m, matrix)
    _damp(m, matrix, h / 2)
    _noise(m, matrix, h, normals, forward)
    _damp(m, matrix, h / 2)
    _read(m, matrix, size, log_norm, gap, new)
    for a in range(1, m):
        for b in range(a):
            gap[a, b] = drift_step(gap[a, b], strength * h / 2)


@_piece
def _write(m, now, apart, norms, gaps, path, layer):
    """Record one path at one layer; loops, since assigning slices takes Numba two seconds to compile."""
    pair = 0
    for b in range(m):
        norms[path, layer, b] = now[b]
        for a in range(b + 1, m):
            gaps[path, layer, pair] = apart[a, b]
            pair += 1


@njit(cache=True, nogil=True, error_model="numpy")
def covariance_paths(log_norm, gap, steps, recorded, strength, normals, coins, norms, gaps):
    """Fill norms (path, layer, input) and gaps (path, layer, pair) with paths of the covariance SDE.

    steps: the length of every step; recorded: how many steps come before each recorded layer; normals: (path, step,
    m (m + 1) / 2); coins: (path, step).
    """
    m = len(log_norm)
    size, matrix, new = np.zeros(m), np.zeros((m, m)), np.zeros((m, m))
    now, apart = np.zeros(m), np.zeros((m, m))
    for path in range(norms.shape[0]):
        for a in range(m):
            now[a] = log_norm[a]
            for b in range(m):
                apart[a, b] = gap[a, b]
        done = 0
        for step in range(len(steps) + 1):
            while done < len(recorded) and recorded[done] == step:
                _write(m, now, apart, norms, gaps, path, done)
                done += 1
            if step < len(steps):
                z, coin = normals[path, step], coins[path, step]
                covariance_step(m, steps[step], strength, z, coin, now, apart, size, matrix, new)


@njit(cache=True, nogil=True, error_model="numpy")
def correlation_paths(gap, steps, recorded, strength, noise, normals, gaps):
    """Fill gaps (path, layer) with paths of the correlation SDE of one pair,

    d rho = [strength nuhat - noise rho (1 - rho^2) / 2] dt + noise^(1/2) (1 - rho^2) dB.

    In u = artanh(rho) the noise is additive: du = (noise / 2) tanh(u) dt + noise^(1/2) dB, by Heun's method, which has
    weak order two for additive noise; the drift nuhat around it as in the covariance step. |rho| < 1 by construction.
    """
    for path in range(gaps.shape[0]):
        apart = gap
        done = 0
        for step in range(len(steps) + 1):
            while done < len(recorded) and recorded[done] == step:
                gaps[path, done] = apart
                done += 1
            if step < len(steps):
                h = steps[step]
                apart = drift_step(apart, strength * h / 2)
                u = 0.5 * np.log((2 - apart) / apart) if apart < 2 else -350.0
                shift = np.sqrt(noise * h) * normals[path, step]
                slope = noise / 2 * np.tanh(u)
                ahead = noise / 2 * np.tanh(u + slope * h + shift)
                u += (slope + ahead) * h / 2 + shift
                # 1 - tanh(u), without cancellation
                apart = max(2 / (1 + np.exp(2 * min(u, 350.0))), _SMALLEST_GAP)
                apart = drift_step(apart, strength * h / 2)
