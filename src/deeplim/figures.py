"""Figures of a ladder: exact networks as bands or histograms, and over them the law its best limit predicts.

Blue is always exact networks, orange always a limit; both read on white, on black and to colour-blind eyes.
Charts hold quantiles and counts, never samples, and no number that is not finite: dead samples and exactly
parallel pairs are left out and counted in the subtitle.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from deeplim import observables
from deeplim.drawing import EXACT, LIMIT, Chart, caption, finished, plus_minus, save, shortened, svg
from deeplim.errors import InputError
from deeplim.ladder import Ladder, check_ladder
from deeplim.paths import Paths
from deeplim.statistics import Sample

__all__ = [
    "Chart",
    "caption",
    "concentrated",
    "correlation_along_depth",
    "correlation_matrix",
    "figures",
    "gap_along_depth",
    "law_at_last_layer",
    "norm_along_depth",
    "rung",
    "save",
    "svg",
]

CONCENTRATED = 0.05
"""A median gap 1 - rho below this is drawn as its logarithm: its correlation is a line at the top edge."""
LABELLED, MOST_CELLS = 12, 64
"""Up to so many inputs the correlation matrix has numbers in its cells; beyond the second it is not drawn."""
_LEVELS = {"low": 0.05, "lower": 0.25, "median": 0.5, "upper": 0.75, "high": 0.95}
_FEWEST_COLUMNS, _MOST_COLUMNS = 30, 60


@dataclass(frozen=True, eq=False)
class Quantity:
    """What an axis shows: its label, {first} and {second} being the inputs, and values (sample, layer)."""

    title: str
    label: str
    unit: str
    symbol: str
    values: Callable[[Paths], np.ndarray]


CORRELATION = Quantity("Correlation", "correlation ρ\nbetween {first} and {second}", "ρ", "ρ", observables.correlation)
LOG_GAP = Quantity(
    "Gap 1 − ρ",
    "log10 of the gap 1 − ρ\nbetween {first} and {second}",
    "decade",
    "log10(1 − ρ)",
    lambda paths: observables.log_correlation_gap(paths) / np.log(10),
)
LOG_NORM = Quantity(
    "Norm", "log V of {first}\n(natural log of the mean square)", "log V", "log V (natural)", observables.log_norm
)


@dataclass(frozen=True, eq=False)
class Side:
    """One rung of a ladder, for one quantity: values (sample, layer) and the layers they belong to."""

    name: str
    colour: str
    values: np.ndarray
    layers: np.ndarray
    deterministic: bool
    lost: dict[str, int]
    aligned: int

    @property
    def alive(self) -> int:
        """How many samples are alive at the last layer, those with an exactly parallel pair among them."""
        return len(self.values) - sum(self.lost.values())

    def column(self, layer: int) -> np.ndarray:
        """The finite values at one recorded layer."""
        column = self.values[:, layer]
        return column[np.isfinite(column)]


def rung(ladder: Ladder, name: str) -> Paths:
    """Return a rung's paths of the ladder's pair (or of its one input), with depth measured in layers."""
    return check_ladder(ladder).seen(name).on_clock("layer")


def concentrated(ladder: Ladder) -> bool:
    """Whether the pair's correlation at the last layer is so near 1 that only its log gap can be drawn."""
    if check_ladder(ladder).inputs.count < 2:
        return False
    shown = [_side(ladder, name, LOG_GAP) for name in _shown(ladder)]
    medians = [np.median(side.column(-1)) for side in shown if len(side.column(-1))]
    return bool(medians) and bool(medians[0] < np.log10(CONCENTRATED))


def figures(ladder: Ladder) -> dict[str, Chart]:
    """Return every figure that the ladder has something to show in, by its name."""
    made: dict[str, Chart] = {}
    shown = [rung(ladder, name) for name in _shown(check_ladder(ladder))]
    several = len(ladder.layers) > 1 and any(paths.alive.any() for paths in shown)
    if several and ladder.inputs.count > 1:
        made["correlation"] = correlation_along_depth(ladder)
        if concentrated(ladder):
            made["gap"] = gap_along_depth(ladder)
    if any(paths.alive[:, -1].any() for paths in shown):
        made["law"] = law_at_last_layer(ladder)
    if several:
        made["norm"] = norm_along_depth(ladder)
    if 2 < ladder.inputs.count <= MOST_CELLS and _full(ladder) is not None:
        made["matrix"] = correlation_matrix(ladder)
    return made


def correlation_along_depth(ladder: Ladder) -> Chart:
    """Return the correlation of the ladder's pair along depth; InputError for one input or no rung."""
    return _along_depth(ladder, CORRELATION)


