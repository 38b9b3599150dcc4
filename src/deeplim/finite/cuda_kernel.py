"""The exact chain on a GPU, one network a thread: the CPU's functions of one row and one layer, compiled for CUDA.

A thread has the random stream of its network and writes to places of its own, so that a network is the same whatever
the blocks and launches: nothing is added up between threads. Arrays end in the axis of networks, which puts what
neighbouring threads read and write together. m is known when a kernel is compiled, so that NVVM unrolls the loops over
few inputs and keeps their arrays in registers.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numba import config, cuda, float32, float64, int64, uint32

from deeplim.finite.coordinates import (
    _log_gap,
    change_coordinates,
    factorise,
    log_square_norm,
    measure,
    renormalise,
)
from deeplim.finite.rows import activation_of, corner
from deeplim.simd.lanes import fma, load, maximum, select, spread, store, to_double
from deeplim.simd.retarget import Retarget
from deeplim.simd.streams import two_normals

if config.ENABLE_CUDASIM:
    from deeplim.simd import simulated

    on_device = Retarget(simulated, lambda function: function, ROWS=1)  # the simulator runs plain Python
else:
    from deeplim.simd import scalars

    on_device = Retarget(scalars, cuda.jit(device=True, forceinline=True), ROWS=1)

_ROWS_TOGETHER = 32
"""Rows summed in their own precision before the sum is added to the total in double precision."""
_FLUSH_EVERY = 8
_SMALLEST_SINGLE = 1e-30


class State(NamedTuple):
    """A network between layers, in double precision; the fields of ``coordinates``."""

    matrix: Any
    factor: Any
    gram: Any
    products: Any
    size: Any
    base: Any
    growth: Any
    shrink: Any
    tilt: Any
    stretch: Any
    log_norm: Any
    log_size: Any
    now_size: Any
    found: Any


class Row(NamedTuple):
    """What the rows of a layer share, and one of them, in the precision of the rows."""

    factor: Any
    part: Any
    kept_part: Any
    size: Any
    inverse: Any
    tilt: Any
    stretch: Any
    normals: Any
    point: Any
    value: Any
    held: Any
    scratch: Any


@on_device
def restart(m, divided, start_matrix, start_size, start_norm, start_base, w):
    """Put a network at its inputs."""
    for a in range(m):
        w.log_norm[a] = start_norm[a]
        w.log_size[a] = start_size[a]
        w.size[a] = np.exp(start_size[a])
        w.base[a] = start_base[a]
        w.growth[a] = 1.0
        w.shrink[a] = 1.0
        w.tilt[a] = 0.0
        w.stretch[a] = 0.0
    if not divided:
        w.growth[0] = np.exp(start_norm[0])
        w.size[0] = np.exp(0.5 * start_norm[0])
    for at in range(m * (m + 1) // 2):
        w.matrix[at] = start_matrix[at]


@on_device
def prepare(m, skip, w, row):
    """What the rows of a layer share, in their precision, and sums over rows at zero."""
    for a in range(m):
        safe = maximum(load(w.size, a), spread(_SMALLEST_SINGLE))
        store(row.size, a, select(load(w.base, a) < 0.5, 0.0 - safe, safe))
        store(row.inverse, a, 1.0 / safe)
        store(row.tilt, a, load(w.tilt, a))
        store(row.stretch, a, skip * load(w.stretch, a))
    for at in range(m * (m + 1) // 2):
        store(row.factor, at, load(w.factor, at))
        row.part[at] = row.kept_part[at] = 0.0
        w.gram[at] = w.products[at] = 0.0


@on_device
def draw(m, normals, s0, s1, s2, s3):
    """Store m independent standard normals, and return the next state of the stream."""
    for j in range(0, m, 2):
        one, two, s0, s1, s2, s3 = two_normals(s0, s1, s2, s3)
        store(normals, j, one)
        if j + 1 < m:
            store(normals, j + 1, two)
    return s0, s1, s2, s3


@on_device
def correlate(factor, normals, a):
    """Coordinate a of a Gaussian row whose covariance has the lower triangular factor given."""
    total = load(factor, corner(a, 0)) * load(normals, 0)
    for k in range(1, a + 1):
        total = fma(load(factor, corner(a, k)), load(normals, k), total)
    return total


@on_device
def add_products(m, row, sums):
    """Add row row^T to the lower triangle of sums, in the precision of the row."""
    for a in range(m):
        for b in range(a + 1):
            store(sums, corner(a, b), fma(load(row, a), load(row, b), load(sums, corner(a, b))))


@on_device
def add_up(count, part, sums):
    """Add sums over a few rows to the sums over all, in double precision, and start the former again from zero."""
    for k in range(count):
        store(sums, k, load(sums, k) + to_double(load(part, k)))
        store(part, k, spread(0.0))


@on_device
def measure_layer(m, divided, gram, scale, bias, apart, w):
    """Find norms, differences and coordinates of a layer from its Gram matrix."""
    if divided:
        renormalise(m, gram, scale, w.size, w.growth, w.shrink, w.tilt, w.stretch, w.matrix)
    else:
        measure(m, gram, scale, bias, apart, w.size, w.growth, w.shrink, w.tilt, w.stretch, w.base, w.matrix)


@on_device
def flush(m, divided, w):
    """Move the products of factors into logarithms, before they can underflow."""
    for a in range(m):
        if divided:
            w.log_norm[a] += np.log(w.growth[a])
            w.growth[a] = 1.0
        w.log_size[a] += np.log(w.shrink[a])
        w.shrink[a] = 1.0


@on_device
def record(m, divided, w, norms, gaps, at, network):
    """Write log norms (layer, input, network) and log gaps (layer, pair, network); it changes no later number."""
    for a in range(m):
        w.now_size[a] = w.log_size[a] + np.log(w.shrink[a])
        if divided:
            norms[at, a, network] = w.log_norm[a] + np.log(w.growth[a])
        else:
            store(w.found, 0, log_square_norm(m, w, a))
            norms[at, a, network] = w.found[0]
    pair = 0
    for b in range(m):
        for a in range(b + 1, m):
            store(w.found, 0, _log_gap(m, divided, w, a, b))
            gaps[at, pair, network] = w.found[0]
            pair += 1


def mlp_layer(m: int, divided: bool, activate: Any) -> Any:
    """Return the device function that takes a network one layer on, rows and all; layer 0 is the inputs."""

    @on_device
    def step(layer, n, scale, bias, slopes, skip, branch, w, row, kept, network, s0, s1, s2, s3):
        if layer == 0:
            return s0, s1, s2, s3
        factorise(m, w.matrix, 1.0, w.factor)
        prepare(m, skip, w, row)
        for begin in range(0, n, _ROWS_TOGETHER):
            for _ in range(min(_ROWS_TOGETHER, n - begin)):
                s0, s1, s2, s3 = draw(m, row.normals, s0, s1, s2, s3)
                for a in range(m):
                    store(row.point, a, correlate(row.factor, row.normals, a))
                activate(m, slopes, row.point, row.size, row.inverse, row.value, row.scratch)
                add_products(m, row.value, row.part)
            add_up(m * (m + 1) // 2, row.part, w.gram)
        measure_layer(m, divided, w.gram, scale, bias, bias == 0.0, w)
        return s0, s1, s2, s3

    return step


def resnet_layer(m: int, divided: bool, activate: Any) -> Any:
    """Return the same for a ResNet, whose layer 0 is drawn like a branch added to nothing."""

    @on_device
    def step(layer, n, scale, bias, slopes, skip, branch, w, row, kept, network, s0, s1, s2, s3):
        if layer == 0:
            factorise(m, w.matrix, 1.0, w.factor)
        else:
            # Everything is linear in the rows: the change of coordinates waits for this pass over them.
            change_coordinates(m, w.tilt, w.stretch, w.gram)
            if not divided:
                w.gram[0] += bias / scale
            factorise(m, w.gram, scale * branch * branch, w.factor)
        prepare(m, skip, w, row)
        for begin in range(0, n, _ROWS_TOGETHER):
            for i in range(begin, min(begin + _ROWS_TOGETHER, n)):
                s0, s1, s2, s3 = draw(m, row.normals, s0, s1, s2, s3)
                for a in range(m):
                    if layer == 0:
                        kept[i, a, network] = 0.0
                    row.held[a] = kept[i, a, network]
                for a in range(m - 1, 0, -1):
                    store(row.held, a, load(row.held, a) - load(row.tilt, a) * load(row.held, 0))
                for a in range(m):
                    noise = correlate(row.factor, row.normals, a)
                    store(row.point, a, fma(load(row.stretch, a), load(row.held, a), noise))
                    kept[i, a, network] = row.point[a]
                activate(m, slopes, row.point, row.size, row.inverse, row.value, row.scratch)
                add_products(m, row.value, row.part)
                add_products(m, row.point, row.kept_part)
            add_up(m * (m + 1) // 2, row.part, w.gram)
            add_up(m * (m + 1) // 2, row.kept_part, w.products)
        measure_layer(m, divided, w.products, 1.0 / n, 0.0, bias == 0.0, w)
        return s0, s1, s2, s3

    return step


def signature(single: bool) -> tuple[Any, ...]:
    """Return the Numba types of a kernel's arguments."""
    kind = float32 if single else float64
    numbers = (int64, int64, float64, float64, kind, kind, float64, float64)
    begin = (float64[::1], float64[::1], float64[::1], float64[::1])
    filled = (kind[:, :, ::1], float64[:, :, ::1], float64[:, :, ::1])
    return (uint32[:, ::1], *numbers, *begin, int64[::1], *filled)


