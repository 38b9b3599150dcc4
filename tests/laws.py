"""How the tests compare simulated laws: moments with their sampling errors, at a stated number of sigmas.

At 5 sigma one comparison raises a false alarm with probability 6e-7; the suite makes a few thousand of them, on fixed
seeds, so that less than one suite in a hundred would ever have failed by chance when it was written.
"""

import numpy as np

SIGMAS = 5.0


def z_of_means(a: np.ndarray, b: np.ndarray) -> float:
    """The difference of two sample means in standard errors; samples of a constant must agree to rounding.

    The error is the larger of the samples' own and the pooled one, which equal laws allow: where rare large values
    carry the mean, the smaller sample may hold none and would then seem to know its mean exactly.
    """
    error = np.hypot(a.std(ddof=1) / np.sqrt(len(a)), b.std(ddof=1) / np.sqrt(len(b)))
    pooled = np.concatenate([a, b]).std() * np.sqrt(1 / len(a) + 1 / len(b))
    return _in_errors(a.mean() - b.mean(), max(error, pooled), abs(a.mean()))


def z_of_variances(a: np.ndarray, b: np.ndarray) -> float:
    """The difference of two mean squares about the pooled mean, in standard errors."""
    mean = np.concatenate([a, b]).mean()
    return z_of_means((a - mean) ** 2, (b - mean) ** 2)


def z_of_mean(a: np.ndarray, value: float) -> float:
    """The difference of a sample mean from a known value in standard errors."""
    return _in_errors(a.mean() - value, a.std(ddof=1) / np.sqrt(len(a)), abs(value))


def z_of_std(a: np.ndarray, value: float) -> float:
    """The difference of a sample standard deviation from a known value in standard errors."""
    return _in_errors(_log_variance(a) / 2 - np.log(value), _log_variance_error(a) / 2, 1.0)


def _in_errors(difference: float, error: float, scale: float) -> float:
    return 0.0 if abs(difference) <= 1e-6 * max(scale, 1e-300) else abs(float(difference / error))


def _log_variance(a: np.ndarray) -> float:
    return float(np.log(max(a.var(ddof=1), 1e-300)))


def _log_variance_error(a: np.ndarray) -> float:
    centred = a - a.mean()
    variance = np.mean(centred**2)
    if variance == 0:
        return 0.0
    return float(np.sqrt(max(np.mean(centred**4) / variance**2 - 1, 1e-12) / len(a)))
