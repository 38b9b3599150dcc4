"""Probed Flax models against formulas, and against their PyTorch twins."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from flax import linen, nnx
from flax_networks import LinenNetwork, NNXNetwork, Remat, Transformer

import deeplim as dl
from deeplim.cli import main
from deeplim.cli.terminal import UNHEALTHY
from deeplim.errors import InputError
from deeplim.probe import RoundingWarning, norms_and_gaps, record, record_gradients
from deeplim.probe.array_inputs import read_arguments
from deeplim.probe.factories import COTANGENT, stream
from deeplim.probe.flax_networks import networks
from deeplim.resolution import FLOOR

HE = linen.initializers.he_normal()
RANDOM = np.random.default_rng(11)
X = RANDOM.standard_normal((3, 8)).astype(np.float32)
LINEN_NAMES = (
    "input",
    "Dense_0",
    "LinenBlock_0.Dense_0",
    "LinenBlock_0.Dropout_0",
    "LinenBlock_0.Dense_1",
    "LinenBlock_0",
    "LinenBlock_1.Dense_0",
    "LinenBlock_1.Dropout_0",
    "LinenBlock_1.Dense_1",
    "LinenBlock_1",
    "BatchNorm_0",
)


def check_layer(paths, sample: int, name: str, activations) -> None:
    """A layer's norms and gaps are those of these activations, to single precision."""
    at = paths.layer_names.index(name)
    log_norm, log_gap = norms_and_gaps(np.asarray(activations, dtype=float).reshape(paths.inputs, -1))
    np.testing.assert_allclose(paths.log_norm[sample, at], log_norm, atol=2e-6)
    np.testing.assert_allclose(paths.log_gap[sample, at], log_gap, atol=2e-5)


def test_linen_layers_are_their_formulas():
    seen = []

    def keep(variables):
        seen.append(jax.tree.map(lambda leaf: 1.1 * leaf, variables))
        return seen[-1]

    paths = record(LinenNetwork(), X, repeats=2, seed=4, initialize=keep)
    assert paths.layer_names == LINEN_NAMES
    assert paths.source == "a probed LinenNetwork, 2 made by its own initializers"
    assert paths.clock == "layer"
    assert not (paths.log_norm[0] == paths.log_norm[1])[1:].any()
    for sample, variables in enumerate(seen):
        weights = variables["params"]
        z = X @ weights["Dense_0"]["kernel"]
        check_layer(paths, sample, "input", X)
        check_layer(paths, sample, "Dense_0", z)
        for name in ("LinenBlock_0", "LinenBlock_1"):
            h = np.maximum(z @ weights[name]["Dense_0"]["kernel"], 0)
            check_layer(paths, sample, f"{name}.Dropout_0", h)
            h = h @ weights[name]["Dense_1"]["kernel"]
            check_layer(paths, sample, f"{name}.Dense_1", h)
            z = z + h
            check_layer(paths, sample, name, z)
        scale = weights["BatchNorm_0"]["scale"]
        check_layer(paths, sample, "BatchNorm_0", scale * (z - z.mean(0)) / np.sqrt(z.var(0) + 1e-5))


def test_keyword_arguments_reach_a_linen_module():
    plain = record(LinenNetwork(), X, repeats=1, modules="Dense_0")
    scaled = record(LinenNetwork(), {"x": X, "scale": 2.0}, repeats=1, modules=["Dense_0", "LinenBlock_0"])
    assert plain.layer_names == ("input", "Dense_0")
    assert scaled.layer_names == ("input", "Dense_0", "LinenBlock_0")
    # The module's own output is before the factor, which the block then has, but for its branch's relu.
    np.testing.assert_allclose(scaled.log_norm[0, 1], plain.log_norm[0, 1], atol=1e-6)
    np.testing.assert_allclose(
        scaled.log_norm[0, 2], record(LinenNetwork(), X, repeats=1).log_norm[0, 5] + np.log(4), atol=1e-5
    )


