"""Functions of a Gaussian as series of Hermite polynomials, in which a correlation acts term by term.

With f(s g) = sum_k a_k(s) he_k(g), he_k orthonormal, Mehler's formula gives E f(a) f(b) = sum_k a_k(s_a) a_k(s_b)
rho^k for centred Gaussians of standard deviations s_a, s_b and correlation rho (Daniely, Frostig & Singer 2016).
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float

from deeplim.panels import features, octave_of, panel_rule

Function = Callable[[np.ndarray], np.ndarray]

_LADDER = ((256, 1 / 16), (768, 1 / 32), (2048, 1 / 32))
"""Orders tried, each with the step of its grid: he_k turns sqrt(k) times a unit, and the step resolves twice that."""
_REACH, _NEAR = 16.0, 3.0
_TURN = 5.0
"""Widest panel, times the root of k, on which twelve nodes resolve he_k."""
_NEGLIGIBLE, _NOTHING = 1e-9, 1e-14
"""Last coefficients of a series that has converged, and those that are dropped; every use squares them."""
_BETWEEN, _MISSED = np.linspace(-2.9, 2.7, 16) + 1 / 97, 1e-3
"""Points off every grid, and by how much a series may miss a function there, over its root mean square."""


def expand(
    function: Function, deviations: Float[np.ndarray, " deviation"]
) -> tuple[Float[np.ndarray, "deviation order"], Bool[np.ndarray, " deviation"]]:
    """Return the coefficients a_k(s) for each deviation s, and whether the series has converged to 1e-14.

    It converges for functions that are smooth on the scale of the deviation; not for kinks, nor for a function that
    saturates within a fifth of a deviation or so.
    """
    found, log_scale, converged = expand_scaled(function, deviations)
    with np.errstate(over="ignore"):
        return found * np.exp(log_scale)[:, None], converged


def expand_scaled(
    function: Function, deviations: Float[np.ndarray, " deviation"]
) -> tuple[Float[np.ndarray, "deviation order"], Float[np.ndarray, " deviation"], Bool[np.ndarray, " deviation"]]:
    """Return ``expand`` divided by a scale for each deviation, of order one then, and the logarithm of the scale."""
    order, step = _LADDER[0]
    found, log_scale, converged = _expand(function, deviations, order, step)
    for order, step in _LADDER[1:]:
        # A kink is a kink at every order: the next is tried where the last coefficients are falling fast.
        worth = ~converged & (_edge(found) < 1e-3)
        if not worth.any():
            break
        more, scales, now = _expand(function, deviations[worth], order, step)
        wider = np.zeros((len(deviations), order))
        wider[:, : found.shape[1]] = found
        chosen = np.flatnonzero(worth)[now]
        wider[chosen], log_scale[chosen], converged[chosen] = more[now], scales[now], True
        found = wider
    # Terms that are nothing in any series would cost every pair their powers.
    counts = np.abs(found) > _NOTHING * np.sqrt((found[:, 1:] ** 2).sum(axis=1, keepdims=True))
    columns = np.flatnonzero(counts[converged].any(axis=0))
    return found[:, : columns[-1] + 1 if len(columns) else 1], log_scale, converged


def coefficients(function: Function, deviation: float, scale: float, order: int) -> Float[np.ndarray, " order"]:
    """Return the first coefficients of f(deviation g) / scale for any piecewise smooth f, to 1e-11 or so.

    By Gauss rules on the panels that resolve f and its kinks; a series that has not converged by then still has these.
    """
    x, weight = resolving_nodes(function, deviation, _TURN / np.sqrt(order))
    root = np.exp(-x * x / 4) / (2 * np.pi) ** 0.25
    with np.errstate(all="ignore"):
        values = np.asarray(function(deviation * x), dtype=float) / scale * root * weight
    found, before, now = np.empty(order), np.zeros_like(x), root
    for k in range(order):
        found[k] = values @ now
        before, now = now, (x * now - np.sqrt(k) * before) / np.sqrt(k + 1)
    return found


def resolving_nodes(function: Function, deviation: float, widest: float) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes g and weights of Gauss rules from -16 to 16, on panels that resolve f(deviation g) and no wider."""
    _, edges = features(function, octave_of(deviation))
    inner = edges[np.abs(edges) < _REACH * deviation] / deviation
    count = int(np.ceil(2 * _REACH / min(widest, 1.0)))
    edges = np.union1d(inner, np.linspace(-_REACH, _REACH, count + 1))
    edges = edges[np.diff(edges, prepend=-np.inf) > 1e-15]
    node, weight = panel_rule()
    width = np.diff(edges)[:, None]
    return (edges[:-1, None] + width * node).ravel(), (width * weight).ravel()


