"""The same networks with their weight matrices, slow and obvious: the oracle that the exact chain is tested against."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from deeplim.architecture import MLP, Network
from deeplim.checks import check_count, check_seed, memory_of_paths
from deeplim.inputs import Inputs, check_inputs
from deeplim.memory import check_room
from deeplim.normalization import check_normalization, normalize
from deeplim.paths import Paths, check_layers
from deeplim.resolution import VANISHED

_WEIGHTS_AT_A_TIME = 4_000_000


def sample_weights(
    network: Network,
    inputs: Inputs,
    *,
    networks: int = 100,
    seed: int = 0,
    layers: Sequence[int] | None = None,
) -> Paths:
    """Return the covariances of independent networks, each made of its weight matrices and run on the inputs.

    W_in has shape (n, m) and acts on a square root of the inputs' Gram matrix; every other W is n x n, and b has n
    entries. An MLP's state has an entry more for its bias, so that its square is the next covariance. 1 - rho is half
    the squared distance of the normalised states; below 1e-28 that is rounding, and the two inputs are taken to be
    exactly parallel. An input whose states are all zero, or that a normalization leaves 0 / 0, is dead there.
    O(n^2 m) a layer.
    """
    check_inputs(inputs)
    check_normalization(network, inputs)
    networks, seed = check_count("networks", networks), check_seed(seed)
    chosen = check_layers(layers, network.depth)
    group = min(networks, max(1, _WEIGHTS_AT_A_TIME // network.width**2))
    numbers = 2 * network.width**2 + (network.depth + 4) * network.width * inputs.count  # weights, and all states
    needed = 8 * group * numbers + memory_of_paths(networks, len(chosen), inputs.count)
    check_room(needed, f"weights and states of {network}", "make the network narrower, or ask for fewer networks")
    found = []
    for first in range(0, networks, group):
        rng = np.random.default_rng([seed, first])
        states = _forward(network, inputs, min(group, networks - first), rng)
        found.append([_norms_and_gaps(states[layer]) for layer in chosen])
    log_norm, log_gap = (
        np.concatenate([np.stack([layer[k] for layer in layers], axis=1) for layers in found]) for k in (0, 1)
    )
    return Paths(
        log_norm=log_norm,
        log_gap=log_gap,
        alive=np.isfinite(log_norm).all(axis=2),
        time=np.array(chosen, dtype=float),
        clock="layer",
        names=inputs.names,
        source=f"networks with weights: {network}",
        width=network.width,
        depth=network.depth,
    )


def activate(network: Network, z: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Return phi(z)."""
    if not network.homogeneous:
        return network.function(z)
    s_plus, s_minus = network.slopes
    return s_plus * np.maximum(z, 0) + s_minus * np.minimum(z, 0)


def _norms_and_gaps(state: Float[np.ndarray, "network neuron input"]) -> tuple[np.ndarray, np.ndarray]:
    """log V^{aa} (network, input) and log(1 - rho) (network, pair)."""
    first, second = np.triu_indices(state.shape[2], 1)
    square = np.sum(state**2, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        unit = state / np.sqrt(square)[:, None]
        gap = np.sum((unit[:, :, first] - unit[:, :, second]) ** 2, axis=1) / 2
        return np.log(square), np.log(np.where(gap < VANISHED, 0.0, gap))


def _forward(network: Network, inputs: Inputs, networks: int, rng: np.random.Generator) -> list[np.ndarray]:
    """The states of layers 0, ..., depth, each of shape (network, neuron, input), whose sums of squares are V."""
    n, m, sigma_b = network.width, inputs.count, np.sqrt(network.bias_variance)
    sigma_w = np.sqrt(network.gain / n)
    values, vectors = np.linalg.eigh(inputs.covariance)
    x = (vectors * np.sqrt(np.maximum(values, 0))).T
    z = rng.standard_normal((networks, n, m)) @ x

    def bias() -> np.ndarray:
        return sigma_b * rng.standard_normal((networks, n, 1)) if sigma_b > 0 else np.zeros((1, 1, 1))

    if isinstance(network, MLP):
        states = [np.broadcast_to(x, (networks, m, m))]
        for layer in range(network.depth):
            if layer > 0:
                z = rng.standard_normal((networks, n, n)) @ states[-1][:, :n] + bias()
            h = np.concatenate([sigma_w * _branch(network, z), np.full((networks, 1, m), sigma_b)], axis=1)
            states.append(_bury(network, states[-1], h))
        return states
    states = [z / np.sqrt(n)]
    for _ in range(network.depth):
        weights = rng.standard_normal((networks, n, n))
        added = _normalized("before-sum", network, sigma_w * weights @ _branch(network, z) + bias())
        total = network.skip_scale * z + network.branch_scale * added
        z = _bury(network, z, _normalized("after-sum", network, total))
        states.append(z / np.sqrt(n))
    return states


def _branch(network: Network, z: np.ndarray) -> np.ndarray:
    return _normalized("after-activation", network, activate(network, _normalized("before-activation", network, z)))


def _normalized(placement: str, network: Network, z: np.ndarray) -> np.ndarray:
    return normalize(network.normalization, z) if network.placement == placement else z


def _bury(network: Network, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The states after a layer, those of an input that has died kept at zero where it is divided by its own norm."""
    if network.normalization in ("none", "batchnorm"):  # batchnorm gives an input that has died the others' mean
        return after
    dead = ~before.any(axis=1) | np.isnan(after).any(axis=1)
    return np.where(dead[:, None], 0.0, after)
