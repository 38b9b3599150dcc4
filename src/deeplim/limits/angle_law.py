"""The law of the angle between two inputs after one ReLU layer of finite width: its mean and variance in log sin^2."""

import numpy as np
from scipy.special import digamma, gammaln, polygamma

from deeplim.errors import InputError
from deeplim.limits.layer_moments import slope_moments
from deeplim.limits.log_cumulants import log_cumulants

_LEAST_WIDTH = 16
_REACH = 12
"""Standard deviations of Binomial(n, 1/2) that are summed over."""


def one_layer_angle(angle: float, width: int) -> tuple[float, float]:
    """Return the mean and variance of log sin^2 theta' after one ReLU layer of this width, given theta in (0, pi].

    To order 1/width at any angle, by the delta method from the layer's moments, and exact as the angle vanishes, where
    ``vanishing_angle`` is the law of the change. Up to terms beyond these the mean changes by -(2 / (3 pi)) theta -
    2 / width. Conditioned on two active neurons or more, which fails once in 2^width / (width + 1) layers. InputError
    for an angle out of range or a width below 16. Source: Jakub & Nica 2023.
    """
    if not 0 < angle <= np.pi:
        raise InputError(f"an angle of {angle} was given; give radians above 0 and up to pi.")
    if not width >= _LEAST_WIDTH:
        raise InputError(f"a width of {width} was given; one layer's angle is expanded in 1/width, from width 16 on.")
    mean, variance, share = _by_moments(angle, width)
    # what the expansion misses of the vanishing angle's law it misses, by the share that log(H / G) has, of any angle's
    limit, exact = _by_moments(0.0, width), vanishing_angle(width)
    return mean + share * (exact[0] - limit[0]), variance * (exact[1] / limit[1]) ** share


def vanishing_angle(width: int) -> tuple[float, float]:
    """Return the mean and variance of log sin^2 theta' - log sin^2 theta as theta vanishes, for a ReLU layer.

    It is the logarithm of chi^2_{N-1} / chi^2_N, independent, N ~ Binomial(width, 1/2) conditioned on N >= 2: sums of
    digamma and trigamma functions; -2 / width - 8 / width^2 and 8 / width + 32 / width^2 up to third order. InputError
    for a width below 2.
    Source: Jakub & Nica 2023.
    """
    if not width >= 2:
        raise InputError(f"a width of {width} was given; an angle survives a layer of two neurons or more.")
    spread = _REACH * np.sqrt(width) / 2
    active = np.arange(max(2, np.floor(width / 2 - spread)), min(width, np.ceil(width / 2 + spread)) + 1)
    logs = gammaln(width + 1) - gammaln(active + 1) - gammaln(width - active + 1)
    weight = np.exp(logs - logs.max())
    weight /= weight.sum()
    mean = digamma((active - 1) / 2) - digamma(active / 2)
    variance = polygamma(1, (active - 1) / 2) + polygamma(1, active / 2)
    centre = float(weight @ mean)
    return centre, float(weight @ (variance + (mean - centre) ** 2))


def _by_moments(angle: float, width: int) -> tuple[float, float, float]:
    """The same to order 1/width, less log sin^2 theta at angle 0; and cos^2 of the mean angle."""
    gap = np.array([max(2 * np.sin(angle / 2) ** 2, 1e-300)])
    moments = slope_moments((1.0, 0.0), gap)
    means, covariances, _ = (found[0] for found in log_cumulants(moments.second, moments.third, width))
    covariance = np.array([[covariances[3], covariances[4]], [covariances[4], covariances[5]]])
    size = np.sqrt(2 * gap[0])
    s, c = (float(moments.across[0] * size), float(1 + moments.along[0] * size)) if angle > 0 else (0.0, 1.0)
    # log sin^2 theta' = log s^2 + h - log Q, Q = (c + s Y)^2 + s^2 e^h, to second order in (Y, h)
    slope = np.array([-2 * c * s, 1 - s * s])
    bend = np.array([[s * s * (2 * c * c - 1), c * s**3], [c * s**3, s * s * (s * s - 1) / 2]])
    spread = bend @ covariance
    mean = slope @ means[1:] + np.trace(spread) + (2 * np.log(s) if angle > 0 else 0.0)
    return float(mean), float(slope @ covariance @ slope + 2 * np.trace(spread @ spread)), 1 - s * s
