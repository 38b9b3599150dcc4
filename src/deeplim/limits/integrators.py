"""Structure-preserving steps of second weak order for the covariance and correlation SDEs.

All are split (Strang): half a step of drift, a step of noise, half a step of drift. The drifts are those of
``deeplim.limits.drifts``.

Noise, Cov(dV^{ab}, dV^{cd}) = noise (V^{ac} V^{bd} + V^{ad} V^{bc}) dt: the process is invariant under V -> Q V Q^T, so
with V = T T^T, T lower triangular, it is dT = T dN for a Brownian motion N with drift on lower triangular matrices, at
noise 1 of Stratonovich drift -i/2 on the i-th diagonal entry (i = 1, ...), variance 1/2 on the diagonal and 1 below.
The step is that of Ninomiya & Victoir (2008): exact flows of the single directions, in one order or the reverse with
probability 1/2. V stays positive semi-definite because it is T T^T, and one diagonal entry alone is exactly log-normal.
Another noise strength is another length of step.
"""

import numpy as np
from numba import njit

from deeplim.limits.drifts import SMALLEST_GAP, gap_drift, piece, smooth_drift
from deeplim.limits.families import SMOOTH

_NULL = 1e-14


@piece
def _coordinates(m, gap, size, matrix):
    """The Gram matrix of (u_0, (u_a - u_0) / r_a) for unit vectors with these gaps; nothing cancels."""
    matrix[0, 0] = 1.0
    for a in range(1, m):
        size[a] = np.sqrt(2 * gap[a, 0])
        matrix[a, 0] = -size[a] / 2
        for b in range(1, a):
            matrix[a, b] = (gap[a, 0] + gap[b, 0] - gap[a, b]) / (size[a] * size[b])
        matrix[a, a] = 1.0


@piece
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


@piece
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


@piece
def _damp(m, factor, duration):
    """The drift -i/2 of the logarithm of the i-th diagonal entry, i = 1, ..., m."""
    for i in range(m):
        scale = np.exp(-(i + 1) * duration / 2)
        for a in range(i, m):
            factor[a, i] *= scale


@piece
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
            gap[a, b] = min(max(distance / 2, SMALLEST_GAP), 2.0)


@piece
def covariance_noise(m, h, normals, forward, log_norm, gap, size, matrix, new):
    """Advance log norms (m,) and gaps (lower triangle of (m, m)) by the noise of a step of length h, in place.

    normals: m (m + 1) / 2 standard normals; forward: a fair coin; size, matrix, new: work space.
    """
    _coordinates(m, gap, size, matrix)
    _factorise(m, matrix)
    _damp(m, matrix, h / 2)
    _noise(m, matrix, h, normals, forward)
    _damp(m, matrix, h / 2)
    _read(m, matrix, size, log_norm, gap, new)


@piece
def _drift(m, law, p, q, duration, log_norm, gap, work):
    """Follow the drift for a time; return when it exploded, or -1."""
    if law == SMOOTH:
        return smooth_drift(m, p, q, duration, log_norm, gap, work)
    for a in range(1, m):
        for b in range(a):
            gap[a, b] = gap_drift(law, gap[a, b], p * duration)
    return -1.0


@piece
def _step(m, law, p, q, noise, normalised, h, normals, forward, log_norm, gap, size, matrix, new, work):
    """One whole step, in place; returns when within it the path exploded, or -1."""
    time = _drift(m, law, p, q, h / 2, log_norm, gap, work)
    if time >= 0:
        return time
    covariance_noise(m, h * noise, normals, forward, log_norm, gap, size, matrix, new)
    if normalised:
        for a in range(m):
            log_norm[a] = 0.0
    time = _drift(m, law, p, q, h / 2, log_norm, gap, work)
    return h / 2 + time if time >= 0 else -1.0


@piece
def _write(m, now, apart, norms, gaps, path, layer):
    """Record one path at one layer; loops, since assigning slices takes Numba two seconds to compile."""
    pair = 0
    for b in range(m):
        norms[path, layer, b] = now[b]
        for a in range(b + 1, m):
            gaps[path, layer, pair] = apart[a, b]
            pair += 1


@piece
def _mark(m, log_norm, gap):
    """Mark an explosion: one beta for all, so that the largest norm explodes first."""
    largest = 0
    for a in range(m):
        if log_norm[a] > log_norm[largest]:
            largest = a
        for b in range(m):
            gap[a, b] = np.nan
    log_norm[largest] = np.inf


@njit(cache=True, nogil=True, error_model="numpy")
def covariance_paths(log_norm, gap, steps, recorded, dynamics, normals, coins, norms, gaps, explosions):
    """Fill norms (path, layer, input) and gaps (path, layer, pair) with paths of a covariance SDE.

    steps: the length of every step; recorded: how many steps come before each recorded layer; dynamics: (law, p, q,
    noise, normalised), a drift with its strengths, the noise strength and whether norms are held at one; normals:
    (path, step, m (m + 1) / 2); coins: (path, step). explosions (path) is filled with the time of explosion, infinity
    where there is none; from then on the norm that exploded is
    infinite and the gaps are NaN.
    """
    law, p, q, noise, normalised = dynamics
    m = len(log_norm)
    size, matrix, new = np.zeros(m), np.zeros((m, m)), np.zeros((m, m))
    now, apart, work = np.zeros(m), np.zeros((m, m)), np.zeros((4, max(m, 4)))
    for path in range(norms.shape[0]):
        for a in range(m):
            now[a] = log_norm[a]
            for b in range(m):
                apart[a, b] = gap[a, b]
        done, clock = 0, 0.0
        explosions[path] = np.inf
        for step in range(len(steps) + 1):
            while done < len(recorded) and recorded[done] == step:
                _write(m, now, apart, norms, gaps, path, done)
                done += 1
            if step < len(steps) and explosions[path] == np.inf:
                z, coin, h = normals[path, step], coins[path, step], steps[step]
                time = _step(m, law, p, q, noise, normalised, h, z, coin, now, apart, size, matrix, new, work)
                if time >= 0:
                    explosions[path] = clock + time
                    _mark(m, now, apart)
                clock += h


@njit(cache=True, nogil=True, error_model="numpy")
def correlation_paths(gap, steps, recorded, dynamics, normals, gaps):
    """Fill gaps (path, layer) with paths of the correlation SDE of one pair, for a drift that needs no norms,

    d rho = [p drift(rho) - noise rho (1 - rho^2) / 2] dt + noise^(1/2) (1 - rho^2) dB.

    In u = artanh(rho) the noise is additive: du = (noise / 2) tanh(u) dt + noise^(1/2) dB, by Heun's method, which has
    weak order two for additive noise; the drift around it as in the covariance step. |rho| < 1 by construction.
    """
    law, p, _, noise, _ = dynamics
    for path in range(gaps.shape[0]):
        apart = gap
        done = 0
        for step in range(len(steps) + 1):
            while done < len(recorded) and recorded[done] == step:
                gaps[path, done] = apart
                done += 1
            if step < len(steps):
                h = steps[step]
                apart = gap_drift(law, apart, p * h / 2)
                u = 0.5 * np.log((2 - apart) / apart) if apart < 2 else -350.0
                shift = np.sqrt(noise * h) * normals[path, step]
                slope = noise / 2 * np.tanh(u)
                ahead = noise / 2 * np.tanh(u + slope * h + shift)
                u += (slope + ahead) * h / 2 + shift
                # 1 - tanh(u), without cancellation
                apart = max(2 / (1 + np.exp(2 * min(u, 350.0))), SMALLEST_GAP)
                apart = gap_drift(law, apart, p * h / 2)