def nnx_layers(model: NNXNetwork, x):
    """The layers of the NNX network by formula, and the whole as a function of what is added to one of them."""
    branch = model.branches[0]
    layers = {"first": x @ model.first.kernel[...]}
    z = layers["first"]
    for run in ("", "#2"):
        layers[f"branches.0.inner{run}"] = z @ branch.inner.kernel[...]
        layers[f"branches.0{run}"] = jax.nn.relu(layers[f"branches.0.inner{run}"]) @ branch.outer.kernel[...]
        z = z + layers[f"branches.0{run}"]
    layers["norm"] = (z - z.mean(0)) / jnp.sqrt(z.var(0) + 1e-5)
    return layers


def test_an_nnx_model_is_measured_as_it_is_and_left_as_it_was():
    model = NNXNetwork(rngs=nnx.Rngs(5))
    before, kinds = jax.tree.leaves(nnx.state(model)), [type(m) for _, m in nnx.iter_modules(model)]
    paths = record(model, X, repeats=3)
    assert paths.layer_names == (
        "input",
        "first",
        *("branches.0.inner", "branches.0.dropout", "branches.0.outer"),
        *("branches.0.inner#2", "branches.0.dropout#2", "branches.0.outer#2"),
        "norm",
    )
    assert paths.source == "a probed NNXNetwork, its own weights and 2 redrawn copies"
    layers = nnx_layers(model, X)
    for name in ("first", "branches.0.inner", "branches.0.inner#2", "norm"):
        check_layer(paths, 0, name, layers[name])
    for run in ("", "#2"):
        check_layer(paths, 0, f"branches.0.outer{run}", layers[f"branches.0{run}"])
    with pytest.raises(InputError):
        record(model, X[:, :5])
    after = jax.tree.leaves(nnx.state(model))
    assert all(np.array_equal(_bits(a), _bits(b)) for a, b in zip(before, after, strict=True))
    assert [type(m) for _, m in nnx.iter_modules(model)] == kinds
    assert "_deeplim_name" not in vars(model.first)


def _bits(leaf):
    is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(leaf) if is_key else leaf)


def test_gradients_are_those_of_the_formula():
    model = nnx.Sequential(nnx.Linear(8, 16, rngs=nnx.Rngs(1)), jax.nn.relu, nnx.Linear(16, 5, rngs=nnx.Rngs(2)))
    paths = record_gradients(model, X, repeats=1, seed=9)
    u = np.random.default_rng(stream(9, 0, COTANGENT)).standard_normal(5)
    u /= np.sqrt(np.mean(u**2))
    first, last = (np.asarray(layer.kernel[...], dtype=float) for layer in (model.layers[0], model.layers[2]))
    inner = (X @ first > 0) * (last @ u)
    assert paths.layer_names == ("input", "layers.0", "layers.2")
    check_layer(paths, 0, "layers.0", inner)
    check_layer(paths, 0, "input", inner @ first.T)
    np.testing.assert_allclose(paths.log_norm[0, 2], 0.0, atol=1e-6)
    assert np.isneginf(paths.log_gap[0, 2]).all()


def test_gradients_pass_through_runs_and_blocks():
    model = NNXNetwork(rngs=nnx.Rngs(5))
    paths = record_gradients(model, X, repeats=1, seed=2)
    u = np.random.default_rng(stream(2, 0, COTANGENT)).standard_normal(16)
    u /= np.sqrt(np.mean(u**2))
    branch = model.branches[0]

    def end(z, added):
        for extra in (added, jnp.zeros_like(added)):
            z = z + branch.outer(jax.nn.relu(branch.inner(z) + extra))
        return jnp.sum((z - z.mean(0)) / jnp.sqrt(z.var(0) + 1e-5) @ u)

    z = X @ model.first.kernel[...]
    at_first, at_inner = jax.grad(end, (0, 1))(z, jnp.zeros_like(z))
    # The sum over inputs of a normalized batch is zero, and so is its gradient: all that is left is rounding.
    assert (paths.log_norm[:, :-1] < np.log(1e-9)).all()
    assert max(float(jnp.abs(at_first).max()), float(jnp.abs(at_inner).max())) < 1e-4
    linen_paths = record_gradients(LinenNetwork(), X, repeats=2, modules=lambda name, module: "Block" in name)
    assert linen_paths.layer_names == ("input", *(name for name in LINEN_NAMES if "Block" in name))


