"""Findings: what is wrong with a network at initialization, and what to do about it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from deeplim.checks import brief, check_kind, check_real, check_word
from deeplim.diagnosis.words import spoken
from deeplim.errors import InputError

Severity = Literal["unhealthy", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("unhealthy", "warning", "note")
"""From the worst on."""


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    name: the rule that found it. severity: "unhealthy" (do not train this), "warning" (know this) or "note". measured:
    a sentence, with its uncertainty over initializations. predicted: what the exact chain or a closed form says of it,
    where there is one. remedy: what to do, with this network's numbers. where: the layer, by its name in the model.
    numbers: what the sentences say, as plain finite numbers.
    """

    name: str
    severity: Severity
    measured: str
    remedy: str
    predicted: str | None = None
    where: str | None = None
    numbers: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as plain Python values, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> "Finding":
        """Return the finding that ``to_dict`` wrote; InputError for anything else."""
        known = [each.name for each in fields(cls)]
        cure = "give what Finding.to_dict returns"
        unknown = [name for name in check_kind("a finding", found, Mapping, cure) if name not in known]
        missing = [name for name in ("name", "severity", "measured", "remedy") if name not in found]
        if unknown or missing:
            what = f"{brief(unknown[0])} is no part of a finding" if unknown else f"{missing[0]} is missing"
            raise InputError(f"{what}; {cure}.")
        check_word("severity", found["severity"], SEVERITIES)
        for name in ("name", "measured", "remedy"):
            check_kind(name, found[name], str, "give text")
        for name in ("predicted", "where"):
            check_kind(name, found.get(name), (str, type(None)), "give text, or None")
        numbers = check_kind("numbers", found.get("numbers", {}), Mapping, "give numbers by their names")
        return cls(**{**found, "numbers": {str(word): check_real(str(word), value) for word, value in numbers.items()}})

    def __str__(self) -> str:
        place = f" at {spoken(self.where)}" if self.where else ""
        lines = [f"{self.severity}: {self.name}{place}", f"  measured:  {self.measured}"]
        if self.predicted is not None:
            lines.append(f"  predicted: {self.predicted}")
        return "\n".join([*lines, f"  remedy:    {self.remedy}"])


class UnhealthyNetwork(AssertionError):
    """Raised by ``assert_healthy``: its message names each unhealthy finding, ``findings`` holds them."""

    def __init__(self, subject: str, findings: tuple[Finding, ...]) -> None:
        self.subject, self.findings = subject, findings
        count = f"{len(findings)} unhealthy finding{'s' if len(findings) > 1 else ''}"
        super().__init__("\n".join([f"{subject} has {count}", *map(str, findings)]))

    def __reduce__(self) -> tuple[type, tuple[str, tuple[Finding, ...]]]:
        """Pickle by what it was made of, so that it survives a test run on several processes."""
        return type(self), (self.subject, self.findings)
