"""Parameters drawn again have a network's variances, whatever Flax's layout, and models of them have its law."""

import re
from functools import cache
from math import sqrt

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

import deeplim as dl
from deeplim.errors import InputError
from deeplim.jax import activation, initialize, scaled_residual

NETWORK = dl.MLP(width=40, depth=12)
KEY = jax.random.key(7)
SIGMAS = 5.0
"""Of a normal law: a false alarm in 1.7 million."""


class Everything(linen.Module):
    """One of each layout: dense, convolution, attention, embedding, normalization."""

    @linen.compact
    def __call__(self, tokens):
        x = linen.Embed(9, 8)(tokens)
        x = linen.MultiHeadDotProductAttention(2)(linen.LayerNorm()(x))
        x = linen.Conv(6, (3,))(x)
        return linen.Dense(400, use_bias=False)(x)


@cache
def everything():
    return jax.jit(Everything().init)(KEY, jnp.zeros((1, 5), int))


class Chain(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.first = nnx.Linear(4, 50, rngs=rngs)
        self.rest = nnx.List([nnx.Linear(50, 50, rngs=rngs) for _ in range(2)])
        self.norm = nnx.LayerNorm(50, rngs=rngs)

    def __call__(self, x):
        x = self.first(x)
        for layer in self.rest:
            x = layer(jax.nn.relu(x))
        return self.norm(x)


def check_variance(values, variance: float) -> None:
    """Gaussian entries: their mean square has a relative standard error of sqrt(2 / count)."""
    values = np.asarray(values, dtype=float).ravel()
    assert abs(np.mean(values**2) / variance - 1) < SIGMAS * sqrt(2 / values.size)
    assert abs(values.mean()) < SIGMAS * sqrt(variance / values.size)
    if values.size > 1000:  # the fourth moment over 3 variance^2, of variance 32/3 / count
        assert abs(np.mean(values**4) / (3 * variance**2) - 1) < SIGMAS * sqrt(32 / 3 / values.size)


def test_linen_kernels_are_drawn_by_their_fan_in_and_the_rest_is_left():
    before = everything()
    after, drawn = initialize(before, NETWORK, KEY)
    assert jax.tree.structure(after) == jax.tree.structure(before)
    fan_ins = {one.name: one.fan_in for one in drawn if one.fan_in}
    attention = "params/MultiHeadDotProductAttention_0"
    assert fan_ins == {
        f"{attention}/query/kernel": 8,
        f"{attention}/key/kernel": 8,
        f"{attention}/value/kernel": 8,
        f"{attention}/out/kernel": 8,
        "params/Conv_0/kernel": 24,
        "params/Dense_0/kernel": 6,
    }
    assert {one.name.split("/")[1] for one in drawn} == {"MultiHeadDotProductAttention_0", "Conv_0", "Dense_0"}
    for untouched in ("Embed_0", "LayerNorm_0"):
        for old, new in zip(*(jax.tree.leaves(tree["params"][untouched]) for tree in (before, after)), strict=True):
            assert new is old
    assert not (after["params"]["Conv_0"]["kernel"] == before["params"]["Conv_0"]["kernel"]).any()
    check_variance(after["params"]["Dense_0"]["kernel"], 2 / 6)
    check_variance(after["params"]["Conv_0"]["kernel"], 2 / 24)
    assert not np.asarray(after["params"]["Conv_0"]["bias"]).any()
    assert "params/Dense_0/kernel (6, 400): entries of variance 0.3333, fan-in 6" in map(str, drawn)


def test_biases_have_the_network_s_variance():
    network = dl.MLP(width=40, depth=12, weight_variance=1.5, bias_variance=0.3)
    empty = {"kernel": np.zeros((50, 3000)), "bias": np.zeros(3000)}
    after, drawn = initialize(empty, network, KEY)
    check_variance(after["kernel"], 1.5 / 50)
    check_variance(after["bias"], 0.3)
    assert [one.variance for one in drawn] == [0.3, 1.5 / 50]


def test_nnx_states_are_drawn_and_go_back_into_the_model():
    model = Chain(nnx.Rngs(0))
    state, drawn = initialize(nnx.state(model, nnx.Param), NETWORK, KEY)
    assert [one.name for one in drawn if one.fan_in] == ["first/kernel", "rest/0/kernel", "rest/1/kernel"]
    nnx.update(model, state)
    check_variance(model.rest[1].kernel[...], 2 / 50)
    assert (model.norm.scale[...] == 1).all()


def test_one_key_draws_one_thing_and_another_key_another():
    parameters = everything()
    kernels = [
        initialize(parameters, NETWORK, key)[0]["params"]["Dense_0"]["kernel"] for key in (KEY, KEY, jax.random.key(8))
    ]
    assert (kernels[0] == kernels[1]).all()
    assert not (kernels[0] == kernels[2]).any()


def test_types_are_kept_and_only_chooses():
    parameters = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), everything())
    after, drawn = initialize(parameters, NETWORK, KEY, only=lambda name: "Conv" in name)
    assert [one.name for one in drawn] == ["params/Conv_0/bias", "params/Conv_0/kernel"]
    assert {leaf.dtype for leaf in jax.tree.leaves(after)} == {jnp.dtype(jnp.bfloat16)}
    assert after["params"]["Dense_0"]["kernel"] is parameters["params"]["Dense_0"]["kernel"]


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"w": np.ones((3, 3))}, "no kernel was found to draw again; Flax's layout is wanted"),
        ({"kernel": np.ones(3)}, "which does not tell its fan-in"),
        ({"scan": {"kernel": np.ones((7, 3, 3)), "bias": np.ones((7, 3))}}, "the kernel scan of shape (7, 3, 3) has"),
    ],
)
def test_other_layouts_are_refused(parameters, told):
    with pytest.raises(InputError, match=re.escape(told)):
        initialize(parameters, NETWORK, KEY)


