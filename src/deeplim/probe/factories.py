"""Factories of models, called under seeds of their own that leave no trace in the global random numbers."""

import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from deeplim.errors import InputError
from deeplim.specs import brief

WEIGHTS, FORWARD, COTANGENT = range(3)
"""What random numbers of one repeat are for; each has a stream of its own."""


def stream(seed: int, repeat: int, purpose: int = WEIGHTS) -> np.random.SeedSequence:
    """Return the seeds of one repeat and purpose: the same whatever the number of repeats."""
    return np.random.SeedSequence(seed, spawn_key=(repeat, purpose))


@contextmanager
def seeded(seed: int, repeat: int, purpose: int = WEIGHTS) -> Iterator[None]:
    """Seed Python's, NumPy's and PyTorch's global random numbers for a repeat; afterwards all are as they were."""
    words = [int(word) for word in stream(seed, repeat, purpose).generate_state(2, np.uint64)]
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 (a factory may use them)
    torch = sys.modules.get("torch")
    try:
        if torch is None:
            random.seed(words[1])
            np.random.seed(words[1] % 2**32)  # noqa: NPY002
            yield
            return
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            random.seed(words[1])
            np.random.seed(words[1] % 2**32)  # noqa: NPY002
            # Where there is no accelerator, manual_seed queues a call for one with its traceback, and keeps them all.
            generator = torch if torch.accelerator.is_available() else torch.default_generator
            generator.manual_seed(words[0])
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002


def build(factory: Callable[[], Any]) -> Any:
    """Return what a factory makes; InputError with what it raised."""
    try:
        return factory()
    except Exception as error:
        raise InputError(f"{brief(factory)} could not make a model ({reason(error)}).") from error


def reason(error: BaseException, most: int = 200) -> str:
    """Return an exception's type and words on one line, cut where they are long."""
    text = " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":").removesuffix(".")
    return text if len(text) <= most else text[: most - 3] + "..."
