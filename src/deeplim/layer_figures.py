"""A figure of a real model's signals, layer by layer: correlation, mean square and gradients, above each other.

Blue is the model, over its initializations; orange what was predicted for it. Charts hold quantiles, never samples,
and no number that is not finite: lost samples and exactly parallel pairs are left out and counted in the subtitle.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from deeplim.checks import check_kind
from deeplim.drawing import EXACT, GRID, INK, LIMIT, Chart, literal, shortened, styled
from deeplim.errors import InputError
from deeplim.inputs import check_pair
from deeplim.paths import Paths, check_paths
from deeplim.printable import printable
from deeplim.specs import counted

__all__ = ["layer_figure"]

CONCENTRATED = 0.05
"""Where the median of 1 - rho falls below this at some layer, its logarithm is drawn as well."""
WIDTH, HEIGHT = 560, 130
"""Of each panel, in pixels."""
NAMED = 14
"""At most so many layers have their name on the axis; every one has it where a pointer rests."""
_LEVELS = {"low": 0.05, "median": 0.5, "high": 0.95}
Pair = tuple[int, int]
Values = Callable[[Paths, Pair | None], np.ndarray]


@dataclass(frozen=True, eq=False)
class Series:
    """One band or line of a panel: rows of quantiles by layer, and how it is drawn."""

    name: str
    colour: str
    rows: list[dict[str, Any]]
    dashed: bool = False

    @property
    def band(self) -> bool:
        """Whether there is a spread to draw."""
        return any(row["low"] < row["high"] for row in self.rows)


@dataclass(frozen=True, eq=False)
class Panel:
    """One of the plots above each other: the label of its vertical axis, line by line, and what is in it."""

    label: tuple[str, ...]
    series: list[Series]
    top: float | None = None


def layer_figure(
    paths: Paths,
    *,
    predicted: Paths | None = None,
    gradients: Paths | None = None,
    pair: Pair | None = None,
    title: str | None = None,
) -> Chart:
    """Return a chart of what ``probe.record`` returned: quantities against layers, 5-95% bands and medians.

    Panels: the correlation rho; log10(1 - rho), where inputs align; log10 of the mean square; and of the gradients'
    mean square, when ``gradients`` of ``probe.record_gradients`` are given. Of more than two inputs they show each
    network's mean over all pairs, or over all inputs, unless a ``pair`` is chosen. ``predicted`` are paths of the same
    inputs on the same clock, such as exact networks of the architecture that the model was read as; they are drawn
    over the model's. A dotted line, where gaps come near it, is
    ``log_gap_floor``, below which they are the model's rounding.

    Save it by ``drawing.save(chart, "layers.svg")``, as .svg, .png, .pdf or .html. InputError when the paths have other
    inputs than the predicted ones, for an unknown pair, and when no sample is alive at any layer.
    """
    import altair as alt

    check_paths(paths)
    check_kind("the title", title, (str, type(None)), "give text, or None")
    for other in (predicted, gradients):
        if other is not None and check_paths(other).inputs != paths.inputs:
            raise InputError(
                f"{other.source} has {other.inputs} inputs and {paths.source} {paths.inputs}; give the same."
            )
    pair = None if pair is None else check_pair(pair, paths.inputs)
    if not paths.alive.any():
        raise InputError(f"nothing can be drawn of {paths.source}: no sample is alive at any layer.")
    panels = [panel for panel in _panels(paths, predicted, gradients, pair) if panel.series]
    axes = [False] * (len(panels) - 1) + [True]
    charts = [_drawn(panel, panels, paths, named) for panel, named in zip(panels, axes, strict=True)]
    heading = title or f"Signals layer by layer: {paths.source}"
    return styled(alt.vconcat(*charts, spacing=14), heading, _told(paths, predicted, gradients, pair), width=WIDTH)


def _panels(paths: Paths, predicted: Paths | None, gradients: Paths | None, pair: Pair | None) -> list[Panel]:
    def both(values: Values) -> list[Series]:
        found = [_series(paths, values, pair, "model", EXACT)]
        if predicted is not None:
            found.append(_series(predicted.on_clock(paths.clock), values, pair, "prediction", LIMIT))
        return [one for one in found if one.rows]

    panels = []
    if paths.inputs > 1:
        panels.append(Panel(("correlation ρ",), both(_correlation), top=1.0))
        gaps = both(_log_gap)
        if any(row["median"] < np.log10(CONCENTRATED) for one in gaps for row in one.rows):
            panels.append(Panel(("log10 of the", "gap 1 − ρ"), gaps + _floor(paths, gaps)))
    panels.append(Panel(("log10 of the", "mean square"), both(_log_norm)))
    if gradients is not None:
        back = _series(_placed(gradients, paths), _log_norm, pair, "model", EXACT)
        panels.append(Panel(("log10 of gradients'", "mean square"), [back] if back.rows else []))
    return panels


def _correlation(paths: Paths, pair: Pair | None) -> np.ndarray:
    """The correlation of a pair, or its mean over all pairs: (sample, layer), NaN where lost."""
    return _mean(paths, 1.0 - np.exp(paths.log_gap), pair)


def _log_gap(paths: Paths, pair: Pair | None) -> np.ndarray:
    """log10(1 - rho) of a pair, or its mean over all pairs; minus infinity where some are exactly parallel."""
    return _mean(paths, paths.log_gap / np.log(10), pair)


def _mean(paths: Paths, values: np.ndarray, pair: Pair | None) -> np.ndarray:
    one = values.mean(axis=2) if pair is None else values[:, :, paths.pair_index(pair)]
    return np.where(paths.alive, one, np.nan)


def _log_norm(paths: Paths, pair: Pair | None) -> np.ndarray:
    """log10 V of a pair's first input, or of the mean of V over all inputs; NaN where lost."""
    if pair is not None:
        found = paths.log_norm[:, :, pair[0]]
    else:
        found = np.logaddexp.reduce(paths.log_norm, axis=2) - np.log(paths.inputs)
    return np.where(paths.alive, found / np.log(10), np.nan)


