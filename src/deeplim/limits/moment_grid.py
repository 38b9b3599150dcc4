"""The moment chain's layer for any continuous function, on a grid of norms and of places of the second input."""

from functools import lru_cache
from threading import Lock
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from deeplim.architecture import Network
from deeplim.errors import LimitError
from deeplim.gaussian import LARGEST_LOG_NORM, check_log_norm, log_mean_square
from deeplim.limits.layer_moments import PAIRS, LayerMoments, Seen, closest, deviations, grades, moments_of
from deeplim.limits.log_cumulants import COEFFICIENTS, scatter_map
from deeplim.limits.moment_first import first_moments
from deeplim.limits.moment_pairs import FAR, PairStates
from deeplim.near_zero import from_zero
from deeplim.panels import features
from deeplim.plane import Plane

_SCALE, _SPACING, _SLABS = 4.0, 0.05, 201
"""Slabs stand at log norms _SCALE sinh(_SPACING k): 0.2 apart about 0, and out to 300."""
_SIZES, _DIRECTIONS, _FURTHEST, _DISTANT = 28, 20, 0.95, 32
BOUNDS = (_SCALE, _SPACING, _FURTHEST)
_CLOSEST, _NEAR, _EDGE = 1e-12, 0.1, 1e-3
_LARGEST_MOMENT, _SHARPEST = 1e100, 1e6
_SAME = 1e-6
"""How far a layer may change between the outermost slabs of a law that is the same beyond them."""
_COARSE, _RESOLVED = np.array([5e-4] * 3 + [1e-2] * 16), 0.01
"""What a coarser rule may change of the three means and the cumulants, and what any may be off by in log K^{00}."""
FEWEST_NEURONS = 8
"""Neurons that must tell two inputs apart on average: of so few, none does in one network of three thousand."""
_STEEP, _SMALL = 1.15, (1e-5, 1e-4)
"""Growth of the mean square of difference quotients between these sizes that shows a cusp (1.2 to 5) or jump (10)."""

Rows = Float[np.ndarray, " row"]


