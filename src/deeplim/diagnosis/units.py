"""Rules about units: those that are zero whatever the input, and networks that are lost altogether."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool

from deeplim.diagnosis.estimates import Interval, median
from deeplim.diagnosis.evidence import INPUT, Evidence, is_inside
from deeplim.diagnosis.finding import Finding
from deeplim.diagnosis.remedies import for_collapse
from deeplim.diagnosis.words import finite, spoken
from deeplim.paths import Paths, listed
from deeplim.resolution import NEAR_FLOOR
from deeplim.specs import counted
from deeplim.statistics import fraction

_APART = "widen the layers, or give negative inputs a slope (LeakyReLU), so that no layer is all zero."


def lost_networks(seen: Evidence) -> Iterator[Finding]:
    """Initializations in which an input's signal is zero or not finite at some layer."""
    yield from _lost(seen, "dead-networks", _dead(seen), "some input's activations are all zero", _APART)
    yield from _lost(
        seen,
        "exploded-networks",
        _exploded(seen.recorded),
        "some input's activations are not finite (too large for a float, or no number)",
        "shrink the weights, normalize, or scale residual branches by 1/sqrt(depth) = "
        f"{seen.depth**-0.5:.2g}; else look for what makes a NaN: the log of a negative number, or 0/0.",
    )


def _lost(
    seen: Evidence, name: str, where: Bool[np.ndarray, "sample layer"], told: str, remedy: str
) -> Iterator[Finding]:
    """The finding of samples that are lost at some of the recorded layers: its numbers are those of the worst."""
    counts = where.sum(axis=0)
    often = np.flatnonzero(counts >= max(seen.thresholds.lost_share * len(where), 1))
    if not len(often):
        return
    first, worst = seen.recorded_layers[often[0]], seen.recorded_layers[int(np.argmax(counts))]
    lost, share = int(counts.max()), fraction(int(counts.max()), len(where))
    predicted = _predicted_share(seen, name, worst)
    yield Finding(
        name=name,
        severity="unhealthy",
        measured=f"in {lost} of {_of_all(seen)} ({share.value:.0%}) {told}"
        f"{'' if first == worst else f' at {spoken(worst)}; it begins at {spoken(first)}'}.",
        predicted=None if predicted is None else f"{predicted:.1%} of exact networks.",
        remedy=remedy,
        where=first,
        numbers=finite(share=share.value, share_error=share.error, count=lost, share_predicted=predicted),
    )


def _exploded(paths: Paths) -> Bool[np.ndarray, "sample layer"]:
    """Where some input's norm is an infinity, or came of a NaN."""
    return np.asarray(~paths.alive & np.isposinf(paths.log_norm).any(axis=2))


def _dead(seen: Evidence) -> Bool[np.ndarray, "sample layer"]:
    """Where an input that was given is all zero, and does not arrive by another way.

    Before the last layer that is judged, a sample whose inputs arrive there, apart, has none; behind it, a readout that
    is zero in every initialization begins so.
    """
    paths = seen.recorded
    silent = _silent(seen, paths)
    end = _recorded_end(seen)
    silent[:, :end] &= ~_arriving(seen)[:, None]
    return silent & ~_bypassed(seen)


def _silent(seen: Evidence, paths: Paths) -> Bool[np.ndarray, "sample layer"]:
    """Where an input is all zero that was not given so."""
    zero = np.isneginf(paths.log_norm)
    given = seen.zero_inputs[:, None]
    by_itself = (zero & given).any(axis=2) & ~(zero & ~given).any(axis=2)
    return np.asarray(~paths.alive & ~_exploded(paths) & ~by_itself)


def _arriving(seen: Evidence) -> Bool[np.ndarray, " sample"]:
    """The samples whose inputs are alive and apart at the last layer that is judged, but for those given otherwise."""
    paths = seen.measured
    lost = _silent(seen, paths)[:, seen.end] | _exploded(paths)[:, seen.end]
    return np.asarray(~lost & ~_aligned(seen).any(axis=1))


def _aligned(seen: Evidence) -> Bool[np.ndarray, "sample pair"]:
    """The pairs that are exactly parallel at the last layer that is judged and were not given so."""
    paths = seen.measured
    return np.asarray(np.isneginf(paths.log_gap[:, seen.end]) & paths.alive[:, [seen.end]] & ~seen.parallel_inputs)


def _recorded_end(seen: Evidence) -> int:
    """Where the last layer that is judged stands among all that were recorded."""
    name = seen.layers[seen.end]
    return seen.recorded_layers.index(name) if name in seen.recorded_layers else len(seen.recorded_layers) - 1


def _of_all(seen: Evidence) -> str:
    if seen.sequences == 1:
        return counted(seen.initializations, "initialization")
    return f"{counted(seen.measured.samples, 'sequence')} of {counted(seen.initializations, 'initialization')}"


def _predicted_share(seen: Evidence, kind: str, layer: str) -> float | None:
    if seen.predicted is None or layer not in seen.layers:
        return None
    paths = seen.predicted
    lost = {"dead-networks": paths.dead, "exploded-networks": paths.exploded, "parallel-inputs": paths.aligned}[kind]
    return float(lost[seen.layers.index(layer)] / paths.samples)


