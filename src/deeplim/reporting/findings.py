"""What the numbers of a ladder mean, in plain sentences, each with a level and the numbers behind it."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from deeplim.architecture import MLP
from deeplim.comparison import Comparison
from deeplim.drawing import plus_minus
from deeplim.figures import rung
from deeplim.ladder import Ladder, check_ladder
from deeplim.observables import correlation_gap, log_norm
from deeplim.paths import Paths
from deeplim.statistics import Sample

Level = Literal["fine", "warning", "problem"]

# Correlations, as gaps 1 - rho of the median network. Two inputs of one norm differ by sqrt(2 (1 - rho))
# of it: by 32% at rho = 0.95 and by 14% at rho = 0.99.
ALIGNED, NEARLY_ALIGNED = 0.01, 0.05
# The network has aligned its inputs, rather than received them so, when it shrank their gap this many times.
SHRUNK = 10.0
# Orthogonal in effect: a correlation below this, and fallen by at least this much, is forgotten.
FORGOTTEN, FALLEN = 0.1, 0.2
# A correlation whose 5-95% range is wider than this (of a possible 2) depends on the initialization.
WIDE = 0.5
# More than one network in ten beyond rho = 0.99 is worth a warning even where the median network is healthy.
ALIGNED_SHARE = 0.1
# Orders of magnitude of the mean square: beyond 1 the last layer's scale is off, beyond 3 it is a thousand
# times or a thousandth of the input's.
NORM_OFF, NORM_LOST = 1.0, 3.0
# A standard deviation of log V above this moves a typical network by more than e^0.5 = 1.6 from the middle.
FLUCTUATES = 0.5
# One network in a hundred dead, or with a pair exactly parallel, is more than an accident.
SHARE_LOST = 0.01

_LEVELS = (0.05, 0.5, 0.95)


@dataclass(frozen=True)
class Finding:
    """One thing that was found: its topic, how serious it is, a plain sentence, and the numbers behind it."""

    topic: str
    level: Level
    sentence: str
    numbers: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as plain Python values, ready for JSON."""
        return asdict(self)


def findings(ladder: Ladder) -> list[Finding]:
    """Return what stands out, of the exact networks or, where there are none, of the best limit."""
    check_ladder(ladder)
    name = next((name for name in ("exact", *ladder.limits) if name in ladder.rungs), None)
    if name is None:
        return [Finding("limit", "warning", "Nothing was drawn and no limit applies: there is nothing to find.", {})]
    seen = rung(ladder, name)
    found = [*_lost(seen, name == "exact")]
    if seen.alive[:, -1].any():
        found += [*_correlation(ladder, seen), *_norm(ladder, seen), *_fluctuation(ladder, seen)]
    return [*found, *_advice(ladder), *_agreement(ladder), *_recommended(ladder)]


def _correlation(ladder: Ladder, seen: Paths) -> Iterator[Finding]:
    if ladder.inputs.count < 2:
        return
    start = float(ladder.inputs.gap[ladder.pair])
    gap = correlation_gap(seen)[seen.alive[:, -1], -1]
    high, middle, low = (float(q) for q in np.quantile(gap, _LEVELS))
    beyond = float(np.mean(gap < ALIGNED))
    spread = "" if seen.deterministic else f" (5–95%: {rho_text(low)} to {rho_text(high)})"
    told = f"their correlation starts at {rho_text(start)}, and at layer {seen.time[-1]:g} its median is "
    level: Level = "fine"
    if middle < NEARLY_ALIGNED and middle * SHRUNK > start:
        level, head = "warning", "The inputs start nearly parallel and stay so"
    elif middle < NEARLY_ALIGNED:
        level, head = "problem" if middle < ALIGNED else "warning", "The inputs align"
    elif 1 - middle < FORGOTTEN and middle - start > FALLEN:
        level, head = "warning", "The inputs decorrelate"
    elif low - high > WIDE:
        head = "How the inputs lie to each other depends on the initialization"
    else:
        head = "The inputs stay apart"
    tail = ""
    if middle >= NEARLY_ALIGNED and beyond >= ALIGNED_SHARE:
        level, tail = (
            "warning" if level == "fine" else level,
            f" In {beyond:.0%} of samples it is beyond 0.99.",
        )
    numbers = {"start": 1 - start, "median": 1 - middle, "low": 1 - low, "high": 1 - high}
    gaps = {
        "gap_start": start,
        "gap_median": middle,
        "gap_low": high,
        "gap_high": low,
        "share_beyond_0.99": beyond,
    }
    yield Finding("correlation", level, f"{head}: {told}{rho_text(middle)}{spread}.{tail}", numbers | gaps)