class FunctionGrid:
    """One layer of a network at the nodes of the grid, computed in slabs of one norm when they are first needed.

    bent, bent_far: how far a difference of norms alone leaves the first input's direction, 0 for a linear network, of
    near and of far pairs. odd: whether
    phi(-x) = -phi(x), as far as tried. turn: the scale on which phi turns, 1 at most. free: whether the law is the same
    beyond the lowest and beyond the highest slab, as it is where phi is linear. Pairs whose second input is far smaller
    have a grid of their own, of both norms and of directions.
    """

    def __init__(self, network: Network) -> None:
        self.network, self.phi, self.turn = network, network.phi, _turn(network)
        self.slabs = _SCALE * np.sinh(_SPACING * (np.arange(_SLABS) - (_SLABS - 1) / 2))
        self.sharp = np.clip(deviations(self.slabs) / self.turn, 1.0, _SHARPEST)
        at = np.linspace(0, 5, 40)
        self.odd = bool(np.allclose(self.phi(-at), -self.phi(at), rtol=1e-12, atol=1e-300))
        stretched = self.at(np.zeros(1), np.full(1, _EDGE), np.full(1, np.pi))
        self.bent = float(np.clip(stretched.across[0], _EDGE, 1.0))
        along, right = self._sine(0.0), self._sine(np.pi / 2)
        self.bent_far = float(np.clip(np.sqrt(along / max(right - along, along)), _EDGE, 1.0))
        self.table = np.zeros((_SLABS, _SIZES, _DIRECTIONS + 4, 3 + COEFFICIENTS + 1))
        self.ready = np.zeros(_SLABS, dtype=bool)
        self.blocks = np.zeros((64, _DISTANT + 4, 4 + COEFFICIENTS + 1))
        self.index, self.count = np.full((_SLABS, _SLABS), -1, dtype=np.int64), 0
        self.free = np.array([self._same(0, 3), self._same(_SLABS - 1, _SLABS - 4)])
        self.grades, self.lock = np.full(_SLABS, -1), Lock()

    def step(self, pairs: PairStates, normals: Float[np.ndarray, "row 3"]) -> None:
        """Move pairs, the larger first, one layer on, in place.

        A log norm becomes plus infinity where a pair explodes, minus infinity where it dies, and stays so.
        """
        living, far = pairs.living, pairs.far
        before = pairs.log_norm.copy()
        near, away = np.flatnonzero(living & ~far), np.flatnonzero(living & far)
        if len(near):
            self._step_near(pairs, near, normals[near])
        if len(away):
            self._step_far(pairs, away, normals[away])
        self._lose(pairs, living, before)

    def begin(self, pairs: PairStates, first: "First", normals: Float[np.ndarray, "row 3"]) -> None:
        """Move pairs that are all the same, the larger first, through the first layer, in place."""
        living, before = pairs.living, pairs.log_norm.copy()
        self.move(pairs, np.arange(len(before)), first.moments, first.unit, normals)
        self._lose(pairs, living, before)

    def move(
        self, pairs: PairStates, rows: np.ndarray, found: LayerMoments, unit: Rows, normals: Float[np.ndarray, "row 3"]
    ) -> None:
        """Move some pairs, all of them far or none, by moments of their own (or of one for all) instead of the grid."""
        from deeplim.limits.moment_steps import place_rows

        base, moved = 0.0 if pairs.far[rows[0]] else 1.0, np.empty((len(rows), 3))
        with np.errstate(all="ignore"):  # what is not finite here is counted as lost
            scale = unit if base else 1.0
            along, across = scale * found.along, scale * found.across
            coefficients = self.scatter(found, base + along, across)
            columns = [np.broadcast_to(one, (len(rows), *one.shape[1:])) for one in (coefficients, along, across)]
            place_rows(np.ascontiguousarray(columns[0]), base, *columns[1:], normals, moved)
            pairs.log_norm[rows] += found.log_first + moved[:, 0]
            if base:
                pairs.u[rows], pairs.v[rows] = moved[:, 1], moved[:, 2]
                pairs.settle(rows)
                return
            size = np.hypot(moved[:, 1], moved[:, 2])
            pairs.log_ratio[rows] += np.log(size)
            pairs.u[rows] = np.where(size > 0, moved[:, 1] / size, 1.0)
            pairs.v[rows] = np.where(size > 0, moved[:, 2] / size, 0.0)
        pairs.approach(rows)

    def scatter(self, found: LayerMoments, along: Rows, across: Rows) -> np.ndarray:
        """Return the map of the scatter and the variance of log V^{11}, at the mean place of the second output.

        NaN where moments are beyond 1e100.
        """
        with np.errstate(all="ignore"):
            largest = np.abs(np.concatenate([found.second, found.third], axis=1)).max(axis=1)
        sound, coefficients = largest < _LARGEST_MOMENT, np.full((len(largest), COEFFICIENTS), np.nan)
        if sound.any():
            coefficients[sound] = scatter_map(found.second[sound], found.third[sound], self.network.width)
        # V^{11} / K^{11} is the mean of (cos w_1 + sin w_2)^2
        square = along * along + across * across
        weights = np.array([along * along, 2 * along * across, across * across]) / square
        spread = sum((1 + (a < b)) * weights[a] * weights[b] * found.second[:, k] for k, (a, b) in enumerate(PAIRS))
        return np.column_stack([coefficients, np.maximum(spread, 0.0) / self.network.width])

    def at(self, log_norm: Rows, size: Rows, direction: Rows, most: int = 99) -> LayerMoments:
        """Return the moments of pairs (1, 0), (1 + u, v), (u, v) in polar coordinates, by quadrature."""
        seen = Seen(1.0, np.maximum(size, closest(log_norm, self.turn)), np.cos(direction), np.sin(direction))
        return moments_of(self.phi, self.network.gain, log_norm, seen, self.turn, most=most)

    def _distant(self, log_norm: Rows, log_ratio: Rows, angle: Rows, most: int = 99) -> LayerMoments:
        """Return the moments where the second input is far smaller, at this angle."""
        seen = Seen(0.0, np.exp(log_ratio), np.cos(angle), np.sin(angle))
        return moments_of(self.phi, self.network.gain, log_norm, seen, self.turn, most=most)

    def _sine(self, angle: float) -> float:
        """The square of the sine of the angle after a layer to a far smaller input at this angle."""
        found = self._distant(np.zeros(1), np.full(1, -2 * FAR), np.full(1, angle))
        return float(found.across[0] ** 2 / (found.along[0] ** 2 + found.across[0] ** 2))

    def _step_near(self, pairs: PairStates, rows: np.ndarray, normals: np.ndarray) -> None:
        from deeplim.limits.moment_steps import grid_step

        log_norm, u, v, outside = pairs.log_norm[rows], pairs.u[rows], pairs.v[rows], np.empty(len(rows), dtype=bool)
        self._prepare(log_norm)
        grid_step(self.table, self.ready, self.sharp, BOUNDS, self.free, self.bent, log_norm, u, v, normals, outside)
        pairs.log_norm[rows], pairs.u[rows], pairs.v[rows] = log_norm, u, v
        pairs.settle(rows[~outside])
        if outside.any():
            self._step_alone(pairs, rows[outside], normals[outside])

    def _step_far(self, pairs: PairStates, rows: np.ndarray, normals: np.ndarray) -> None:
        from deeplim.limits.moment_steps import distant_step

        columns = [one[rows] for one in (pairs.log_norm, pairs.log_ratio, pairs.u, pairs.v)]
        outside = np.empty(len(rows), dtype=bool)
        self._prepare_far(columns[0], columns[0] + 2 * columns[1])
        distant_step(self.blocks, self.index, BOUNDS, self.free, self.bent_far, *columns, normals, outside)
        for whole, part in zip((pairs.log_norm, pairs.log_ratio, pairs.u, pairs.v), columns, strict=True):
            whole[rows] = part
        pairs.approach(rows[~outside])
        if outside.any():
            self._step_alone(pairs, rows[outside], normals[outside])

    def _step_alone(self, pairs: PairStates, rows: np.ndarray, normals: np.ndarray) -> None:
        """Move some pairs, all of them far or none, without the grid, by quadrature for every pair."""
        log_norm = pairs.log_norm[rows]
        seen, unit = pairs.seen(rows, closest(log_norm, self.turn))
        self.move(pairs, rows, moments_of(self.phi, self.network.gain, log_norm, seen, self.turn), unit, normals)

    def _lose(self, pairs: PairStates, living: np.ndarray, before: Rows) -> None:
        """Mark what is no number any more, or beyond what phi can be given, as dead or exploded."""
        lowest, highest = (np.inf if free else LARGEST_LOG_NORM for free in self.free)
        norm = pairs.log_norm
        sound = np.isfinite(norm) & ~np.isnan(pairs.log_ratio) & np.isfinite(pairs.u) & np.isfinite(pairs.v)
        lost = living & ~(sound & (norm > -lowest) & (norm < highest))
        dying = np.isneginf(norm) | (norm <= -lowest) | (before < -LARGEST_LOG_NORM / 4)
        pairs.log_norm[lost] = np.where(dying[lost], -np.inf, np.inf)
        pairs.log_ratio[lost], pairs.u[lost], pairs.v[lost] = 0.0, 0.0, 1.0

    def _places(self, log_norm: Rows) -> np.ndarray:
        """The first of the four slabs about each log norm; as ``_slab`` of the compiled steps."""
        place = np.arcsinh(log_norm / _SCALE) / _SPACING + (_SLABS - 1) / 2
        place = np.where(self.free[0], np.maximum(place, 1.0), place)
        place = np.where(self.free[1], np.minimum(place, _SLABS - 2.0), place)
        first = np.minimum(np.floor(place).astype(int) - 1, _SLABS - 4)
        return np.where((place >= 1) & (place <= _SLABS - 2), first, -1)

    def _prepare(self, log_norm: Rows) -> None:
        """Make the slabs that pairs with these log norms need."""
        below = np.unique(self._places(log_norm))
        needed = np.unique(below[below >= 0][:, None] + np.arange(4))
        if self.ready[needed].all():
            return
        with self.lock:
            for slab in needed[~self.ready[needed]]:
                self.table[slab] = _mirrored(self._slab(int(slab)), 1)
                self.ready[slab] = True

    def _slab(self, slab: int) -> np.ndarray:
        """The columns at the nodes of one norm, (size, direction, 22)."""
        sharp = self.sharp[slab]
        sizes = np.sinh(np.linspace(0, np.arcsinh(_FURTHEST * sharp), _SIZES)) / sharp
        far, turn = (axis.ravel() for axis in np.meshgrid(sizes, _middle(_DIRECTIONS), indexing="ij"))
        zeta = np.maximum(far / (1 - far), _CLOSEST) * np.exp(1j * turn)
        # the second input is infinite at zeta = 1, which no pair with the larger first comes near
        place = zeta / np.where(abs(1 - zeta) < _NEAR, _NEAR, 1 - zeta)
        found = self.at(np.full(len(far), self.slabs[slab]), abs(place), np.angle(place), self._grade(slab))
        with np.errstate(all="ignore"):
            height = 2 * np.log(found.across) - np.log((1 - far) ** 2 * (np.sin(turn) ** 2 + self.bent**2))
        scatter = self.scatter(found, 1 + abs(place) * found.along, abs(place) * found.across)
        columns = np.column_stack([found.log_first, found.along, height, scatter])
        return columns.reshape(_SIZES, _DIRECTIONS, -1)

    def _prepare_far(self, log_norm: Rows, other: Rows) -> None:
        """Make the blocks that pairs with these two log norms need."""
        places = np.stack([self._places(log_norm), self._places(other)], axis=1)
        about = np.stack(np.meshgrid(np.arange(4), np.arange(4), indexing="ij"), axis=-1).reshape(-1, 2)
        needed = np.unique(
            (np.unique(places[(places >= 0).all(axis=1)], axis=0)[:, None] + about).reshape(-1, 2), axis=0
        )
        missing = needed[self.index[needed[:, 0], needed[:, 1]] < 0]
        if not len(missing):
            return
        with self.lock:
            for one, two in missing:
                if self.index[one, two] < 0:
                    if self.count == len(self.blocks):
                        self.blocks = np.concatenate([self.blocks, np.zeros_like(self.blocks)])
                    self.blocks[self.count] = _mirrored(self._block(int(one), int(two)), 0)
                    self.index[one, two] = self.count
                    self.count += 1

    def _block(self, slab: int, other: int) -> np.ndarray:
        """The columns at the directions of two norms, (direction, 23)."""
        middle, ones = _middle(_DISTANT), np.ones(_DISTANT)
        ratio = min((self.slabs[other] - self.slabs[slab]) / 2, 0.0)
        found = self._distant(self.slabs[slab] * ones, ratio * ones, middle, self._grade(slab))
        with np.errstate(all="ignore"):
            size = np.hypot(found.along, found.across)
            height = 2 * np.log(found.across / size) - np.log(np.sin(middle) ** 2 + self.bent_far**2)
            scatter = self.scatter(found, found.along, found.across)
            return np.column_stack([found.log_first, np.log(size), found.along / size, height, scatter])

    def _grade(self, slab: int) -> int:
        """How finely a slab is integrated: as coarsely as gives what the finest does, at a few of its nodes."""
        if self.grades[slab] < 0:
            finest = int(grades(self.slabs[slab : slab + 1], self.turn)[0])
            wanted = self._probed(slab, finest)
            self._check_resolved(slab, float(wanted[0, 0]))
            alike = (
                (np.abs(self._probed(slab, one) - wanted) <= _COARSE * (1 + np.abs(wanted))).all()
                for one in range(finest)
            )
            self.grades[slab] = next((one for one, same in enumerate(alike) if same), finest)
        return int(self.grades[slab])

    def _check_resolved(self, slab: int, log_first: float) -> None:
        """Raise LimitError where the nodes miss what phi does at this norm, as they do where it turns too often."""
        log_norm = float(self.slabs[slab])
        exact = log_mean_square(self.phi, float(np.exp(log_norm / 2))) + np.log(self.network.gain)
        if np.isfinite(exact) and not abs(log_first + log_norm - exact) <= _RESOLVED:
            raise LimitError(
                f"{self.network.activation} turns too often at mean squares of e^{log_norm:.0f} for the moment chain "
                "to follow it; use exact networks, or smaller variances or inputs."
            )

    def _same(self, slab: int, inner: int) -> bool:
        """Whether a layer is the same in two slabs, but for the norm that it multiplies."""
        one, two = self._probed(slab, 0), self._probed(inner, 0)
        return bool(np.allclose(one, two, rtol=_SAME, atol=_SAME)) and bool(np.isfinite(one).all())

    def _probed(self, slab: int, grade: int) -> np.ndarray:
        """The moments of a few pairs of one norm."""
        sharp = self.sharp[slab]
        size, direction = np.array([1e-3, 0.1, 0.5, 0.5, 1.2, 0.3 / sharp]), np.array([1.5, 2.0, 1.0, 3.1, 2.2, 1.8])
        found = self.at(np.full(len(size), self.slabs[slab]), size, direction, grade)
        return np.column_stack([*found[:3], found.second, found.third])


