"""The covariance ODE of every network that has one: the limit of its infinite-width recursion as depth grows."""

import numpy as np
import pytest

from deeplim.activations import Elementwise, LeakyReLU, ReLU, Shaped, ShapedReLU
from deeplim.architecture import MLP, Network, ResNet
from deeplim.inputs import gram
from deeplim.limits.covariance_ode import CovarianceODE
from deeplim.limits.infinite_width import InfiniteWidth

PAIR = gram(covariance=np.array([[1.3, 0.3], [0.3, 0.7]]))
TANH = Elementwise(function="tanh")


def _mlp(activation, **more):
    return MLP(width=10_000, depth=100, activation=activation, **more)


def _resnet(activation, **more):
    return ResNet(width=10_000, depth=100, activation=activation, **more)


AFTER = {"normalization": "layernorm", "placement": "after-activation"}
NETWORKS: dict[str, Network] = {
    "relu resnet": _resnet(ReLU()),
    "relu resnet, norm-preserving": _resnet(ReLU(), skip="norm-preserving", branch="1.5/sqrt(depth)"),
    "tanh resnet": _resnet(TANH),
    "tanh resnet, norm-preserving": _resnet(TANH, skip="norm-preserving"),
    "leaky resnet, layernorm first": _resnet(LeakyReLU(slope=0.2), normalization="layernorm"),
    "tanh resnet, rmsnorm first": _resnet(TANH, normalization="rmsnorm"),
    "relu resnet, layernorm after": _resnet(ReLU(), **AFTER),
    "relu resnet, layernorm before the sum": _resnet(ReLU(), normalization="layernorm", placement="before-sum"),
    "relu resnet, layernorm after the sum": _resnet(ReLU(), normalization="layernorm", placement="after-sum"),
    "shaped relu": _mlp(ShapedReLU(c_plus=1, c_minus=-1, rate="depth")),
    "shaped relu, rmsnorm": _mlp(ShapedReLU(c_plus=1, c_minus=-1, rate="depth"), normalization="rmsnorm"),
    "shaped relu, layernorm after": _mlp(ShapedReLU(c_plus=1, c_minus=-1, rate="depth"), **AFTER),
    "shaped tanh": _mlp(Shaped(function="tanh", a=0.7, rate="depth")),
    "shaped silu, rmsnorm": _mlp(Shaped(function="silu", a=0.7, rate="depth"), normalization="rmsnorm"),
    "shaped silu, layernorm after": _mlp(Shaped(function="silu", a=0.7, rate="depth"), **AFTER),
}


def _end(paths) -> np.ndarray:
    return np.array([*paths.log_norm[0, -1], 1 - np.exp(paths.log_gap[0, -1, 0])])


@pytest.mark.parametrize("name", NETWORKS)
def test_the_recursion_of_growing_depth_approaches_the_ode(name: str):
    network = NETWORKS[name]
    limit = CovarianceODE(network)
    ode = _end(limit.sample(PAIR, layers=[100]))
    deep = {d: network.model_copy(update={"depth": d}) for d in (100, 200)}
    errors = {d: np.abs(_end(InfiniteWidth(net).sample(PAIR, layers=[d])) - ode) for d, net in deep.items()}
    assert errors[200].max() < 0.05
    # first order in 1/depth: half the error at twice the depth, within a fifth for what is of second order
    large = errors[100] > 1e-3
    np.testing.assert_allclose(errors[200][large] / errors[100][large], 0.5, atol=0.1)
    start = np.array([*PAIR.log_norm, 1 - PAIR.gap[0, 1]])
    assert np.abs(start - ode).max() > 0.05, "the control, nothing moves, must fail"


def test_both_skips_have_the_same_correlation_for_slopes():
    one, other = (
        CovarianceODE(_resnet(ReLU(), skip=skip)).sample(PAIR, layers=[50, 100]) for skip in (1, "norm-preserving")
    )
    np.testing.assert_allclose(one.log_gap, other.log_gap, rtol=1e-12)
    np.testing.assert_allclose(other.log_norm - PAIR.log_norm, 0.0, atol=1e-15)


def test_smooth_shaping_at_the_rate_of_depth_explodes_from_norms_above_one():
    # v' = beta v (v - 1), beta = 3/4 / a^2 for 2 SiLU: 1/v - 1 = (1/v_0 - 1) e^(beta s), which reaches -1
    network = _mlp(Shaped(function="silu", a=0.5, rate="depth"))
    v = 1.5
    explosion = np.log(v / (v - 1)) / 3.0
    paths = CovarianceODE(network).sample(gram(covariance=np.array([[v, 0.2], [0.2, 0.5]])))
    np.testing.assert_array_equal(paths.alive[0], paths.time < explosion)
    assert paths.exploded[-1] == 1
    alive = paths.time[paths.alive[0]]
    exact = -np.log(1 + (1 / v - 1) * np.exp(3.0 * alive))
    np.testing.assert_allclose(paths.log_norm[0, paths.alive[0], 0], exact, rtol=1e-7, atol=1e-9)


def test_an_ode_that_has_exploded_before_the_first_layer_asked_for_says_so():
    network = _mlp(Shaped(function="silu", a=0.3, rate="depth"))
    paths = CovarianceODE(network).sample(gram(covariance=np.array([[5.0, 1.0], [1.0, 5.0]])), layers=[100])
    assert paths.exploded.tolist() == [1]
    huge = CovarianceODE(network).sample(gram(covariance=np.array([[1e17]])), layers=[0, 100])
    assert huge.alive.tolist() == [[True, False]]


def test_strengths_beyond_any_limit_are_refused_in_a_sentence():
    for activation in (ShapedReLU(c_minus=-1e155, rate="depth"), Shaped(function="silu", a=1e-6, rate="depth")):
        assert "no shaping" in (CovarianceODE.why_not(_mlp(activation)) or "")
    assert "too large" in (CovarianceODE.why_not(_resnet(ReLU(), branch="1e200/sqrt(depth)")) or "")
    strong = CovarianceODE(_mlp(ShapedReLU(c_minus=-10, rate="depth")))
    assert "far from one" in (strong.advice or "")
    assert CovarianceODE(_mlp(ShapedReLU(rate="depth"))).advice is None


@pytest.mark.parametrize(
    ("branch", "word"), [("1/depth^0.3", "explodes"), ("1/depth^0.8", "freezes"), (0.5, "every depth")]
)
def test_other_branches_are_told_what_becomes_of_them(branch: object, word: str):
    assert word in (CovarianceODE.why_not(ResNet(width=8, depth=8, branch=branch)) or "")
