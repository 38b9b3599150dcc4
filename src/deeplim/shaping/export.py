"""A network as code that needs nothing but its framework: plain PyTorch modules, or functions of plain JAX arrays.

Depth counts activations. In an MLP z_1 = W_in x, z_{l+1} = W_l phi(z_l) and the output is W_d phi(z_d), so that V_d is
the covariance of an output's entries; in a ResNet z_0 = W_in x, z_{l+1} = skip z_l + branch W_l phi(z_l) and the output
is read from z_d. Either way ``features`` are what the final correlation is of: phi(z_d), or z_d.
"""

from math import sqrt

import numpy as np

from deeplim.activations import NAMED_FUNCTIONS, Elementwise, Homogeneous, Transformed
from deeplim.architecture import Network, ResNet
from deeplim.errors import SpecError
from deeplim.loading import load_function
from deeplim.shaping.infinite_width import check_network
from deeplim.specs import number

_TORCH = {name: f"torch.{name}({{}})" for name in ("tanh", "sin", "erf")}
_TORCH |= {name: f"nn.functional.{name}({{}})" for name in ("softplus", "silu", "gelu", "relu", "leaky_relu")}
_TORCH |= {"logistic": "torch.sigmoid({})", "where": "torch.where"}
_JAX = {"tanh": "jnp.tanh({})", "sin": "jnp.sin({})", "erf": "jax.lax.erf({})", "logistic": "jax.nn.sigmoid({})"}
_JAX |= {name: f"jax.nn.{name}({{}})" for name in ("softplus", "silu", "relu", "leaky_relu")}
_JAX |= {"gelu": "jax.nn.gelu({}, approximate=False)", "where": "jnp.where"}
"""How each framework writes a function of {}."""

_TORCH_HEAD = '''"""{title}

Made by deeplim. Weights are drawn with standard deviation sigma_w / sqrt(fan_in), biases are zero.
"""

import math

import torch
from torch import nn

WIDTH, DEPTH = {width}, {depth}
SIGMA_W = {sigma!r}{scales}


{activation}


def linear(fan_in: int, fan_out: int, sigma: float = SIGMA_W) -> nn.Linear:
    layer = nn.Linear(fan_in, fan_out)
    nn.init.normal_(layer.weight, std=sigma / math.sqrt(fan_in))
    nn.init.zeros_(layer.bias)
    return layer
'''
_TORCH_MLP = """

class Network(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = linear(inputs, WIDTH, 1.0)
        self.hidden = nn.ModuleList(linear(WIDTH, WIDTH) for _ in range(DEPTH - 1))
        self.last = linear(WIDTH, outputs)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        h = activation(self.first(x))
        for layer in self.hidden:
            h = activation(layer(h))
        return h

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.features(x))
"""
_TORCH_RESNET = """

class Network(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = linear(inputs, WIDTH, 1.0)
        self.hidden = nn.ModuleList(linear(WIDTH, WIDTH) for _ in range(DEPTH))
        self.last = linear(WIDTH, outputs, 1.0)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        z = self.first(x)
        for layer in self.hidden:
            z = SKIP * z + BRANCH * layer(activation(z))
        return z

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.features(x))
"""
_JAX_HEAD = '''"""{title}

Made by deeplim. Weights are drawn with standard deviation sigma_w / sqrt(fan_in), biases are zero.
"""

import math

import jax
import jax.numpy as jnp

WIDTH, DEPTH = {width}, {depth}
SIGMA_W = {sigma!r}{scales}


{activation}


def linear(key, fan_in, fan_out, sigma=SIGMA_W):
    return {{"w": jax.random.normal(key, (fan_in, fan_out)) * (sigma / math.sqrt(fan_in)), "b": jnp.zeros(fan_out)}}


def affine(layer, x):
    return x @ layer["w"] + layer["b"]


def initialize(key, inputs, outputs):
    first, last, *keys = jax.random.split(key, {layers} + 2)
    return {{
        "first": linear(first, inputs, WIDTH, 1.0),
        "hidden": [linear(one, WIDTH, WIDTH) for one in keys],
        "last": linear(last, WIDTH, outputs{readout}),
    }}
'''
_JAX_MLP = """

def features(parameters, x):
    h = activation(affine(parameters["first"], x))
    for layer in parameters["hidden"]:
        h = activation(affine(layer, h))
    return h


def apply(parameters, x):
    return affine(parameters["last"], features(parameters, x))
"""
_JAX_RESNET = """

def features(parameters, x):
    z = affine(parameters["first"], x)
    for layer in parameters["hidden"]:
        z = SKIP * z + BRANCH * affine(layer, activation(z))
    return z


def apply(parameters, x):
    return affine(parameters["last"], features(parameters, x))
"""


