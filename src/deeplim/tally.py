"""Counting blocks of paths as they are drawn, on several threads, into the sums that make a summary."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from deeplim.bins import BINS, OF, gaps_of_log_gaps
from deeplim.inputs import check_first, check_pair
from deeplim.observables import Pair
from deeplim.paths import Clock, Paths

OBSERVED = ("correlation", "correlation_gap", "log_correlation_gap", "log_norm", "angle")
"""The observables in the kernel's order."""
LANES = 16
"""Networks drawn side by side, as in ``simd.lanes``, which is not imported here because it imports Numba."""
_NUMBERS, _MOST, _SHARES = 2**17, 4096, 64
"""A block has about this many numbers, at most so many samples, and is one of at least so many."""


def block_size(samples: int, layers: int, inputs: int) -> int:
    """Return how many samples make a block: what stays in a core's cache, and at most a 64th of all for the threads.

    A multiple of the sixteen networks that are drawn side by side; it depends on the counts alone, not on the machine.
    """
    in_cache = min(_NUMBERS // (layers * inputs * (inputs + 1) // 2), _MOST)
    share = -(-samples // _SHARES)
    return LANES * max(1, min(in_cache // LANES, -(-share // LANES)))


def memory_of_counting(block: int, layers: int) -> tuple[int, int]:
    """Return the bytes that a thread takes to count blocks of so many samples, and those taken beside the threads."""
    histograms = 8 * len(OBSERVED) * layers * (BINS + 2)
    return 8 * block * (len(OBSERVED) + 1) + histograms, 2 * histograms


class Block(NamedTuple):
    """What is kept of a block of paths, but for its histograms.

    outcomes: how many are dead, exploded and aligned. sums: count, mean, m2, m3, m4, low and high.
    """

    samples: int
    time: Float[np.ndarray, " layer"]
    clock: Clock
    names: tuple[str, ...]
    source: str
    outcomes: Int[np.ndarray, "outcome layer"]
    sums: Float[np.ndarray, "sum observable layer"]


class Tally:
    """The histograms of the blocks of paths added so far; several threads may be adding blocks at a time.

    With a single input only its norm is counted. InputError when there is no such pair, or no such input.
    """

    def __init__(self, layers: int, inputs: int, pair: Pair) -> None:
        self._layers, self._inputs = layers, inputs
        self._pair = check_pair(pair, inputs) if inputs > 1 else (check_first(pair, inputs), 1)
        bins = [OF[name] for name in OBSERVED]
        self._bins = (
            np.array([b.smallest for b in bins]),
            np.array([b.low for b in bins]),
            np.array([b.per_unit for b in bins]),
            np.array([b.curved for b in bins]),
        )
        self._idle: list[Int[np.ndarray, "observable layer bin"]] = []

    @property
    def names(self) -> tuple[str, ...]:
        """The observables that are counted."""
        return OBSERVED if self._inputs > 1 else ("log_norm",)

    def add(self, paths: Paths) -> Block:
        """Count a block, into histograms that no other thread has at the time, and return what else is kept of it."""
        from deeplim import tally_kernel  # imports Numba

        count_block: Any = tally_kernel.add_block
        try:
            histograms = self._idle.pop()
        except IndexError:
            histograms = self._room()
        outcomes = np.zeros((3, self._layers), dtype=np.int64)
        sums = np.zeros((7, len(OBSERVED), self._layers))
        sums[5], sums[6] = np.inf, -np.inf
        arrays = [np.ascontiguousarray(array) for array in (paths.log_norm, paths.log_gap, paths.alive)]
        columns = self._pair[0], paths.pair_index(self._pair) if self._inputs > 1 else -1
        buffers = np.empty((len(OBSERVED) + 1, -(-paths.samples // LANES) * LANES))
        count_block(*arrays, columns, self._bins, buffers, outcomes, sums, histograms)
        self._idle.append(histograms)
        names = tuple(paths.names[i] for i in self._pair) if self._inputs > 1 else paths.names
        return Block(paths.samples, paths.time, paths.clock, names, paths.source, outcomes, sums)

    def histograms(self, aligned: Int[np.ndarray, " layer"]) -> dict[str, Int[np.ndarray, "layer bin"]]:
        """Return the counts by observable, over all that was added; aligned: how many pairs had no log gap."""
        total = self._room()
        for histograms in self._idle:
            total += histograms
        found = dict(zip(OBSERVED, total, strict=True))
        found["correlation_gap"] = gaps_of_log_gaps(found["log_correlation_gap"], aligned)
        return {name: found[name] for name in self.names}

    def _room(self) -> Int[np.ndarray, "observable layer bin"]:
        return np.zeros((len(OBSERVED), self._layers, BINS + 2), dtype=np.int64)
