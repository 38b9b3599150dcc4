"""Observables: named numbers read off paths, one for each sample and recorded layer.

A dead sample has no correlation and no norm: it is NaN in every observable, and all that comes after drops it
and counts it. A pair that became exactly parallel has correlation 1, gap 0, angle 0 and log gap minus
infinity.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from deeplim.inputs import check_first, check_pair
from deeplim.paths import Paths, check_paths

Pair = tuple[int, int]
Values = Float[np.ndarray, "sample layer"]


@dataclass(frozen=True)
class Observable:
    """A named number of each sample at each layer.

    name: its word in JSON and on the command line. symbol: short, in plain Unicode. label: what stands on an
    axis, with units. per: whether it belongs to a pair of inputs or to one input (the first of the pair).
    values: the function (paths, pair) -> array (sample, layer), NaN where the sample is dead.
    """

    name: str
    symbol: str
    label: str
    per: Literal["pair", "input"]
    values: Callable[[Paths, Pair], Values]


def correlation(paths: Paths, pair: Pair = (0, 1)) -> Values:
    """Return rho = V^{ab} / sqrt(V^{aa} V^{bb}), in [-1, 1]; NaN where dead; InputError for no such pair."""
    return 1.0 - np.exp(log_correlation_gap(paths, pair))


def correlation_gap(paths: Paths, pair: Pair = (0, 1)) -> Values:
    """Return 1 - rho, in [0, 2], 0 if exactly parallel; NaN where dead; InputError for no such pair."""
    check_paths(paths)
    alone = paths.pair(*check_pair(pair, paths.inputs))
    return np.where(paths.alive, alone.correlation_gap[..., 0], np.nan)


def log_correlation_gap(paths: Paths, pair: Pair = (0, 1)) -> Values:
    """Return log(1 - rho), -infinity if exactly parallel; NaN where dead; InputError for no such pair."""
    index = check_paths(paths).pair_index(pair)
    return np.where(paths.alive, paths.log_gap[..., index], np.nan)


def angle(paths: Paths, pair: Pair = (0, 1)) -> Values:
    """Return arccos(rho) in radians, in [0, pi]; NaN where dead; InputError if there is no such pair.

    Computed as 2 arcsin(sqrt((1 - rho) / 2)) with the square root taken of the log gap, so that it keeps its
    digits down to angles of 1e-308 (the gap itself would underflow at angles of 1e-162).
    """
    half_sine = np.exp((log_correlation_gap(paths, pair) - np.log(2.0)) / 2)
    return 2.0 * np.arcsin(np.minimum(half_sine, 1.0))


def log_norm(paths: Paths, pair: Pair = (0, 1)) -> Values:
    """Return log V^{aa}, the natural log of the mean square, of the pair's first input; NaN where dead.

    InputError when there is no such input. The pair's second input plays no part and need not exist.
    """
    chosen = check_first(pair, check_paths(paths).inputs)
    return np.where(paths.alive, paths.log_norm[..., chosen], np.nan)


OBSERVABLES: dict[str, Observable] = {
    observable.name: observable
    for observable in (
        Observable("correlation", "ρ", "correlation ρ", "pair", correlation),
        Observable("correlation_gap", "1 − ρ", "correlation gap 1 − ρ", "pair", correlation_gap),
        Observable("log_correlation_gap", "log(1 − ρ)", "natural log of the gap 1 − ρ", "pair", log_correlation_gap),
        Observable("log_norm", "log V", "natural log of the mean square V", "input", log_norm),
        Observable("angle", "θ", "angle between the inputs (radians)", "pair", angle),
    )
}


def available(paths: Paths) -> list[Observable]:
    """Return the observables these paths have: all, or only those of one input when there is only one."""
    several = check_paths(paths).inputs > 1
    return [o for o in OBSERVABLES.values() if several or o.per == "input"]
