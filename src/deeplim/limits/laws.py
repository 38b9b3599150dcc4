"""The laws that the limits give one pair or one input, as densities: correlation and norm.

All take plain numbers. Each process is a diffusion with constant noise in the right variable, and its law is solved for
there: artanh(rho) and log V.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from deeplim.checks import check_callable, check_real
from deeplim.errors import InputError
from deeplim.gaussian import nuhat
from deeplim.limits.antipodal import antipodal_start
from deeplim.limits.density import CORRELATION, LOG_NORM, Density, normal_density
from deeplim.limits.fokker_planck import diffusion_density

_GAMMA_POINTS, _GAMMA_SPACING = 200_000, 0.05

GapDrift = Callable[[np.ndarray], np.ndarray]
"""The drift of rho that is no noise's doing, d rho / dt as a function of the gap 1 - rho in (0, 2)."""


def shaped_relu_drift(gamma: float) -> GapDrift:
    """Return gamma nuhat(rho), gamma = (c_+ - c_-)^2 / (2 pi): shaped ReLU (Li, Nica & Roy 2022, theorem 3.2)."""
    gamma = check_real("gamma", gamma)
    return lambda gap: gamma * nuhat(gap)


def centred_relu_drift(gamma: float) -> GapDrift:
    """Return gamma (nuhat(rho) - 1 + rho): shaped ReLU with LayerNorm after the activation."""
    gamma = check_real("gamma", gamma)
    return lambda gap: gamma * (nuhat(gap) - gap)


def shaped_smooth_drift(p: float) -> GapDrift:
    """Return p (1 - rho)(1 - 2 rho), p = phi''(0)^2 / (4 a^2): smooth shaping with RMSNorm."""
    p = check_real("p", p)
    return lambda gap: p * gap * (2 * gap - 1)


def centred_smooth_drift(p: float) -> GapDrift:
    """Return -2 p rho (1 - rho), p = phi''(0)^2 / (4 a^2): smooth shaping with LayerNorm after the activation."""
    p = check_real("p", p)
    return lambda gap: -2 * p * (1 - gap) * gap


def pair_density(
    drift: GapDrift, gap: float | Density, *, time: float, noise: float = 1.0, tolerance: float = 1e-8
) -> Density:
    """Return the law of a correlation begun at rho = 1 - gap, or with a law of this kind.

    d rho = [drift - noise rho (1 - rho^2) / 2] dt + noise^(1/2) (1 - rho^2) dB; time in layer/width with noise 1, in
    layer/depth with noise depth/width. Solved for in u = artanh(rho), du = [drift / (1 - rho^2) + noise rho / 2] dt +
    noise^(1/2) dB, to an L1 error of ``tolerance``; from gap 2, rho = -1, to 1e-7. InputError unless 0 < gap <= 2 and
    time and noise are above 0; LimitError where the drift outweighs the noise so far that no grid gets there, or is
    zero at rho = -1 and the start is there.
    """
    check_callable("drift", drift, "give a function of an array of gaps")
    check_positive(time=time, noise=noise, tolerance=tolerance)
    speed = partial(_point_drift, drift, noise)
    if not isinstance(gap, Density):
        gap = check_real("gap", gap, above=0, most=2)
    if isinstance(gap, Density):
        start: float | Density = gap
    elif gap == 2:
        early, start = antipodal_start(drift, noise=noise, time=time)
        time -= early
    else:
        start = CORRELATION.at_gap(gap)
    return diffusion_density(speed, noise=noise, time=time, start=start, variable=CORRELATION, tolerance=tolerance)


def _point_drift(drift: GapDrift, noise: float, u: np.ndarray) -> np.ndarray:
    assert CORRELATION.gap is not None
    gap = CORRELATION.gap(u)
    return drift(gap) / (gap * CORRELATION.gap(-u)) + noise / 2 * np.tanh(u)


def shaped_relu_norm_density(norm: float = 1.0, *, time: float, noise: float = 1.0) -> Density:
    """Return the law of log V from V_0 = norm under shaped ReLU, exactly N(log V_0 - noise t, 2 noise t).

    Time in layer/width with noise 1, in layer/depth with noise depth/width. InputError unless all are above 0.
    """
    check_positive(norm=norm, time=time, noise=noise)
    return normal_density(float(np.log(norm)) - noise * time, 2 * noise * time, variable=LOG_NORM)


def shaped_smooth_norm_density(
    beta: float, norm: float | Density = 1.0, *, time: float, tolerance: float = 1e-8
) -> Density:
    """Return the law of log V, dV = beta V (V - 1) dt + sqrt(2) V dB, from V_0 = norm or a law of log V.

    beta = (3 phi''(0)^2 / 4 + phi'''(0)) / a^2; time in layer/width. For beta > 0 the density's ``lost`` is the
    probability that V has exploded by then. Source: Li, Nica & Roy 2022. InputError unless norm and time are above 0;
    LimitError where no grid gets to the ``tolerance`` of the L1 error.
    """
    check_real("beta", beta)
    if not isinstance(norm, Density):
        check_positive(norm=norm)
        norm = float(np.log(norm))
    check_positive(time=time, tolerance=tolerance)
    return diffusion_density(
        lambda x: beta * np.expm1(x) - 1, noise=2.0, time=time, start=norm, variable=LOG_NORM, tolerance=tolerance
    )


def explosion_probability(beta: float, norm: float = 1.0) -> float:
    """Return the probability that V, begun at norm, ever explodes: P(Gamma(beta + 1) < beta V_0), 0 for beta <= 0.

    That integral is the scale function of dV = beta V (V - 1) dt + sqrt(2) V dB; where V does not explode it tends to
    0 for -1 <= beta. InputError unless norm is above 0.
    """
    from scipy.special import gammainc

    check_positive(norm=norm)
    check_real("beta", beta)
    return float(gammainc(beta + 1, beta * norm)) if beta > 0 else 0.0


def stationary_norm_density(beta: float) -> Density:
    """Return the stationary law of log V for beta < -1, where V is Gamma(shape |beta| - 1, rate |beta|).

    InputError for beta >= -1, where there is none, and too close to -1, where its left tail outgrows 200,000 points.
    """
    from scipy.special import gammaln

    check_real("beta, for which V has a stationary law,", beta, below=-1)
    shape, rate = -beta - 1, -beta
    # P(V < v) <= (rate v)^shape / Gamma(shape + 1), and beyond the upper end the density is below e^-60.
    low = (np.log(1e-22) + gammaln(shape + 1)) / shape - np.log(rate)
    high = np.log((shape + 12 * np.sqrt(shape) + 80) / rate)
    points = int(np.ceil((high - low) / (_GAMMA_SPACING * min(1.0, shape**-0.5))))
    if points > _GAMMA_POINTS:
        raise InputError(f"beta {beta} was given; the law of log V fits on a grid for beta below -1.01, so give that.")
    x = np.linspace(low, high, points)
    return Density(x, np.exp(shape * (x + np.log(rate)) - rate * np.exp(x) - gammaln(shape)), LOG_NORM)


def check_positive(**numbers: float) -> None:
    """Raise InputError unless all the numbers are above 0 and finite."""
    for name, number in numbers.items():
        check_real(name, number, above=0)
