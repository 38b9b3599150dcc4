"""Rules about correlations: inputs that align, neighbours that are driven apart, gaps below the rounding of floats."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool

from deeplim.diagnosis.criticality import neighbour_growth
from deeplim.diagnosis.estimates import gaps, median
from deeplim.diagnosis.evidence import Evidence
from deeplim.diagnosis.finding import Finding, Severity
from deeplim.diagnosis.remedies import for_chaos, for_collapse
from deeplim.diagnosis.words import TEN, finite, gap_text, small, spoken
from deeplim.specs import counted


def rank_collapse(seen: Evidence) -> Iterator[Finding]:
    """Inputs that were well apart and align: what follows can hardly tell them apart."""
    start, end = seen.gap_at(seen.begin), seen.gap_at(seen.end)
    if np.isnan(end.value) or not np.isfinite(start.value) or seen.end <= seen.begin:
        return
    limits = seen.thresholds
    shrunk = start.value - end.value > np.log(limits.shrunk)
    severity: Severity | None = None
    if end.value < np.log(limits.nearly_aligned_gap):
        deep = end.value < np.log(limits.aligned_gap)
        severity = ("unhealthy" if deep else "warning") if shrunk else "note"
    final = seen.log_gap[:, seen.end]
    share = float(np.mean(final[~np.isnan(final)] < np.log(limits.aligned_gap)))
    if severity is None and share >= 0.1 and shrunk_share(seen) >= 0.1:
        severity = "warning"
    if severity is None:
        return
    predicted = seen.predicted_gap(seen.end)
    told = f"the median pair's 1 - rho goes from {small(start.value)} to {gap_text(end)}"
    received = start.value < np.log(limits.nearly_aligned_gap)
    if severity == "note" and received:
        told += "; the inputs were nearly parallel from the first layer on"
    elif severity == "note":
        told += f", {np.exp(start.value - end.value):.2g} times less; a warning begins at {limits.shrunk:g} times"
    elif end.value >= np.log(limits.nearly_aligned_gap):
        told += f", and in {share:.0%} of initializations it is below {limits.aligned_gap:g}"
    given = severity == "note" and received
    remedy = "give inputs that differ more, or subtract their mean" if given else for_collapse(seen)
    yield Finding(
        name="rank-collapse",
        severity=severity,
        measured=told + ".",
        predicted=None if predicted is None else f"1 - rho = {small(predicted)} (median of exact networks).",
        remedy=remedy + ".",
        where=seen.layers[seen.end],
        numbers=finite(
            log10_gap_start=start.value / TEN,
            log10_gap=end.value / TEN,
            log10_gap_low=end.low / TEN,
            log10_gap_high=end.high / TEN,
            log10_gap_predicted=None if predicted is None else predicted / TEN,
            share_below=share,
        ),
    )


def shrunk_share(seen: Evidence) -> float:
    """Return the share of initializations that shrank their inputs' gap by more than the threshold."""
    change = seen.log_gap[:, seen.begin] - seen.log_gap[:, seen.end]
    return float(np.mean(change[~np.isnan(change)] > np.log(seen.thresholds.shrunk)))


def decorrelation(seen: Evidence) -> Iterator[Finding]:
    """Inputs near each other that are driven apart: the chaotic phase, in which neighbours are told apart too well."""
    start, end = seen.gap_at(seen.begin), seen.gap_at(seen.end)
    if np.isnan(end.value) or not np.isfinite(start.value) or seen.end <= seen.begin:
        return
    limits, growth = seen.thresholds, end.value - start.value
    forgotten = 1 - np.exp(end.value) < limits.forgotten and np.exp(end.value) - np.exp(start.value) > limits.fallen
    network = seen.network
    # of two slopes norms grow by chi_1 as distances do, and 1 - rho, their ratio, does not
    chi = None if network is None or network.homogeneous else neighbour_growth(network)
    # what inputs far apart cannot show, for they are driven no farther than to orthogonality
    hidden = 0.0 if chi is None or network is None else network.depth * float(np.log(chi))
    worst = max(growth, hidden)
    if not (forgotten or worst > np.log(limits.driven_apart)):
        return
    severity: Severity = "unhealthy" if worst > 2 * np.log(limits.driven_apart) else "warning"
    yield Finding(
        name="decorrelation",
        severity=severity,
        measured=f"the median pair's 1 - rho goes from {small(start.value)} to {gap_text(end)}, "
        f"{np.exp(min(growth, 700)):.3g} times as much.",
        predicted=_chaos(seen, chi, hidden),
        remedy=for_chaos(seen) + ".",
        where=seen.layers[seen.end],
        numbers=finite(
            log10_gap_start=start.value / TEN, log10_gap=end.value / TEN, log10_growth=growth / TEN, chi_1=chi
        ),
    )


def _chaos(seen: Evidence, chi: float | None, hidden: float) -> str | None:
    predicted = seen.predicted_gap(seen.end)
    told = [] if predicted is None else [f"1 - rho = {small(predicted)} (median of exact networks)"]
    if chi is not None:
        phase = "chaotic" if chi > 1 else "ordered"
        told.append(f"chi_1 = {chi:.4g}, {phase}: the distance of neighbours squared times {small(hidden)}")
    return "; ".join(told) + "." if told else None


def rounding(seen: Evidence) -> Iterator[Finding]:
    """Gaps as small as the rounding of the model's floats makes them: no signal is left in them."""
    floor = seen.recorded.log_gap_floor
    if floor is None or not seen.recorded.log_gap.shape[2]:
        return
    with np.errstate(invalid="ignore"):
        middle = np.array([median(column).value for column in gaps(seen.recorded, seen.sequences).T])
        below = middle < floor
    resolved = np.flatnonzero(below & np.isfinite(middle))  # inputs that one layer gives alike are no rounding
    if not len(resolved):
        return
    first = int(resolved[0])
    name, least = seen.recorded_layers[first], float(floor[first])
    yield Finding(
        name="rounding",
        severity="warning",
        measured=f"{_stretch(name, below[first:] | np.isnan(middle[first:]))} the median 1 - rho, "
        f"{small(middle[first])}, is below {small(least)}, what rounding in the model's own floats makes of it: it is "
        "no signal.",
        remedy="run the model in double precision to see how near the inputs are; as it is, it cannot tell them apart.",
        where=name,
        numbers=finite(log10_floor=least / TEN, log10_gap=middle[first] / TEN),
    )


def _stretch(name: str, below: Bool[np.ndarray, " layer"]) -> str:
    """Where gaps are below their floors: from a layer on, or there and at some of those after it."""
    if len(below) > 1 and below.all():
        return f"from {spoken(name)} on"
    more = int(below.sum()) - 1
    return f"at {spoken(name)}" + (f" and {counted(more, 'layer')} after it" if more else "")
