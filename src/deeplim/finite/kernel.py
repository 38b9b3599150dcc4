"""The exact chain, fused: random bits, normals, activation and covariance in one pass, no weight matrix.

Given a layer, the rows of the next preactivations are iid centred Gaussians across the inputs, with the layer's
covariance. Drawing those rows has exactly the law of the network with its n x n matrices (Li, Nica & Roy 2022), and
costs O(n m^2) a layer instead of O(n^2 m). A residual layer keeps the rows and adds such a Gaussian row to each.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from deeplim.finite.coordinates import change_coordinates, factorise, flush, measure, record, renormalise
from deeplim.finite.rows import (
    ROWS,
    Form,
    activation_of,
    add_products,
    add_up,
    blank,
    clear,
    copy,
    correlate,
    draw,
    four,
    put_four,
)
from deeplim.simd.caching import kernel
from deeplim.simd.lanes import (
    COUNT,
    absolute,
    aligned,
    bytes_of,
    fma,
    inline,
    load,
    maximum,
    raised,
    select,
    single_buffer,
    spread,
    store,
)
from deeplim.simd.streams import pause, resume

_TILES_TOGETHER = 8
"""Tiles of rows summed in their own precision before the sum is added to the total in double precision."""
_FLUSH_EVERY = 8
_SMALLEST_SINGLE = 1e-30
"""What is smaller counts as zero in single precision, where subnormal numbers take a hundred times as long."""
_SMALLEST_DOUBLE = 1e-290
"""The same in double precision."""


class Workspace(NamedTuple):
    """The state of a block of sixteen networks and the room it needs, flat, sixteen numbers to an entry.

    Double precision but for ``bits`` (the random streams) and what is of a row or a few, in the precision of the rows.
    """

    matrix: np.ndarray
    factor: np.ndarray
    gram: np.ndarray
    products: np.ndarray
    size: np.ndarray
    base: np.ndarray
    growth: np.ndarray
    shrink: np.ndarray
    tilt: np.ndarray
    stretch: np.ndarray
    log_norm: np.ndarray
    log_size: np.ndarray
    now_norm: np.ndarray
    now_size: np.ndarray
    found: np.ndarray
    bits: np.ndarray
    scratch: np.ndarray
    row_factor: np.ndarray
    row_size: np.ndarray
    row_inverse: np.ndarray
    row_tilt: np.ndarray
    row_stretch: np.ndarray
    normals: np.ndarray
    point: np.ndarray
    row: np.ndarray
    part: np.ndarray
    part_of_rows: np.ndarray
    kept: np.ndarray


def workspace(inputs: int, kept_rows: int, precision: type) -> Workspace:
    """Return room for a block: ``kept_rows`` is the width for a ResNet and 0 for an MLP, which keeps no rows."""
    return Workspace(*(aligned(*part) for part in _layout(inputs, kept_rows, precision)))


def workspace_bytes(inputs: int, kept_rows: int, precision: type) -> int:
    """Return the bytes that such a room takes."""
    return sum(bytes_of(*part) for part in _layout(inputs, kept_rows, precision))


def _layout(inputs: int, kept_rows: int, precision: type) -> list[tuple[int, type]]:
    """How many entries of which kind of number each part of a room has."""
    corners = inputs * (inputs + 1) // 2
    sizes = dict.fromkeys(Workspace._fields, inputs)
    sizes |= dict.fromkeys(("matrix", "factor", "gram", "products", "row_factor", "part", "part_of_rows"), corners)
    sizes |= dict.fromkeys(("normals", "point", "row"), inputs * ROWS)
    sizes |= {
        "bits": 4,
        "scratch": 1,
        "found": 1,
        "kept": -(-kept_rows // ROWS) * ROWS * inputs,
    }
    rows = {"normals", "point", "row", "part", "part_of_rows", "kept"} | {
        name for name in sizes if name.startswith("row_")
    }
    kinds = {name: precision if name in rows else np.float64 for name in sizes} | {"bits": np.uint32}
    if not kept_rows:
        sizes |= {"products": 0, "part_of_rows": 0}
    return [(sizes[name], kinds[name]) for name in Workspace._fields]


@inline
def _prepare(m, least, w):
    """The double-precision state of a block, in the precision of its rows, whose smallest number is ``least``."""
    for a in range(m):
        safe = maximum(load(w.size, a), spread(least))
        # The sign says that z^a is its own coordinate, and no difference.
        store(w.row_size, a, select(load(w.base, a) < 0.5, 0.0 - safe, safe))
        store(w.row_inverse, a, 1.0 / safe)
    for at in range(m * (m + 1) // 2):
        entry = load(w.factor, at)
        store(w.row_factor, at, select(absolute(entry) < least, spread(0.0), entry))


@inline
def _less(x, f, y):
    """x - f y for four numbers."""
    return x[0] - f * y[0], x[1] - f * y[1], x[2] - f * y[2], x[3] - f * y[3]


@inline
def _plus(f, x, y):
    """f x + y for four numbers."""
    return fma(f, x[0], y[0]), fma(f, x[1], y[1]), fma(f, x[2], y[2]), fma(f, x[3], y[3])


@inline
def _restart(m, divided, block, states, start, w):
    """Put sixteen networks at their inputs, with the random streams of their own."""
    for k in range(COUNT):
        for word in range(4):
            w.bits[word * COUNT + k] = states[word, block * COUNT + k]
        for a in range(m):
            w.log_norm[a * COUNT + k] = start.log_norm[a]
            w.log_size[a * COUNT + k] = start.log_size[a]
            w.size[a * COUNT + k] = np.exp(start.log_size[a])
            w.base[a * COUNT + k] = start.base[a]
        for at in range(m * (m + 1) // 2):
            w.matrix[at * COUNT + k] = start.matrix[at]
    w.growth[:] = 1.0 if divided else np.exp(start.log_norm[0])
    if not divided:
        w.size[:COUNT] = np.exp(start.log_norm[0] / 2)
    w.shrink[:] = 1.0


@inline
def _measure(m, divided, gram, scale, bias, apart, w):
    if divided:
        renormalise(m, gram, scale, w.size, w.growth, w.shrink, w.tilt, w.stretch, w.matrix)
    else:
        measure(m, gram, scale, bias, apart, w.size, w.growth, w.shrink, w.tilt, w.stretch, w.base, w.matrix)


@lru_cache(maxsize=64)
def compile_kernels(
    unrolled: int, single: bool, phi: str | Callable | None, form: Form, divided: bool
) -> tuple[Callable, Callable]:
    """Return the kernels of the MLP and of the ResNet.

    unrolled: the number of inputs the kernels are specialised to, or 0 for kernels that take any number. single:
    whether rows are in single precision. phi: None for slopes, the name of a smooth function in a form, or a
    compiled scalar function. divided: whether inputs are divided by their norms, as slopes without biases allow. Both
    take states (word, network) uint32, n, depth, scale = gain / n, the variance of biases, the activation's parameters
    in the precision of the rows (as ``deeplim.finite.rows.activation_of`` has them), the Start, a Workspace,
    the recorded layers, and norms (network, layer, input) and gaps (network, layer, pair), which they fill; and a flag,
    raised in another thread to make them return at once (``deeplim.parallel``).
    """
    entries, tile = unrolled * (unrolled + 1) // 2, unrolled * ROWS
    activate, least = activation_of(phi, form), _SMALLEST_SINGLE if single else _SMALLEST_DOUBLE

    @kernel(nogil=True)
    def mlp(states, n, depth, scale, bias, parameters, start, w, layers, norms, gaps, stop):
        m = unrolled if unrolled > 0 else norms.shape[2]
        corners = m * (m + 1) // 2
        for block in range(states.shape[1] // COUNT):
            first = block * COUNT
            last = min(first + COUNT, norms.shape[0])
            _restart(m, divided, block, states, start, w)
            done = 0
            for layer in range(depth + 1):
                if layer > 0:
                    factorise(m, w.matrix, 1.0, w.factor)
                    _prepare(m, least, w)
                    if unrolled > 0 and single:
                        factor, size, inverse = single_buffer(entries), single_buffer(unrolled), single_buffer(unrolled)
                        normals, point, row = single_buffer(tile), single_buffer(tile), single_buffer(tile)
                        part = single_buffer(entries)
                        copy(entries, w.row_factor, factor)
                        copy(unrolled, w.row_size, size)
                        copy(unrolled, w.row_inverse, inverse)
                    else:
                        factor, size, inverse = w.row_factor, w.row_size, w.row_inverse
                        normals, point, row, part = w.normals, w.point, w.row, w.part
                    clear(corners, w.gram)
                    clear(corners, part)
                    s0, s1, s2, s3 = resume(w.bits)
                    for begin in range(0, n, _TILES_TOGETHER * ROWS):
                        if raised(stop):
                            return
                        for i in range(begin, min(begin + _TILES_TOGETHER * ROWS, n), ROWS):
                            s0, s1, s2, s3 = draw(m, normals, s0, s1, s2, s3)
                            for a in range(m):
                                put_four(point, a, correlate(factor, normals, a))
                            activate(m, parameters, point, size, inverse, row, w.scratch)
                            if n - i < ROWS:
                                blank(m, n - i, row)
                            add_products(m, row, part)
                        add_up(corners, part, w.gram)
                    pause(w.bits, s0, s1, s2, s3)
                    _measure(m, divided, w.gram, scale, bias, bias == 0.0, w)
                wanted = done < len(layers) and layers[done] == layer
                if layer % _FLUSH_EVERY == 0:
                    flush(m, divided, w)
                if wanted:
                    record(m, divided, w, norms[first:last, done], gaps[first:last, done])
                    done += 1

    @kernel(nogil=True)
    def resnet(states, n, depth, scale, bias, parameters, start, w, layers, norms, gaps, skip, branch, stop):
        m = unrolled if unrolled > 0 else norms.shape[2]
        corners = m * (m + 1) // 2
        for block in range(states.shape[1] // COUNT):
            first = block * COUNT
            last = min(first + COUNT, norms.shape[0])
            _restart(m, divided, block, states, start, w)
            w.growth[:] = 1.0
            # Layer 0 is drawn like a branch added to nothing, with the inputs' own covariance.
            w.kept[:] = 0.0
            w.tilt[:] = 0.0
            w.stretch[:] = 0.0
            factorise(m, w.matrix, 1.0, w.factor)
            done = 0
            for layer in range(depth + 1):
                _prepare(m, least, w)
                copy(m, w.tilt, w.row_tilt)
                for a in range(m):
                    store(w.row_stretch, a, skip * load(w.stretch, a))
                if unrolled > 0 and single:
                    factor, size, inverse = single_buffer(entries), single_buffer(unrolled), single_buffer(unrolled)
                    tilt, stretch = single_buffer(unrolled), single_buffer(unrolled)
                    normals, point, row = single_buffer(tile), single_buffer(tile), single_buffer(tile)
                    part, other = single_buffer(entries), single_buffer(entries)
                    copy(entries, w.row_factor, factor)
                    copy(unrolled, w.row_size, size)
                    copy(unrolled, w.row_inverse, inverse)
                    copy(unrolled, w.row_tilt, tilt)
                    copy(unrolled, w.row_stretch, stretch)
                else:
                    factor, size, inverse, tilt, stretch = (
                        w.row_factor,
                        w.row_size,
                        w.row_inverse,
                        w.row_tilt,
                        w.row_stretch,
                    )
                    normals, point, row, part, other = w.normals, w.point, w.row, w.part, w.part_of_rows
                clear(corners, w.gram)
                clear(corners, w.products)
                clear(corners, part)
                clear(corners, other)
                s0, s1, s2, s3 = resume(w.bits)
                for begin in range(0, n, _TILES_TOGETHER * ROWS):
                    if raised(stop):
                        return
                    for i in range(begin, min(begin + _TILES_TOGETHER * ROWS, n), ROWS):
                        s0, s1, s2, s3 = draw(m, normals, s0, s1, s2, s3)
                        place = i // ROWS * m
                        old = four(w.kept, place)
                        for a in range(m):
                            held = old
                            if a > 0:
                                held = _less(four(w.kept, place + a), load(tilt, a), old)
                            noise = correlate(factor, normals, a)
                            put_four(point, a, _plus(load(stretch, a), held, noise))
                        activate(m, parameters, point, size, inverse, row, w.scratch)
                        if n - i < ROWS:
                            blank(m, n - i, row)
                            blank(m, n - i, point)
                        for a in range(m):
                            put_four(w.kept, place + a, four(point, a))
                        add_products(m, row, part)
                        add_products(m, point, other)
                    add_up(corners, part, w.gram)
                    add_up(corners, other, w.products)
                pause(w.bits, s0, s1, s2, s3)
                # Everything is linear in the rows from here: the change of coordinates waits for the next pass.
                _measure(m, divided, w.products, 1.0 / n, 0.0, bias == 0.0, w)
                change_coordinates(m, w.tilt, w.stretch, w.gram)
                if not divided:
                    store(w.gram, 0, load(w.gram, 0) + bias / scale)
                factorise(m, w.gram, scale * branch * branch, w.factor)
                wanted = done < len(layers) and layers[done] == layer
                if layer % _FLUSH_EVERY == 0:
                    flush(m, divided, w)
                if wanted:
                    record(m, divided, w, norms[first:last, done], gaps[first:last, done])
                    done += 1

    return mlp, resnet
