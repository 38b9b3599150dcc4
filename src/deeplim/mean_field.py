"""Mean-field theory of an infinitely wide MLP: where norms and correlations settle, how fast, and the edge of chaos.

A layer maps a norm q = V^{aa} to F(q) = sigma_w^2 E phi(sqrt(q) g)^2 + sigma_b^2. At a fixed point q* the distance of
two nearby inputs is multiplied by chi_1 = sigma_w^2 E phi'(sqrt(q*) g)^2 in every layer: below 1 all inputs align,
above 1 none do (Poole et al. 2016; Schoenholz et al. 2017). At a finite width this is the middle of a law: see
``deeplim.limits``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf, log
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from deeplim.architecture import Network, check_network
from deeplim.checks import MOST_LISTED, check_real, check_whole, within_floats
from deeplim.errors import LimitError
from deeplim.gaussian import kernel_gaps, mean_square, mean_squares, slope_kernel_strength
from deeplim.hermite import expand
from deeplim.loading import Function

SAME = 1e-9
"""chi_1 this close to 1 is 1."""
_SMALLEST, _LARGEST, _APART = 1e-12, 1e8, 0.25
"""The norms among which fixed points are sought, and how far apart their logs; one below is 0."""
_TOGETHER = 16
_STEP, _JUMPS = 1e-6, 10.0
"""Half the step of a difference that stands for phi', and the growth of its square from a step of 1e-3 that shows a
jump: then it is 1000."""
_NUDGE, _HALF_STABLE = 1e-3, 1e-4
_ROUNDING = 1e-12

Norms = Float[np.ndarray, " norm"]


@dataclass(frozen=True)
class MeanField:
    """Where an infinitely wide MLP leads two inputs of unit norm, and how fast.

    norm: q*, 0 where norms die out. norm_slope: F'(q*). chi_1: what the squared distance of neighbours is multiplied by
    in a layer. correlation: c*, what correlations below 1 are led to, and correlation_slope: by what their distance to
    it is multiplied in a layer; None where correlations stay as they are. norm_depth, correlation_depth: the depth
    scales xi_q and xi_c, -1 / log of those slopes, in layers; infinity where nothing decays geometrically.
    """

    norm: float
    norm_slope: float
    chi_1: float
    correlation: float | None
    correlation_slope: float | None

    @property
    def phase(self) -> Literal["ordered", "critical", "chaotic"]:
        """'ordered' where neighbours approach each other (chi_1 < 1), 'chaotic' where they part, else 'critical'."""
        if abs(self.chi_1 - 1) <= SAME:
            return "critical"
        return "ordered" if self.chi_1 < 1 else "chaotic"

    @property
    def norm_depth(self) -> float:
        """xi_q, the layers in which the distance of a norm to q* falls by e."""
        return _depth(self.norm_slope)

    @property
    def correlation_depth(self) -> float:
        """xi_c, the layers in which the distance of a correlation to c* falls by e."""
        return inf if self.correlation_slope is None else _depth(self.correlation_slope)

    def __str__(self) -> str:
        led = "correlations stay" if self.correlation is None else f"correlations to {self.correlation:.6g}"
        return (
            f"{self.phase}: chi_1 = {self.chi_1:.6g}; norms to {self.norm:.6g} in {self.norm_depth:.3g} layers, {led} "
            f"in {self.correlation_depth:.3g}"
        )


class Edge(NamedTuple):
    """A point on the edge of chaos: the two variances, and the fixed norm q* there."""

    weight_variance: float
    bias_variance: float
    norm: float


@within_floats
def fixed_point(network: Network) -> MeanField:
    """Return where the network's layers, infinitely wide, lead norms begun at one and correlations below one.

    To about 1e-9, in chi_1 1e-6 where phi has kinks. ReLU: chi_1 = sigma_w^2 / 2 and q* = sigma_b^2 / (1 - chi_1).
    LimitError for a ResNet or a normalization, for norms that grow without bound, and for a function that jumps.
    Source: Poole et al. 2016; Schoenholz et al. 2017.

    >>> from deeplim.architecture import MLP
    >>> fixed_point(MLP(width=100, depth=100, weight_variance=1.5, bias_variance=0.5)).norm
    2.0
    """
    _check(network)
    norm = _fixed_norm(network)
    at = max(norm, _SMALLEST)
    chi_1 = network.gain * _slope_square(network, at)
    norm_slope = _norm_slope(network, at)
    if norm == 0 and not network.homogeneous:
        return MeanField(norm, norm_slope, chi_1, None, None)
    return MeanField(norm, norm_slope, chi_1, *_fixed_correlation(network, norm, chi_1))


@within_floats
def edge_of_chaos(network: Network) -> Edge:
    """Return the weight variance at which chi_1 = 1 for the network's activation and its bias variance, and q* there.

    The edge is the curve sigma_w^2 = 1 / E phi'(sqrt(q) g)^2, sigma_b^2 = q - sigma_w^2 E phi(sqrt(q) g)^2. A point
    counts where norms beside q are not led away from it; of several, it is the one whose q is nearest 1. tanh without
    biases: (1, 0), with q* = 0. ReLU: (2, 0). LimitError as for ``fixed_point``, and where no norm up to 1e4 is such a
    point, as for slopes with a bias, or gelu with one below 0.173. Source: Schoenholz et al. 2017.

    >>> from deeplim.architecture import MLP
    >>> edge_of_chaos(MLP(width=100, depth=100)).weight_variance
    2.0
    """
    _check(network)
    bias = network.bias_variance
    if network.homogeneous:
        if bias > 0:
            raise LimitError(
                f"{network.activation} is at the edge of chaos at a weight variance of {network.critical_gain:.6g}, "
                f"where a bias variance of {bias:g} makes norms grow without bound; leave out the biases."
            )
        return Edge(network.critical_gain, 0.0, 1.0)

    def excess(norms: Norms) -> Norms:
        """The edge's bias variance at these norms less the one asked for, by unit of norm; 0 where it is rounding."""
        found = (norms - _squares(network, norms) / _slope_squares(network, norms) - bias) / norms
        return np.where(np.abs(found) < SAME, 0.0, found)

    points = [Edge(1 / _slope_square(network, norm), bias, norm) for norm in _crossings(excess, _grid(_SMALLEST, 1e4))]
    if bias == 0 and _squares(network, np.zeros(1))[0] == 0:
        points.append(Edge(1 / _slope_square(network, _SMALLEST), 0.0, 0.0))
    settling = [point for point in points if _settles(network, point)]
    if not settling:
        raise LimitError(
            f"no weight variance puts {network.activation} with a bias variance of {bias:g} at the edge of chaos with "
            "norms that settle; give another bias variance."
        )
    return min(settling, key=lambda point: abs(log(max(point.norm, _SMALLEST))))


