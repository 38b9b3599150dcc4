"""What a network does at infinite width: where it stands between order and chaos, its gradients and its norms."""

import numpy as np

from deeplim.architecture import MLP, Network, ResNet
from deeplim.errors import DeeplimError, LimitError
from deeplim.inputs import gram
from deeplim.limits.infinite_width import InfiniteWidth
from deeplim.mean_field import edge_of_chaos, fixed_point, neighbour_growths


def neighbour_growth(network: Network) -> float | None:
    """Return chi_1, by how much a layer multiplies the squared distance of neighbours; None where it is not known.

    chi_1 = sigma_w^2 E phi'(sqrt(q) g)^2: above 1 chaos, where gradients explode; below 1 order, where they vanish
    (Poole et al. 2016; Schoenholz et al. 2017).
    """
    if not isinstance(network, MLP) or network.normalization != "none":
        return None
    if network.homogeneous:
        return network.gain_ratio
    try:
        return fixed_point(network).chi_1
    except LimitError:
        return None


def edge_variance(network: Network) -> float | None:
    """Return the sigma_w^2 of the edge of chaos, chi_1 = 1, for the network's sigma_b^2; None where there is none."""
    try:
        return edge_of_chaos(network).weight_variance
    except LimitError:
        return None


def gradient_decades(network: Network, norm: float, first: int, last: int) -> float | None:
    """Return by how many decades the backward signal's mean square changes from a layer back to an earlier one.

    At infinite width, and None if unknown. In an MLP each layer multiplies by sigma_w^2 E phi'(sqrt(V_l) g)^2, chi_1
    once the norms, begun at ``norm`` in layer 0, have settled: tanh at its edge without biases is never there, and its
    gradients die like 1/depth. In a ResNet of two slopes it is skip^2 + branch^2 sigma_w^2/c.
    """
    if network.normalization != "none":
        return None
    if isinstance(network, ResNet):
        each = network.skip_scale**2 + network.branch_scale**2 * network.gain_ratio
        return (last - first) * float(np.log10(each)) if network.homogeneous and each > 0 else None
    try:
        growths = neighbour_growths(network, norm, last)[first:]
    except LimitError:
        return None
    return float(np.log10(growths).sum()) if (growths > 0).all() and np.isfinite(growths).all() else None


def norm_decades(network: Network, norm: float) -> float | None:
    """Return by how many decades a mean square begun at ``norm`` changes over the network's layers at infinite width.

    None where it leaves every float. With two slopes and no biases it is (sigma_w^2/c)^depth, in a ResNet
    (skip^2 + branch^2 sigma_w^2/c)^depth; biases add to it, and other activations saturate or bend.
    """
    if network.homogeneous and network.bias_variance == 0 and network.normalization == "none":
        each = network.gain_ratio
        if isinstance(network, ResNet):
            each = network.skip_scale**2 + network.branch_scale**2 * each
        return network.depth * float(np.log10(each))
    try:
        given = gram(np.sqrt([[norm]]))
        change = InfiniteWidth(network).sample(given, samples=1, layers=[network.depth]).log_norm[0, 0, 0] - np.log(
            norm
        )
    except DeeplimError:
        return None
    return float(change / np.log(10))
