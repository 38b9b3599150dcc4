"""What paths are checked for when they are made, by a program or from a file: types, times, possible numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from deeplim.checks import brief, check_flag, kind_of
from deeplim.errors import InputError

LARGEST_LOG_GAP = float(np.log(2.0)) + 1e-5
"""log(1 - rho) at rho = -1, and the rounding of single precision over many layers, of which 5e-7 was seen."""
_CHECKED = 2**18
"""Numbers that are checked at a time, so that checking needs no memory of the size of the paths."""
_SHORT = 16
_TYPES = {"log_norm": "float64", "log_gap": "float64", "alive": "bool", "time": "float64"}


def check_types(fields: Mapping[str, Any]) -> None:
    """Raise InputError for arrays that are none or of another type, and for sizes and names that are none."""
    for name, type_ in _TYPES.items():
        array = fields[name]
        if not isinstance(array, np.ndarray):
            raise InputError(f"{name} is {kind_of(array)}; give a NumPy array of type {type_}.")
        if array.dtype != type_:
            wanted = "True and False" if type_ == "bool" else f"type {type_}"
            raise InputError(f"{name} is of type {array.dtype}; give an array of {wanted}.")
    for name in ("width", "depth"):
        size = fields[name]
        if size is not None and not (is_whole(size) and not isinstance(size, float) and size > 0):
            raise InputError(f"{name} = {brief(size)} was given; give a whole number above 0, or None.")
    names, source = fields["names"], fields["source"]
    if not isinstance(names, tuple) or not all(isinstance(name, str) for name in names):
        raise InputError(f"the names are {brief(names)}; give a tuple of texts, one for each input.")
    check_flag("deterministic", fields["deterministic"])
    if not isinstance(source, str):
        raise InputError(f"the source is {kind_of(source)}; give a text that says what the paths are of.")


def check_times(time: Float[np.ndarray, " layer"]) -> None:
    """Raise InputError unless times are finite, from 0 on and all different."""
    order = np.sort(time)
    if not np.isfinite(order).all() or (order < 0).any() or (order[1:] == order[:-1]).any():
        told = listed([f"{one:g}" for one in time])
        raise InputError(f"the times are {told}; give finite numbers from 0 on, all different.")


def check_numbers(
    log_norm: Float[np.ndarray, "sample layer input"],
    log_gap: Float[np.ndarray, "sample layer pair"],
    alive: Bool[np.ndarray, "sample layer"],
    source: str,
) -> None:
    """Raise InputError for living samples whose numbers are impossible; some samples are looked at at a time."""
    step = max(1, _CHECKED // max(log_norm[:1].size, log_gap[:1].size, 1))
    for begin in range(0, len(alive), step):
        part = slice(begin, begin + step)
        possible = every(np.isfinite(log_norm[part])) & every(log_gap[part] <= LARGEST_LOG_GAP)
        if (alive[part] & ~possible).any():
            largest = np.where(alive[part, :, None], log_gap[part], -np.inf).max(initial=-np.inf)
            raise InputError(_why_impossible(float(largest), source))


def _why_impossible(largest: float, source: str) -> str:
    """What is wrong with a living sample, of whose log gaps the largest is given: NaN where one is that."""
    if LARGEST_LOG_GAP < largest < np.inf:
        return (
            f"a living sample of {source} has a log gap of {largest:.6g}, which is a correlation below -1; "
            "give log(1 - correlation), at most log 2."
        )
    return (
        f"a living sample of {source} has a log norm that is not finite or a log gap that is no "
        "number; mark lost samples with alive = False."
    )


def every(truth: Bool[np.ndarray, "sample layer column"]) -> Bool[np.ndarray, "sample layer"]:
    """Return whether all is true along the last axis.

    That of ``truth.all(axis=2)``, which takes 11 ns an entry where this takes 1: NumPy is slow along a short last axis.
    """
    if truth.all():  # no axis at all is faster still, and this is the rule
        return np.ones(truth.shape[:2], dtype=bool)
    if truth.shape[2] > _SHORT:
        return np.asarray(truth.all(axis=2))
    found = truth[:, :, 0].copy()
    for column in range(1, truth.shape[2]):
        found &= truth[:, :, column]
    return found


def listed(words: Sequence[str], most: int = 12) -> str:
    """Return words with commas between them, and how many more there are than ``most``."""
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(words[:most]) + more


def is_whole(value: object) -> bool:
    """Whether a value is a whole number, as a float too."""
    if isinstance(value, int | np.integer):
        return not isinstance(value, bool)
    return isinstance(value, float | np.floating) and float(value).is_integer()
