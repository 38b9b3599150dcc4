"""The gallery of checked claims: one self-contained HTML page with a card a claim, its figure, its numbers as JSON."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

from deeplim import __version__
from deeplim.checks import check_kind, check_list
from deeplim.claims import Control, Figure, Number, Result, Series
from deeplim.claims.number import HOLDS, SIGMAS, WITHIN
from deeplim.drawing import EXACT, LIMIT, Chart, finished, plus_minus, svg
from deeplim.errors import InputError
from deeplim.files import make_folder, write_whole
from deeplim.reporting.render import breakable, safe

MEASURED, PREDICTED, REFUTED = (EXACT, "#15876f"), (LIMIT, "#a8479b"), ("#7d8590", "#8f7a50", "#8a6f9a")
_COLOURS = {"measured": MEASURED, "predicted": PREDICTED, "refuted": REFUTED}
_DASHES = {"measured": ([2.4, 2.4],), "predicted": ([1, 0],), "refuted": ([7, 4], [3, 3], [9, 3, 2, 3])}
"""Of the lines, and of the legend alone for points."""
_LEVELS = {HOLDS: "fine", WITHIN: "fine"}
_WORDS = {HOLDS: "holds", WITHIN: "holds, finite size"}
PAGE, NUMBERS = "index.html", "claims.json"


@dataclass(frozen=True, eq=False)
class Gallery:
    """Checked claims as a page: ``html``, their numbers as ``data``, and their figures by the claim's name."""

    html: str = field(repr=False)
    data: dict[str, Any] = field(repr=False)
    charts: dict[str, Chart] = field(repr=False)

    def to_json(self) -> str:
        """Return the numbers as valid JSON: no NaN and no infinity."""
        return json.dumps(self.data, indent=2, ensure_ascii=False, allow_nan=False)

    def save(self, folder: str | Path) -> list[Path]:
        """Write index.html and claims.json, each whole or not at all, to a folder, made if need be; return them."""
        folder = make_folder(folder)
        texts = {folder / PAGE: self.html, folder / NUMBERS: self.to_json() + "\n"}
        for path, text in texts.items():
            write_whole(path, lambda file, text=text: file.write(text.encode()))  # type: ignore[misc]
        return list(texts)


def gallery(results: Sequence[Result], *, command: str | None = None) -> Gallery:
    """Return the gallery of checked claims; ``command`` is what made it, to stand at its foot."""
    results = check_list("results", results, "give what claims return when they are run")
    for result in results:
        check_kind("a result", result, Result, "give what a claim returns when it is run")
    check_kind("the command", command, (str, type(None)), "give text, or None")
    if not results:
        raise InputError("a gallery needs at least one checked claim; none was given.")
    charts = {result.claim.name: draw(result) for result in results}
    data = {
        "seed": results[0].seed,
        "version": __version__,
        "fails": [result.claim.name for result in results if result.fails],
        "claims": [result.to_dict() for result in results],
    }
    return Gallery(_page(results, charts, command), data, charts)


def draw(result: Result) -> Chart:
    """Return a claim's figure: measurements as points with one standard error, predictions as lines over them."""
    import altair as alt

    figure = _labelled(check_kind("a result", result, Result, "give what a claim returns when it is run"))
    colour, dash = _legend(figure.series)
    x = _axis(alt.X, figure.x, figure.log_x, [value for series in figure.series for value in series.x], of="x:Q")
    y, low = (_axis(alt.Y, figure.y, False, _heights(figure), of=name) for name in ("y:Q", "low:Q"))
    layers = []
    # Points last: a line is seen around them, and they are not seen through it.
    for series in sorted(figure.series, key=lambda one: one.role == "measured"):
        rows = _rows(series)
        base = alt.Chart(alt.Data(values=rows)).encode(x=x, color=colour)
        if series.role == "measured":
            if series.error is not None:
                layers.append(base.mark_rule(strokeWidth=1.3).encode(y=low, y2="high:Q"))
            layers.append(base.mark_circle(size=34, opacity=1).encode(y=y))
        else:
            layers.append(base.mark_line(strokeWidth=2, interpolate="linear").encode(y=y, strokeDash=dash))
    drawn = "points: measured" + (", bars ± one standard error" if any(s.error for s in figure.series) else "")
    told = [f"{result.outcome.simulated} {drawn[0].upper()}{drawn[1:]}; lines: predicted."]
    return finished(alt.layer(*layers), result.claim.statement, told)


def _legend(drawn: Sequence[Series]) -> tuple[Any, Any]:
    """The colours and dashes of the series, with one legend for both."""
    import altair as alt

    colours: list[Any]
    dashes: list[Any]
    seen = {"measured": 0, "predicted": 0, "refuted": 0}
    colours, dashes = [], []
    for series in drawn:
        for chosen, kinds in ((colours, _COLOURS), (dashes, _DASHES)):
            chosen.append(kinds[series.role][seen[series.role] % len(kinds[series.role])])
        seen[series.role] += 1
    names = [series.name for series in drawn]
    # One legend for both, as both are of the same names.
    legend = alt.Legend(
        title=None, orient="top", columns=1, symbolType="stroke", symbolSize=500, symbolStrokeWidth=2.4, rowPadding=-4
    )
    return (
        alt.Color("series:N", scale=alt.Scale(domain=names, range=colours), legend=legend),
        alt.StrokeDash("series:N", scale=alt.Scale(domain=names, range=dashes), legend=legend),
    )


