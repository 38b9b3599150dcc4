"""Lists, dicts, sets and arrays put back to what was in them."""

from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np

Restore = Callable[[], object]
"""Puts something back to where it was."""
_CONTAINERS = (list, dict, set, deque, OrderedDict, defaultdict, Counter)
"""Python's own: what other ones do when they are filled is not known."""


def contents_of(
    values: Iterable[Any], seen: dict[int, Any], other: Callable[[Any], Iterable[Any]] = lambda one: ()
) -> list[Restore]:
    """Return what puts containers and arrays among some values back, those inside others too, each once.

    seen: what has been met before, by its id. other: is given everything else, and returns what is to be looked at for
    its sake.
    """
    parts: list[Restore] = []
    waiting = list(values)
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        kind = type(one)
        if kind in _CONTAINERS or kind is tuple:
            seen[id(one)] = one
            inside = list(one.values()) if isinstance(one, dict) else list(one)
            waiting += inside
            if kind is not tuple:
                parts.append(partial(_put_back, one, dict(one) if isinstance(one, dict) else inside))
        elif kind is np.ndarray:
            seen[id(one)] = one
            if one.flags.writeable and one.dtype != object:
                parts.append(partial(np.copyto, one, one.copy()))
        elif not isinstance(one, str | int | float):
            seen[id(one)] = one
            waiting += other(one)
    return parts


def _put_back(one: Any, held: Any) -> None:
    if isinstance(one, dict):
        put_back_dict(one, held)
    elif isinstance(one, set):
        if one != set(held):
            one.clear()
            one.update(held)
    elif len(one) != len(held) or any(a is not b for a, b in zip(one, held, strict=True)):
        one.clear()
        one.extend(held)


def put_back_dict(now: dict[Any, Any], held: dict[Any, Any]) -> None:
    """Give a dictionary the entries that another has, in their order, where they are not the very same."""
    if list(now) != list(held) or any(now[name] is not held[name] for name in held):
        now.clear()
        now.update(held)
