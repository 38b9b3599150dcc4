"""Mean-field fixed points and the edge of chaos, from closed forms."""

from math import exp, inf, log, pi, sqrt

import numpy as np
import pytest
from scipy.optimize import brentq

import deeplim as dl
from deeplim import limits
from deeplim.activations import Activation, Elementwise, LeakyReLU, ReLU, ShapedReLU
from deeplim.architecture import MLP, ResNet
from deeplim.errors import LimitError
from deeplim.gaussian import mean_square
from deeplim.inputs import gram
from deeplim.mean_field import edge_of_chaos, fixed_point, neighbour_growths

ERF, TANH, GELU, SIN = (Elementwise(function=name) for name in ("erf", "tanh", "gelu", "sin"))
SIZE = {"width": 100, "depth": 100}


def sign(x: np.ndarray) -> np.ndarray:
    return np.where(x < 0, -1.0, 1.0)


def clipped(x: np.ndarray) -> np.ndarray:
    return np.clip(x, -1.0, 1.0)


def flat(x: np.ndarray) -> np.ndarray:
    return 1.0 + 0.0 * x


def erf_square(q: float) -> float:
    """E erf(sqrt(q) g)^2 = (2/pi) arcsin(2q / (1 + 2q)) (Williams 1997)."""
    return 2 / pi * np.arcsin(2 * q / (1 + 2 * q))


def erf_slope(q: float) -> float:
    """E erf'(sqrt(q) g)^2 = (4/pi) (1 + 4q)^(-1/2)."""
    return 4 / pi / sqrt(1 + 4 * q)


@pytest.mark.parametrize("activation", [ReLU(), LeakyReLU(slope=-0.4), ShapedReLU()], ids=str)
@pytest.mark.parametrize("ratio", [0.3, 0.9])
def test_slopes_in_closed_form(activation: Activation, ratio: float) -> None:
    """chi_1 = sigma_w^2 (s_+^2 + s_-^2) / 2, q* = sigma_b^2 / (1 - chi_1), and every correlation goes to 1."""
    network = MLP(**SIZE, activation=activation, bias_variance=0.2)
    s_plus, s_minus = network.slopes
    weights = 2 * ratio / (s_plus**2 + s_minus**2)
    found = fixed_point(network.model_copy(update={"weight_variance": weights}))
    assert found.chi_1 == pytest.approx(ratio)
    assert found.norm == pytest.approx(0.2 / (1 - ratio))
    assert found.norm_slope == pytest.approx(ratio)
    assert (found.correlation, found.phase) == (1.0, "ordered")
    assert (found.correlation_depth, found.norm_depth) == pytest.approx((-1 / log(ratio), -1 / log(ratio)))


def test_relu_without_biases() -> None:
    """chi_1 = sigma_w^2 / 2; inputs align algebraically whatever the norms do."""
    for weights, norm, phase in ((2.0, 1.0, "critical"), (1.6, 0.0, "ordered")):
        found = fixed_point(MLP(**SIZE, weight_variance=weights))
        assert (found.norm, found.phase, found.correlation, found.correlation_depth) == (norm, phase, 1.0, inf)
        assert found.chi_1 == pytest.approx(weights / 2)
    assert edge_of_chaos(MLP(**SIZE)) == (2.0, 0.0, 1.0)


def test_linear_networks_keep_correlations_but_for_a_bias() -> None:
    linear = MLP(**SIZE, activation=LeakyReLU(slope=1))
    assert fixed_point(linear).correlation is None
    assert fixed_point(linear).correlation_depth == inf
    biased = fixed_point(linear.model_copy(update={"weight_variance": 0.5, "bias_variance": 1}))
    assert (biased.norm, biased.correlation, biased.correlation_slope) == (2.0, 1.0, 0.5)
    by_function = MLP(**SIZE, activation=Elementwise(function="numpy:positive"))
    assert fixed_point(by_function).correlation is None
    assert fixed_point(by_function).chi_1 == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(("weights", "bias"), [(1.5, 0.2), (0.6, 0.05), (4.0, 0.0), (4.0, 0.3)])
