"""Limits of networks with real weight and bias variances: closed forms, exact networks, shifts and refusals."""

from math import pi

import numpy as np
import pytest
from laws import SIGMAS, z_of_means, z_of_variances
from tiers import slow

from deeplim import limits
from deeplim.activations import Activation, Elementwise, LeakyReLU, ReLU, Shaped, ShapedReLU
from deeplim.architecture import MLP, Network, ResNet
from deeplim.errors import LimitError
from deeplim.finite.chain import sample
from deeplim.inputs import gram
from deeplim.limits.kernels import fixed_points
from deeplim.limits.moment_pairs import PairStates
from deeplim.paths import Paths

TANH, GELU, ERF = (Elementwise(function=name) for name in ("tanh", "gelu", "erf"))
LINEAR = LeakyReLU(slope=1)
UNEQUAL = np.array([[1.0, 0.4, -0.3], [0.4, 2.0, 0.1], [-0.3, 0.1, 0.5]])
PAIR = gram(covariance=UNEQUAL[:2, :2])
BOTH = {"weight_variance": 1.6, "bias_variance": 0.3}


def covariances(paths: Paths) -> np.ndarray:
    """V (layer, input, input) of the first path."""
    root = np.exp(paths.log_norm[0] / 2)
    rho = np.ones((*root.shape, root.shape[1]))
    a, b = np.triu_indices(root.shape[1], 1)
    rho[:, a, b] = rho[:, b, a] = -np.expm1(paths.log_gap[0])
    return rho * root[:, :, None] * root[:, None, :]


def recursion(network: Network, v: np.ndarray) -> list[np.ndarray]:
    """The infinite-width recursion in plain matrices, one closed form an activation: the slow twin."""
    found = [v]
    for _ in range(network.depth):
        root = np.sqrt(np.diag(found[-1]))
        rho = np.clip(found[-1] / np.outer(root, root), -1, 1)
        if network.activation == ReLU():
            mean = np.outer(root, root) * (np.sqrt(1 - rho**2) + rho * (pi - np.arccos(rho))) / (2 * pi)
        elif network.activation == LINEAR:
            mean = found[-1]
        else:
            stretched = np.sqrt(1 + 2 * root**2)
            mean = 2 / pi * np.arcsin(2 * found[-1] / np.outer(stretched, stretched))
        added = network.gain * mean + network.bias_variance
        if isinstance(network, ResNet):
            added = network.skip_scale**2 * found[-1] + network.branch_scale**2 * added
        found.append(added)
    return found


@pytest.mark.parametrize("activation", [ReLU(), LINEAR, ERF], ids=str)
@pytest.mark.parametrize("kind", [MLP, ResNet])
@pytest.mark.parametrize("variances", [{"weight_variance": 0.7}, {"bias_variance": 0.3}, BOTH], ids=str)
def test_the_recursion_is_poole_s(kind: type, activation: Activation, variances: dict) -> None:
    network = kind(width=8, depth=12, activation=activation, **variances)
    found = covariances(limits.named("infinite-width", network).sample(gram(covariance=UNEQUAL), layers=range(13)))
    np.testing.assert_allclose(found, recursion(network, UNEQUAL), rtol=1e-9)


def test_a_linear_network_adds_up_a_geometric_series() -> None:
    network = MLP(width=8, depth=9, activation=LINEAR, weight_variance=0.8, bias_variance=0.5)
    found = covariances(limits.named("infinite-width", network).sample(gram(covariance=UNEQUAL), layers=[9]))[0]
    np.testing.assert_allclose(found, 0.8**9 * UNEQUAL + 0.5 * (1 - 0.8**9) / 0.2, rtol=1e-12)


NORMALIZED = [
    MLP(width=1200, depth=3, normalization=kind, placement=place, **BOTH)
    for kind in ("rmsnorm", "layernorm")
    for place in ("before-activation", "after-activation")
] + [
    ResNet(width=1200, depth=3, normalization=kind, placement=place, branch=0.8, **BOTH)
    for kind in ("rmsnorm", "layernorm")
    for place in ("before-activation", "after-activation", "before-sum", "after-sum")
]


