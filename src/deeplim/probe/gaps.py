"""Log norms and log gaps of a layer's inputs, with their digits however near two inputs are."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from deeplim.checks import kind_of
from deeplim.errors import InputError
from deeplim.probe.products import Multiply, in_memory, multiply_rows, room_for, sums_of_rows
from deeplim.probe.products_kernel import across_block, add_excess, gaps_of
from deeplim.resolution import nearly_proportional, proportional, rounding_unit

_EXTREME = 100
"""Powers of two beyond which rows are scaled: short of it squares, and those of small differences, are in range."""
_NEAR = 2.0**-16
"""Gaps below this are found from differences; above it, 1 - rho loses five of sixteen digits at most."""
_RESOLVED = 2.0**-16
"""The part of its largest term that a squared distance may be before it, too, is found from differences of its own."""
_EXCESS_BLOCK = 1 << 10


class Measured(NamedTuple):
    """What is kept of a layer: log norms and log gaps, the share of features that are zero for every input of a
    sample, and the mean absolute value."""

    log_norm: Float[np.ndarray, "sample input"]
    log_gap: Float[np.ndarray, "sample pair"]
    silent: Float[np.ndarray, " sample"]
    absolute: Float[np.ndarray, " sample"]


def norms_and_gaps(
    x: Float[np.ndarray, "input feature"],
) -> tuple[Float[np.ndarray, " input"], Float[np.ndarray, " pair"]]:
    """Return log(|x^a|^2 / n) of every input and log(1 - rho^{ab}) of every pair, in double precision.

    x: one input a row, in single or double precision. Pairs in the order (0,1), (0,2), ..., (1,2), ... A log norm is
    minus infinity where an input is all zero and plus infinity where it has an infinity or a NaN; there the gaps
    are NaN. Near inputs, 1 - rho < 1e-5, are told apart by their differences, so that a gap keeps eleven digits however
    small it is (less, when the norms differ, what an error of 1e-16 in the angle takes); a log gap is minus infinity
    where one input is the other times a factor, to the rounding of that product. Norms neither overflow nor underflow.
    InputError for what is no array of real numbers with two axes.
    """
    try:
        rows = np.asarray(x)
    except Exception:  # of lists of unequal lengths, and what makes no array of itself
        raise InputError(f"{kind_of(x)} was given; give an array of real numbers, one input a row.") from None
    if rows.ndim != 2 or rows.size == 0 or rows.dtype.kind not in "biuf":
        raise InputError(
            f"an array of type {rows.dtype} and shape {rows.shape} was given; give real numbers, one input a row."
        )
    found = measure(rows[None])
    return found.log_norm[0], found.log_gap[0]


def measure(x: Float[np.ndarray, "sample input feature"], multiply: Multiply = multiply_rows) -> Measured:
    """Return what is kept of a layer, each sample by itself as ``norms_and_gaps`` has it."""
    samples, inputs, features = x.shape
    x = x if x.dtype in (np.float32, np.float64) else x.astype(float)
    exponent = _exponents(x)
    x = x if exponent is None else np.ldexp(x, -exponent[..., None])
    sums = sums_of_rows(x, multiply)
    own, gap = np.empty((samples, inputs)), np.empty((samples, inputs * (inputs - 1) // 2))
    smallest = np.empty(samples)
    gaps_of(sums.products, own, gap, smallest)
    if smallest.min() < _NEAR:
        for s in np.flatnonzero(smallest < _NEAR):
            _refine(x[s], sums.products[s], gap[s], multiply)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        log_norm = np.log(own / features)
        sizes = sums.sizes / (inputs * features)
        if exponent is not None:
            log_norm += 2 * np.log(2.0) * exponent
            sizes = np.ldexp(sizes, exponent)
        log_norm[~np.isfinite(own)] = np.inf
        return Measured(log_norm, np.log(gap, out=gap), sums.silent / features, sizes.sum(axis=1))


@lru_cache(maxsize=4)
def _pairs(inputs: int) -> tuple[np.ndarray, np.ndarray]:
    """The first and second input of every pair."""
    return np.triu_indices(inputs, 1)


def _exponents(x: Float[np.ndarray, "sample input feature"]) -> Int[np.ndarray, "sample input"] | None:
    """The powers of two to take out of rows so that no product over- or underflows: none in single precision."""
    if x.dtype != np.float64:
        return None
    with np.errstate(invalid="ignore"):
        largest = np.maximum(x.max(axis=2), -x.min(axis=2))
    exponent = np.frexp(np.where(np.isfinite(largest), largest, 0.0))[1]
    extreme = np.abs(exponent) > _EXTREME
    return np.where(extreme, exponent, 0) if extreme.any() else None


def _refine(
    x: Float[np.ndarray, "input feature"],
    products: Float[np.ndarray, "input input"],
    gaps: Float[np.ndarray, " pair"],
    multiply: Multiply,
) -> None:
    """Find the gaps of near pairs again, from differences to one input of them at a time, until none is left.

    Over the reference r, x^a is proportional to r + w^a with w^a across r, and the plane of two such has the squared
    area |r|^2 |w^a - w^b|^2 + |w^a|^2 |w^b|^2 - <w^a, w^b>^2. Only |w^a - w^b|^2 cancels, where two inputs are much
    nearer to each other than to r: these pairs wait for a reference among themselves.
    """
    first, second = _pairs(len(x))
    gap = np.zeros((len(x), len(x)))
    near = np.zeros(gap.shape, dtype=bool)
    near[first, second] = gaps < _NEAR
    near |= near.T
    while near.any():
        reference = int(near.sum(axis=1).argmax())
        chosen = np.concatenate([[reference], np.flatnonzero(near[reference])])
        dots = products[np.maximum(chosen, reference), np.minimum(chosen, reference)]
        # In a unit near |r|, a power of two, so that squares of squares are in range and no digit depends on the scale.
        unit = float(np.exp2(np.rint(np.log2(dots[0]) / 2)))
        square = float(dots[0]) / unit**2
        found, resolved = _gaps_across(_products_across(x, chosen, dots, unit, multiply), square)
        within = np.ix_(chosen, chosen)
        better = resolved & near[within]
        gap[within] = np.where(better, found, gap[within])
        near[within] &= ~better
    gaps[:] = np.where(gaps < _NEAR, gap[first, second], gaps)


def _products_across(
    x: Float[np.ndarray, "input feature"],
    chosen: Int[np.ndarray, " near"],
    dots: Float[np.ndarray, " near"],
    unit: float,
    multiply: Multiply,
) -> Float[np.ndarray, "near near"]:
    """<w^a, w^b> / unit^2 of the chosen rows over the first of them, r, from their products with it; in two passes."""
    numbers, starts = in_memory(x[None])
    starts, features = starts[0][chosen], x.shape[1]
    # A power of two brings neighbours on its two sides together, so that their difference is exact.
    factors = np.exp2(-np.rint(np.log2(dots / dots[0])))
    more = np.zeros(len(chosen))
    add_excess(numbers, starts, factors, features, np.empty((2, min(_EXCESS_BLOCK, features))), more)
    more /= dots[0]
    rounding = rounding_unit(x.dtype)
    found = np.zeros((1, len(chosen), len(chosen)))
    room = room_for(1, len(chosen), features)
    reference = np.empty(room.shape[2])
    for begin in range(0, features, room.shape[2]):
        block = room[:, :, : features - begin]
        across_block(numbers, starts, factors, more, unit, begin, reference, block[0])
        multiply(block, found)
    products = np.tril(found[0]) + np.tril(found[0], -1).T
    for i in 1 + np.flatnonzero(products.diagonal()[1:] <= nearly_proportional(rounding) * dots[0] / unit**2):
        if proportional(x[chosen[0]].astype(float), x[chosen[i]].astype(float), rounding):
            products[i] = products[:, i] = 0.0
    return products


def _gaps_across(
    products: Float[np.ndarray, "input input"], square: float
) -> tuple[Float[np.ndarray, "input input"], Bool[np.ndarray, "input input"]]:
    """1 - cos of the angles between r + w^a from the products of w^a, and which of them lost no digits."""
    own = products.diagonal()
    largest = np.maximum(own, own[:, None])
    distance = np.maximum(own + own[:, None] - 2 * products, 0.0)
    area = square * distance + np.maximum(own * own[:, None] - products**2, 0.0)
    sine_square = np.minimum(area / ((square + own) * (square + own[:, None])), 1.0)
    resolved = (distance > _RESOLVED * largest) | (largest == 0)
    resolved[0], resolved[:, 0] = True, True
    return sine_square / (1 + np.sqrt(1 - sine_square)), resolved