def test_twins_in_pytorch_and_flax_have_the_same_paths():
    theirs = torch.nn.Sequential(
        torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, 16), torch.nn.Tanh(), torch.nn.Linear(16, 4)
    )
    rngs = nnx.Rngs(0)
    linears = [nnx.Linear(*sizes, rngs=rngs) for sizes in ((8, 16), (16, 16), (16, 4))]
    for ours, other in zip(linears, (theirs[0], theirs[2], theirs[4]), strict=True):
        ours.kernel[...] = jnp.asarray(other.weight.detach().numpy().T)
        ours.bias[...] = jnp.asarray(other.bias.detach().numpy())
    model = nnx.Sequential(linears[0], jnp.tanh, linears[1], jnp.tanh, linears[2])
    for verb in (record, record_gradients):
        a = verb(theirs, X, repeats=1, seed=3, modules=lambda name, module: isinstance(module, torch.nn.Linear))
        b = verb(model, X, repeats=1, seed=3, modules=lambda name, module: isinstance(module, nnx.Linear))
        np.testing.assert_allclose(a.log_norm, b.log_norm, atol=1e-5)
        np.testing.assert_allclose(a.log_gap, b.log_gap, atol=1e-4)
        # A tanh is a module there, and rounds, and a function here: floors agree up to the first, on the way there.
        if verb is record:
            np.testing.assert_allclose(a.log_gap_floor[:2], b.log_gap_floor[:2])


def test_tokens_of_linen_transformers():
    tokens = RANDOM.integers(0, 11, (4, 6))
    paths = record(Transformer(), tokens, repeats=2, per="token")
    assert paths.layer_names[0] == "Embed_0"
    assert {"LayerNorm_0", "MultiHeadDotProductAttention_0.out", "Dense_0"} <= set(paths.layer_names)
    assert paths.log_norm.shape[::2] == (8, 6)
    assert paths.names[:2] == ("token 0", "token 1")
    assert record(Transformer(), tokens, repeats=2).log_norm.shape[::2] == (2, 4)


def test_factories_of_linen_and_nnx():
    classes = record(NNXNetwork, X, repeats=2)
    functions = record(lambda rngs: NNXNetwork(rngs=rngs), X, repeats=2)
    np.testing.assert_array_equal(classes.log_norm, functions.log_norm)
    assert not (classes.log_norm[0, 1:] == classes.log_norm[1, 1:]).any()
    made = record(lambda: LinenNetwork(width=16), X, repeats=2)
    np.testing.assert_array_equal(made.log_norm, record(LinenNetwork(), X, repeats=2).log_norm)
    # More repeats leave the first ones as they were.
    np.testing.assert_array_equal(made.log_norm, record(LinenNetwork(), X, repeats=3).log_norm[:2])


def test_copies_are_redrawn():
    model = NNXNetwork(rngs=nnx.Rngs(5))
    arguments = read_arguments(X, 64)
    (_, own), (_, other) = networks(model, arguments, 2, 0, None)
    for a, b in zip(jax.tree.leaves(own.parameters), jax.tree.leaves(other.parameters), strict=True):
        np.testing.assert_array_equal(np.sort(abs(a), axis=None), np.sort(abs(b), axis=None))
    kernel = [network.parameters["first"]["kernel"][...] for network in (own, other)]
    assert (kernel[0] != kernel[1]).mean() > 0.9
    assert abs(kernel[0].sum() - kernel[1].sum()) > 1e-3


