"""The slow twin of the GPU's kernels: plain covariances and Cholesky factors in NumPy, on the kernels' own normals."""

import numpy as np
from numba import njit

from deeplim.architecture import MLP, Network
from deeplim.finite.weights import activate
from deeplim.inputs import Inputs
from deeplim.simd.lanes import COUNT, load, store
from deeplim.simd.streams import stream_states, two_normals


@njit
def _pairs(states, normals):
    s0, s1, s2, s3 = load(states, 0), load(states, 1), load(states, 2), load(states, 3)
    for i in range(normals.shape[0] // (2 * COUNT)):
        one, two, s0, s1, s2, s3 = two_normals(s0, s1, s2, s3)
        store(normals, 2 * i, one)
        store(normals, 2 * i + 1, two)


def normals(seed: int, networks: int, rows: int, inputs: int) -> np.ndarray:
    """Standard normals (network, row, input): a row takes its normals in pairs and drops the second of the last."""
    drawn = []
    for first in range(0, networks, COUNT):
        flat = np.empty(rows * (inputs + inputs % 2) * COUNT, np.float32)
        _pairs(stream_states(seed, first, COUNT).ravel(), flat)
        drawn.append(flat.reshape(rows, -1, COUNT).transpose(2, 0, 1))
    return np.concatenate(drawn)[:networks, :, :inputs].astype(float)


def draw(network: Network, inputs: Inputs, *, networks: int, seed: int, layers: list[int]) -> tuple[np.ndarray, ...]:
    """log V^{aa} (network, layer, input) and log(1 - rho) (network, layer, pair); for living, distinct inputs only.

    A branch's sign is that of its weights, whose law has none: the kernels draw it with the scale's size.
    """
    n, m, c, residual = network.width, inputs.count, network.gain, not isinstance(network, MLP)
    g = normals(seed, networks, n * (network.depth + residual), m).reshape(networks, -1, n, m)
    covariance, states = np.broadcast_to(inputs.covariance, (networks, m, m)), []
    z = np.zeros((networks, n, m))
    for layer in range(network.depth + 1):
        if residual:
            skip, branch = (network.skip_scale, abs(network.branch_scale)) if layer > 0 else (0.0, 1.0)
            z = skip * z + branch * g[:, layer] @ np.linalg.cholesky(covariance).transpose(0, 2, 1)
            states.append(z.transpose(0, 2, 1) @ z / n)
        else:
            states.append(covariance)
            if layer == network.depth:
                break
            z = g[:, layer] @ np.linalg.cholesky(covariance).transpose(0, 2, 1)
        p = activate(network, z)
        covariance = c / n * p.transpose(0, 2, 1) @ p + network.bias_variance
    found = np.stack([states[layer] for layer in layers], axis=1)
    norm = np.sqrt(np.diagonal(found, axis1=2, axis2=3))
    a, b = np.triu_indices(m, 1)
    return 2 * np.log(norm), np.log(1 - found[..., a, b] / (norm[..., a] * norm[..., b]))
