"""The draws that claims are checked with: exact networks, told in words.

They are drawn neuron by neuron, or with their weight matrices. The code that draws one input of slopes from chi-square
variables, or ReLU's pairs from the active neurons alone, uses what some claims say; no claim is measured with it.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from deeplim.architecture import MLP, Network
from deeplim.ensemble import simulate
from deeplim.finite.weights import sample_weights
from deeplim.inputs import Inputs, gram
from deeplim.paths import Paths

Values = Float[np.ndarray, " network"]
ONE = gram(covariance=[[1.0]])
"""One input of unit norm."""
_TWO = gram(correlation=0.0)
"""That input, and another that it is drawn beside."""


def networks_at(
    network: Network, inputs: Inputs, *, networks: int, seed: int, layers: Sequence[int] | None = None
) -> Paths:
    """Return exact networks at some layers, or at the last one, drawn neuron by neuron.

    An MLP of slopes has code of its own for one input, and for two in single precision. So two inputs are drawn in
    double precision, and one input beside a second, of which it is the first.
    """
    slopes = isinstance(network, MLP) and network.homogeneous
    return simulate(
        network,
        _TWO if slopes and inputs.count == 1 else inputs,
        networks=networks,
        seed=seed,
        layers=[network.depth] if layers is None else layers,
        precision="double" if slopes else "auto",
    )


def weights_at(
    network: Network, inputs: Inputs, *, networks: int, seed: int, layers: Sequence[int] | None = None
) -> Paths:
    """Return networks at some layers, or at the last one, that are made of their weight matrices."""
    layers = [network.depth] if layers is None else layers
    return sample_weights(network, inputs, networks=networks, seed=seed, layers=layers)


def correlations(paths: Paths, layer: int = -1) -> Values:
    """Return the correlations of the first pair at a recorded layer, of the living networks."""
    return 1.0 - np.exp(log_gaps(paths, layer))


def log_gaps(paths: Paths, layer: int = -1) -> Values:
    """Return log(1 - rho) of the first pair at a recorded layer, of the living networks that keep the pair apart."""
    found = paths.log_gap[paths.alive[:, layer], layer, 0]
    return found[np.isfinite(found)]


def log_norms(paths: Paths, layer: int = -1) -> Values:
    """Return log V of the first input at a recorded layer, of the living networks."""
    return paths.log_norm[paths.alive[:, layer], layer, 0]


def covariances(paths: Paths) -> Values:
    """Return the last recorded V^{12} of the first pair; that of a dead network is 0."""
    alive = paths.alive[:, -1]
    size = np.exp(paths.log_norm[:, -1, :2].sum(axis=1) / 2)
    return np.where(alive, size * (1 - np.exp(np.where(alive, paths.log_gap[:, -1, 0], 0.0))), 0.0)


def half_square_differences(paths: Paths) -> Values:
    """Return |h - h'|^2 / 2, the last recorded (V^{11} + V^{22}) / 2 - V^{12} of the first pair; no network is dead."""
    root = np.exp(paths.log_norm[:, -1, :2] / 2)
    return (root[:, 0] - root[:, 1]) ** 2 / 2 + root[:, 0] * root[:, 1] * np.exp(paths.log_gap[:, -1, 0])


def told(network: Network, inputs: Inputs, networks: int, seed: int) -> str:
    """Return what was simulated in words."""
    return f"{networks:,} exact networks, {network}; {inputs}; seed {seed}."
