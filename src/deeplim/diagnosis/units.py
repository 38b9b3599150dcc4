"""Rules about units: those that are zero whatever the input, and networks that are lost altogether."""

from collections.abc import Iterator

import numpy as np

from deeplim.diagnosis.estimates import Interval, median
from deeplim.diagnosis.evidence import Evidence
from deeplim.diagnosis.finding import Finding
from deeplim.diagnosis.words import finite
from deeplim.specs import counted
from deeplim.statistics import fraction

_NAMES = {"dead": "dead-networks", "exploded": "exploded-networks", "parallel": "parallel-inputs"}


def lost_networks(seen: Evidence) -> Iterator[Finding]:
    """Initializations in which an input's signal is zero, too large for a float, or exactly parallel to another's."""
    paths, samples = seen.measured, seen.measured.samples
    counts = {"dead": paths.dead, "exploded": paths.exploded, "parallel": paths.aligned}
    told = {
        "dead": "some input's activations are all zero",
        "exploded": "some input's activations are too large for a float",
        "parallel": "two inputs are exactly parallel",
    }
    for kind, count in counts.items():
        lost = int(count[seen.end])
        share = fraction(lost, samples)
        if lost == 0 or share.value < seen.thresholds.lost_share:
            continue
        predicted = _predicted_share(seen, kind)
        yield Finding(
            name=_NAMES[kind],
            severity="unhealthy",
            measured=f"in {lost} of {_of_all(seen)} ({share.value:.0%}) {told[kind]} at the end.",
            predicted=None if predicted is None else f"{predicted:.1%} of exact networks.",
            remedy="widen the layers, or give negative inputs a slope (LeakyReLU), so that no layer is all zero."
            if kind != "exploded"
            else "shrink the weights, normalize, or scale residual branches by 1/sqrt(depth) = "
            f"{seen.depth**-0.5:.2g}.",
            where=seen.layers[seen.end],
            numbers=finite(share=share.value, share_error=share.error, count=lost, share_predicted=predicted),
        )


def _of_all(seen: Evidence) -> str:
    if seen.sequences == 1:
        return counted(seen.initializations, "initialization")
    return f"{counted(seen.measured.samples, 'sequence')} of {counted(seen.initializations, 'initialization')}"


def _predicted_share(seen: Evidence, kind: str) -> float | None:
    if seen.predicted is None:
        return None
    paths = seen.predicted
    lost = {"dead": paths.dead, "exploded": paths.exploded, "parallel": paths.aligned}[kind]
    return float(lost[seen.end] / paths.samples)


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
    paths = seen.measured
    return np.asarray(zero & (paths.dead[seen.end] == 0) & (paths.aligned[seen.end] == 0))
