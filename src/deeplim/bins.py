"""The bins that summaries count each observable in, with quantiles read off the counts."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

BINS = 4000


@dataclass(frozen=True)
class Bins:
    """BINS bins of equal width in a monotone coordinate of an observable, and one bin beyond each end.

    low and high are the outermost edges in the coordinate, inverse maps the coordinate back to values, and curved says
    that the coordinate of a value is its asinh and not the value itself.
    """

    low: float
    high: float
    inverse: Callable[[np.ndarray], np.ndarray] = np.positive
    curved: bool = False

    @property
    def per_unit(self) -> float:
        """Bins in a unit of the coordinate."""
        return BINS / (self.high - self.low)

    @cached_property
    def smallest(self) -> Float[np.ndarray, " bin"]:
        """The smallest value of each bin: minus infinity, the edges in order, and infinity, which no bin has.

        A value x is in bin k when smallest[k] <= x < smallest[k + 1]. The highest edge is the largest value of its bin.
        """
        edges = self.inverse(np.linspace(self.low, self.high, BINS + 1))
        return np.concatenate([[-np.inf], edges[:-1], [np.nextafter(edges[-1], np.inf), np.inf]])

    def quantile(self, counts: Int[np.ndarray, "layer bin"], q: float) -> Float[np.ndarray, " layer"]:
        """Return the value that a fraction q lies below, interpolated in its bin; infinite past the ends."""
        cumulative = counts.cumsum(axis=1)
        target = q * cumulative[:, -1:]
        index = (cumulative < np.maximum(target, 1e-300)).sum(axis=1).clip(0, BINS + 1)
        layer = np.arange(len(counts))
        inside = counts[layer, index]
        before = cumulative[layer, index] - inside
        part = (target[:, 0] - before) / np.maximum(inside, 1)
        value = self.inverse(self.low + (index - 1 + part) * (self.high - self.low) / BINS)
        return np.where(index == 0, -np.inf, np.where(index == BINS + 1, np.inf, value))


def _exp_sinh(coordinate: np.ndarray) -> np.ndarray:
    return np.exp(np.sinh(coordinate))


_LOW, _HIGH = float(np.arcsinh(-1e5)), float(np.arcsinh(1e5))
_LOG_GAP_1 = float(np.arcsinh(1.0))
"""Above log 2, the log of the largest gap."""
_OF_GAP = Bins(_LOW, _LOG_GAP_1, _exp_sinh)
OF: dict[str, Bins] = {
    "correlation": Bins(-1.0, 1.0),
    "correlation_gap": _OF_GAP,
    "log_correlation_gap": Bins(_LOW, _LOG_GAP_1, np.sinh, curved=True),
    "log_norm": Bins(_LOW, _HIGH, np.sinh, curved=True),
    "angle": Bins(0.0, float(np.pi)),
}
"""The bins of each observable. Those of the gap are those of its log, so that only one of the two need be counted."""
SMALLEST_LOG_GAP = float(np.log(np.finfo(float).smallest_subnormal))


def gaps_of_log_gaps(
    counts: Int[np.ndarray, "layer bin"], aligned: Int[np.ndarray, " layer"]
) -> Int[np.ndarray, "layer bin"]:
    """Return the counts of the gap from those of its log and of the samples without one, whose gap is 0.

    A gap too small for a float was counted in the bin of the smallest float.
    """
    lowest = int(np.searchsorted(OF["log_correlation_gap"].smallest, SMALLEST_LOG_GAP, side="right")) - 1
    found = counts.copy()
    found[:, lowest] += found[:, :lowest].sum(axis=1)
    found[:, :lowest] = 0
    found[:, 0] += aligned
    return found
