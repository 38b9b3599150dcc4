"""The law of a correlation shortly after rho = -1, where the noise vanishes and the drift leads away.

With delta = 1 + rho, d delta = mu(delta) dt + noise^(1/2) delta (2 - delta) dB and mu(0) > 0: the start is an entrance,
at minus infinity in artanh(rho). While delta is small the equation is nearly linear and delta nearly a shifted
log-normal, an exponential functional of Brownian motion as the unshaped network's ratio is; so its first three moments,
which have equations of their own, give its law.
"""

from collections.abc import Callable

import numpy as np

from deeplim.errors import LimitError
from deeplim.limits.density import CORRELATION, Density
from deeplim.limits.lognormal import three_moments

_FARTHEST = 0.01
"""Mean of delta up to which its law is a shifted log-normal: beyond the third, a cumulant is then off by 1e-8."""
_FIRST_PART = 0.1
"""The part of the time for which it is so at most, and this over 4 noise t, as for the unshaped network's ratio."""
_FIRST = 1e-6
"""Part of that time after which the moments' equations are solved; until then mu is constant, to 1e-6 of that part."""
_STEP = 1e-3
"""Relative step of the differences that are the derivatives of mu, of which three digits are enough."""
_TOLERANCE = 1e-11


def antipodal_start(drift: Callable[[np.ndarray], np.ndarray], *, noise: float, time: float) -> tuple[float, Density]:
    """Return a short time and the law of a correlation then, begun at rho = -1.

    drift: that of rho which is no noise's doing, as a function of the gap. LimitError where it is 0 at rho = -1, so
    that inputs stay antipodal.
    """
    away = float(drift(np.array([2.0]))[0])
    if away <= 0:
        raise LimitError(
            "inputs of correlation -1 stay antipodal, as nothing drives them apart or together: their correlation has "
            "no density; start from a correlation above -1."
        )
    early = min(_FIRST_PART * time / max(1.0, 4 * noise * time), _FARTHEST / away)
    law = three_moments(*_moments(drift, noise, early, away))
    # From log(delta) to artanh(rho) = log(delta / (2 - delta)) / 2.
    low, high = (float(CORRELATION.point(np.expm1(end))) for end in law.x[[0, -1]])
    u = np.linspace(low, high, len(law.x))
    delta = _delta(u)
    return early, Density(u, law.at_points(np.log(delta)) * (2 - delta), CORRELATION)


def _delta(u: np.ndarray) -> np.ndarray:
    assert CORRELATION.gap is not None
    return CORRELATION.gap(-u)


def _moments(
    drift: Callable[[np.ndarray], np.ndarray], noise: float, time: float, away: float
) -> tuple[float, float, float]:
    """E delta, E delta^2 and E delta^3 at a time, from the equations of mean, variance and third cumulant."""
    from scipy.integrate import solve_ivp

    def mu(delta: np.ndarray) -> np.ndarray:
        return drift(2 - delta) + noise / 2 * (1 - delta) * delta * (2 - delta)

    def speed(_: float, state: np.ndarray) -> list[float]:
        mean, variance, third = state
        low, here, high = mu(mean * (1 + _STEP * np.array([-1.0, 0.0, 1.0])))
        slope, bend = (high - low) / (2 * _STEP * mean), (high - 2 * here + low) / (_STEP * mean) ** 2
        # noise E[delta^2 (2 - delta)^2], and the same times delta - mean
        square, cube = mean**2 + variance, mean**3 + 3 * mean * variance + third
        fourth = mean**4 + 6 * mean**2 * variance + 4 * mean * third + 3 * variance**2
        spread = noise * (4 * square - 4 * cube + fourth)
        lean = noise * (4 * (2 * mean * variance + third) - 12 * mean**2 * variance)
        return [
            here + bend * variance / 2,
            2 * slope * variance + bend * third + spread,
            3 * slope * third + 3 * bend * variance**2 + 3 * lean,
        ]

    def with_constant_mu(until: float) -> np.ndarray:
        variance = 4 / 3 * noise * (away * until) ** 2 * until
        return np.array([away * until, variance, variance**1.5])

    begin, small = with_constant_mu(_FIRST * time), _TOLERANCE * with_constant_mu(time)
    found = solve_ivp(speed, (_FIRST * time, time), begin, method="DOP853", rtol=_TOLERANCE, atol=small)
    mean, variance, third = found.y[:, -1]
    return float(mean), float(variance + mean**2), float(third + 3 * mean * variance + mean**3)
