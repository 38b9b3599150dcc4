"""Kernel maps with normalization: closed forms, quadrature of another kind, and very wide networks."""

import numpy as np
import pytest
from laws import SIGMAS
from refusals import refusal
from test_normalization import IDS, INPUTS, KINDS
from tiers import quick

from deeplim.activations import LeakyReLU, ReLU, Shaped, parse_activation
from deeplim.architecture import MLP, Network, ResNet
from deeplim.errors import LimitError
from deeplim.finite.chain import sample
from deeplim.inputs import gram
from deeplim.limits.infinite_width import InfiniteWidth
from deeplim.limits.kernels import fixed_points, layer_map

KAPPA = 1 / np.pi
PAIR = (np.array([0]), np.array([1]))
AFTER = {"normalization": "layernorm", "placement": "after-activation"}


def network(activation: str, *, kind: type = MLP, **fields: object) -> Network:
    return kind(width=50, depth=5, activation=parse_activation(activation), **fields)


def mapped(net: Network, rho: float, log_norm: tuple[float, float] = (0.0, 0.0)) -> tuple[np.ndarray, float]:
    log_new, gap = layer_map(net, np.array(log_norm), np.array([1 - rho]), PAIR)
    return log_new, float(1 - gap[0])


@pytest.mark.parametrize("rho", [-1.0, -0.5, 0.0, 0.3, 0.9])
def test_layernorm_after_relu_is_the_centred_arc_cosine_kernel(rho: float):
    product = (np.sqrt(1 - rho**2) + rho * (np.pi - np.arccos(rho))) / (2 * np.pi)
    expected = (product - 1 / (2 * np.pi)) / (1 / 2 - 1 / (2 * np.pi))
    log_norm, found = mapped(network("relu", **AFTER), rho, (0.3, -1.0))
    assert found == pytest.approx(expected, abs=1e-14)
    assert (log_norm == 0).all()


def moments(phi: object, rho: float, deviations: tuple[float, float]) -> np.ndarray:
    """Second moments of (phi(a), phi(b)) with their means, by a product rule of 100 Gauss-Hermite nodes squared."""
    node, weight = np.polynomial.hermite_e.hermegauss(100)
    weight = weight / weight.sum()
    x, y = np.meshgrid(node, node, indexing="ij")
    both = weight[:, None] * weight
    a, b = phi(deviations[0] * x), phi(deviations[1] * (rho * x + np.sqrt(1 - rho**2) * y))
    return np.array([np.sum(both * f) for f in (a, b, a * a, b * b, a * b)])


@pytest.mark.parametrize("deviations", [(1.0, 1.0), (0.6, 1.1)])
@pytest.mark.parametrize("activation", ["tanh", "silu", "softplus"])
@pytest.mark.parametrize("rho", [-0.7, 0.0, 0.4, 0.95])
def test_smooth_kernels_against_a_product_rule(rho: float, activation: str, deviations: tuple[float, float]):
    log_norm = tuple(2 * np.log(deviations))
    plain = network(activation)
    mean_a, mean_b, aa, bb, ab = moments(plain.function, rho, deviations)
    one_aa, _, one_ab = moments(plain.function, rho, (1.0, 1.0))[2:]
    cases = {
        ("none", "before-activation"): (plain.gain * aa, ab / np.sqrt(aa * bb)),
        ("rmsnorm", "before-activation"): (plain.gain * one_aa, one_ab / one_aa),
        ("layernorm", "before-activation"): (plain.gain * one_aa, one_ab / one_aa),
        ("rmsnorm", "after-activation"): (1.0, ab / np.sqrt(aa * bb)),
        ("layernorm", "after-activation"): (1.0, (ab - mean_a * mean_b) / np.sqrt((aa - mean_a**2) * (bb - mean_b**2))),
    }
    for (normalization, place), (norm, correlation) in cases.items():
        log_new, found = mapped(network(activation, normalization=normalization, placement=place), rho, log_norm)
        assert np.exp(log_new[0]) == pytest.approx(norm, rel=1e-7)
        assert found == pytest.approx(correlation, abs=1e-7)


