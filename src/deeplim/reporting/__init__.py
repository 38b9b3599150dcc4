"""The report: one self-contained HTML page on one network or several, its figures, its numbers as JSON."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deeplim.checks import brief, check_kind, check_list
from deeplim.drawing import FORMATS, Chart, check_figure
from deeplim.drawing import save as save_figure
from deeplim.errors import InputError
from deeplim.figures import figures
from deeplim.files import make_folder, write_whole
from deeplim.ladder import Ladder, check_ladder
from deeplim.reporting.findings import Finding, findings
from deeplim.reporting.render import page

__all__ = ["Finding", "Report", "findings", "report"]


@dataclass(frozen=True, eq=False)
class Report:
    """A report: the page as ``html``, its numbers as ``data``, and the figures in it, by file name."""

    html: str = field(repr=False)
    data: dict[str, Any] = field(repr=False)
    charts: dict[str, Chart] = field(repr=False)

    def to_json(self) -> str:
        """Return the report's numbers as valid JSON: no NaN and no infinity."""
        return json.dumps(self.data, indent=2, allow_nan=False)

    def save(self, path: str | Path) -> None:
        """Write the page, whole or not at all; InputError when it cannot be written there."""
        write_whole(path, lambda file: file.write(self.html.encode()))

    def save_figures(self, folder: str | Path, formats: Sequence[str] = ("svg",)) -> list[Path]:
        """Write every figure in each format (svg, png, pdf, html) to a folder, made if need be; return them.

        InputError for another format, a file that cannot be written or a folder that cannot be made, before any is.
        """
        words = check_list("formats", formats, f"give a list of {', '.join(FORMATS)}")
        kinds = [f".{check_kind('a format', kind, str, 'give text').lower().lstrip('.')}" for kind in words]
        unknown = [kind for kind in kinds if kind not in FORMATS]
        if unknown:
            raise InputError(f"figures cannot be written as {brief(unknown[0])}; use one of {', '.join(FORMATS)}.")
        made = make_folder(folder)
        files = [(chart, made / f"{name}{kind}") for name, chart in self.charts.items() for kind in kinds]
        for _, file in files:
            check_figure(file)
        for chart, file in files:
            save_figure(chart, file)
        return [file for _, file in files]


def report(ladders: Ladder | Sequence[Ladder], *, command: str | None = None, title: str | None = None) -> Report:
    """Return a report on one ladder, or on several side by side.

    ``command`` is the exact command that made it, to stand at its foot. InputError when there is no ladder.
    """
    cure = "give a ladder, as deeplim.climb returns it, or a list of ladders"
    chosen = [ladders] if isinstance(ladders, Ladder) else [*map(check_ladder, check_list("ladders", ladders, cure))]
    if not chosen:
        raise InputError("a report needs at least one network; none was given.")
    check_kind("the command", command, (str, type(None)), "give text, or None")
    check_kind("the title", title, (str, type(None)), "give text, or None")
    if title is None:
        title = str(chosen[0].network) if len(chosen) == 1 else f"{len(chosen)} networks side by side"
    found = [findings(ladder) for ladder in chosen]
    charts = [figures(ladder) for ladder in chosen]
    networks = [
        ladder.to_dict()
        | {"findings": [finding.to_dict() for finding in f]}
        | {"comparison": {name: made.to_dict() for name, made in ladder.comparisons.items()}}
        for ladder, f in zip(chosen, found, strict=True)
    ]
    return Report(
        html=page(chosen, found, charts, title=title, command=command),
        data={"title": title, "command": command, "networks": networks},
        charts={
            f"{place}-{_file_name(ladder)}-{name}": chart
            for place, (ladder, made) in enumerate(zip(chosen, charts, strict=True), start=1)
            for name, chart in made.items()
        },
    )


def _file_name(ladder: Ladder) -> str:
    """The network in the letters that are safe in file names everywhere."""
    return re.sub(r"[^a-z0-9]+", "-", str(ladder.network).lower()).strip("-")[:60]
