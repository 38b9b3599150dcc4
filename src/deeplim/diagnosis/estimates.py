"""What paths say layer by layer, and how sure they are of it: medians, spreads and their intervals.

The unit of chance is an initialization, a sample of the paths: the inputs of one network share its weights. Within a
sample, medians over its pairs or inputs are taken first.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import bdtr, ndtri

from deeplim.paths import Paths

LEVEL = 0.95
FEWEST = 6
"""Initializations below which no 95% interval of a median can be given: 2^(1 - 5) is more than 5%."""
_TO_DECADES = 1 / np.log(10)


@dataclass(frozen=True)
class Interval:
    """A number with its 95% interval over initializations; low = high = value where it is known or has none."""

    value: float
    low: float
    high: float

    @property
    def certain(self) -> bool:
        """Whether there is no interval to speak of."""
        return self.low == self.high == self.value


def gaps(paths: Paths, sequences: int = 1) -> Float[np.ndarray, "initialization layer"]:
    """Return log(1 - rho) of each initialization's median pair; minus infinity when parallel, NaN where none is alive.

    sequences: how many samples, one after the other, are of one initialization.
    """
    if not paths.log_gap.shape[2]:
        return np.full((paths.samples // sequences, len(paths.time)), np.nan)
    return _typical(paths.alive, paths.log_gap, sequences)


def decades(paths: Paths, sequences: int = 1) -> Float[np.ndarray, "initialization layer"]:
    """Return log10 of the mean square of each initialization's median input; NaN where none is alive."""
    return _typical(paths.alive, paths.log_norm, sequences) * _TO_DECADES


def _typical(alive: np.ndarray, values: np.ndarray, sequences: int) -> Float[np.ndarray, "initialization layer"]:
    one = np.where(alive, _median(np.where(alive[..., None], values, 0.0)), np.nan)
    if sequences == 1:
        return one
    together = np.moveaxis(one.reshape(-1, sequences, one.shape[1]), 1, 2)
    lost = np.isnan(together).sum(axis=2)
    # NaN sorts last: the middle is that of the sequences that are alive
    middle = np.maximum(sequences - lost - 1, 0) // 2
    return np.asarray(np.take_along_axis(np.sort(together, axis=2), middle[..., None], axis=2)[..., 0])


def _median(values: np.ndarray) -> np.ndarray:
    """The lower of the two middle values where there are two, so that minus infinity meets no arithmetic."""
    middle = (values.shape[-1] - 1) // 2
    return np.asarray(np.partition(values, middle, axis=-1)[..., middle])


def median(values: Float[np.ndarray, " sample"]) -> Interval:
    """Return the median of a column and the order statistics that hold it with probability 95% or more.

    Whatever the law: the number of values below the median is binomial. NaN (lost samples) is left out.
    """
    seen = np.sort(values[~np.isnan(values)])
    if not len(seen):
        return Interval(np.nan, np.nan, np.nan)
    middle = float(seen[(len(seen) - 1) // 2])
    if len(seen) < FEWEST:
        return Interval(middle, middle, middle)
    below = bdtr(np.arange(len(seen)), len(seen), 0.5)
    rank = int(np.searchsorted(below, (1 - LEVEL) / 2))  # P(fewer than rank values below the median) < 2.5%
    return Interval(middle, float(seen[rank - 1]), float(seen[len(seen) - rank]))


def spread(paths: Paths, layer: int, sequences: int = 1) -> Interval:
    """Return the standard deviation over initializations of log10 of an input's mean square, in decades.

    The root mean square over inputs; NaN with fewer than two living samples, and without an interval below ``FEWEST``.
    """
    together = paths.log_norm[:, layer].reshape(paths.samples // sequences, -1)
    return deviation(together[paths.alive[:, layer].reshape(-1, sequences).all(axis=1)] * _TO_DECADES)


def deviation(values: Float[np.ndarray, "sample column"]) -> Interval:
    """Return the standard deviation over samples, the root mean square of the columns', with its interval.

    Bonett's interval of log s^2, for laws that need not be Gaussian: log(b s^2) +- 1.96 e, where

        e = b sqrt((g - (N - 3)/N) / (N - 1)),   b = N / (N - 1.96),   g = N sum_i q_i^2 / (sum_i p_i)^2,

    p_i is sample i's squared distance to the mean, averaged over the columns, and q_i that to a mean without the share
    1/(2 sqrt(N - 4)) of the values at each end, which long tails move less: one column's g is its kurtosis. The rows
    are what is independent, so columns that are nearly one count as one. Source: Bonett 2006, Approximate confidence
    interval for standard deviation of nonnormal distributions (Computational Statistics and Data Analysis 50).
    """
    count = len(values)
    if count < 2:
        return Interval(np.nan, np.nan, np.nan)
    squares = np.mean((values - values.mean(axis=0)) ** 2, axis=1)
    value = float(np.sqrt(squares.sum() / (count - 1)))
    if count < FEWEST or value == 0:
        return Interval(value, value, value)
    cut = int(count / (2 * np.sqrt(count - 4)))
    centre = np.sort(values, axis=0)[cut : count - cut].mean(axis=0)
    tails = np.mean((values - centre) ** 2, axis=1)
    kurtosis = max(count * float(np.sum(tails**2)) / float(squares.sum()) ** 2, 1.0)  # less by rounding alone
    normal = float(ndtri((1 + LEVEL) / 2))
    balance = count / (count - normal)
    error = balance * np.sqrt((kurtosis - (count - 3) / count) / (count - 1))
    low, high = (float(value * np.sqrt(balance) * np.exp(side * normal * error / 2)) for side in (-1, 1))
    return Interval(value, low, high)
