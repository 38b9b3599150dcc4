"""Powers of a width or depth, fitted to logarithms of what was measured, with their intervals over initializations."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.special import stdtrit

from deeplim.checks import MOST_SAMPLES, brief, check_list, check_whole
from deeplim.diagnosis.estimates import LEVEL
from deeplim.errors import InputError


@dataclass(frozen=True)
class Power:
    """A fitted power with its standard error and its 95% interval, from low to high; NaN where it is not known."""

    value: float
    error: float
    low: float
    high: float

    @property
    def reach(self) -> float:
        """Half the width of the interval."""
        return (self.high - self.low) / 2

    def __neg__(self) -> "Power":
        return Power(-self.value, self.error, -self.high, -self.low)


def fit_power(sizes: Sequence[int], logs: Sequence[Float[np.ndarray, " sample"]]) -> Power:
    """Return the slope of the mean of ``logs`` against log size, sizes weighted by their numbers of initializations.

    slope = sum_j c_j m_j, m_j the mean of N_j values; its variance is sum_j v_j, v_j = c_j^2 s_j^2 / N_j, with each
    size's own s_j^2, for fluctuations fall with the width and grow with the depth. The interval is Student's, with
    (sum v_j)^2 / sum v_j^2 / (N_j - 1) degrees of freedom (Satterthwaite 1946; Welch 1947). It is about initializations
    alone: means that follow no power have a slope too. NaN where a size has fewer than two values.
    """
    counts = np.array([len(values) for values in logs], dtype=float)
    if counts.min() < 2:
        return Power(np.nan, np.nan, np.nan, np.nan)
    means, variances = np.array([(values.mean(), values.var(ddof=1)) for values in logs]).T
    x = np.log(np.asarray(sizes, dtype=float))
    centred = x - np.average(x, weights=counts)
    weights = counts * centred / np.sum(counts * centred**2)
    slope, parts = float(weights @ means), weights**2 * variances / counts
    error = float(np.sqrt(parts.sum()))
    if error == 0:
        return Power(slope, 0.0, slope, slope)
    shares = parts / parts.sum()
    freedom = 1 / np.sum(shares**2 / (counts - 1))
    reach = error * float(stdtrit(freedom, (1 + LEVEL) / 2))
    return Power(slope, error, slope - reach, slope + reach)


def check_sizes(what: str, sizes: Any) -> list[int]:
    """Return the sizes in increasing order; InputError unless there are two different ones, whole and above 0."""
    cure = "give two or more different whole numbers above 0"
    given = check_list(what, sizes, cure)
    found = {check_whole(f"a size in {what}", size, 1, MOST_SAMPLES) for size in given}
    if len(found) < 2:
        raise InputError(f"{what}={brief(given)} was given; {cure}.")
    return sorted(found)
