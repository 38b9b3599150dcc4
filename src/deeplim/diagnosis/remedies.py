"""What to do about a finding, in numbers for this width and depth, each tried on exact networks before it is given."""

from dataclasses import dataclass
from functools import lru_cache
from math import ceil, exp, log, sqrt
from typing import cast

import numpy as np

from deeplim.activations import Elementwise, Shaped
from deeplim.architecture import MLP, Network, ResNet
from deeplim.diagnosis.criticality import edge_variance
from deeplim.diagnosis.estimates import decades, gaps, median, spread
from deeplim.diagnosis.evidence import Evidence
from deeplim.diagnosis.words import small
from deeplim.errors import DeeplimError
from deeplim.finite.chain import sample
from deeplim.inputs import gram
from deeplim.shaping.design import shape
from deeplim.shaping.shaping import Shaping
from deeplim.shaping.target import Target

KEPT_GAP = 0.1
"""1 - eta, which inputs are to end at: TAT's eta = 0.9 (Zhang, Botev & Martens 2022)."""
SHAPED = 1.2
"""a in s = a sqrt(width) for smooth activations: below sqrt(2), where tanh's norm has a law it settles in."""
_TRIED, _DESIGNED, _SEED = 200, 1000, 0
_KEPT, _ROOM = 0.75, 1.5
_NEAR = 0.05
"""How near the log of a weight variance is to the edge of chaos for a network to be there."""
_LINEAR = 0.98
"""The slope from which a network counts as linear, which is no remedy."""


@dataclass(frozen=True)
class Trial:
    """What exact networks of a remedy do: median log(1 - rho), and the mean square in decades, median and spread."""

    log_gap: float
    norm: float
    spread: float


def try_out(network: Network, log_gap: float) -> Trial | None:
    """Return what 200 exact networks make of two inputs of unit norm at a gap; None where they cannot be drawn."""
    try:
        start = gram(gap=float(np.clip(np.exp(log_gap), 1e-300, 2.0)))
        drawn = sample(network, start, networks=_TRIED, seed=_SEED, layers=[network.depth], threads=1)
    except DeeplimError:
        return None
    if not drawn.alive.any():
        return None
    return Trial(median(gaps(drawn)[:, 0]).value, median(decades(drawn)[:, 0]).value, spread(drawn, 0).value)


@lru_cache(maxsize=64)
def designed(width: int, depth: int, log_gap: float) -> Shaping | None:
    """Return the shaping of a ReLU network of this size that keeps such a gap; None where it has no design.

    Three initializations in four are to end above the gap of correlation 0.9, which is TAT's, or a third of one that
    starts near it.
    """
    gap = exp(log_gap)
    try:
        target = Target(correlation=1 - min(KEPT_GAP, gap / 3), start=1 - gap, quantile=_KEPT)
        return shape(MLP(width=width, depth=depth), target, networks=_DESIGNED)
    except DeeplimError:  # a gap too small for a correlation to show
        return None


def _start(seen: Evidence) -> float:
    """The median log gap of the inputs, to three digits so that a command can say it; 0 where there is one input."""
    log_gap = seen.gap_at(seen.begin).value if seen.measured.inputs > 1 else 0.0
    return log(float(f"{min(exp(log_gap), 1.9):.3g}")) if log_gap > log(1e-12) else log_gap


def design_command(found: Shaping) -> str:
    """Return the command that makes a design again, and shows its law."""
    kept = found.target
    sizes = f"--width {found.network.width} --depth {found.network.depth}"
    bounds = f"--bound {kept.correlation:.12g} --quantile {kept.quantile:g} --start {kept.start:.12g}"
    return f"`deeplim shape {sizes} {bounds}`"


def shape_command(seen: Evidence) -> str:
    """Return the command that designs a shaping for this size, or shows the one there is of a smooth activation."""
    if seen.convolutional:
        return "`deeplim shape --width WIDTH --depth DEPTH`, WIDTH the channels times the kernel's size"
    width = seen.network.width if seen.network is not None else seen.width
    words = f"--width {width if width is not None else 'WIDTH'} --depth {seen.depth}"
    if isinstance(seen.network, ResNet):
        words += " --architecture resnet"
    if seen.network is not None and isinstance(seen.network.activation, Elementwise) and not seen.network.homogeneous:
        # shape bounds alignment alone, which a chaotic network keeps too: tanh itself would be its answer
        return f"`deeplim simulate {words} --activation shaped:{seen.network.activation},a={SHAPED:g}`"
    return f"`deeplim shape {words}`"


