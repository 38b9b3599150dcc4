"""The table of rules: each looks at the evidence and yields findings, or none."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from deeplim.diagnosis.branches import branch_explodes, frozen_branch
from deeplim.diagnosis.correlations import decorrelation, rank_collapse, rounding
from deeplim.diagnosis.evidence import Evidence
from deeplim.diagnosis.finding import SEVERITIES, Finding
from deeplim.diagnosis.laws import law_mismatch
from deeplim.diagnosis.norms import fluctuation, gradient, norm
from deeplim.diagnosis.remedies import mended_by_shaping
from deeplim.diagnosis.units import dead_units, lost_networks, parallel_inputs, zero_inputs, zero_output
from deeplim.diagnosis.weights import weight_variance

Rule = Callable[[Evidence], Iterator[Finding]]
RULES: tuple[Rule, ...] = (
    zero_inputs,
    lost_networks,
    parallel_inputs,
    rank_collapse,
    decorrelation,
    norm,
    fluctuation,
    gradient,
    weight_variance,
    frozen_branch,
    branch_explodes,
    dead_units,
    zero_output,
    rounding,
    law_mismatch,
)
"""In the order in which findings of one severity are told."""
_TOO = "rank-collapse's remedy mends this too; alone: "


def judge(evidence: Evidence) -> tuple[Finding, ...]:
    """Return what every rule finds, the worst first."""
    found = [finding for rule in RULES for finding in rule(evidence)]
    if any(finding.name == "rank-collapse" and finding.severity != "note" for finding in found):
        mended = mended_by_shaping(evidence)
        found = [replace(one, remedy=f"{_TOO}{one.remedy}") if one.name in mended else one for one in found]
    return tuple(sorted(found, key=lambda finding: SEVERITIES.index(finding.severity)))
