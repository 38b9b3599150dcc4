"""Rules about weights: a variance that is not the critical one, and what that makes over the depth."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from deeplim.architecture import MLP
from deeplim.diagnosis.criticality import edge_variance, neighbour_growth
from deeplim.diagnosis.evidence import Evidence, Weights
from deeplim.diagnosis.finding import Finding, Severity
from deeplim.diagnosis.words import finite, signed, spoken
from deeplim.specs import counted


@dataclass(frozen=True)
class Consequence:
    """What a weight variance makes over the depth: decades of growth, and the variance that would make none."""

    decades: float
    right: float
    told: str
    severity: Severity | None


def weight_variance(seen: Evidence) -> Iterator[Finding]:
    """A weight variance times fan-in, sigma_w^2, that is not critical: signals follow a power of it in the depth.

    Slopes: norms follow (sigma_w^2 / c)^depth. Other activations, whose norms settle: gradients follow chi_1^depth.
    """
    network = seen.network
    if not isinstance(network, MLP) or network.normalization != "none":
        return
    makes = _of_norms(seen, network) if network.homogeneous else _of_gradients(seen, network)
    if makes is None or makes.severity is None:
        return
    measured, error, where = _variance(seen, network, makes.right)
    if abs(measured - makes.right) <= seen.thresholds.variance_errors * error:
        return
    factor = float(np.sqrt(makes.right / measured))
    yield Finding(
        name="weight-variance",
        severity=makes.severity,
        measured=f"sigma_w^2, the weights' variance times their fan-in, is {measured:.4g}"
        + (f" ± {error:.1g}" if error else "")
        + (f"; of the Linear layers {spoken(where)} is farthest from critical" if where else "")
        + ".",
        predicted=makes.told + ".",
        remedy=f"multiply the weights by {factor:.3g}: draw them with variance {makes.right:.4g}/fan_in; in PyTorch, "
        f"torch.nn.init.normal_(weight, std=sqrt({makes.right:.4g}/fan_in)).",
        where=where,
        numbers=finite(
            variance=measured, variance_error=error, critical=makes.right, decades=makes.decades, factor=factor
        ),
    )


def _of_norms(seen: Evidence, network: MLP) -> Consequence:
    growth, limits = network.depth * float(np.log10(network.gain_ratio)), seen.thresholds
    severity: Severity | None = "warning" if abs(growth) > limits.weight_growth else None
    told = (
        f"c = 1/E phi(g)^2 = {network.critical_gain:.4g} keeps the mean square (He et al. 2015); (sigma_w^2/c)^depth "
    )
    told += f"changes it by {signed(growth)} decades over {counted(network.depth, 'layer')}"
    unhealthy = abs(growth) > limits.norm_unhealthy
    return Consequence(growth, network.critical_gain, told, "unhealthy" if unhealthy else severity)


def _of_gradients(seen: Evidence, network: MLP) -> Consequence | None:
    chi, edge, limits = neighbour_growth(network), edge_variance(network), seen.thresholds
    if chi is None or edge is None or chi <= 0:
        return None
    growth = network.depth * float(np.log10(chi))
    severity: Severity | None = "warning" if abs(growth) > limits.gradient_warning else None
    told = f"chi_1 = {chi:.4g}, and {edge:.4g} is the edge of chaos, chi_1 = 1; chi_1^depth changes gradients by "
    told += f"{signed(growth)} decades over {counted(network.depth, 'layer')} (Schoenholz et al. 2017)"
    return Consequence(growth, edge, told, "unhealthy" if abs(growth) > limits.gradient_unhealthy else severity)


def _variance(seen: Evidence, network: MLP, critical: float) -> tuple[float, float, str | None]:
    """The geometric mean of sigma_w^2 over the layers, its error, and the layer that is farthest from critical."""
    inner: Sequence[Weights] = [one for one in seen.weights if one.variance > 0]
    if not inner:
        return network.gain, 0.0, None
    logs = np.log([one.variance for one in inner])
    relative = np.array([one.standard_error / one.variance for one in inner])
    value = float(np.exp(logs.mean()))
    error = value * float(np.sqrt(np.sum(relative**2))) / len(inner)
    farthest = int(np.argmax(np.abs(logs - np.log(critical))))
    return value, error, inner[farthest].name
