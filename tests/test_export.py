"""Exported code runs by itself, and what it makes has the law of the exact networks."""

from functools import lru_cache
from math import sqrt
from typing import Any

import numpy as np
import pytest
from laws import SIGMAS, z_of_means, z_of_variances
from tiers import slow

import deeplim as dl
from deeplim.activations import NAMED_FUNCTIONS, Elementwise, Shaped, Transformed
from deeplim.architecture import NORM_PRESERVING, Network
from deeplim.errors import SpecError
from deeplim.shaping.export import jax_code, torch_code

START, FEATURES = 0.3, 5
SIZE = {"width": 16, "depth": 4}
TRANSFORMED = Transformed(function="tanh", input_scale=0.6, input_shift=0.5, output_scale=2.4, output_shift=-0.3)
NETWORKS = {
    "mlp": dl.MLP(**SIZE, activation=dl.LeakyReLU(slope=0.4), weight_variance=1.9),
    "transformed": dl.MLP(**SIZE, activation=TRANSFORMED),
    "resnet": dl.ResNet(**SIZE, branch="1.5/sqrt(depth)"),
    "kept": dl.ResNet(**SIZE, branch=0.5, skip=NORM_PRESERVING, activation=dl.ShapedReLU(c_plus=1, c_minus=-2)),
}


def inputs() -> np.ndarray:
    """Two inputs of mean square 1 at the correlation START."""
    x = np.zeros((2, FEATURES))
    x[0, 0], x[1, :2] = 1, (START, sqrt(1 - START**2))
    return x * sqrt(FEATURES)


def module(code: str) -> dict[str, Any]:
    made: dict[str, Any] = {"__name__": "exported"}
    exec(compile(code, "exported.py", "exec"), made)
    return made


def torch_features(network: Network, count: int) -> tuple[np.ndarray, np.ndarray]:
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(3)
    made, x = module(torch_code(network)), torch.tensor(inputs(), dtype=torch.float32)
    kept, ends = [], []
    with torch.no_grad():
        for _ in range(count):
            one = made["Network"](FEATURES, 2)
            kept.append(one.features(x).numpy())
            ends.append(one(x).numpy())
    return np.array(kept, dtype=float), np.array(ends, dtype=float)


@lru_cache
def jax_features(network: Network, count: int) -> tuple[np.ndarray, np.ndarray]:
    import jax

    made, x = module(jax_code(network)), inputs()

    def run(key: Any) -> Any:
        parameters = made["initialize"](key, FEATURES, 2)
        return made["features"](parameters, x), made["apply"](parameters, x)

    kept, ends = jax.jit(jax.vmap(run))(jax.random.split(jax.random.PRNGKey(3), count))
    return np.array(kept, dtype=float), np.array(ends, dtype=float)


def correlations(features: np.ndarray) -> np.ndarray:
    size = np.linalg.norm(features, axis=2)
    return np.arctanh(
        np.clip((features[:, 0] * features[:, 1]).sum(axis=1) / (size[:, 0] * size[:, 1]), -0.999999, 0.999999)
    )


@pytest.mark.parametrize(
    ("drawn", "count", "name"),
    [
        *((torch_features, 300, name) for name in NETWORKS),
        (jax_features, 1000, "mlp"),
        slow(jax_features, 1000, "kept"),
    ],
    ids=lambda value: value if isinstance(value, str) else getattr(value, "__name__", ""),
)
def test_exported_networks_have_the_law_of_exact_ones(drawn, count, name):
    network = NETWORKS[name]
    features, ends = drawn(network, count)
    paths = dl.simulate(network, dl.gram(correlation=START), networks=8000, seed=2, layers=[network.depth])
    exact = np.arctanh(np.clip(paths.correlation[:, 0, 0, 1], -0.999999, 0.999999))
    scale = 1 if network.kind == "resnet" else network.gain
    norms = np.log(scale * (features[:, 0] ** 2).mean(axis=1))
    for ours, theirs in ((exact, correlations(features)), (paths.log_norm[:, 0, 0], norms)):
        assert z_of_means(ours, theirs) < SIGMAS
        assert z_of_variances(ours, theirs) < SIGMAS
    # an output is a Gaussian of variance V_d, given the features
    squares = ends[:, 0, 0] ** 2 / np.exp(norms)
    assert abs(squares.mean() - 1) < SIGMAS * sqrt(2 / count)