def _series(paths: Paths, values: Values, pair: Pair | None, name: str, colour: str) -> Series:
    """The quantiles over samples at every layer at which some value is finite."""
    names = [printable(name) for name in paths.layer_names or [f"layer {time:g}" for time in paths.time]]
    rows = []
    for place, layer, column in zip(paths.time, names, values(paths, pair).T, strict=True):
        finite = column[np.isfinite(column)]
        if len(finite):
            levels = np.quantile(finite, list(_LEVELS.values())).tolist()
            rows.append(
                {"place": float(place), "layer": layer, "series": name} | dict(zip(_LEVELS, levels, strict=True))
            )
    return Series(name, colour, rows)


def _floor(paths: Paths, gaps: Sequence[Series]) -> list[Series]:
    """The rounding of the model's own arithmetic as a line, where gaps come within a decade of it."""
    if paths.log_gap_floor is None:
        return []
    name, rows = "rounding of the model's arithmetic", []
    for place, floor in zip(paths.time, paths.log_gap_floor / np.log(10), strict=True):
        if np.isfinite(floor):
            row = dict.fromkeys(_LEVELS, float(floor))
            rows.append({"place": float(place), "layer": name, "series": name} | row)
    lowest = min(row["low"] for one in gaps for row in one.rows)
    near = any(row["low"] > lowest - 1 for row in rows)
    return [Series(name, INK, rows, dashed=True)] if near else []


def _placed(gradients: Paths, paths: Paths) -> Paths:
    """The gradients at the layers that the figure has, on its axis: matched by name, where both have names."""
    if gradients.layer_names is None or paths.layer_names is None:
        return gradients
    shared = [name for name in gradients.layer_names if name in paths.layer_names]
    if not shared:
        raise InputError(f"{gradients.source} has none of the layers of {paths.source}; give those of one model.")
    found = gradients.named(shared)
    places = dict(zip(paths.layer_names, paths.time, strict=True))
    return replace(found, time=np.array([places[name] for name in shared]))


