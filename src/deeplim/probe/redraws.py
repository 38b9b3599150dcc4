"""Parameters drawn again from their own entries: shuffled, and where they are drawn about zero with signs drawn anew.

Shuffling alone would keep the sum of a matrix's entries, and with it what all units of a layer are given in common: the
norm of a ReLU layer moves by its first power, so that copies would agree with each other in a third of the variance
that initializations have. Entries that are exactly zero keep their places: a padding row, weights that are masked or
pruned. Parameters with equal values, such as layers that are copies of one another, stay equal.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np

SAMPLE = 1 << 20
"""Entries, once they are shuffled, that are enough to tell a mean."""
FIRST = 64
"""Entries that tell most parameters apart, before all are compared."""
_FEWEST = 4
"""Entries below which no mean is told from zero."""
_ERRORS = 5.0


def alike(parameters: Sequence[Any], looks: Callable[[Any], Hashable], equal: Callable[[Any, Any], bool]) -> list[int]:
    """Return for each parameter the place of the first with its values: its own place where it is that.

    looks: what is the same of equal ones, such as type, shape and first entries; equal: whether two of one look are.
    """
    places: list[int] = []
    firsts: dict[Hashable, list[int]] = {}
    for place, parameter in enumerate(parameters):
        candidates = firsts.setdefault(looks(parameter), [])
        first = next((one for one in candidates if equal(parameters[one], parameter)), place)
        if first == place:
            candidates.append(place)
        places.append(first)
    return places


def signs_of(entries: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray | None:
    """Return so many random signs for a parameter with these entries among its own; None where its mean is not zero.

    Not zero is a mean of more than five standard errors, that of entries of one sign, such as scales and slopes, and
    that of fewer than four. Entries are not zero; pairs of real numbers are complex ones.
    """
    if len(entries) < _FEWEST:
        return None
    mean, deviation = entries.mean(axis=0), entries.std(axis=0, ddof=1)
    if (np.abs(mean) > _ERRORS * deviation / np.sqrt(len(entries))).any():
        return None
    if ((entries > 0).all(axis=0) | (entries < 0).all(axis=0)).any():
        return None
    return rng.integers(0, 2, count, dtype=np.int8) * np.int8(2) - np.int8(1)
