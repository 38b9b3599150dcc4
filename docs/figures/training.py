"""Networks trained on digits, from benchmarks/results/training.json: accuracy against depth and predicted health."""

import json
import math
import sys
from typing import Any

import numpy as np
from marks import BLUE, GREEN, HERE, ORANGE, PURPLE, Axis, Curve, Points, drawn, main

from deeplim.drawing import Chart

BENCHMARKS = HERE.parent.parent / "benchmarks"
RESULTS = BENCHMARKS / "results" / "training.json"
COLOURS = {
    "ReLU": "#7a7f87",
    "TAT": ORANGE,
    "finite width": BLUE,
    "residual": GREEN,
    "LayerNorm": PURPLE,
    "BatchNorm": "#b3364b",
}
ACCURACY = Axis("test accuracy (%)", 0, 100)
APART = 1.025
"""Arms at one depth are drawn beside each other, each by this factor further right."""

sys.path.append(str(BENCHMARKS))
from training_evidence import accuracies, mean_interval  # noqa: E402

Cell = dict[str, Any]


def against_depth(document: dict[str, Any], width: int) -> Chart:
    """Return the accuracy of each arm against the depth, at one width."""
    marks: list[Curve | Points] = []
    for place, (arm, colour) in enumerate(COLOURS.items()):
        cells = sorted((one for one in _cells(document, arm) if one["width"] == width), key=lambda one: one["depth"])
        depth = np.array([cell["depth"] * APART ** (place - 2.5) for cell in cells])
        middle, error = _points(cells)
        marks += [Curve(arm, colour, depth, middle), Points(arm, colour, depth, middle, error)]
    seeds = len(document["results"]["settings"]["seeds"])
    return drawn(
        marks,
        Axis("depth (layers)", 17, 240, log=True, ticks=(20, 50, 100, 200)),
        ACCURACY,
        f"Trained on digits, width {width}",
        [f"Mean of {seeds} seeds with its 95% interval; every arm and depth at its own tuned rate."],
    )


def against_health(document: dict[str, Any], name: str, x: Axis, title: str) -> Chart:
    """Return the accuracy of every arm and size against one predicted health."""
    marks = []
    for arm, colour in COLOURS.items():
        cells = _cells(document, arm)
        health = np.array([cell["health"][name] for cell in cells])
        marks.append(Points(arm, colour, health, *_points(cells)))
    [overall] = [
        one["overall"]
        for one in document["results"]["evidence"]["ranks"]
        if (one["health"], one["result"]) == (name, "test accuracy")
    ]
    found, low, high = (round(overall[end], 2) + 0.0 for end in ("mean", "low", "high"))
    told = f"Rank correlation of health and accuracy: {found:.2f}, 95% interval {low:.2f} to {high:.2f}."
    return drawn(marks, x, ACCURACY, title, [told])


def _cells(document: dict[str, Any], arm: str) -> list[Cell]:
    return [cell for cell in document["results"]["cells"] if cell["arm"] == arm]


def _points(cells: list[Cell]) -> tuple[np.ndarray, np.ndarray]:
    """The means, and half the intervals' halves: ``Points`` draws two of them either way."""
    found = [mean_interval(accuracies(cell)) for cell in cells]
    return np.array([one["mean"] for one in found]), np.array([(one["high"] - one["mean"]) / 2 for one in found])


def _across(document: dict[str, Any], name: str, title: str) -> Axis:
    values = [math.log10(cell["health"][name]) for cell in document["results"]["cells"]]
    low, high = min(values) - 0.15, max(values) + 0.15
    decades = tuple(10.0**power for power in range(math.ceil(low), math.floor(high) + 1))
    return Axis(title, 10**low, 10**high, log=True, ticks=decades)


def figures(quick: bool) -> dict[str, Chart]:
    """Return accuracy against depth at both widths, against the predicted gap and against the drift of gradients."""
    document = json.loads(RESULTS.read_text())
    gap = _across(document, "gap", "predicted median gap 1 − ρ at the last layer")
    drift = _across(document, "gradient_drift", "predicted change of the gradient, |log10| of first over last layer")
    return {
        "training_64": against_depth(document, 64),
        "training_128": against_depth(document, 128),
        "training_gap": against_health(document, "gap", gap, "Inputs kept apart at the start, and accuracy"),
        "training_drift": against_health(document, "gradient_drift", drift, "Gradients kept in size, and accuracy"),
    }


if __name__ == "__main__":
    main(figures)
