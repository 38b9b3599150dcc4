"""A predicted number, its measurement, and the wrong predictions that the measurement refutes at one tolerance."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

import numpy as np

from deeplim.checks import check_float, check_kind, check_list
from deeplim.errors import InputError
from deeplim.statistics import Estimate

SIGMAS = 5.0
"""Standard errors that chance is given: a number that is right fails once in two million times."""
HOLDS: Final = "holds"
WITHIN: Final = "holds within the stated finite-size allowance"
FAILS: Final = "fails"
Verdict = Literal["holds", "holds within the stated finite-size allowance", "fails"]


@dataclass(frozen=True)
class Control:
    """What another law predicts for a number; its name says in plain English which law, and so how it differs."""

    name: str
    predicted: float


class Allowance(NamedTuple):
    """What a finite network, or a finite depth, may be off by, and why that much."""

    size: float
    reason: str


@dataclass(frozen=True)
class Number:
    """One predicted number, its measurement with one standard error, and what the measurement refutes.

    controls: wrong predictions, each judged by the number's own measurement and tolerance; there is at least one, so
    that no number is without a way to fail. A control that says what the prediction says is refuted with it or not at
    all, and the number fails. allowance: what a finite network may be off by, whatever is measured, with its
    ``reason``. InputError without controls, for an allowance without a reason, and without a tolerance.
    """

    name: str
    predicted: float
    measured: float
    controls: tuple[Control, ...]
    uncertainty: float = 0.0
    allowance: float = 0.0
    reason: str = ""

    def __post_init__(self) -> None:
        for what in ("name", "reason"):
            check_kind(what, getattr(self, what), str, "give text")
        for what in ("predicted", "measured", "uncertainty", "allowance"):
            check_float(what, getattr(self, what))
        controls = check_list("controls", self.controls, "give a list of wrong predictions")
        for control in controls:
            check_kind("a control", control, Control, "give a deeplim.claims.Control")
        if not controls:
            raise InputError(f"{self.name} refutes nothing; give a wrong prediction that its measurement contradicts.")
        if self.allowance and not self.reason:
            raise InputError(f"{self.name} has an allowance of {self.allowance:g} and no reason; say what it is for.")
        if self.tolerance == 0:
            raise InputError(f"{self.name} is measured without error; allow for what rounding may do.")

    @property
    def tolerance(self) -> float:
        """5 uncertainty + allowance: how far from a prediction a measurement still agrees with it."""
        return SIGMAS * self.uncertainty + self.allowance

    @property
    def agrees(self) -> Verdict:
        """Whether |measured - predicted| is within 5 uncertainty, or within the tolerance; a NaN or infinity fails."""
        apart = abs(self.measured - self.predicted)
        if not np.isfinite(apart + self.tolerance):
            return FAILS
        if apart <= SIGMAS * self.uncertainty:
            return HOLDS
        return WITHIN if apart <= self.tolerance else FAILS

    @property
    def verdict(self) -> Verdict:
        """What is found of the prediction, when every control is refuted; else the number fails."""
        return self.agrees if all(map(self.refutes, self.controls)) else FAILS

    def refutes(self, control: Control) -> bool:
        """Return whether the measurement is further from the control's prediction than the tolerance."""
        return bool(np.isfinite(self.margin(control)) and self.margin(control) > 1)

    def margin(self, control: Control) -> float:
        """Return |measured - the control's prediction| in tolerances."""
        check_kind("a control", control, Control, "give a deeplim.claims.Control")
        return abs(self.measured - control.predicted) / self.tolerance

    def to_dict(self) -> dict[str, Any]:
        """Return the number as plain data for JSON, with its controls; a number that is not finite is null."""
        controls = [
            {
                "name": control.name,
                "predicted": _finite(control.predicted),
                "apart_in_tolerances": _finite(self.margin(control)),
                "verdict": "refuted" if self.refutes(control) else "not refuted",
            }
            for control in self.controls
        ]
        return {
            "name": self.name,
            "predicted": _finite(self.predicted),
            "measured": _finite(self.measured),
            "uncertainty": _finite(self.uncertainty),
            "allowance": _finite(self.allowance),
            "reason": self.reason,
            "tolerance": _finite(self.tolerance),
            "refutes": controls,
            "verdict": self.verdict,
        }


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def number_of(
    name: str,
    predicted: float,
    found: Estimate,
    *,
    refutes: Mapping[str, float],
    allowance: Allowance | None = None,
) -> Number:
    """Return the number that an estimate measures; ``refutes`` has the controls, what each predicts by its name."""
    controls = tuple(Control(law, float(wrong)) for law, wrong in refutes.items())
    size, reason = allowance or Allowance(0.0, "")
    return Number(name, float(predicted), found.value, controls, found.error, float(size), reason)
