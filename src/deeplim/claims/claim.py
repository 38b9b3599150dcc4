"""What a claim is: a statement with its source, a check that simulates it, numbers with controls, one verdict."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args
from zlib import crc32

import numpy as np

from deeplim.checks import check_kind, check_list, check_numbers, check_seed, check_word
from deeplim.claims.number import FAILS, HOLDS, WITHIN, Number, Verdict
from deeplim.errors import InputError
from deeplim.limits.density import Density
from deeplim.statistics import Estimate

Role = Literal["measured", "predicted", "refuted"]


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
        check_kind("a series' name", name, str, "give text")
        check_word("role", role, get_args(Role))
        points = (("x", x), ("y", y), ("error", [] if error is None else error))
        columns = [tuple(check_numbers(what, given, "give finite numbers").tolist()) for what, given in points]
        return cls(name, role, columns[0], columns[1], None if error is None else columns[2])


@dataclass(frozen=True)
class Figure:
    """What a claim's figure shows: the labels of its axes, with units, and its series; log_x: a logarithmic axis."""

    x: str
    y: str
    series: tuple[Series, ...]
    log_x: bool = False


@dataclass(frozen=True)
class Outcome:
    """What checking a claim found: its numbers, what was simulated in words, and a figure.

    InputError without a number: every number has controls, so no claim is without one.
    """

    numbers: tuple[Number, ...]
    simulated: str
    figure: Figure

    def __post_init__(self) -> None:
        numbers = check_list("numbers", self.numbers, "give a list of numbers")
        for number in numbers:
            check_kind("a number", number, Number, "give a deeplim.claims.Number")
        check_kind("simulated", self.simulated, str, "give text that says what was simulated")
        check_kind("the figure", self.figure, Figure, "give a deeplim.claims.Figure")
        if not numbers:
            raise InputError("a claim was checked by no number; give at least one.")

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of its numbers."""
        return max((number.verdict for number in self.numbers), key=[HOLDS, WITHIN, FAILS].index)


@dataclass(frozen=True)
class Claim:
    """A published claim, or one derived here, and how to check it.

    name: its word on the command line. statement: one plain sentence. source: the paper, as exactly as is known.
    check: simulates, from a seed, and compares; its docstring says what the measurement and the prediction share.
    quick: whether it takes about a second or less.
    """

    name: str
    statement: str
    source: str
    check: Callable[[int], Outcome]
    quick: bool = True

    def run(self, seed: int = 0) -> "Result":
        """Return the claim with its outcome; no two claims share random numbers."""
        seed = check_seed(seed)
        return Result(self, self.check(seed + crc32(self.name.encode())), seed)


@dataclass(frozen=True)
class Result:
    """A claim that was checked."""

    claim: Claim
    outcome: Outcome
    seed: int

    @property
    def fails(self) -> bool:
        """Whether some number of the claim fails, or does not refute what it should."""
        return self.outcome.verdict == FAILS

    @property
    def refuted(self) -> list[str]:
        """The names of the laws that the claim's numbers refute, each once."""
        numbers = self.outcome.numbers
        names = [one.name for number in numbers for one in number.controls if number.refutes(one)]
        return list(dict.fromkeys(names))

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain data for JSON; a number that is not finite is null."""
        claim, outcome = self.claim, self.outcome
        return {
            "name": claim.name,
            "statement": claim.statement,
            "source": claim.source,
            "seed": self.seed,
            "simulated": outcome.simulated,
            "numbers": [number.to_dict() for number in outcome.numbers],
            "refutes": self.refuted,
            "verdict": outcome.verdict,
        }


def histogram(values: np.ndarray, *, name: str = "exact networks", columns: int = 30) -> Series:
    """Return the density of a sample in columns between its 0.2% and 99.8% quantiles, with standard errors."""
    low, high = np.quantile(values, [0.002, 0.998])
    edges = np.linspace(low, high, columns + 1)
    counts, width = np.histogram(values, edges)[0], edges[1] - edges[0]
    size = len(values) * width
    return Series.of(name, "measured", (edges[:-1] + edges[1:]) / 2, counts / size, np.sqrt(counts) / size)


def density_line(law: Density, name: str, *, refuted: bool = False) -> Series:
    """Return the density of a correlation, per rho, of its law in artanh(rho)."""
    line = np.tanh(np.linspace(-3, 3.8, 200))
    height = law.at_points(np.arctanh(line)) / (1 - line**2)
    return Series.of(name, "refuted" if refuted else "predicted", line, height)


def estimates(name: str, x: Sequence[float] | np.ndarray, found: Sequence[Estimate]) -> Series:
    """Return measured points with their standard errors."""
    return Series.of(name, "measured", x, [one.value for one in found], [one.error for one in found])
