"""Estimates of what samples say: moments, differences, and what two widths say of the limit."""

from collections.abc import Callable

import numpy as np

from deeplim.claims.number import Allowance
from deeplim.errors import InputError
from deeplim.statistics import Estimate, Sample, fraction

_ONE_WIDTH = 10.0
"""What a network of width n is off by is below this over n, in the measures that are extrapolated."""


def mean_of(values: np.ndarray) -> Estimate:
    """Return the mean of a sample with its standard error; InputError when fewer than two values are finite."""
    kept = np.asarray(values, dtype=float)
    if len(kept) < 2 or not np.isfinite(kept).all():
        raise InputError(f"{len(kept)} values, some not finite, have no mean; leave lost networks out and count them.")
    return Sample.of(kept).mean


def std_of(values: np.ndarray) -> Estimate:
    """Return the standard deviation of a sample with its standard error; errors as for the mean."""
    mean_of(values)
    return Sample.of(np.asarray(values, dtype=float)).std


def variance_of(values: np.ndarray) -> Estimate:
    """Return the variance of a sample with its standard error, from the squares about the mean."""
    return mean_of((values - np.mean(values)) ** 2 * len(values) / (len(values) - 1))


def part_of(count: int, total: int) -> Estimate:
    """Return count / total with its binomial standard error, as of one more in and one more out: above 0 for none."""
    return Estimate(count / total, fraction(count + 1, total + 2).error)


def scaled(found: Estimate, factor: float, offset: float = 0.0) -> Estimate:
    """Return factor x found + offset."""
    return Estimate(factor * found.value + offset, abs(factor) * found.error)


def difference(a: Estimate, b: Estimate) -> Estimate:
    """Return a - b of independent estimates."""
    return Estimate(a.value - b.value, float(np.hypot(a.error, b.error)))


def extrapolated(of: Callable[[np.ndarray], Estimate], coarse: np.ndarray, fine: np.ndarray) -> Estimate:
    """Return 2 of(fine) - of(coarse): what is off by 1/width goes out between a width and its double (Richardson)."""
    return difference(scaled(of(fine), 2.0), of(coarse))


def next_order(width: int) -> Allowance:
    """Return what an extrapolation from ``width`` and its double may still be off by, (10 / width)^2 / 2."""
    reason = f"50/width², width {width}: the next order after extrapolation, as one width is off by less than 10/width"
    return Allowance((_ONE_WIDTH / width) ** 2 / 2, reason)
