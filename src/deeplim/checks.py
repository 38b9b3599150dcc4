"""What every sampler checks before it starts: its counts, its seed, and that what it returns fits in memory."""

import os
from typing import Any

import numpy as np

from deeplim.errors import InputError

MOST_SAMPLES = 1_000_000_000


def check_count(what: str, count: Any) -> int:
    """Return the number of networks or samples; InputError unless it is a whole number from 1 to 10^9."""
    if isinstance(count, bool) or not isinstance(count, int | np.integer) or not 1 <= count <= MOST_SAMPLES:
        raise InputError(f"{count} {what} were asked for; give a whole number from 1 to {MOST_SAMPLES:,}.")
    return int(count)


def check_seed(seed: Any) -> int:
    """Return the seed; InputError unless it is a whole number from 0 to 2^63 - 1."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 2**63:
        raise InputError(f"the seed {seed} was given; it must be a whole number from 0 to 2^63 - 1.")
    return int(seed)


def memory_of_paths(samples: int, layers: int, inputs: int) -> int:
    """Return the bytes that paths of this size take while they are made: their numbers, and marks of the lost ones."""
    pairs = inputs * (inputs - 1) // 2
    return samples * layers * (8 * (inputs + pairs) + 2 + max(inputs, 2 * pairs))


def check_memory(samples: int, layers: int, inputs: int) -> None:
    """Raise InputError when paths of this size would not fit in the machine's memory."""
    needed = memory_of_paths(samples, layers, inputs)
    held = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else None
    if held is not None and needed > 0.8 * held:
        raise InputError(
            f"{samples:,} samples of {inputs} inputs at {layers} layers take {needed / 2**30:.1f} GiB and the "
            f"machine has {held / 2**30:.1f}; ask for fewer samples, layers or inputs, or for networks' summary alone: "
            "dl.summarize, or simulate without --output."
        )