def one_minus_powers(gaps: Float[np.ndarray, " pair"], order: int) -> Float[np.ndarray, "pair order"]:
    """Return 1 - rho^k for k < order and rho = 1 - gap, with relative precision however small the gap."""
    found = np.empty((len(gaps), order))
    close = gaps <= 0.5
    found[close] = -np.expm1(np.arange(order) * np.log1p(-gaps[close, None]))
    found[~close] = 1 - np.vander(1 - gaps[~close], order, increasing=True)
    return found


def _expand(
    function: Function, deviations: np.ndarray, order: int, step: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    grid, table = _basis(order, step)
    with np.errstate(all="ignore"):
        values = np.asarray(function(deviations[:, None] * grid), dtype=float)
        # The largest value within a few deviations: no square of it over- or underflows.
        scale = np.abs(values[:, np.abs(grid) <= _NEAR]).max(axis=1)
        scale = np.where((scale > 0) & np.isfinite(scale), scale, 1.0)
        values = values / scale[:, None]
        squares = values**2 * table[:, 0]
        # Not by BLAS, whose threads wait for each other longer than a table this small takes.
        found = np.einsum("ij,jk->ik", values, table)
        # Far out the weight must have won: a value that grows like exp(g^2) has no series.
        settled = np.maximum(squares[:, 0], squares[:, -1]) <= 1e-17 * squares.sum(axis=1)
        found = np.where(np.isfinite(found), found, 0.0)
        converged = np.isfinite(squares).all(axis=1) & settled & (_edge(found) <= _NEGLIGIBLE)
        converged &= _is_met(function, deviations, found, scale)
    return found, np.log(scale), converged


def _is_met(function: Function, deviations: np.ndarray, found: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Whether series are their functions off the grid, on which what turns faster looks as if it turned slowly."""
    values = np.asarray(function(deviations[:, None] * _BETWEEN), dtype=float) / scale[:, None]
    series = np.einsum("ij,kj->ik", found, _basis_between(found.shape[1]))
    return np.asarray(np.abs(values - series).max(axis=1) <= _MISSED * np.sqrt((found**2).sum(axis=1)))


def _edge(coefficients: np.ndarray) -> np.ndarray:
    """The largest of the last eighth of the coefficients, relative to all but the constant."""
    with np.errstate(over="ignore", invalid="ignore"):
        size = np.sqrt((coefficients[:, 1:] ** 2).sum(axis=1))
        last = np.abs(coefficients[:, -(coefficients.shape[1] // 8) :]).max(axis=1)
        return np.divide(last, size, out=np.where(last > 0, np.inf, 0.0), where=size > 0)


@lru_cache(maxsize=4)
def _basis(order: int, step: float) -> tuple[np.ndarray, np.ndarray]:
    """A uniform grid g, and he_k(g) times the normal density times the step: the trapezoid rule for a_k."""
    grid = np.arange(-round(_REACH / step), round(_REACH / step) + 1) * step
    root = np.exp(-grid * grid / 4) / (2 * np.pi) ** 0.25
    return grid, _hermite(grid, order, root) * root[:, None] * step


@lru_cache(maxsize=4)
def _basis_between(order: int) -> np.ndarray:
    """he_k at the points off every grid, by point and order."""
    return _hermite(_BETWEEN, order, np.ones_like(_BETWEEN))


def _hermite(points: np.ndarray, order: int, first: np.ndarray) -> np.ndarray:
    """he_k(points) times what is given for he_0 = 1, k = 0 ... order - 1."""
    table = np.empty((len(points), order))
    table[:, 0], table[:, 1] = first, points * first
    for k in range(1, order - 1):
        table[:, k + 1] = (points * table[:, k] - np.sqrt(k) * table[:, k - 1]) / np.sqrt(k + 1)
    return table
