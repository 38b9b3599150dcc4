"""Integrals by Gauss-Legendre rules on panels, which are halved where the integrand needs it, within a budget."""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

Function = Callable[[np.ndarray], np.ndarray]
Edges = Float[np.ndarray, " edge"]

_ORDER = 12
RADIUS = 12.0
"""Deviations of a Gaussian that are integrated in the plane: beyond, the weight is 1e-31."""
MOST_PANELS = 30_000
"""Panels that an integral in one variable may take: an oscillation of some 40,000 periods, in a few milliseconds."""
_MOST_EDGES = 1500
"""Panels that a function may take from one end of its range to the other: more than it has octaves."""
_AROUND = np.array([-1.0, -0.4, 0.0, 0.4, 1.0])
_FAST, _RESOLVED, _SAME = 1e-5, 1e-8, 1e-13
"""Last Legendre coefficients of a resolved panel, relative to its largest: of an integrand, whose integral is good to
their square, and of a function whose panels are sought; and how far one panel may be from the two it stands for."""


class Integral(NamedTuple):
    """An integral, or several side by side, and what the error of each may be."""

    value: np.ndarray
    error: np.ndarray

    def worst(self, size: np.ndarray | float | None = None) -> float:
        """Return the largest error, relative to the integrals or to the size given; infinity where one is NaN."""
        scale = np.abs(self.value) if size is None else np.asarray(size)
        with np.errstate(all="ignore"):
            ratio = np.where(self.error > 0, self.error / scale, np.where(self.error == 0, 0.0, np.inf))
        return float(np.nan_to_num(ratio, nan=np.inf).max())


class Panels(NamedTuple):
    """Panels of one variable; ``label`` says which of several charts each belongs to."""

    left: Float[np.ndarray, " panel"]
    right: Float[np.ndarray, " panel"]
    label: np.ndarray

    def halved(self) -> "Panels":
        """Return the left halves and then the right ones."""
        middle = (self.left + self.right) / 2
        ends = np.concatenate([self.left, middle]), np.concatenate([middle, self.right])
        return Panels(*ends, np.tile(self.label, 2))

    def of(self, chosen: np.ndarray) -> "Panels":
        """Return some of the panels."""
        return Panels(self.left[chosen], self.right[chosen], self.label[chosen])