def test_erf_in_closed_form(weights: float, bias: float) -> None:
    found = fixed_point(MLP(**SIZE, activation=ERF, weight_variance=weights, bias_variance=bias))
    norm = brentq(lambda q: weights * erf_square(q) + bias - q, 1e-3, 100, xtol=1e-15)
    assert found.norm == pytest.approx(norm, rel=1e-11)
    assert found.chi_1 == pytest.approx(weights * erf_slope(norm), rel=1e-11)
    # d/dq (2/pi) arcsin(2q / (1 + 2q)) = (4/pi) / ((1 + 2q) sqrt(1 + 4q))
    assert found.norm_slope == pytest.approx(weights * 4 / pi / ((1 + 2 * norm) * sqrt(1 + 4 * norm)), rel=1e-11)
    if found.chi_1 <= 1:
        assert (found.phase, found.correlation) == ("ordered", 1.0)
        assert found.correlation_depth == pytest.approx(-1 / log(found.chi_1))
        return
    stretched = 2 * norm / (1 + 2 * norm)
    rho = brentq(lambda c: (weights * 2 / pi * np.arcsin(stretched * c) + bias) / norm - c, -0.5, 1 - 1e-3)
    slope = weights * 2 / pi * stretched / sqrt(1 - (stretched * rho) ** 2) / norm
    assert found.phase == "chaotic"
    assert found.correlation == pytest.approx(rho, abs=1e-10)
    assert found.correlation_slope == pytest.approx(slope, abs=1e-7)
    assert found.correlation_depth == pytest.approx(-1 / log(slope), rel=1e-6)


@pytest.mark.parametrize("norm", [0.1, 1.0, 3.0])
def test_the_edge_of_erf_in_closed_form(norm: float) -> None:
    weights = 1 / erf_slope(norm)
    bias = norm - weights * erf_square(norm)
    network = MLP(**SIZE, activation=ERF, bias_variance=bias)
    edge = edge_of_chaos(network)
    assert edge == pytest.approx((weights, bias, norm), rel=1e-8)
    there = fixed_point(network.model_copy(update={"weight_variance": edge.weight_variance}))
    assert there.chi_1 == pytest.approx(1, abs=1e-7)
    beyond, before = (
        fixed_point(network.model_copy(update={"weight_variance": factor * edge.weight_variance}))
        for factor in (1.01, 0.99)
    )
    assert (before.phase, beyond.phase) == ("ordered", "chaotic")


def test_without_biases_odd_functions_are_critical_where_norms_die() -> None:
    """tanh and sin at sigma_w^2 = 1 / phi'(0)^2, erf at pi / 4: q* = 0."""
    for activation, weights in ((TANH, 1.0), (SIN, 1.0), (ERF, pi / 4)):
        network = MLP(**SIZE, activation=activation)
        assert edge_of_chaos(network) == pytest.approx((weights, 0.0, 0.0), abs=1e-9)
        found = fixed_point(network.model_copy(update={"weight_variance": weights}))
        assert (found.norm, found.phase, found.correlation) == (0.0, "critical", None)
        assert found.norm_slope == pytest.approx(1, abs=1e-9)
        assert found.norm_depth == found.correlation_depth == inf


def test_odd_functions_without_biases_make_inputs_orthogonal() -> None:
    """At c* = 0 the slope is sigma_w^2 (E phi'(sqrt(q) g))^2, by parts sigma_w^2 (E phi(sqrt(q) g) g)^2 / q."""
    for activation in (TANH, SIN, ERF):
        network = MLP(**SIZE, activation=activation, weight_variance=4.0)
        found = fixed_point(network)
        g, weight = np.polynomial.hermite_e.hermegauss(160)
        slope = weight / np.sqrt(2 * pi) @ (network.phi(np.sqrt(found.norm) * g) * g) / np.sqrt(found.norm)
        assert found.correlation == 0
        assert found.correlation_slope == pytest.approx(4 * slope**2, abs=1e-7)


def test_sin_has_a_norm_in_closed_form() -> None:
    """F(q) = sigma_w^2 (1 - e^(-2q)) / 2, chi_1 = sigma_w^2 (1 + e^(-2q)) / 2."""
    found = fixed_point(MLP(**SIZE, activation=SIN, weight_variance=3.0))
    norm = brentq(lambda q: 1.5 * (1 - exp(-2 * q)) - q, 0.1, 3, xtol=1e-15)
    assert found.norm == pytest.approx(norm, rel=1e-11)
    assert found.chi_1 == pytest.approx(1.5 * (1 + exp(-2 * norm)), rel=1e-10)
    assert found.norm_slope == pytest.approx(3 * exp(-2 * norm), rel=1e-10)


def test_neighbours_part_by_the_norm_of_each_layer_until_norms_settle() -> None:
    """sin: sigma_w^2 (1 + e^(-2q)) / 2 along F; at its edge, sigma_w^2 = 1, q is 1 / l, and the product 1 / l too."""
    network = MLP(**SIZE, activation=SIN, weight_variance=3.0, bias_variance=0.2)
    norm, expected = 0.4, []
    for _ in range(30):
        expected.append(1.5 * (1 + exp(-2 * norm)))
        norm = 1.5 * (1 - exp(-2 * norm)) + 0.2
    found = neighbour_growths(network, 0.4, 30)
    assert found == pytest.approx(expected, rel=1e-10)
    assert found[-1] == pytest.approx(fixed_point(network).chi_1, rel=1e-8)
    edge = np.cumsum(np.log(neighbour_growths(MLP(**SIZE, activation=SIN, weight_variance=1.0), 1.0, 2000)))
    assert edge[1999] - edge[199] == pytest.approx(-log(10), rel=0.02)
    assert fixed_point(MLP(**SIZE, activation=SIN, weight_variance=1.0)).chi_1 == pytest.approx(1, abs=1e-9)


