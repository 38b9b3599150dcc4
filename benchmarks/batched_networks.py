"""Many networks of one specification trained at once: a batched matrix product over the runs, each with its own rate.

A small network keeps a core busy only in company. Every tensor has the run as its first axis, one product of PyTorch
(``torch.baddbmm``) does a layer of all runs, and the loss is the sum of theirs: each run's gradients are its own.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from deeplim.architecture import Network, ResNet

EPSILON = 1e-5
"""What the normalizations add to a variance, as PyTorch's do."""
OptimizerName = Literal["sgd", "adam"]
Step = Callable[[Sequence[Tensor], Tensor], None]
"""Moves the first runs of all parameters, given their gradients and rates (run, 1, 1)."""


@dataclass(frozen=True)
class Data:
    """Images (image, pixel) and their labels (image,)."""

    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Networks:
    """Networks of one specification with a readout: weights (run, fan_in, fan_out), biases (run, 1, fan_out)."""

    network: Network
    weights: list[Tensor]
    biases: list[Tensor]

    @property
    def parameters(self) -> list[Tensor]:
        """All tensors, in one order."""
        return [*self.weights, *self.biases]

    def first(self, runs: int) -> "Networks":
        """Return the first runs: the same numbers in memory, with gradients of their own."""
        weights, biases = (
            [one.detach()[:runs].requires_grad_() for one in many] for many in (self.weights, self.biases)
        )
        return Networks(self.network, weights, biases)


def shapes(network: Network, pixels: int, classes: int) -> list[tuple[int, int, float]]:
    """Return fan-in, fan-out and standard deviation of every weight matrix, from the pixels to the classes.

    The first keeps the mean square of the input. The others are those of ``deeplim.MLP`` and ``deeplim.ResNet``, whose
    last state, V_depth, is the covariance of the logits. A slope s_+ other than one is put into the weights.
    """
    n, residual = network.width, isinstance(network, ResNet)
    inner = network.slopes[0] * math.sqrt(network.gain / n)
    hidden = [(n, n, inner)] * (network.depth if residual else network.depth - 1)
    return [(pixels, n, math.sqrt(1 / pixels)), *hidden, (n, classes, math.sqrt(1 / n) if residual else inner)]


def initial(network: Network, pixels: int, classes: int, seeds: Sequence[int]) -> Networks:
    """Return one network a seed: Gaussian weights, biases 0. A seed gives all networks of a size the same normals."""
    layers, drawn = shapes(network, pixels, classes), {}
    for seed in set(seeds):
        stream = torch.Generator().manual_seed(seed)
        drawn[seed] = [deviation * torch.randn(m, n, generator=stream) for m, n, deviation in layers]
    weights = [torch.stack([drawn[seed][at] for seed in seeds]) for at in range(len(layers))]
    return Networks(network, weights, [torch.zeros(len(seeds), 1, n) for _, n, _ in layers])


def logits(networks: Networks, x: Tensor, *, statistics_from: int | None = None) -> Tensor:
    """Return the logits (run, image, class) of images (run or 1, image, pixel).

    statistics_from: BatchNorm takes its means and variances from that many images, the first; from all by default.
    """
    network, weights, biases = networks.network, networks.weights, networks.biases
    z = torch.baddbmm(biases[0], x.expand(len(weights[0]), *x.shape[1:]), weights[0])
    for weight, bias in zip(weights[1:-1], biases[1:-1], strict=True):
        new = torch.baddbmm(bias, _activated(network, z, statistics_from), weight)
        z = network.skip_scale * z + network.branch_scale * new if isinstance(network, ResNet) else new
    if not isinstance(network, ResNet):
        z = _activated(network, z, statistics_from)
    return torch.baddbmm(biases[-1], z, weights[-1])


def _activated(network: Network, z: Tensor, statistics_from: int | None) -> Tensor:
    s_plus, s_minus = network.slopes
    return functional.leaky_relu(_normalized(network, z, statistics_from), s_minus / s_plus)


def _normalized(network: Network, z: Tensor, statistics_from: int | None) -> Tensor:
    if network.normalization == "none":
        return z
    if network.placement != "before-activation":
        raise ValueError(f"{network}: only a normalization before the activation is trained here.")
    if network.normalization == "layernorm":
        return functional.layer_norm(z, z.shape[-1:], eps=EPSILON)
    if network.normalization == "rmsnorm":
        return functional.rms_norm(z, z.shape[-1:], eps=EPSILON)
    if statistics_from is None:
        # BatchNorm is LayerNorm across the images, and PyTorch's is one pass forward and one back.
        return functional.layer_norm(z.transpose(1, 2), z.shape[1:2], eps=EPSILON).transpose(1, 2)
    variance, mean = torch.var_mean(z[:, :statistics_from], dim=1, correction=0, keepdim=True)
    return (z - mean) * torch.rsqrt(variance + EPSILON)


