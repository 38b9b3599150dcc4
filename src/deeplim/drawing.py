"""How every figure looks and is written: size, colours, text that fits, files, SVG for a page."""

import re
import textwrap
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from deeplim.errors import InputError

Chart = Any
"""An Altair chart (``altair.LayerChart``); Altair is imported when one is made."""

EXACT, LIMIT = "#2f7fc1", "#dd6a1f"
# Ordinary colours on paper, and unlike any other, so that ``svg`` can hand them to the page's style.
INK, GRID = "#23272e", "#d5d9df"
WIDTH, HEIGHT = 330, 215
"""Of the plot itself, in pixels; axes, legend and title come on top."""
FORMATS = (".svg", ".png", ".pdf", ".html")


def finished(chart: Chart, title: str, subtitle: Sequence[str]) -> Chart:
    """Return the chart with its size, its title and subtitle over lines that fit, and the common style."""
    return styled(chart.properties(width=WIDTH, height=HEIGHT), title, subtitle)


def styled(chart: Chart, title: str, subtitle: Sequence[str], *, width: int = WIDTH) -> Chart:
    """Return a chart that has its size, or several above each other, with title, subtitle and the common style."""
    import altair as alt

    wider = width / WIDTH
    lines = [line for told in subtitle for line in _wrapped(told, int(70 * wider))]
    text = _wrapped(title, int(54 * wider))
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
    return " ".join(chart.title.text), " ".join(chart.title.subtitle)


def save(chart: Chart, path: str | Path) -> None:
    """Write the chart as .svg, .png, .pdf or self-contained interactive .html; no browser, no network.

    InputError for another suffix, or when the file cannot be written.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in FORMATS:
        raise InputError(f"a figure cannot be written as {path.name!r}; end its name in {', '.join(FORMATS)}.")
    options: dict[str, dict[str, object]] = {".png": {"scale_factor": 2}, ".html": {"inline": True}}
    try:
        chart.save(str(path), format=kind[1:], **options.get(kind, {}))
    except OSError as error:
        raise InputError(f"{path} could not be written ({error}); name a file in a folder of yours.") from None


def svg(chart: Chart, *, title: bool = True) -> str:
    """Return the chart as SVG for the inside of a page: as wide as its place, in the page's --ink and --grid.

    Without ``title`` title and subtitle are left to the page (see ``caption``). Both are in the label that is
    read out to those who cannot see the figure.
    """
    import altair as alt
    import vl_convert

    spec = chart.to_dict(validate=False)
    if not title:
        spec.pop("title")
    drawn = vl_convert.vegalite_to_svg(spec, vl_version="_".join(alt.SCHEMA_VERSION.split(".")[:2]))
    body = re.sub(r'<rect [^>]*fill="white"/>', "", drawn, count=1)
    for colour, variable in ((INK, "ink"), (GRID, "grid")):
        body = body.replace(f'"{colour}"', f'"var(--{variable}, {colour})"')
    # Two figures on one page must not share the names of their gradients.
    body = re.sub(r'(id="|url\(#)', rf"\g<1>f{crc32(body.encode()):08x}-", body)
    label = escape(". ".join(caption(chart)), quote=True)
    view = re.search(r'viewBox="[^"]*"', body)
    assert view is not None
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {view[0]} width="100%" role="img" aria-label="{label}">'
    return head + body[body.index(">") + 1 :]


def shortened(name: str, length: int = 24) -> str:
    """Return a name that fits a figure: cut, with an ellipsis, beyond ``length`` characters."""
    return name if len(name) <= length else name[: length - 1] + "…"


def plus_minus(value: float, error: float) -> str:
    """Return 'value ± error' to two digits of the error; the value to four digits when the error is zero."""
    if not error > 0:
        return f"{value:.4g}"
    places = 1 - int(np.floor(np.log10(error)))
    return f"{value:.{places}f} ± {error:.{places}f}" if 0 <= places <= 8 else f"{value:.4g} ± {error:.1e}"