@pytest.mark.parametrize("network", NORMALIZED, ids=str)
def test_wide_normalized_networks_follow_the_recursion(network: Network) -> None:
    exact = sample(network, gram(covariance=UNEQUAL), networks=48, seed=3, layers=[1, 3])
    found = limits.named("infinite-width", network).sample(gram(covariance=UNEQUAL), layers=[1, 3])
    assert np.abs(exact.log_norm.mean(axis=0) - found.log_norm[0]).max() < 0.02
    assert np.abs(exact.correlation[:, :, 0, 1].mean(axis=0) - found.correlation[0, :, 0, 1]).max() < 0.02
    other = network.model_copy(update={"bias_variance": 0.9})
    wrong = limits.named("infinite-width", other).sample(gram(covariance=UNEQUAL), layers=[1, 3])
    assert np.abs(exact.correlation[:, :, 0, 1].mean(axis=0) - wrong.correlation[0, :, 0, 1]).max() > 0.02


def test_after_rmsnorm_a_norm_is_the_sum_of_the_variances() -> None:
    network = MLP(width=64, depth=3, normalization="rmsnorm", placement="after-activation", **BOTH)
    for paths in (sample(network, PAIR, networks=5), limits.named("infinite-width", network).sample(PAIR)):
        np.testing.assert_allclose(paths.log_norm[:, 1:], np.log(1.9), atol=1e-12)


def worst(one: Paths, other: Paths) -> float:
    """The largest difference of a mean or variance of log V or log(1 - rho), in standard errors."""
    columns = [(one.log_norm[:, :, a], other.log_norm[:, :, a]) for a in (0, 1)]
    columns.append((one.log_gap[:, :, 0], other.log_gap[:, :, 0]))
    found = [z(x[:, k], y[:, k]) for x, y in columns for k in range(x.shape[1]) for z in (z_of_means, z_of_variances)]
    return max(found)


@pytest.mark.parametrize(
    ("activation", "variances"),
    [
        (ReLU(), BOTH),
        (LeakyReLU(slope=-0.5), {"bias_variance": 0.1}),
        (TANH, {"weight_variance": 1.8, "bias_variance": 0.1}),
        slow(GELU, {"weight_variance": 2.0, "bias_variance": 0.1}),
    ],
    ids=str,
)
def test_the_moment_chain_has_the_networks_moments(activation: Activation, variances: dict) -> None:
    network = MLP(width=64, depth=16, activation=activation, **variances)
    exact = sample(network, PAIR, networks=4000, seed=1, layers=[1, 4, 16])
    chain = limits.named("moments", network).sample(PAIR, samples=4000, seed=2, layers=[1, 4, 16])
    assert worst(exact, chain) < SIGMAS
    other = network.model_copy(update={"bias_variance": network.bias_variance + 0.1})
    assert worst(exact, limits.named("moments", other).sample(PAIR, samples=4000, seed=2, layers=[1, 4, 16])) > SIGMAS


def test_one_input_of_the_moment_chain_takes_biases_too() -> None:
    network = MLP(width=64, depth=8, activation=TANH, weight_variance=1.8, bias_variance=0.1)
    found = [
        limits.named("moments", network).sample(inputs, samples=8000, seed=seed).log_norm[:, -1, 0]
        for inputs, seed in ((gram(covariance=[[1.0]]), 3), (PAIR, 4))
    ]
    assert max(z_of_means(*found), z_of_variances(*found)) < SIGMAS


def _pairs(log_norm: np.ndarray, u: np.ndarray, v: np.ndarray) -> PairStates:
    pairs = PairStates.of((0.0, 0.0), 1.0, len(u))
    pairs.log_norm, pairs.u, pairs.v = log_norm, u, v
    pairs.settle(np.arange(len(u)))
    return pairs