def _labelled(result: Result) -> Figure:
    """The claim's figure, what its numbers refute named so: of a claim that fails, what they should."""
    figure, word = result.outcome.figure, "to refute" if result.fails else "refuted"
    series = [replace(one, name=f"{word}: {one.name}") if one.role == "refuted" else one for one in figure.series]
    return replace(figure, series=tuple(series))


def _rows(series: Series) -> list[dict[str, Any]]:
    error = series.error or (0.0,) * len(series.x)
    return [
        {"series": series.name, "x": x, "y": y, "low": y - e, "high": y + e}
        for x, y, e in zip(series.x, series.y, error, strict=True)
    ]


def _heights(figure: Figure) -> list[float]:
    return [row[name] for series in figure.series for row in _rows(series) for name in ("low", "high")]


def _axis(channel: Any, label: str, logarithmic: bool, numbers: Sequence[float], *, of: str) -> Any:
    import altair as alt

    low, high = min(numbers), max(numbers)
    if logarithmic:
        scale = alt.Scale(type="log", domain=[low / 1.15, high * 1.15], nice=False)
        axis = alt.Axis(tickCount=5, format="~e" if low < 1e-3 or high > 1e5 else "~g")
    else:
        room = 0.04 * (high - low) or 0.5
        scale = alt.Scale(domain=[low - room * (low != 0), high + room], nice=False, zero=False)
        axis = alt.Axis(tickCount=6)
    return channel(of, title=label, scale=scale, axis=axis)


def _page(results: Sequence[Result], charts: dict[str, Chart], command: str | None) -> str:
    from jinja2 import Environment, StrictUndefined

    folder = resources.files(__package__)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["breakable"] = breakable
    template = environment.from_string(folder.joinpath("gallery.html.j2").read_text("utf-8"))
    styles = [folder.joinpath(name).read_text("utf-8") for name in ("style.css", "gallery.css")]
    failing = sum(result.fails for result in results)
    return template.render(
        title=_title(len(results), failing),
        style=safe("\n".join(styles)),
        cards=[_card(result, charts[result.claim.name]) for result in results],
        command=command,
        seed=results[0].seed,
        sigmas=f"{SIGMAS:g}",
        version=__version__,
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def _title(count: int, failing: int) -> str:
    claims = "1 claim" if count == 1 else f"{count} claims"
    if failing:
        return f"{claims} checked, {failing} {'fails' if failing == 1 else 'fail'}"
    return f"{claims} checked, {'it holds' if count == 1 else 'all hold'}"


def _card(result: Result, chart: Chart) -> dict[str, Any]:
    claim, outcome = result.claim, result.outcome
    return {
        "name": claim.name,
        "statement": claim.statement,
        "source": claim.source,
        "simulated": outcome.simulated,
        "verdict": _WORDS.get(outcome.verdict, "fails"),
        "full": outcome.verdict,
        "level": _LEVELS.get(outcome.verdict, "problem"),
        "numbers": [
            {**number_row(number), "controls": [_control(number, one) for one in number.controls]}
            for number in outcome.numbers
        ],
        "reasons": _reasons(outcome.numbers),
        "svg": safe(svg(chart, title=False)),
        "drawn": "Points are measured" + (", bars ± one standard error" if _has_bars(outcome.figure) else "") + ".",
    }


def _control(number: Number, control: Control) -> dict[str, Any]:
    row = control_row(number, control)
    return {**row, "law": control.name, "apart": _times(number.margin(control)), "refuted": number.refutes(control)}


def number_row(number: Number) -> dict[str, str]:
    """Return one number as the words of a table; an exact measurement has no ±."""
    return {
        "name": number.name,
        "predicted": f"{number.predicted:.4g}",
        "measured": plus_minus(number.measured, number.uncertainty),
        "allowance": f"{number.allowance:.2g}" if number.allowance else "–",
        "verdict": _WORDS.get(number.agrees, "fails"),
    }


def control_row(number: Number, control: Control) -> dict[str, str]:
    """Return what another law predicts for a number, as words in the columns of its row."""
    apart = _times(number.margin(control))
    return {
        "name": f"not: {control.name}",
        "predicted": f"{control.predicted:.4g}",
        "measured": "",
        "allowance": "",
        "verdict": f"refuted, {apart}" if number.refutes(control) else f"not refuted, {apart}",
    }


def _times(margin: float) -> str:
    """How far off a prediction is, in tolerances."""
    if not margin < 1000:
        return "over 1000 ×" if margin >= 1000 else "no number"
    return f"{margin:.1f} ×" if margin < 9.95 else f"{margin:.0f} ×"


def _reasons(numbers: Sequence[Number]) -> list[str]:
    told: dict[str, list[str]] = {}
    for number in numbers:
        if number.reason:
            told.setdefault(number.reason, []).append(f"{number.allowance:.2g}")
    return [f"{' and '.join(dict.fromkeys(sizes))}: {reason}" for reason, sizes in told.items()]


def _has_bars(figure: Figure) -> bool:
    return any(series.error is not None for series in figure.series)
