"""Does a model have the law of the architecture that it seems to have? Moments of few initializations, held to a rate.

Tested are the mean and the variance, over initializations, of log V (averaged over inputs) and of log(1 - rho)
(averaged over pairs), at up to eight layers, against the exact chain. With N initializations and M exact networks:

Each network's number becomes a normal score, z = Phi^-1(rank among the chain's / (M + 1)), so that whatever the law of
the chain, narrow and skewed as it may be, z is standard normal for a model that has it:

- the mean of z by z / sqrt(1/N + 1/M), what is not known of the weights' variance added to its error;
- the variance of z as F with N - 1 and M - 1 degrees of freedom, which is chi-square's for M large.

Weights and biases that are not Gaussian move the law of a layer by a relative order of 1/fan_in, and spreads by more.
Where there are any, spreads are not tested, and a mean must be farther away than 1/fan_in summed over such layers; but
for log V of two slopes, for which the mean square of a layer depends on its weights' variance alone.

Copies of one model, drawn again from its own entries, share its variances and are not tested.

The smallest p-value is held against the false-alarm rate over the number of tests.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import fdtr, fdtrc, ndtr, ndtri

from deeplim.diagnosis.evidence import Evidence
from deeplim.diagnosis.finding import Finding
from deeplim.diagnosis.words import finite, spoken
from deeplim.resolution import NEAR_FLOOR

MOST_LAYERS = 8


@dataclass(frozen=True)
class Deviation:
    """One moment of one observable at one layer: measured, predicted, and the chance of a larger difference."""

    observable: str
    moment: str
    layer: int
    measured: float
    predicted: float
    p_value: float


def deviations(seen: Evidence) -> list[Deviation]:
    """Return every moment that was tested, or nothing when there are too few initializations or no chain."""
    if seen.predicted is None or not seen.independent or not seen.random:
        return []
    found: list[Deviation] = []
    last = len(seen.layers) - 1
    for layer in sorted({round(at) for at in np.linspace(1, last, min(last, MOST_LAYERS))}):
        if not (seen.measured.alive[:, layer].all() and seen.predicted.alive[:, layer].all()):
            continue  # a lost network has no logarithm: lost-networks speaks of it
        for name, unknown in (("log_norm", _unknown(seen, layer)), ("log_gap", 0.0)):
            if name == "log_gap" and (seen.measured.inputs == 1 or _rounded(seen, layer)):
                continue
            ours, chain = (np.mean(getattr(paths, name)[:, layer], axis=1) for paths in (seen.measured, seen.predicted))
            if ours.size and np.isfinite(ours).all() and np.isfinite(chain).all() and chain.std() > 1e-9:
                tested = _tested(name, layer, ours, chain, (unknown, _moved(seen, name, layer)))
                found += [one for one in tested if one.moment == "mean" or not any(seen.non_gaussian)]
    return found


def _rounded(seen: Evidence, layer: int) -> bool:
    """Whether rounding is a part of some gaps there, the model's own: it has a law of its own, told by ``rounding``."""
    floor, name = seen.recorded.log_gap_floor, seen.layers[layer]
    if floor is None or name not in seen.recorded_layers:
        return False
    return bool((seen.measured.log_gap[:, layer] < floor[seen.recorded_layers.index(name)] + NEAR_FLOOR).any())


def _moved(seen: Evidence, name: str, layer: int) -> float:
    """How far weights and biases that are not Gaussian may have moved the mean."""
    network = seen.network
    if name == "log_norm" and network is not None and network.homogeneous and network.normalization == "none":
        return 0.0
    return float(sum(seen.non_gaussian[: layer + 1]))


def _unknown(seen: Evidence, layer: int) -> float:
    """The variance of log V that is left because the weights' variance was read off finitely many of them."""
    return float(sum((one.standard_error / one.variance) ** 2 for one in seen.weights[: layer + 1] if one.variance > 0))


def _tested(
    name: str,
    layer: int,
    ours: Float[np.ndarray, " sample"],
    chain: Float[np.ndarray, " sample"],
    doubt: tuple[float, float],
) -> Iterator[Deviation]:
    """Doubt: the variance of the mean that is not known, and how far it may be moved."""
    few, many = len(ours), len(chain)
    unknown, moved = doubt
    deviation = chain.std(ddof=1)
    scores = normal_scores(ours, chain)
    error = np.sqrt(1 / few + 1 / many + unknown / deviation**2)
    p_mean = 2 * ndtr(-max(abs(scores.mean()) - moved / deviation, 0.0) / error)
    yield Deviation(name, "mean", layer, float(ours.mean()), float(chain.mean()), float(p_mean))
    ratio = few - 1, many - 1, scores.var(ddof=1)
    p_spread = min(2 * min(fdtr(*ratio), fdtrc(*ratio)), 1.0)
    yield Deviation(name, "standard deviation", layer, float(ours.std(ddof=1)), float(deviation), float(p_spread))


def normal_scores(
    ours: Float[np.ndarray, " sample"], chain: Float[np.ndarray, " sample"]
) -> Float[np.ndarray, " sample"]:
    """Return Phi^-1((r + 1/2) / (M + 1)) of each of ours, r how many of the chain's M are below it, ties halved."""
    ordered = np.sort(chain)
    below = (np.searchsorted(ordered, ours, "left") + np.searchsorted(ordered, ours, "right")) / 2
    return np.asarray(ndtri((below + 0.5) / (len(chain) + 1)))


_WORDS = {"log_norm": "log mean square", "log_gap": "log(1 - rho)"}


def law_mismatch(seen: Evidence) -> Iterator[Finding]:
    """A model whose signals are not those of the architecture read off it: its forward does what it does not show."""
    tested = deviations(seen)
    if not tested:
        return
    worst = min(tested, key=lambda one: one.p_value)
    rate = seen.thresholds.false_alarm
    if worst.p_value >= rate / len(tested):
        return
    earliest = min((one for one in tested if one.p_value < rate / len(tested)), key=lambda one: one.layer)
    first = spoken(seen.layers[earliest.layer])
    yield Finding(
        name="law-mismatch",
        severity="warning",
        measured=f"the {worst.moment} of the {_WORDS[worst.observable]} over {seen.initializations} initializations is "
        f"{worst.measured:.4g} at {spoken(seen.layers[worst.layer])}; it differs from {first} on.",
        predicted=f"{worst.predicted:.4g} for {seen.network}: a chance of {worst.p_value:.1g}, and the smallest of "
        f"{len(tested)} would be below {rate / len(tested):.1g} in one healthy model in {1 / rate:,.0f}.",
        remedy="look at what the forward pass does besides its modules (a scale, a "
        "reshape, weights that are shared or not independent), and at the layers' initialization one by one.",
        where=seen.layers[earliest.layer],
        numbers=finite(
            measured=worst.measured,
            predicted=worst.predicted,
            p_value=worst.p_value,
            tests=len(tested),
            false_alarm=rate,
        ),
    )