@pytest.mark.parametrize("gap", [1e-8, 1e-20, 1e-100])
def test_tiny_gaps_keep_their_digits(gap: float):
    found = layer_map(network("relu", **AFTER), np.zeros(2), np.array([gap]), PAIR)[1][0]
    expected = (gap - KAPPA * (2 * np.sqrt(2) / 3) * gap**1.5) / (1 - KAPPA)
    assert found == pytest.approx(expected, rel=max(1e-13, gap))
    # E tanh'^2 / E tanh^2, by the product rule
    phi = np.tanh
    slope = moments(lambda x: 1 - phi(x) ** 2, 0.0, (1.0, 1.0))[2] / moments(phi, 0.0, (1.0, 1.0))[2]
    found = layer_map(network("tanh", **AFTER), np.zeros(2), np.array([gap]), PAIR)[1][0]
    assert found == pytest.approx(slope * gap, rel=1e-6)


def test_a_residual_block_with_normalization():
    """lambda = 0.8, gamma = 0.6, relu: what each place adds to the covariance, written out."""
    fields = {"kind": ResNet, "skip": 0.8, "branch": 0.6}
    rho, norms = 0.3, np.array([2.0, 0.5])
    arc = rho + KAPPA * (np.sqrt(1 - rho**2) - rho * np.arccos(rho))
    size = np.sqrt(norms.prod())
    for normalization in ("rmsnorm", "layernorm"):
        centred = (arc - KAPPA) / (1 - KAPPA) if normalization == "layernorm" else arc
        for place, branch in (("before-activation", arc), ("after-activation", centred), ("before-sum", arc)):
            log_norm, found = mapped(
                network("relu", normalization=normalization, placement=place, **fields), rho, tuple(np.log(norms))
            )
            expected = 0.64 * norms + 0.36
            np.testing.assert_allclose(np.exp(log_norm), expected, rtol=1e-14)
            assert found == pytest.approx((0.64 * size * rho + 0.36 * branch) / np.sqrt(expected.prod()), abs=1e-14)
        log_norm, found = mapped(
            network("relu", normalization=normalization, placement="after-sum", **fields), rho, tuple(np.log(norms))
        )
        assert (log_norm == 0).all()
        assert found == pytest.approx(0.64 * rho + 0.36 * arc, abs=1e-14)


def test_batchnorm_of_two_inputs_leaves_a_sign():
    for rho in (-0.4, 0.3, 0.99):
        log_norm, found = mapped(network("relu", normalization="batchnorm"), rho, (0.5, -0.5))
        np.testing.assert_allclose(log_norm, 0.0, atol=1e-13)  # c / 2 = 1
        assert found == pytest.approx(0.0, abs=1e-13)
        net = network("silu", normalization="batchnorm")
        log_norm, found = mapped(net, rho)
        high, low = net.function(np.array([1.0, -1.0]))
        np.testing.assert_allclose(np.exp(log_norm), net.gain * (high**2 + low**2) / 2, rtol=1e-12)
        assert found == pytest.approx(2 * high * low / (high**2 + low**2), abs=1e-12)
        log_norm, found = mapped(network("tanh", normalization="batchnorm", placement="after-activation"), rho)
        assert found == pytest.approx(-1.0, abs=1e-12)


@pytest.mark.parametrize("count", [3, 10])
@pytest.mark.parametrize("rho", [0.0, 0.9])
def test_batchnorm_makes_exchangeable_inputs_a_simplex(rho: float, count: int):
    """Before a linear activation their correlation becomes -1/(m - 1), whatever it was: trace m, and rows sum to 0."""
    pairs = np.triu_indices(count, 1)
    net = MLP(width=50, depth=5, activation=LeakyReLU(slope=1.0), normalization="batchnorm")
    log_norm, gap = layer_map(net, np.zeros(count), np.full(len(pairs[0]), 1 - rho), pairs)
    np.testing.assert_allclose(log_norm, 0.0, atol=5e-3)
    np.testing.assert_allclose(1 - gap, -1 / (count - 1), atol=5e-3)
    assert np.exp(log_norm).sum() == pytest.approx(count, rel=1e-12)


