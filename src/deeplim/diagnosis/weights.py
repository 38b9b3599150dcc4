"""Rules about weights: a variance that is not the critical one, and what that makes over the depth."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from deeplim.architecture import MLP
from deeplim.diagnosis.criticality import edge_variance, gradient_decades, neighbour_growth
from deeplim.diagnosis.estimates import decades, median
from deeplim.diagnosis.evidence import Evidence, Weights
from deeplim.diagnosis.finding import SEVERITIES, Finding, Severity
from deeplim.diagnosis.words import finite, signed, spoken
from deeplim.specs import counted


@dataclass(frozen=True)
class Consequence:
    """What a weight variance makes over the depth: decades of growth, and the variance that would make none.

    Of norms where two slopes without biases make them grow by a power, else of gradients. also: what else to change.
    """

    decades: float
    right: float
    told: str
    severity: Severity | None
    also: str = ""


def weight_variance(seen: Evidence) -> Iterator[Finding]:
    """A weight variance times fan-in, sigma_w^2, that is not critical: signals follow a power of it in the depth.

    Two slopes without biases: norms and gradients follow (sigma_w^2 / c)^depth. With biases gradients alone do. Other
    activations: gradients follow the product of sigma_w^2 E phi'^2 at each layer's own norm, chi_1 once norms settle.
    """
    network = seen.network
    if not isinstance(network, MLP) or network.normalization != "none":
        return
    makes = _of_slopes(seen, network) if network.homogeneous else _of_gradients(seen, network)
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
        predicted=f"{makes.told}{_of_exact(seen, network)}.",
        remedy=f"multiply the weights by {factor:.3g}: draw them with variance {makes.right:.4g}/fan_in; in PyTorch, "
        f"torch.nn.init.normal_(weight, std=sqrt({makes.right:.4g}/fan_in)){makes.also}.",
        where=where,
        numbers=finite(
            variance=measured, variance_error=error, critical=makes.right, decades=makes.decades, factor=factor
        ),
    )


def _of_slopes(seen: Evidence, network: MLP) -> Consequence:
    c, growth, limits = network.critical_gain, network.depth * float(np.log10(network.gain_ratio)), seen.thresholds
    told = f"c = 1/E phi(g)^2 = {c:.4g} keeps the mean square (He et al. 2015); (sigma_w^2/c)^depth changes "
    over = f"by {signed(growth)} decades over {counted(network.depth, 'layer')}"
    if network.bias_variance == 0:
        severity = _severity(growth, limits.weight_growth, limits.norm_unhealthy)
        return Consequence(growth, c, f"{told}its mean over initializations {over}", severity)
    # biases hold norms up where the weights shrink them, and nothing holds gradients
    norms = _severity(_exact_change(seen, network) or 0.0, limits.weight_growth, limits.norm_unhealthy)
    gradients = _severity(growth, limits.gradient_warning, limits.gradient_unhealthy)
    severity = min(filter(None, (norms, gradients)), key=SEVERITIES.index, default=None)
    also = ", and make the biases zero: at that variance each layer adds theirs to the mean square"
    return Consequence(growth, c, f"{told}gradients {over}", severity, also)


def _of_gradients(seen: Evidence, network: MLP) -> Consequence | None:
    chi, edge, limits = neighbour_growth(network), edge_variance(network), seen.thresholds
    if chi is None or edge is None:
        return None
    growth = gradient_decades(network, 10 ** seen.norm_at(0).value, 0, network.depth)
    if growth is None:
        return None
    told = f"chi_1 = {chi:.4g}, and {edge:.4g} is the edge of chaos, chi_1 = 1 (Schoenholz et al. 2017); at infinite "
    told += f"width, each layer at its own norm, gradients change by {signed(growth)} decades over "
    told += counted(network.depth, "layer")
    return Consequence(growth, edge, told, _severity(growth, limits.gradient_warning, limits.gradient_unhealthy))


def _severity(growth: float, warning: float, unhealthy: float) -> Severity | None:
    return "unhealthy" if abs(growth) > unhealthy else "warning" if abs(growth) > warning else None


def _exact_change(seen: Evidence, network: MLP) -> float | None:
    """By how many decades the median mean square of exact networks changes over the depth; None if not at hand."""
    paths = seen.measured if seen.predicted is None else seen.predicted
    if paths.time[seen.end] - paths.time[0] != network.depth:
        return None
    drawn = decades(paths)
    change = median(drawn[:, seen.end] - drawn[:, 0]).value
    return change if np.isfinite(change) else None


def _of_exact(seen: Evidence, network: MLP) -> str:
    change, biases = _exact_change(seen, network), network.bias_variance
    with_biases = f", with biases of variance {biases:.3g}," if biases > 0 else ""
    return "" if change is None else f"; the median mean square of exact networks{with_biases} by {signed(change)}"


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
