"""Factories of models, called under seeds of their own that leave no trace in the global random numbers."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from deeplim.errors import InputError
from deeplim.probe.random_states import global_states, seed_all
from deeplim.specs import brief

WEIGHTS, FORWARD, COTANGENT = range(3)
"""What random numbers of one repeat are for; each has a stream of its own."""


def stream(seed: int, repeat: int, purpose: int = WEIGHTS) -> np.random.SeedSequence:
    """Return the seeds of one repeat and purpose: the same whatever the number of repeats."""
    return np.random.SeedSequence(seed, spawn_key=(repeat, purpose))


@contextmanager
def seeded(seed: int, repeat: int, purpose: int = WEIGHTS) -> Iterator[None]:
    """Seed Python's, NumPy's and PyTorch's global random numbers for a repeat; afterwards all are as they were."""
    with ExitStack() as restored:
        for put_back in global_states():
            restored.callback(put_back)
        seed_all([int(word) for word in stream(seed, repeat, purpose).generate_state(2, np.uint64)])
        yield


@contextmanager
def user_code(words: Callable[[str], str]) -> Iterator[None]:
    """Run code of the user's: whatever it raises becomes an InputError, whose words are made of the reason.

    Also what ends a program, as SystemExit does; but a KeyboardInterrupt, which is a person's, passes.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise InputError(words(reason(error))) from error


def build(factory: Callable[[], Any]) -> Any:
    """Return what a factory makes; InputError with what it raised."""
    with user_code(lambda reason: f"{brief(factory)} could not make a model ({reason})."):
        return factory()


def reason(error: BaseException, most: int = 200) -> str:
    """Return an exception's type and words on one line, cut where they are long; its type where it has no words."""
    try:
        words = str(error)
    except KeyboardInterrupt:
        raise
    except BaseException:
        words = ""
    shown = "".join(character if character.isprintable() else " " for character in words)
    text = " ".join(f"{type(error).__name__}: {shown}".split()).removesuffix(":").removesuffix(".")
    return text if len(text) <= most else text[: most - 3] + "..."