class Masked(nnx.Module):
    """Two layers with the same weights, a third of which are zero."""

    def __init__(self, *, rngs):
        kernel = jnp.where(jax.random.uniform(rngs.params(), (8, 8)) < 0.3, 0, jax.random.normal(rngs.params(), (8, 8)))
        self.layers = nnx.List([nnx.Linear(8, 8, rngs=rngs) for _ in range(2)])
        for layer in self.layers:
            layer.kernel[...] = kernel

    def __call__(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


def test_copies_keep_zeros_in_their_places_and_equal_layers_equal():
    model = Masked(rngs=nnx.Rngs(1))
    (_, own), (_, other) = networks(model, read_arguments(X, 64), 2, 0, None)
    before, after = ([layer["kernel"][...] for layer in n.parameters["layers"].values()] for n in (own, other))
    np.testing.assert_array_equal(after[0], after[1])
    np.testing.assert_array_equal(before[0] == 0, after[0] == 0)
    assert (before[0] != after[0]).sum() > 0.9 * (before[0] != 0).sum()


def test_copies_without_anything_to_redraw_are_told():
    model = nnx.Linear(8, 8, kernel_init=jax.nn.initializers.constant(0.5), rngs=nnx.Rngs(0))
    told = "a probed Linear, its own weights and 2 copies without anything to redraw"
    assert record(model, X, repeats=3).source == told


def test_initialize_draws_copies_of_nnx_models():
    def double(copy):
        copy.first.kernel[...] = 2 * copy.first.kernel[...]

    paths = record(NNXNetwork(rngs=nnx.Rngs(5)), X, repeats=2, initialize=double)
    np.testing.assert_allclose(paths.log_norm[1, 1] - paths.log_norm[0, 1], np.log(4), atol=1e-6)
    assert paths.source.endswith("its own weights and 1 copy initialized anew")


def test_layers_inside_transformations_are_told():
    model = Remat(rngs=nnx.Rngs(0))
    paths = record(model, X, repeats=2)
    assert paths.layer_names == ("input", "outside")
    assert paths.source.endswith("left out, running inside a transformation such as jit, scan or vmap: inside")
    with pytest.raises(InputError, match="the module inside runs inside a transformation"):
        record(model, X, modules=["inside"])
    assert record_gradients(model, X, repeats=1).layer_names == ("input", "outside")


def test_rounding_is_announced_in_the_model_s_precision():
    near = np.stack([X[0], X[0] * (1 + 1e-7 * RANDOM.standard_normal(8).astype(np.float32))])
    model = NNXNetwork(rngs=nnx.Rngs(5))
    with pytest.warns(RoundingWarning, match="enable_x64"):
        record(model, near, repeats=1, modules=["first"])
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), nnx.state(model, nnx.Param))
    nnx.update(model, half)
    paths = record(model, X, repeats=1, modules=["first"])
    # bfloat16 has eight bits: numbers are rounded by up to 2^-8 of themselves.
    assert paths.log_gap_floor[1] == pytest.approx(np.log(FLOOR * 2.0**-16))


def broken(model):
    raise ValueError("no such thing")


