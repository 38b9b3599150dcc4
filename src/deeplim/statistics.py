"""Estimates with standard errors, and the rows of statistics by which two samples are compared."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Float

from deeplim.known_means import known_mean_probability, missed
from deeplim.summary import QUANTILES, Moments

TOLERANCE = 1e-6
"""Numbers this close, absolutely below 1 and relatively above, are taken to be the same constant."""
FEWEST = 8
"""Samples of fewer values than this are not compared."""
FEWEST_FOR_SPREAD = 100
"""Spreads of fewer values than this are described and not tested: their error is too uncertain."""
# The raw gap is described and not tested: it has log-normal tails, a few samples carry its moments, and
# their standard errors mean little. Its logarithm is tested instead. The angle follows from the correlation.
TESTED = ("correlation", "log_correlation_gap", "log_norm")
BOUNDS = {"correlation": (-1.0, 1.0)}
"""Between which numbers an observable is, whatever its law."""
_EXACT_BELOW = 200
_CELLS = 256
_SYMMETRIC = 1e-3


@dataclass(frozen=True)
class Estimate:
    """A number and its standard error."""

    value: float
    error: float


@dataclass(frozen=True, eq=False)
class Sample:
    """The finite values of one observable at one time, sorted; known when a limit states them."""

    values: Float[np.ndarray, " sample"]
    known: bool = False

    @classmethod
    def of(cls, values: Float[np.ndarray, " sample"], *, known: bool = False) -> "Sample":
        """Return the sample of the finite values: a dead network has none, an aligned pair has no log gap."""
        return cls(np.sort(values[np.isfinite(values)]), known)

    @property
    def count(self) -> int:
        """How many values there are."""
        return len(self.values)

    @property
    def flat(self) -> bool:
        """Whether all values are one constant, to the TOLERANCE."""
        return self.count > 0 and same_constant(float(self.values[0]), float(self.values[-1]))

    @cached_property
    def moments(self) -> Moments:
        """The moments of the values, as one layer."""
        return Moments.of(self.values[:, None])

    @property
    def squares(self) -> Moments:
        """The moments of the squared deviations from the mean, as one layer."""
        return Moments.of((self.values[:, None] - self.moments.mean) ** 2)

    @property
    def mean(self) -> Estimate:
        """The mean and s / sqrt(N); no error when the value is known."""
        error = 0.0 if self.known else float(self.moments.standard_error[0])
        return Estimate(float(self.moments.mean[0]), error)

    @property
    def std(self) -> Estimate:
        """s (divisor N - 1) and its error by the delta method, with the sample's own fourth moment."""
        error = 0.0 if self.known else float(self.moments.std_error[0])
        return Estimate(float(self.moments.std[0]), error)

    def quantile(self, q: float) -> Estimate:
        """Return a quantile and its error: the 95% interval of the order statistics divided by 2 x 1.96.

        The rank of the quantile is binomial: the interval reaches from the sample's quantile at
        q - 1.96 sqrt(q (1 - q) / N) to that at q + 1.96 sqrt(q (1 - q) / N).
        """
        reach = 1.96 * np.sqrt(q * (1 - q) / self.count)
        low, value, high = np.quantile(self.values, np.clip([q - reach, q, q + reach], 0.0, 1.0))
        return Estimate(float(value), float(high - low) / (2 * 1.96))


def same_constant(a: float, b: float) -> bool:
    """Return whether two numbers differ by at most TOLERANCE max(1, |a|, |b|)."""
    return abs(a - b) <= TOLERANCE * max(1.0, abs(a), abs(b))


def subtract(a: Estimate, b: Estimate) -> Estimate:
    """Return a - b and its standard error sqrt(e_a^2 + e_b^2)."""
    return Estimate(a.value - b.value, float(np.hypot(a.error, b.error)))


def pooled_std(a: Sample, b: Sample) -> float:
    """Return sqrt((s_a^2 + s_b^2) / 2), the unit of effects; s of the sampled side when one is known."""
    if a.known or b.known:
        return (b if a.known else a).std.value
    return float(np.sqrt((a.std.value**2 + b.std.value**2) / 2))


def mean_test(a: Sample, b: Sample, bounds: tuple[float, float] | None = None) -> tuple[Estimate, float | None]:
    """Return mean_a - mean_b with its error, and the p-value of equal laws, or of a known mean.

    bounds: those of the law, where it has some (``known_means``).
    """
    difference = subtract(a.mean, b.mean)
    if a.known or b.known:
        sample, known = (b, a) if a.known else (a, b)
        return difference, known_mean_probability(sample.values, known.mean.value, bounds)
    return _exchange_test(difference, a.moments, b.moments)


