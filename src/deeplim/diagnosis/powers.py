"""Powers of a width or depth, fitted to logarithms of what was measured, with standard errors over initializations."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from deeplim.errors import InputError
from deeplim.statistics import Estimate


def fit_power(sizes: Sequence[int], logs: Sequence[Float[np.ndarray, " sample"]]) -> Estimate:
    """Return the slope of the mean of ``logs`` against log size, weighted by its errors, and its standard error.

    The errors are those of independent initializations, s / sqrt(N) at each size, s^2 pooled over the sizes, so that
    few initializations do not make one size certain. NaN where a size has no finite value.
    """
    means = np.array([values.mean() if len(values) else np.nan for values in logs])
    counts = np.array([len(values) for values in logs], dtype=float)
    freedom = counts.sum() - len(counts)
    squares = sum(float(np.sum((values - values.mean()) ** 2)) for values in logs if len(values))
    if not np.isfinite(means).all() or freedom <= 0:
        return Estimate(np.nan, np.nan)
    x = np.log(np.asarray(sizes, dtype=float))
    centred = x - np.average(x, weights=counts)
    information = float(np.sum(counts * centred**2))
    return Estimate(
        float(np.sum(counts * centred * means)) / information, float(np.sqrt(squares / freedom / information))
    )


def check_sizes(what: str, sizes: Sequence[int]) -> list[int]:
    """Return the sizes in increasing order; InputError unless there are two different ones, whole and above 0."""
    whole = all(isinstance(size, int | np.integer) and not isinstance(size, bool) and size > 0 for size in sizes)
    if not whole or len(set(sizes)) < 2:
        raise InputError(f"the {what} {list(sizes)} were given; give two or more different whole numbers above 0.")
    return sorted({int(size) for size in sizes})
