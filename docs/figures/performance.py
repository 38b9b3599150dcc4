"""Cost against size on logarithmic axes: every figure that a result in benchmarks/results describes."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
from marks import BLUE, GREEN, HERE, ORANGE, PURPLE, Axis, arguments, drawn

from deeplim.drawing import Chart, save

RESULTS = HERE.parent.parent / "benchmarks" / "results"
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, "#7a7f87", "#b3364b")


@dataclass(frozen=True, eq=False)
class Measured:
    """A line through medians, with bars over the range of the repeats."""

    name: str
    colour: str
    points: list[dict[str, float]]

    def layers(self, x: Axis, y: Axis, colour: alt.Color) -> list[Chart]:
        """Return a line, bars and points."""
        rows = alt.Data(values=[{"name": self.name, **point} for point in self.points])
        base = alt.Chart(rows).encode(alt.X("x:Q", title=x.title, scale=x.scale, axis=x.marks), colour)
        middle = alt.Y("median:Q", title=y.title, scale=y.scale, axis=y.marks)
        ends = alt.Y("low:Q", title=y.title, scale=y.scale, axis=y.marks)
        return [
            base.mark_line(strokeWidth=1.6, opacity=0.6).encode(middle),
            base.mark_rule(strokeWidth=3, opacity=0.7).encode(ends, alt.Y2("high:Q")),
            base.mark_point(filled=True, size=34, opacity=1).encode(middle),
        ]


def figure(described: dict[str, Any]) -> Chart:
    """Return the figure that ``curves`` of benchmarks/measure.py describes."""
    series = described["series"]
    sizes = sorted({point["x"] for line in series for point in line["points"]})
    costs = [point[end] for line in series for point in line["points"] for end in ("low", "high")]
    low, high = np.floor(np.log10(min(costs))), np.ceil(np.log10(max(costs)))
    decades = tuple(float(10**power) for power in np.arange(low, high + 1))
    marks = [
        Measured(line["name"], COLOURS[at % len(COLOURS)], line["points"])
        for at, line in enumerate(series)
        if line["points"]
    ]
    across = Axis(described["x"], sizes[0] / 1.1, sizes[-1] * 1.1, log=True, ticks=_apart(sizes))
    up = Axis(described["y"], decades[0], decades[-1], log=True, ticks=decades)
    return drawn(marks, across, up, described["title"], [described["note"]])


def _apart(sizes: list[float]) -> tuple[float, ...]:
    """The sizes that can be written beside each other: at least 8% of the axis apart."""
    kept = [sizes[0]]
    for size in sizes[1:]:
        if np.log(size / kept[-1]) >= 0.08 * np.log(sizes[-1] / sizes[0]):
            kept.append(size)
    return tuple(kept)


def figures(documents: list[dict[str, Any]]) -> dict[str, Chart]:
    """Return the figures of some results, by the names of their files."""
    described = [one for document in documents for one in document["figures"]]
    return {f"performance_{one['name']}": figure(one) for one in described}


def read(folder: Path = RESULTS) -> list[dict[str, Any]]:
    """Return the results in a folder, in the order of their names."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]


if __name__ == "__main__":
    output = arguments().output
    for name, chart in figures(read()).items():
        save(chart, output / f"{name}.svg")
