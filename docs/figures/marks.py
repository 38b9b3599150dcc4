"""Marks that the figures share, and how their scripts run: python docs/figures/NAME.py [--quick] [--output FOLDER].

Bands and points are exact networks, lines are limits. --quick draws few networks, to see that a script runs.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np

from deeplim import limits
from deeplim.drawing import EXACT, LIMIT, Chart, finished, plus_minus, save
from deeplim.inputs import Inputs
from deeplim.limits.unsampled import Observed

HERE = Path(__file__).parent
BLUE, ORANGE, GREEN, PURPLE = EXACT, LIMIT, "#2f9e6e", "#8a4fbf"
LEVELS = {"low": 0.05, "lower": 0.25, "middle": 0.5, "upper": 0.75, "high": 0.95}


@dataclass(frozen=True)
class Axis:
    """What an axis shows, with its unit, and from where to where."""

    title: str
    low: float
    high: float
    log: bool = False
    ticks: tuple[float, ...] = ()

    @property
    def marks(self) -> alt.Axis:
        """Where the ticks are: at those given, or at about six round numbers."""
        if self.ticks:
            return alt.Axis(values=list(self.ticks), format="~g")
        return alt.Axis(tickCount=6, labelOverlap=True)

    @property
    def scale(self) -> alt.Scale:
        """The scale, which ends where the axis does."""
        return alt.Scale(type="log" if self.log else "linear", domain=[self.low, self.high], nice=False)


@dataclass(frozen=True, eq=False)
class Band:
    """The 5-95% and 25-75% bands and the median of values (sample, place)."""

    name: str
    colour: str
    x: np.ndarray
    values: np.ndarray

    def layers(self, x: Axis, y: Axis, colour: alt.Color) -> list[Chart]:
        """Return two areas and a line."""
        found = np.nanquantile(self.values, list(LEVELS.values()), axis=0)
        columns = {"x": self.x} | dict(zip(LEVELS, found, strict=True))
        base = _base(self.name, columns, x, colour)
        ends = {name: _vertical(name, y) for name in LEVELS}
        return [
            base.mark_area(opacity=0.18, clip=True).encode(ends["low"], alt.Y2("high:Q")),
            base.mark_area(opacity=0.30, clip=True).encode(ends["lower"], alt.Y2("upper:Q")),
            base.mark_line(strokeWidth=2.2, clip=True).encode(ends["middle"]),
        ]


@dataclass(frozen=True, eq=False)
class Curve:
    """A line through (x, y)."""

    name: str
    colour: str
    x: np.ndarray
    y: np.ndarray
    dashed: bool = False

    def layers(self, x: Axis, y: Axis, colour: alt.Color) -> list[Chart]:
        """Return one line."""
        dash = [5, 4] if self.dashed else [1, 0]
        base = _base(self.name, {"x": self.x, "y": self.y}, x, colour)
        return [base.mark_line(strokeWidth=2, strokeDash=dash, clip=True).encode(_vertical("y", y))]


@dataclass(frozen=True, eq=False)
class Points:
    """Points (x, y) with bars of two standard errors either way."""

    name: str
    colour: str
    x: np.ndarray
    y: np.ndarray
    error: np.ndarray

    def layers(self, x: Axis, y: Axis, colour: alt.Color) -> list[Chart]:
        """Return bars and points."""
        columns = {"x": self.x, "y": self.y, "low": self.y - 2 * self.error, "high": self.y + 2 * self.error}
        base = _base(self.name, columns, x, colour)
        bars = base.mark_rule(strokeWidth=1.5, clip=True).encode(_vertical("low", y), alt.Y2("high:Q"))
        dots = base.mark_point(filled=True, size=34, opacity=1, clip=True).encode(_vertical("y", y))
        return [bars, dots]


@dataclass(frozen=True, eq=False)
class Columns:
    """The histogram of values as a density, with whiskers of one standard error."""

    name: str
    colour: str
    values: np.ndarray
    edges: np.ndarray

    def layers(self, x: Axis, y: Axis, colour: alt.Color) -> list[Chart]:
        """Return columns and whiskers."""
        counts = np.histogram(self.values, self.edges)[0]
        scale = 1 / (len(self.values) * np.diff(self.edges))
        error = np.sqrt(counts * (1 - counts / len(self.values)))
        columns = {
            "x": self.edges[:-1],
            "right": self.edges[1:],
            "middle": (self.edges[:-1] + self.edges[1:]) / 2,
            "zero": 0 * counts,
            "y": counts * scale,
            "low": np.maximum(counts - error, 0) * scale,
            "high": (counts + error) * scale,
        }
        base = _base(self.name, columns, x, colour)
        bars = base.mark_rect(opacity=0.35, clip=True).encode(alt.X2("right:Q"), _vertical("y", y), alt.Y2("zero:Q"))
        whiskers = base.mark_rule(strokeWidth=1, clip=True).encode(
            alt.X("middle:Q", title=x.title, scale=x.scale, axis=x.marks), _vertical("low", y), alt.Y2("high:Q")
        )
        return [bars, whiskers]


Mark = Band | Curve | Points | Columns


def drawn(marks: Sequence[Mark], x: Axis, y: Axis, title: str, subtitle: Sequence[str]) -> Chart:
    """Return the marks in one plot, in the library's style; marks of one name are one entry of the legend."""
    colours = {mark.name: mark.colour for mark in marks}
    # A symbol is filled where some mark is; of lines alone nothing is, and it is a stroke.
    lines = all(isinstance(mark, Curve) for mark in marks)
    shape, stroke = ("stroke", 3) if lines else ("square", 0)
    legend = alt.Legend(
        title=None, orient="bottom", direction="vertical", symbolType=shape, symbolOpacity=1, symbolStrokeWidth=stroke
    )
    scale = alt.Scale(domain=list(colours), range=list(colours.values()))
    colour = alt.Color("name:N", scale=scale, legend=legend)
    return finished(alt.layer(*(layer for mark in marks for layer in mark.layers(x, y, colour))), title, subtitle)


