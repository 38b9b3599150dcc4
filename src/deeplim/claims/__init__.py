"""The published claims as runnable checks: each simulates, compares, and says whether it holds.

A new claim is one entry in the ``CLAIMS`` of its theme's module. What chance and finite size may do does not
depend on what is measured, and one function judges, ``judge``; a claim that fails is shown to fail.
"""

from collections.abc import Sequence
from difflib import get_close_matches

from deeplim.claims import infinite_width, normalized, proportional, residual, unshaped
from deeplim.claims.claim import Claim, Figure, Number, Outcome, Result, Series, judge
from deeplim.errors import InputError

__all__ = ["ALL", "Claim", "Figure", "Number", "Outcome", "Result", "Series", "judge", "named"]

ALL: tuple[Claim, ...] = (
    *infinite_width.CLAIMS,
    *residual.CLAIMS,
    *proportional.CLAIMS,
    *unshaped.CLAIMS,
    *normalized.CLAIMS,
)
"""Every claim, by theme."""


def named(names: Sequence[str]) -> list[Claim]:
    """Return the claims of these names, each once; all of them when none is given; InputError names close matches."""
    known = {claim.name: claim for claim in ALL}
    for name in names:
        if name not in known:
            close = get_close_matches(name, known, n=3, cutoff=0.4)
            cure = f"did you mean {' or '.join(close)}" if close else "`deeplim reproduce --list` lists them"
            raise InputError(f"there is no claim called {name!r}; {cure}.")
    return [known[name] for name in dict.fromkeys(names)] or list(ALL)
