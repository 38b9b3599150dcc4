"""What the normalizations are, on plain arrays: across the neurons of one input, or across the inputs of one neuron."""

import numpy as np
from jaxtyping import Float

from deeplim.architecture import Network
from deeplim.errors import InputError
from deeplim.inputs import Inputs


def normalize(kind: str, z: Float[np.ndarray, "network neuron input"]) -> Float[np.ndarray, "network neuron input"]:
    """Return N(z), with epsilon 0.

    rmsnorm: z / sqrt(mean_i z_i^2) for each input; layernorm: the same after subtracting the mean over the neurons;
    batchnorm: each neuron's values over the inputs, less their mean, over their standard deviation. A neuron that is
    the same for every input has batchnorm 0, its value as epsilon falls to 0. An input that rmsnorm or layernorm
    leaves 0 / 0 is NaN; the callers count it as dead.
    """
    if kind == "none":
        return z
    if kind == "batchnorm":
        centred = z - z.mean(axis=2, keepdims=True)
        deviation = np.sqrt(np.mean(centred**2, axis=2, keepdims=True))
        return np.divide(centred, deviation, out=np.zeros_like(centred), where=np.ptp(z, axis=2, keepdims=True) > 0)
    centred = z - z.mean(axis=1, keepdims=True) if kind == "layernorm" else z
    with np.errstate(invalid="ignore"):
        return centred / np.sqrt(np.mean(centred**2, axis=1, keepdims=True))


def check_normalization(network: Network, inputs: Inputs) -> None:
    """Raise InputError for batchnorm over a single input, which is 0 / 0."""
    if network.normalization == "batchnorm" and inputs.count < 2:
        raise InputError(
            f"batchnorm was asked for with {inputs.count} input, whose deviation from the mean over the inputs is 0; "
            "give two inputs or more."
        )
