"""Where random numbers stand: global ones of Python, NumPy and PyTorch, and the generators that code can reach."""

import random
import sys
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np

from deeplim.probe.contents import Restore

_LEGACY: Any = np.random
"""NumPy's functions of the old kind share one object, whose bit generator can be replaced; models may use them."""


def global_states() -> Iterator[Restore]:
    """Yield what puts the global random numbers of each library back to where they are now."""
    yield partial(random.setstate, random.getstate())
    yield partial(_put_back_numpy, _LEGACY.get_bit_generator(), _LEGACY.get_state(legacy=False))
    torch: Any = sys.modules.get("torch")
    if torch is None:
        yield _as_after_import
        return
    yield partial(torch.default_generator.set_state, torch.default_generator.get_state())
    for get, put, place in _accelerators(torch):
        yield partial(put, get(*place), *place)


def _put_back_numpy(bits: Any, state: Any) -> None:
    _LEGACY.set_bit_generator(bits)
    _LEGACY.set_state(state)


def _accelerators(torch: Any) -> Iterator[tuple[Any, Any, tuple[int, ...]]]:
    """What gets and sets the state of each accelerator's generator, and the arguments that name it."""
    if not torch.accelerator.is_available():
        return
    kind = torch.accelerator.current_accelerator().type
    device = torch.get_device_module(kind)
    places: list[tuple[int, ...]] = [()] if kind == "mps" else [(i,) for i in range(device.device_count())]
    for place in places:
        yield device.get_rng_state, device.set_rng_state, place


def _as_after_import() -> None:
    """Put PyTorch's random numbers, if it was imported meanwhile, to where an import leaves them."""
    torch: Any = sys.modules.get("torch")
    if torch is not None:
        torch.default_generator.manual_seed(torch.Generator().initial_seed())


def seed_all(words: list[int]) -> None:
    """Seed the global random numbers of Python and NumPy by the second word, those of PyTorch by the first."""
    random.seed(words[1])
    if not isinstance(_LEGACY.get_bit_generator(), np.random.MT19937):  # which alone can be seeded
        _LEGACY.set_bit_generator(np.random.MT19937(0))
    _LEGACY.seed(words[1] % 2**32)
    torch: Any = sys.modules.get("torch")
    if torch is not None:
        # Where there is no accelerator, manual_seed queues a call for one with its traceback, and keeps them all.
        generator = torch if torch.accelerator.is_available() else torch.default_generator
        generator.manual_seed(words[0])


def generator_states(objects: Iterable[Any]) -> Iterator[Restore]:
    """Yield what puts each generator of random numbers among some objects back to where it is now."""
    torch: Any = sys.modules.get("torch")
    nnx: Any = sys.modules.get("flax.nnx")
    for one in objects:
        if isinstance(one, random.Random) and not isinstance(one, random.SystemRandom):
            yield partial(one.setstate, one.getstate())
        elif isinstance(one, np.random.RandomState):
            yield partial(one.set_state, one.get_state(legacy=False))
        elif isinstance(one, np.random.Generator | np.random.BitGenerator):
            bits = one.bit_generator if isinstance(one, np.random.Generator) else one
            yield partial(setattr, bits, "state", bits.state)
        elif torch is not None and isinstance(one, torch.Generator):
            yield partial(one.set_state, one.get_state())
        elif nnx is not None and isinstance(one, nnx.RngState):
            yield partial(one.set_raw_value, one.get_raw_value())
