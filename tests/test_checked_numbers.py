"""Numbers that were once measured on simulated finite networks, measured again with our own.

Those measurements state errors, or none; where none is stated theirs is taken to be that of 2,000 networks. Differences
are compared with both errors at 5 sigma.
"""

import numpy as np
import pytest
from laws import SIGMAS

from deeplim import limits
from deeplim.activations import Shaped, ShapedReLU
from deeplim.architecture import MLP
from deeplim.finite import chain
from deeplim.inputs import gram

THEIRS = 2000


def _agree(values: np.ndarray, mean: float, std: float, stated: float | None = None) -> None:
    """The mean and standard deviation of a sample against published ones, errors on both sides."""
    theirs = std / np.sqrt(THEIRS) if stated is None else stated
    assert abs(values.mean() - mean) < SIGMAS * np.hypot(values.std() / np.sqrt(len(values)), theirs)
    spread = (values - values.mean()) ** 2
    own = spread.std() / (2 * values.std() * np.sqrt(len(values)))
    assert abs(values.std() - std) < SIGMAS * np.hypot(own, std / np.sqrt(2 * THEIRS))


def test_shaped_relu_at_width_400():
    network = MLP(width=400, depth=400, activation=ShapedReLU(c_minus=-1))
    rho = chain.sample(network, gram(correlation=0.3), networks=4000, seed=21, layers=[400]).correlation[:, 0, 0, 1]
    _agree(rho, 0.335, 0.595, stated=0.009)


@pytest.mark.parametrize(("n", "mean", "spread"), [(100, 0.611, 0.966), (200, 0.541, 0.932), (400, 0.502, 0.919)])
def test_the_ratio_of_unshaped_relu_and_the_spread_of_its_logarithm(n: int, mean: float, spread: float):
    paths = chain.sample(MLP(width=n, depth=n), gram(correlation=0.3), networks=8000, seed=22, layers=[n])
    log_ratio = -paths.log_gap[:, 0, 0] / 2 - np.log(n)
    _agree(log_ratio, log_ratio.mean(), spread)
    ratio = np.exp(log_ratio)
    # a heavy tail: their error is taken from the limit's second moment rather than from what a sample saw of it
    assert abs(ratio.mean() - mean) < SIGMAS * ratio.std() * np.hypot(1 / np.sqrt(8000), 1 / np.sqrt(THEIRS))


@pytest.mark.parametrize(
    ("placed", "mean", "stated"),
    [({"normalization": "layernorm", "placement": "after-activation"}, 0.245, 0.015), ({}, 0.566, None)],
    ids=["layernorm", "none"],
)
def test_shaped_relu_at_width_300_with_layernorm_and_without(placed: dict[str, str], mean: float, stated: float | None):
    network = MLP(width=300, depth=300, activation=ShapedReLU(c_minus=-2), **placed)
    rho = chain.sample(network, gram(correlation=0.3), networks=1000, seed=23, layers=[300]).correlation[:, 0, 0, 1]
    theirs = rho.std() / np.sqrt(THEIRS) if stated is None else stated
    assert abs(rho.mean() - mean) < SIGMAS * np.hypot(rho.std() / np.sqrt(len(rho)), theirs)
    exact = limits.law(limits.find(network)[0], gram(correlation=0.3))
    # Theirs of the limit are samples too: 0.256 with layernorm and 0.536 without.
    assert exact.mean == pytest.approx(0.256 if placed else 0.536, abs=SIGMAS * exact.std / np.sqrt(THEIRS))


@pytest.mark.slow
def test_rmsnorm_with_shaped_silu():
    # The start is not stated with the numbers; -0.2 is the round number whose limit has them.
    network = MLP(width=400, depth=200, activation=Shaped(function="silu", a=0.6), normalization="rmsnorm")
    start = gram(correlation=-0.2)
    exact = limits.law(limits.find(network)[0], start)
    assert exact.mean == pytest.approx(0.1990, abs=SIGMAS * exact.std / np.sqrt(100_000))
    assert exact.std == pytest.approx(0.398, abs=0.005)
    rho = chain.sample(network, start, networks=600, seed=24, layers=[200]).correlation[:, 0, 0, 1]
    _agree(rho, 0.2015, 0.412)
