"""What the runs of training.py say: means with intervals over seeds, rank correlations with health, paired differences.

Every interval is at 95%. Accuracies are in percent. A diverged run counts with the accuracy it has, and with the
training loss STRAY.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from scipy.stats import rankdata, t

Cell = dict[str, Any]
Interval = dict[str, float]
CLASSES = 10
STRAY = 2 * math.log(CLASSES)
"""A run has diverged when its training loss is not finite at the end, or above twice that of guessing."""
RESAMPLES = 4000
HEALTH = {"gap": 1, "norm_deviation": -1, "gradient_drift": -1}
"""What is predicted of a cell, and 1 where more is healthier, else -1."""
WEAKEST = "weakest"
"""The fourth health: the worst of a cell's ranks in the three."""


def mean_interval(values: Sequence[float]) -> Interval:
    """Return the mean with its interval by Student's t; ValueError for fewer than two values."""
    if len(values) < 2:
        raise ValueError(f"{len(values)} value was given; an interval needs two or more.")
    mean = float(np.mean(values))
    half = float(t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values)))
    return {"mean": mean, "low": mean - half, "high": mean + half}


def accuracies(cell: Cell) -> list[float]:
    """Return the test accuracy of each final run, in percent, in the order of the seeds."""
    return [100 * run["accuracy"] for run in cell["runs"]]


def training_losses(cell: Cell) -> list[float]:
    """Return the training loss of each final run, that of a diverged one STRAY."""
    return [STRAY if run["diverged"] else run["training_loss"] for run in cell["runs"]]


def diverged(cell: Cell) -> float:
    """Return the fraction of the final runs that diverged."""
    return float(np.mean([run["diverged"] for run in cell["runs"]]))


RESULTS: dict[str, Callable[[Cell], float]] = {
    "test accuracy": lambda cell: float(np.mean(accuracies(cell))),
    "training loss": lambda cell: -float(np.mean(training_losses(cell))),
}
"""What health is held against, more being better: the mean accuracy, and minus the mean training loss."""


def healths(cells: Sequence[Cell], name: str) -> np.ndarray:
    """Return the health of some cells, more being healthier."""
    if name == WEAKEST:
        return np.min([rankdata(healths(cells, one)) for one in HEALTH], axis=0)
    return HEALTH[name] * np.array([cell["health"][name] for cell in cells])


