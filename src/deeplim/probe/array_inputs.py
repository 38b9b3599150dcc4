"""Inputs to a JAX model or to a function: arrays, keyword or positional arguments, or batches of these."""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np

from deeplim.errors import InputError
from deeplim.inputs import MOST_INPUTS
from deeplim.probe.factories import reason, user_code
from deeplim.specs import brief, counted

_KINDS = (
    "an array, lists of numbers, a dict of keyword arguments, a tuple of positional ones, or an iterable of batches of "
    "these"
)

MOST_BATCHES = 64
"""Batches of an iterator that are kept: as many as there are inputs in a probe."""


@dataclass(frozen=True)
class Arguments:
    """What a model is called with: ``count`` inputs along the first axis of its arrays, and what was taken."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    count: int
    taken: str

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays among the arguments, by name or position."""
        every = {str(i): value for i, value in enumerate(self.args)} | self.kwargs
        return {name: value for name, value in every.items() if isinstance(value, np.ndarray) and value.ndim}

    @property
    def first(self) -> str | None:
        """The name of the first floating array that holds an input a row: the signal of the inputs themselves."""
        fits = (name for name, a in self.arrays.items() if is_floating(a.dtype) and a.ndim > 1 and len(a) == self.count)
        return next(fits, None)

    @property
    def tokens(self) -> int:
        """The length of the sequences that the inputs are, of whole numbers or of vectors; 0 where they are none."""
        for a in self.arrays.values():
            if len(a) == self.count and a.ndim == (3 if is_floating(a.dtype) else 2):
                return int(a.shape[1])
        return 0

    @property
    def shapes(self) -> str:
        """The shapes of the arrays, as text."""
        return ", ".join(str(a.shape) for a in self.arrays.values())


def numbers(value: Any, least: int = 1) -> Any:
    """Return nested lists of numbers, at least so deep, as NumPy's array; anything else as it is.

    InputError when they are lists of unequal lengths.
    """
    deep = _depth(value)
    if deep < least:
        return value
    try:
        return np.array(value)
    except ValueError:
        raise InputError("the inputs are lists of unequal lengths; give as many numbers for each input.") from None


def held_batches(inputs: Any) -> Any:
    """Return inputs that can be gone through more than once: of an iterator, its first batches in a list."""
    if not isinstance(inputs, Iterator):
        return inputs
    with user_code(lambda reason: f"the batches of inputs could not be read ({reason}); give {_KINDS}."):
        return list(islice(inputs, MOST_BATCHES))


def copied(value: Any) -> Any:
    """Return a copy of what a model is called with, for it may write into it; what cannot be copied as it is."""
    try:
        return copy.deepcopy(value)
    except Exception:
        return value


def _depth(value: Any) -> int:
    """How many lists are around numbers; 0 where something else is inside, or nothing."""
    if not isinstance(value, list | tuple) or not value:
        return 0
    if all(isinstance(part, bool | int | float | np.number) for part in value):
        return 1
    depths = [_depth(part) for part in value]
    return max(depths) + 1 if all(depths) else 0


def check_bits(dtype: np.dtype) -> None:
    """Raise InputError for numbers of more than double precision, which no framework has."""
    if dtype.itemsize > (16 if dtype.kind == "c" else 8):
        cure = "complex" if dtype.kind == "c" else "float"
        raise InputError(f"an array of type {dtype} was given as inputs; give double precision, array.astype({cure}).")


