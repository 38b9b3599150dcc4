"""Functions of Lanes, called on arrays."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numba import njit

from deeplim.simd.lanes import COUNT, load, store

KINDS = {"single": np.float32, "double": np.float64}


@lru_cache
def compiled(function: Callable, inputs: int) -> Callable:
    """A loop that stores function(x, ...) for sixteen numbers at a time."""

    @njit
    def one(x, out):
        for i in range(out.shape[0] // COUNT):
            store(out, i, function(load(x, i)))

    @njit
    def two(x, y, out):
        for i in range(out.shape[0] // COUNT):
            store(out, i, function(load(x, i), load(y, i)))

    @njit
    def three(x, y, z, out):
        for i in range(out.shape[0] // COUNT):
            store(out, i, function(load(x, i), load(y, i), load(z, i)))

    @njit
    def four(x, y, z, t, out):
        for i in range(out.shape[0] // COUNT):
            store(out, i, function(load(x, i), load(y, i), load(z, i), load(t, i)))

    return (one, two, three, four)[inputs - 1]


def apply(function: Callable, *arrays: np.ndarray) -> np.ndarray:
    """function of arrays of one length and kind, filled up to whole vectors."""
    length = len(arrays[0])
    filled = [np.concatenate([x, np.repeat(x[-1:], -length % COUNT)]) for x in arrays]
    out = np.empty_like(filled[0])
    compiled(function, len(arrays))(*filled, out)
    return out[:length]