@pytest.mark.parametrize("count", [3, 10])
def test_batchnorm_takes_all_pairs_to_one_correlation(count: int):
    """After any activation -1/(m - 1), as rows sum to 0, from inputs at random and from nearly parallel ones."""
    x = np.random.default_rng(102).normal(size=(count, count + 5))
    net = MLP(width=50, depth=25, activation=ReLU(), normalization="batchnorm", placement="after-activation")
    for inputs in (gram(x), gram(1 + 1e-6 * x)):
        paths = InfiniteWidth(net).sample(inputs, layers=[25])
        np.testing.assert_allclose(1 - paths.correlation_gap, -1 / (count - 1), atol=8e-3)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_batchnorm_of_three_exchangeable_inputs_is_a_circle(activation: str):
    """A row becomes sqrt(2) cos(t + 2 pi a / 3), t uniform."""
    pairs, net = np.triu_indices(3, 1), network(activation, normalization="batchnorm")
    phi = net.function if activation == "tanh" else lambda x: np.maximum(x, 0)
    t = (np.arange(3000) + 0.5) * 2 * np.pi / 3000
    a, b = (phi(np.sqrt(2) * np.cos(t + shift)) for shift in (0.0, 2 * np.pi / 3))
    log_norm, gap = layer_map(net, np.zeros(3), np.full(3, 0.6), pairs)
    np.testing.assert_allclose(log_norm, np.log(net.gain * np.mean(a * a)), atol=1e-3)
    np.testing.assert_allclose(1 - gap, np.mean(a * b) / np.mean(a * a), atol=1e-3)


WIDTH, WIDE_NETWORKS, DEPTH = 3000, 16, 4


def off_by(net: Network, limit: Network) -> float:
    """How far a few very wide networks are from a recursion, in what noise, width and quadrature allow."""
    exact = sample(net, INPUTS[3], networks=WIDE_NETWORKS, seed=101, layers=[1, DEPTH])
    predicted = InfiniteWidth(limit).sample(INPUTS[3], layers=[1, DEPTH])
    averaged = net.normalization == "batchnorm"
    allowed = 20 / WIDTH + (0.01 if averaged and net.placement in ("before-sum", "after-sum") else 0.002 * averaged)
    ratios = []
    for one, other in ((exact.log_norm, predicted.log_norm), (exact.log_gap, predicted.log_gap)):
        noise = SIGMAS * one.std(axis=0, ddof=1) / np.sqrt(WIDE_NETWORKS)
        ratios.append((np.abs(one.mean(axis=0) - other[0]) / (noise + allowed)).max())
    return float(max(ratios))


@pytest.mark.parametrize("activation", quick("relu", of=["relu", "silu"]))
@pytest.mark.parametrize(("kind", "normalization", "place"), KINDS, ids=IDS)
def test_very_wide_networks_follow_the_recursion(kind: type, normalization: str, place: str, activation: str):
    net = kind(
        width=WIDTH,
        depth=DEPTH,
        activation=parse_activation(activation),
        normalization=normalization,
        placement=place,
    )
    assert off_by(net, net) < 1


@pytest.mark.parametrize("place", ["before-activation", "after-activation", "before-sum", "after-sum"])
def test_very_wide_networks_do_not_follow_another_recursion(place: str):
    fields = {"width": WIDTH, "depth": DEPTH, "normalization": "batchnorm"}
    others = {"before-activation", "after-activation", "before-sum", "after-sum"} - {place}
    for other in others:
        assert off_by(ResNet(placement=place, **fields), ResNet(placement=other, **fields)) > 1
    assert off_by(ResNet(placement=place, **fields), ResNet(width=WIDTH, depth=DEPTH)) > 1


