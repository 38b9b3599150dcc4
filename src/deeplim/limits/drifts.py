"""The drifts of the covariance SDEs, stepped so that a covariance matrix stays one, in the gaps 1 - rho.

Each step is a strong-stability-preserving Runge-Kutta step, of third order for nuhat and of second for the covariances
of smooth shaping: an average of compositions of one layer, and each layer is a power series in rho with non-negative
coefficients (or a sum of such Gram matrices), so it keeps correlation matrices positive semi-definite (Schur). Longer
steps are divided. ``families`` lists the drifts.
"""

from collections.abc import Callable

import numpy as np
from numba import njit

from deeplim.gaussian import nuhat
from deeplim.limits.families import CENTRED_NUHAT, CENTRED_SQUARE, QUADRATIC
from deeplim.simd.lanes import fma, inline, maximum, select, sqrt

SMALLEST_GAP = 1e-300
_LONGEST_LAYER = 0.3
"""Below 1/3 (QUADRATIC), 1/pi (where rho + a nuhat(rho) increases), 1/2 (CENTRED_SQUARE) and 1.75 (CENTRED_NUHAT)."""
_LONGEST_GROWTH = 0.2
_LARGEST_LOG = 600.0

piece = njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, error_model="numpy")


def gap_series(function: Callable[[np.ndarray], np.ndarray], degree: int) -> tuple[float, ...]:
    """Return a function of gaps from 0 to 1 as a polynomial in 2 gap - 1, highest power first."""
    found = np.polynomial.chebyshev.chebinterpolate(lambda y: function((1 + y) / 2), degree)
    return tuple(np.polynomial.chebyshev.cheb2poly(found)[::-1].tolist())


TURN_SINGLE, TURN_DOUBLE = (gap_series(lambda gap: nuhat(gap) / gap**1.5, degree) for degree in (4, 14))
"""nuhat over gap^(3/2), to 2e-6 and to rounding."""


@inline
def turning(centred, gap, turn):
    """d gap / da of the first two drifts for sixteen gaps, and d log gap / da where the gap is below one.

    turn: TURN_SINGLE or TURN_DOUBLE, in the precision of the gaps.
    """
    # nuhat = M^(3/2) W(M) for a gap M <= 1, and pi (gap - 1) more for a gap 2 - M
    least = maximum(select(gap < 1.0, gap, 2.0 - gap), 0.0)
    y = 2.0 * least - 1.0
    series = fma(y, turn[0], turn[1])
    for k in range(2, len(turn)):
        series = fma(series, y, turn[k])
    relative = sqrt(least) * series
    turned = fma(relative, least, np.pi * maximum(gap - 1.0, 0.0))
    if centred:
        return gap - turned, 1.0 - relative
    return 0.0 - turned, 0.0 - relative


@inline
def gap_layer(law, gap, a, turn):
    """What one layer multiplies sixteen gaps by, where they are below 1/2, and where it leads them anywhere.

    The polynomial drifts are logistic equations, followed exactly; the others take Shu & Osher's (1988) step.
    """
    if law in (QUADRATIC, CENTRED_SQUARE):
        rate = a if law == QUADRATIC else 2 * a
        grown = np.exp(rate) / fma(gap, (2.0 if law == QUADRATIC else 1.0) * np.expm1(rate), 1.0)
        return grown, gap * grown
    centred = law == CENTRED_NUHAT
    speed, relative = turning(centred, gap, turn)
    moved, grown = fma(speed, a, gap), fma(relative, a, 1.0)
    speed, relative = turning(centred, moved, turn)
    moved, grown = 0.75 * gap + 0.25 * fma(speed, a, moved), fma(0.25 * grown, fma(relative, a, 1.0), 0.75)
    speed, relative = turning(centred, moved, turn)
    return fma(2 / 3 * grown, fma(relative, a, 1.0), 1 / 3), 1 / 3 * gap + 2 / 3 * fma(speed, a, moved)


@inline
def layers_of(amount):
    """How many layers a drift for a time ``amount`` is, and how long each."""
    layers = max(1, int(np.ceil(amount / _LONGEST_LAYER)))
    return layers, amount / layers


@inline
def settled(gap):
    """Sixteen gaps brought back into (0, 2], which rounding alone leaves."""
    return maximum(select(gap < 2.0, gap, 2.0), SMALLEST_GAP)


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
