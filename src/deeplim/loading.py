"""A user's elementwise function, found by its place ``package.module:function`` and tried before anything runs."""

import importlib
import os
import sys
from collections.abc import Callable
from functools import lru_cache
from types import ModuleType

import numpy as np

from deeplim.errors import SpecError
from deeplim.specs import brief, kind_of, trusted

Function = Callable[[np.ndarray], np.ndarray]
_SAME_SLOPE = 1e-13
"""Relative difference of two slopes that rounding makes: of the product, of the number and of their quotient."""


_OWN = "deeplim.functions"
_UNIVERSAL = ("numpy", "scipy.special")
"""Modules whose universal functions may be named by anybody: they map numbers to numbers and do nothing else."""
_named: set[str] = set()
"""The activations that the program has named itself, or in a text that it trusts."""


def check_trusted(path: str) -> None:
    """Raise SpecError where a text that is not trusted names a function whose module would be imported, and run."""
    if trusted():
        _named.add(path)
    elif not _harmless(path):
        raise SpecError(
            f"the activation {brief(path)} is named by a text, and using it imports and runs its module; "
            "read the text with trust=True (--trust) if you trust whoever wrote it."
        )


def _harmless(path: str) -> bool:
    """Whether a text may name a function: one of deeplim's, a universal one, or one that the program named before."""
    module, _, name = path.partition(":")
    if path in _named:
        return True
    if module in _UNIVERSAL:
        return isinstance(getattr(importlib.import_module(module), name, None), np.ufunc)
    return module == _OWN and getattr(getattr(importlib.import_module(_OWN), name, None), "__module__", None) == _OWN


@lru_cache(maxsize=64)
def load_function(path: str, *, what: str = "activation") -> Function:
    """Import ``package.module:function``; SpecError, which says ``what`` it was to be, where there is none."""
    cure = "give PACKAGE.MODULE:FUNCTION, in an installed package or in the current directory"
    module_name, _, name = path.partition(":")
    if not module_name or not name:
        raise SpecError(f"the {what} {brief(path)} names no function of a module; {cure}.")
    try:
        function = getattr(_import(module_name), name)
    except (Exception, SystemExit) as error:  # whatever the module does when it is imported
        raise SpecError(f"the {what} {path} could not be imported ({_reason(error)}); {cure}.") from None
    if not callable(function):
        raise SpecError(f"the {what} {path} is no function but {brief(function)}; {cure}.")
    return function


def _import(name: str) -> ModuleType:
    """Import a module, looking last in the current directory, which a console script does not search."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        here = os.getcwd()
        if error.name != name.partition(".")[0] or here in sys.path:
            raise
    sys.path.append(here)
    try:
        importlib.invalidate_caches()
        return importlib.import_module(name)
    finally:
        sys.path.remove(here)


def _reason(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":").removesuffix(".")


@lru_cache(maxsize=64)
def two_slopes(path: str) -> tuple[float, float] | None:
    """Return (s_+, s_-) for a function that is s_+ max(x, 0) + s_- min(x, 0) in double precision; None for another.

    Tried at irregular numbers from 1e-8 to 1e8 of both signs: a function with a kink or a bend elsewhere is none.
    """
    function, size = load_function(path), np.geomspace(1e-8, 1e8, 97) * (1 + np.linspace(0, 0.4, 97) ** 2)
    try:
        with np.errstate(all="ignore"):
            up, down = (np.asarray(function(sign * size), dtype=float) for sign in (1.0, -1.0))
            at_zero = float(np.asarray(function(np.zeros(1)), dtype=float)[0])
    except Exception:  # whatever a function does outside the range it was written for
        return None
    if at_zero != 0 or not np.isfinite(up).all() or not np.isfinite(down).all():
        return None
    slopes = up / size, -down / size
    even = all((np.abs(slope - slope[0]) <= _SAME_SLOPE * np.abs(slope[0])).all() for slope in slopes)
    return (float(slopes[0][48]), float(slopes[1][48])) if even else None


def check_elementwise(path: str, function: Function) -> None:
    """Raise SpecError unless a function maps each number of an array to a finite one, whatever the others."""
    sample = np.array([-2.0, -0.7, 0.0, 1.1, 3.0])
    table = np.stack([sample[:3], sample[2:]])
    given = sample.copy()
    rule = "it must map an array of floats to a new array of floats of the same shape"
    try:
        with np.errstate(all="ignore"):
            value, again = function(given), function(table.copy())
    except Exception as error:
        raise SpecError(f"{path} could not be applied to an array ({_reason(error)}); {rule}.") from None
    if not isinstance(value, np.ndarray):
        raise SpecError(f"{path} maps an array to {kind_of(value)}; {rule}.")
    if value.shape != sample.shape or value.dtype.kind not in "fi":
        came = f"shape {value.shape} and type {value.dtype}"
        raise SpecError(f"{path} maps an array of shape {sample.shape} and type float64 to {came}; {rule}.")
    if not np.isfinite(value).all():
        at = int(np.argmin(np.isfinite(value)))
        raise SpecError(f"{path} maps {sample[at]:g} to {value[at]}; it must map every number to a finite one.")
    if not np.array_equal(given, sample):
        raise SpecError(f"{path} changes the array it is given; {rule}.")
    if np.shape(again) != table.shape or not np.allclose(again, [value[:3], value[2:]], rtol=1e-5, atol=1e-6):
        raise SpecError(
            f"{path} is not elementwise: what it maps a number to depends on the other numbers or on chance; "
            "give a function of one number."
        )
