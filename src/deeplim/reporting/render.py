"""The report as one HTML page: what the template is given, network by network, and the page itself."""

import re
import struct
import zlib
from base64 import b64encode
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import resources
from typing import Any

import numpy as np

from deeplim import __version__, limits
from deeplim.comparison import Comparison
from deeplim.drawing import Chart, caption, plus_minus, svg
from deeplim.inputs import Inputs
from deeplim.ladder import Ladder
from deeplim.limits.base import AbstractLimit
from deeplim.printable import printable_lines
from deeplim.reporting.findings import Finding, rho_text
from deeplim.statistics import TESTED, Row

PIXELS, MOST_IMAGES = 64, 32
DIGITS = (
    "Handwritten digits: Optical Recognition of Handwritten Digits, E. Alpaydin and C. Kaynak (1998), UCI "
    "Machine Learning Repository, doi 10.24432/C50P49, licence CC BY 4.0; one 8 × 8 image of each class."
)
HEADINGS = {
    "correlation": "Correlation along depth",
    "gap": "Gap 1 − ρ along depth",
    "law": "Law at the last layer",
    "norm": "Norm along depth",
    "matrix": "Correlation of all pairs",
}
# An equation in several parts is set as several, so that a narrow page can stack them.
_QUADS = re.compile(r",?\s*\\q?quad\s*")
COMPUTED = {"slopes": "by its two slopes"}


def page(
    ladders: Sequence[Ladder],
    found: Sequence[Sequence[Finding]],
    charts: Sequence[dict[str, Chart]],
    *,
    title: str,
    command: str | None,
) -> str:
    """Return the whole report as self-contained HTML: no script, no network, light and dark."""
    folder = resources.files(__package__)
    template = environment().from_string(folder.joinpath("template.html.j2").read_text("utf-8"))
    return template.render(
        title=title,
        command=command,
        style=safe(folder.joinpath("style.css").read_text("utf-8")),
        networks=[_network(ladder, f) for ladder, f in zip(ladders, found, strict=True)],
        table=_key_numbers(ladders, found) if len(ladders) > 1 else None,
        images=_images(ladders),
        groups=_groups(charts),
        credit=DIGITS if any(ladder.inputs.source == "handwritten digits" for ladder in ladders) else None,
        version=__version__,
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def environment() -> Any:
    """Return what makes pages of templates: all text is escaped, and control characters are shown, never written."""
    from jinja2 import Environment, StrictUndefined

    made = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_shown
    )
    made.filters["breakable"] = breakable
    return made


def _shown(value: Any) -> Any:
    """Text without what a page cannot hold; markup of this package's stays markup."""
    return type(value)(printable_lines(value)) if isinstance(value, str) else value


def safe(text: str) -> Any:
    """Return markup that this package made itself and that is not to be escaped."""
    from markupsafe import Markup

    return Markup(text)


