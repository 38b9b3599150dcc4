"""What counts as zero, and two inputs as parallel, at the resolution of the arithmetic: decided here, for all of it.

Numbers are rounded by up to u = eps / 2 of themselves, 1.1e-16 in double precision and 6.0e-8 in single. Three cases.

Squares that are differences. Exact networks in double precision find |x|^2 - (x.y)^2 / |y|^2 and its like by
subtraction: what is left below some hundred rounding units of what it is left of (COLLAPSED, PARALLEL) is zero.

Rows as given. Two are proportional when each entry of one is that of the other times a factor, to the rounding of that
product in the rows' own precision. Rows at a factor of one, where nothing was rounded, are so only when they are equal.

Rows that a model has computed. Two rows that should be equal differ in their last bits, as a matrix product may add up
one in another order than the other. Every layer adds to their gap, so that it has a floor (``rounding_square``); see
``parallel`` for the gaps below it.
"""

import numpy as np
from jaxtyping import Bool, Float

COLLAPSED = 1e-14
"""A square in double precision that is this part of what it is the difference of is 0 up to rounding."""
VANISHED = 1e-28
"""The same of a square of such differences: its root is 1e-14 of what it belongs to."""
DEAD = 1e-12
"""An input whose square norm is below this fraction of input 0's is zero, its rows being in single precision."""
PARALLEL = 1e-12
"""Two inputs this much closer to each other than to input 0, gap to gap, cannot be told from parallel ones: their gap
is the difference of their differences to input 0."""
APART = 1e-2
"""Square norms farther from each other than by this factor, or its inverse, are no longer followed as a difference:
that would hold the smaller to the rounding of the larger."""
ANTIPODAL = float(np.log(2.0))
"""The largest log gap there is: rounding of correlations near -1 leads above it."""
FLOOR = 16.0
"""Squared rounding units by which a layer that sums few products moves a gap at most; most move it by a tenth of it."""
NEAR_FLOOR = float(np.log(100.0))
"""Log gaps of up to so much above their floor are near it: a hundredth of such a gap is rounding."""
_FEW_PRODUCTS = 128
"""Products in a sum up to which the number matters less than its rounding; from there on the floor grows with it.

Equal rows of Gaussian numbers through one matrix came apart by up to n / 16 squared units for sums of n = 64 to 16,384
products, in single and double precision, with AVX-512, AVX2 and SSE2 kernels of MKL and oneDNN: half of n / 8."""
_UNITS = 8.0
"""Rounding units that entries of proportional rows may be apart: of the factor, of the product, of the entry itself."""


def rounding_square(unit: float, products: int = 1) -> float:
    """Return the gap that rounding makes between equal inputs in one layer.

    unit: u of the layer's numbers. products: how many products each of its numbers is the sum of.
    """
    return FLOOR * unit**2 * max(1.0, products / _FEW_PRODUCTS)


def rounding_unit(dtype: np.dtype) -> float:
    """Return u of an array's type: half the distance from 1 to the next number; that of a double for whole numbers."""
    return float(np.finfo(dtype if dtype.kind == "f" else float).eps) / 2


def nearly_proportional(unit: float) -> float:
    """Return the largest gap that proportional rows have whose numbers are rounded by up to ``unit`` of themselves."""
    return (_UNITS * unit) ** 2


def proportional(first: Float[np.ndarray, " number"], row: Float[np.ndarray, " number"], unit: float) -> bool:
    """Return whether one row, in double precision, is the other times a factor, to the rounding of that product."""
    within = _UNITS * unit
    factor = first @ row / (row @ row)
    if abs(factor - 1) < 16 * within:  # a factor of one: no product was rounded
        return bool(np.array_equal(first, row))
    return bool((np.abs(first - factor * row) <= within * np.abs(first)).all())


def parallel(
    log_gap: Float[np.ndarray, "sample layer pair"], floor: Float[np.ndarray, " layer"]
) -> Bool[np.ndarray, "sample layer pair"]:
    """Return where a model made two inputs parallel, as far as its arithmetic can tell; layers in the signal's order.

    log_gap: log(1 - rho), minus infinity where rows came out proportional. floor: the log of the gap that rounding has
    made by each layer. A pair is parallel whose gap came below the floor at once, from above the root of the floor: one
    layer made one direction of the two. It stays so while its gap is near the floor, as narrow layers amplify rounding.
    A gap that fell to the floor little by little is not parallel: the signal went on below what these numbers resolve.
    """
    found = np.isneginf(log_gap)
    before = np.full(found[:, 0].shape, np.inf)
    with np.errstate(invalid="ignore"):
        for layer in range(log_gap.shape[1]):
            gap, least = log_gap[:, layer], floor[layer]
            found[:, layer] |= (gap < least) & ~(before <= least / 2)
            if layer > 0:
                found[:, layer] |= (gap < least + NEAR_FLOOR) & found[:, layer - 1]
            before = gap
    return found
