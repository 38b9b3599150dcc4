"""Integrals in one variable by Gauss-Legendre rules on panels, which are halved where the integrand needs it."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from jaxtyping import Float

Function = Callable[[np.ndarray], np.ndarray]
Edges = Float[np.ndarray, " edge"]

_ORDER = 12
_MOST_PANELS = 500
_AROUND = np.array([-1.0, -0.4, 0.0, 0.4, 1.0])
_RESOLVED = 1e-8
"""Last Legendre coefficients of a resolved panel, relative to its largest; integrals are good to its square."""


@lru_cache(maxsize=8)
def panel_rule(order: int = _ORDER) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre nodes and weights on [0, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(order)
    return (1 + nodes) / 2, weights / 2


def integrate(integrand: Function, edges: Edges, *, tolerance: float = 1e-15, size: float | None = None) -> float:
    """Integrate over panels, each halved until its halves add up to the whole within ``tolerance * size``.

    The size is the integral itself unless given; give it where the integrand changes sign.
    """
    left, right = edges[:-1], edges[1:]
    whole = _panels(integrand, left, right)
    allowed, total = tolerance * (np.abs(whole.sum()) if size is None else size), 0.0
    # A jump is fenced in to 1e-15 in fifty halvings. More open panels than a function has jumps means that it
    # is not smooth at all (it computes in single precision, say), and halving would never end.
    for _ in range(60):
        middle = (left + right) / 2
        halves = _panels(integrand, np.concatenate([left, middle]), np.concatenate([middle, right]))
        both = halves[: len(whole)] + halves[len(whole) :]
        rough = np.abs(both - whole) > allowed
        total += both[~rough].sum()
        if not rough.any() or rough.sum() > _MOST_PANELS:
            return float(total + both[rough].sum())
        left, middle, right = left[rough], middle[rough], right[rough]
        left, right = np.concatenate([left, middle]), np.concatenate([middle, right])
        whole = halves[np.tile(rough, 2)]
    return float(total + whole.sum())


def _panels(integrand: Function, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    node, weight = panel_rule()
    width = (right - left)[:, None]
    return np.einsum("ij,j->i", integrand(left[:, None] + width * node), weight) * width[:, 0]


def breaks_and_edges(function: Function, reach: float) -> tuple[Edges, Edges]:
    """Return where a function has kinks or jumps within [-reach, reach], and edges of panels that resolve it between.

    Zero is an edge and counts as no kink. Kinks are found to twelve digits by halving; a function that no halving
    resolves (it is in single precision, say) has none.
    """
    # Twelve nodes do not see a narrow middle in a wide panel, so the panels widen with the distance from zero.
    # A kink likes round numbers: the edges, which would hide it, do not.
    wide = 1.0371 * reach * 2.0 ** np.arange(-int(np.ceil(np.log2(max(reach, 4.0)))) + 1, 1)
    fine = 1.0371 * reach * 2.0 ** np.arange(-30, 1)
    # Nor do nodes see a kink close to an end of its panel, so it is looked for among two sets of panels.
    found = np.concatenate([_breaks(function, np.union1d(-scale, scale)) for scale in (fine, 0.7 * fine)])
    breaks = np.sort(found)
    breaks = breaks[np.diff(breaks, prepend=-np.inf) > 1e-11 * np.abs(breaks)]
    edges = np.unique(np.concatenate([-wide, [0.0], wide, breaks]))
    for _ in range(8):
        rough = _unresolved(function, edges[:-1], edges[1:])
        if not rough.any() or len(edges) > _MOST_PANELS:
            break
        edges = np.union1d(edges, ((edges[:-1] + edges[1:]) / 2)[rough])
    return breaks, edges


def _breaks(function: Function, edges: Edges) -> Edges:
    left, right = edges[:-1], edges[1:]
    found: list[float] = []
    rough = _unresolved(function, left, right)
    left, right = left[rough], right[rough]
    for _ in range(55):
        if not 0 < len(left) <= _MOST_PANELS:
            return np.unique(found) if not len(left) else np.zeros(0)
        middle = (left + right) / 2
        rough = _unresolved(function, np.concatenate([left, middle]), np.concatenate([middle, right]))
        # Very narrow halves that both look smooth meet at the kink, or it is too small for them to see.
        narrow = right - left <= 1e-9 * np.maximum(np.abs(middle), 0.1)
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