@within_floats
def neighbour_growths(network: Network, norm: float, layers: int) -> Norms:
    """Return sigma_w^2 E phi'(sqrt(q_l) g)^2 at the norms q_l of so many layers, q_0 = norm and q_{l+1} = F(q_l).

    By these an infinitely wide layer multiplies the squared distance of neighbours, and the mean square of a gradient
    on its way back; they go to chi_1 as norms settle. LimitError as for ``fixed_point``, but for norms that grow.

    >>> from deeplim.architecture import MLP
    >>> neighbour_growths(MLP(width=100, depth=100, weight_variance=1.5), 1.0, 2).tolist()
    [0.75, 0.75]
    """
    _check(network)
    norm, layers = check_real("norm", norm, least=0), check_whole("layers", layers, most=MOST_LISTED)
    if network.homogeneous:
        return np.full(layers, network.gain_ratio)
    norms = np.empty(layers)
    for layer in range(layers):
        norms[layer] = max(norm, _SMALLEST)
        norm = network.gain * float(_squares(network, norms[layer : layer + 1])[0]) + network.bias_variance
    return network.gain * _slope_squares(network, norms)


def _settles(network: Network, edge: Edge) -> bool:
    """Whether norms near that of the edge are not led away from it."""
    if edge.norm > 0:
        there = network.model_copy(update={"weight_variance": edge.weight_variance})
        return _norm_slope(there, edge.norm) < 1 + _HALF_STABLE
    return edge.weight_variance * float(_squares(network, np.full(1, _NUDGE))[0]) < _NUDGE


def _check(network: Network) -> None:
    if check_network(network).kind != "mlp":
        raise LimitError("the mean-field fixed points are those of an MLP; a ResNet's norms grow with its depth.")
    if network.normalization != "none":
        raise LimitError(
            f"{network.normalization} fixes the norms of {network}; see deeplim.limits.kernels.fixed_points for its "
            "correlations."
        )
    if not network.homogeneous and mean_square(_slope(network, _STEP)) > _JUMPS * mean_square(_slope(network, 1e-3)):
        raise LimitError(f"{network.activation} jumps, and chi_1 is that of a continuous function.")


def _depth(slope: float) -> float:
    size = abs(slope)
    return inf if size >= 1 - SAME else -1 / log(size) if size > 0 else 0.0


def _squares(network: Network, norms: Norms) -> Norms:
    """E phi(sqrt(q) g)^2."""
    return norms / network.critical_gain if network.homogeneous else mean_squares(network.phi, norms)


def _slope_squares(network: Network, norms: Norms) -> Norms:
    """E phi'(sqrt(q) g)^2: by Hermite series, in which he_k has slope sqrt(k) he_{k-1}, or by small differences."""
    if network.homogeneous:
        return np.full(len(norms), 1 / network.critical_gain)
    series, converged = expand(network.phi, np.sqrt(norms))
    found = (series**2 * np.arange(series.shape[1])).sum(axis=1) / norms
    found[~converged] = [mean_square(_slope(network, _STEP), float(norm)) for norm in norms[~converged]]
    return np.asarray(found)