def losses(found: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy (run,) of logits (run, image, class), for labels (image,) or (run, image)."""
    runs, images, classes = found.shape
    every = functional.cross_entropy(
        found.reshape(-1, classes), labels.expand(runs, images).reshape(-1), reduction="none"
    )
    return every.reshape(runs, images).mean(1)


def batches(images: int, size: int, steps: int, seed: int) -> Tensor:
    """Return the images of every step (step, image): a new order each epoch, without its last incomplete batch."""
    stream, whole = torch.Generator().manual_seed(seed), images // size
    epochs = [torch.randperm(images, generator=stream)[: whole * size] for _ in range(math.ceil(steps / whole))]
    return torch.cat(epochs).reshape(-1, size)[:steps]


def train(
    networks: Networks,
    data: Data,
    rates: Sequence[float],
    seeds: Sequence[int],
    *,
    steps: int,
    size: int,
    optimizer: OptimizerName,
) -> None:
    """Train each run at its own rate, which falls to 0 along a line, for ``steps`` batches of ``size`` images.

    The order of the images depends on the run's seed alone. A run that diverges ends with numbers that are not finite;
    diverged runs at the end of the row cost nothing more, so that ascending rates are best.
    """
    unlike = {seed: batches(len(data.images), size, steps, seed) for seed in set(seeds)}
    order = torch.stack([unlike[seed] for seed in seeds])
    pace = torch.tensor(rates, dtype=networks.weights[0].dtype).reshape(-1, 1, 1)
    step, live = OPTIMIZERS[optimizer](networks.parameters), len(seeds)
    # Signals that die on their way through a deep network become subnormal numbers, which take a hundred times as long.
    torch.set_flush_denormal(True)
    for at in range(steps):
        going, chosen = networks.first(live), order[:live, at]
        each = losses(logits(going, data.images[chosen]), data.labels[chosen])
        gradients = torch.autograd.grad(each.sum(), going.parameters)
        with torch.no_grad():
            step(gradients, pace[:live] * (1 - at / steps))
        finite = torch.isfinite(each).nonzero()
        live = int(finite.max()) + 1 if len(finite) else 0
        for one in networks.parameters:
            one[live : len(each)] = torch.nan
        if live == 0:
            break
    torch.set_flush_denormal(False)


def momentum(parameters: Sequence[Tensor], *, keep: float = 0.9) -> Step:
    """Return a step of stochastic gradient descent with momentum, as ``torch.optim.SGD`` makes it."""
    speeds = [torch.zeros_like(one) for one in parameters]

    def step(gradients: Sequence[Tensor], rate: Tensor) -> None:
        for one, speed, gradient in zip(_first(parameters, rate), _first(speeds, rate), gradients, strict=True):
            speed.mul_(keep).add_(gradient)
            one.addcmul_(speed, rate, value=-1)

    return step


def adam(parameters: Sequence[Tensor], *, first: float = 0.9, second: float = 0.999, tiny: float = 1e-8) -> Step:
    """Return a step of Adam (Kingma & Ba 2015), as ``torch.optim.Adam`` makes it."""
    means = [torch.zeros_like(one) for one in parameters]
    squares = [torch.zeros_like(one) for one in parameters]
    count = 0

    def step(gradients: Sequence[Tensor], rate: Tensor) -> None:
        nonlocal count
        count += 1
        root = math.sqrt(1 - second**count)
        pace = rate / (1 - first**count)
        going = (_first(many, rate) for many in (parameters, means, squares))
        for one, mean, square, gradient in zip(*going, gradients, strict=True):
            mean.lerp_(gradient, 1 - first)
            square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
            one.sub_(pace * mean / (square.sqrt().div_(root).add_(tiny)))

    return step


def _first(many: Sequence[Tensor], rate: Tensor) -> list[Tensor]:
    return [one[: len(rate)] for one in many]


OPTIMIZERS: dict[str, Callable[[Sequence[Tensor]], Step]] = {"sgd": momentum, "adam": adam}


@torch.no_grad()
def scores(networks: Networks, data: Data, fitted: Data) -> tuple[Tensor, Tensor]:
    """Return each run's loss and accuracy on some images; BatchNorm's statistics are those of the fitted ones.

    A run whose loss is not finite has an infinite loss and the accuracy of its guesses, none: 0.
    """
    # The fitted images go first, so that their statistics are found in the same pass.
    together = networks.network.normalization == "batchnorm"
    images = torch.cat([fitted.images, data.images]) if together else data.images
    known = len(fitted.images) if together else None
    found = logits(networks, images[None], statistics_from=known)[:, known or 0 :]
    loss = losses(found, data.labels)
    sound = torch.isfinite(loss)
    right = (found.argmax(-1) == data.labels).double().mean(1)
    return torch.where(sound, loss, math.inf), torch.where(sound, right, 0.0)
