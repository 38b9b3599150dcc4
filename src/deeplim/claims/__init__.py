"""The published claims as runnable checks: each simulates, compares, and says whether it holds and what it refutes.

A new claim is one entry in the ``CLAIMS`` of its theme's module. Its numbers are made with the wrong predictions that
their measurements must contradict, at the tolerance of the right one: a number that nothing could fail is refused. Its
check says what is measured and what is predicted, and that neither is made of the other.
"""

from collections.abc import Sequence
from difflib import get_close_matches

from deeplim.checks import brief, check_kind, check_list
from deeplim.claims import (
    infinite_width,
    normalized,
    one_layer_kernels,
    one_layer_laws,
    proportional,
    residual,
    smooth_norms,
    unshaped,
)
from deeplim.claims.claim import Claim, Figure, Outcome, Result, Series
from deeplim.claims.number import Control, Number
from deeplim.errors import InputError

__all__ = ["ALL", "Claim", "Control", "Figure", "Number", "Outcome", "Result", "Series", "named"]

ALL: tuple[Claim, ...] = (
    *one_layer_kernels.CLAIMS,
    *infinite_width.CLAIMS,
    *residual.CLAIMS,
    *proportional.CLAIMS,
    *smooth_norms.CLAIMS,
    *unshaped.CLAIMS,
    *one_layer_laws.CLAIMS,
    *normalized.CLAIMS,
)
"""Every claim, by theme."""


def named(names: Sequence[str]) -> list[Claim]:
    """Return the claims of these names, each once; all of them when none is given; InputError names close matches."""
    known = {claim.name: claim for claim in ALL}
    names = check_list("names", names, "give a list of claims' names")
    for name in names:
        if check_kind("a name", name, str, "give text") not in known:
            close = get_close_matches(name, known, n=3, cutoff=0.4)
            cure = f"did you mean {' or '.join(close)}" if close else "`deeplim reproduce --list` lists them"
            raise InputError(f"there is no claim called {brief(name)}; {cure}.")
    return [known[name] for name in dict.fromkeys(names)] or list(ALL)