def test_fixed_points_of_slopes():
    assert fixed_points(network("relu")) == [(pytest.approx(1), pytest.approx(1), True)]
    for activation, kappa in (("relu", KAPPA), ("leaky:0.2", 0.8**2 / (np.pi * 1.04))):
        one, zero = fixed_points(network(activation, **AFTER))
        assert one == (1.0, pytest.approx(1 / (1 - kappa), rel=1e-9), False)
        assert zero == (
            pytest.approx(0, abs=1e-12),
            pytest.approx((1 - kappa * np.pi / 2) / (1 - kappa), rel=1e-9),
            True,
        )


def test_fixed_points_of_erf():
    """The arcsine kernel: rho' = arcsin(2 rho / 3) / arcsin(2 / 3) at unit norm."""
    one, zero, minus = fixed_points(network("erf", normalization="rmsnorm"))
    steep = (2 / 3) / np.sqrt(1 - 4 / 9) / np.arcsin(2 / 3)
    assert one == (1.0, pytest.approx(steep, rel=1e-7), False)
    assert zero == (pytest.approx(0, abs=1e-9), pytest.approx((2 / 3) / np.arcsin(2 / 3), rel=1e-7), True)
    assert minus == (-1.0, pytest.approx(steep, rel=1e-7), False)


def test_fixed_points_of_smooth_shaping_approach_those_of_its_drift():
    """(1 - rho)(1 - 2 rho) with rmsnorm, -2 rho (1 - rho) with layernorm after: 1/2, or 0."""
    off = []
    for width in (100, 1000):
        net = MLP(
            width=width,
            depth=5,
            activation=Shaped(function="silu", a=1.0),
            normalization="rmsnorm",
            placement="after-activation",
        )
        one, half = fixed_points(net)
        off.append(abs(half.correlation - 0.5))
        assert half.stable
        assert not one.stable
    assert off[1] < 0.15 * off[0] < 0.15 * 0.01
    one, zero = fixed_points(MLP(width=1000, depth=5, activation=Shaped(function="silu", a=1.0), **AFTER))
    assert zero.correlation == pytest.approx(0, abs=1e-6)


def test_a_residual_block_has_the_fixed_points_of_its_branch():
    inside, whole = (fixed_points(network("silu", normalization="rmsnorm", **kind)) for kind in ({}, {"kind": ResNet}))
    for one, other in zip(inside, whole, strict=True):
        assert one.correlation == pytest.approx(other.correlation, abs=1e-9)
        assert one.stable == other.stable
        assert other.slope == pytest.approx((1 + one.slope / 5) / 1.2, rel=1e-6)


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
def test_fixed_points_are_fixed(activation: str):
    for fields in ({}, AFTER, {"normalization": "rmsnorm"}):
        net = network(activation, **fields)
        for point in fixed_points(net):
            assert mapped(net, point.correlation)[1] == pytest.approx(point.correlation, abs=1e-9)


def test_fixed_points_that_do_not_exist():
    assert "batchnorm" in refusal(lambda: fixed_points(network("relu", normalization="batchnorm")), LimitError)
    assert "every correlation" in refusal(lambda: fixed_points(network("leaky:1")), LimitError)
    assert "norm-preserving" in refusal(lambda: fixed_points(network("tanh", kind=ResNet)), LimitError)


def test_a_jump_has_no_slope_at_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "written_steps.py").write_text("import numpy as np\ndef step(x):\n    return np.sign(x) * 1.0")
    one, zero, minus = fixed_points(network("written_steps:step"))
    assert one.slope == minus.slope == np.inf
    # rho' = 2 arcsin(rho) / pi
    assert zero == (pytest.approx(0, abs=1e-9), pytest.approx(2 / np.pi, rel=1e-4), True)
