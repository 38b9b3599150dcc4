"""Compiled kernels kept on disk, safely: one file for each, named by all that it depends on, and written whole.

Numba's own cache notices a change of the file that a kernel is in, but not of those it calls, hands out file names from
an index that two processes may read at once, and gives up where neither the package nor the home can be written.
"""

import hashlib
import os
import pickle
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

from deeplim.files import write_whole

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
            file = self._file(signature, context.codegen())
            if file is None:
                return None
            found = CompileResult._rebuild(context, *pickle.loads(file.read_bytes()))
            os.utime(file)
        except Exception:  # no file, or one that cannot be read or understood
            return None
        return found

    def save_overload(self, signature: Any, result: Any) -> None:
        """Keep what was compiled."""
        try:
            file = self._file(signature, result.codegen)
            if file is None or result.lifted or result.library.has_dynamic_globals:
                return
            content = dumps(result._reduce())
            write_whole(file, lambda opened: opened.write(content))
            _remove_oldest(file.parent)
        except Exception:  # a full or read-only disk costs the next process a compilation, not this one its result
            return

    def _file(self, signature: Any, codegen: Any) -> Path | None:
        place, told = _place(), _told(self._function)
        if not self._enabled or place is None or told is None:
            return None
        name = f"{self._function.__module__}.{self._function.__qualname__}"
        key = (told, str(signature), codegen.magic_tuple(), _versions(), _sources())
        return place / f"{name.replace('<', '').replace('>', '')}-{hashlib.sha256(repr(key).encode()).hexdigest()}"


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
    """The first folder that can be written: NUMBA_CACHE_DIR, the user's cache, a private folder for temporary files."""
    for place in _candidates():
        try:
            place.mkdir(parents=True, exist_ok=True, mode=0o700)
            # What is read from there is run: a folder of somebody else's will not do.
            if place.stat().st_uid == _user() and os.access(place, os.W_OK | os.X_OK):
                return place
        except OSError:
            continue
    return None


def _candidates() -> Iterator[Path]:
    if given := os.environ.get("NUMBA_CACHE_DIR"):
        yield Path(given) / "deeplim"
    from platformdirs import user_cache_path

    with suppress(RuntimeError):  # where there is no home
        yield user_cache_path("deeplim") / "kernels"
    yield Path(tempfile.gettempdir()) / f"deeplim-kernels-{_user()}"


def _user() -> int:
    """The number of the user, which files' owners are compared with; 0 on systems without."""
    return os.getuid() if hasattr(os, "getuid") else 0


def _remove_oldest(place: Path) -> None:
    """Keep the kernels used last."""
    files = sorted(place.iterdir(), key=lambda file: file.stat().st_mtime)
    for file in files[:-_MOST_FILES]:
        file.unlink(missing_ok=True)