def std_test(a: Sample, b: Sample) -> tuple[Estimate, float | None]:
    """Return s_a - s_b with its error, and the p-value of equal laws; None for fewer than 100 values a side.

    The test is of s_a^2 - s_b^2, and the error is that of the squares over s_a + s_b: a spread that rests on
    a few rare samples is close to Poisson in the square and far from normal at its root.
    """
    first, second = a.std, b.std
    total = max(first.value + second.value, np.finfo(float).tiny)
    squares = Estimate(
        first.value**2 - second.value**2,
        float(np.hypot(2 * first.value * first.error, 2 * second.value * second.error)),
    )
    squares, p = _exchange_test(squares, a.squares, b.squares)
    enough = min(a.count, b.count) >= FEWEST_FOR_SPREAD
    return Estimate(first.value - second.value, squares.error / total), p if enough else None


def _skewness(moments: Moments) -> float:
    n, m2, m3 = (float(m[0]) for m in (moments.count, moments.m2, moments.m3))
    return m3 / n / (m2 / n) ** 1.5 if m2 > 0 else 0.0


def _exchange_test(difference: Estimate, a: Moments, b: Moments) -> tuple[Estimate, float | None]:
    """A difference of means with the larger of its own error and that under exchange, and its p-value.

    Under equal laws the two samples can be exchanged: the difference then has variance S^2 (1/n_a + 1/n_b)
    and skewness g (n_b - n_a) / sqrt(n_a n_b N), with S and g of all N = n_a + n_b values. Without this a
    small sample that misses the tail of the law would pass for precise.
    """
    both, first, second = a.merge(b), float(a.count[0]), float(b.count[0])
    error = max(difference.error, float(both.std[0]) * np.sqrt(1 / first + 1 / second))
    skewness = _skewness(both) * (second - first) / np.sqrt(first * second * (first + second))
    difference = Estimate(difference.value, float(error))
    return difference, tail_probability(difference, first + second - 2, float(skewness))


def tail_probability(difference: Estimate, degrees: float, skewness: float) -> float | None:
    """Return the two-sided p-value of z = difference / error; None when the error is zero.

    It is the larger of two: Student's t, whose tails are wider than the normal's at small samples, and twice
    the smaller tail of the Pearson type III law (a shifted gamma) of mean 0, variance 1 and this skewness.
    """
    from scipy.special import gammainc, gammaincc, stdtr

    if not difference.error > 0:
        return None
    z = difference.value / difference.error
    student = 2 * stdtr(degrees, -abs(z))
    if abs(skewness) < _SYMMETRIC:
        return float(student)
    shape = 4 / skewness**2
    place = max(shape + np.sign(skewness) * z * np.sqrt(shape), 0.0)
    return float(max(student, min(1.0, 2 * min(gammainc(shape, place), gammaincc(shape, place)))))


def kolmogorov_smirnov(a: Sample, b: Sample) -> tuple[float, float]:
    """Return max |F_a - F_b| and its p-value: exact up to 200 values a side, asymptotic beyond.

    The p-value is that of continuous laws; where values are tied it is too large, so conservative.
    """
    from scipy.stats import ks_2samp

    method = "exact" if max(a.count, b.count) <= _EXACT_BELOW else "asymp"
    result = ks_2samp(a.values, b.values, method=method)
    return float(result.statistic), float(result.pvalue)


def wasserstein(a: Sample, b: Sample, *, bootstrap: int, generator: np.random.Generator) -> Estimate:
    """Return int |F_a - F_b| dx and its bootstrap standard error (NaN for fewer than two resamples).

    Each resample redraws both samples, counted in at most 256 cells that hold equally many values. Even for
    equal laws the distance is positive, of the order of its error, so it is described and never tested.
    """
    from scipy.stats import wasserstein_distance

    distance = float(wasserstein_distance(a.values, b.values))
    if bootstrap < 2:
        return Estimate(distance, float("nan"))
    edges = np.unique(np.quantile(np.concatenate([a.values, b.values]), np.linspace(0, 1, _CELLS + 1)))
    if len(edges) < 2:
        return Estimate(distance, 0.0)
    distribution = np.zeros((2, bootstrap, len(edges)))
    for sample, function in zip((a, b), distribution, strict=True):
        share = np.histogram(sample.values, edges)[0] / sample.count
        draws = generator.multinomial(sample.count, share, size=bootstrap)
        function[:, 1:] = draws.cumsum(axis=1) / sample.count
    between = np.abs(distribution[0] - distribution[1])
    return Estimate(distance, float(np.trapezoid(between, edges, axis=1).std(ddof=1)))


def fraction(count: int, total: int) -> Estimate:
    """Return count / total and its binomial standard error."""
    share = count / total
    return Estimate(share, float(np.sqrt(share * (1 - share) / total)))


def fisher(counts: tuple[int, int], totals: tuple[int, int]) -> float:
    """Return the p-value of Fisher's exact test that two counts out of their totals have one probability."""
    from scipy.stats import fisher_exact

    table = [[count, total - count] for count, total in zip(counts, totals, strict=True)]
    return float(fisher_exact(table).pvalue)


