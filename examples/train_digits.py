"""Train a deep PyTorch network on digits twice: with ReLU as it is, and with the slope that deeplim finds for its size.

python examples/train_digits.py [--width 64] [--depth 50] [--steps 200]

Needs torch and scikit-learn; takes less than a minute on one core.
"""

import argparse
import itertools

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

import deeplim as dl

RATES = (0.001, 0.003, 0.01)
TARGET = dl.Target(correlation=0.9, quantile=0.5)
"""Half of all networks of this size shall take two inputs from correlation 0 to 0.9 or less."""


def network(width: int, depth: int, slope: float, seed: int) -> nn.Sequential:
    """Return ``depth`` hidden layers with leaky ReLU of this negative slope, critical weights and biases 0."""
    torch.manual_seed(seed)
    sizes = [64, *[width] * depth, 10]
    linears = [nn.Linear(m, n) for m, n in itertools.pairwise(sizes)]
    for at, linear in enumerate(linears):
        nn.init.kaiming_normal_(linear.weight, a=slope, nonlinearity="leaky_relu" if at else "linear")
        nn.init.zeros_(linear.bias)
    return nn.Sequential(linears[0], *(module for one in linears[1:] for module in (nn.LeakyReLU(slope), one)))


def train(model: nn.Module, x: torch.Tensor, y: torch.Tensor, rate: float, steps: int) -> None:
    """Train with momentum on batches of 64 images, the rate falling to 0."""
    optimizer = torch.optim.SGD(model.parameters(), rate, momentum=0.9)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 1e-6, total_iters=steps)
    for _ in range(steps):
        batch = torch.randint(len(x), (64,))
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
        optimizer.step()
        schedule.step()


@torch.no_grad()
def accuracy(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    """Return the share of images that are told right."""
    return (model(x).argmax(1) == y).double().mean().item()


def main(words: list[str] | None = None) -> dict[str, float]:
    """Train both networks, print and return the share of test images that each tells right."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("width", 64), ("depth", 50), ("steps", 200)):
        parser.add_argument(f"--{name}", type=int, default=value)
    given = parser.parse_args(words)

    images, labels = load_digits(return_X_y=True)
    x, y = torch.tensor(images, dtype=torch.float32), torch.tensor(labels)
    x, x_test, y, y_test = train_test_split(x, y, test_size=450, random_state=0, stratify=y)
    x, x_choice, y, y_choice = train_test_split(x, y, test_size=270, random_state=0, stratify=y)
    mean, deviation = x.mean(0), (x - x.mean(0)).std()
    x, x_choice, x_test = ((one - mean) / deviation for one in (x, x_choice, x_test))

    shaping = dl.shape(dl.MLP(width=given.width, depth=given.depth), TARGET)
    print(shaping, end="\n\n")

    found = {}
    for name, slope in (("ReLU", 0.0), ("shaped", shaping.value)):
        models = {rate: network(given.width, given.depth, slope, seed=0) for rate in RATES}
        for rate, model in models.items():
            train(model, x, y, rate, given.steps)
        best = max(RATES, key=lambda rate: accuracy(models[rate], x_choice, y_choice))
        found[name] = accuracy(models[best], x_test, y_test)
        print(f"{name}, negative slope {slope:.3g}: {found[name]:.1%} of the test images (rate {best:g} of {RATES})")
    return found


if __name__ == "__main__":
    main()
