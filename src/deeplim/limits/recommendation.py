"""Which rung to trust for a network: the cheapest one whose error at this width is known to be small."""

import numpy as np

from deeplim.architecture import Network, check_network
from deeplim.checks import within_floats
from deeplim.gaussian import mean_square
from deeplim.limits.base import norm_shift
from deeplim.limits.catalogue import find
from deeplim.limits.moment_chain import LEAST_WIDTH, MomentChain

_AFFORDABLE = 4_000_000
"""Neurons (width x depth) up to which a thousand exact networks take seconds to a minute."""
_STABLE = 1.0
"""The growth, in logs over the depth, that a deviation of the norm may have before the norms count as unstable."""
_STEP, _SETTLED, _LARGEST_LOG = 1e-3, 1e-6, 300.0
_WIDE = 128
"""Width from which the measured limits were within 0.1 standard deviations, at depths that suit them."""


@within_floats
def recommend(network: Network) -> tuple[str, str]:
    """Return the name of the rung to trust, a limit that applies or "exact", and one sentence that says why.

    The rule is what docs/finite-size.md measures: the moment chain wherever it applies, for its error was within a
    tenth of a standard deviation of exact networks at every width and depth tried. Elsewhere exact networks while a
    thousand are affordable, then the first limit that applies and keeps fluctuations.
    """
    check_network(network)
    if MomentChain.why_not(network) is None and _growth(network) > _STABLE:
        return "exact", (
            "its norms are unstable, a small excess growing by e or more over this depth, and the moment chain was "
            "measured on networks whose norms are not."
        )
    if MomentChain.why_not(network) is None:
        return MomentChain.name, _for_moments(network)
    if network.width < LEAST_WIDTH:
        return "exact", f"at width {network.width} exact networks cost little and no expansion in 1/width holds."
    if network.width * network.depth <= _AFFORDABLE:
        return "exact", "the moment chain does not describe this network, and a thousand exact ones are affordable."
    found = [limit for limit in find(network) if not limit.deterministic]
    if found:
        return found[0].name, (
            f"exact networks of {network.width * network.depth:,} neurons are slow to draw, and the limit keeps their "
            "fluctuations."
        )
    return "exact", "no limit that applies keeps the fluctuations of this network, however slow exact networks are."


def _growth(network: Network) -> float:
    """By how much, in logs over the whole depth, the infinite-width map of norms multiplies a deviation from unit norm.

    Along the norms that it takes from there: at the critical variance they stay at one.
    """
    if network.homogeneous:
        return 0.0  # a bias only makes deviations smaller
    log_norm, total = 0.0, 0.0
    for layer in range(network.depth):
        below, moved, above = (_next_log_norm(network, log_norm + step) for step in (-_STEP, 0.0, _STEP))
        slope = float(np.log(max((above - below) / (2 * _STEP), 1e-300)))
        if abs(moved - log_norm) < _SETTLED:
            return total + (network.depth - layer) * slope
        log_norm, total = moved, total + slope
        if not abs(log_norm) < _LARGEST_LOG:
            return np.inf if log_norm > 0 else total
    return total


def _next_log_norm(network: Network, log_norm: float) -> float:
    """log V one layer of infinite width further."""
    square = network.gain * mean_square(network.function, float(np.exp(log_norm))) + network.bias_variance
    return float(np.log(max(square, 1e-300)))


def _for_moments(network: Network) -> str:
    """Why the moment chain, and whether a limit would do as well where that was measured."""
    why = "it keeps the corrections of order 1/width, two inputs at a time"
    if norm_shift(network, np.ones(1)) is None:
        return f"{why}, with the network's own weight and bias variances."
    names = [limit.name for limit in find(network)]
    if "sde" in names:
        return f"{why}; the covariance SDE {_verdict(network.width >= _WIDE)} here, for any number of inputs."
    if "unshaped" in names:
        return f"{why}; the unshaped SDE {_verdict(network.width >= _WIDE and network.depth >= network.width)} here."
    return f"{why}, and was within 0.1 standard deviations of exact networks wherever it was measured."


def _verdict(close: bool) -> str:
    return "is within 0.1 standard deviations too" if close else "may be off by more than 0.1 standard deviations"
