"""The law of the unshaped network's ratio R = 1 / (width sqrt(1 - rho)): its moments in closed form, and its density.

R_t = c int_0^t exp(A s / 2 - sqrt(A) B_s) ds from R_0 = 0, c = kappa sqrt(2) / 3, in law: an exponential functional of
Brownian motion, the same object as an Asian option.
"""

import numpy as np

from deeplim.errors import InputError
from deeplim.limits.density import RATIO, Density, Variable
from deeplim.limits.fokker_planck import diffusion_density
from deeplim.limits.laws import check_positive
from deeplim.limits.lognormal import three_moments

_ROOT = np.sqrt(2.0) / 3
_FIRST_PART = 0.1
"""The part of the time for which the ratio is a shifted log-normal is this at most, and this over A t.

Only its fourth cumulant is then off, by a part theta^7 A t of what it grows to (theta the part of the time): 1e-9.
"""


def ratio_density(*, kappa: float, a: float, time: float, start: float = 0.0, tolerance: float = 1e-8) -> Density:
    """Return the law of R, dR = [kappa sqrt(2)/3 + A R] dt - sqrt(A) R dB, from R_0 = start >= 0.

    R = 1 / (width sqrt(1 - rho)) for an unshaped network; time in layer/width. Solved for in log R, from a small part
    of the time on, when R is a shifted log-normal with its exact first three moments. Read it as a correlation with
    ``read_as(unshaped_correlation(width))``. Source: Li & Nica 2023, second result, in the variable R = t / sqrt(q).
    InputError unless a and time are above 0, kappa and start are not negative, and one of these two is above 0.
    LimitError where A t is so small, below 0.003, that no grid gets to the ``tolerance`` of the L1 error.
    """
    check_positive(a=a, time=time)
    early = _FIRST_PART / max(1.0, a * time) * time
    begin = three_moments(*(ratio_moment(k, kappa=kappa, a=a, time=early, start=start) for k in (1, 2, 3)))
    return diffusion_density(
        lambda x: kappa * _ROOT * np.exp(-x) + a / 2,
        noise=a,
        time=time - early,
        start=begin,
        variable=RATIO,
        tolerance=tolerance,
    )


def ratio_moment(power: int, *, kappa: float, a: float, time: float, start: float = 0.0) -> float:
    """Return E R_t^power in closed form, for power >= 0, and for -1 and -2 from the singular start R_0 = 0.

    The powers obey a triangular linear system, d E R^k = [A k (k + 1) / 2 E R^k + k c E R^(k - 1)] dt with
    c = kappa sqrt(2) / 3. From R_0 = 0, E 1/R = e^(-tau / 2) / (c t) E[z / sinh z] with z ~ N(0, tau), tau = A t / 4,
    and E R^-2 = -(1/c) d/dt E 1/R; the mean gap is that over width^2. Sources: Dufresne 1990, Yor 1992.
    InputError unless a and time are above 0, kappa and start are not negative, and one of these two is above 0.
    """
    check_positive(a=a, time=time)
    if not (0 <= kappa < np.inf and 0 <= start < np.inf and kappa + start > 0):
        raise InputError(
            f"kappa {kappa} and start {start} were given; give numbers that are not negative, one of them above 0."
        )
    if power < 0:
        return _negative_moment(power, kappa * _ROOT, a, time, start)
    from scipy.linalg import expm

    k = np.arange(power + 1)
    system = np.diag(a * k * (k + 1) / 2) + np.diag(k[1:] * kappa * _ROOT, -1)
    return float((expm(system * time) @ float(start) ** k)[-1])


def _negative_moment(power: int, drift: float, a: float, time: float, start: float) -> float:
    if start > 0 or power < -2:
        raise InputError(
            f"power {power} from R_0 = {start} was asked for; of negative powers give -1 or -2 and start 0."
        )
    tau = a * time / 4
    z = np.sqrt(tau) * np.linspace(-10, 10, 401)
    weight = np.exp(-z * z / (2 * tau))
    safe = np.where(z == 0, 1.0, z)
    weight *= np.where(z == 0, 1.0, safe / np.sinh(safe)) / weight.sum()
    scale = np.exp(-tau / 2) / (drift * time)
    inverse = float(scale * weight.sum())
    if power == -1:
        return inverse
    # d/d tau of E[z / sinh z], through the normal density's own derivative.
    slope = scale * float(weight @ (z * z / tau - 1)) / (2 * tau)
    return float((inverse * (1 / time + a / 8) - a / 4 * slope) / drift)


def unshaped_correlation(width: int) -> Variable:
    """Return the correlation as a function of log R at a width: 1 - rho = e = 1 / (width R)^2, or 2 - 1 / e above 1."""
    shift = float(np.log(width))

    def gap(x: np.ndarray) -> np.ndarray:
        small = np.exp(-2 * np.abs(x + shift))
        return np.where(x + shift >= 0, small, 2 - small)

    def point_of_gap(gap: np.ndarray) -> np.ndarray:
        return np.where(gap <= 1, -np.log(gap), np.log(2 - np.maximum(gap, 1.0))) / 2 - shift

    return Variable(
        "correlation",
        value=lambda x: -np.sign(x + shift) * np.expm1(-2 * np.abs(x + shift)),
        point=lambda rho: -np.sign(rho) * np.log1p(-np.abs(rho)) / 2 - shift,
        slope=lambda x: 2 * np.exp(-2 * np.abs(x + shift)),
        range=(-1.0, 1.0),
        gap=gap,
        point_of_gap=point_of_gap,
    )