def _middle(count: int) -> np.ndarray:
    """So many directions at the midpoints of (0, pi)."""
    return (np.arange(count) + 0.5) * np.pi / count


def _mirrored(nodes: np.ndarray, axis: int) -> np.ndarray:
    """Columns with those of two directions more beyond either end, which are mirror images."""
    nodes = np.moveaxis(nodes, axis, 0)
    return np.moveaxis(np.concatenate([nodes[1::-1], nodes, nodes[:-3:-1]]), 0, axis)


def _turn(network: Network) -> float:
    """The scale on which phi turns: 1, or where that is less, twice its first panel or a third of its first kink."""
    breaks, edges = features(from_zero(network.phi)[1], 4)
    panel, kink = (np.abs(some[some != 0]).min(initial=np.inf) for some in (edges, breaks))
    return float(min(1.0, 2 * panel, kink / 3))


class First(NamedTuple):
    """The moments of the first layer, and the size that the place of the second input is a multiple of."""

    moments: LayerMoments
    unit: Rows


@lru_cache(maxsize=64)
def first_layer(network: Network, log_norm: tuple[float, float], gap: float, *, single: bool, odd: bool) -> First:
    """Return the moments of the first layer at a pair of inputs of these norms, or at a single one and its stand-in.

    LimitError where they are not resolved, where phi cannot be given such inputs, and where fewer than eight neurons
    are expected to tell the two inputs apart: the law of so few is not that of their moments.
    """
    grid, pair = function_grid(network), PairStates.of(np.array(log_norm), gap, 1)
    check_log_norm(pair.norms())
    pair.larger_first(odd)
    seen, unit = pair.seen(np.zeros(1, dtype=int), closest(pair.log_norm, grid.turn))
    found, active = first_moments(grid.phi, network.gain, pair.log_norm, seen, grid.turn)
    count = active * network.width
    if not single and count < FEWEST_NEURONS:
        raise LimitError(
            f"{network.activation} turns within so small a part of these inputs that about {count:.1g} of "
            f"{network.width} neurons tell them apart, and a layer is described by its moments from {FEWEST_NEURONS} "
            "on; use exact networks, or inputs of norms nearer to one."
        )
    return First(found, unit)


@lru_cache(maxsize=8)
def function_grid(network: Network) -> FunctionGrid:
    """Return the network's grid; LimitError where difference quotients of its function have no mean square."""
    plane = Plane(from_zero(network.phi)[1])
    near, far = (
        float(plane.mean(lambda a, b: (a - b) ** 2, (1.0, 1.0), (size, np.pi - size)).value[0]) / size**2
        for size in _SMALL
    )
    if not near <= _STEEP * far:
        raise LimitError(
            f"{network.activation} jumps or has a cusp, and the moment chain follows differences of a function whose "
            "slope has a mean square; use exact networks or the infinite-width recursion."
        )
    return FunctionGrid(network)
