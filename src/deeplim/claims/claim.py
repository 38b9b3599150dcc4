"""What a claim is: a statement with its source, a check that simulates it, numbers with uncertainties, one verdict."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal
from zlib import crc32

import numpy as np

from deeplim.errors import InputError
from deeplim.statistics import Estimate, Sample

SIGMAS = 5.0
"""Standard errors that chance is given: a number that is right fails once in two million times."""
HOLDS: Final = "holds"
WITHIN: Final = "holds within the stated finite-size allowance"
FAILS: Final = "fails"
Verdict = Literal["holds", "holds within the stated finite-size allowance", "fails"]
Role = Literal["measured", "predicted", "refuted"]


@dataclass(frozen=True)
class Number:
    """One predicted number and its measurement, with one standard error.

    allowance: what a finite network may be off by, whatever is measured, with its ``reason`` (InputError without one).
    refuted: the prediction is a wrong one, a control, and the claim needs the measurement to contradict it.
    """

    name: str
    predicted: float
    measured: float
    uncertainty: float = 0.0
    allowance: float = 0.0
    reason: str = ""
    refuted: bool = False

    def __post_init__(self) -> None:
        if self.allowance and not self.reason:
            raise InputError(f"{self.name} has an allowance of {self.allowance:g} and no reason; say what it is for.")

    @property
    def verdict(self) -> Verdict:
        """What ``judge`` says of this number."""
        return judge(self)


def judge(number: Number) -> Verdict:
    """Return whether |measured - predicted| <= 5 uncertainty + allowance; for a refuted prediction, whether not.

    A number that is not finite fails either way.
    """
    apart = abs(number.measured - number.predicted)
    if not np.isfinite(apart + number.uncertainty + number.allowance):
        return FAILS
    chance = SIGMAS * number.uncertainty
    if number.refuted:
        return HOLDS if apart > chance + number.allowance else FAILS
    if apart <= chance:
        return HOLDS
    return WITHIN if apart <= chance + number.allowance else FAILS


@dataclass(frozen=True)
class Series:
    """Points or a line of a figure: measured (points with one standard error), predicted, or a refuted prediction."""

    name: str
    role: Role
    x: tuple[float, ...]
    y: tuple[float, ...]
    error: tuple[float, ...] | None = None

    @classmethod
    def of(cls, name: str, role: Role, x: Any, y: Any, error: Any = None) -> "Series":
        """Return the series of some arrays."""
        columns = [None if a is None else tuple(np.asarray(a, dtype=float).tolist()) for a in (x, y, error)]
        assert columns[0] is not None
        assert columns[1] is not None
        return cls(name, role, columns[0], columns[1], columns[2])


@dataclass(frozen=True)
class Figure:
    """What a claim's figure shows: the labels of its axes, with units, and its series; log_x: a logarithmic axis."""

    x: str
    y: str
    series: tuple[Series, ...]
    log_x: bool = False


@dataclass(frozen=True)
class Outcome:
    """What checking a claim found: its numbers, what was simulated in words, and a figure."""

    numbers: tuple[Number, ...]
    simulated: str
    figure: Figure

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of its numbers."""
        return max((number.verdict for number in self.numbers), key=[HOLDS, WITHIN, FAILS].index)


@dataclass(frozen=True)
class Claim:
    """A published claim, or one derived here, and how to check it.

    name: its word on the command line. statement: one plain sentence. source: the paper, as exactly as is known.
    check: simulates, from a seed, and compares. quick: whether it takes about a second or less.
    """

    name: str
    statement: str
    source: str
    check: Callable[[int], Outcome]
    quick: bool = True

    def run(self, seed: int = 0) -> "Result":
        """Return the claim with its outcome; no two claims share random numbers."""
        return Result(self, self.check(seed + crc32(self.name.encode())), seed)


@dataclass(frozen=True)
class Result:
    """A claim that was checked."""

    claim: Claim
    outcome: Outcome
    seed: int

    @property
    def fails(self) -> bool:
        """Whether some number of the claim fails."""
        return self.outcome.verdict == FAILS

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain data for JSON; a number that is not finite is null."""
        claim, outcome = self.claim, self.outcome
        numbers = [asdict(number) | {"verdict": number.verdict} for number in outcome.numbers]
        for number in numbers:
            number.update({key: None for key, value in number.items() if value in (np.inf, -np.inf) or value != value})
        return {
            "name": claim.name,
            "statement": claim.statement,
            "source": claim.source,
            "seed": self.seed,
            "simulated": outcome.simulated,
            "numbers": numbers,
            "verdict": outcome.verdict,
        }


def number_of(name: str, predicted: float, found: Estimate, *, allowance: float = 0.0, reason: str = "") -> Number:
    """Return the number that an estimate measures."""
    return Number(name, float(predicted), found.value, found.error, float(allowance), reason)


def control(name: str, predicted: float, found: Estimate, *, allowance: float = 0.0, reason: str = "") -> Number:
    """Return the same of a wrong prediction, which the estimate must contradict."""
    return Number(name, float(predicted), found.value, found.error, float(allowance), reason, refuted=True)


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


def histogram(values: np.ndarray, *, name: str = "exact networks", columns: int = 30) -> Series:
    """Return the density of a sample in columns between its 0.2% and 99.8% quantiles, with standard errors."""
    low, high = np.quantile(values, [0.002, 0.998])
    edges = np.linspace(low, high, columns + 1)
    counts, width = np.histogram(values, edges)[0], edges[1] - edges[0]
    size = len(values) * width
    return Series.of(name, "measured", (edges[:-1] + edges[1:]) / 2, counts / size, np.sqrt(counts) / size)


def estimates(name: str, x: Sequence[float] | np.ndarray, found: Sequence[Estimate]) -> Series:
    """Return measured points with their standard errors."""
    return Series.of(name, "measured", x, [one.value for one in found], [one.error for one in found])
