"""The published conditions on activations, which speak of infinite width: TAT and Deep Kernel Shaping.

A layer of infinite width maps a correlation c to C(c) = E phi(g) phi(g') / E phi(g)^2 and a mean square q to Q(q) =
E phi(sqrt(q) g)^2; a network f composes them, C_f and Q_f, and a residual block averages C with the skip's c. With phi
= sum_k a_k he_k in orthonormal Hermite polynomials everything at q = 1 is a sum: C(c) = sum_k a_k^2 c^k / sum_k a_k^2,
and Q'(1) = sum_k k a_k^2 + sum_k sqrt((k + 1)(k + 2)) a_k a_{k+2}. So no derivative of phi is ever taken.
"""

from math import log, pi, sqrt
from typing import Any, NamedTuple

import numpy as np

from deeplim.activations import Elementwise, Shaped, Transformed
from deeplim.architecture import MLP, Network, ResNet
from deeplim.checks import brief, check_callable, check_kind, check_real
from deeplim.errors import InputError, LimitError, SpecError
from deeplim.gaussian import nuhat
from deeplim.hermite import expand
from deeplim.loading import Function, check_elementwise
from deeplim.shaping.transformation import DKS, TAT, next_but_one, not_smooth, solve


def check_network(network: Any) -> Any:
    """Return a network; InputError for what is none."""
    return check_kind("a network", network, (MLP, ResNet), "give a deeplim.MLP or deeplim.ResNet")


def branch_share(network: Network) -> float:
    """Return branch^2 / (skip^2 + branch^2), a block's weight on C where 1 - it stays on the skip; 1 for an MLP."""
    check_network(network)
    if isinstance(network, MLP):
        return 1.0
    kept, added = network.skip_scale**2, network.branch_scale**2
    return added / (kept + added)


def tat_slope(network: Network, *, eta: float = 0.9, start: float = 0.0) -> float:
    """Return TAT's negative slope alpha for leaky ReLU: C_f(start) = eta for the largest subnetwork f, start = 0 in
    TAT.

    C(c) = [(1 - alpha)^2 (sqrt(1 - c^2) + (pi - arccos c) c) / pi + 2 alpha c] / (1 + alpha^2) = c + kappa nuhat(c), in
    every layer of an MLP, and averaged with the skip's c in a ResNet's blocks, whatever the network's own activation.
    The largest subnetwork is the whole network, or a branch alone. Good to 1e-12. InputError unless -1 < start < eta <
    1; LimitError where even ReLU, alpha = 0, does not get to eta in this depth. Source: Zhang, Botev & Martens 2022.
    """
    from scipy.optimize import brentq

    check_network(network)
    eta, start = check_real("eta", eta, above=-1, below=1), check_real("start", start, above=-1, below=1)
    if not start < eta:
        raise InputError(f"eta = {eta:g} and start = {start:g} were given; give numbers with -1 < start < eta < 1.")
    check_plain(network)

    def excess(kappa: float) -> float:
        return largest_correlation(network, kappa, start) - eta

    if excess(1 / pi) < 0:
        raise LimitError(
            f"even with ReLU the correlation {start:g} grows to {excess(1 / pi) + eta:.4g} only in {network}, and eta "
            f"= {eta:g} asks for more; give a smaller eta, or a deeper network."
        )
    return slope_of(float(brentq(excess, 0.0, 1 / pi, xtol=1e-16, rtol=1e-15)))


def slope_of(kappa: float) -> float:
    """Return alpha in [0, 1] with kappa = (1 - alpha)^2 / (pi (1 + alpha^2)), for kappa from 0 to ReLU's 1/pi."""
    kappa = check_real("kappa", kappa)
    rest = 1 - pi * kappa
    return max(rest, 0.0) / (1 + sqrt(max(pi * kappa * (1 + rest), 0.0)))


def largest_correlation(network: Network, kappa: float, start: float) -> float:
    """Return the largest C_f(start) over subnetworks f: of the whole network, or of a branch alone."""
    kappa, start = check_real("kappa", kappa), check_real("start", start, least=-1, most=1)
    share, gap = branch_share(network), 1 - start
    alone = gap - kappa * float(nuhat(gap))
    for _ in range(network.depth):
        gap -= share * kappa * float(nuhat(gap))
    return 1 - min(gap, alone)


