"""The parts of models that are no deeplim network: linear maps, normalizations, and what is added to a stream."""

from typing import Any

import pytest
import torch
from probed import convolutional, transformer
from refusals import refused_as_input
from torch import nn

from deeplim.probe import Reading, read_architecture
from deeplim.probe.torch_anatomy import anatomy

pytestmark = pytest.mark.usefixtures("one_thread")
IDS = torch.randint(0, 50, (3, 16), generator=torch.Generator().manual_seed(0))
BLOCKS = ("h.0.attn", "h.0.mlp", "h.1.attn", "h.1.mlp")


class Added(nn.Module):
    """x + scale f(x), for two maps in f; in place, or with the scale a parameter."""

    def __init__(self, scale: float, *, tensor: bool = False, in_place: bool = False) -> None:
        super().__init__()
        self.f = nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 6))
        self.scale = nn.Parameter(torch.tensor(scale)) if tensor else scale
        self.in_place = in_place

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.in_place:
            y = x.clone()
            y += self.scale * self.f(x)
            return y
        return x + self.scale * self.f(x)


class Two(nn.Module):
    """A sum of two maps of one input, neither of them the other's: a skip with a map of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, x: torch.Tensor, other: torch.Tensor | None = None) -> torch.Tensor:
        return torch.relu(self.first(x) + self.second(x if other is None else other))


class Residual2d(nn.Module):
    """A convolutional residual block with a normalization that is no module of PyTorch's."""

    class ChannelNorm(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x / x.square().mean(1, keepdim=True).sqrt()

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.map = self.ChannelNorm(), nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.map(self.norm(x))


def read(model: Any, inputs: Any = None) -> Reading:
    reading = read_architecture(model, inputs=inputs)
    assert reading.network is None
    assert reading.why_not
    return reading


@pytest.mark.parametrize(
    "inputs", [IDS, {"input_ids": IDS}, {"input_ids": IDS, "attention_mask": torch.ones_like(IDS)}], ids=str
)
def test_a_transformer_has_its_branches_whatever_it_is_given(inputs: Any):
    reading = read(transformer("float32"), inputs)
    assert reading.branches == BLOCKS
    assert reading.zeroed == reading.convolutions == ()
    assert reading.normalizations == ("h.0.ln_1", "h.0.ln_2", "h.1.ln_1", "h.1.ln_2", "ln_f")
    assert reading.linears[:4] == ("h.0.attn.c_attn", "h.0.attn.c_proj", "h.0.mlp.c_fc", "h.0.mlp.c_proj")
    assert len(reading.linears) == 8


def test_without_inputs_that_it_takes_a_model_has_modules_only():
    reading = read(transformer("float32"))
    assert reading.branches == ()
    assert len(reading.normalizations) == 5


def test_convolutions_are_told_apart_from_other_maps():
    reading = read(convolutional(), torch.ones(2, 3, 8, 8))
    assert (reading.linears, reading.convolutions, reading.normalizations) == (("0", "5"), ("0",), ("1",))
    assert reading.branches == ()
    blocks = read(nn.Sequential(nn.Conv2d(1, 3, 1), Residual2d(), Residual2d()), torch.randn(2, 1, 5, 5))
    assert blocks.branches == ("1.map", "2.map")
    assert blocks.normalizations == ("1.norm", "2.norm")


@pytest.mark.parametrize("options", [{}, {"tensor": True}, {"in_place": True}], ids=str)
def test_branches_that_are_multiplied_by_zero_are_known(options: dict[str, bool]):
    model = nn.Sequential(nn.Linear(4, 6), Added(0.0, **options), Added(0.3, **options), Added(0.0, **options))
    reading = read(model)
    assert reading.branches == ("1.f", "2.f", "3.f")
    assert reading.zeroed == ("1.f", "3.f")


def test_a_sum_of_two_maps_has_no_branch_and_two_tensors_are_no_network():
    assert read(nn.Sequential(nn.Linear(4, 6), Two())).branches == ()
    x = torch.ones(2, 6)
    assert read(Two(), (x, x)).why_not == "the model takes 0, 1; deeplim's networks take one tensor."
    assert (
        read_architecture(nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 5)), inputs=(x,)).network is not None
    )
    assert "of type str were given" in refused_as_input(lambda: read_architecture(Two(), inputs="digits"))


def test_a_model_that_cannot_be_followed_has_its_modules_all_the_same():
    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.map = nn.Linear(6, 6)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + torch.from_numpy(self.map(x).detach().numpy())

    assert anatomy(Broken(), torch.ones(2, 6)).branches == ()
    assert anatomy(Broken(), torch.ones(2, 5)).linears == ("map",)
    assert anatomy(Broken(), object()).linears == ("map",)
