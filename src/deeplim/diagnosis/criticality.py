"""Where a network stands between order and chaos: chi_1."""

from deeplim.architecture import MLP, Network, ResNet
from deeplim.errors import LimitError
from deeplim.mean_field import edge_of_chaos, fixed_point


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


def gradient_growth(network: Network) -> float | None:
    """Return by how much a layer multiplies the mean square of the backward signal at infinite width; None if unknown.

    chi_1 for an MLP, as for neighbours; skip^2 + branch^2 sigma_w^2/c for a ResNet of two slopes.
    """
    if isinstance(network, ResNet) and network.homogeneous and network.normalization == "none":
        return network.skip_scale**2 + network.branch_scale**2 * network.gain_ratio
    return neighbour_growth(network)
