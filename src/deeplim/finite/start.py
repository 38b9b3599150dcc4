"""Inputs in the coordinates of the exact chain: input 0, and the differences to it divided by their sizes."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from deeplim.architecture import MLP, Network
from deeplim.differences import in_coordinates
from deeplim.inputs import Inputs


class Start(NamedTuple):
    """matrix: covariance of (z^0, (z^a - b_a z^0) / r_a), lower triangle by rows; log_size: log r_a; log_norm: log
    V^{aa}; base: b_a, 1 but for inputs whose norm is far from input 0's.

    Where the chain divides inputs by their norms, these are divided first.
    """

    matrix: Float[np.ndarray, " entry"]
    log_size: Float[np.ndarray, " input"]
    log_norm: Float[np.ndarray, " input"]
    base: Float[np.ndarray, " input"]


def start(inputs: Inputs, *, unit_norm: bool, apart: bool = False) -> Start:
    """Return where the chain starts; apart: whether inputs may be coordinates of their own (``parts_norms``)."""
    norm = np.ones(inputs.count) if unit_norm else np.exp(inputs.log_norm / 2)
    found = in_coordinates(norm, inputs.gap, apart=apart)
    base = np.ones(inputs.count) if found.own is None else 1.0 - found.own[0]
    return Start(found.matrix[0][np.tril_indices(inputs.count)], found.log_size[0], inputs.log_norm.copy(), base)


def divides_norms(network: Network) -> bool:
    """Return whether the chain may divide every input by its norm: slopes pass it on, but not beside a bias."""
    return network.homogeneous and network.bias_variance == 0


def scale_free(network: Network) -> bool:
    """Return whether the inputs' norms do not matter past the first layer, because each is divided out by itself."""
    if not isinstance(network, MLP) or network.normalization not in ("rmsnorm", "layernorm"):
        return False
    return network.homogeneous or network.placement == "before-activation"
