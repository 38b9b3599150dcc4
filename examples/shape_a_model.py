"""A deep MLP that loses its inputs and a ResNet, both shaped in place: python examples/shape_a_model.py."""

import torch
from torch import Tensor, nn

import deeplim as dl
from deeplim.probe import read_architecture, record
from deeplim.torch import shape_

WIDTH, DEPTH = 64, 30


def build_mlp() -> nn.Module:
    """Return a deep MLP as PyTorch initializes them."""
    hidden = [layer for _ in range(DEPTH - 1) for layer in (nn.Linear(WIDTH, WIDTH), nn.ReLU())]
    return nn.Sequential(nn.Linear(20, WIDTH), nn.ReLU(), *hidden, nn.Linear(WIDTH, 5)).double()


class Block(nn.Module):
    """x + W phi(x)."""

    def __init__(self) -> None:
        super().__init__()
        self.activation = nn.ReLU()
        self.linear = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum."""
        return x + self.linear(self.activation(x))


def build_resnet() -> nn.Module:
    """Return residual blocks whose sums stand in code."""
    return nn.Sequential(nn.Linear(20, WIDTH), *(Block() for _ in range(DEPTH)), nn.Linear(WIDTH, 5)).double()


def tell(model: nn.Module, x: Tensor, last: str) -> None:
    """Print what the last hidden layer keeps of two inputs, over thirty initializations."""
    rho = record(model, x, repeats=30, modules=[last]).correlation[:, :, 0, 1]
    print(f"  {read_architecture(model).network}")
    print(f"  correlation {rho[0, 0]:.3f} at the inputs, {rho[:, -1].mean():.6f} ± {rho[:, -1].std():.2g} at the end")


def main() -> None:
    """Shape both models and tell what changed."""
    torch.manual_seed(0)
    x = torch.randn(2, 20, dtype=torch.float64)
    target = dl.Target(correlation=0.9, quantile=0.8)
    for name, model, vary, last in (
        ("MLP", build_mlp(), "slope", str(2 * DEPTH - 1)),
        ("ResNet", build_resnet(), "branch", str(DEPTH)),
    ):
        print(f"{name}, as it was:")
        tell(model, x, last)
        changes = shape_(model, target, vary=vary, inputs=x, seed=0)
        print(f"{name}, shaped by {len(changes)} changes, the first: {changes[0]}")
        tell(model, x, last)


if __name__ == "__main__":
    main()
