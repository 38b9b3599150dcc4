"""One network on the digits: what deeplim predicts of it, the choice of its learning rate, and its final runs."""

import functools
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from batched_networks import Data, OptimizerName, initial, scores, train
from plain_networks import plain
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from training_evidence import CLASSES, STRAY

import deeplim as dl
from deeplim.architecture import Network
from deeplim.probe import record_gradients

Run = dict[str, Any]
Budget = dict[str, Any]
"""The keywords of ``train``: steps, size and optimizer."""


@dataclass(frozen=True)
class Settings:
    """The budget of a run, the grid of rates 10^(power / 2) from the first power to the last, and the seeds.

    The first tuning seeds go over the whole grid; the second ones try the best rate again, with its neighbours.
    """

    steps: int = 200
    images: int = 64
    optimizer: OptimizerName = "sgd"
    grid: tuple[int, int] = (-8, -1)
    further: int = 3
    tuning_seeds: tuple[int, ...] = (1000, 1001)
    confirming_seeds: tuple[int, ...] = (1002, 1003, 1004, 1005)
    seeds: tuple[int, ...] = tuple(range(8))

    @property
    def budget(self) -> dict[str, Any]:
        """What every run has in common."""
        return {"steps": self.steps, "size": self.images, "optimizer": self.optimizer}


@dataclass(frozen=True)
class Split:
    """The images for training, for the choice of a rate and for the test, and those that health is predicted for."""

    train: Data
    validation: Data
    test: Data
    probed: np.ndarray


def digits() -> Split:
    """Return the digits: 1,077 images for training, 270 for validation, 450 for the test, classes in equal parts.

    Each pixel less its mean over the training images, all over one standard deviation. Health is that of the first two
    training images of each class.
    """
    images, labels = load_digits(return_X_y=True)
    rest, test = train_test_split(np.arange(len(labels)), test_size=450, random_state=0, stratify=labels)
    fitted, validation = train_test_split(rest, test_size=270, random_state=0, stratify=labels[rest])
    images = images - images[fitted].mean(axis=0)
    images /= images[fitted].std()
    chosen = np.concatenate([fitted[labels[fitted] == digit][:2] for digit in range(CLASSES)])

    def part(which: np.ndarray) -> Data:
        return Data(torch.tensor(images[which], dtype=torch.float32), torch.tensor(labels[which]))

    return Split(part(fitted), part(validation), part(test), images[chosen])


def linear_accuracy(split: Split) -> float:
    """Return the share of test images that a linear classifier (logistic regression) tells right."""
    classifier = LogisticRegression(max_iter=5000).fit(split.train.images.numpy(), split.train.labels.numpy())
    return float(classifier.score(split.test.images.numpy(), split.test.labels.numpy()))


def trained(
    network: Network, split: Split, judged: Data, rates: list[float], seeds: list[int], budget: Budget
) -> list[Run]:
    """Return for each run its seed, rate and training loss, its loss and accuracy on the images judged, if it diverged.

    A loss that is not finite is None, and the accuracy then 0.
    """
    networks = initial(network, split.train.images.shape[1], CLASSES, seeds)
    train(networks, split.train, rates, seeds, **budget)
    fitted, _ = scores(networks, split.train, split.train)
    loss, accuracy = scores(networks, judged, split.train)
    return [
        {
            "seed": seed,
            "rate": rate,
            "training_loss": _finite(fitted[at].item()),
            "loss": _finite(loss[at].item()),
            "accuracy": accuracy[at].item(),
            "diverged": not fitted[at].item() <= STRAY,
        }
        for at, (seed, rate) in enumerate(zip(seeds, rates, strict=True))
    ]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def tuned(
    tried: Callable[[list[int], tuple[int, ...]], list[Run]], settings: Settings
) -> tuple[int, dict[int, list[Run]]]:
    """Return the best power of the rate, and the runs at every power that chose it.

    Best is the mean validation accuracy over the tuning seeds, among equals the validation loss. A best power at an
    edge of the grid moves that edge by one, ``settings.further`` times at most. The best is then tried again on more
    seeds with its two neighbours, and the best of the three over all seeds is taken: at the edge of stability two seeds
    do not show how many diverge. tried: powers and seeds to runs, seeds within powers.
    """
    runs: dict[int, list[Run]] = {}

    def add(powers: list[int], seeds: tuple[int, ...]) -> None:
        found = iter(tried(powers, seeds))
        for power in powers:
            runs.setdefault(power, []).extend(next(found) for _ in seeds)

    add(list(range(settings.grid[0], settings.grid[1] + 1)), settings.tuning_seeds)
    for _ in range(settings.further):
        best = max(runs, key=lambda power: _merit(runs[power]))
        if min(runs) < best < max(runs):
            break
        add([best - 1 if best == min(runs) else best + 1], settings.tuning_seeds)
    best = max(runs, key=lambda power: _merit(runs[power]))
    near = [power for power in (best - 1, best, best + 1) if power in runs]
    if settings.confirming_seeds:
        add(near, settings.confirming_seeds)
    return max(near, key=lambda power: _merit(runs[power])), dict(sorted(runs.items()))


