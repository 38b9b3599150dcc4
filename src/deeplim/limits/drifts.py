"""The drifts of the covariance SDEs, stepped so that a covariance matrix stays one, in the gaps 1 - rho.

Each step is a two-stage strong-stability-preserving Runge-Kutta step: an average of compositions of one layer, and each
layer is a power series in rho with non-negative coefficients (or a sum of such Gram matrices), so it keeps correlation
matrices positive semi-definite (Schur). Longer steps are divided. ``families`` lists the
drifts.
"""

import numpy as np
from numba import njit

from deeplim.limits.families import CENTRED_NUHAT, NUHAT, QUADRATIC

SMALLEST_GAP = 1e-300
_LONGEST_LAYER = 0.3
"""Below 1/3 (QUADRATIC), 1/pi (where rho + a nuhat(rho) increases), 1/2 (CENTRED_SQUARE) and 1.75 (CENTRED_NUHAT)."""
_LONGEST_GROWTH = 0.2
_LARGEST_LOG = 600.0

piece = njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, error_model="numpy")


@piece
def nuhat(gap):
    """sin t - t cos t at 1 - cos t = gap, by its series for small angles."""
    t = 2 * np.arcsin(np.sqrt(min(gap / 2, 1.0)))
    if gap > 1e-3:
        return np.sin(t) - t * np.cos(t)
    square = t * t
    return t * square / 3 * (1 - square / 10 * (1 - square / 28 * (1 - square / 54)))


@piece
def gap_speed(law, gap):
    """d gap / da of the first four drifts; nothing cancels near a gap of 0."""
    if law == NUHAT:
        return -nuhat(gap)
    if law == CENTRED_NUHAT:
        return gap - nuhat(gap)
    if law == QUADRATIC:
        return gap * (1 - 2 * gap)
    return 2 * gap * (1 - gap)


@piece
def gap_drift(law, gap, amount):
    """The gap after one of the first four drifts for a time ``amount``, to second order, in (0, 2] always."""
    layers = max(1, int(np.ceil(amount / _LONGEST_LAYER)))
    a = amount / layers
    for _ in range(layers):
        once = gap + a * gap_speed(law, gap)
        gap = (gap + once + a * gap_speed(law, once)) / 2
    return min(max(gap, SMALLEST_GAP), 2.0)


@piece
def explosion_time(log_norm, beta, duration):
    """When v' = beta v (v - 1) leaves every bound within ``duration``, or -1: 1/v - 1 grows like e^(beta t)."""
    if log_norm > _LARGEST_LOG:
        return 0.0
    if beta <= 0 or log_norm <= 0:
        return -1.0
    time = -np.log(-np.expm1(-log_norm)) / beta
    return time if time <= duration else -1.0


@piece
def _mixed(count, first, second, gaps):
    """The gap of a sum of ``count`` Gram matrices: component k has norms first[k], second[k] and gap gaps[k]."""
    one, two = 0.0, 0.0
    for k in range(count):
        one += first[k]
        two += second[k]
    gap = 0.0
    for k in range(count):
        x, y = np.sqrt(first[k] / one), np.sqrt(second[k] / two)
        gap += (x - y) ** 2 / 2 + x * y * gaps[k]
    return gap


@piece
def _smooth_gap(x, y, gap, rise, first, second, gaps):
    """One Heun step of dV = p (v v^T + 2 V o V) dt, rise = p dt: the gap of a pair with norms x, y and this gap."""
    first[0], second[0], gaps[0] = x, y, gap
    first[1], second[1], gaps[1] = 2 * rise * x * x, 2 * rise * y * y, gap * (2 - gap)
    first[2], second[2], gaps[2] = rise * x * x, rise * y * y, 0.0
    once = _mixed(3, first, second, gaps)
    x_once, y_once = x + 3 * rise * x * x, y + 3 * rise * y * y
    first[1], second[1], gaps[1] = x_once, y_once, once
    first[2], second[2], gaps[2] = 2 * rise * x_once**2, 2 * rise * y_once**2, once * (2 - once)
    first[3], second[3], gaps[3] = rise * x_once**2, rise * y_once**2, 0.0
    return min(max(_mixed(4, first, second, gaps), SMALLEST_GAP), 2.0)


@piece
def smooth_drift(m, p, q, duration, log_norm, gap, work):
    """Follow b^{ab} = p (V^{aa} V^{bb} + V^{ab} (2 V^{ab} - 3)) + q V^{ab} (V^{aa} + V^{bb} - 2) for a time, in place.

    The diagonal, v' = beta v (v - 1) with beta = 3 p + 2 q, is followed exactly. The rest is split: the terms linear in
    V^{ab} scale rows and columns and leave rho alone; what remains, p (v v^T + 2 V o V), adds Gram matrices. Returns
    the time of the first explosion, and then leaves the state as it was, or -1. work: (4, m or more) numbers.
    """
    beta, steepness = 3 * p + 2 * q, 3 * p + 2 * abs(q)
    earliest = -1.0
    for a in range(m):
        time = explosion_time(log_norm[a], beta, duration)
        if time >= 0 and (earliest < 0 or time < earliest):
            earliest = time
    if earliest >= 0 or steepness == 0:
        return earliest
    left = duration
    while left > 0:
        largest = log_norm[0]
        for a in range(1, m):
            largest = max(largest, log_norm[a])
        h = min(left, _LONGEST_GROWTH / (steepness * (np.exp(largest) + 1)))
        half = h / 2 if abs(beta * h) < 1e-8 else -np.expm1(-beta * h / 2) / beta
        for a in range(m):
            # where the linear terms alone lead in half a step
            work[0, a] = np.exp(log_norm[a] - beta * h / 2 - np.log1p(-2 * q * np.exp(log_norm[a]) * half))
            log_norm[a] -= beta * h + np.log1p(np.exp(log_norm[a]) * np.expm1(-beta * h))
        if p > 0:
            for a in range(1, m):
                for b in range(a):
                    gap[a, b] = _smooth_gap(work[0, a], work[0, b], gap[a, b], p * h, work[1], work[2], work[3])
        left = left - h if left > h else 0.0
    return -1.0
