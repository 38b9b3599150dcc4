"""PyTorch models that the tests probe, and how what is found is held against activations captured by hand."""

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import nn

from deeplim.paths import Paths

torch.set_num_threads(1)


def mlp() -> nn.Module:
    """An MLP whose activations work in place, with dropout and a view."""
    return nn.Sequential(
        nn.Linear(12, 30),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5),
        nn.Linear(30, 20),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(20, 5),
    )


class Block(nn.Module):
    """A residual block."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(10)
        self.branch = nn.Linear(10, 10)
        self.shortcut = nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.shortcut(x) + 0.5 * torch.tanh(self.branch(self.norm(x)))


def residual() -> nn.Module:
    """Two residual blocks, run one after the other and then the first again."""
    return Residual(Block(), Block())


class Residual(nn.Module):
    """Blocks, of which one runs twice; a dict comes out."""

    def __init__(self, first: Block, second: Block) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"count": torch.tensor(3), "last": 2 * self.first(self.second(self.first(x)))}


def convolutional() -> nn.Module:
    """A convolutional network with batch statistics."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(8 * 9, 4)
    )


def transformer(kind: str = "float64") -> nn.Module:
    """A small GPT-2 with random weights."""
    from transformers import GPT2Config, GPT2Model

    ends = {"bos_token_id": 0, "eos_token_id": 0}
    config = GPT2Config(n_layer=2, n_embd=32, n_head=4, vocab_size=50, n_positions=24, **ends)
    return GPT2Model(config).to(getattr(torch, kind))


def slow_signals(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log mean squares, and gaps as half the squared distances of normalised rows."""
    rows = np.asarray(x, dtype=float).reshape(len(x), -1)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    gaps = [np.sum((unit[a] - unit[b]) ** 2) / 2 for a in range(len(x)) for b in range(a + 1, len(x))]
    return np.log(np.mean(rows**2, axis=1)), np.array(gaps)


def check(paths: Paths, sample: int, expected: Mapping[str, np.ndarray]) -> None:
    """Hold the layers of one sample against activations, one input a row."""
    for name, x in expected.items():
        assert paths.layer_names is not None
        layer = paths.layer_names.index(name)
        norms, gaps = slow_signals(x)
        assert paths.log_norm[sample, layer] == pytest.approx(norms, abs=1e-9), name
        assert np.exp(paths.log_gap[sample, layer]) == pytest.approx(gaps, rel=1e-8, abs=1e-14), name
