"""What the entries of weight matrices tell of the law they were drawn from: moments with their standard errors."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, sqrt

import numpy as np
from jaxtyping import Float
from scipy import stats

SIGMAS = 4.0
"""One comparison of true equals fails at this many standard errors with probability 6e-5."""
_TEXTBOOK = {
    1 / 3: "PyTorch's default, uniform with variance 1/(3 fan_in)",
    1.0: "LeCun's, variance 1/fan_in",
    2.0: "He's, variance 2/fan_in",
    25 / 9: "gain 5/3, that PyTorch gives for tanh",
}
_ORTHOGONAL, _VECTORS = 0.01, 8
"""A spread that is this part of independent entries', over so many vectors, comes by chance once in 10^7."""


@dataclass(frozen=True)
class Entries:
    """The entries of one weight matrix or bias vector, perhaps of several draws: their number and moments about 0.

    orthogonal: whether rows or columns are orthogonal far beyond chance.
    """

    count: int
    mean: float
    square: float
    fourth: float
    orthogonal: bool = False

    @property
    def variance_error(self) -> float:
        """The standard error of ``square``, a mean of squares."""
        spread = max(self.fourth - self.square**2, 0.0)
        # Few entries may hide a spread that Gaussian or uniform ones have.
        return sqrt(max(spread, 0.8 * self.square**2) / self.count) if self.square > 0 else 0.0

    @property
    def kurtosis(self) -> float:
        """E w^4 / (E w^2)^2: 3 for Gaussian entries, 1.8 for uniform ones; NaN without a variance."""
        return self.fourth / self.square**2 if self.square > 0 else float("nan")

    @property
    def law(self) -> str:
        """'zero', 'constant', 'orthogonal', 'gaussian', 'uniform' or 'other', by the kurtosis."""
        if self.square == 0:
            return "zero"
        if self.count > 1 and self.square - self.mean**2 <= 1e-12 * self.square:
            return "constant"
        if self.orthogonal:
            return "orthogonal"
        return _law_of(self.kurtosis, self.count)

    @property
    def off_centre(self) -> float:
        """How many standard errors the mean is from 0."""
        return abs(self.mean) / sqrt(self.square / self.count) if self.square > 0 else 0.0


def _law_of(kurtosis: float, count: int) -> str:
    # For entries of variance 1, N Var(kurtosis) = m8 - m4^2 + 4 m4^2 (m4 - 1) - 4 m4 (m6 - m4): uniform ones have
    # (m4, m6, m8) = (9/5, 27/7, 9).
    distance = {
        "gaussian": abs(_gaussian_score(kurtosis, max(count, 8))),
        "uniform": abs(kurtosis - 1.8) / sqrt(1.3165 / count),
    }
    law = min(distance, key=lambda name: distance[name])
    return law if distance[law] <= SIGMAS else "other"


def _gaussian_score(kurtosis: float, n: int) -> float:
    """How many standard errors a kurtosis is from that of n Gaussian entries, whose law leans (Anscombe & Glynn 1983).

    Mean and variance are those of entries of known mean.
    """
    away = kurtosis - 3 * n / (n + 2)
    x = away * (n + 2) / n / sqrt(24 * (n - 1) / ((n + 4) * (n + 6)))
    skew = 6 * (n * n - 5 * n + 2) / ((n + 7) * (n + 9)) * sqrt(6 * (n + 3) * (n + 5) / (n * (n - 2) * (n - 3)))
    a = 6 + 8 / skew * (2 / skew + sqrt(1 + 4 / skew**2))
    ratio = np.cbrt((1 - 2 / a) / (1 + x * sqrt(2 / (a - 4))))
    return float((1 - 2 / (9 * a) - ratio) / sqrt(2 / (9 * a)))


def measure_entries(values: Float[np.ndarray, "..."]) -> Entries:
    """Return the moments of a matrix's or vector's entries, in double precision."""
    flat = np.asarray(values, dtype=float).ravel()
    square = flat * flat
    mean, second, fourth = (float(np.mean(power)) for power in (flat, square, square * square))
    return Entries(len(flat), mean, second, fourth, np.ndim(values) == 2 and _orthogonal(np.asarray(values, float)))


def _orthogonal(weights: Float[np.ndarray, "out in"]) -> bool:
    """Whether the rows (or columns, where those are fewer) are orthogonal and of one length, far beyond chance.

    Then |W^T u|^2 = trace(W W^T) / fewer for every unit vector u. For independent entries, whatever their law, these
    squares spread by 2 / more over random u.
    """
    rows = weights if weights.shape[0] <= weights.shape[1] else weights.T
    fewer, more = rows.shape
    if fewer < 4 or not rows.any():
        return False
    u = np.random.default_rng(0).standard_normal((_VECTORS, fewer))
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    squares = np.sum((u @ rows) ** 2, axis=1) * fewer / np.sum(rows * rows)
    return float(np.mean((squares - 1) ** 2)) < _ORTHOGONAL * 2 / more


def pool(entries: Sequence[Entries]) -> Entries:
    """Return the moments of all entries together."""
    count = sum(one.count for one in entries)
    mean, square, fourth = (
        sum(one.count * getattr(one, name) for one in entries) / count for name in ("mean", "square", "fourth")
    )
    return Entries(count, mean, square, fourth, any(one.orthogonal for one in entries))


def sigmas(comparisons: int) -> float:
    """Return how many standard errors the farthest of so many true equals exceeds as rarely as one exceeds four."""
    return float(stats.norm.isf(stats.norm.sf(SIGMAS) / comparisons))


def freedoms(entries: Sequence[Entries]) -> list[float]:
    """Return the degrees of freedom of each mean of squares, 2 count / (kurtosis - 1) with the kurtosis of them all.

    Each one's own would make a mean of few squares that is small by chance seem certain.
    """
    spread = max(pool(entries).kurtosis - 1, 0.8)
    return [2 * one.count / spread for one in entries]


def odd_one(values: Sequence[float], freedom: Sequence[float]) -> int | None:
    """Return which of several variances differs most from the rest, or None where they agree.

    They agree when the farthest is as near the rest as the farthest of so many equals is in all but 6e-5 of cases,
    four standard errors for one. Cube roots make means of squares nearly Gaussian (Wilson & Hilferty 1931), and so the
    ratio of two, by the error that it has at the value found (Paulson 1942).
    """
    value, weight = np.asarray(values), np.asarray(freedom)
    if len(value) < 2 or not value.any():
        return None
    distance = np.empty(len(value))
    for i in range(len(value)):  # from the others, which it has no part in
        others = np.delete(weight, i)
        rest = float(others @ np.delete(value, i) / others.sum())
        if rest == 0:
            distance[i] = np.inf
            continue
        own, theirs = 2 / (9 * weight[i]), 2 / (9 * others.sum())
        ratio = np.cbrt(value[i] / rest)
        distance[i] = abs((1 - theirs) * ratio - (1 - own)) / sqrt(own + theirs * ratio**2)
    worst = int(np.argmax(distance))
    return worst if distance[worst] > sigmas(len(value)) else None


def nearest(value: float, error: float, candidates: Sequence[float]) -> float | None:
    """Return the candidate nearest to an estimate, if it is within four standard errors."""
    best = min(candidates, key=lambda candidate: abs(candidate - value), default=inf)
    return best if abs(best - value) <= SIGMAS * max(error, 1e-7 * abs(value)) else None


def textbook_name(value: float) -> str | None:
    """Return what a variance times fan-in is known as."""
    return _TEXTBOOK.get(value)


TEXTBOOK = tuple(_TEXTBOOK)