def gap_along_depth(ladder: Ladder) -> Chart:
    """Return log10(1 - rho) of the pair along depth, for correlations that approach 1; errors as above."""
    return _along_depth(ladder, LOG_GAP)


def norm_along_depth(ladder: Ladder) -> Chart:
    """Return log V of the pair's first input along depth; InputError when the ladder has no rung."""
    return _along_depth(ladder, LOG_NORM)


def _law(ladder: Ladder) -> Quantity:
    if ladder.inputs.count < 2:
        return LOG_NORM
    return LOG_GAP if concentrated(ladder) else CORRELATION


def _shown(ladder: Ladder) -> list[str]:
    """The rungs that figures show: the exact networks and the limit that says most."""
    return [name for name in ("exact", *list(ladder.limits)[:1]) if name in ladder.rungs]


def _side(ladder: Ladder, name: str, quantity: Quantity) -> Side:
    paths = rung(ladder, name)
    exact = name == "exact"
    aligned = np.isneginf(paths.log_gap[:, -1]).sum() if paths.inputs > 1 else 0
    return Side(
        name="exact networks" if exact else f"limit: {ladder.limits[name].title}",
        colour=EXACT if exact else LIMIT,
        values=quantity.values(paths),
        layers=paths.time,
        deterministic=paths.deterministic,
        lost={"dead": int(paths.dead[-1]), "exploded": int(paths.exploded[-1])},
        aligned=int(aligned),
    )


def _sides(ladder: Ladder, quantity: Quantity) -> list[Side]:
    if quantity is not LOG_NORM and ladder.inputs.count < 2:
        raise InputError("there is one input, and a correlation needs two; draw the norm instead.")
    sides = [_side(ladder, name, quantity) for name in _shown(ladder)]
    if not any(np.isfinite(side.values).any() for side in sides):
        raise InputError("nothing can be drawn: the ladder has no rung on which a sample is alive.")
    return sides


def _along_depth(ladder: Ladder, quantity: Quantity) -> Chart:
    import altair as alt

    sides = _sides(check_ladder(ladder), quantity)
    tables = [_quantiles(side) for side in sides]
    numbers = [row[name] for rows in tables for row in rows for name in _LEVELS]
    ticks = alt.Axis(tickCount=6)
    x = alt.X("layer:Q", title="layer", axis=ticks, scale=alt.Scale(domain=[0, ladder.network.depth], nice=False))
    y = {name: alt.Y(f"{name}:Q", title=_label(ladder, quantity), scale=_scale(numbers, quantity)) for name in _LEVELS}
    layers = []
    for place, (side, rows) in enumerate(zip(sides, tables, strict=True)):
        base = alt.Chart(alt.Data(values=rows)).encode(x=x, color=_colour(sides))
        if place == 0 and not side.deterministic:
            layers.append(base.mark_area(opacity=0.18).encode(y=y["low"], y2="high:Q"))
            layers.append(base.mark_area(opacity=0.30).encode(y=y["lower"], y2="upper:Q"))
        elif not side.deterministic:
            dashed = base.mark_line(strokeDash=[5, 4], strokeWidth=1.5)
            layers += [dashed.encode(y=y["low"]), dashed.encode(y=y["high"])]
        layers.append(base.mark_line(strokeWidth=2.2, point=len(rows) == 1).encode(y=y["median"]))
    drawn = ["bands 5–95% and 25–75%, line the median", "median solid, 5% and 95% dashed"]
    told = [_told(side, quantity, how) for side, how in zip(sides, drawn, strict=False)]
    return finished(alt.layer(*layers), f"{quantity.title} along depth: {ladder.network}", told)


def law_at_last_layer(ladder: Ladder) -> Chart:
    """Return the histogram of the correlation at the last layer; a deterministic limit is a rule in it.

    Of log10(1 - rho) where the correlation is concentrated at 1, and of log V when there is one input.
    InputError when no sample is alive at the last layer.
    """
    import altair as alt

    quantity = _law(check_ladder(ladder))
    sides = _sides(ladder, quantity)
    shown = [side for side in sides if len(side.column(-1))]
    if not shown:
        raise InputError("no sample is alive at the last layer, so there is no law to draw there.")
    edges = _edges([side.column(-1) for side in shown])
    scale = alt.Scale(domain=[edges[0], edges[-1]], nice=False)
    x = alt.X("left:Q", title=_label(ladder, quantity), scale=scale)
    y = alt.Y("density:Q", title=f"density (per {quantity.unit})")
    layers: list[Chart] = []
    for side in shown:
        base = alt.Chart(alt.Data(values=_histogram(side, edges))).encode(x=x, color=_colour(sides))
        if side.deterministic:
            layers.append(base.mark_rule(strokeWidth=2.5))
        elif side is shown[0]:
            layers.append(base.mark_rect(opacity=0.35).encode(x2="right:Q", y=y, y2="zero:Q"))
            layers.append(base.mark_rule(strokeWidth=1).encode(x="middle:Q", y="below:Q", y2="above:Q"))
        else:
            layers.append(base.mark_line(interpolate="step-after", strokeWidth=2).encode(y=y))
    how = {id(side): "line" for side in sides} | {id(shown[0]): "columns, whiskers ± one standard error"}
    told = [_told(side, quantity, how[id(side)] if side in shown else "not drawn") for side in sides]
    where = f"layer {sides[0].layers[-1]:g}"
    return finished(alt.layer(*layers), f"{quantity.title} at {where}: {ladder.network}", told)


