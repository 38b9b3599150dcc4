"""The fused chain of normalized networks against the NumPy one, fed the very normals that the kernel draws."""

import numpy as np
import pytest
from numba import njit
from test_normalization import ACTIVATIONS, IDS, KINDS

from deeplim.architecture import MLP, Network, ResNet
from deeplim.differences import Rows, in_coordinates
from deeplim.finite import chain
from deeplim.finite.rows import ROWS, draw
from deeplim.finite.start import scale_free
from deeplim.inputs import Inputs, gram
from deeplim.simd.lanes import COUNT, aligned
from deeplim.simd.streams import pause, resume, stream_states
from deeplim.walk import Walk

INPUTS = {
    1: gram(np.array([[1.0, 2.0, -0.5]])),
    2: gram(correlation=0.3),
    5: gram(np.random.default_rng(5).normal(size=(5, 7)) * np.array([[0.5], [1], [2], [1], [3]])),
}


@njit
def _layer(m: int, n: int, bits: np.ndarray, tile: np.ndarray, normals: np.ndarray) -> None:
    """Draw what a layer of sixteen networks takes from their streams into normals (network, input, neuron)."""
    s0, s1, s2, s3 = resume(bits)
    for i in range(0, n, ROWS):
        s0, s1, s2, s3 = draw(m, tile, s0, s1, s2, s3)
        for a in range(m):
            for row in range(min(ROWS, n - i)):
                for k in range(COUNT):
                    normals[k, a, i + row] = tile[(a * ROWS + row) * COUNT + k]
    pause(bits, s0, s1, s2, s3)


def walked(network: Network, inputs: Inputs, seed: int, layers: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Log norms and log gaps of the first sixteen networks of a seed, by NumPy, from the kernel's own normals."""
    norm = np.ones(inputs.count) if scale_free(network) else np.exp(inputs.log_norm / 2)
    bits, tile = aligned(4, np.uint32), aligned(inputs.count * ROWS)
    bits[:] = stream_states(seed, 0, COUNT).ravel()
    normals = np.empty((COUNT, inputs.count, network.width))

    def draw_layer(_: Rows) -> np.ndarray:
        _layer(inputs.count, network.width, bits, tile, normals)
        return normals

    walk = Walk(network, in_coordinates(norm, inputs.gap), COUNT, draw_layer)
    found = []
    for layer in range(max(layers) + 1):
        if layer > 0:
            walk.step()
        if layer in layers:
            found.append(walk.norms_and_gaps())
    return np.stack([norms for norms, _ in found], axis=1), np.stack([gaps for _, gaps in found], axis=1)


def agree(network: Network, other: Network, inputs: Inputs, layers: list[int], tolerance: float) -> bool:
    """Whether the fused chain gives ``network`` the numbers that NumPy gives ``other``, network by network."""
    norms, gaps = walked(other, inputs, 7, layers)
    found = chain.sample(network, inputs, networks=COUNT, seed=7, layers=layers)
    return all(
        np.allclose(one, two, rtol=0, atol=tolerance, equal_nan=True)
        for one, two in ((found.log_norm, norms), (found.log_gap, gaps))
    )


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("kind", "normalization", "place"), KINDS, ids=IDS)
def test_the_kernel_computes_what_numpy_does(kind: type, normalization: str, place: str, activation: str):
    for width, count in [(13, 2), (150, 5)] + ([(6, 1)] if normalization != "batchnorm" else []):
        network = kind(
            width=width, depth=4, activation=ACTIVATIONS[activation], normalization=normalization, placement=place
        )
        norms, gaps = walked(network, INPUTS[count], 7, [1, 4])
        found = chain.sample(network, INPUTS[count], networks=COUNT, seed=7, layers=[1, 4])
        if chain._only_norms_change(network): continue
        with np.errstate(invalid='ignore'):
          print(kind.__name__, normalization, place, activation, width, count, np.nanmax(np.abs(found.log_norm-norms)), np.nanmax(np.abs(found.log_gap-gaps)) if count>1 else 0, np.isfinite(gaps).sum())