def _norm(ladder: Ladder, seen: Paths) -> Iterator[Finding]:
    first = ladder.pair[0] if ladder.inputs.count > 1 else 0
    name, layer = ladder.inputs.names[first], f"layer {seen.time[-1]:g}"
    decades = (log_norm(seen)[seen.alive[:, -1], -1] - ladder.inputs.log_norm[first]) / np.log(10)
    low, middle, high = (float(q) for q in np.quantile(decades, _LEVELS))
    size, numbers = abs(middle), {"median": middle, "low": low, "high": high, "spread": high - low}
    if size < NORM_OFF:
        sentence = f"The norm holds: from the input to {layer} the median mean square of {name} is multiplied by "
        yield Finding("norm", "fine", f"{sentence}{10**middle:.2g}.", numbers)
    else:
        lost = size >= NORM_LOST
        if middle < 0:
            head, verb = "The norm dies" if lost else "The norm shrinks", "falls"
        else:
            head, verb = "The norm explodes" if lost else "The norm grows", "grows"
        sentence = f"{head}: from the input to {layer} the median mean square of {name} {verb} by {_orders(size)}."
        yield Finding("norm", "problem" if lost else "warning", sentence, numbers)
    if seen.deterministic:
        return
    level: Level = "fine" if high - low < NORM_OFF else "warning" if high - low < NORM_LOST else "problem"
    range_text = (
        f"5–95%: {10**low:.2g} to {10**high:.2g} times the input's"
        if max(-low, high) < 300
        else (f"5–95%: 10^{low:.0f} to 10^{high:.0f} times the input's")
    )
    sentence = f"From one initialization to the next the mean square spans {_orders(high - low)} ({range_text})."
    yield Finding("spread of the norm", level, sentence, {"low": low, "high": high, "spread": high - low})


def _fluctuation(ladder: Ladder, seen: Paths) -> Iterator[Finding]:
    """The variance of log V, per unit of depth/width for an MLP, where it is that by theory."""
    values = log_norm(seen)[seen.alive[:, -1], -1]
    if seen.deterministic or len(values) < 2:
        return
    std, aspect = Sample.of(values).std, ladder.network.aspect
    variance, error = std.value**2, 2 * std.value * std.error
    sentence = (
        f"Depth/width is {aspect:.3g}, and at layer {seen.time[-1]:g} the natural log of the mean square has "
        f"variance {plus_minus(variance, error)}"
    )
    if isinstance(ladder.network, MLP) and seen.time[-1] > 0:
        part = seen.time[-1] / ladder.network.width
        sentence += f", {variance / part:.2g} per unit of layer/width"
    numbers = {"depth_over_width": aspect, "variance": variance, "variance_error": error}
    if std.value < FLUCTUATES:
        sentence += f": a typical initialization is within a factor {np.exp(std.value):.2f} of the middle."
        yield Finding("depth/width", "fine", sentence, numbers)
    else:
        sentence += ": a prediction without fluctuations, at infinite width, does not describe a single network."
        yield Finding("depth/width", "warning", sentence, numbers)


