"""Rules about norms: forward signals and gradients that explode or die, and fluctuations between initializations."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from deeplim.architecture import MLP
from deeplim.diagnosis.criticality import gradient_decades
from deeplim.diagnosis.estimates import Interval, decades, median
from deeplim.diagnosis.evidence import Evidence, change_along, features_of, streams
from deeplim.diagnosis.finding import Finding, Severity
from deeplim.diagnosis.remedies import for_gradient, for_norm, for_spread
from deeplim.diagnosis.words import decades_text, finite, signed, spoken, spread_text


@dataclass(frozen=True)
class Change:
    """By how many decades the mean square changes along one stream of layers, from the first to the last of them."""

    decades: Interval
    first: int
    last: int
    layers: int


def largest_change(
    values: Float[np.ndarray, "sample layer"],
    names: Sequence[str],
    *,
    chain: bool,
    downward: bool = False,
    first: int = 0,
) -> Change | None:
    """Return the change of the stream that changes most, from layer ``first`` on; backwards when ``downward``."""
    found: list[Change] = []
    for whole in streams(names, one=chain):
        stream = [layer for layer in whole if layer >= first]
        if len(stream) < 2:
            continue
        change = values[:, stream[-1]] - values[:, stream[0]] if chain else change_along(values, stream)
        middle = median(-change if downward else change)
        if np.isfinite(middle.value):
            found.append(Change(middle, stream[0], stream[-1], len(stream) - 1))
    return max(found, key=lambda change: abs(change.decades.value), default=None)


def norm(seen: Evidence) -> Iterator[Finding]:
    """Norms that leave the scale of the input along depth."""
    first = _first_of_its_own(seen)
    change = largest_change(seen.log10_norm, seen.layers, chain=seen.chain, first=first)
    limits = seen.thresholds
    if change is None or (severity := _severity(change, limits.norm_warning, limits.norm_unhealthy)) is None:
        return
    predicted = _predicted_change(seen, change)
    size = change.decades.value
    if seen.normalized:
        severity = "warning"
    ends = f"from {spoken(seen.layers[change.first])} to {spoken(seen.layers[change.last])}"
    yield Finding(
        name="norm-explodes" if size > 0 else "norm-dies",
        severity=severity,
        measured=f"the median mean square changes by {decades_text(change.decades)} decades {ends}, "
        f"{signed(size / change.layers)} a layer.",
        predicted=None if predicted is None else f"{signed(predicted)} decades (median of exact networks).",
        remedy=for_norm(seen, size, change.layers) + ".",
        where=seen.layers[change.last],
        numbers=finite(
            decades=size,
            decades_low=change.decades.low,
            decades_high=change.decades.high,
            decades_a_layer=size / change.layers,
            decades_predicted=predicted,
        ),
    )


def _first_of_its_own(seen: Evidence) -> int:
    """The first layer whose norm the network made: layer 1 where layer 1 forgets the scale of what it is given."""
    network = seen.network
    forgets = isinstance(network, MLP) and (network.normalization != "none" or not network.homogeneous)
    return 1 if seen.chain and forgets else 0


def _severity(change: Change, warning: float, unhealthy: float) -> Severity | None:
    size = abs(change.decades.value)
    return "unhealthy" if size > unhealthy else "warning" if size > warning else None


def _predicted_change(seen: Evidence, change: Change) -> float | None:
    if seen.predicted is None:
        return None
    values = decades(seen.predicted)
    return median(values[:, change.last] - values[:, change.first]).value


def fluctuation(seen: Evidence) -> Iterator[Finding]:
    """Norms that differ so much between initializations that no one of them is typical: a variance of depth/width."""
    if not (seen.random and seen.wide_end):  # a readout of few features varies by itself
        return
    limits, found = seen.thresholds, seen.spread_at(seen.end)
    if not found.value > limits.spread_warning:
        return
    # Few initializations must not cry wolf: unhealthy only where the interval allows no less than a warning.
    unhealthy = found.value > limits.spread_unhealthy and found.low > limits.spread_warning
    predicted = seen.predicted_spread(seen.end)
    yield Finding(
        name="fluctuations",
        severity="unhealthy" if unhealthy else "warning",
        measured=f"over {seen.initializations} initializations log10 of an input's mean square has the standard "
        f"deviation {spread_text(found)}: one initialization is off by a factor {10 ** (found.value / 2):.2g} in size "
        "and says little of the next.",
        predicted=None if predicted is None else f"{predicted:.2f} (exact networks).",
        remedy=for_spread(seen, found.value) + ".",
        where=seen.layers[seen.end],
        numbers=finite(spread=found.value, spread_low=found.low, spread_high=found.high, spread_predicted=predicted),
    )


def gradient(seen: Evidence) -> Iterator[Finding]:
    """Backward signals that explode or die on their way from the last layer to the first."""
    if seen.backward is None:
        return
    names, limits = seen.backward_layers, seen.thresholds
    values = decades(seen.backward, seen.sequences)
    if (features := features_of(seen.backward)) is not None:
        # the square of the whole gradient, not its mean: that is what critical weights keep between layers of two sizes
        values = values + np.log10(features)
    change = largest_change(values, names, chain=seen.chain, downward=True)
    if change is None or (severity := _severity(change, limits.gradient_warning, limits.gradient_unhealthy)) is None:
        return
    size = change.decades.value
    predicted = _predicted_gradient(seen, names[change.first], names[change.last])
    grown = "grow" if size > 0 else "shrink"
    yield Finding(
        name="gradient-explodes" if size > 0 else "gradient-dies",
        severity=severity,
        measured=f"the median square of the backward signal changes by {decades_text(change.decades)} decades from "
        f"{spoken(names[change.last])} back to {spoken(names[change.first])}, {signed(size / change.layers)} a layer: "
        f"updates of the first layers {grown} by {10 ** (abs(size) / 2):.2g}.",
        predicted=None
        if predicted is None
        else f"{signed(predicted)} decades at infinite width, where each layer multiplies by "
        "sigma_w^2 E phi'(z)^2 at its own norm.",
        remedy=for_gradient(seen, size, change.layers) + ".",
        where=names[change.first],
        numbers=finite(
            decades=size,
            decades_low=change.decades.low,
            decades_high=change.decades.high,
            decades_a_layer=size / change.layers,
            decades_predicted=predicted,
        ),
    )


def _predicted_gradient(seen: Evidence, first: str, last: str) -> float | None:
    """The decades from one state of the chain back to an earlier one at infinite width; None where it is not known."""
    if seen.network is None or not {first, last} <= set(seen.layers):
        return None
    layers = (round(seen.measured.time[seen.layers.index(name)]) for name in (first, last))
    return gradient_decades(seen.network, 10 ** seen.norm_at(0).value, *layers)
