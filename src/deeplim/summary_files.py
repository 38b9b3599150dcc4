"""Summaries in files: written with a version and a digest, and checked to be possible as they are read.

What a file holds is looked at as that of paths is (``deeplim.array_files``); then counts, histograms, moments and
extremes must agree with each other, as those of any samples do.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np

from deeplim.array_files import Entry, read_archive
from deeplim.bins import BINS
from deeplim.errors import InputError
from deeplim.files import check_name
from deeplim.path_checks import LARGEST_LOG_GAP, check_times
from deeplim.paths import Clock
from deeplim.tally import OBSERVED

MOMENTS = ("count", "mean", "m2", "m3", "m4", "low", "high")
OUTCOMES = ("dead", "exploded", "aligned")
ENTRIES = {
    "time": Entry("f", 1),
    "clock": Entry("U"),
    "names": Entry("U", 1),
    "sources": Entry("U", 1),
    "samples": Entry("i"),
    "observables": Entry("U", 1),
    "histograms": Entry("i", 3),
    **{name: Entry("i", 1) for name in OUTCOMES},
    **{name: Entry("i" if name == "count" else "f", 2) for name in MOMENTS},
}
_ROUNDING = 2e-5
"""By how much single precision may take an observable beyond its bounds, as ``path_checks`` allows paths."""
_BOUNDS = {
    "correlation": (-1.0, 1.0),
    "correlation_gap": (0.0, 2.0),
    "log_correlation_gap": (-np.inf, LARGEST_LOG_GAP),
    "log_norm": (-np.inf, np.inf),
    "angle": (0.0, np.pi),
}
"""The least and the largest value that an observable can have."""
_SLACK = 1e-6
"""Of the extremes' distance and size, by how much sums of many samples may miss what holds of them exactly."""


def read_summary(path: str | Path) -> dict[str, np.ndarray]:
    """Return the arrays of a saved summary; InputError if the file holds none, is damaged or is impossible."""
    chosen = check_name(path)
    try:
        found = read_archive(chosen, ENTRIES, sealed=True)
        _check_summary(found)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split()).removesuffix(".")
        raise InputError(f"{path} does not hold a saved summary ({reason}); write it with `Summary.save`.") from None
    return found


def _check_summary(fields: Mapping[str, np.ndarray]) -> None:
    """Raise ValueError, or InputError, for arrays that are no summary of any samples."""
    missing = [name for name in ENTRIES if name not in fields]
    if missing:
        raise ValueError(f"it has no {', '.join(missing)}")
    _check_shapes(fields)
    samples, count = int(fields["samples"]), fields["count"]
    if samples < 1:
        raise ValueError(f"it is of {samples} samples")
    for name in (*OUTCOMES, "count"):
        if (fields[name] < 0).any() or (fields[name] > samples).any():
            raise ValueError(f"{name} has numbers below 0 or above its {samples} samples")
    histograms = fields["histograms"]
    if (histograms < 0).any() or (histograms > samples).any() or (histograms.sum(axis=2) != count).any():
        raise ValueError("its histograms do not hold as many samples as it counts")
    _check_moments(fields)


def _check_shapes(fields: Mapping[str, np.ndarray]) -> None:
    observed, layers = tuple(fields["observables"].tolist()), len(fields["time"])
    if observed not in (OBSERVED, ("log_norm",)):
        raise ValueError(f"its observables are {str(observed)[:60]}, which is none of its two sets")
    if str(fields["clock"]) not in get_args(Clock):
        raise ValueError(f"the clock {str(fields['clock'])!r:.60} is not known")
    if len(fields["names"]) != (2 if len(observed) > 1 else 1):
        raise ValueError(f"it has {len(fields['names'])} names")
    shapes: dict[str, Any] = dict.fromkeys(OUTCOMES, (layers,)) | dict.fromkeys(MOMENTS, (len(observed), layers))
    for name, shape in (shapes | {"histograms": (len(observed), layers, BINS + 2)}).items():
        if fields[name].shape != shape:
            raise ValueError(f"{name} is of shape {fields[name].shape} and must be of {shape}")
    check_times(fields["time"])
    if (np.diff(fields["time"]) <= 0).any():
        raise ValueError("its times do not increase")


def _check_moments(fields: Mapping[str, np.ndarray]) -> None:
    """Moments are finite and as extremes allow where there are samples, and those of none where there are none."""
    count, mean, m2, m3, m4, low, high = (fields[name] for name in MOMENTS)
    some = count > 0
    empty = (mean == 0) & (m2 == 0) & (m3 == 0) & (m4 == 0) & np.isposinf(low) & np.isneginf(high)
    finite = np.isfinite(np.stack([mean, m2, m3, m4, low, high])).all(axis=0)
    if not np.where(some, finite, empty).all():
        raise ValueError("its moments are not finite, or of samples that it does not count")
    bounds = np.array([_BOUNDS[name] for name in fields["observables"].tolist()])[:, :, None]
    with np.errstate(invalid="ignore", over="ignore"):
        slack = _SLACK * (high - low) + _SLACK * np.abs(mean) + 1e-300
        inside = (low - slack <= mean) & (mean <= high + slack)
        reach = np.maximum(high - mean, mean - low) + slack
        powers = (m2 <= count * reach**2) & (np.abs(m3) <= count * reach**3) & (m4 <= count * reach**4)
        sound = inside & powers & (m2 >= 0) & (m4 >= 0)
    if not sound[some].all():
        raise ValueError("its moments are not those of numbers between its extremes")
    least, most = bounds[:, 0] - _ROUNDING, bounds[:, 1] + _ROUNDING
    if not ((low >= least) & (high <= most))[some].all():
        raise ValueError("its extremes are beyond what its observables can be")
