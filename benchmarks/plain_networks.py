"""The networks of batched_networks.py one at a time, as PyTorch modules: what the batched ones are checked against."""

import torch
from batched_networks import EPSILON, Networks
from torch import Tensor, nn

from deeplim.architecture import Network, ResNet


class Block(nn.Module):
    """A residual block, skip z + branch (W phi(N(z)) + b)."""

    def __init__(self, inner: nn.Module, skip: float, branch: float):
        super().__init__()
        self.inner, self.skip, self.branch = inner, skip, branch

    def forward(self, z: Tensor) -> Tensor:
        """Return the next layer's preactivations."""
        return self.skip * z + self.branch * self.inner(z)


def plain(networks: Networks, run: int) -> nn.Sequential:
    """Return one of the networks, with its weights and biases, its positive slope one."""
    network = networks.network
    linears = []
    for weight, bias in zip(networks.weights, networks.biases, strict=True):
        linear = nn.Linear(*weight.shape[1:], dtype=weight.dtype)
        with torch.no_grad():
            linear.weight.copy_(weight[run].T)
            linear.bias.copy_(bias[run, 0])
        linears.append(linear)
    first, *hidden, last = linears
    if isinstance(network, ResNet):
        skip, branch = network.skip_scale, network.branch_scale
        blocks = [Block(nn.Sequential(*_activation(network), one), skip, branch) for one in hidden]
        return nn.Sequential(first, *blocks, last)
    return nn.Sequential(first, *(module for one in [*hidden, last] for module in [*_activation(network), one]))


def _activation(network: Network) -> list[nn.Module]:
    s_plus, s_minus = network.slopes
    normalizations = {
        "none": lambda n: [],
        "layernorm": lambda n: [nn.LayerNorm(n, eps=EPSILON, elementwise_affine=False)],
        "rmsnorm": lambda n: [nn.RMSNorm(n, eps=EPSILON, elementwise_affine=False)],
        "batchnorm": lambda n: [nn.BatchNorm1d(n, eps=EPSILON, affine=False, track_running_stats=False)],
    }
    return [*normalizations[network.normalization](network.width), nn.LeakyReLU(s_minus / s_plus)]
