"""A batch of networks walked row by row from their inputs to the last layer, with whatever normals one hands it."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from deeplim.architecture import Network, ResNet
from deeplim.differences import (
    Covariance,
    Rows,
    activate,
    add,
    biased,
    correlate,
    measure,
    normalize,
    parted,
    parts_norms,
    scaled,
)

Normals = Float[np.ndarray, "network input neuron"]


def branch(network: Network, rows: Rows) -> tuple[Rows, np.ndarray]:
    """Return phi of the rows with the normalization before or after it, and which networks that has lost."""
    kind, place = network.normalization, network.placement
    rows, lost = normalize(kind if place == "before-activation" else "none", rows)
    rows, also = normalize(kind if place == "after-activation" else "none", activate(network, rows))
    return rows, lost | also


class Walk:
    """The networks that the normals make, ``count`` of them; ``normals`` gives those of the next layer, from the rows.

    state: the covariance of the layer. lost: networks in which an input is zero in every neuron, so that a
    normalization has 0 / 0; exploded: those whose covariance is no float. Both are at zero from there on.
    """

    def __init__(self, network: Network, begin: Covariance, count: int, normals: Callable[[Rows], Normals]) -> None:
        self.network, self.normals = network, normals
        own = None if begin.own is None else np.repeat(begin.own, count, axis=0)
        self.state = Covariance(np.repeat(begin.matrix, count, axis=0), np.repeat(begin.log_size, count, axis=0), own)
        self._part = parts_norms(network)
        self.exploded, self.lost = np.zeros(count, dtype=bool), np.zeros(count, dtype=bool)
        self.rows = Rows(np.zeros((*self.state.log_size.shape, 0)), self.state.log_size)
        if isinstance(network, ResNet):
            self._rest(self._draw(self.state))

    def step(self) -> None:
        """Go one layer further."""
        with np.errstate(over="ignore", invalid="ignore"):
            if isinstance(self.network, ResNet):
                self._rest(self._block(self.network))
            else:
                self._layer()
            self._settle()
            if self._part:
                self.state, rows = parted(self.state, self.rows if isinstance(self.network, ResNet) else None)
                self.rows = self.rows if rows is None else rows

    def norms_and_gaps(self) -> tuple[Float[np.ndarray, "network input"], Float[np.ndarray, "network pair"]]:
        """Return log V^{aa}, infinite where exploded and minus infinity where lost, and log(1 - rho)."""
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            norms, gaps = self.state.log_norms(), self.state.log_gaps()
        norms[self.lost], norms[self.exploded] = -np.inf, np.inf
        gaps[self.lost | self.exploded] = np.nan
        return norms, gaps

    def _layer(self) -> None:
        rows, lost = branch(self.network, self._draw(self.state))
        self.state = self._handed_on(rows)
        self._explode(self.state)
        if self.network.normalization in ("rmsnorm", "layernorm"):  # batchnorm gives an input that has died life again
            self.lost |= lost | (self.state.square_norms() == 0).any(axis=1)

    def _block(self, network: ResNet) -> Rows:
        rows, lost = branch(network, self.rows)
        covariance = self._handed_on(rows)
        self._explode(covariance)
        noise = self._normalized("before-sum", self._draw(covariance))
        self.lost |= lost
        return self._normalized("after-sum", add(self.rows, network.skip_scale, noise, network.branch_scale))

    def _handed_on(self, rows: Rows) -> Covariance:
        """The covariance of W h + b, entry by entry."""
        return biased(scaled(measure(rows)[0], self.network.gain), self.network.bias_variance)

    def _draw(self, covariance: Covariance) -> Rows:
        return correlate(covariance, self.normals(self.rows))

    def _normalized(self, placement: str, rows: Rows) -> Rows:
        kind = self.network.normalization if self.network.placement == placement else "none"
        rows, lost = normalize(kind, rows)
        self.lost |= lost
        return rows

    def _rest(self, rows: Rows) -> None:
        self.state, self.rows = measure(rows)

    def _explode(self, covariance: Covariance) -> None:
        self.exploded |= ~self.lost & ~np.isfinite(covariance.matrix).all(axis=(1, 2))

    def _settle(self) -> None:
        """Take networks that have exploded or are lost to zero, so that no NaN is met again."""
        self._explode(self.state)
        gone = self.exploded | self.lost
        if gone.any():
            self.state.matrix[gone] = 0.0
            self.state.log_size[gone] = -np.inf
            self.state.log_size[gone, 0] = 0.0
            self.rows.values[gone] = 0.0
