"""Where healthy ends: every threshold of the diagnosis, with the reason for its default."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from deeplim.checks import brief, check_kind, check_list, check_real
from deeplim.errors import InputError

_ORDERED = (
    ("nearly_aligned_gap", "aligned_gap"),
    ("norm_unhealthy", "norm_warning"),
    ("gradient_unhealthy", "gradient_warning"),
    ("spread_unhealthy", "spread_warning"),
    ("dead_units_unhealthy", "dead_units_warning"),
)
_FRACTIONS = ("false_alarm", "lost_share", "dead_units_warning", "dead_units_unhealthy")


@dataclass(frozen=True)
class Thresholds:
    """Where a finding begins; a norm or a spread counts in decades, powers of ten of the mean square.

    aligned_gap = 0.01: a median 1 - rho below it is rank collapse. Two inputs of one norm then differ by sqrt(0.02) =
    14% of it, and a linear readout must work on that seventh alone.
    nearly_aligned_gap = 0.05: below it is a warning; the inputs differ by 32% of their norm.
    shrunk = 10: the network aligned its inputs, rather than received them so, when it shrank their gap this many times.
    forgotten = 0.1: inputs whose correlation falls below it are orthogonal in effect, whatever they had in common.
    fallen = 0.2: by how much a correlation must have fallen to have been forgotten by the network.
    driven_apart = 10: a gap of neighbours grown this many times is a warning, and grown by its square is unhealthy:
    what the network says of one input then says nothing of its neighbours, and gradients grow alike (Schoenholz et al.
    2017).
    norm_warning, norm_unhealthy = 1, 3 decades from first to last layer: at 1 the output's scale is off by 3 and a
    loss or a learning rate tuned elsewhere is off too; at 3 the mean square is a thousand times too large or small.
    gradient_warning, gradient_unhealthy = 2, 6 decades of the backward signal's mean square from last layer to first:
    10 and 1000 in its size. Adam's division hides the first, and nothing hides the second in half precision.
    spread_warning, spread_unhealthy = 0.3, 0.75 decades, a standard deviation over initializations: at 0.3 a typical
    network is off by a factor 2 in its mean square, at 0.75 by 5.6 and one in twenty by 30, so that no one
    initialization stands for the others. ReLU passes 0.75 at depth/width = 0.6, for the variance is 5 depth/width.
    dead_units_warning, dead_units_unhealthy = 0.6, 0.9 of a layer's units zero for every input given: half are when
    the inputs are parallel, by symmetry; more means a shift, and at 0.9 a layer works at a tenth of its width.
    lost_share = 0.01 of initializations dead, exploded or with inputs exactly parallel: one in a hundred is none.
    frozen = 0.1: a residual network whose blocks together change no log gap and no log norm by more has branches that
    do nothing; with branches of scale 1/sqrt(depth) the log norm changes by 1.
    variance_errors = 5 standard errors between a weight variance and the critical one: below, chance explains it.
    weight_growth = 1 decade that a wrong weight variance makes over the depth: below, its consequence is small.
    false_alarm = 0.001: how often a model that is what it seems would be said to break the law of its architecture.
    slope = 0.1: the size of a power of the width that coordinates may follow and count as O(1) in the width.

    >>> Thresholds().changed(["aligned_gap=0.001"]).aligned_gap
    0.001
    """

    aligned_gap: float = 0.01
    nearly_aligned_gap: float = 0.05
    shrunk: float = 10.0
    forgotten: float = 0.1
    fallen: float = 0.2
    driven_apart: float = 10.0
    norm_warning: float = 1.0
    norm_unhealthy: float = 3.0
    gradient_warning: float = 2.0
    gradient_unhealthy: float = 6.0
    spread_warning: float = 0.3
    spread_unhealthy: float = 0.75
    dead_units_warning: float = 0.6
    dead_units_unhealthy: float = 0.9
    lost_share: float = 0.01
    frozen: float = 0.1
    variance_errors: float = 5.0
    weight_growth: float = 1.0
    false_alarm: float = 1e-3
    slope: float = 0.1

    def __post_init__(self) -> None:
        for each in fields(self):
            most = 1.0 if each.name in _FRACTIONS else None
            value = check_real(f"the threshold {each.name}", getattr(self, each.name), above=0, most=most)
            object.__setattr__(self, each.name, value)
        for larger, smaller in _ORDERED:
            if getattr(self, larger) < getattr(self, smaller):
                raise InputError(
                    f"the thresholds {larger} = {getattr(self, larger):g} and {smaller} = {getattr(self, smaller):g} "
                    f"were given; {larger} must not be below {smaller}."
                )

    def changed(self, words: Sequence[str]) -> "Thresholds":
        """Return the thresholds with some replaced, each written name=value; InputError when one cannot be read."""
        known = {each.name for each in fields(self)}
        changes: dict[str, float] = {}
        cure = "write each as name=value, as aligned_gap=0.001"
        for word in check_list("words", words, cure):
            check_kind("a threshold", word, str, cure)
            name, _, value = word.partition("=")
            try:
                changes[name.strip()] = float(value)
            except ValueError:
                raise InputError(f"the threshold {brief(word)} was given; {cure}.") from None
            if name.strip() not in known:
                raise InputError(f"there is no threshold {brief(name.strip())}; there are {', '.join(sorted(known))}.")
        return replace(self, **changes)


def check_thresholds(thresholds: Any) -> Thresholds:
    """Return the thresholds; InputError for anything else, as a number or a dictionary of some."""
    if not isinstance(thresholds, Thresholds):
        raise InputError(
            f"thresholds={brief(thresholds)} was given; give deeplim.diagnosis.Thresholds(aligned_gap=0.001), with the "
            "names and values of those to change."
        )
    return thresholds