def _lost(seen: Paths, exact: bool) -> Iterator[Finding]:
    what, layer = "networks" if exact else "samples", f"layer {seen.time[-1]:g}"
    alive = int(seen.alive[:, -1].sum())
    for word, counts, why in (
        ("dead", seen.dead, "all activations of some input are zero"),
        ("exploded", seen.exploded, "some input's norm is too large to be followed"),
    ):
        lost = int(counts[-1])
        if lost:
            share = lost / seen.samples
            sentence = (
                f"{lost:,} of {seen.samples:,} {what} ({share:.2%}) are {word} by {layer}: {why}. They are left out of "
                "every other number."
            )
            numbers: dict[str, float] = {word: lost, "samples": seen.samples}
            yield Finding(f"{word} networks", "problem" if share >= SHARE_LOST else "warning", sentence, numbers)
    aligned = int(seen.aligned[-1])
    if aligned:
        sentence = (
            f"In {aligned:,} of the {alive:,} living {what} the two inputs are exactly parallel by {layer}: "
            "nothing behind it can tell them apart."
        )
        level: Level = "problem" if aligned / alive >= SHARE_LOST else "warning"
        yield Finding("exactly parallel", level, sentence, {"aligned": aligned, "alive": alive})


def _advice(ladder: Ladder) -> Iterator[Finding]:
    """What the limits say that no sample shows: a shaping whose norm must die or explode sooner or later."""
    for limit in ladder.limits.values():
        if limit.advice is not None:
            yield Finding("shaping", "warning", f"{limit.title}: {limit.advice}", limit.parameters)


def _recommended(ladder: Ladder) -> Iterator[Finding]:
    """Which description to trust at this width and depth."""
    name, why = ladder.recommended
    what = "exact networks" if name == "exact" else f"the rung {name!r}"
    yield Finding("description", "fine", f"At this width and depth trust {what}: {why}", {})


def _agreement(ladder: Ladder) -> Iterator[Finding]:
    limit = ladder.best
    if limit is None:
        yield Finding("limit", "warning", "No limit that deeplim knows describes this network.", {})
        return
    if ladder.exact is None:
        sentence = "No exact networks were drawn, so the prediction is not checked; draw some with networks=."
        yield Finding("limit", "warning", sentence, {})
        return
    comparison = ladder.comparisons.get(limit.name)
    if comparison is None:
        sentence = f"The {limit.title} was not compared with the exact networks: only layer 0 was recorded."
        yield Finding("limit", "warning", sentence, {})
        return
    sentence = f"{limit.title} against exact networks: {comparison.sentence}"
    if comparison.differ:
        sentence += f" What is known of its accuracy: {limit.accuracy}"
    yield Finding("limit", _level(comparison), sentence, _verdict_numbers(comparison))


def _level(comparison: Comparison) -> Level:
    """How bad a verdict is: a limit that a network differs from is a caution about the limit, not an ill network."""
    return "fine" if comparison.verdict == "agree" else "warning"


def largest_effect(comparison: Comparison) -> float | None:
    """Return the largest significant difference in standard deviations; None when none has a size."""
    level = comparison.false_alarm / max(comparison.tests, 1)
    significant = [r for r in comparison.rows if r.tested and r.p_value is not None and r.p_value < level]
    effects = [abs(row.effect) for row in significant if row.effect is not None]
    return max(effects) if effects and len(effects) == len(significant) else None


def _verdict_numbers(comparison: Comparison) -> dict[str, float]:
    numbers = {"false_alarm": comparison.false_alarm, "tests": comparison.tests}
    sizes = {"largest_effect": largest_effect(comparison), "detectable_shift": comparison.detectable_shift}
    return numbers | {name: value for name, value in sizes.items() if value is not None}


def rho_text(gap: float) -> str:
    """Return a correlation with two digits of its gap 1 - rho, which tells 0.9998 from 1."""
    if gap <= 0:
        return "1"
    if gap < 1e-6:
        return f"1 − {gap:.1e}"
    return f"{1 - gap:.{max(2, 1 - int(np.floor(np.log10(gap))))}f}".replace("-", "−")


def _orders(size: float) -> str:
    return f"{size:.1f} orders of magnitude"