def breakable(text: str) -> Any:
    """Return the text, escaped, with places to break a line after the commas and colons of a long network."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"([,:])(?=\S)", r"\1<wbr>", str(escape(text))))


def _network(ladder: Ladder, found: Sequence[Finding]) -> dict[str, Any]:
    titles = {limit.name: limit.title for limit in limits.ALL}
    best = ladder.best
    return {
        "name": str(ladder.network),
        "asked": _asked(ladder),
        "findings": found,
        "limits": [_limit(limit) for limit in ladder.limits.values()],
        "failed": [(titles.get(name, name), reason) for name, reason in ladder.failed.items()],
        "others": [(titles.get(name, name), reason) for name, reason in ladder.not_applicable.items()],
        "comparison": _comparison(ladder, best) if best and best.name in ladder.comparisons else None,
        "further": [
            (limit.title, ladder.comparisons[name].sentence)
            for name, limit in ladder.limits.items()
            if name in ladder.comparisons and limit is not best
        ],
        "unchecked": _why_unchecked(ladder),
        "computed": COMPUTED.get(ladder.computed, ladder.computed),
        "seeds": _seeds(ladder),
    }


def _asked(ladder: Ladder) -> list[tuple[str, str]]:
    inputs, names = ladder.inputs, ladder.inputs.names
    followed = names[0] if inputs.count < 2 else " and ".join(names[i] for i in ladder.pair)
    exact = ladder.exact
    sampled = [
        limit.title + (" (deterministic)" if limit.deterministic else f" ({ladder.rungs[name].samples:,} samples)")
        for name, limit in ladder.limits.items()
        if name in ladder.rungs
    ]
    return [
        ("Network", str(ladder.network)),
        ("Inputs", str(inputs)),
        ("Followed", followed),
        ("Exact networks", f"{exact.samples:,}" if exact else "none drawn"),
        ("Limits", ", ".join(sampled) or "none describes this network"),
        ("Layers recorded", f"{len(ladder.layers)}, from {ladder.layers[0]} to {ladder.layers[-1]}"),
    ]


def _seeds(ladder: Ladder) -> str:
    limit = f"seed {ladder.seed + 1} for the limits"
    return f"seed {ladder.seed} for the exact networks, {limit}" if ladder.exact else limit


def _why_unchecked(ladder: Ladder) -> str:
    if ladder.best is None:
        return "No limit that deeplim knows describes this network, so there is nothing to compare with."
    if ladder.exact is None:
        return "No exact networks were drawn, so the prediction is not checked here."
    return "The laws were not compared: only layer 0 was recorded."


def _limit(limit: AbstractLimit) -> dict[str, Any]:
    unit = limit.layers_per_unit
    return {
        "title": limit.title,
        "equations": [_mathml(part) for part in _QUADS.split(limit.equation)],
        "statement": limit.statement,
        "facts": [
            (
                "Parameters",
                ", ".join(f"{name} = {value:.4g}" for name, value in limit.parameters.items()) or "none",
            ),
            ("Clock", limit.clock + (f" (one unit is {unit:,} layers)" if limit.clock != "layer" else "")),
            ("Kind", "deterministic" if limit.deterministic else "stochastic"),
            ("Accuracy", limit.accuracy),
            ("Source", limit.source),
        ],
    }


def _mathml(latex: str) -> Any:
    from latex2mathml.converter import convert

    # The converter writes the relation ~ of laws as an identifier, without the space of a relation.
    return safe(convert(latex, display="block").replace("<mi>&#x0007E;</mi>", "<mo>&#x0223C;</mo>"))


def _comparison(ladder: Ladder, limit: AbstractLimit) -> dict[str, Any]:
    comparison = ladder.comparisons[limit.name]
    last = max((row.time for row in comparison.rows), default=0.0)
    rows = [row for row in comparison.rows if row.time == last and row.observable in (*TESTED, "samples")]
    kept = [row for row in rows if row.statistic != "wasserstein"]
    observables = list(dict.fromkeys(row.observable for row in kept))
    return {
        "limit": limit.title,
        "layer": f"{last * limit.layers_per_unit:g}",
        "groups": [
            (name.replace("_", " "), [_cells(row) for row in kept if row.observable == name]) for name in observables
        ],
        "verdict": comparison.verdict,
        "sentence": comparison.sentence,
        "rate": _false_alarm(comparison),
    }


def _cells(row: Row) -> dict[str, str]:
    """One line of the comparison table; a distance between two laws has no value on either side."""
    if row.observed is None or row.predicted is None:
        apart, sides = f"distance {row.difference:.2g}", ("", "")
    else:
        apart = "" if row.standard_errors is None else f"{row.standard_errors:+.1f}"
        sides = (
            plus_minus(row.observed, row.observed_error or 0.0),
            plus_minus(row.predicted, row.predicted_error or 0.0),
        )
    return {
        "statistic": {"std": "standard deviation", "ks": "Kolmogorov–Smirnov"}.get(row.statistic, row.statistic),
        "observed": sides[0],
        "predicted": sides[1],
        "apart": apart,
        "p": "" if row.p_value is None else f"{row.p_value:.2g}",
    }


def _false_alarm(comparison: Comparison) -> str:
    return (
        f"If the two laws were equal, a test of this kind would say that they differ at most once in "
        f"{1 / comparison.false_alarm:,.0f} times (p-values are corrected for {comparison.tests} tests)."
    )


def _key_numbers(ladders: Sequence[Ladder], found: Sequence[Sequence[Finding]]) -> list[tuple[str, list[str]]]:
    """Rows of the side-by-side table: a name, and one entry for each network ('–' where there is none)."""
    numbers = [{finding.topic: finding.numbers for finding in f} for f in found]
    pairs = [n.get("correlation") for n in numbers]
    norms = [n.get("norm") for n in numbers]
    last = [
        f"{rho_text(p['gap_median'])} ({rho_text(p['gap_high'])} to {rho_text(p['gap_low'])})" if p else "–"
        for p in pairs
    ]
    grown = [f"{n['median']:+.2f}" if n else "–" for n in norms]
    verdicts = [
        ladder.comparisons[ladder.best.name].verdict if ladder.best and ladder.comparisons else "not compared"
        for ladder in ladders
    ]
    return [
        ("Depth / width", [f"{ladder.network.aspect:.3g}" for ladder in ladders]),
        ("Exact networks", [f"{ladder.exact.samples:,}" if ladder.exact else "none" for ladder in ladders]),
        ("Correlation of the inputs", [rho_text(p["gap_start"]) if p else "–" for p in pairs]),
        ("Correlation at the last layer: median (5–95%)", last),
        ("Mean square, orders of magnitude gained: median", grown),
        ("Its 5–95% range, orders of magnitude", [f"{n['spread']:.2f}" if n else "–" for n in norms]),
        (
            "Dead at the last layer",
            [f"{n['dead networks']['dead']:,}" if "dead networks" in n else "0" for n in numbers],
        ),
        ("Limit", [ladder.best.title if ladder.best else "none" for ladder in ladders]),
        ("Limit against exact networks", verdicts),
    ]


def _groups(charts: Sequence[dict[str, Chart]]) -> list[dict[str, Any]]:
    """The figures by kind, those of several networks side by side; of a single network all in one group."""
    drawn = [
        {name: dict(zip(("title", "told"), caption(chart), strict=True)) | {"svg": safe(svg(chart, title=False))}}
        for made in charts
        for name, chart in made.items()
    ]
    if len(charts) == 1:
        return [{"heading": None, "figures": [figure for entry in drawn for figure in entry.values()]}]
    groups = [(heading, [entry[name] for entry in drawn if name in entry]) for name, heading in HEADINGS.items()]
    return [{"heading": heading, "figures": figures} for heading, figures in groups if figures]


def _images(ladders: Sequence[Ladder]) -> list[dict[str, Any]]:
    """Small pictures of 8 x 8 inputs, each set of inputs once."""
    shown: list[Inputs] = []
    for ladder in ladders:
        pictures = ladder.inputs.images
        if pictures is None or pictures.shape[1] != PIXELS:
            continue
        if not any(np.array_equal(pictures, known.images) for known in shown if known.images is not None):
            shown.append(ladder.inputs)
    return [
        {"name": name, "uri": "data:image/png;base64," + b64encode(_png(image.reshape(8, 8))).decode()}
        for inputs in shown
        if inputs.images is not None
        for name, image in zip(inputs.names[:MOST_IMAGES], inputs.images[:MOST_IMAGES], strict=True)
    ]


def _png(image: np.ndarray) -> bytes:
    """A greyscale PNG of the image, its smallest value white and its largest black."""
    low, high = float(image.min()), float(image.max())
    grey = np.round(255 * (high - image) / ((high - low) or 1.0)).astype(np.uint8)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", grey.shape[1], grey.shape[0], 8, 0, 0, 0, 0)
    rows = b"".join(b"\0" + row.tobytes() for row in grey)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")
