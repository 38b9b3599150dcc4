"""How long the steps of a diffusion are, and which random numbers each of its paths is given."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from deeplim.parallel import in_threads

LONGEST_STEP = 1 / 32
"""Longest step in units of unit noise; the bias of the mean correlation it leaves is below 1e-4 (see the tests)."""
_LARGEST_LAYER = 0.1
_SHORTEST_STEP = 1 / 512
_NUMBERS_PER_BLOCK = 4_000_000


def step_plan(
    time: Float[np.ndarray, " layer"], strength: float, longest: float = LONGEST_STEP
) -> tuple[Float[np.ndarray, " step"], np.ndarray]:
    """Return the steps that lead through the recorded times, and how many steps come before each of them.

    strength: the rate of the drift; a step follows it for 0.1 of its own time at most.
    """
    if strength > 0:
        longest = min(longest, max(_LARGEST_LAYER / strength, _SHORTEST_STEP))
    waits = np.diff(time, prepend=0.0)
    counts = np.ceil(waits / longest - 1e-9).astype(np.int64)
    steps = [np.full(k, wait / k) for wait, k in zip(waits, counts, strict=True) if k > 0]
    return (np.concatenate(steps) if steps else np.zeros(0)), np.cumsum(counts)


def in_blocks(fill: Callable[[np.random.Generator, int, slice], None], samples: int, numbers: int, seed: int) -> None:
    """Call fill(rng, paths, part) on blocks of paths, each with a generator keyed by the seed and the block.

    ``fill`` draws random numbers for ``paths`` paths, a whole block, and keeps those of ``part``, so that a sample path
    of a seed is the same however many are asked for. ``numbers`` is how many random numbers a path takes.
    """
    block = max(1, min(512, _NUMBERS_PER_BLOCK // max(numbers, 1)))

    def run(first: int) -> None:
        fill(np.random.default_rng([seed, first // block]), block, slice(first, min(first + block, samples)))

    for _ in in_threads(run, range(0, samples, block)):
        pass
