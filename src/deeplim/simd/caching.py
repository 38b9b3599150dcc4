"""Compiled kernels kept on disk, safely: one file for each, named by all that it depends on, and written whole.

Numba's own cache notices a change of the file that a kernel is in, but not of those it calls, hands out file names from
an index that two processes may read at once, and gives up where neither the package nor the home can be written.

What is in these files is run. So they are in a folder that no other user can write in (``private_folder``), and each
begins with a digest of its name and of all its bytes, checked before any of them is understood: one changed bit would
be wrong numbers or a crash. A file that fails is removed, and the kernel compiled again.
"""

import hashlib
import os
import pickle
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from types import FunctionType
from typing import Any

import llvmlite
import numba
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

from deeplim.private_folder import PrivateFolder, private_folder

_PACKAGE = Path(__file__).parent.parent
_COMPILED = (
    *(
        "simd",
        "finite",
        "limits",
        "tally_kernel.py",
        "bins.py",
        "resolution.py",
        "gaussian.py",
        "panels.py",
        "hermite.py",
    ),
    "probe/products_kernel.py",
)
"""Where the code that kernels are made of is."""
_MOST_FILES = 200
_MARK = b"deeplim kernel 1\n"
"""What every kernel's file begins with; the digest of its name and content comes next."""
_DIGEST_BYTES = 32
_OWN_NAME = re.compile(r"[A-Za-z0-9_.]{1,150}-[0-9a-f]{64}\.kernel")
"""What such a file is called. Nothing else is ever removed."""
_PLAIN = (int, bool, str, float, type(None))


def kernel(**options: Any) -> Callable[[FunctionType], Any]:
    """Return ``numba.njit(**options)`` that keeps what it compiles on disk.

    A function with anything but numbers, strings and compiled functions of this package in its closure is compiled anew
    in each process.
    """

    def decorate(function: FunctionType) -> Any:
        compiled = numba.njit(**options)(function)
        if "NUMBA_DISABLE_JIT" not in os.environ:
            compiled._cache = KernelCache(function)
        return compiled

    return decorate


class KernelCache:
    """What a Numba dispatcher asks of its cache. Whatever goes wrong with a file, the kernel is compiled instead."""

    def __init__(self, function: FunctionType) -> None:
        self._function = function
        self._enabled = True

    @property
    def cache_path(self) -> str | None:
        """Where kernels are kept, or None where there is no such place."""
        place = _place()
        return None if place is None else str(place)

    def enable(self) -> None:
        """Use the cache from here on."""
        self._enabled = True

    def disable(self) -> None:
        """Compile everything from here on."""
        self._enabled = False

    def flush(self) -> None:
        """Nothing: files that are no longer asked for are removed as new ones come."""

    def load_overload(self, signature: Any, context: Any) -> Any:
        """Return what was compiled for these types on this machine, or None."""
        context.refresh()
        try:
            name, place = self._name(signature, context.codegen()), _place()
            if name is None or place is None:
                return None
            with private_folder(place) as folder:
                content = _kept(folder, name)
            return None if content is None else CompileResult._rebuild(context, *pickle.loads(content))
        except Exception:  # no file, or one that this Numba cannot make a kernel of
            return None

    def save_overload(self, signature: Any, result: Any) -> None:
        """Keep what was compiled."""
        try:
            name, place = self._name(signature, result.codegen), _place()
            if name is None or place is None or result.lifted or result.library.has_dynamic_globals:
                return
            content = dumps(result._reduce())
            with private_folder(place) as folder:
                folder.write(name, _sealed(name, content))
                _remove_oldest(folder)
        except Exception:  # a full or read-only disk costs the next process a compilation, not this one its result
            return

    def _name(self, signature: Any, codegen: Any) -> str | None:
        """The name of the file for these types, or None where the kernel is not kept."""
        told = _told(self._function)
        if not self._enabled or told is None:
            return None
        key = (told, str(signature), codegen.magic_tuple(), _versions(), _sources())
        words = re.sub(r"[^A-Za-z0-9_.]", "", f"{self._function.__module__}.{self._function.__qualname__}")
        return f"{words[-150:]}-{hashlib.sha256(repr(key).encode()).hexdigest()}.kernel"


def _sealed(name: str, content: bytes) -> bytes:
    """A file's content behind the digest that it is checked against."""
    return _MARK + _digest(name, content) + content


def _digest(name: str, content: bytes) -> bytes:
    found = hashlib.sha256(name.encode() + b"\0")
    found.update(content)
    return found.digest()


def _kept(folder: PrivateFolder, name: str) -> bytes | None:
    """The content of a file whose digest is right, or None; any other file of this name is removed."""
    try:
        sealed = folder.read(name)
    except FileNotFoundError:
        return None
    except OSError:  # a link, or a file that others can write
        sealed = b""
    head = len(_MARK) + _DIGEST_BYTES
    content = sealed[head:]
    if sealed[:head] != _MARK + _digest(name, content):
        folder.remove(name)
        return None
    with suppress(OSError):
        folder.touch(name)
    return content


def _told(function: FunctionType) -> str | None:
    """A function by its name and what it closes over; None where that is neither plain nor compiled from our files."""
    values = [_value_told(cell.cell_contents) for cell in function.__closure__ or ()]
    return None if None in values else f"{function.__module__}.{function.__qualname__}({', '.join(map(str, values))})"


def _value_told(value: Any) -> str | None:
    if isinstance(value, _PLAIN):
        return repr(value)
    inner = getattr(value, "py_func", None)
    return _told(inner) if inner is not None and Path(inner.__code__.co_filename) in _files() else None


def _versions() -> tuple[str, ...]:
    settings = (getattr(numba.config, name, None) for name in ("OPT", "BOUNDSCHECK", "DEBUGINFO_DEFAULT"))
    return numba.__version__, llvmlite.__version__, sys.version, *map(str, settings)


@lru_cache(maxsize=1)
def _sources() -> str:
    """A digest of all the code that kernels are made of."""
    digest = hashlib.sha256()
    for file in sorted(_files()):
        digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()


@lru_cache(maxsize=1)
def _files() -> frozenset[Path]:
    places = [_PACKAGE / name for name in _COMPILED]
    return frozenset(file for place in places for file in (place.glob("*.py") if place.is_dir() else [place]))


@lru_cache(maxsize=1)
def _place() -> Path | None:
    """The first folder that is safe: in NUMBA_CACHE_DIR, the user's cache, a private one for temporary files."""
    for place in _candidates():
        try:
            with private_folder(place):
                return place
        except OSError:
            continue
    return None


def _candidates() -> Iterator[Path]:
    if given := os.environ.get("NUMBA_CACHE_DIR"):
        yield Path(given).absolute() / "deeplim"
    from platformdirs import user_cache_path

    with suppress(RuntimeError):  # where there is no home
        yield user_cache_path("deeplim") / "kernels"
    yield Path(tempfile.gettempdir()) / f"deeplim-kernels-{_user()}"


def _user() -> int:
    """The number of the user; 0 on systems without."""
    return os.getuid() if hasattr(os, "getuid") else 0


def _remove_oldest(folder: PrivateFolder) -> None:
    """Keep the kernels used last, and every file that is not one of ours."""
    ages = {name: age for name, age in folder.ages().items() if _OWN_NAME.fullmatch(name)}
    for name in sorted(ages, key=lambda name: ages[name])[:-_MOST_FILES]:
        with suppress(OSError):
            if folder.read(name).startswith(_MARK):
                folder.remove(name)
