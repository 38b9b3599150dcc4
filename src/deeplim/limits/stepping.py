"""How long the steps of a diffusion are, and which random numbers each of its paths is given."""

import os
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from deeplim.parallel import in_threads

LONGEST_STEP = 1 / 8
"""Longest step of a pair in units of unit noise, whose own noise is exact.

Means and standard deviations of correlations are good to 2e-4 (drifts up to 0.6), 2e-5 for the typical pair: see tests.
"""
LONGEST_JOINT_STEP = 1 / 16
"""The same for more inputs, whose noise is of second weak order and leaves 1e-4."""
LONGEST_NOISE = 1.0
"""Longest exact step of a pair's noise, in the same units: its series are good to rounding that far."""
_LARGEST_LAYER = 0.5
_SHORTEST_STEP = 1 / 512
_OUTER = 0.5 - np.sqrt(3) / 6
_NUMBERS_PER_BLOCK = 4_000_000
_PATHS_PER_BATCH, _BATCHES_PER_CORE, _BLOCK = 65_536, 4, 32


class Plan(NamedTuple):
    """The steps of paths: each follows the drift for one time and then the noise for another, and either may be 0.

    recorded: how many steps come before each recorded layer.
    """

    drifts: Float[np.ndarray, " step"]
    noises: Float[np.ndarray, " step"]
    recorded: Int[np.ndarray, " layer"]


def split_plan(time: Float[np.ndarray, " layer"], strength: float, longest: float) -> Plan:
    """Return the steps that lead through the recorded times, of second weak order in the step.

    strength: the rate of the drift; a step follows it for 0.5 of its own time at most. longest: the longest step.

    A step of length h is drift for c h, noise for h/2, drift for (1 - 2c) h, noise for h/2, drift for c h, with
    c = 1/2 - sqrt(3)/6: of all symmetric splittings with two noises the one whose error has no part of second order in
    the drift (McLachlan 1995). A wait of half a step is Strang's, with one noise; drifts that meet are joined.
    """
    drifts, noises, recorded, left = [], [], [], 0.0
    if strength > 0:
        longest = min(longest, max(_LARGEST_LAYER / strength, _SHORTEST_STEP))
    for wait in np.diff(time, prepend=0.0):
        if wait > 0:
            pattern = (0.5, 0.5) if wait <= longest / 2 else (_OUTER, 1 - 2 * _OUTER, _OUTER)
            count = int(np.ceil(wait / longest - 1e-9))
            for _ in range(count):
                for part in pattern[:-1]:
                    drifts.append(left + part * wait / count)
                    noises.append(wait / count / (len(pattern) - 1))
                    left = 0.0
                left = pattern[-1] * wait / count
            drifts.append(left)
            noises.append(0.0)
            left = 0.0
        recorded.append(len(drifts))
    return Plan(np.array(drifts, dtype=float), np.array(noises, dtype=float), np.array(recorded, dtype=np.int64))


def in_batches(fill: Callable[[int, slice], None], samples: int) -> None:
    """Call fill(first, part) on batches of paths, for kernels that draw the random numbers of each path themselves."""
    cores = os.cpu_count() or 1
    batch = min(_PATHS_PER_BATCH, -(-samples // (cores * _BATCHES_PER_CORE)))
    batch = -(-batch // _BLOCK) * _BLOCK

    def run(first: int) -> None:
        fill(first, slice(first, min(first + batch, samples)))

    for _ in in_threads(run, range(0, samples, batch)):
        pass


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
