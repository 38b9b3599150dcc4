"""A diagnosis: findings, the layers that they rest on, and how it is told and written."""

import json
from dataclasses import asdict, dataclass, field
from math import inf
from typing import Any

import numpy as np

from deeplim.diagnosis.evidence import Evidence, main_stream
from deeplim.diagnosis.finding import Finding
from deeplim.diagnosis.words import TEN, signed, small
from deeplim.specs import counted
from deeplim.tables import text_table

_SHOWN = 14
"""Layers of a printed table: more are left to ``to_dict``."""


@dataclass(frozen=True)
class Layer:
    """What was measured at one layer, and what exact networks have there; None where there is no such number.

    gap: the median over initializations of 1 - rho of the median pair, 0 where parallel; log10_gap its logarithm, which
    loses nothing where it is small, and None where parallel. log10_norm: that of log10 of the mean
    square of the median input. spread: the standard deviation of the latter over initializations, in decades.
    """

    layer: str
    gap: float | None
    log10_gap: float | None
    log10_norm: float | None
    spread: float | None
    predicted_log10_gap: float | None
    predicted_log10_norm: float | None
    predicted_spread: float | None


@dataclass(frozen=True)
class Diagnosis:
    """What ``diagnose`` found: print it for a table by layer and the findings.

    subject: what was diagnosed. findings: the worst first. layers: what they rest on. reading: the architecture that
    was read off a model, or in one sentence why none was. evidence: the paths themselves.
    """

    subject: str
    findings: tuple[Finding, ...]
    layers: tuple[Layer, ...]
    reading: str | None
    evidence: Evidence = field(repr=False, compare=False)

    @property
    def healthy(self) -> bool:
        """Whether nothing that was found is unhealthy; warnings and notes may be there."""
        return not self.unhealthy

    @property
    def unhealthy(self) -> tuple[Finding, ...]:
        """The findings that make it so."""
        return tuple(finding for finding in self.findings if finding.severity == "unhealthy")

    def named(self, name: str) -> Finding | None:
        """Return the finding of a rule, or None."""
        return next((finding for finding in self.findings if finding.name == name), None)

    @property
    def table(self) -> str:
        """The layers as text: 1 - rho, log10 of the mean square and its spread, and the same of exact networks."""
        head = ["layer", "1 - rho", "log10 V", "sd"]
        predicted = self.evidence.predicted is not None
        head += ["exact: 1 - rho", "log10 V", "sd"] if predicted else []
        lines = []
        for row in (self.layers[at] for at in self._shown):
            parallel = row.gap == 0 and row.log10_gap is None
            cells = [-inf if parallel else row.log10_gap, row.log10_norm, row.spread]
            cells += [row.predicted_log10_gap, row.predicted_log10_norm, row.predicted_spread] if predicted else []
            lines.append([row.layer, *(_cell(value, at) for at, value in enumerate(cells))])
        return text_table(head, lines)

    @property
    def _shown(self) -> list[int]:
        """The layers in the printed table: of a model's, the first, the last, and some between that play one part."""
        places = list(range(len(self.layers)))
        if len(places) > _SHOWN and not self.evidence.chain:
            outside = [at for at in places if not self.evidence.inside_branches[at]] or places
            main = main_stream(self.evidence.layers, self.evidence.branches)
            places = sorted({outside[0], *main, outside[-1]}) if len(main) > 2 else outside
        return sorted({places[round(at)] for at in np.linspace(0, len(places) - 1, min(_SHOWN, len(places)))})

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the paths as plain Python values."""
        network = self.evidence.network
        return {
            "subject": self.subject,
            "healthy": self.healthy,
            "initializations": self.evidence.initializations,
            "network": None if network is None else json.loads(network.to_json()),
            "reading": self.reading,
            "findings": [finding.to_dict() for finding in self.findings],
            "layers": [asdict(layer) for layer in self.layers],
            "thresholds": asdict(self.evidence.thresholds),
        }

    def to_json(self) -> str:
        """Return ``to_dict`` as valid JSON: no NaN and no infinity."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False)

    def __str__(self) -> str:
        seen = self.evidence
        counts = f"{counted(seen.initializations, 'initialization')}, {counted(seen.measured.inputs, 'input')}"
        lines = [f"{self.subject}: {'healthy' if self.healthy else 'unhealthy'} ({counts})"]
        if self.reading is not None:
            lines.append(self.reading)
        shown, every = len(self._shown), len(self.layers)
        rest = [f"{shown} of {every} layers; to_dict() and --json have all."] if shown < every else []
        told = [str(finding) for finding in self.findings] or ["nothing was found."]
        return "\n".join([*lines, "", self.table, *rest, "", *told])


def _cell(value: float | None, column: int) -> str:
    if value is None:
        return "-"
    kind = column % 3
    return small(value * TEN) if kind == 0 else signed(value) if kind == 1 else f"{value:.2f}"


def rows_of(seen: Evidence) -> tuple[Layer, ...]:
    """Return what was measured and predicted at every layer."""
    rows = []
    for at, name in enumerate(seen.layers):
        spread = seen.spread_at(at).value if seen.random else None
        log_gap, expected = seen.gap_at(at).value, seen.predicted_gap(at)
        measured = (float(np.exp(log_gap)), log_gap / TEN, seen.norm_at(at).value, spread)
        forecast = (None if expected is None else expected / TEN, seen.predicted_norm(at), seen.predicted_spread(at))
        rows.append(Layer(name, *map(_finite, measured), *map(_finite, forecast)))
    return tuple(rows)


def _finite(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)
