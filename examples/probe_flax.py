"""Two Flax models, probed, predicted and repaired: a deep relu network in linen, and one in NNX.

python examples/probe_flax.py [--quick] [--output FOLDER]

Both have 60 layers of width 64, drawn by He's rule, and two inputs end nearly parallel in them, as exact networks of
the same width and depth predict. With the relu's slopes shaped at the rate of the width (Li, Nica & Roy 2022) they stay
apart. Needs JAX and Flax.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
from flax import linen, nnx

import deeplim as dl
from deeplim.drawing import save
from deeplim.jax import activation, initialize
from deeplim.layer_figures import layer_figure
from deeplim.paths import Paths
from deeplim.probe import record

WIDTH = 64
Function = Callable[[jax.Array], jax.Array]


class LinenActivation(linen.Module):
    """An activation as a module of its own, so that the probe sees what leaves it."""

    function: Function

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the activations."""
        return self.function(x)


class LinenNetwork(linen.Module):
    """``depth`` dense layers, each with its activation, and a head of ten numbers."""

    depth: int
    function: Function

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Return ten numbers for each input."""
        for _ in range(self.depth):
            x = LinenActivation(self.function)(linen.Dense(WIDTH)(x))
        return linen.Dense(10)(x)


class NNXActivation(nnx.Module):
    """The same in NNX."""

    def __init__(self, function: Function) -> None:
        self.function = function

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the activations."""
        return self.function(x)


class NNXNetwork(nnx.Module):
    """The same network in NNX."""

    def __init__(self, depth: int, function: Function, *, rngs: nnx.Rngs) -> None:
        self.layers = nnx.List([nnx.Linear(WIDTH, WIDTH, rngs=rngs) for _ in range(depth)])
        self.activations = nnx.List([NNXActivation(function) for _ in range(depth)])
        self.head = nnx.Linear(WIDTH, 10, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return ten numbers for each input."""
        for layer, function in zip(self.layers, self.activations, strict=True):
            x = function(layer(x))
        return self.head(x)


def drawn(network: dl.MLP) -> Callable[[dict], dict]:
    """Return what draws a linen module's variables anew at a network's scale."""

    def draw(variables: dict) -> dict:
        # The probe seeds NumPy's global numbers in every repeat, so that this is another key each time.
        key = jax.random.key(np.random.randint(2**31))  # noqa: NPY002
        return initialize(variables, network, key)[0]

    return draw


def made(network: dl.MLP) -> Callable[[nnx.Rngs], NNXNetwork]:
    """Return a factory of NNX models drawn at a network's scale."""

    def make(rngs: nnx.Rngs) -> NNXNetwork:
        model = NNXNetwork(network.depth, activation(network), rngs=rngs)
        state, _ = initialize(nnx.state(model, nnx.Param), network, rngs.params())
        nnx.update(model, state)
        return model

    return make


def predicted(network: dl.MLP, x: np.ndarray) -> Paths:
    """Return what the probe should see: exact networks of this width and depth, as mean squares of activations.

    The first layer's weights have the variance of all others, gain / fan-in, so that the covariance of its outputs is
    the gain times that of the inputs. The state of a layer is the gain times the mean square of its activations.
    """
    gain = network.gain
    exact = dl.simulate(network, dl.gram(np.sqrt(gain) * x), networks=2000, seed=2, layers=range(network.depth + 1))
    return replace(exact, log_norm=exact.log_norm - np.log(gain))


def main() -> None:
    """Probe both, unshaped and shaped, over what was predicted; print the ends, keep them, and write four figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="6 layers, four networks")
    parser.add_argument("--output", type=Path, default=Path(), metavar="FOLDER")
    given = parser.parse_args()
    depth, repeats = (6, 4) if given.quick else (60, 64)
    given.output.mkdir(parents=True, exist_ok=True)
    x = np.random.default_rng(0).standard_normal((2, WIDTH))
    relu = dl.MLP(width=WIDTH, depth=depth)
    shaped = dl.MLP(width=WIDTH, depth=depth, activation=dl.ShapedReLU(c_plus=0, c_minus=-1))
    lines = []
    for kind, network in {"relu": relu, "shaped": shaped}.items():
        function, expected = activation(network), predicted(network, x)
        activations = {"repeats": repeats, "modules": lambda name, module: "Activation" in type(module).__name__}
        linen_model = LinenNetwork(depth, function)
        found = {
            "linen": record(linen_model, x, initialize=drawn(network), **activations),
            "nnx": record(made(network), x, **activations),
        }
        start = 1 - np.exp(expected.log_gap[0, 0, 0])
        lines.append(f"{network}, inputs at correlation {start:.3f}: 1 - correlation at the end, median and 5-95%")
        for name, paths in ({"exact": expected} | found).items():
            low, middle, high = np.exp(np.quantile(paths.log_gap[paths.alive[:, -1], -1, 0], [0.05, 0.5, 0.95]))
            lines.append(f"{name:>6}: {middle:.4f} ({low:.4f} to {high:.4f}), {paths.samples} networks")
        for name, paths in found.items():
            title = f"{name}: {network}, {repeats} networks"
            save(layer_figure(paths, predicted=expected, title=title), given.output / f"flax_{name}_{kind}.svg")
    text = "\n".join(lines)
    print(text)
    (given.output / "probe_flax.txt").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