def torch_code(network: Network) -> str:
    """Return a module that makes the network in PyTorch: Network(inputs, outputs), with ``features`` before its end.

    SpecError for a normalized network, one with biases, and a function that has no name here.
    """
    residual = isinstance(check_network(network), ResNet)
    return _TORCH_HEAD.format(**_parts(network, _TORCH)) + (_TORCH_RESNET if residual else _TORCH_MLP)


def jax_code(network: Network) -> str:
    """Return a module of functions of plain JAX: initialize(key, inputs, outputs), apply(parameters, x) and features.

    SpecError as for ``torch_code``.
    """
    residual = isinstance(check_network(network), ResNet)
    layers, readout = ("DEPTH", ", 1.0") if residual else ("DEPTH - 1", "")
    head = _JAX_HEAD.format(**_parts(network, _JAX), layers=layers, readout=readout)
    return head + (_JAX_RESNET if residual else _JAX_MLP)


def _parts(network: Network, names: dict[str, str]) -> dict[str, object]:
    """What the beginning of a module is filled with."""
    if network.normalization != "none" or network.bias_variance:
        raise SpecError(f"{network} is not exported: code is written for networks without normalization and biases.")
    scales = ""
    if isinstance(network, ResNet):
        scales = f"\nSKIP, BRANCH = {network.skip_scale!r}, {network.branch_scale!r}"
    return {
        "title": f"{network}.",
        "width": network.width,
        "depth": network.depth,
        "sigma": sqrt(network.gain),
        "scales": scales,
        "activation": f"def activation(x):\n    return {_activation(network, names)}",
    }


def _activation(network: Network, names: dict[str, str]) -> str:
    """phi(x) as an expression."""
    phi = network.activation
    if network.homogeneous or isinstance(phi, Homogeneous):
        s_plus, s_minus = network.slopes
        if s_plus == 1:
            return names["leaky_relu"].format(f"x, {number(s_minus)}") if s_minus else names["relu"].format("x")
        return f"{names['where']}(x > 0, {_times(s_plus, 'x')}, {_times(s_minus, 'x')})"
    if phi.vector_name is None:
        raise SpecError(f"{phi.name} is not exported: code is written for {', '.join(NAMED_FUNCTIONS)} and slopes.")
    function = names[phi.name]
    if isinstance(phi, Elementwise):
        return function.format("x")
    if isinstance(phi, Transformed):
        scale, shift, size, offset = phi.constants
        return _outside(size, function.format(_plus(_times(scale, "x"), shift)), offset)
    s = phi.scale(network.width, network.depth)
    at_zero = float(load_function(phi.function)(np.zeros(1))[0])
    inner = "x" if s == 1 else f"x / {number(s)}"
    return _outside(s / phi.slope, function.format(inner), -at_zero)


def _outside(size: float, function: str, offset: float) -> str:
    """size (function + offset); the size is shortened, as it moves every value by the same share and no other does."""
    factor, inside = _rounded(size), _plus(function, offset)
    return inside if factor == 1 else _times(factor, inside if offset == 0 else f"({inside})")


def _times(factor: float, term: str) -> str:
    return term if factor == 1 else f"{number(factor)} * {term}"


def _plus(term: str, constant: float) -> str:
    return term if constant == 0 else f"{term} {'-' if constant < 0 else '+'} {number(abs(constant))}"


def _rounded(factor: float) -> float:
    """The number of fewest digits within 1e-15 of a factor, relative: a slope at 0 is known no better."""
    rounded = (float(f"{factor:.{digits}g}") for digits in range(1, 18))
    return next(one for one in rounded if abs(one - factor) <= 1e-15 * abs(factor))