def for_collapse(seen: Evidence) -> str:
    """Return what keeps these inputs apart."""
    network, command = seen.network, shape_command(seen)
    if isinstance(network, ResNet):
        return f"{_scaled_branches(seen)}, or shape the activation: {command}"
    if network is None or network.normalization != "none":
        several = f"scale residual branches, where there are any, by 1/sqrt(depth){_root(seen)}"
        return f"shape the activations towards the identity ({command}), or {several}"
    remedy = _shaped(network, _start(seen))
    if remedy is None:
        return _wider(network, _start(seen))
    tried = _held(seen, remedy)
    if tried is None:
        return f"shape the activation by this depth and width, or make it wider: {command}"
    held = f"exact networks then end at 1 - rho = {small(tried.log_gap)} and vary by {tried.spread:.2f} decades"
    return f"{remedy.told}: {held} at width {network.width} and depth {network.depth}; {remedy.command or command}"


def mended_by_shaping(seen: Evidence) -> frozenset[str]:
    """Return the findings that exact networks of the shaping that keeps inputs apart do not have."""
    network = seen.network
    if not isinstance(network, MLP) or network.normalization != "none":
        return frozenset()
    remedy = _shaped(network, _start(seen))
    tried = None if remedy is None else _held(seen, remedy)
    if tried is None:
        return frozenset()
    limits = seen.thresholds
    found = {"norm-dies", "norm-explodes"} if abs(tried.norm) < limits.norm_warning else set()
    found |= {"fluctuations"} if tried.spread < limits.spread_warning else set()
    # of critical weights between two slopes gradients keep their mean square, as norms do
    return frozenset(
        found | {"gradient-dies", "gradient-explodes", "weight-variance"} if network.homogeneous else found
    )


def _held(seen: Evidence, remedy: "_Remedy") -> Trial | None:
    """What exact networks of a remedy do; None where they do not keep inputs apart."""
    tried = try_out(remedy.network, _start(seen))
    return None if tried is None or tried.log_gap < log(seen.thresholds.nearly_aligned_gap) else tried


@dataclass(frozen=True)
class _Remedy:
    """A shaped network, how that is said, and the command that designs it."""

    network: MLP
    told: str
    command: str | None


def _shaped(network: Network, start: float) -> _Remedy | None:
    """The same network with its activation shaped towards the identity; None where that does not help."""
    if network.homogeneous:
        found = designed(network.width, network.depth, start)
        if found is None or not found.feasible or found.value > _LINEAR:
            return None
        told = f"LeakyReLU with slope {found.value:.4g} and weight variance {found.network.gain:.3g}/fan_in"
        return _Remedy(cast(MLP, found.network), told, design_command(found))
    if not isinstance(network.activation, Elementwise):
        return None
    phi = network.activation.name
    try:
        smooth = MLP(width=network.width, depth=network.depth, activation=Shaped(function=phi, a=SHAPED))
    except DeeplimError:
        return None
    scale = f"s = {SHAPED:g} sqrt(width) = {SHAPED * sqrt(network.width):.3g}"
    return _Remedy(smooth, f"s phi(x/s) for phi = {phi} with {scale}", None)


def _wider(network: Network, start: float) -> str:
    """At this depth/width chance alone aligns inputs, whatever the activation: how wide it takes."""
    narrow = designed(network.width, network.depth, start) if network.homogeneous else None
    if narrow is None or narrow.least_width is None:
        return f"make it less deep than {network.depth}, or wider"
    # At the least width only the linear network will do; a half more leaves room for a nonlinear one.
    width = _round_up(_ROOM * narrow.least_width.width)
    found = designed(width, network.depth, start)
    slope = "" if found is None else f" with LeakyReLU of slope {found.value:.4g}: {design_command(found)}"
    return (
        f"at depth/width = {network.aspect:.2g} chance alone aligns inputs, whatever the activation: make it {width} "
        f"wide, or as much less deep,{slope or ' and shape it'}"
    )


def _root(seen: Evidence) -> str:
    return "" if seen.convolutional else f" = {seen.depth**-0.5:.2g}"


def _scaled_branches(seen: Evidence) -> str:
    return f"scale each residual branch by 1/sqrt(depth) = {1 / sqrt(seen.depth):.3g}"


def _bounded_branches(seen: Evidence, network: ResNet) -> str:
    """What keeps residual norms: a skip of sqrt(1 - branch^2) does where there is one."""
    kept = ", or use skip = sqrt(1 - branch^2)" if network.branch_scale < 1 else ""
    return f"{_scaled_branches(seen)}{kept}"


def for_chaos(seen: Evidence) -> str:
    """Return what brings neighbours back together."""
    network = seen.network
    if network is None or network.homogeneous or isinstance(network, ResNet):
        if seen.normalized:
            return (
                "normalize before the activation rather than after it: centring an activation's output drives "
                "inputs apart"
            )
        return f"shrink the weights, or shape the activations: {shape_command(seen)}"
    edge = edge_variance(network)
    if edge is None:
        return f"shrink the weights, or shape the activations: {shape_command(seen)}"
    factor = sqrt(edge / network.gain)
    edged = f"multiply the weights by {factor:.3g}, to sigma_w^2 = {edge:.4g}, the edge of chaos"
    return f"{edged}, or shape the activation: {shape_command(seen)}"