def test_the_law_of_weights_a_little_larger_is_seen():
    # The control.
    network = NETWORKS["mlp"]
    features, _ = jax_features(network, 1000)
    other = network.model_copy(update={"weight_variance": 2.1})
    paths = dl.simulate(other, dl.gram(correlation=START), networks=8000, seed=2, layers=[network.depth])
    assert z_of_means(paths.log_norm[:, 0, 0], np.log(network.gain * (features[:, 0] ** 2).mean(axis=1))) > SIGMAS


def activations_by(network: Network, x: np.ndarray) -> list[np.ndarray]:
    """The exported activation of PyTorch and JAX, in double precision."""
    import jax
    import torch

    by_torch = module(torch_code(network))["activation"](torch.tensor(x)).numpy()
    with jax.enable_x64(True):
        return [by_torch, np.asarray(module(jax_code(network))["activation"](jax.numpy.asarray(x)))]


@pytest.mark.parametrize("name", NAMED_FUNCTIONS)
def test_every_named_function_is_written_right(name):
    x = np.linspace(-3, 3, 41)
    shaped = Shaped(function=name, a=0.3), Shaped(function=name, a=1, exponent=0)
    for activation in (Elementwise(function=name), *shaped, TRANSFORMED):
        network = dl.MLP(**SIZE, activation=activation)
        for found in activations_by(network, x):
            np.testing.assert_allclose(found, network.function(x), rtol=1e-14, atol=1e-14)


def written(activation: Any, code: Any = jax_code) -> str:
    """The exported expression of an activation."""
    return code(dl.MLP(**SIZE, activation=activation)).split("def activation(x):\n    return ")[1].splitlines()[0]


def test_constants_that_do_nothing_are_left_out_and_the_others_are_short():
    assert written(Shaped(function="tanh", a=1, exponent=0)) == "jnp.tanh(x)"
    assert written(Shaped(function="tanh", a=0.3), torch_code) == "1.2 * torch.tanh(x / 1.2)"
    assert written(Shaped(function="logistic", a=0.3)) == "4.8 * (jax.nn.sigmoid(x / 1.2) - 0.5)"
    assert written(Transformed(function="tanh")) == "jnp.tanh(x)"
    assert written(Transformed(function="sin", input_shift=-0.5, output_scale=3)) == "3 * jnp.sin(x - 0.5)"
    assert written(TRANSFORMED, torch_code) == "2.4 * (torch.tanh(0.6 * x + 0.5) - 0.3)"
    assert written(dl.ReLU(), torch_code) == "nn.functional.relu(x)"
    assert written(dl.ShapedReLU(c_plus=0.5, c_minus=0)) == "jnp.where(x > 0, 1.125 * x, x)"


def test_a_number_that_is_not_round_keeps_its_digits():
    """A factor of 1 + 2e-15 is no 1, and a shift of 1e-17 is no 0."""
    activation = Transformed(function="tanh", output_scale=1 + 2e-15, output_shift=1e-17)
    assert written(activation) == "1.000000000000002 * (jnp.tanh(x) + 1e-17)"


def test_slopes_are_written_right():
    x = np.linspace(-2, 2, 9)
    for activation in (dl.ReLU(), dl.LeakyReLU(slope=0.3), dl.ShapedReLU(c_plus=0.5, c_minus=-1)):
        network = dl.MLP(**SIZE, activation=activation)
        s_plus, s_minus = network.slopes
        for found in activations_by(network, x):
            np.testing.assert_allclose(found, np.where(x > 0, s_plus * x, s_minus * x), rtol=1e-14)


@pytest.mark.parametrize("write", [torch_code, jax_code])
def test_what_cannot_be_written_is_refused(write):
    with pytest.raises(SpecError, match="normalization"):
        write(dl.MLP(**SIZE, normalization="rmsnorm"))
    with pytest.raises(SpecError, match="biases"):
        write(dl.MLP(**SIZE, bias_variance=0.1))
    with pytest.raises(SpecError, match="numpy:arctan"):
        write(dl.MLP(**SIZE, activation=Elementwise(function="numpy:arctan")))