def _slope_square(network: Network, norm: float) -> float:
    return float(_slope_squares(network, np.full(1, norm))[0])


def _slope(network: Network, step: float) -> Function:
    """phi' by differences."""
    phi = network.phi
    return lambda x: (phi(x + step) - phi(x - step)) / (2 * step)


def _norm_slope(network: Network, norm: float) -> float:
    """F'(q) = sigma_w^2 (E phi^2 g^2 - E phi^2) / (2 q), by parts."""
    if network.homogeneous:
        return network.gain_ratio
    phi, root = network.phi, np.sqrt(norm)
    leaning = mean_square(lambda x: phi(x) * x / root, norm)
    return network.gain * (leaning - mean_square(phi, norm)) / (2 * norm)


def _fixed_norm(network: Network) -> float:
    """The first fixed point of the norm map on the way from 1."""
    bias, ratio = network.bias_variance, network.gain_ratio
    if network.homogeneous and (ratio < 1 or (ratio == 1 and bias == 0)):
        return bias / (1 - ratio) if ratio < 1 else 1.0

    if network.homogeneous:
        raise _growing(network)

    def excess(norms: Norms) -> Norms:
        return (network.gain * _squares(network, norms) + bias) / norms - 1

    begin = float(excess(np.ones(1))[0])
    if abs(begin) < _ROUNDING:
        return 1.0
    found = _crossings(excess, _grid(1.0, _LARGEST if begin > 0 else _SMALLEST), first=True)
    if not found and begin > 0:
        raise _growing(network)
    return found[0] if found else 0.0


def _growing(network: Network) -> LimitError:
    return LimitError(
        f"the norms of {network} grow without bound, and have no fixed point; give smaller variances: without biases, "
        f"a weight variance of {network.critical_gain:.6g} keeps unit norms."
    )


def _grid(begin: float, end: float) -> Norms:
    """Norms from one to another, in equal steps of their logarithm."""
    return np.geomspace(begin, end, 2 + int(abs(log(end / begin)) / _APART))


def _crossings(excess: Callable[[Norms], Norms], grid: Norms, *, first: bool = False) -> list[float]:
    """Where a function of the norm changes its sign along a grid: everywhere, or the first place alone."""
    from scipy.optimize import brentq

    def at(log_norm: float) -> float:
        return float(excess(np.exp(np.full(1, log_norm)))[0])

    found: list[float] = []
    before, sign = float(grid[0]), 0.0
    for part in np.array_split(grid, max(1, len(grid) // _TOGETHER)):
        with np.errstate(all="ignore"):
            signs = np.sign(excess(part))
        for norm, now in zip(map(float, part), map(float, signs), strict=True):
            if now * sign < 0:
                found.append(float(np.exp(brentq(at, *sorted((log(before), log(norm))), xtol=1e-14))))
                if first:
                    return found
            if abs(now) == 1:
                before, sign = norm, now
    return found


def _fixed_correlation(network: Network, norm: float, chi_1: float) -> tuple[float | None, float | None]:
    """The correlation that those below 1 are led to at fixed norms, and the slope of the map there.

    A bias is one for both inputs: the gap becomes the kernel's times the share of V that the weights make.
    """
    from scipy.optimize import brentq

    share = 1 - network.bias_variance / norm if network.bias_variance else 1.0
    if network.homogeneous:
        kappa = slope_kernel_strength(*network.slopes)
        return (None, None) if kappa == 0 and share == 1 else (1.0, share)
    root = np.full(1, np.sqrt(norm))

    def moved(gap: float) -> float:
        return share * float(kernel_gaps(network.phi, root, root, np.full(1, gap))[0])

    if abs(moved(0.5) - 0.5) < _ROUNDING and abs(moved(1.5) - 1.5) < _ROUNDING:
        return None, None
    if chi_1 <= 1 + SAME:
        return 1.0, min(chi_1, 1.0)
    gaps = np.concatenate([np.exp(np.arange(log(_SMALLEST), log(0.5), 0.5)), np.linspace(0.5, 2, 61)])
    speed = np.array([moved(gap) - gap for gap in gaps])
    turns = np.flatnonzero((speed[:-1] > 0) & (speed[1:] <= 0))
    if not len(turns):
        return -1.0, chi_1
    gap = float(brentq(lambda one: moved(one) - one, gaps[turns[0]], gaps[turns[0] + 1], xtol=1e-15))
    h = 1e-2 * min(gap, 2 - gap)
    below_2, below, above, above_2 = (moved(gap + k * h) for k in (-2, -1, 1, 2))
    rho = 1 - gap if abs(1 - gap) > _ROUNDING else 0.0
    return rho, (8 * (above - below) - (above_2 - below_2)) / (12 * h)
