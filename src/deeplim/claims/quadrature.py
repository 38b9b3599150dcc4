"""One layer at infinite width by quadrature of its definition, for activations of two slopes.

A second route to what ``deeplim.limits.kernels`` has in closed form: with (g, g') = r (cos t, cos(t - theta)), theta
the angle of the inputs, r^2 exponential of mean 2 and t uniform, a mean of a positively homogeneous function of the two
is an integral over t, smooth between the four angles where g or g' changes its sign.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np

_NODES = 16
"""Gauss-Legendre nodes on each arc: an arc is at most half a turn, on which cosines are resolved to rounding."""

Phi = Callable[[np.ndarray], np.ndarray]
"""An activation with phi(a x) = a phi(x) for a > 0."""


def leaky(slope: float) -> Phi:
    """Return x for x > 0 and slope x below: ReLU for slope 0."""
    return lambda x: np.where(x > 0, x, slope * x)


def gap_after(phi: Phi, gap: float) -> float:
    """Return 1 - rho' = E (phi - phi')^2 / (2 E phi^2) after a layer of infinite width, for 0 < gap < 2."""
    angle = 2 * np.arcsin(np.sqrt(gap / 2))
    node, weight = _rule()
    edges = np.sort(np.mod([0.0, np.pi, angle, np.pi + angle], 2 * np.pi)) + np.pi / 2
    width = np.diff(edges, append=edges[0] + 2 * np.pi)[:, None]
    t = edges[:, None] + width * node
    one, other = phi(np.cos(t)), phi(np.cos(t - angle))
    share = width * weight
    return float(np.sum(share * (one - other) ** 2) / (2 * np.sum(share * one**2)))


def follow(phi: Phi, gap: float, depth: int) -> np.ndarray:
    """Return the gaps of layers 0, ..., depth of an MLP of infinite width, (layer,)."""
    gaps = [gap]
    for _ in range(depth):
        gaps.append(gap_after(phi, gaps[-1]))
    return np.array(gaps)


@lru_cache(maxsize=1)
def _rule() -> tuple[np.ndarray, np.ndarray]:
    """Nodes in (0, 1) and weights that add up to one."""
    node, weight = np.polynomial.legendre.leggauss(_NODES)
    return (node + 1) / 2, weight / 2
