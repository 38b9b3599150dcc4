"""The largest nonlinearity that stays inside, by bracketing and a root; and probabilities with their intervals."""

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt

_LEAST = 1e-4
"""Nonlinearity below which nothing but 0 itself is tried."""
_STEP = 1.3


def largest_inside(margin: Callable[[float], float], guess: float, tolerance: float) -> float | None:
    """Return the largest x in [0, 1] whose margin is 0 or below, to a relative tolerance; None where not even 0's is.

    Where the margin does not grow with x it is the largest to a factor of 1.3, looked for from the guess; and from 1
    down where the guess finds nothing.
    """
    from scipy.optimize import brentq

    if margin(1.0) <= 0:
        return 1.0
    low = _inside_below(margin, min(guess, 1.0))
    if low is None:
        low = _inside_below(margin, 1.0)
    if low is None:
        return None
    high = min(max(_STEP * low, _LEAST), 1.0)
    while margin(high) <= 0:
        low, high = high, min(_STEP * high, 1.0)
    return float(brentq(margin, low, high, xtol=tolerance * high, rtol=1e-15))


def _inside_below(margin: Callable[[float], float], x: float) -> float | None:
    """The first x inside, in growing steps down; 0 at last, if that is."""
    step = _STEP
    while x > _LEAST:
        if margin(x) <= 0:
            return x
        x, step = x / step, step * step
    return 0.0 if margin(0.0) <= 0 else None


@dataclass(frozen=True)
class Share:
    """A count out of a total as a probability, with its Clopper-Pearson interval."""

    count: int
    total: int
    confidence: float = 0.99

    @property
    def value(self) -> float:
        """count / total."""
        return self.count / self.total

    @property
    def error(self) -> float:
        """The binomial standard error."""
        return sqrt(self.value * (1 - self.value) / self.total)

    @property
    def interval(self) -> tuple[float, float]:
        """Bounds that hold the probability at the confidence, whatever it is (Clopper & Pearson 1934)."""
        from scipy.special import betaincinv

        tail, k, n = (1 - self.confidence) / 2, self.count, self.total
        low = float(betaincinv(k, n - k + 1, tail)) if k > 0 else 0.0
        high = float(betaincinv(k + 1, n - k, 1 - tail)) if k < n else 1.0
        return low, high

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.value:.4g} [{low:.4g}, {high:.4g}]"
