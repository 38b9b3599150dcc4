"""PyTorch models for the tests: stacks, Python forwards and residual blocks, drawn with Gaussian weights."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

N_IN, N_OUT = 8, 3
Make = Callable[[], nn.Module]


class Slopes(nn.Module):
    """An activation of two slopes, with the attributes of ``deeplim.torch.ShapedReLU``."""

    def __init__(self, s_plus: float, s_minus: float) -> None:
        super().__init__()
        self.s_plus, self.s_minus = s_plus, s_minus

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.s_plus * x.clamp(min=0) + self.s_minus * x.clamp(max=0)


class Scaled(nn.Module):
    """s phi(x / s) of a function normalised by hand, with the attributes of ``deeplim.torch.ShapedActivation``."""

    def __init__(self, function: str, scale: float) -> None:
        super().__init__()
        self.function, self.scale = function, scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scale * {"tanh": torch.tanh, "silu": lambda y: 2 * F.silu(y)}[self.function](x / self.scale)


class Residual(nn.Module):
    """skip x + scale branch(x)."""

    def __init__(self, *branch: nn.Module, skip: Any = 1.0, scale: Any = 1.0) -> None:
        super().__init__()
        self.branch = nn.Sequential(*branch)
        self.skip, self.scale = skip, scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.skip * x + self.scale * self.branch(x)


class Functional(nn.Module):
    """An MLP whose forward is Python code, with a check that depends on the input."""

    def __init__(self, width: int, depth: int, activation: Callable[[Any], Any] = F.relu) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(N_IN if i == 0 else width, width) for i in range(depth)])
        self.readout = nn.Linear(width, N_OUT)
        self.activation = activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert x.shape[0] > 0
        for layer in self.layers:
            x = self.activation(layer(x))
        return self.readout(x)


class AfterSum(nn.Module):
    """N(z + W phi(z)), with x.relu() in Python code."""

    def __init__(self, width: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(width, width), norm(width)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.norm(z + self.linear(z.relu()))


class FunctionalResNet(nn.Module):
    """z + scale W phi(z), all in one forward."""

    def __init__(self, width: int, depth: int, scale: float) -> None:
        super().__init__()
        self.stem, self.readout = nn.Linear(N_IN, width), nn.Linear(width, N_OUT)
        self.blocks = nn.ModuleList([nn.Linear(width, width) for _ in range(depth)])
        self.scale = scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = self.stem(x)
        for block in self.blocks:
            z = z + self.scale * block(torch.tanh(z))
        return self.readout(z)


def linear(width: int) -> nn.Linear:
    return nn.Linear(width, width)


def stack(width: int, depth: int, *between: Make) -> nn.Sequential:
    """An MLP with these modules after each hidden Linear layer, and a readout."""
    layers: list[nn.Module] = []
    for i in range(depth):
        layers += [nn.Linear(N_IN if i == 0 else width, width), *(make() for make in between)]
    return nn.Sequential(*layers, nn.Linear(width, N_OUT))


def resnet(width: int, depth: int, *branch: Make, end: tuple[nn.Module, ...] = (), **scales: Any) -> nn.Sequential:
    """A residual network with these modules in each branch."""
    blocks = [Residual(*(make() for make in branch), **scales) for _ in range(depth)]
    return nn.Sequential(nn.Linear(N_IN, width), *blocks, *end, nn.Linear(width, N_OUT))


def draw(model: Any, weight: float = 2.0, bias: float = 0.0) -> Any:
    """Draw matrices with variance weight / fan_in and Linear layers' biases with variance bias; return the model."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=(weight / module.in_features) ** 0.5)
            if module.bias is not None:
                nn.init.normal_(module.bias, std=bias**0.5) if bias else nn.init.zeros_(module.bias)
    return model
