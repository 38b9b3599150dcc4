"""What findings say that a wrong variance or branch does, beside quadrature on a grid and exact networks."""

from math import log, log10

import numpy as np
import pytest
from laws import SIGMAS
from scipy.stats import norm

import deeplim as dl
from deeplim.diagnosis.criticality import norm_decades

INPUTS = dl.gram(correlation=0.3)
NEAR = dl.gram(gap=1e-6)
"""Two inputs of one norm, in every layer nearly."""
GRID = norm.ppf((np.arange(100_000) + 0.5) / 100_000)
TANH = dl.Elementwise(function="tanh")


def exact(told: str) -> float:
    """The decades by which a sentence says that exact networks' mean square changes."""
    return float(told.split("exact networks")[1].rstrip(".").split()[-1])


def test_biases_hold_norms_up_where_weights_are_too_small_and_nothing_holds_gradients():
    # sigma_w^2 = sigma_b^2 = 1/3, PyTorch's own: norms settle at (1/3)/(1 - 1/6) = 2/5, and gradients fall by 6 a layer
    network = dl.MLP(width=300, depth=30, weight_variance=1 / 3, bias_variance=1 / 3)
    finding = dl.diagnose(network, INPUTS, networks=200).named("weight-variance")
    assert finding.severity == "unhealthy"
    assert finding.numbers["decades"] == pytest.approx(30 * log10(1 / 6))
    assert f"gradients by {30 * log10(1 / 6):.2f} decades" in finding.predicted
    # a layer's log norm, about its fixed point, has a variance below 5/n
    assert exact(finding.predicted) == pytest.approx(log10(2 / 5), abs=0.005 + SIGMAS * 1.26 * (5 / 300 / 200) ** 0.5)
    assert "biases zero" in finding.remedy
    mended = dl.diagnose(dl.MLP(width=300, depth=30), INPUTS, networks=200)
    assert mended.named("weight-variance") is None


def test_without_biases_the_mean_over_initializations_is_told_apart_from_the_median():
    network = dl.MLP(width=20, depth=40, weight_variance=1.5)
    finding = dl.diagnose(network, INPUTS, networks=2000).named("weight-variance")
    assert "mean over initializations by -5.00 decades" in finding.predicted
    assert "biases" not in finding.remedy
    # the log norm is N(-5/2, 5) depth/width about the log of the mean, to the first order in 1/width
    behind = 5 / 2 * 40 / 20 / log(10)
    assert exact(finding.predicted) == pytest.approx(40 * log10(0.75) - behind, rel=0.1)


@pytest.mark.parametrize("variance", [0.5, 16.0])
def test_gradients_of_a_smooth_network_are_told_by_its_norms_on_the_way(variance: float):
    depth, near = 30, 1e-18
    network = dl.MLP(width=1000, depth=depth, activation=TANH, weight_variance=variance)
    finding = dl.diagnose(network, INPUTS, networks=40).named("weight-variance")
    q, expected = 1.0, 0.0
    for _ in range(depth):
        z = np.tanh(np.sqrt(q) * GRID)
        q, expected = variance * np.mean(z**2), expected + log10(variance * np.mean((1 - z**2) ** 2))
    assert finding.numbers["decades"] == pytest.approx(expected, abs=2e-3)
    # the same factors carry the squared distance of neighbours forward, which exact networks show
    drawn = dl.simulate(network, dl.gram(gap=near), networks=100, seed=51, layers=[0, depth])
    distance = drawn.log_norm.mean(axis=2) + drawn.log_gap[:, :, 0] + np.log1p(_radial(drawn))
    moved = (distance[:, 1] - distance[:, 0]) / log(10)
    allowed = SIGMAS * moved.std(ddof=1) / 10 + np.var(moved) * log(10) / 2
    assert abs(moved.mean() - expected) < allowed
    # the control: chi_1^depth, that of norms that have settled
    settled = depth * log10(dl.mean_field.fixed_point(network).chi_1)
    assert abs(moved.mean() - settled) > allowed


def _radial(drawn: dl.Paths) -> np.ndarray:
    """(|a| - |b|)^2 / (2 |a| |b| (1 - rho)), what norms that differ add to the squared distance of neighbours."""
    difference = drawn.log_norm[:, :, 1] - drawn.log_norm[:, :, 0]
    return difference**2 / 4 / (2 * np.exp(drawn.log_gap[:, :, 0]))


def median_error(width: int, networks: int) -> float:
    """The error of a median change of log10 norms from layer 0 on, whose sum of squares there is chi-square's."""
    return SIGMAS * 1.26 * 2 * (2 / width / networks) ** 0.5 / log(10)


def test_branches_that_saturate_are_not_said_to_multiply():
    network = dl.ResNet(width=100, depth=40, branch=1, activation=TANH)
    found = dl.diagnose(network, NEAR, networks=400)
    finding, start = found.named("branch-explodes"), 10 ** found.layers[0].log10_norm
    q = start
    for _ in range(40):
        q += np.mean(np.tanh(np.sqrt(q) * GRID) ** 2) / np.mean(np.tanh(GRID) ** 2)
    assert finding.severity == "warning"
    assert finding.numbers["decades_predicted"] == pytest.approx(log10(q / start), abs=1e-4)
    assert finding.numbers["decades"] == pytest.approx(log10(q / start), abs=median_error(100, 400))
    assert log10(q) < 40 * log10(2) / 5  # the control: a factor 2 a block
    assert "a factor" not in finding.predicted
    scaled = dl.ResNet(width=100, depth=40, activation=TANH)
    assert f"gives {norm_decades(scaled, start):+.2f} decades" in finding.remedy
    assert dl.diagnose(scaled, NEAR, networks=100).named("branch-explodes") is None


def test_biases_add_to_residual_norms():
    network = dl.ResNet(width=100, depth=40, bias_variance=30)
    found = dl.diagnose(network, NEAR, networks=400)
    finding, start = found.named("branch-explodes"), 10 ** found.layers[0].log10_norm
    q = start
    for _ in range(40):
        q += (q + 30) / 40
    assert finding.numbers["decades_predicted"] == pytest.approx(log10(q / start))
    assert finding.numbers["decades"] == pytest.approx(log10(q / start), abs=median_error(100, 400))
    assert log10(q / start) > 1.5 > 40 * log10(1 + 1 / 40)  # the control: the factor without biases
    assert "a/depth^0.5" in finding.measured
    assert "biases of zero" in finding.remedy
    assert dl.diagnose(dl.ResNet(width=100, depth=40), NEAR, networks=100).named("branch-explodes") is None