FIRST = LinenNetwork(blocks=1)
WRONG = [
    (lambda: record(FIRST, X[:, :0], repeats=1), "the module could not be initialized on the inputs, of shape (3, 0)"),
    (lambda: record(NNXNetwork(rngs=nnx.Rngs(0)), X[:, :5]), "of shape (3, 5) (in its module first: TypeError"),
    (lambda: record(lambda: NNXNetwork(rngs=nnx.Rngs(0)), X), "takes no rngs"),
    (
        lambda: record(lambda rngs: 3, X),
        "the factory returned an object of type int; give a function that returns a Flax module",
    ),
    (lambda: record(NNXNetwork, X, initialize=broken), "a factory was given; leave it out"),
    (lambda: record(NNXNetwork(rngs=nnx.Rngs(0)), X, initialize=broken), "failed (ValueError: no such thing)"),
    (lambda: record(NNXNetwork(rngs=nnx.Rngs(0)), X, initialize=lambda copy: None), "changed no parameter"),
    (lambda: record(FIRST, X, initialize=broken), "failed (ValueError: no such thing)"),
    (lambda: record(FIRST, X, initialize=lambda variables: None), "returned no variables of the module"),
    (lambda: record(FIRST, X, initialize=lambda variables: variables), "changed no parameter"),
    (
        lambda: record(FIRST, X, initialize=lambda v: jax.tree.map(lambda leaf: leaf * np.nan, v)),
        "the parameter BatchNorm_0.bias contains a NaN",
    ),
    (lambda: record(FIRST, X, modules=["Dense_7"]), "the model ran no module 'Dense_7'; it ran Dense_0,"),
    (lambda: record(FIRST, X, modules=[]), "modules= names no module"),
    (lambda: record(FIRST, X, modules=lambda name, module: False), "chooses none of what there is"),
    (lambda: record(FIRST, X * np.inf), "contain a NaN or an infinity"),
    (lambda: record(FIRST, "x"), "inputs of type str were given"),
    (lambda: record(FIRST, {"x": 3}), "hold no array with an axis"),
    (lambda: record(FIRST, np.array(["a", "b"])), "give real numbers"),
    (lambda: record(FIRST, []), "the iterable of batches that was given is empty"),
]


@pytest.mark.parametrize(("wrong", "told"), WRONG)
def test_errors_are_sentences(wrong, told):
    with pytest.raises(InputError, match=re.escape(told)):
        wrong()


@pytest.mark.skipif(np.dtype(np.longdouble).itemsize == 8, reason="long doubles are doubles on this machine")
@pytest.mark.parametrize("model", [FIRST, NNXNetwork])
def test_more_than_double_precision_is_refused(model):
    with pytest.raises(InputError, match="give double precision"):
        record(model, X.astype(np.longdouble))
    swapped = record(model, X.astype(">f4"), repeats=1)
    assert (swapped.log_gap == record(model, X.astype("f4"), repeats=1).log_gap).all()


def test_batches_of_any_library_are_collected():
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.from_numpy(X), torch.zeros(3)), 2)
    model = NNXNetwork(rngs=nnx.Rngs(5))
    paths = record(model, loader, repeats=1)
    assert paths.source.endswith(", first 3 inputs of 2 batches")
    np.testing.assert_array_equal(paths.log_norm, record(model, X, repeats=1).log_norm)
    np.testing.assert_array_equal(paths.log_norm, record(model, jnp.asarray(X), repeats=1).log_norm)
    assert record(model, [X], repeats=1, most=2).inputs == 2


def test_a_collapse_in_flax_is_diagnosed():
    relu = linen.Sequential([part for _ in range(30) for part in (linen.Dense(16, kernel_init=HE), linen.relu)])
    diagnosis = dl.diagnose(relu, X[:2], repeats=8, gradients=False)
    assert "rank-collapse" in [finding.name for finding in diagnosis.findings]


def test_the_command_gives_rngs_to_what_makes_an_nnx_module(tmp_path):
    np.save(tmp_path / "inputs.npy", X)
    words = ["probe", "flax_networks:NNXNetwork", "--inputs", str(tmp_path / "inputs.npy"), "--repeats", "2"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code in (0, UNHEALTHY), result.output
    assert result.stdout.startswith("a probed NNXNetwork, 2 made by a factory: ")
    helped = " ".join(CliRunner().invoke(main, ["probe", "--help"]).output.split())
    assert "It takes no arguments, or rngs where it makes a Flax NNX module." in helped