def rank_correlations(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return Spearman's rank correlation along the last axis; 0 where all of one are equal."""
    return np.sum(_scaled(x) * _scaled(y), axis=-1)


def _scaled(values: np.ndarray) -> np.ndarray:
    """Ranks with mean 0 and length 1, so that a product is their correlation; 0 when all are equal."""
    away = rankdata(values, axis=-1) - (values.shape[-1] + 1) / 2
    length = np.sqrt(np.sum(away**2, axis=-1, keepdims=True))
    return np.divide(away, length, out=np.zeros_like(away), where=length > 0)


def overall(cells: Sequence[Cell], name: str, result: str, seed: int = 0) -> Interval:
    """Return the rank correlation of health and result over all cells, with its bootstrap interval over arms.

    Cells of one arm are alike, so arms are drawn whole, all sizes of each. ValueError unless they are equally many.
    """
    x, y = healths(cells, name), np.array([RESULTS[result](cell) for cell in cells])
    arms = sorted({cell["arm"] for cell in cells})
    places = np.array([[at for at, cell in enumerate(cells) if cell["arm"] == arm] for arm in arms])
    drawn = places[np.random.default_rng(seed).integers(len(arms), size=(RESAMPLES, len(arms)))].reshape(RESAMPLES, -1)
    low, high = np.quantile(rank_correlations(x[drawn], y[drawn]), [0.025, 0.975])
    return {"mean": float(rank_correlations(x, y)), "low": float(low), "high": float(high)}


def by_size(cells: Sequence[Cell]) -> dict[tuple[int, int], list[Cell]]:
    """Return the cells by (width, depth), the arms of each in one order."""
    sizes = sorted({(cell["width"], cell["depth"]) for cell in cells})
    return {
        size: sorted((one for one in cells if (one["width"], one["depth"]) == size), key=lambda one: one["arm"])
        for size in sizes
    }


def within_sizes(cells: Sequence[Cell], name: str, result: str) -> dict[str, Any]:
    """Return the rank correlation over the arms of each size, their mean, and its permutation p-value.

    Cells of one arm are not independent, so the arms' health is exchanged in all sizes alike, in every order there is:
    p is the share of orders whose mean is at least as far from 0, at least 1/k! with k arms. ValueError unless every
    size has the same arms.
    """
    sizes = by_size(cells)
    if len({tuple(one["arm"] for one in many) for many in sizes.values()}) != 1:
        raise ValueError("the sizes have different arms; measure every arm at every size.")
    scaled = [
        (_scaled(healths(many, name)), _scaled(np.array([RESULTS[result](one) for one in many])))
        for many in sizes.values()
    ]
    each = [float(x @ y) for x, y in scaled]
    orders = itertools.permutations(range(len(scaled[0][0])))
    means = np.array([np.mean([x[list(order)] @ y for x, y in scaled]) for order in orders])
    mean = float(np.mean(each))
    p = float(np.mean(np.abs(means) >= abs(mean) - 1e-12))
    return {"sizes": [[*size, rho] for size, rho in zip(sizes, each, strict=True)], "mean": mean, "p": p}


def paired(cells: Sequence[Cell], one: str, other: str) -> list[dict[str, Any]]:
    """Return the accuracy of one arm less that of another at each size, seed by seed, and last over all sizes.

    A seed gives both the same normals and the same order of images. Over all sizes, a seed's mean is one value.
    """
    found, every = [], []
    for (width, depth), many in by_size(cells).items():
        named = {cell["arm"]: np.array(accuracies(cell)) for cell in many}
        every.append(named[one] - named[other])
        found.append({"width": width, "depth": depth} | mean_interval(list(every[-1])))
    return [*found, {"width": None, "depth": None} | mean_interval(list(np.mean(every, axis=0)))]


def pairs_in_order(cells: Sequence[Cell], name: str) -> Iterator[dict[str, Any]]:
    """Yield, for every two arms of a size, whether the one predicted healthier had the better mean accuracy.

    ``sure`` says whether the interval of the paired difference leaves out 0.
    """
    for many in by_size(cells).values():
        health = healths(many, name)
        for a, b in itertools.combinations(range(len(many)), 2):
            if health[a] == health[b]:
                continue
            better, worse = (a, b) if health[a] > health[b] else (b, a)
            difference = np.array(accuracies(many[better])) - np.array(accuracies(many[worse]))
            interval = mean_interval(list(difference))
            yield {
                "healthier": many[better]["arm"],
                "other": many[worse]["arm"],
                "width": many[a]["width"],
                "depth": many[a]["depth"],
                "right": interval["mean"] > 0,
                "sure": interval["low"] > 0 or interval["high"] < 0,
            } | interval


def evidence(cells: Sequence[Cell], pair: tuple[str, str]) -> dict[str, Any]:
    """Return all of it, for JSON: rank correlations, pairs of arms in order or not, and one pair of arms by size."""
    ranks = [
        {
            "health": name,
            "result": result,
            "overall": overall(cells, name, result),
            "within": within_sizes(cells, name, result),
        }
        for name in (*HEALTH, WEAKEST)
        for result in RESULTS
    ]
    ordered = {}
    for name in (*HEALTH, WEAKEST):
        found = list(pairs_in_order(cells, name))
        sure = [one for one in found if one["sure"]]
        ordered[name] = {
            "pairs": len(found),
            "right": sum(one["right"] for one in found),
            "sure": len(sure),
            "sure_and_right": sum(one["right"] for one in sure),
            "sure_and_wrong": [one for one in sure if not one["right"]],
        }
    return {"ranks": ranks, "ordered": ordered, "paired": paired(cells, *pair)}