def tat(network: Network, *, tau: float = 0.3) -> Transformed:
    """Return the network's smooth activation as TAT transforms it: Q(1) = Q'(1) = C'(1) = 1, largest C_f''(1) = tau.

    phihat(x) = output_scale (f(input_scale x + input_shift) + output_shift). With C'(1) = 1 curvatures add up along
    depth, a branch's weighted by its share of the block, so that every C''(1) is tau / max(depth share, 1). Conditions
    hold to 1e-12. Of several solutions it is the one whose input_shift is nearest 0, the positive one of two.
    InputError unless tau > 0, LimitError where there is no solution. Source: Zhang, Botev & Martens 2022.
    """
    check_network(network)
    tau = check_real("tau", tau, above=0)
    check_kept_norms(network)
    return solve(base_of(network), TAT, tau / max(network.depth * branch_share(network), 1.0))


def dks(network: Network, *, zeta: float = 1.5) -> Transformed:
    """Return the network's smooth activation as Deep Kernel Shaping does: Q(1) = Q'(1) = 1, C(0) = 0, largest C_f'(1)
    zeta.

    phihat(x) = output_scale (f(input_scale x + input_shift) + output_shift). Slopes multiply along depth, so that each
    C'(1) = s has (1 + share (s - 1))^depth = zeta, and s <= zeta for a branch alone. Conditions hold to 1e-12. Of
    several solutions it is the one whose input_shift is nearest 0, the positive one of two. InputError unless zeta >
    1, LimitError where there is no solution. Source: Martens et al. 2021.
    """
    check_network(network)
    zeta = check_real("zeta", zeta, above=1)
    check_kept_norms(network)
    return solve(base_of(network), DKS, min(np.expm1(log(zeta) / network.depth) / branch_share(network), zeta - 1))


def base_of(network: Network) -> Elementwise:
    """Return the smooth function behind the network's activation, shaped or not; SpecError for one given by slopes."""
    check_network(network)
    activation = network.activation
    if network.homogeneous or not isinstance(activation, Elementwise | Shaped | Transformed):
        raise SpecError(
            f"{activation} is given by slopes, and what is asked for is found for smooth functions; give one such as "
            "tanh, or shape the negative slope."
        )
    return activation if isinstance(activation, Elementwise) else Elementwise(function=activation.function)


def check_plain(network: Network) -> None:
    """Raise LimitError for a normalized network, of which the published conditions do not speak."""
    if network.normalization != "none":
        raise LimitError(
            f"the published conditions are for networks without normalization, and {network} has "
            f"{network.normalization}; leave it out."
        )


def check_kept_norms(network: Network) -> None:
    """Raise LimitError for a network that does not keep norms, of which the conditions on smooth functions speak."""
    check_plain(network)
    if isinstance(network, MLP):
        return
    grown = network.skip_scale**2 + network.branch_scale**2
    if abs(grown - 1) > 1e-9:
        raise LimitError(
            f"a block of {network} multiplies norms by {grown:.4g}, and the conditions on a smooth activation hold at "
            "norm one; give it a norm-preserving skip."
        )


class Conditions(NamedTuple):
    """Where a function's maps stand at q = 1: C(0), C'(1), C''(1), Q(1) and Q'(1)."""

    c_at_0: float
    c_slope: float
    c_curvature: float
    q: float
    q_slope: float


def conditions(function: Function) -> Conditions:
    """Return what TAT and DKS set of a smooth function, by its Hermite series; SpecError for one with kinks."""
    check_callable("function", function, "give a function of arrays", error=SpecError)
    check_elementwise(brief(function), function)
    [a], [converged] = expand(function, np.ones(1))
    if not converged:
        raise not_smooth("the function")
    k, square = np.arange(len(a)), a * a
    q = float(square.sum())
    norm_slope = float((k * square).sum() + next_but_one(a))
    slope, curvature = float((k * square).sum()) / q, float((k * (k - 1) * square).sum()) / q
    return Conditions(float(square[0]) / q, slope, curvature, q, norm_slope)
