"""Whether what a function returned is what it should be: no NaN and no infinity that is not announced."""

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from deeplim.comparison import Comparison
from deeplim.ladder import Ladder
from deeplim.limits.density import Density
from deeplim.mean_field import MeanField
from deeplim.paths import Paths
from deeplim.summary import Summary


class Unannounced(Exception):
    """A number of a result that is none, where nothing says that it may be."""


def check_announced(found: Any) -> None:
    """Raise Unannounced for a result with a NaN or an infinity, but where its documentation has them.

    Those are: norms and gaps of lost samples, log gaps of parallel inputs, the depth scales of a ``MeanField``, and the
    slope of a correlation map that jumps.
    """
    if isinstance(found, Paths):
        _check_paths(found)
    elif isinstance(found, Summary):
        json.dumps(found.to_dict(), allow_nan=False)
    elif isinstance(found, Comparison):
        json.loads(found.to_json())
        str(found)
    elif isinstance(found, Ladder):
        json.dumps(found.to_dict(), allow_nan=False)
        str(found)
        for paths in found.rungs.values():
            _check_paths(paths)
    elif isinstance(found, Density):
        _check_density(found)
    elif isinstance(found, Mapping):
        for one in found.values():
            check_announced(one)
    elif isinstance(found, list | tuple) and type(found).__name__ != "FixedPoint":
        for one in found:
            check_announced(one)
    elif isinstance(found, np.ndarray | np.generic | float | complex):
        if np.asarray(found).dtype.kind in "fc" and not np.isfinite(found).all():
            raise Unannounced(f"{found!r:.80} is not finite")
    elif is_dataclass(found) and not isinstance(found, type):
        str(found)
        skipped = ("correlation_slope",) if isinstance(found, MeanField) else ()
        for field in fields(found):
            if field.name not in skipped:
                check_announced(getattr(found, field.name))


def _check_paths(found: Paths) -> None:
    alive = found.alive
    if not np.isfinite(found.log_norm[alive]).all():
        raise Unannounced("a living sample has a norm that is not finite")
    if np.isnan(found.log_gap[alive]).any() or (found.log_gap[alive] > np.log(2) + 1e-5).any():
        raise Unannounced("a living sample has an impossible gap")
    if np.isfinite(found.log_norm[~alive]).all(axis=-1).any():
        raise Unannounced("a lost sample has finite norms alone")


def _check_density(found: Density) -> None:
    if not (np.isfinite(found.density).all() and (found.density >= 0).all() and 0 <= found.lost <= 1):
        raise Unannounced("a density is negative or not finite, or the mass lost is no probability")
    if abs(float(found.mass.sum()) + found.lost - 1) > 1e-6:
        raise Unannounced(f"the mass of a density is {found.mass.sum()} with {found.lost} lost")
    if found.lost < 1 and not np.isfinite(found.mean):
        raise Unannounced("the mean of a density is not finite")
