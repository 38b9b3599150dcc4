"""Where the pairs of a block of the moment chain's paths are, whatever the sizes of their two inputs."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from deeplim.limits.drifts import SMALLEST_GAP
from deeplim.limits.layer_moments import Seen

FAR = 2.5
"""Log of a ratio of two norms from which on the smaller input is followed by itself, and not by its difference."""

Rows = Float[np.ndarray, " row"]


@dataclass
class PairStates:
    """Pairs of inputs, the larger at (1, 0) in their plane, by unit of its own size.

    log_norm: log V of the larger; log_ratio: log of the smaller size over the larger, 0 or less. (u, v): the smaller
    stands at (1 + u, v), v >= 0, so that nothing is lost as the two align; where ``far``, it stands at exp(log_ratio)
    (u, v) instead, so that nothing is lost as it vanishes. swapped: whether the larger is the second input; flipped:
    whether the smaller stands for its opposite. A log norm is plus infinity where a pair has exploded, minus infinity
    where it has died.
    """

    log_norm: Rows
    log_ratio: Rows
    u: Rows
    v: Rows
    swapped: Bool[np.ndarray, " row"]
    flipped: Bool[np.ndarray, " row"]

    @classmethod
    def of(cls, log_norm: Float[np.ndarray, " input"], gap: float, count: int) -> "PairStates":
        """Return so many copies of one pair of these log norms and this gap 1 - rho."""
        larger = int(log_norm[1] > log_norm[0])
        ratio = (log_norm[1 - larger] - log_norm[larger]) / 2
        sine = np.sqrt(gap * (2 - gap))
        far, size = ratio < -FAR, np.exp(ratio)
        u, v = (1 - gap, sine) if far else (np.expm1(ratio) - size * gap, size * sine)
        norm, between, u, v = (np.full(count, float(one)) for one in (log_norm[larger], ratio, u, v))
        return cls(norm, between, u, v, np.full(count, larger == 1), np.zeros(count, dtype=bool))

    @property
    def far(self) -> Bool[np.ndarray, " row"]:
        """Whether the smaller input is followed by itself."""
        return self.log_ratio < -FAR

    @property
    def living(self) -> Bool[np.ndarray, " row"]:
        """Whether both inputs have norms."""
        return np.isfinite(self.log_norm) & np.isfinite(self.log_ratio)

    def seen(self, rows: np.ndarray, closest: Rows | float = 0.0) -> tuple[Seen, Rows]:
        """Return how the smaller inputs of some pairs, all of them far or none, are seen, and by unit of which size.

        closest: the least unit that differences are taken over.
        """
        u, v = self.u[rows], self.v[rows]
        if self.far[rows[0]]:
            unit = np.exp(self.log_ratio[rows])
            return Seen(0.0, unit, u, v), unit
        size, turn = np.hypot(u, v), np.arctan2(v, u)
        return Seen(1.0, np.maximum(size, closest), np.cos(turn), np.sin(turn)), size

    def norms(self) -> Float[np.ndarray, "row 2"]:
        """Return the log norms of the first and the second input."""
        both = np.stack([self.log_norm, self.log_norm + 2 * self.log_ratio], axis=1)
        return np.where(self.swapped[:, None], both[:, ::-1], both)

    def gaps(self) -> Rows:
        """Return 1 - rho, to full relative precision however small."""
        far = self.far
        along, across = np.where(far, self.u, 1 + self.u), self.v
        size = np.hypot(along, across)
        with np.errstate(all="ignore"):
            cosine, sine = along / size, across / size
        cosine = np.where(self.flipped, -cosine, cosine)
        gap = np.where(cosine > 0, sine * sine / (1 + np.maximum(cosine, 0.0)), 1 - cosine)
        return np.clip(gap, SMALLEST_GAP, 2.0)

    def stand_in(self) -> None:
        """Put the larger input first, which is the only one, and beside it another of its size, orthogonal to it."""
        self.u[:], self.v[:], self.log_ratio[:], self.swapped[:] = -1.0, 1.0, 0.0, False

    def larger_first(self, odd: bool) -> None:
        """Exchange the inputs in place where the second is the larger, and reverse it where obtuse if phi is odd.

        Exchanged, 1 + u + i v becomes its inverse's conjugate. Nearly opposite inputs of an odd function stay nearly
        opposite, which only the reversed pair, nearly equal, follows without loss.
        """
        far = self.far
        if odd:
            reverse = np.where(far, self.u < 0, self.u < -1)
            self.flipped ^= reverse
            self.u = np.where(reverse, np.where(far, -self.u, -2 - self.u), self.u)
        u, v = self.u, self.v
        excess = 2 * u + u * u + v * v
        swap = ~far & (excess > 0)
        self.swapped ^= swap
        self.log_norm = self.log_norm + np.where(swap, np.log1p(np.where(swap, excess, 0.0)), 0.0)
        self.log_ratio = np.where(swap, -self.log_ratio, self.log_ratio)
        inverse = 1 / np.where(swap, 1 + excess, 1.0)
        self.u = np.where(swap, -(u + u * u + v * v) * inverse, u)
        self.v = v * inverse

    def settle(self, rows: np.ndarray) -> None:
        """Measure the ratio of some pairs that are followed by their differences, and follow it where it is far."""
        u, v = self.u[rows], self.v[rows]
        with np.errstate(all="ignore"):
            ratio = np.log1p((u + u * u + v * v) + u) / 2
            size, away = np.exp(ratio), ratio < -FAR
            self.log_ratio[rows] = ratio
            self.u[rows] = np.where(away, np.where(size > 0, (1 + u) / size, 1.0), u)
            self.v[rows] = np.where(away, np.where(size > 0, v / size, 0.0), v)

    def approach(self, rows: np.ndarray) -> None:
        """Follow some pairs, whose smaller input was followed by itself, by their differences where it is near."""
        near = rows[self.log_ratio[rows] >= -FAR]
        size = np.exp(self.log_ratio[near])
        self.u[near], self.v[near] = size * self.u[near] - 1, size * self.v[near]

    def add_bias(self, variance: float) -> None:
        """Add a variance to every entry of the covariances, in place.

        With b the variance over the larger norm, u becomes u / (1 + b) and v^2 becomes (v^2 + u^2 b / (1 + b)) / (1 +
        b): nothing cancels. What has exploded stays so, and what has died lives again, all inputs alike.
        """
        dead = np.isneginf(self.log_norm)
        self.log_norm[dead], self.log_ratio[dead], self.u[dead], self.v[dead] = np.log(variance), 0.0, 0.0, 0.0
        rows, far = np.flatnonzero(np.isfinite(self.log_norm)), self.far
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            b = variance * np.exp(-self.log_norm[rows])
            kept, lean = 1 / (1 + b), 1 / (1 + 1 / b)
            size = np.where(far[rows], np.exp(self.log_ratio[rows]), 1.0)
            x, y = size * self.u[rows], size * self.v[rows]
            across = np.sqrt((y**2 + np.where(far[rows], x - 1, x) ** 2 * lean) * kept)
        self.log_norm[rows] = np.logaddexp(self.log_norm[rows], np.log(variance))
        # seen from 0 where it is far, in which b, the part of the larger input, is a part of the smaller too
        along = np.where(far[rows], x * kept + lean, x * kept)
        away, close = rows[far[rows]], rows[~far[rows]]
        length = np.hypot(along, across)
        with np.errstate(divide="ignore", invalid="ignore"):
            self.log_ratio[away] = np.log(length[far[rows]])
            self.u[rows] = np.where(far[rows], along / length, along)
            self.v[rows] = np.where(far[rows], across / length, across)
        self.approach(away)
        self.settle(close)
