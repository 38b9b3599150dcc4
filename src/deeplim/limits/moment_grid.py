"""The moment chain's layer for any continuous function, on a grid of norms and of places of the second input."""

from functools import lru_cache
from threading import Lock

import numpy as np
from jaxtyping import Float

from deeplim.architecture import Network
from deeplim.errors import LimitError
from deeplim.limits.layer_moments import LayerMoments, function_moments
from deeplim.limits.log_cumulants import COEFFICIENTS, scatter_map

_SCALE, _SPACING, _SLABS = 4.0, 0.05, 201
"""Slabs stand at log norms _SCALE sinh(_SPACING k): 0.2 apart about 0, and out to 300."""
_SIZES, _DIRECTIONS, _FURTHEST = 28, 20, 0.95
BOUNDS = (_SCALE, _SPACING, _FURTHEST)
_CLOSEST, _NEAR, _EDGE = 1e-12, 0.1, 1e-3
_LARGEST_LOG, _LARGEST_MOMENT = 600.0, 1e100
_JUMPS = 30.0
"""Growth of the mean square of difference quotients from 1e-2 to 1e-5 that shows a jump: then it is 1000."""

Rows = Float[np.ndarray, " row"]


class FunctionGrid:
    """One layer of a network at the nodes of the grid, computed in slabs of one norm when they are first needed.

    bent: how far a difference of norms alone leaves the first input's direction, 0 for a linear network. odd: whether
    phi(-x) = -phi(x), as far as tried.
    """

    def __init__(self, network: Network) -> None:
        self.network, self.phi = network, network.phi
        middle = (np.arange(_DIRECTIONS) + 0.5) * np.pi / _DIRECTIONS
        far, turn = (axis.ravel() for axis in np.meshgrid(np.linspace(0, _FURTHEST, _SIZES), middle, indexing="ij"))
        zeta = np.maximum(far / (1 - far), _CLOSEST) * np.exp(1j * turn)
        # the second input is infinite at zeta = 1, which no pair with the larger first comes near
        place = zeta / np.where(abs(1 - zeta) < _NEAR, _NEAR, 1 - zeta)
        self.size, self.direction = abs(place), np.angle(place)
        stretched = function_moments(self.phi, network.gain, np.zeros(1), np.full(1, _EDGE), np.full(1, np.pi))
        at = np.linspace(0, 5, 40)
        self.odd = bool(np.allclose(self.phi(-at), -self.phi(at), rtol=1e-12, atol=1e-300))
        self.bent = float(np.clip(stretched.across[0], _EDGE, 1.0))
        self.height = (1 - far) ** 2 * (np.sin(turn) ** 2 + self.bent**2)
        self.table = np.zeros((_SLABS, _SIZES, _DIRECTIONS + 4, 3 + COEFFICIENTS))
        self.ready = np.zeros(_SLABS, dtype=bool)
        self.lock = Lock()

    def step(self, log_norm: Rows, u: Rows, v: Rows, normals: Float[np.ndarray, "row 3"]) -> None:
        """Move the pairs (1, 0), (1 + u, v) of these norms, the larger first, one layer on, in place.

        A log norm becomes plus infinity where a pair explodes, minus infinity where it dies, and stays so.
        """
        from deeplim.limits.moment_steps import grid_step

        living, before = np.isfinite(log_norm), log_norm.copy()
        self._prepare(log_norm[living])
        outside = np.empty(len(log_norm), dtype=bool)
        grid_step(self.table, self.ready, BOUNDS, self.bent, log_norm, u, v, normals, outside)
        rows = np.flatnonzero(outside & living)
        if len(rows):
            log_norm[rows], u[rows], v[rows] = self._move(log_norm[rows], u[rows], v[rows], normals[rows])
        sound = np.isfinite(log_norm) & np.isfinite(u) & np.isfinite(v) & (np.abs(log_norm) < _LARGEST_LOG)
        lost = living & ~sound
        log_norm[lost] = np.where(np.isneginf(log_norm[lost]) | (before[lost] < -_LARGEST_LOG / 2), -np.inf, np.inf)
        log_norm[~living], u[~living | lost], v[~living | lost] = before[~living], 0.0, 1.0

    def _move(self, log_norm: Rows, u: Rows, v: Rows, normals: np.ndarray) -> tuple[Rows, Rows, Rows]:
        """The same without the grid, by quadrature for every pair."""
        from deeplim.limits.moment_steps import bend_rows

        size = np.hypot(u, v)
        found, scatter = self.at(log_norm, size, np.arctan2(v, u)), np.empty((len(u), 3))
        bend_rows(found[:, 3:], normals, scatter)
        height = size * found[:, 2]
        with np.errstate(all="ignore"):  # what is not finite here is counted as an explosion
            return (
                log_norm + found[:, 0] + scatter[:, 0],
                size * found[:, 1] + height * scatter[:, 1],
                height * np.exp(scatter[:, 2] / 2),
            )

    def _prepare(self, log_norm: Rows) -> None:
        """Make the slabs that pairs with these log norms need."""
        middle = (_SLABS - 1) / 2
        below = np.unique(np.floor(np.arcsinh(log_norm / _SCALE) / _SPACING + middle))
        needed = np.unique(below[:, None] + np.arange(-1, 3))
        needed = needed[(needed >= 0) & (needed < _SLABS)].astype(int)
        if self.ready[needed].all():
            return
        with self.lock:
            for slab in needed[~self.ready[needed]]:
                log_norm = _SCALE * np.sinh(_SPACING * (slab - middle))
                found = self.at(np.full(len(self.size), log_norm), self.size, self.direction)
                with np.errstate(all="ignore"):
                    found[:, 2] = np.log(found[:, 2] ** 2 / self.height)
                nodes = found.reshape(_SIZES, _DIRECTIONS, -1)
                mirrored = nodes[:, 1::-1], nodes, nodes[:, :-3:-1]
                self.table[slab] = np.concatenate(mirrored, axis=1)
                self.ready[slab] = True

    def at(self, log_norm: Rows, size: Rows, direction: Rows) -> Float[np.ndarray, "row 22"]:
        """Return log K^{00} / V^{00}, the mean u and v by unit of size, and the scatter's map, by quadrature."""
        moments = function_moments(self.phi, self.network.gain, log_norm, size, direction)
        return np.column_stack([moments.log_first, moments.along, moments.across, self._scatter(moments)])

    def _scatter(self, moments: LayerMoments) -> np.ndarray:
        largest = np.abs(np.concatenate([moments.second, moments.third], axis=1)).max(axis=1)
        sound, found = largest < _LARGEST_MOMENT, np.full((len(largest), COEFFICIENTS), np.nan)
        if sound.any():
            found[sound] = scatter_map(moments.second[sound], moments.third[sound], self.network.width)
        return found


@lru_cache(maxsize=8)
def function_grid(network: Network) -> FunctionGrid:
    """Return the network's grid; LimitError when its function jumps, for then no difference quotient is bounded."""
    grid = FunctionGrid(network)
    near = function_moments(grid.phi, network.gain, np.zeros(2), np.array([1e-5, 1e-2]), np.full(2, np.pi / 2))
    if near.across[0] ** 2 > _JUMPS * near.across[1] ** 2:
        raise LimitError(
            f"{network.activation} jumps, and the moment chain follows the differences of a continuous function."
        )
    return grid