def _base(name: str, columns: dict[str, np.ndarray], x: Axis, colour: alt.Color) -> Any:
    places = range(len(columns["x"]))
    # Where nothing is finite there is nothing to draw: a gap in the line.
    rows = [{"name": name} | {key: float(values[i]) for key, values in columns.items()} for i in places]
    sound = [row for row in rows if all(value == value for value in row.values())]
    return alt.Chart(alt.Data(values=sound)).encode(alt.X("x:Q", title=x.title, scale=x.scale, axis=x.marks), colour)


def _vertical(field: str, y: Axis) -> alt.Y:
    return alt.Y(f"{field}:Q", title=y.title, scale=y.scale, axis=y.marks)


def mean_points(name: str, colour: str, x: np.ndarray, values: np.ndarray) -> Points:
    """Return the means of values (sample, place), lost samples left out, with their standard errors."""
    count = np.isfinite(values).sum(axis=0)
    return Points(name, colour, x, np.nanmean(values, axis=0), np.nanstd(values, axis=0, ddof=1) / np.sqrt(count))


def quantile_curves(
    limit: limits.AbstractLimit,
    inputs: Inputs,
    layers: Sequence[int],
    name: str,
    *,
    observable: Observed = "correlation",
) -> list[Curve]:
    """Return the 5%, 50% and 95% quantiles of a limit's law on its own clock, without sampling; layer 0 has none."""
    later = [layer for layer in layers if layer > 0]
    laws = [limits.law(limit, inputs, layer=layer, observable=observable) for layer in later]
    time = np.array(later) / limit.layers_per_unit
    return [Curve(name, ORANGE, time, np.array([law.quantile(q) for law in laws]), q != 0.5) for q in (0.05, 0.5, 0.95)]


def moments_told(values: np.ndarray) -> str:
    """Return the mean and the standard deviation of a sample, both with their standard errors, in words."""
    values = values[np.isfinite(values)]
    count, std = len(values), values.std(ddof=1)
    # Var s^2 = (m4 - s^4) / n, and the error of s is that of s^2 over 2 s.
    error = np.sqrt(max(np.mean((values - values.mean()) ** 4) - std**4, 0.0) / count) / (2 * std)
    return f"mean {plus_minus(values.mean(), std / count**0.5)}, standard deviation {plus_minus(std, error)}"


def written(page: Path, word: str, table: str) -> None:
    """Put a Markdown table into a page, between its markers of that word."""
    begin, end = f"<!-- {word}: written by a script -->", f"<!-- end of {word} -->"
    text = page.read_text()
    before, after = text.index(begin), text.index(end)
    page.write_text(f"{text[:before]}{begin}\n\n{table}\n\n{text[after:]}")


def main(figures: Callable[[bool], dict[str, Chart]]) -> None:
    """Draw the figures of a script, named by their files, and write them as SVG; beside the script by default."""
    given = arguments()
    for name, chart in figures(given.quick).items():
        save(chart, given.output / f"{name}.svg")


def arguments() -> argparse.Namespace:
    """Return what a script was called with: quick and output."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="few networks, to see that the script runs")
    parser.add_argument("--output", type=Path, default=HERE, metavar="FOLDER")
    return parser.parse_args()