def _entries(pairs: PairStates) -> tuple[np.ndarray, ...]:
    """V^00, V^01 and V^11."""
    both, gap = np.exp(pairs.norms()), pairs.gaps()
    return both[:, 0], (1 - gap) * np.sqrt(both[:, 0] * both[:, 1]), both[:, 1]


def test_a_bias_is_added_to_every_entry() -> None:
    rng = np.random.default_rng(0)
    pairs = _pairs(rng.normal(size=50), rng.uniform(-1.5, 0, size=50), np.abs(rng.normal(size=50)))
    before = _entries(pairs)
    pairs.add_bias(0.7)
    np.testing.assert_allclose(_entries(pairs), np.array(before) + 0.7, rtol=1e-12)


def test_a_bias_takes_no_digit_from_nearly_equal_inputs() -> None:
    """det V = V^{00} |difference|^2 sin^2 gains b |difference|^2 from a bias b; the difference itself stays."""
    pairs = _pairs(np.zeros(2), np.array([1e-90, 0.0]), np.array([2e-90, 1e-40]))
    pairs.add_bias(3.0)
    np.testing.assert_allclose(np.exp(pairs.log_norm), 4.0)
    np.testing.assert_allclose(4.0 * (pairs.u**2 + pairs.v**2), [5e-180, 1e-80], rtol=1e-12)


SHIFTED = [
    ("unshaped", MLP(width=50, depth=20)),
    ("moments", MLP(width=50, depth=20, activation=LeakyReLU(slope=0.3))),
    ("infinite-width", MLP(width=50, depth=20, activation=ShapedReLU())),
    ("sde", MLP(width=50, depth=20, activation=ShapedReLU())),
    ("ode", MLP(width=50, depth=20, activation=ShapedReLU(rate="depth"))),
]


