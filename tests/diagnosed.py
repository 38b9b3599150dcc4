"""PyTorch models that are diagnosed: MLPs, and residual networks of one map a branch."""

from math import sqrt

import pytest

torch = pytest.importorskip("torch")


def linear(n_in, n_out, variance=2.0, bias=0.0):
    made = torch.nn.Linear(n_in, n_out)
    torch.nn.init.normal_(made.weight, std=sqrt(variance / n_in))
    torch.nn.init.constant_(made.bias, bias)
    return made


def mlp(width, depth, variance=2.0, activation=torch.nn.ReLU, n_in=24):
    layers = []
    for layer in range(depth):
        layers += [linear(width if layer else n_in, width, variance), activation()]
    return torch.nn.Sequential(*layers, linear(width, 10, 1.0))


class Block(torch.nn.Module):
    def __init__(self, width, scale, skip):
        super().__init__()
        self.linear, self.scale, self.skip = linear(width, width), scale, skip

    def forward(self, z):
        return self.skip * z + self.scale * self.linear(torch.relu(z))


def residual(depth, scale, width=64, skip=1.0):
    blocks = (Block(width, scale, skip) for _ in range(depth))
    return torch.nn.Sequential(linear(24, width, 1.0), *blocks, linear(width, 10))
