"""Inputs in the coordinates of the exact chain: input 0, and the differences to it divided by their sizes."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from deeplim.inputs import Inputs


class Start(NamedTuple):
    """matrix: covariance of (z^0, (z^a - z^0) / r_a), lower triangle by rows; log_size: log r_a; log_norm: log V^{aa}.

    For a homogeneous activation the inputs are first divided by their norms.
    """

    matrix: Float[np.ndarray, " entry"]
    log_size: Float[np.ndarray, " input"]
    log_norm: Float[np.ndarray, " input"]


def start(inputs: Inputs, *, unit_norm: bool) -> Start:
    """Return where the chain starts; sizes and norms are formed without subtracting nearly equal numbers."""
    norm = np.ones(inputs.count) if unit_norm else np.exp(inputs.log_norm / 2)
    # |x^a - x^b|^2 = (|x^a| - |x^b|)^2 + 2 |x^a| |x^b| (1 - rho)
    distance = (norm[:, None] - norm) ** 2 + 2 * norm[:, None] * norm * inputs.gap
    size = np.sqrt(distance[0])
    safe = np.where(size > 0, size, 1.0)
    matrix = (distance[:, :1] + distance[:1] - distance) / (2 * safe[:, None] * safe)
    lean = ((norm - norm[0]) * (norm + norm[0]) - distance[0]) / (2 * safe)
    matrix[0], matrix[:, 0] = lean, lean
    matrix[0, 0] = norm[0] ** 2
    with np.errstate(divide="ignore"):
        log_size = np.log(size)
    log_size[0] = 0.0
    return Start(matrix[np.tril_indices(inputs.count)], log_size, inputs.log_norm.copy())
