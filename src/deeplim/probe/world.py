"""One probe at a time, and the world afterwards as it was: random numbers, settings, and models that are the user's."""

import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from deeplim.probe.contents import Restore, contents_of
from deeplim.probe.random_states import generator_states, global_states
from deeplim.probe.reached import reached

_lock = threading.RLock()


def _renew() -> None:
    """Make the lock anew in a process that was forked, where no thread is left to release it."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)


@contextmanager
def alone() -> Iterator[None]:
    """Let no other thread probe meanwhile; one that holds this may probe again, as a factory may that is called.

    Probes seed global random numbers, and change the modes of models that threads may share.
    """
    with _lock:
        yield


@contextmanager
def undisturbed(*given: Any) -> Iterator[None]:
    """Run user code, in one thread at a time, and put back what it disturbs, also when it raises or is interrupted.

    Global random numbers of Python, NumPy and PyTorch, the generators of random numbers that ``given`` lead to, the
    settings of NumPy, PyTorch and JAX, the filters of warnings, and PyTorch and Flax models that ``given`` lead to.
    """
    with alone(), warnings.catch_warnings(), ExitStack() as restored:
        found = reached(*given)
        for put_back in (*global_states(), *generator_states(found), *_settings(), *_of_flax(found)):
            restored.callback(put_back)
        if sys.modules.get("torch") is not None:
            from torch import nn

            from deeplim.probe.torch_states import kept

            restored.enter_context(kept([one for one in found if isinstance(one, nn.Module)]))
        yield


def _of_flax(objects: list[Any]) -> list[Restore]:
    """What puts back containers and arrays that Flax models hold: all else they have is run in a copy."""
    nnx: Any = sys.modules.get("flax.nnx")
    models = [] if nnx is None else [one for one in objects if isinstance(one, nnx.Module)]
    return contents_of((value for model in models for value in vars(model).values()), {})


def _settings() -> Iterator[Restore]:
    errors, call = np.geterr(), np.geterrcall()
    yield lambda: (np.seterr(**errors), np.seterrcall(call))
    jax: Any = sys.modules.get("jax")
    if jax is not None:
        values = dict(jax.config.values)
        yield lambda: [jax.config.update(name, was) for name, was in values.items() if jax.config.values[name] != was]
    if sys.modules.get("torch") is not None:
        from deeplim.probe.torch_settings import settings

        yield from settings()
