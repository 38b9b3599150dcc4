"""What a layer's norms and gaps are made of: the products of its rows in double precision, in one pass."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from deeplim.probe.products_kernel import multiply_few, widen_block

_BLOCK = 1 << 16
"""Numbers that are made doubles at a time: few enough to stay in a core's cache."""
_LEAST = 256
"""Features at least in a block, for products of matrices to be fast."""
_NEAREST = 1 << 12
"""The same for few rows, whose products are made while a block is in the nearest cache."""
_FEW = 16
"""Rows up to which products are made in the pass that makes doubles: of more, a library's are faster."""
Multiply = Callable[[np.ndarray, np.ndarray], None]
"""Adds, sample by sample, the products of rows of doubles to a matrix, of which only the lower triangle is read."""


class Sums(NamedTuple):
    """Sums over the features of each sample.

    products: <x^a, x^b>, of which only the lower triangle is given. sizes: the sum of |x^a_i| over i. silent:
    how many features are zero for every input.
    """

    products: Float[np.ndarray, "sample input input"]
    sizes: Float[np.ndarray, "sample input"]
    silent: Int[np.ndarray, " sample"]


def multiply_rows(
    rows: Float[np.ndarray, "sample input feature"], products: Float[np.ndarray, "sample input input"]
) -> None:
    """Add <x^a, x^b>, by NumPy."""
    products += rows @ rows.transpose(0, 2, 1)


def sums_of_rows(x: Float[np.ndarray, "sample input feature"], multiply: Multiply = multiply_rows) -> Sums:
    """Return the sums of rows in single or double precision; of single precision numbers every product is exact.

    Whatever is not finite makes the sums of its rows infinite or NaN.
    """
    numbers, starts = in_memory(x)
    samples, rows, features = x.shape
    sizes, silent = np.zeros((samples, rows)), np.zeros(samples, dtype=int)
    if rows <= _FEW:
        even = rows + rows % 2
        products = np.zeros((samples, even, even))
        doubles = np.zeros((even, min(_NEAREST // even, features)))
        multiply_few(numbers, starts, features, doubles, products, sizes, silent)
        return Sums(products[:, :rows, :rows], sizes, silent)
    products = np.zeros((samples, rows, rows))
    doubles = room_for(samples, rows, features)
    with np.errstate(invalid="ignore", over="ignore"):
        for begin in range(0, features, doubles.shape[2]):
            block = doubles[:, :, : features - begin]
            widen_block(numbers, starts, begin, block, sizes, silent)
            multiply(block, products)
    return Sums(products, sizes, silent)


def room_for(samples: int, rows: int, features: int) -> Float[np.ndarray, "sample input block"]:
    """Return room for a block of rows in double precision."""
    return np.empty((samples, rows, min(max(_BLOCK // (samples * rows), _LEAST), features)))


def in_memory(x: Float[np.ndarray, "sample input feature"]) -> tuple[np.ndarray, Int[np.ndarray, "sample input"]]:
    """Return the memory that rows lie in as a flat array, and where in it each begins; a copy of scattered ones."""
    size = x.itemsize
    if x.strides[2] != size or min(x.strides) < 0 or any(stride % size for stride in x.strides):
        x = np.ascontiguousarray(x)
    over_samples, over_rows = x.strides[0] // size, x.strides[1] // size
    starts = np.arange(x.shape[0])[:, None] * over_samples + np.arange(x.shape[1]) * over_rows
    extent = int(starts[-1, -1]) + x.shape[2]
    return np.lib.stride_tricks.as_strided(x, (extent,), (size,), writeable=False), starts