@lru_cache(maxsize=8)
def panel_rule(order: int = _ORDER) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre nodes and weights on [0, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(order)
    return (1 + nodes) / 2, weights / 2


def integrate(
    integrand: Function, edges: Edges, *, tolerance: float = 1e-15, size: np.ndarray | float | None = None
) -> Integral:
    """Integrate over panels, each halved until it is right within ``tolerance * size``.

    The size is the integral itself unless given; give it where the integrand changes sign. It takes 30,000 panels at
    most; then the error says how far it came.
    """
    node, _ = panel_rule()

    def values(panels: Panels) -> np.ndarray:
        width = (panels.right - panels.left)[:, None]
        return np.asarray(integrand(panels.left[:, None] + width * node))[None]

    panels = Panels(edges[:-1], edges[1:], np.zeros(len(edges) - 1, dtype=int))
    found = refine(values, panels, tolerance=tolerance, floor=0.0, most=MOST_PANELS, size=size)
    return Integral(found.value[0], found.error[0])


def refine(
    values: Callable[[Panels], np.ndarray],
    panels: Panels,
    *,
    tolerance: float,
    floor: float,
    most: int,
    size: np.ndarray | float | None = None,
) -> Integral:
    """Add up the integrals of ``values`` (panels -> component, panel, node), halving panels until each is right.

    Right is within the floor, or the tolerance times the size (the sum of the panels' own sizes where None), as its
    last Legendre coefficients tell, or what halving changes. It stops when ``most`` panels have been taken, or sixty
    halvings, which fence a jump in to 1e-18; the error then has what the open panels may be off by.
    """
    found, doubt = _sums(values(panels), panels)
    with np.errstate(all="ignore"):
        scale = np.abs(found).sum(axis=1) if size is None else np.broadcast_to(size, len(found))
        allowed = tolerance * scale + floor
    value, error, taken = np.zeros(len(found)), np.zeros(len(found)), len(panels.left)
    rough = np.asarray(~(doubt <= allowed[:, None]).all(axis=0))
    for turn in range(60):
        last = turn == 59 or taken + 2 * int(rough.sum()) > most
        done = np.ones(len(rough), dtype=bool) if last else ~rough
        with np.errstate(all="ignore"):
            value, error = value + found[:, done].sum(axis=1), error + doubt[:, done].sum(axis=1)
        if last or not rough.any():
            break
        whole, panels = found[:, rough], panels.of(rough).halved()
        found, doubt = _sums(values(panels), panels)
        taken += len(panels.left)
        with np.errstate(all="ignore"):
            change = np.tile(np.abs(found[:, : whole.shape[1]] + found[:, whole.shape[1] :] - whole), 2)
        doubt = np.fmin(doubt, change)
        rough = np.asarray(~(doubt <= allowed[:, None]).all(axis=0))
    return Integral(value, error)


def _sums(values: np.ndarray, panels: Panels) -> tuple[np.ndarray, np.ndarray]:
    """The integrals over panels (component, panel), and by how much each may be off.

    A Gauss rule of 12 nodes makes of coefficients that fall fast an error of the size of their square, and of those of
    a kink or jump, which fall slowly, one of their own size.
    """
    _, weight = panel_rule()
    width = panels.right - panels.left
    with np.errstate(all="ignore"):
        coefficients = np.abs(np.einsum("cpn,nk->cpk", values, _to_legendre()))
        largest, last = coefficients.max(axis=2), coefficients[:, :, -3:].max(axis=2)
        doubt = width * np.where(last <= _FAST * largest, last * last / np.maximum(largest, 1e-300), last)
        return np.einsum("cpn,n->cp", values, weight) * width, doubt


def octave_of(deviation: float) -> int:
    """Return the octave of the largest value, twelve deviations, at which a function of a Gaussian is integrated."""
    return int(np.ceil(np.log2(RADIUS * min(max(deviation, 1e-304), 1e304))))


@lru_cache(maxsize=64)
def features(function: Function, octave: int) -> tuple[Edges, Edges]:
    """Return ``breaks_and_edges`` of a function for a reach of 2^octave, kept for the next call."""
    return breaks_and_edges(function, 2.0**octave)


def breaks_and_edges(function: Function, reach: float) -> tuple[Edges, Edges]:
    """Return where a function has kinks or jumps within [-reach, reach], and edges of panels that resolve it between.

    Zero is an edge and counts as no kink. Kinks are found to twelve digits by halving; a function that no halving
    resolves (it is in single precision, say) has none.
    """
    # Twelve nodes do not see a narrow middle in a wide panel, so the panels widen with the distance from zero.
    # A kink likes round numbers: the edges, which would hide it, do not.
    octaves = int(np.ceil(np.log2(max(reach, 4.0))))
    wide = 1.0371 * reach * 2.0 ** np.arange(-octaves + 1, 1)
    fine = 1.0371 * reach * 2.0 ** np.arange(-max(octaves + 10, 30), 1)
    # Nor do nodes see a kink close to an end of its panel, so it is looked for among two sets of panels.
    found = np.concatenate([_breaks(function, np.union1d(-scale, scale)) for scale in (fine, 0.7 * fine)])
    breaks = np.sort(found)
    breaks = breaks[np.abs(breaks) > 1e-9 * min(reach, 1.0)]
    breaks = breaks[np.diff(breaks, prepend=-np.inf) > 1e-11 * np.abs(breaks)]
    edges = np.unique(np.concatenate([-wide, [0.0], wide, breaks]))
    most = max(2 * len(edges), _MOST_EDGES // 2)
    for _ in range(20):
        rough = _unresolved(function, edges[:-1], edges[1:])
        if not rough.any() or len(edges) > most:
            break
        edges = np.union1d(edges, ((edges[:-1] + edges[1:]) / 2)[rough])
    return breaks, _joined(function, edges, np.append(breaks, 0.0))


def _joined(function: Function, edges: Edges, kept: Edges) -> Edges:
    """Edges without those between panels that one panel resolves as well: where a function saturates, most of them."""
    for turn in range(2 * _ORDER):
        # pairs of neighbours, from the first panel on and from the second on in turns
        middle = np.arange(1 + turn % 2, len(edges) - 1, 2)
        middle = middle[~np.isin(edges[middle], kept)]
        left, right = edges[middle - 1], edges[middle + 1]
        alike = ~_unresolved(function, left, right) & _follows(function, left, edges[middle], right)
        if not alike.any() and turn > 0:
            break
        edges = np.delete(edges, middle[alike])
    return edges


def _follows(function: Function, left: Edges, middle: Edges, right: Edges) -> np.ndarray:
    """Whether the polynomial through the nodes of a panel is the function at the nodes of its two parts too."""
    node, _ = panel_rule()
    with np.errstate(all="ignore"):
        width = (right - left)[:, None]
        coefficients = np.asarray(function(left[:, None] + width * node), dtype=float) @ _to_legendre()
        ends = zip((left, middle), (middle, right), strict=True)
        x = np.concatenate([one[:, None] + (two - one)[:, None] * node for one, two in ends], axis=1)
        y = 2 * (x - left[:, None]) / width - 1
        basis = np.polynomial.legendre.legvander(y, _ORDER - 1)
        found = np.einsum("pnk,pk->pn", basis, coefficients)
        values = np.asarray(function(x), dtype=float)
        size = np.abs(values).max(axis=1)
        return np.asarray(np.abs(found - values).max(axis=1) <= _SAME * size) if len(left) else np.zeros(0, bool)


def _breaks(function: Function, edges: Edges) -> Edges:
    left, right, unit = edges[:-1], edges[1:], min(edges[-1], 1.0)
    found: list[float] = []
    rough = _unresolved(function, left, right)
    left, right = left[rough], right[rough]
    for _ in range(55):
        if not 0 < len(left) <= _MOST_EDGES // 3:
            return np.unique(found) if not len(left) else np.zeros(0)
        middle = (left + right) / 2
        rough = _unresolved(function, np.concatenate([left, middle]), np.concatenate([middle, right]))
        # Very narrow halves that both look smooth meet at the kink, or it is too small for them to see.
        narrow = right - left <= 1e-9 * np.maximum(np.abs(middle), 0.1 * unit)
        found += middle[narrow & ~rough.reshape(2, -1).any(axis=0)].tolist()
        left, right = np.concatenate([left, middle])[rough], np.concatenate([middle, right])[rough]
    return np.unique(np.concatenate([found, (left + right) / 2]))


def _unresolved(function: Function, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Whether the Legendre coefficients of a function on each panel have not fallen low by the last three."""
    node, _ = panel_rule()
    far = np.maximum(np.abs(left), np.abs(right))
    with np.errstate(all="ignore"):
        values = np.asarray(function(left[:, None] + (right - left)[:, None] * node), dtype=float)
        coefficients = np.abs(np.einsum("ij,jk->ik", values, _to_legendre()))
        # Beside its values at, and nearer to zero than, the panel on either side, what is 1e-14 of them is nothing.
        around = np.abs(np.asarray(function(far[:, None] * _AROUND), dtype=float)).max(axis=1)
        # In a very narrow panel the rounding of the argument is much.
        blurred = 1e-15 * far / (right - left)
        allowed = (_RESOLVED + blurred) * coefficients[:, 1:].max(axis=1) + 1e-14 * np.fmax(around, coefficients[:, 0])
        return np.asarray(coefficients[:, -3:].max(axis=1) > allowed)


@lru_cache(maxsize=1)
def _to_legendre() -> np.ndarray:
    """The matrix from values at the nodes to Legendre coefficients, (2k + 1) sum_i w_i P_k(x_i) f(x_i)."""
    node, weight = panel_rule()
    return np.polynomial.legendre.legvander(2 * node - 1, _ORDER - 1) * weight[:, None] * (2 * np.arange(_ORDER) + 1)