def correlation_matrix(of: Ladder | Paths) -> Chart:
    """Return the mean correlation of all pairs of inputs at the last recorded layer as a heat map.

    Of a ladder: of its exact networks, or of its best limit when none were drawn. InputError for one input,
    for more than 64, and when no sample is alive at the last layer.
    """
    import altair as alt

    paths = of if isinstance(of, Paths) else _full(check_ladder(of))
    if paths is None or not 2 <= paths.inputs <= MOST_CELLS:
        raise InputError(f"a matrix of correlations needs 2 to {MOST_CELLS} inputs, followed together on one rung.")
    rows, error = _cells(paths)
    axis = alt.Axis(grid=False, domain=False, ticks=False, labelLimit=90)
    cells = alt.Chart(alt.Data(values=rows)).encode(
        # In the order of their places: an order of names would make them part of an expression.
        x=alt.X("second:N", sort=alt.EncodingSortField("column", op="min"), title=None, axis=axis),
        y=alt.Y("first:N", sort=alt.EncodingSortField("row", op="min"), title=None, axis=axis),
    )
    colour = alt.Color(
        "rho:Q",
        title="mean ρ",
        scale=alt.Scale(domain=[-1, 0, 1], range=["#b2560d", "#f4f1ec", "#1b5c96"], interpolate="rgb"),
        legend=alt.Legend(orient="top", direction="horizontal", titleOrient="left", gradientLength=200),
    )
    layers = [cells.mark_rect().encode(color=colour)]
    if paths.inputs <= LABELLED:
        ink = alt.condition("abs(datum.rho) > 0.55", alt.value("#ffffff"), alt.value("#16191d"))
        size = 10 if paths.inputs <= 8 else 8
        layers.append(cells.mark_text(fontSize=size).encode(text="told:N", color=ink))
    told = f"{paths.source}: mean over {int(paths.alive[:, -1].sum()):,} living samples, {error}."
    return finished(alt.layer(*layers), f"Mean correlation of all pairs at {_last(paths)}", [told])


def _quantiles(side: Side) -> list[dict[str, Any]]:
    """The quantiles at each layer at which some sample has a finite value."""
    columns = ((float(layer), side.column(index)) for index, layer in enumerate(side.layers))
    return [
        {"layer": layer, "series": side.name}
        | dict(zip(_LEVELS, np.quantile(column, list(_LEVELS.values())).tolist(), strict=True))
        for layer, column in columns
        if len(column)
    ]


def _edges(columns: Sequence[np.ndarray]) -> np.ndarray:
    """Edges of 30 to 60 columns over all values, 2 IQR / N^(1/3) of the first wide (Freedman-Diaconis)."""
    low, high = min(c.min() for c in columns), max(c.max() for c in columns)
    if high - low <= 1e-9 * max(1.0, abs(low), abs(high)):
        low, high = low - 0.5, high + 0.5
    lower, upper = np.quantile(columns[0], [0.25, 0.75])
    width = 2 * (upper - lower) / len(columns[0]) ** (1 / 3)
    count = np.clip((high - low) / width, _FEWEST_COLUMNS, _MOST_COLUMNS) if width > 0 else _MOST_COLUMNS
    return np.linspace(low, high, int(count) + 1)


def _histogram(side: Side, edges: np.ndarray) -> list[dict[str, Any]]:
    """Columns of density, with standard errors sqrt(k) / (N width); of a deterministic side its one value."""
    if side.deterministic:
        return [{"series": side.name, "left": float(side.column(-1)[0])}]
    counts, width = np.histogram(side.column(-1), edges)[0], edges[1] - edges[0]
    density, error = counts / (side.alive * width), np.sqrt(counts) / (side.alive * width)
    heights = {"density": density, "below": density - error, "above": density + error}
    places = {"left": edges[:-1], "right": edges[1:], "middle": edges[:-1] + width / 2}
    columns = {name: values.tolist() for name, values in (places | heights).items()}
    rows = [
        {"series": side.name, "zero": 0.0} | dict(zip(columns, numbers, strict=True))
        for numbers in zip(*columns.values(), strict=True)
    ]
    # A last point of zero height: a step is drawn from its left edge to the next row's.
    return [*rows, rows[-1] | dict.fromkeys(("density", "below", "above"), 0.0) | {"left": float(edges[-1])}]