def _drawn(panel: Panel, panels: Sequence[Panel], paths: Paths, named: bool) -> Chart:
    import altair as alt

    shown = {one.name: one.colour for other in panels for one in other.series}
    legend = alt.Legend(title=None, orient="top", symbolType="square", symbolOpacity=1, symbolStrokeWidth=0)
    scale = alt.Scale(domain=list(shown), range=list(shown.values()))
    colour = alt.Color("series:N", scale=scale, legend=legend if len(shown) > 1 else None)
    room = (paths.time[-1] - paths.time[0]) * 0.01 or 0.5
    domain = alt.Scale(domain=[float(paths.time[0] - room), float(paths.time[-1] + room)], nice=False)
    x = alt.X("place:Q", title="layer" if named else None, axis=_axis(paths, named), scale=domain)
    y = {level: _vertical(level, panel) for level in _LEVELS}
    layers = []
    for one in panel.series:
        base = alt.Chart(alt.Data(values=one.rows)).encode(x=x, color=colour)
        if one.dashed:
            layers.append(base.mark_line(strokeDash=[2, 3], strokeWidth=1.2).encode(y=y["median"]))
            continue
        if one.band:
            layers.append(base.mark_area(opacity=0.22).encode(y=y["low"], y2="high:Q"))
        layers.append(
            base.mark_line(
                strokeWidth=2, strokeJoin="round", strokeDash=[6, 3] if one.colour == LIMIT else [1, 0]
            ).encode(y=y["median"])
        )
        shows = [alt.Tooltip("layer:N")] + [alt.Tooltip(f"{level}:Q", format=".4g") for level in _LEVELS]
        layers.append(base.mark_point(filled=True, size=14, opacity=1).encode(y=y["median"], tooltip=shows))
    return alt.layer(*layers).properties(width=WIDTH, height=HEIGHT)


def _vertical(level: str, panel: Panel) -> Any:
    import altair as alt

    low, high = (
        float(end(row[side] for one in panel.series for row in one.rows)) for end, side in ((min, "low"), (max, "high"))
    )
    if panel.top is not None:  # a correlation: from a multiple of 1/2 up to 1, so that figures compare
        ends = [max(float(np.floor(2 * low - 1e-9)) / 2, -1.0), panel.top]
    else:
        room = 0.04 * (high - low) or 0.5
        ends = [low - room, high + room]
    scale = alt.Scale(domain=ends, nice=False, zero=False)
    return alt.Y(f"{level}:Q", title=list(panel.label), scale=scale, axis=alt.Axis(tickCount=5))


def _axis(paths: Paths, named: bool) -> Any:
    """The axis of layers: names at a few of them where there are names, under the lowest panel only."""
    import altair as alt

    if paths.layer_names is None:
        return alt.Axis(tickCount=6, labels=named, format="~g")
    chosen = _evenly(len(paths.time))
    words = {f"{paths.time[i]:g}": shortened(paths.layer_names[i], 18) for i in chosen}
    return alt.Axis(
        values=[float(paths.time[i]) for i in chosen],
        labels=named,
        labelExpr=f"({literal(words)})[datum.value]",
        labelAngle=-30,
        labelAlign="right",
        labelOverlap=False,  # slanted, they do not touch where their boxes do
        domainColor=GRID,
    )


def _evenly(count: int) -> list[int]:
    """Every so many of the layers, and the last one, which takes the place of one too near to it."""
    step = -(-(count - 1) // (NAMED - 1)) or 1
    chosen = list(range(0, count, step))
    if count - 1 - chosen[-1] < 0.6 * step:
        chosen.pop()
    return [*chosen, count - 1]


def _told(paths: Paths, predicted: Paths | None, gradients: Paths | None, pair: Pair | None) -> list[str]:
    """What is drawn, of how many samples and inputs, and what was left out, in sentences."""
    if pair is not None:
        what = f"{paths.names[pair[0]]} and {paths.names[pair[1]]} of {paths.inputs} inputs"
    elif paths.inputs > 2:
        kind = "tokens" if paths.names[0].startswith("token") else "inputs"
        what = f"means over {paths.inputs} {kind} and their {len(paths.pairs)} pairs"
    else:
        what = "one input" if paths.inputs == 1 else "two inputs"
    how = "lines are medians, bands 5–95%" if paths.samples > 1 else "one value a layer"
    told = [f"{counted(paths.samples, 'sample')}, {what}; {how}."]
    if predicted is not None:
        told.append(f"Prediction: {predicted.source}, {counted(predicted.samples, 'sample')}.")
    if gradients is not None:
        told.append(f"Gradients: {counted(gradients.samples, 'sample')}.")
    left = {"dead": paths.dead.max(), "exploded": paths.exploded.max(), "with parallel inputs": paths.aligned.max()}
    lost = [f"{count:,} {word}" for word, count in left.items() if count]
    return told + ([f"Left out, at the layer where most are lost: {', '.join(lost)}."] if lost else [])
