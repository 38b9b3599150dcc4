"""A convolutional residual network on real digits, three ways: what its branches do to the signal, forward and back.

python examples/probe_conv_resnet.py [--quick] [--output FOLDER]

The network is defined below: a convolution, blocks of two convolutions with a relu before each, and a linear head on
the mean over positions. Plain, its blocks are added as they are; scaled, they are multiplied by depth^(-1/2) first
(Li & Nica 2023); normalized, each convolution has batch normalization before its relu (He et al. 2016). Needs PyTorch
and scikit-learn, whose digits (8 x 8 pixels) are the inputs, one of each class.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits

from deeplim.drawing import save
from deeplim.layer_figures import layer_figure
from deeplim.probe import record, record_gradients

CHANNELS = 32
KINDS = ("plain", "scaled", "normalized")


class Block(torch.nn.Module):
    """x + scale conv(relu(conv(relu(x)))), with batch normalization before each relu if wanted."""

    def __init__(self, scale: float, normalized: bool) -> None:
        super().__init__()
        layers: list[torch.nn.Module] = []
        for _ in range(2):
            layers += [torch.nn.BatchNorm2d(CHANNELS)] if normalized else []
            layers += [torch.nn.ReLU(), torch.nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False)]
        self.branch = torch.nn.Sequential(*layers)
        self.scale = scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the block's output, of the shape of its input."""
        return x + self.scale * self.branch(x)


class Network(torch.nn.Module):
    """A convolution, ``depth`` blocks, and a linear head on the mean over positions; weights as He et al. draw them."""

    def __init__(self, kind: str, depth: int) -> None:
        super().__init__()
        scale = depth**-0.5 if kind == "scaled" else 1.0
        self.stem = torch.nn.Conv2d(1, CHANNELS, 3, padding=1, bias=False)
        self.blocks = torch.nn.Sequential(*(Block(scale, kind == "normalized") for _ in range(depth)))
        self.head = torch.nn.Linear(CHANNELS, 10, bias=False)
        for module in self.modules():
            if isinstance(module, torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ten numbers for each image."""
        return self.head(self.blocks(self.stem(x)).mean(dim=(2, 3)))


def images() -> np.ndarray:
    """Return the first digit of each class, (10, 1, 8, 8), with mean square one."""
    digits = load_digits()
    first = [int(np.flatnonzero(digits.target == label)[0]) for label in range(10)]
    x = digits.images[first][:, None]
    return x / np.sqrt(np.mean(x**2))


def stream(name: str, module: torch.nn.Module) -> bool:
    """Whether a module's output is the stream that blocks add to."""
    return name == "stem" or isinstance(module, Block)


def main() -> None:
    """Probe the three networks forward and backward; print what was found, keep it, and write a figure of each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="4 blocks, three networks")
    parser.add_argument("--output", type=Path, default=Path(), metavar="FOLDER")
    given = parser.parse_args()
    depth, repeats = (4, 3) if given.quick else (32, 32)
    given.output.mkdir(parents=True, exist_ok=True)
    x = images()
    lines = [f"{depth} blocks, {repeats} networks, from the first convolution to the last block, means over networks"]
    for kind in KINDS:
        options = {"repeats": repeats, "seed": 1, "modules": stream}
        paths = record(lambda kind=kind: Network(kind, depth), x, **options)
        back = record_gradients(lambda kind=kind: Network(kind, depth), x, **options)
        rho = (1 - np.exp(paths.log_gap[:, 1:])).mean(axis=(0, 2))
        size, slope = (p.log_norm[:, 1:].mean(axis=(0, 2)) / np.log(10) for p in (paths, back))
        lines.append(
            f"{kind:>10}: rho {rho[0]:.3f} to {rho[-1]:.3f}; mean square times 10^{size[-1] - size[0]:.2f}; "
            f"gradients', last to first, times 10^{slope[0] - slope[-1]:.2f}"
        )
        title = f"Convolutional residual network, {kind}: {depth} blocks, {repeats} networks, 10 digits"
        save(layer_figure(paths, gradients=back, title=title), given.output / f"conv_resnet_{kind}.svg")
    text = "\n".join(lines)
    print(text)
    (given.output / "probe_conv_resnet.txt").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