def test_gelu_has_its_half_stable_edge() -> None:
    """C_b = 0.17292239, C_W = 1.98305826, where F' is 1 too (Roberts, Yaida & Hanin 2022, section 5.3.4)."""
    network = MLP(**SIZE, activation=GELU, bias_variance=0.17292239)
    edge = edge_of_chaos(network)
    assert edge.weight_variance == pytest.approx(1.98305826, abs=1e-7)
    beside = [edge.weight_variance * mean_square(network.phi, edge.norm + h) for h in (-1e-3, 1e-3)]
    assert (beside[1] - beside[0]) / 2e-3 == pytest.approx(1, abs=1e-5)
    with pytest.raises(LimitError, match="norms that settle"):
        edge_of_chaos(MLP(**SIZE, activation=GELU))


def test_functions_with_kinks() -> None:
    """clip(x, -1, 1) has phi'^2 = 1 inside: chi_1 = sigma_w^2 P(|sqrt(q) g| < 1)."""
    from scipy.special import erf

    network = MLP(**SIZE, activation=Elementwise(function=f"{__name__}:clipped"), weight_variance=2, bias_variance=0.1)
    found = fixed_point(network)
    assert found.chi_1 == pytest.approx(2 * erf(1 / sqrt(2 * found.norm)), abs=1e-6)
    assert found.phase == "chaotic"


@pytest.mark.parametrize(("weights", "bias"), [(1.5, 0.2), (4.0, 0.3)])
def test_the_recursion_arrives_there_at_that_rate(weights: float, bias: float) -> None:
    network = MLP(width=100, depth=400, activation=TANH, weight_variance=weights, bias_variance=bias)
    found = fixed_point(network)
    paths = limits.named("infinite-width", network).sample(gram(correlation=0.3), layers=[24, 25, 400])
    assert np.exp(paths.log_norm[0, 2, 0]) == pytest.approx(found.norm, rel=1e-9)
    gap = np.exp(paths.log_gap[0, :, 0])
    assert found.correlation is not None
    assert gap[2] == pytest.approx(1 - found.correlation, abs=1e-6)
    distance = gap[:2] - (1 - found.correlation)
    assert distance[1] / distance[0] == pytest.approx(found.correlation_slope, rel=5e-3)


def test_critical_networks_of_the_library_have_unit_norms() -> None:
    for activation in (TANH, GELU, ReLU()):
        assert fixed_point(MLP(**SIZE, activation=activation)).norm == 1.0
    # but where gelu's is no place to stay
    assert fixed_point(MLP(**SIZE, activation=GELU)).norm_slope > 1


def test_what_has_no_fixed_point_is_refused_in_a_sentence() -> None:
    refused = {
        "grow without bound": MLP(**SIZE, weight_variance=2.1),
        "no fixed point": MLP(**SIZE, bias_variance=0.1),
        "that of a continuous function": MLP(**SIZE, activation=Elementwise(function=f"{__name__}:sign")),
        "rmsnorm fixes the norms": MLP(**SIZE, normalization="rmsnorm"),
        "those of an MLP": ResNet(**SIZE),
        "give smaller variances": MLP(**SIZE, activation=GELU, weight_variance=2.5, bias_variance=0.1),
    }
    for words, network in refused.items():
        with pytest.raises(LimitError, match=words):
            fixed_point(network)
    with pytest.raises(LimitError, match="leave out the biases"):
        edge_of_chaos(MLP(**SIZE, bias_variance=0.1))
    with pytest.raises(LimitError, match="no weight variance"):
        edge_of_chaos(MLP(**SIZE, activation=SIN, bias_variance=1e9))


def test_a_constant_function_forgets_its_inputs() -> None:
    found = fixed_point(MLP(**SIZE, activation=Elementwise(function=f"{__name__}:flat"), weight_variance=3))
    assert (found.norm, found.chi_1, found.correlation) == pytest.approx((3.0, 0.0, 1.0))
    assert found.norm_depth == found.correlation_depth == 0.0


def test_it_is_public_and_prints() -> None:
    assert dl.edge_of_chaos(MLP(**SIZE)).weight_variance == 2.0
    said = str(dl.mean_field.fixed_point(MLP(**SIZE, weight_variance=1.0, bias_variance=0.5)))
    assert said == "ordered: chi_1 = 0.5; norms to 1 in 1.44 layers, correlations to 1 in 1.44"
