"""The law of one pair's correlation without sampling: the Fokker-Planck equation in u = artanh(rho).

d rho = [gamma nuhat(rho) - noise rho (1 - rho^2) / 2] dt + noise^(1/2) (1 - rho^2) dB has additive noise in u, with
drift gamma nuhat(rho) / (1 - rho^2) + noise rho / 2. Chang & Cooper's (1970) fluxes turn it into a birth-death chain on
a grid of u: no probability is lost and none is negative, whatever the grid, and the error is of second order in its
spacing. The chain is then followed for the whole time at once: exp(t A) p is a contour integral of resolvents
(s - A)^(-1) p on Talbot's contour (Weideman 2006), sixteen tridiagonal systems for twelve digits. No time step, no
sampling error, a few milliseconds.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from deeplim.errors import InputError
from deeplim.gaussian import nuhat
from deeplim.limits.covariance_sde import CovarianceSDE

_POINTS = 4000
_CONTOUR = 32
_REACH = 9.0
"""Standard deviations of the noise on either side of the start and of the drift: beyond lies less than 1e-18."""


@dataclass(frozen=True, eq=False)
class Density:
    """A law of the correlation as probabilities ``mass`` of cells around the points ``u`` = artanh(rho), evenly spaced.

    ``gap`` = 1 - rho at those points, ``clipped`` the negative rounding (below 1e-12) that was set to zero.
    """

    u: Float[np.ndarray, " point"]
    mass: Float[np.ndarray, " point"]
    clipped: float

    @property
    def gap(self) -> Float[np.ndarray, " point"]:
        """1 - rho = 2 / (1 + e^{2u}), without cancellation."""
        return 2 / (1 + np.exp(2 * self.u))

    @property
    def correlation(self) -> Float[np.ndarray, " point"]:
        """rho = tanh(u)."""
        return np.tanh(self.u)

    @property
    def mean(self) -> float:
        """E rho."""
        return float(self.mass @ self.correlation)

    @property
    def std(self) -> float:
        """The standard deviation of rho."""
        return float(np.sqrt(self.mass @ (self.correlation - self.mean) ** 2))

    def tail(self, correlation: float) -> float:
        """Return P(rho > correlation), the cell it falls in shared out evenly; InputError beyond -1 to 1."""
        if not -1 < correlation < 1:
            raise InputError(f"the correlation {correlation} was given; give a number between -1 and 1.")
        spacing = self.u[1] - self.u[0]
        above = np.clip((self.u - np.arctanh(correlation)) / spacing + 0.5, 0.0, 1.0)
        return float(self.mass @ above)

    def quantile(self, q: float) -> float:
        """Return the correlation below which a fraction q of the law lies; InputError unless 0 < q < 1."""
        if not 0 < q < 1:
            raise InputError(f"the quantile {q} was asked for; give a number between 0 and 1.")
        edges = np.append(self.u, 2 * self.u[-1] - self.u[-2]) - (self.u[1] - self.u[0]) / 2
        below = np.append(0.0, np.cumsum(self.mass))
        inside = np.append(True, np.diff(below) > 0)
        return float(np.tanh(np.interp(q * below[-1], below[inside], edges[inside])))


def correlation_density(limit: CovarianceSDE, correlation: float, time: float, *, points: int = _POINTS) -> Density:
    """Return the law of one pair's correlation under the covariance SDE, from ``correlation``, at a layer/width.

    With 4,000 points the distribution function is within 1e-6 of that of a fine grid at gamma = 0.16 and time 1, and
    within 1e-4 for gamma up to 2 and times from 0.01 to 4. InputError unless -1 < correlation < 1, time > 0 and
    points >= 16.
    """
    if not (-1 < correlation < 1 and time > 0 and points >= 16):
        raise InputError(
            f"correlation {correlation}, time {time} and {points} points were given; give a correlation between -1 and "
            "1, a time above 0 and at least 16 points."
        )
    gamma = limit.parameters["gamma"]
    start = float(np.arctanh(correlation))
    # The drift of u lies between -1/2 and, once rho > 0, gamma / 2 + 1/2; from below it only hurries to rho = 0.
    low = start - _REACH * np.sqrt(time) - 0.5
    high = max(start, 0.0) + _REACH * np.sqrt(time) + (gamma + 1) / 2 * time + 0.5
    spacing = (high - low) / points
    first = round((low - start) / spacing)
    u = start + spacing * np.arange(first, first + points + 1)
    mass = _evolve(*_rates(u, gamma), -first, time)
    return Density(u, np.maximum(mass, 0.0), float(-mass[mass < 0].sum()))


def _rates(u: np.ndarray, gamma: float) -> tuple[np.ndarray, np.ndarray]:
    """Rates of the birth-death chain, up from each point to the next and down again (Chang & Cooper)."""
    spacing = u[1] - u[0]
    middle = (u[1:] + u[:-1]) / 2
    drift = gamma * nuhat(2 / (1 + np.exp(2 * middle))) * np.cosh(middle) ** 2 + np.tanh(middle) / 2
    # Half the noise over the spacing squared, weighted so that the chain is stationary where the diffusion is.
    peclet = np.clip(2 * spacing * drift, -700, 700)
    safe = np.where(np.abs(peclet) < 1e-8, 1.0, peclet)
    weight = np.where(np.abs(peclet) < 1e-8, 1 - peclet / 2, safe / np.expm1(safe))
    return (weight + peclet) / (2 * spacing**2), weight / (2 * spacing**2)


def _evolve(up: np.ndarray, down: np.ndarray, start: int, time: float) -> np.ndarray:
    """exp(time A) applied to a unit mass at one point, A the generator with these rates."""
    from scipy.linalg import solve_banded

    angle = (2 * np.arange(_CONTOUR // 2) + 1) * np.pi / _CONTOUR
    node = _CONTOUR * (0.5017 * angle / np.tan(0.6407 * angle) - 0.6122 + 0.2645j * angle)
    slope = 0.5017 / np.tan(0.6407 * angle) - 0.5017 * 0.6407 * angle / np.sin(0.6407 * angle) ** 2 + 0.2645j
    mass = np.zeros(len(up) + 1)
    for z, dz in zip(node, slope, strict=True):
        bands = np.zeros((3, len(mass)), complex)
        bands[1] = z / time
        bands[1, :-1] += up
        bands[1, 1:] += down
        bands[0, 1:], bands[2, :-1] = -down, -up
        source = np.zeros(len(mass), complex)
        source[start] = np.exp(z) * dz / time
        mass += 2 * solve_banded((1, 1), bands, source).imag
    return mass