def for_norm(seen: Evidence, change: float, layers: int) -> str:
    """Return the factor that brings norms back that have changed by so many decades over so many layers."""
    if isinstance(seen.network, ResNet):
        return _bounded_branches(seen, seen.network)
    network = seen.network
    if isinstance(network, MLP) and network.normalization == "none" and network.homogeneous:
        if network.gain_ratio == 1:
            mean = "its mean over initializations holds, and a typical one falls behind by its fluctuations"
            return f"{mean}: {_width_for(seen, network.width, seen.spread_at(seen.end).value)}"
        c = network.critical_gain
        return f"draw the weights with variance {c:.4g}/fan_in: multiply them by {sqrt(c / network.gain):.3g}"
    if isinstance(network, MLP) and network.normalization == "none":
        return _critical(seen, network)
    if seen.normalized:
        return f"scale residual branches, where there are any, by 1/sqrt(depth){_root(seen)}"
    return f"{_together(change)}, or normalize (RMSNorm, LayerNorm)"


def _together(change: float) -> str:
    """How much the weights on the way must grow together: not every module there has any."""
    branches = "scale residual branches, where there are any, by 1/sqrt(their number); else " if change > 0 else ""
    return (
        f"{branches}multiply the weights of the layers between, each by the same factor, so that together they grow "
        f"{10 ** (-change / 2):.3g} times"
    )


def _critical(seen: Evidence, network: MLP) -> str:
    """Weights at the edge of chaos, or where they are there already, or there is none, a shaped activation."""
    edge = edge_variance(network)
    if edge is not None and abs(log(edge / network.gain)) > _NEAR:
        factor = sqrt(edge / network.gain)
        return f"multiply the weights by {factor:.3g}, to sigma_w^2 = {edge:.4g}, the edge of chaos"
    remedy = _shaped(network, _start(seen))
    tried = None if remedy is None else try_out(remedy.network, _start(seen))
    if remedy is None or tried is None:
        return f"shape the activation: {shape_command(seen)}"
    return (
        f"{remedy.told}: the mean square of exact networks then changes by {tried.norm:+.2f} decades from inputs of "
        f"norm 1, at width {network.width} and depth {network.depth}"
    )


def for_gradient(seen: Evidence, change: float, layers: int) -> str:
    """Return the factor that brings gradients back, and what to do where it would lose the forward signal."""
    network = seen.network
    if isinstance(network, ResNet):
        return _bounded_branches(seen, network)
    if isinstance(network, MLP) and network.homogeneous and network.normalization == "none" and network.gain_ratio != 1:
        return for_norm(seen, change, layers)
    if seen.normalized:
        return (
            "add residual connections, with branches scaled by 1/sqrt(depth), or make it less deep: normalization "
            "divides the scale of the weights out again"
        )
    if isinstance(network, MLP):
        return _critical(seen, network)
    shaped = f"where that loses the forward signal, shape the activations: {shape_command(seen)}"
    return f"{_together(change)}, which keeps gradients; {shaped}"


def for_spread(seen: Evidence, measured: float) -> str:
    """Return the width from which one initialization is typical, and what shaping does at this one."""
    network = seen.network
    width = network.width if network is not None else seen.width
    if width is None or seen.convolutional:
        times = f"{(measured / seen.thresholds.spread_warning) ** 2:.2g} times"
        return f"make it {times} {'as many channels wide' if seen.convolutional else 'as wide'}, or as much less deep"
    told = _width_for(seen, width, measured)
    if isinstance(network, ResNet):
        return f"{_scaled_branches(seen)}; {told}"
    if network is None or network.normalization != "none":
        return told
    remedy = _shaped(network, _start(seen))
    tried = None if remedy is None else try_out(remedy.network, _start(seen))
    exact = seen.predicted_spread(seen.end)
    if remedy is not None and tried is not None and tried.spread < 0.9 * (measured if exact is None else exact):
        told += (
            f"; {remedy.told} brings it to {tried.spread:.2f} at this width ({remedy.command or shape_command(seen)})"
        )
    return told


def _width_for(seen: Evidence, width: int, measured: float) -> str:
    """The width at which fluctuations, of variance depth/width, are as small as allowed."""
    allowed = seen.thresholds.spread_warning
    return f"a width of {_round_up(width * (measured / allowed) ** 2)} at depth {seen.depth} brings it to {allowed:g}"


def _round_up(width: float) -> int:
    """A width a little larger, of two digits."""
    step = 10 ** max(len(str(ceil(width))) - 2, 0)
    return step * ceil(width / step)