def _cells(paths: Paths) -> tuple[list[dict[str, Any]], str]:
    """The cells of the correlation matrix at the last layer, and their largest standard error in words."""
    rho = 1.0 - np.exp(paths.log_gap[paths.alive[:, -1], -1])
    if not len(rho):
        raise InputError("no sample is alive at the last layer, so there are no correlations to draw there.")
    mean = np.eye(paths.inputs)
    for (i, j), value in zip(paths.pairs, rho.mean(axis=0), strict=True):
        mean[i, j] = mean[j, i] = value
    places = 2 if np.abs(1 - rho.mean(axis=0)).min() >= 0.01 else 3
    names = [shortened(name) for name in paths.names]
    names = [f"{name} ({i})" if names.count(name) > 1 else name for i, name in enumerate(names)]
    rows = [
        {"first": names[i], "second": names[j], "row": i, "column": j}
        | {"rho": float(mean[i, j]), "told": f"{mean[i, j]:.{places}f}"}
        for i in range(paths.inputs)
        for j in range(paths.inputs)
    ]
    if len(rho) < 2:
        return rows, "which have no spread"
    return rows, f"standard error at most {(rho.std(axis=0, ddof=1) / np.sqrt(len(rho))).max():.1g}"


def _full(ladder: Ladder) -> Paths | None:
    """The paths of the first shown rung that holds all inputs, and some sample alive at the last layer."""
    held = (ladder.rungs[name] for name in _shown(ladder))
    return next((p for p in held if p.inputs == ladder.inputs.count and p.alive[:, -1].any()), None)


def _last(paths: Paths) -> str:
    known = paths.clock == "layer" or (paths.width is not None and paths.depth is not None)
    return f"layer {paths.on_clock('layer').time[-1]:g}" if known else f"{paths.clock} {paths.time[-1]:g}"


def _label(ladder: Ladder, quantity: Quantity) -> list[str]:
    names = [shortened(name) for name in ladder.inputs.names]
    first, second = ladder.pair if len(names) > 1 else (0, 0)
    return quantity.label.format(first=names[first], second=names[second]).split("\n")


def _colour(sides: Sequence[Side]) -> Any:
    import altair as alt

    scale = alt.Scale(domain=[side.name for side in sides], range=[side.colour for side in sides])
    legend = alt.Legend(title=None, orient="top", symbolType="square", symbolOpacity=1, symbolStrokeWidth=0)
    return alt.Color("series:N", scale=scale, legend=legend)


def _scale(numbers: Sequence[float], quantity: Quantity) -> Any:
    """The vertical scale: of a correlation from a multiple of 1/2 up to 1, so that figures compare."""
    import altair as alt

    low, high = min(numbers), max(numbers)
    if quantity is CORRELATION:
        return alt.Scale(domain=[max(np.floor(2 * low - 1e-9) / 2, -1.0), 1.0], nice=False, zero=False)
    room = 0.03 * (high - low) or 1.0
    return alt.Scale(domain=[low - room, high + room], zero=False)


def _told(side: Side, quantity: Quantity, drawn: str) -> str:
    """One sentence: what was sampled, how it is drawn, the median at the last layer, what was left out."""
    many = f"{len(side.values):,} {'exact networks' if side.colour == EXACT else 'samples'}"
    limit = side.name.replace("limit: ", "Limit: ") + (" (deterministic)" if side.deterministic else f", {many}")
    head = many if side.colour == EXACT else limit
    column = side.column(-1)
    if side.deterministic:
        text = f"{head}: one line"
        middle = f", {quantity.symbol} = {column[0]:.4g} at the last layer" if len(column) else ""
    else:
        text, median = f"{head}: {drawn}", Sample.of(column).quantile(0.5) if len(column) else None
        middle = (
            f"; median {quantity.symbol} at the last layer {plus_minus(median.value, median.error)}" if median else ""
        )
    left = [f"{count:,} {word}" for word, count in side.lost.items() if count]
    if side.aligned and quantity is LOG_GAP:
        left.append(f"{side.aligned:,} with the two exactly parallel")
    return text + middle + (f"; left out at the last layer: {', '.join(left)}." if left else ".")
