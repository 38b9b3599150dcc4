"""PyTorch models that networks are applied to, the networks, and how a model is seen to be unchanged."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

import deeplim as dl

WIDTH, DEPTH = 16, 8
SHAPED = dl.ShapedReLU(c_plus=0, c_minus=-1)


def mlp(activation: Callable[[], nn.Module] = nn.ReLU, *, width: int = WIDTH, depth: int = DEPTH, **kinds: Any):
    layers: list[nn.Module] = [nn.Linear(6, width, **kinds), activation()]
    for _ in range(depth - 1):
        layers += [nn.Linear(width, width, **kinds), activation()]
    return nn.Sequential(*layers, nn.Linear(width, 3, **kinds))


class Block(nn.Module):
    """z + W phi(z), the sum in code."""

    def __init__(self, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.activation = activation
        self.linear = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.linear(self.activation(x) if self.activation is not None else functional.relu(x))


def resnet(block: Callable[[], nn.Module] = lambda: Block(nn.ReLU())) -> nn.Module:
    return nn.Sequential(nn.Linear(6, WIDTH), *(block() for _ in range(DEPTH)), nn.Linear(WIDTH, 3))


def as_mlp(**fields: Any) -> dl.MLP:
    return dl.MLP(**{"width": WIDTH, "depth": DEPTH, **fields})


def as_resnet(**fields: Any) -> dl.ResNet:
    return dl.ResNet(**{"width": WIDTH, "depth": DEPTH, **fields})


def made(make: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def numbers(parameter: nn.Parameter) -> Tensor:
    there = not isinstance(parameter, nn.parameter.UninitializedParameter) and not parameter.is_meta
    return parameter.detach().clone() if there else torch.empty(0)


def state_of(model: nn.Module) -> tuple[Any, ...]:
    """All that a failed call must leave: the modules themselves, their attributes, and every number."""
    modules = {name: (module, module.training, repr(module)) for name, module in model.named_modules()}
    parameters = {name: (value, numbers(value), value.requires_grad) for name, value in model.named_parameters()}
    return modules, parameters


def assert_unchanged(model: nn.Module, before: tuple[Any, ...]) -> None:
    modules, parameters = state_of(model)
    assert modules == before[0]
    assert parameters.keys() == before[1].keys()
    for name, (value, saved, gradient) in parameters.items():
        assert value is before[1][name][0]
        assert torch.equal(saved, before[1][name][1])
        assert gradient == before[1][name][2]


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(6, WIDTH), *(nn.Linear(WIDTH, WIDTH) for _ in range(DEPTH - 1))])

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = functional.relu(layer(x))
        return x