def _merit(runs: list[Run]) -> tuple[float, float]:
    losses = [math.inf if run["loss"] is None else run["loss"] for run in runs]
    return float(np.mean([run["accuracy"] for run in runs])), -float(np.mean(losses))


def training(network: Network, split: Split, settings: Settings, kept: "Kept") -> dict[str, Any]:
    """Return the best rate, whether it lies at an edge of its grid, what chose it, and the final runs."""

    def done(part: str, powers: list[int], seeds: tuple[int, ...]) -> list[Run]:
        pairs = [(10 ** (power / 2), seed) for power in powers for seed in seeds]
        rates, each = [rate for rate, _ in pairs], [seed for _, seed in pairs]
        key = {"what": part, "network": json.loads(network.to_json()), "budget": settings.budget}
        judged: Data = getattr(split, part)
        return kept(
            key | {"rates": rates, "seeds": each},
            lambda: trained(network, split, judged, rates, each, settings.budget),
        )

    best, tuning = tuned(functools.partial(done, "validation"), settings)
    return {
        "rate": 10 ** (best / 2),
        "at_an_edge": best in (min(tuning), max(tuning)),
        "tuning": [
            {"rate": 10 ** (power / 2), "accuracies": [run["accuracy"] for run in runs]}
            for power, runs in tuning.items()
        ],
        "runs": done("test", [best], settings.seeds),
    }


def forward_health(network: Network, images: np.ndarray, networks: int) -> dict[str, float]:
    """Return what exact networks say of the signals of some images before a network is trained.

    gap: the median over networks and pairs of images of 1 - rho at the last layer. norm_deviation: the standard
    deviation over networks of log10 V^{aa} there, its mean over the images.
    """
    paths = dl.simulate(network, dl.gram(images), networks=networks, seed=0, layers=[network.depth], threads=1)
    return {
        "gap": float(np.exp(np.median(paths.log_gap[:, -1]))),
        "norm_deviation": float(np.mean(np.std(paths.log_norm[:, -1] / np.log(10), axis=0, ddof=1))),
    }


def backward_health(network: Network, images: np.ndarray, networks: int) -> dict[str, float]:
    """Return how the gradients of a random function of the logits change on their way to the first layer.

    gradient_drift: the median over networks and images of |log10 g_1 / g_d|, with g the root mean square gradient, at
    the first layer's preactivations and at what the readout reads.
    """

    def drawn() -> torch.nn.Module:
        return plain(initial(network, images.shape[1], CLASSES, [int(torch.randint(2**62, ()))]), 0)

    ends = ["0", str(len(drawn()) - 2)]
    paths = record_gradients(drawn, torch.tensor(images, dtype=torch.float32), repeats=networks, seed=0, modules=ends)
    first, last = (paths.log_norm[:, paths.layer_names.index(name)] for name in ends)
    return {"gradient_drift": float(np.median(np.abs(first - last))) / (2 * math.log(10))}


class Kept:
    """What was computed, a line of JSON each in a file, and found there again by its key."""

    def __init__(self, file: Path | None):
        self._file = file
        lines = file.read_text().splitlines() if file is not None and file.exists() else []
        read = [json.loads(line) for line in lines]
        self._known = {_word(one["key"]): one["found"] for one in read}

    def __call__(self, key: dict[str, Any], compute: Callable[[], Any]) -> Any:
        """Return what has this key, computed and written down when it is not there."""
        word = _word(key)
        if word not in self._known:
            self._known[word] = compute()
            if self._file is not None:
                self._file.parent.mkdir(parents=True, exist_ok=True)
                with self._file.open("a") as file:
                    file.write(json.dumps({"key": key, "found": self._known[word]}, allow_nan=False) + "\n")
        return self._known[word]


def _word(key: dict[str, Any]) -> str:
    return json.dumps(key, sort_keys=True)