@dataclass(frozen=True)
class Row:
    """One statistic of one observable at one time.

    statistic: mean, std, "quantile 0.05", ..., ks, wasserstein, value (both sides constant), and for the
    observable "samples" the fractions aligned and dead. difference: observed - predicted, or the distance for
    ks and wasserstein. unit: the pooled standard deviation. effect: the difference in that unit (for ks: the
    wasserstein distance in it). p_value: before any correction. tested: whether the verdict rests on it. unseen: how
    far, in that unit, the mean may be off by values that a sample of this size misses, when the other is known.
    Numbers that a statistic does not have are None.
    """

    observable: str
    time: float
    statistic: str
    observed: float | None
    observed_error: float | None
    predicted: float | None
    predicted_error: float | None
    difference: float
    difference_error: float | None
    unit: float | None = None
    effect: float | None = None
    p_value: float | None = None
    tested: bool = False
    unseen: float | None = None

    @property
    def standard_errors(self) -> float | None:
        """The difference in its standard errors; None when it has none."""
        return self.difference / self.difference_error if self.difference_error else None


@dataclass(frozen=True)
class Tally:
    """How many samples of each side are alive, dead, or have the pair exactly parallel, at one time."""

    time: float
    observed_alive: int
    observed_dead: int
    observed_aligned: int
    predicted_alive: int
    predicted_dead: int
    predicted_aligned: int


def make_row(
    place: tuple[str, float],
    statistic: str,
    sides: Sequence[Estimate],
    difference: Estimate,
    *,
    unit: float = 0.0,
    p_value: float | None = None,
    tested: bool = True,
) -> Row:
    """Return the row of a statistic at a place (observable, time), of two estimates or a distance alone."""
    observed, predicted = sides if sides else (None, None)
    return Row(
        observable=place[0],
        time=place[1],
        statistic=statistic,
        observed=observed.value if observed else None,
        observed_error=observed.error if observed else None,
        predicted=predicted.value if predicted else None,
        predicted_error=predicted.error if predicted else None,
        difference=difference.value,
        difference_error=difference.error if np.isfinite(difference.error) else None,
        unit=unit if unit > 0 else None,
        effect=difference.value / unit if unit > 0 else None,
        p_value=p_value,
        tested=tested and p_value is not None,
    )


def rows_of(
    place: tuple[str, float], a: Sample, b: Sample, *, bootstrap: int, generator: np.random.Generator
) -> Iterator[Row]:
    """Yield the rows that compare two samples: none when one is too small, fewer when one is known."""
    if any(sample.count < (1 if sample.known else FEWEST) for sample in (a, b)):
        return
    tested, unit, bounds = place[0] in TESTED, pooled_std(a, b), BOUNDS.get(place[0])
    means, spreads = (a.mean, b.mean), (a.std, b.std)
    same = same_constant(a.mean.value, b.mean.value)
    # That a bounded sample is flat says nothing of the values it missed, which may carry the known mean.
    silent = bounds is not None and a.known != b.known and not same
    if (a.flat and b.flat and not silent) or (a.known and b.known):
        yield make_row(place, "value", means, subtract(*means), p_value=1.0 if same else 0.0, tested=tested)
        return
    difference, p_value = mean_test(a, b, bounds)
    row = make_row(place, "mean", means, difference, unit=unit, p_value=p_value, tested=tested)
    if a.known or b.known:
        less = missed((b if a.known else a).values, bounds)
        yield replace(row, unseen=less / unit if unit > 0 else None)
        yield make_row(place, "std", spreads, subtract(*spreads), unit=unit)
        return
    yield row
    difference, p_value = std_test(a, b)
    yield make_row(place, "std", spreads, difference, unit=unit, p_value=p_value, tested=tested)
    for q in QUANTILES:
        sides = a.quantile(q), b.quantile(q)
        yield make_row(place, f"quantile {q}", sides, subtract(*sides), unit=unit)
    apart = wasserstein(a, b, bootstrap=bootstrap, generator=generator)
    distance, p_value = kolmogorov_smirnov(a, b)
    ks = make_row(place, "ks", (), Estimate(distance, np.nan), unit=unit, p_value=p_value, tested=tested)
    yield replace(ks, effect=apart.value / unit)
    yield make_row(place, "wasserstein", (), apart, unit=unit)


def fraction_rows(tally: Tally, *, networks: bool, sampled: bool) -> Iterator[Row]:
    """Yield the fractions of dead samples and, among the living, of aligned ones, where there are any.

    The dead are tested between two networks, the aligned when both sides are sampled.
    """
    alive = tally.observed_alive, tally.predicted_alive
    dead = tally.observed_dead, tally.predicted_dead
    aligned = tally.observed_aligned, tally.predicted_aligned
    total = alive[0] + dead[0], alive[1] + dead[1]
    for name, counts, totals, tested in (
        ("dead", dead, total, networks),
        ("aligned", aligned, alive, sampled),
    ):
        if any(counts) and all(totals):
            sides = fraction(counts[0], totals[0]), fraction(counts[1], totals[1])
            p = fisher(counts, totals) if tested else None
            yield make_row(("samples", tally.time), name, sides, subtract(*sides), p_value=p)