def test_what_is_no_network_is_refused():
    with pytest.raises(InputError, match=re.escape("give a dl.MLP or dl.ResNet")):
        initialize(everything(), "relu", KEY)


@pytest.mark.parametrize("key", [3, None, "0", 0.5, jax.random.split(KEY, 3)])
def test_what_is_no_key_is_refused(key):
    with pytest.raises(InputError, match=re.escape("was given; give one JAX random key, such as jax.random.key(0).")):
        initialize(everything(), NETWORK, key)


def test_old_keys_are_keys():
    drawn = [initialize(everything(), NETWORK, key)[0] for key in (jax.random.key(3), jax.random.PRNGKey(3))]
    assert all(jax.tree_util.tree_leaves(jax.tree_util.tree_map(lambda a, b: bool((a == b).all()), *drawn)))


def test_only_is_a_function():
    with pytest.raises(InputError, match=re.escape("only='params' was given; give a function of a kernel's name")):
        initialize(everything(), NETWORK, KEY, only="params")


def chain(parameters, x, network):
    """The hidden layers' states of a network written in JAX: one kernel a layer, no bias in use."""
    phi = activation(network)
    for layer in parameters:
        branch = phi(x) @ layer["kernel"]
        x = branch if network.kind == "mlp" else scaled_residual(x, branch, network.branch_scale)
    return phi(x) * sqrt(network.gain) if network.kind == "mlp" else x


NETWORKS = [
    dl.MLP(width=40, depth=12, activation=dl.ShapedReLU(c_plus=0, c_minus=-1)),
    dl.ResNet(width=40, depth=12),
]


def moments(rho, log_norm):
    """Means of the pair's artanh correlation and of the log norm, and of their squares, each with its error."""
    columns = np.stack([np.arctanh(rho), log_norm, np.arctanh(rho) ** 2, log_norm**2])
    return columns.mean(axis=1), columns.std(axis=1, ddof=1) / sqrt(columns.shape[1])


def of_jax(network, drawn_for=None):
    """The moments at the last layer of 1,500 networks drawn by ``initialize`` from inputs at correlation 0.3."""
    width, depth, count = network.width, network.depth, 1500
    empty = [{"kernel": jnp.zeros((width, width))} for _ in range(depth)]
    first = np.linalg.cholesky([[1.0, 0.3], [0.3, 1.0]])

    def one(key):
        parameters, _ = initialize(empty, drawn_for or network, key)
        # Preactivations of the first layer: rows of covariance V_0, what the exact chain starts from.
        start = first @ jax.random.normal(jax.random.fold_in(key, 99), (2, width))
        end = chain(parameters[: depth - (network.kind == "mlp")], start, network)
        return end @ end.T / width

    v = np.asarray(jax.jit(jax.vmap(one))(jax.random.split(KEY, count)), dtype=float)
    return moments(v[:, 0, 1] / np.sqrt(v[:, 0, 0] * v[:, 1, 1]), np.log(v[:, 0, 0]))


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_networks_in_jax_have_the_law_of_the_exact_chain(network):
    exact = dl.simulate(network, dl.gram(correlation=0.3), networks=20_000, seed=3, layers=[network.depth])
    expected, error = moments(exact.correlation[:, 0, 0, 1], exact.log_norm[:, 0, 0])
    found, other = of_jax(network)
    assert (np.abs(found - expected) < SIGMAS * np.hypot(error, other)).all()
    # Weights at another gain, 2 for shaped networks and 1.7 for the ResNet, make another law.
    other_gain = dl.MLP(width=40, depth=12, activation=dl.ReLU() if network.gain < 1.5 else dl.LeakyReLU(slope=0.4))
    wrong, other = of_jax(network, drawn_for=other_gain)
    assert (np.abs(wrong - expected) > SIGMAS * np.hypot(error, other)).any()
