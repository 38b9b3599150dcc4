"""The exact chain in NumPy, a layer at a time: for activations that Numba cannot compile.

A batch of networks at once, each with a NumPy generator of its own keyed by (seed, index); all n rows of a layer at
once, in the coordinates of ``deeplim.differences``.
"""

import numpy as np
from jaxtyping import Float

from deeplim.architecture import Network, ResNet
from deeplim.differences import Covariance, Rows, in_coordinates, parts_norms
from deeplim.finite.start import scale_free
from deeplim.inputs import Inputs
from deeplim.parallel import stop_flag
from deeplim.walk import Walk

_NUMBERS_TOGETHER = 2**15
"""How many numbers a layer of the networks walked together has, so that the caches hold it; it changes no result."""
_ROWS, _MATRICES = 7, 9
"""Arrays as large as a layer's rows, and as its covariance, that NumPy holds at a time, as its own account of memory
has it, with a function that makes no more than one array beside the one that it returns."""


def run_rows(
    network: Network,
    inputs: Inputs,
    layers: np.ndarray,
    seed: int,
    first: int,
    norms: Float[np.ndarray, "network layer input"],
    gaps: Float[np.ndarray, "network layer pair"],
) -> None:
    """Fill norms and gaps with the exact networks first, first + 1, ... of a seed.

    One that explodes has infinite norms from there on; one that a normalization loses, because some input is zero in
    every neuron, has norms of 0.
    """
    norm = np.ones(inputs.count) if scale_free(network) else np.exp(inputs.log_norm / 2)
    begin = in_coordinates(norm, inputs.gap, apart=parts_norms(network))
    together = _together(network, inputs)
    for at in range(0, len(norms), together):
        part = slice(at, min(at + together, len(norms)))
        streams = [np.random.default_rng([seed, first + i]) for i in range(part.start, part.stop)]
        _run(network, begin, streams, layers, norms[part], gaps[part])


def memory_of_rows(network: Network, inputs: Inputs) -> int:
    """Return the bytes that ``run_rows`` takes beside what it fills."""
    rows = _ROWS
    if isinstance(network, ResNet) and network.normalization != "none":
        rows += 2 if network.placement == "after-sum" else 1
    each = inputs.count * (rows * network.width + _MATRICES * inputs.count)
    return 8 * _together(network, inputs) * each


def _together(network: Network, inputs: Inputs) -> int:
    """How many networks are walked together."""
    return max(1, _NUMBERS_TOGETHER // (inputs.count * max(network.width, inputs.count)))


def _run(
    network: Network,
    begin: Covariance,
    streams: list[np.random.Generator],
    layers: np.ndarray,
    norms: np.ndarray,
    gaps: np.ndarray,
) -> None:
    room = np.empty((len(streams), begin.log_size.shape[1], network.width))

    def normals(_: Rows) -> np.ndarray:
        for stream, own in zip(streams, room, strict=True):
            stream.standard_normal(out=own)
        return room

    walk, stop = Walk(network, begin, len(streams), normals), stop_flag()
    for layer in range(int(layers[-1]) + 1):
        if stop[0]:
            return
        if layer > 0:
            walk.step()
        if layer in layers:
            at = int(np.searchsorted(layers, layer))
            norms[:, at], gaps[:, at] = walk.norms_and_gaps()
