"""How every figure looks and is written: size, colours, text that fits, files, SVG for a page.

Names are data: what they hold is drawn, never obeyed by the renderer, a browser or the reader of an expression.
"""

import json
import re
import textwrap
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from deeplim.checks import check_flag, check_float, kind_of
from deeplim.errors import InputError
from deeplim.files import check_name, check_writable, write_whole
from deeplim.memory import address_space_left
from deeplim.printable import printable
from deeplim.rendering import bundle, rendered, try_renderer

Chart = Any
"""An Altair chart (``altair.LayerChart``); Altair is imported when one is made."""

EXACT, LIMIT = "#2f7fc1", "#dd6a1f"
# Ordinary colours on paper, and unlike any other, so that ``svg`` can hand them to the page's style.
INK, GRID = "#23272e", "#d5d9df"
WIDTH, HEIGHT = 330, 215
"""Of the plot itself, in pixels; axes, legend and title come on top."""
FORMATS = (".svg", ".png", ".pdf", ".html")
_LONGEST_TITLE, _LONGEST_SENTENCE = 300, 600
"""Letters of a title, and of each sentence below it; what is longer is cut."""
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>#figure {{ display: flex; }} #figure details, #figure details summary {{ position: relative; }}</style>
<script>{bundle}</script>
</head>
<body>
<div id="figure" role="figure" aria-label="{label}"></div>
<script>
const spec = {spec};
vegaEmbed("#figure", spec, {{"mode": "vega-lite"}}).catch(console.error);
</script>
</body>
</html>
"""


def finished(chart: Chart, title: str, subtitle: Sequence[str]) -> Chart:
    """Return the chart with its size, its title and subtitle over lines that fit, and the common style."""
    return styled(chart.properties(width=WIDTH, height=HEIGHT), title, subtitle)


def styled(chart: Chart, title: str, subtitle: Sequence[str], *, width: int = WIDTH) -> Chart:
    """Return a chart that has its size, or several above each other, with title, subtitle and the common style."""
    import altair as alt

    wider = width / WIDTH
    lines = [line for told in subtitle for line in _wrapped(shortened(told, _LONGEST_SENTENCE), int(70 * wider))]
    text = _wrapped(shortened(title, _LONGEST_TITLE), int(54 * wider))
    heading = alt.TitleParams(text=text, subtitle=lines, anchor="start", frame="bounds", offset=10)
    axis = {"labelColor": INK, "titleColor": INK, "gridColor": GRID, "domainColor": GRID, "tickColor": GRID}
    small = {"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal", "titlePadding": 8}
    spaced = {"labelLimit": 0, "columnPadding": 24, "titlePadding": 8, "titleFontWeight": "normal"}
    return (
        chart.properties(title=heading)
        .configure(background="white", padding=6)
        .configure_view(stroke=None)
        .configure_title(color=INK, subtitleColor=INK, fontSize=13, subtitleFontSize=11, subtitlePadding=4)
        .configure_axis(**axis, **small)
        .configure_axisX(grid=False)
        .configure_axisY(minExtent=32)
        .configure_legend(labelColor=INK, titleColor=INK, labelFontSize=12, titleFontSize=12, **spaced)
    )


def _wrapped(text: str, length: int) -> list[str]:
    return textwrap.wrap(text, length, break_on_hyphens=False)


def caption(chart: Chart) -> tuple[str, str]:
    """Return the chart's title and its subtitle, each as one line of plain text."""
    _check_chart(chart)
    return " ".join(chart.title.text), " ".join(chart.title.subtitle)


def _check_chart(chart: object) -> None:
    """Raise InputError unless this is a chart with a title, as every figure here is."""
    titled = callable(getattr(chart, "to_dict", None)) and hasattr(getattr(chart, "title", None), "subtitle")
    if not titled or isinstance(chart, type):
        raise InputError(f"{kind_of(chart)} was given for a chart; give one that deeplim.figures made.")


def check_figure(path: str | Path) -> None:
    """Raise InputError when a figure cannot be written there, MachineError when none can be drawn: before any work."""
    check_writable(path, FORMATS)
    check_renderer()


def check_renderer() -> None:
    """Raise MachineError when no figure can be drawn, which a limit on address space may be the reason of."""
    if address_space_left() is not None:
        try_renderer(_version())