@lru_cache(maxsize=64)
def compile_kernel(m: int, single: bool, residual: bool, phi: Callable | None, divided: bool) -> Any:
    """Return the kernel of an MLP or a ResNet for m inputs, for slopes (phi None) or a scalar function.

    single: whether rows are in single precision; divided: whether inputs are divided by their norms. It takes states
    (word, network) uint32, n, depth, scale = gain / n, the variance of biases, the two slopes,
    a ResNet's skip and branch, the four parts of a Start, the recorded layers, kept (neuron, input, network) for a
    ResNet's rows, and norms (layer, input, network) and gaps (layer, pair, network), which it fills.
    """
    corners = m * (m + 1) // 2
    kind = float32 if single else float64
    step = (resnet_layer if residual else mlp_layer)(m, divided, on_device(activation_of(phi, "plain")))

    @cuda.jit
    @on_device.plain
    def chain(
        states,
        n,
        depth,
        scale,
        bias,
        up,
        down,
        skip,
        branch,
        matrix,
        log_size,
        log_norm,
        base,
        layers,
        kept,
        norms,
        gaps,
    ):
        network = cuda.grid(1)
        if network >= norms.shape[2]:
            return
        w = State(
            cuda.local.array(corners, float64),
            cuda.local.array(corners, float64),
            cuda.local.array(corners, float64),
            cuda.local.array(corners, float64),
            cuda.local.array(m, float64),
            cuda.local.array(m, float64),
            cuda.local.array(m, float64),
            cuda.local.array(m, float64),
            cuda.local.array(m, float64),
            cuda.local.array(m, float64),
            cuda.local.array(m, float64),
            cuda.local.array(m, float64),
            cuda.local.array(m, float64),
            cuda.local.array(1, float64),
        )
        row = Row(
            cuda.local.array(corners, kind),
            cuda.local.array(corners, kind),
            cuda.local.array(corners, kind),
            cuda.local.array(m, kind),
            cuda.local.array(m, kind),
            cuda.local.array(m, kind),
            cuda.local.array(m, kind),
            cuda.local.array(m, kind),
            cuda.local.array(m, kind),
            cuda.local.array(m, kind),
            cuda.local.array(m, kind),
            cuda.local.array(1, kind),
        )
        bits = cuda.local.array(4, uint32)
        for word in range(4):
            bits[word] = states[word, network]
        s0, s1, s2, s3 = load(bits, 0), load(bits, 1), load(bits, 2), load(bits, 3)
        restart(m, divided, matrix, log_size, log_norm, base, w)
        done = 0
        for layer in range(depth + 1):
            s0, s1, s2, s3 = step(
                layer, n, scale, bias, (up, down), skip, branch, w, row, kept, network, s0, s1, s2, s3
            )
            if layer % _FLUSH_EVERY == 0:
                flush(m, divided, w)
            if done < len(layers) and layers[done] == layer:
                record(m, divided, w, norms, gaps, done, network)
                done += 1

    return chain
