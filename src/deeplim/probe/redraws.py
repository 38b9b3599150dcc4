"""Parameters drawn again from their own entries: shuffled, and where they are drawn about zero with signs drawn anew.

Shuffling alone would keep the sum of a matrix's entries, and with it what all units of a layer are given in common: the
norm of a ReLU layer moves by its first power, so that copies would agree with each other in a third of the variance
that initializations have.
"""

import numpy as np

SAMPLE = 1 << 20
"""Entries, once they are shuffled, that are enough to tell a mean."""
_FEWEST = 16
"""Entries below which no mean is told from zero."""
_ERRORS = 5.0


def signs_of(entries: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray | None:
    """Return so many random signs for a parameter with these entries among its own; None where its mean is not zero.

    Not zero is a mean of more than five standard errors, and that of fewer than sixteen entries. Pairs of real numbers
    are complex ones.
    """
    if len(entries) < _FEWEST:
        return None
    mean, deviation = entries.mean(axis=0), entries.std(axis=0, ddof=1)
    if (np.abs(mean) > _ERRORS * deviation / np.sqrt(len(entries))).any():
        return None
    return rng.integers(0, 2, count, dtype=np.int8) * np.int8(2) - np.int8(1)