def held(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Return words for inputs that hold nothing."""
    return f"the inputs {brief(args or kwargs)}" if args or kwargs else "empty inputs"


def is_floating(dtype: np.dtype) -> bool:
    """Whether numbers of this type are floating, bfloat16 among them, which NumPy calls void."""
    return dtype.kind == "f" or dtype.name.startswith(("bfloat", "float"))


def read_arguments(inputs: Any, most: int) -> Arguments:
    """Return what a model is called with; InputError when it is empty, too large, not numbers or not finite."""
    if isinstance(inputs, list):
        inputs = numbers(inputs)
    if isinstance(inputs, Mapping):
        found = _arguments((), {str(name): _array(value) for name, value in inputs.items()}, "")
    elif isinstance(inputs, tuple):
        found = _arguments(tuple(_array(value) for value in inputs), {}, "")
    elif hasattr(inputs, "__array__"):
        found = _arguments((_array(inputs),), {}, "")
    elif isinstance(inputs, Iterable) and not isinstance(inputs, str | bytes):
        found = _arguments(*collect(inputs, most, _batch, np.ndarray, np.concatenate, _KINDS))
    else:
        raise InputError(f"inputs of type {type(inputs).__name__} were given; give {_KINDS}.")
    if not 1 <= found.count <= MOST_INPUTS:
        raise InputError(f"{found.count} inputs were given; give from 1 to {MOST_INPUTS} at a time.")
    for name, a in found.arrays.items():
        if is_floating(a.dtype) and not np.isfinite(a).all():
            raise InputError(f"the inputs ({name}) contain a NaN or an infinity; every entry must be a finite number.")
    return found


def _array(value: Any) -> Any:
    """Arrays of any framework as NumPy's, of their own type; what is none, such as a flag, as it is."""
    value = numbers(value, least=2)  # one list may be an option, such as a shape
    if not hasattr(value, "__array__"):
        return value
    kind = type(value).__name__
    with user_code(  # as a tensor raises that is sparse, or has a gradient
        lambda why: (
            f"an object of type {kind} was given as inputs that is no array of numbers ({why}); give one that "
            "NumPy can read."
        )
    ):
        array = np.asarray(value)
    if array.ndim == 0:
        return value
    if array.dtype.kind not in "biuf" and not is_floating(array.dtype):
        raise InputError(f"an array of type {array.dtype} was given as inputs; give real numbers.")
    return array


def _arguments(args: tuple[Any, ...], kwargs: dict[str, Any], taken: str) -> Arguments:
    found = Arguments(args, kwargs, 0, taken)
    if not found.arrays:
        raise InputError(f"{held(args, kwargs)} hold no array with an axis; give {_KINDS}.")
    return replace(found, count=len(next(iter(found.arrays.values()))))


def collect(
    batches: Iterable[Any],
    most: int,
    read: Callable[[Any], dict[str, Any]],
    array: Any,
    join: Callable[[list[Any]], Any],
    kinds: str,
) -> tuple[tuple[Any, ...], dict[str, Any], str]:
    """Return the first ``most`` inputs of batches as positional and keyword arguments, and words on what was taken.

    ``read`` gives a batch by names, "0" for one positional argument, with an array among them; ``array`` and ``join``
    are the library's. InputError when there is no batch, or when one cannot be read; ``kinds`` are those that can.
    """

    def rows(value: Any) -> bool:
        return isinstance(value, array) and bool(value.ndim)

    taken: list[dict[str, Any]] = []
    count = 0
    try:
        for batch in batches:
            one, room = read(batch), most - count
            size = next(len(value) for value in one.values() if rows(value))
            if not size:
                raise InputError("a batch without inputs was given; leave it out.")
            cut = {name: value[:room] if rows(value) and len(value) == size else value for name, value in one.items()}
            taken.append(cut)
            count += min(size, room)
            if count == most:
                break
        if not taken:
            raise InputError("the iterable of batches that was given is empty; give at least one input.")
        parts = {name: [batch[name] for batch in taken] for name in taken[0]}
        joined = {
            name: join(every) if all(map(rows, every)) and len(every) > 1 else every[0] for name, every in parts.items()
        }
    except (InputError, KeyboardInterrupt):
        raise
    except BaseException as error:  # whatever the loader's workers and transforms do
        raise InputError(f"the batches of inputs could not be read ({reason(error)}); give {kinds}.") from error
    told = f"first {counted(count, 'input')} of {counted(len(taken), 'batch', 'batches')}"
    positional = tuple(joined.pop(name) for name in ("0",) if name in joined)
    return positional, joined, told


def _batch(batch: Any) -> dict[str, Any]:
    """A batch by names, x alone where it is (x, y)."""
    x = batch[0] if isinstance(batch, tuple | list) and batch else batch
    if isinstance(x, Mapping):
        one = _arguments((), {str(name): _array(value) for name, value in x.items()}, "")
    else:
        one = _arguments((_array(x),), {}, "")
    return {str(i): value for i, value in enumerate(one.args)} | one.kwargs