def parallel_inputs(seen: Evidence) -> Iterator[Finding]:
    """Inputs that a network makes exactly parallel, or that were given so."""
    yield from _repeated(seen)
    aligned = _aligned(seen)
    lost = int(aligned.any(axis=1).sum())
    share = fraction(lost, len(aligned))
    if lost == 0 or share.value < seen.thresholds.lost_share:
        return
    where = seen.layers[seen.end]
    predicted = _predicted_share(seen, "parallel-inputs", where)
    rounded = _rounded_before(seen, aligned)
    yield Finding(
        name="parallel-inputs",
        severity="unhealthy",
        measured=f"in {lost} of {_of_all(seen)} ({share.value:.0%}) two inputs are exactly parallel at the end"
        + (", after their 1 - rho had fallen to the rounding of the model's floats: rank-collapse" if rounded else "")
        + ".",
        predicted=None if predicted is None else f"{predicted:.1%} of exact networks.",
        remedy=f"{for_collapse(seen)}." if rounded else _APART,
        where=where,
        numbers=finite(share=share.value, share_error=share.error, count=lost, share_predicted=predicted),
    )


def _rounded_before(seen: Evidence, aligned: Bool[np.ndarray, "sample pair"]) -> bool:
    """Whether most pairs that became parallel had come down to the floor of gaps, or near it, before."""
    floor = seen.recorded.log_gap_floor
    if floor is None:
        return False
    before = slice(0, _recorded_end(seen) + 1)
    gaps = seen.recorded.log_gap[:, before]
    near = (np.isfinite(gaps) & (gaps < floor[before, None] + NEAR_FLOOR)).any(axis=1)
    return bool(near[aligned].mean() > 0.5)


def _repeated(seen: Evidence) -> Iterator[Finding]:
    """Inputs that were given parallel, and stay so."""
    paths = seen.measured
    first, second = np.triu_indices(paths.inputs, 1)
    zero = seen.zero_inputs[:, first] & seen.zero_inputs[:, second]  # these are told as such
    stay = np.isneginf(paths.log_gap[:, seen.begin]) & np.isneginf(paths.log_gap[:, seen.end])
    stay = np.asarray(stay & seen.parallel_inputs & ~zero)
    pairs = np.flatnonzero(stay.any(axis=0))
    if not len(pairs):
        return
    named = [" and ".join(paths.names[i] for i in paths.pairs[pair]) for pair in pairs]
    yield Finding(
        name="parallel-inputs",
        severity="note",
        measured=f"{listed(named, 3)} are exactly parallel from {spoken(seen.layers[seen.begin])} on: the model is "
        "given one input more than once, or a multiple of it.",
        remedy="drop the repeated input: its pair has no 1 - rho to follow, and counts as one that is parallel.",
        where=seen.layers[seen.begin],
        numbers={"pairs": float(len(pairs))},
    )


def zero_inputs(seen: Evidence) -> Iterator[Finding]:
    """Inputs that are all zero as they are given."""
    zero = np.asarray(seen.zero_inputs.any(axis=0))
    if not zero.any():
        return
    count, lost = int(zero.sum()), bool(zero.all()) or not seen.measured.alive[:, seen.end].any()
    it = "it has" if count == 1 else "they have"
    names = listed([name for name, is_zero in zip(seen.recorded.names, zero, strict=True) if is_zero], 3)
    yield Finding(
        name="zero-inputs",
        severity="unhealthy" if lost else "note",
        measured=f"{names} {'is' if count == 1 else 'are'} all zero: {it} no direction, and "
        + ("nothing is told of the network." if lost else "no layer where this is so tells of the others."),
        remedy=f"drop {'it' if count == 1 else 'them'}, or give {'another input' if count == 1 else 'other inputs'}: "
        "this is no fault of the network's.",
        where=INPUT,
        numbers={"inputs": float(count)},
    )


def zero_output(seen: Evidence) -> Iterator[Finding]:
    """An output that is zero in every initialization: a readout that begins so, as far as can be told."""
    last = seen.recorded_layers[-1]
    if not _bypassed(seen)[-1] or is_inside(last, seen.branches):
        return
    yield Finding(
        name="zero-output",
        severity="note",
        measured="the output is exactly zero for every input in every initialization.",
        remedy="none, if the readout is zero to begin with, which is no fault: it learns from the first step on. Else "
        "look for what multiplies by zero.",
        where=last,
    )


def dead_units(seen: Evidence) -> Iterator[Finding]:
    """Layers most of whose units are zero for every input given: they work at a part of their width."""
    silent = None if seen.recorded.modules is None else seen.recorded.modules.silent
    if silent is None:
        return
    middle = [median(column) for column in np.where(_bypassed(seen), 0.0, silent).T]
    worst = int(np.argmax([share.value for share in middle]))
    found, limits = middle[worst], seen.thresholds
    if found.value <= limits.dead_units_warning:
        return
    inputs = seen.recorded.inputs
    yield Finding(
        name="dead-units",
        severity="unhealthy" if found.value > limits.dead_units_unhealthy else "warning",
        measured=f"{found.value:.0%} of the units{_interval(found)} are zero for "
        f"{'all ' * (inputs > 1)}{counted(inputs, 'input')}.",
        predicted=f"{2.0**-inputs:.1%} for unrelated inputs and 50% for parallel ones, where preactivations have mean "
        "zero.",
        remedy="make the biases less negative (zero), or give negative inputs a slope (LeakyReLU); with few inputs, "
        "give more before trusting this.",
        where=seen.recorded_layers[worst],
        numbers=finite(share=found.value, share_low=found.low, share_high=found.high),
    )


def _interval(share: Interval) -> str:
    return "" if share.certain else f" (95%: {share.low:.0%} to {share.high:.0%})"


def _bypassed(seen: Evidence) -> np.ndarray:
    """Which layers are zero in every initialization though the inputs arrive at the end, apart: by another way.

    Residual branches and readouts that begin at zero are no dead units, and no fault.
    """
    zero = np.isneginf(seen.recorded.log_norm).all(axis=(0, 2))
    return np.asarray(zero & _arriving(seen).all())
