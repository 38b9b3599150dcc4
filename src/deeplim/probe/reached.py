"""What code can get at that is handed to a probe: objects in attributes, containers, closures and named globals."""

import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import islice
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

MOST_OBJECTS = 100_000
"""Objects that are looked at, the nearest first: more are data, and take a second to go through."""
MOST_PARTS = 10_000
"""Entries that are looked at of one container."""
_PLAIN = (str, bytes, bytearray, int, float, complex, range, ModuleType, BuiltinFunctionType, CodeType, type(None))
_LIBRARIES = frozenset(
    ("deeplim", "flax", "jax", "jaxlib", "numba", "numpy", "scipy", "torch", "torchvision", "transformers")
)
"""Packages whose functions hold no random numbers of the user's in their closures and globals."""


def reached(*roots: Any) -> list[Any]:
    """Return the roots and the objects that they lead to, each once, the nearest first.

    Nothing is run to find them: attributes are those that an object stores, and the globals of a function those that
    its code names. Code of libraries is not gone into, but their objects are.
    """
    waiting, seen = deque(roots), dict[int, Any]()
    while waiting and len(seen) < MOST_OBJECTS:
        one = waiting.popleft()
        if id(one) not in seen and not isinstance(one, _PLAIN):
            seen[id(one)] = one
            waiting.extend(_parts(one))
    return list(seen.values())


def _parts(one: Any) -> Iterator[Any]:
    if isinstance(one, dict):
        yield from islice(list(one.values()), MOST_PARTS)
    elif isinstance(one, list | tuple | set | frozenset | deque):
        yield from islice(list(one), MOST_PARTS)
    elif isinstance(one, partial):
        yield from (one.func, one.args, one.keywords)
    elif isinstance(one, MethodType):
        yield from (one.__self__, one.__func__)
    elif isinstance(one, FunctionType):
        yield from _of_function(one)
    elif isinstance(one, type):
        yield from () if _of_library(one) else (*vars(one).values(), *one.__bases__)
    else:
        yield from (*_stored(one), type(one))


def _of_function(function: FunctionType) -> Iterator[Any]:
    yield from (function.__defaults__, function.__kwdefaults__, function.__dict__)
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # a name that has no value yet
            continue
    if not _of_library(function):
        named = _names(function.__code__)
        yield from (function.__globals__[name] for name in named if name in function.__globals__)


def _names(code: CodeType) -> set[str]:
    """The names that code looks up, those of functions inside it among them."""
    inside = (_names(part) for part in code.co_consts if isinstance(part, CodeType))
    return set(code.co_names).union(*inside)


def _stored(one: Any) -> Iterable[Any]:
    """The attributes that an object stores; none of one that does not tell."""
    try:
        attributes = object.__getattribute__(one, "__dict__")
    except Exception:
        return ()
    return list(attributes.values()) if isinstance(attributes, Mapping) else ()


def _of_library(one: Any) -> bool:
    """Whether a function or a class is Python's own or a library's."""
    module = one.__module__ if isinstance(one.__module__, str) else ""
    package = module.partition(".")[0]
    return package in _LIBRARIES or package in sys.stdlib_module_names