def save(chart: Chart, path: str | Path) -> None:
    """Write the chart as .svg, .png, .pdf or self-contained interactive .html; no browser, no network.

    The file is written whole or not at all. InputError for another suffix, or when the file cannot be written.
    """
    _check_chart(chart)
    check_writable(path, FORMATS)
    kind, spec = check_name(path).suffix.lower()[1:], _specification(chart)
    content = _html(chart, spec).encode() if kind == "html" else rendered(kind, spec, _version())
    write_whole(path, lambda file: file.write(content))


def _specification(chart: Chart) -> dict[str, Any]:
    """The chart for a renderer, every text in it such as XML can hold: others make the renderer abort the process.

    No descriptions of marks: Vega-Lite writes the titles of axes into their expressions as they are, backslashes and
    all, so that names in a title could say what is computed. The figure as a whole has its label.
    """
    spec: dict[str, Any] = _cleaned(chart.to_dict(validate=False))
    return spec | {"config": spec.get("config", {}) | {"aria": False}}


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {_cleaned(key): _cleaned(one) for key, one in value.items()}
    return [_cleaned(one) for one in value] if isinstance(value, list | tuple) else value


def _version() -> str:
    """The version of Vega-Lite that charts are written in, as the renderer calls it."""
    import altair as alt

    return "_".join(alt.SCHEMA_VERSION.split(".")[:2])


def _html(chart: Chart, spec: dict[str, Any]) -> str:
    """A page that draws the chart, with all that it needs in it."""
    title, told = (escape(printable(text), quote=True) for text in caption(chart))
    return _PAGE.format(title=title, label=f"{title}. {told}", bundle=bundle(_version()), spec=_script(spec))


def _script(value: object) -> str:
    """A value as JSON for the inside of a script element, which no text in it can end, nor begin another."""
    text = json.dumps(value, allow_nan=False)
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def svg(chart: Chart, *, title: bool = True) -> str:
    """Return the chart as SVG for the inside of a page: as wide as its place, in the page's --ink and --grid.

    Without ``title`` title and subtitle are left to the page (see ``caption``). Both are in the label that is
    read out to those who cannot see the figure.
    """
    _check_chart(chart)
    check_flag("title", title)
    spec = _specification(chart)
    if not title:
        spec.pop("title")
    drawn = rendered("svg", spec, _version()).decode()
    body = re.sub(r'<rect [^>]*fill="white"/>', "", drawn, count=1)
    for colour, variable in ((INK, "ink"), (GRID, "grid")):
        body = body.replace(f'"{colour}"', f'"var(--{variable}, {colour})"')
    # Two figures on one page must not share the names of their gradients.
    body = re.sub(r'(id="|url\(#)', rf"\g<1>f{crc32(body.encode()):08x}-", body)
    label = escape(printable(". ".join(caption(chart))), quote=True)
    view = re.search(r'viewBox="[^"]*"', body)
    assert view is not None
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {view[0]} width="100%" role="img" aria-label="{label}">'
    return head + body[body.index(">") + 1 :]


def shortened(name: str, length: int = 24) -> str:
    """Return a name that fits a figure: without control characters, and cut, with an ellipsis, beyond ``length``."""
    name = printable(name)
    return name if len(name) <= length else name[: length - 1] + "…"


def literal(words: dict[str, str]) -> str:
    """Return a table of names as part of an expression, in which they are text and nothing else.

    Each has a letter before it that is taken away again: Vega looks text up among the properties of its own objects,
    and fails on names such as ``toString``.
    """
    entries = (f"{json.dumps(key)}: slice({json.dumps('_' + printable(word))}, 1)" for key, word in words.items())
    return "{" + ", ".join(entries) + "}"


def plus_minus(value: float, error: float) -> str:
    """Return 'value ± error' to two digits of the error; the value to four digits when the error is zero."""
    value, error = check_float("value", value), check_float("error", error)
    if not 0 < error < np.inf:
        return f"{value:.4g}"
    places = 1 - int(np.floor(np.log10(error)))
    return f"{value:.{places}f} ± {error:.{places}f}" if 0 <= places <= 8 else f"{value:.4g} ± {error:.1e}"
