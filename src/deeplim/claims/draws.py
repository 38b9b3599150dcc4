"""The draws that claims are checked with: exact networks at their last layer, told in words."""

import numpy as np
from jaxtyping import Float

from deeplim.architecture import Network
from deeplim.ensemble import simulate
from deeplim.inputs import Inputs, gram
from deeplim.paths import Paths

Values = Float[np.ndarray, " network"]
ONE = gram(covariance=[[1.0]])
"""One input of unit norm."""


def at_depth(network: Network, inputs: Inputs, *, networks: int, seed: int) -> Paths:
    """Return exact networks at their last layer."""
    return simulate(network, inputs, networks=networks, seed=seed, layers=[network.depth])


def correlations(paths: Paths) -> Values:
    """Return the last recorded correlations of the first pair, of the living networks."""
    return 1.0 - np.exp(log_gaps(paths))


def log_gaps(paths: Paths) -> Values:
    """Return the last recorded log(1 - rho) of the first pair, of the living networks that keep the pair apart."""
    found = paths.log_gap[paths.alive[:, -1], -1, 0]
    return found[np.isfinite(found)]


def log_norms(paths: Paths) -> Values:
    """Return the last recorded log V of the first input, of the living networks."""
    return paths.log_norm[paths.alive[:, -1], -1, 0]


def covariances(paths: Paths) -> Values:
    """Return the last recorded V^{12} of the first pair; that of a dead network is 0."""
    alive = paths.alive[:, -1]
    size = np.exp(paths.log_norm[:, -1, :2].sum(axis=1) / 2)
    return np.where(alive, size * (1 - np.exp(np.where(alive, paths.log_gap[:, -1, 0], 0.0))), 0.0)


def told(network: Network, inputs: Inputs, networks: int, seed: int) -> str:
    """Return what was simulated in words."""
    return f"{networks:,} exact networks, {network}; {inputs}; seed {seed}."
