"""The shifted log-normal law with three given moments: an exponential functional of Brownian motion at short times."""

import numpy as np

from deeplim.limits.density import RATIO, Density

_DEVIATIONS = 13.0
"""Standard deviations of the normal variable that are kept on either side."""
_POINTS = 801
_LEAST = 1e-3
"""Part of the mean that the least kept value is at least, where the shift is negative."""


def three_moments(first: float, second: float, third: float) -> Density:
    """Return the law of log R for R = shift + a log-normal with these first moments."""
    variance = second - first**2
    skewness = (third - 3 * first * second + 2 * first**3) / variance**1.5
    # w = e^(sigma^2) solves (w + 2) sqrt(w - 1) = skewness: w^3 + 3 w^2 - 4 = skewness^2, or by its sine.
    sigma = np.sqrt(np.log1p((2 * np.sinh(np.arcsinh(skewness / 2) / 3)) ** 2))
    scale = np.sqrt(variance / np.expm1(sigma**2)) * np.exp(-(sigma**2) / 2)
    shift = first - scale * np.exp(sigma**2 / 2)
    ends = shift + scale * np.exp(sigma * np.array([-_DEVIATIONS, _DEVIATIONS]))
    x = np.linspace(np.log(max(ends[0], _LEAST * first)), np.log(ends[1]), _POINTS)
    above = np.maximum(np.exp(x) - shift, np.finfo(float).tiny)
    z = np.log(above / scale) / sigma
    return Density(x, np.exp(x - z * z / 2) / (above * sigma * np.sqrt(2 * np.pi)), RATIO)
