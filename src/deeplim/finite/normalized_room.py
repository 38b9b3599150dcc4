"""The room that sixteen normalized networks are drawn in: a layer's covariance, and what the next layer is made of."""

from typing import NamedTuple

import numpy as np

from deeplim.finite.rows import ROWS
from deeplim.simd.lanes import aligned, bytes_of

TOGETHER = 32
"""Neurons whose rows are drawn together where nothing needs all of them."""


class Layer(NamedTuple):
    """A layer of sixteen networks, sixteen numbers to an entry: matrix and log_size, its covariance as in
    ``deeplim.differences``, and what ``record`` needs with them.
    """

    matrix: np.ndarray
    log_size: np.ndarray
    size: np.ndarray
    base: np.ndarray
    growth: np.ndarray
    shrink: np.ndarray
    log_norm: np.ndarray
    now_norm: np.ndarray
    now_size: np.ndarray
    found: np.ndarray


class Room(NamedTuple):
    """What the next layer is made in: double precision but for ``bits``, the random streams.

    drawn_matrix, drawn_log_size, factor: the covariance that rows are drawn from. rows: those drawn or activated.
    kept: a ResNet's own, whose sizes are kept_log_size. log_size, size, ratio: sizes of the rows on their way through a
    half. fate, 1 or 0: whether a normalization has just met 0 / 0, whether the network is lost, and has exploded.
    """

    drawn_matrix: np.ndarray
    drawn_log_size: np.ndarray
    factor: np.ndarray
    gram: np.ndarray
    kept_log_size: np.ndarray
    log_size: np.ndarray
    size: np.ndarray
    inverse_size: np.ndarray
    ratio: np.ndarray
    keep: np.ndarray
    add: np.ndarray
    change: np.ndarray
    moments: np.ndarray
    fate: np.ndarray
    bits: np.ndarray
    scratch: np.ndarray
    normals: np.ndarray
    point: np.ndarray
    row: np.ndarray
    rows: np.ndarray
    kept: np.ndarray


def workspace(inputs: int, width: int, *, residual: bool, stored: bool) -> tuple[Layer, Room]:
    """Return room for a block of networks of this width; stored: whether the rows drawn or activated are all kept."""
    made = [aligned(*part) for part in _layout(inputs, width, residual, stored)]
    return Layer(*made[: len(Layer._fields)]), Room(*made[len(Layer._fields) :])


def workspace_bytes(inputs: int, width: int, *, residual: bool, stored: bool) -> int:
    """Return the bytes that such a room takes."""
    return sum(bytes_of(*part) for part in _layout(inputs, width, residual, stored))


def _layout(inputs: int, width: int, residual: bool, stored: bool) -> list[tuple[int, type]]:
    """How many entries of which kind of number each part of a layer and its room has."""
    corners, tiles = inputs * (inputs + 1) // 2, -(-width // ROWS) * ROWS * inputs
    sizes = dict.fromkeys(Layer._fields + Room._fields, inputs)
    sizes |= dict.fromkeys(("matrix", "drawn_matrix", "factor", "gram"), corners)
    sizes |= dict.fromkeys(("normals", "point", "row"), inputs * ROWS)
    sizes |= {"scratch": 1, "found": 1, "fate": 3, "bits": 4, "change": 3 * inputs, "moments": 3 * inputs}
    sizes |= {"kept": tiles if residual else 0, "rows": tiles if stored else TOGETHER * inputs}
    names = Layer._fields + Room._fields
    return [(sizes[name], np.uint32 if name == "bits" else np.float64) for name in names]