@pytest.mark.parametrize(("name", "network"), SHIFTED)
def test_without_biases_slopes_only_shift_norms(name: str, network: MLP) -> None:
    grown = network.model_copy(update={"weight_variance": 1.3 * network.gain})
    layers = [0, 3, 20]
    one, other = (limits.named(name, n).sample(PAIR, samples=20, seed=5, layers=layers) for n in (network, grown))
    np.testing.assert_allclose(other.log_gap, one.log_gap, rtol=1e-12)
    shift = np.array(layers)[:, None] * np.log(1.3)
    np.testing.assert_allclose(other.log_norm, one.log_norm + shift, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("place", ["before-activation", "after-activation"])
def test_a_normalization_keeps_the_shift_of_one_layer(place: str) -> None:
    network = MLP(width=400, depth=40, activation=ShapedReLU(), normalization="rmsnorm", placement=place)
    grown = network.model_copy(update={"weight_variance": 1.3 * network.gain})
    one, other = (
        limits.named("normalized-sde", n).sample(PAIR, samples=2, seed=5, layers=[0, 3, 40]) for n in (network, grown)
    )
    np.testing.assert_allclose(other.log_gap, one.log_gap, rtol=1e-12)
    np.testing.assert_allclose(
        other.log_norm - one.log_norm, [[[0], [np.log(1.3)], [np.log(1.3)]]] * np.ones((2, 1, 2))
    )
    exact = sample(grown, PAIR, networks=400, seed=6, layers=[40])
    assert abs(exact.log_norm.mean() - np.log(1.3)) < 0.01


def test_the_laws_of_norms_shift_too() -> None:
    network = MLP(width=50, depth=20, activation=ShapedReLU())
    for name in ("sde", "unshaped"):
        network = network.model_copy(update={"activation": ShapedReLU() if name == "sde" else ReLU()})
        grown = network.model_copy(update={"weight_variance": 1.3 * network.gain})
        one, other = (
            limits.law(limits.named(name, n), PAIR, layer=10, observable="log_norm") for n in (network, grown)
        )
        assert other.mean == pytest.approx(one.mean + 10 * np.log(1.3))
        assert other.std == pytest.approx(one.std)


def test_a_derived_limit_shifts_too() -> None:
    network = MLP(width=60, depth=30, activation=ShapedReLU())
    grown = network.model_copy(update={"weight_variance": 0.8 * network.gain})
    one, other = (limits.derive(n).sample(PAIR, samples=10, seed=1, layers=[30]) for n in (network, grown))
    np.testing.assert_allclose(other.log_norm, one.log_norm + 30 * np.log(0.8), rtol=1e-10)
    np.testing.assert_allclose(other.log_gap, one.log_gap)


CRITICAL = [
    MLP(width=50, depth=20),
    MLP(width=50, depth=20, activation=ShapedReLU()),
    MLP(width=50, depth=20, activation=Shaped(function="tanh")),
    MLP(width=50, depth=20, activation=ShapedReLU(), normalization="rmsnorm"),
    MLP(width=50, depth=20, activation=Shaped(function="silu"), normalization="rmsnorm", placement="after-activation"),
    ResNet(width=50, depth=20),
    ResNet(width=50, depth=20, activation=ShapedReLU(), branch=0.5),
]


@pytest.mark.parametrize("network", CRITICAL, ids=str)
def test_limits_of_critical_networks_say_so(network: Network) -> None:
    """Every one that applies to the critical network, but the two that follow any variances."""
    names = {limit.name for limit in limits.find(network)}
    assert names - {"moments", "infinite-width"}
    biased = network.model_copy(update={"bias_variance": 0.1})
    assert {limit.name for limit in limits.find(biased)} == names & {"moments", "infinite-width"}
    for name in names - {"moments", "infinite-width"}:
        assert "a bias variance of 0.1 moves norms" in limits.explain(biased)[name]
        with pytest.raises(LimitError, match="critical weights without biases"):
            limits.named(name, biased)
    given = network.model_copy(update={"weight_variance": network.gain})
    assert {limit.name for limit in limits.find(given)} == names
    if isinstance(network, ResNet) or (isinstance(network.activation, Shaped) and network.normalization == "none"):
        grown = network.model_copy(update={"weight_variance": 1.1 * network.gain})
        reason = next(iter(set(limits.explain(grown).items()) - set(limits.explain(network).items())))[1]
        assert f"a weight variance of {grown.gain:.6g}, where {network.gain:.6g} is critical" in reason


def test_what_is_derived_is_refused_alike() -> None:
    with pytest.raises(LimitError, match="critical weights without biases"):
        limits.derive(ResNet(width=50, depth=20, weight_variance=2.2))
    with pytest.raises(LimitError, match=r"see deeplim\.mean_field"):
        fixed_points(MLP(width=50, depth=20, activation=TANH, weight_variance=1.2))


def test_fixed_points_where_norms_do_not_matter() -> None:
    """ReLU behind rmsnorm, with a bias: rho' = (r K(rho) + b) / (r + b) has slope r / (r + b) at rho = 1, r = c / 2."""
    network = MLP(width=50, depth=20, normalization="rmsnorm", weight_variance=3.0, bias_variance=0.5)
    assert fixed_points(network)[0].slope == pytest.approx(1.5 / 2.0, abs=1e-6)
    assert fixed_points(MLP(width=50, depth=20, weight_variance=3.0)) == fixed_points(MLP(width=50, depth=20))


def test_the_rung_to_trust_is_the_moment_chain_for_networks_that_settle() -> None:
    settling = MLP(width=200, depth=200, activation=TANH, weight_variance=1.5, bias_variance=0.1)
    name, why = limits.recommend(settling)
    assert name == "moments"
    assert "weight and bias variances" in why
    unstable = MLP(width=200, depth=200, activation=GELU)
    for share in (1.0, 1.001):
        assert limits.recommend(unstable.model_copy(update={"weight_variance": share * unstable.gain}))[0] == "exact"
