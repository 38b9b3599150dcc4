"""Functions of a Gaussian as series of Hermite polynomials, in which a correlation acts term by term.

With f(s g) = sum_k a_k(s) he_k(g), he_k orthonormal, Mehler's formula gives E f(a) f(b) = sum_k a_k(s_a) a_k(s_b)
rho^k for centred Gaussians of standard deviations s_a, s_b and correlation rho (Daniely, Frostig & Singer 2016).
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float

Function = Callable[[np.ndarray], np.ndarray]

_LADDER = ((256, 1 / 16), (768, 1 / 32), (2048, 1 / 32))
"""Orders tried, each with the step of its grid: he_k turns sqrt(k) times a unit, and the step resolves twice that."""
_REACH = 16.0
_NEGLIGIBLE, _NOTHING = 1e-9, 1e-14
"""Last coefficients of a series that has converged, and those that are dropped; every use squares them."""


def expand(
    function: Function, deviations: Float[np.ndarray, " deviation"]
) -> tuple[Float[np.ndarray, "deviation order"], Bool[np.ndarray, " deviation"]]:
    """Return the coefficients a_k(s) for each deviation s, and whether the series has converged to 1e-14.

    It converges for functions that are smooth on the scale of the deviation; not for kinks, nor for a function that
    saturates within a fifth of a deviation or so.
    """
    order, step = _LADDER[0]
    found, converged = _expand(function, deviations, order, step)
    for order, step in _LADDER[1:]:
        # A kink is a kink at every order: the next is tried where the last coefficients are falling fast.
        worth = ~converged & (_edge(found) < 1e-3)
        if not worth.any():
            break
        more, now = _expand(function, deviations[worth], order, step)
        wider = np.zeros((len(deviations), order))
        wider[:, : found.shape[1]] = found
        wider[np.flatnonzero(worth)[now]] = more[now]
        converged[np.flatnonzero(worth)[now]] = True
        found = wider
    # Terms that are nothing in any series would cost every pair their powers.
    counts = np.abs(found) > _NOTHING * np.sqrt((found**2).sum(axis=1, keepdims=True))
    columns = np.flatnonzero(counts[converged].any(axis=0))
    return found[:, : columns[-1] + 1 if len(columns) else 1], converged


def one_minus_powers(gaps: Float[np.ndarray, " pair"], order: int) -> Float[np.ndarray, "pair order"]:
    """Return 1 - rho^k for k < order and rho = 1 - gap, with relative precision however small the gap."""
    found = np.empty((len(gaps), order))
    close = gaps <= 0.5
    found[close] = -np.expm1(np.arange(order) * np.log1p(-gaps[close, None]))
    found[~close] = 1 - np.vander(1 - gaps[~close], order, increasing=True)
    return found


def _expand(function: Function, deviations: np.ndarray, order: int, step: float) -> tuple[np.ndarray, np.ndarray]:
    grid, table = _basis(order, step)
    with np.errstate(all="ignore"):
        values = np.asarray(function(deviations[:, None] * grid), dtype=float)
        squares = values**2 * table[:, 0]
        # Not by BLAS, whose threads wait for each other longer than a table this small takes.
        found = np.einsum("ij,jk->ik", values, table)
        # Far out the weight must have won: a value that grows like exp(g^2) has no series.
        settled = np.maximum(squares[:, 0], squares[:, -1]) <= 1e-17 * squares.sum(axis=1)
        converged = np.isfinite(found).all(axis=1) & settled & (_edge(found) <= _NEGLIGIBLE)
    return np.where(np.isfinite(found), found, 0.0), converged


def _edge(coefficients: np.ndarray) -> np.ndarray:
    """The largest of the last eighth of the coefficients, relative to all but the constant."""
    size = np.sqrt((coefficients[:, 1:] ** 2).sum(axis=1))
    last = np.abs(coefficients[:, -(coefficients.shape[1] // 8) :]).max(axis=1)
    return np.divide(last, size, out=np.where(last > 0, np.inf, 0.0), where=size > 0)


@lru_cache(maxsize=4)
def _basis(order: int, step: float) -> tuple[np.ndarray, np.ndarray]:
    """A uniform grid g, and he_k(g) times the normal density times the step: the trapezoid rule for a_k."""
    grid = np.arange(-round(_REACH / step), round(_REACH / step) + 1) * step
    root = np.exp(-grid * grid / 4) / (2 * np.pi) ** 0.25
    table = np.empty((len(grid), order))
    table[:, 0], table[:, 1] = root, grid * root
    for k in range(1, order - 1):
        table[:, k + 1] = (grid * table[:, k] - np.sqrt(k) * table[:, k - 1]) / np.sqrt(k + 1)
    return grid, table * root[:, None] * step
