"""The least width at which a target can be kept at all, where a network is too narrow for its depth."""

from dataclasses import dataclass

import numpy as np

from deeplim.architecture import Network
from deeplim.ensemble import simulate
from deeplim.errors import LimitError
from deeplim.limits.catalogue import find
from deeplim.limits.density import Density
from deeplim.limits.sde import AbstractSDE
from deeplim.limits.unsampled import law
from deeplim.shaping.search import Share
from deeplim.shaping.target import Target

_MOST_NEURONS = 500_000
"""Width times depth up to which ten thousand exact networks take seconds."""
_TRIES = 6
_WIDEST = 10_000_000


@dataclass(frozen=True)
class LeastWidth:
    """The least width at which the linear network keeps a target: from its SDE, and then counted in exact networks.

    ``inside`` is None where these would take too long; the width is then the limit's, which is a little too small where
    correlation and norm are bounded together.
    """

    width: int
    inside: Share | None

    def __str__(self) -> str:
        if self.inside is None:
            return f"{self.width} (by the covariance SDE)"
        return f"about {self.width} (by the covariance SDE; exact networks of that width: {self.inside})"


def least_width(linear: Network, target: Target, networks: int, seed: int) -> LeastWidth | None:
    """Return the least width at which a linear network of this depth keeps a target; None where no SDE describes it.

    The SDE's laws of correlation and of norm must each keep the target. Where correlation and norm are bounded together
    exact networks are then widened until their share is within its interval of what is asked for.
    """
    width = _by_the_limit(linear, target)
    if width is None:
        return None
    for _ in range(_TRIES):
        if width * linear.depth > _MOST_NEURONS:
            return LeastWidth(width, None)
        wide = linear.model_copy(update={"width": width})
        paths = simulate(wide, target.inputs, networks=networks, seed=seed, layers=[0, wide.depth])
        inside = Share(int((target.margins(paths) <= 0).sum()), networks)
        if inside.interval[1] >= target.quantile:
            break
        width = int(np.ceil(width * 1.1))
    return LeastWidth(width, inside)


def _by_the_limit(linear: Network, target: Target) -> int | None:
    low, high = linear.width, linear.width
    while not (kept := _keeps(linear, target, high)):
        if kept is None or high >= _WIDEST:
            return None
        low, high = high, min(2 * high, _WIDEST)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _keeps(linear, target, middle) else (middle, high)
    return high


def _keeps(linear: Network, target: Target, width: int) -> bool | None:
    """Whether the SDE of the linear network of a width keeps the target; None where there is no such SDE."""
    candidates = find(linear.model_copy(update={"width": width}))
    limit = next((one for one in candidates if isinstance(one, AbstractSDE)), None)
    if limit is None:
        return None
    if law(limit, target.inputs).cdf(target.correlation) < target.quantile:
        return False
    if target.norm_within is None:
        return True
    try:
        norm: Density = law(limit, target.inputs, observable="log_norm")
    except LimitError:  # held at one by a normalization
        return True
    reach = float(np.log(target.norm_within))
    return norm.cdf(reach) - norm.cdf(-reach) >= target.quantile
