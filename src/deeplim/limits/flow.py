"""The exact flow of d rho / da = nuhat(rho), which drives every ReLU limit, and the clock that straightens it.

With rho = cos(theta) the flow is d theta / da = -(sin theta - theta cos theta) / sin theta. So the function
F(theta) = int_theta^pi sin / (sin - phi cos) d phi, which falls from infinity at theta = 0 to 0 at theta = pi, grows
along it at unit speed: the flow for a time a is F^{-1}(F(theta) + a). Near rho = 1, F = 3 / theta, that is
1 - rho ~ 9 / (2 a^2), the collapse rate of an unshaped network (kappa a layer: 9 / (2 kappa^2 l^2)).
"""

from functools import lru_cache

import numpy as np
from jaxtyping import Float

from deeplim.gaussian import angle_of_gap

Array = Float[np.ndarray, "..."]
_DEGREE = 40
_NEWTON_STEPS = 8


def _smooth_rate(theta: np.ndarray) -> np.ndarray:
    """sin / (sin - theta cos) - 3 / theta^2, which is analytic on [0, pi]; it is -1/5 - theta^2/175 - ... near 0."""
    small = theta < 0.05
    t = np.where(small, 1.0, theta)
    direct = np.sin(t) / (np.sin(t) - t * np.cos(t)) - 3 / t**2
    return np.where(small, -1 / 5 - theta**2 / 175 - 2 * theta**4 / 7875, direct)


@lru_cache(maxsize=1)
def _smooth_part() -> np.polynomial.Chebyshev:
    """F(theta) - 3 / theta as a Chebyshev series on [0, pi], zero of F at pi."""
    series = np.polynomial.Chebyshev.interpolate(_smooth_rate, _DEGREE, domain=[0, np.pi])
    whole = -series.integ()
    return whole - whole(np.pi) - 3 / np.pi


def flow_clock(gap: Array) -> Array:
    """Return F at rho = 1 - gap, for gap in (0, 2]: it grows by one per unit time along d rho / da = nuhat(rho)."""
    theta = angle_of_gap(gap)
    return np.maximum(3 / theta + _smooth_part()(theta), 0.0)


def gap_at(clock: Array) -> Array:
    """Return the gap 1 - rho in (0, 2] at which F has this value; the inverse of ``flow_clock``.

    Newton's method on sqrt(F), which is close to linear at both ends; relative error below 1e-11.
    """
    root = np.sqrt(np.asarray(clock, dtype=float))
    theta = np.minimum(3 / (root**2 + 3 / np.pi), np.pi)
    for _ in range(_NEWTON_STEPS):
        value = np.sqrt(np.maximum(3 / theta + _smooth_part()(theta), 1e-30))
        speed = (_smooth_rate(theta) + 3 / theta**2) / (2 * value)
        theta = np.clip(theta + (value - root) / np.maximum(speed, 1e-12), theta / 4, np.pi)
    return 2 * np.sin(theta / 2) ** 2


def nuhat_flow(gap: Array, duration: Array | float) -> Array:
    """Return the gap after following d rho / da = nuhat(rho) from 1 - gap for a time ``duration`` >= 0."""
    return gap_at(flow_clock(gap) + duration)
