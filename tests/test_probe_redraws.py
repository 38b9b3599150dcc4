"""Copies of PyTorch models whose weights are drawn again from their own entries: what changes, and what stays."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import deeplim as dl
from deeplim.probe.initializations import changed, networks, redraw

X = np.random.default_rng(0).standard_normal((6, 12))


def test_redrawing_keeps_the_sizes_of_every_parameters_entries_and_ties():
    model = nn.Sequential(nn.Embedding(9, 5), nn.LayerNorm(5), nn.Linear(5, 9), nn.Conv2d(3, 12, 3)).bfloat16()
    model[2].weight = model[0].weight
    model[3].to(memory_format=torch.channels_last)
    before = copy.deepcopy(model)
    for repeat, network in networks(model, 3, 0, None):
        assert (network is model) == (repeat == 0)
        assert network[2].weight is network[0].weight
        for (name, old), new in zip(before.named_parameters(), network.parameters(), strict=True):
            assert torch.equal(old.abs().flatten().sort().values, new.abs().flatten().sort().values), name
            moved = repeat > 0 and len(old.unique()) > 1
            assert torch.equal(old, new) != moved, name


@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.complex64])
def test_signs_are_drawn_anew_where_the_mean_is_zero_only(kind: torch.dtype):
    about_zero = nn.Linear(40, 40, dtype=kind)
    positive = copy.deepcopy(about_zero)
    few = nn.Linear(3, 1, bias=False, dtype=kind)
    slopes = nn.Linear(8, 1, bias=False, dtype=kind)  # as of attention that is biased by distance
    with torch.no_grad():
        positive.weight.copy_(torch.view_as_complex(torch.rand(40, 40, 2)) if kind.is_complex else torch.rand(40, 40))
        slopes.weight.copy_(2.0 ** -torch.arange(1.0, 9.0))
    for model, kept in ((about_zero, False), (positive, True), (few, True), (slopes, True)):
        before = model.weight.detach().clone()
        redraw(model, np.random.default_rng(0))
        change = (model.weight.detach().sum() - before.sum()).abs().item()
        assert (change < 1e-2 * before.abs().sum().item() / before.numel() * before.numel() ** 0.5) == kept


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.complex64, torch.int8])
def test_zeros_keep_their_places(kind: torch.dtype):
    table = nn.Embedding(30, 8, padding_idx=3)
    pruned = nn.Linear(20, 20)
    mask = torch.rand(20, 20, generator=torch.Generator().manual_seed(0)) < 0.3
    model = nn.ParameterList(
        nn.Parameter(numbers.mul(100).to(kind), requires_grad=False)
        for numbers in (table.weight.detach(), pruned.weight.detach() * mask, torch.zeros(5))
    )
    before = copy.deepcopy(model)
    redraw(model, np.random.default_rng(0))
    for old, new in zip(before, model, strict=True):
        assert torch.equal(old == 0, new == 0)
        assert torch.equal(old.abs().flatten().sort().values, new.abs().flatten().sort().values)
    assert (model[0][3] == 0).all()
    assert all((old != new)[old != 0].float().mean() > 0.8 for old, new in zip(before[:2], model[:2], strict=True))


@pytest.mark.parametrize("kind", [torch.float8_e4m3fn, torch.uint16, torch.bool, torch.float64, torch.complex128])
def test_every_type_and_shape_of_parameters_is_redrawn(kind: torch.dtype):
    shapes = [(9, 9), (), (0, 3), (3, 0), (2, 3, 4)]
    numbers = [torch.rand(shape, generator=torch.Generator().manual_seed(1)).mul(9) for shape in shapes]
    model = nn.ParameterList([nn.Parameter(part.to(kind), requires_grad=False) for part in numbers])
    other = copy.deepcopy(model)
    assert not changed(model, other)
    redraw(other, np.random.default_rng(0))
    assert changed(model, other) == (kind is not torch.bool)  # all of which but zeros are equal
    for one, two in zip(model, other, strict=True):
        one, two = (part.detach().to(torch.complex128).abs().flatten().sort().values for part in (one, two))
        assert torch.equal(one, two)


def test_layers_that_are_copies_of_each_other_stay_equal():
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)  # which copies the layer
    other = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    with torch.no_grad():  # the same up to its last number
        other.linear1.weight.copy_(layer.linear1.weight)
        other.linear1.weight[-1, -1] += 1
    model = nn.ModuleList([encoder, other])
    redraw(model, np.random.default_rng(0))
    first, second, third = encoder.layers
    for (name, one), two, three in zip(first.named_parameters(), second.parameters(), third.parameters(), strict=True):
        assert torch.equal(one, two), name
        assert torch.equal(one, three), name
        assert one is not two
    assert (first.linear1.weight != layer.linear1.weight).float().mean() > 0.9
    assert (first.linear1.weight != other.linear1.weight).float().mean() > 0.9
    assert not torch.equal(first.linear1.weight.flatten().sort().values, other.linear1.weight.flatten().sort().values)


@pytest.mark.parametrize("entries", [4, 12])
def test_the_sum_of_a_few_biases_is_that_of_random_signs(entries: int):
    """Of mean 0 and variance sum b^2, to 5 sigma of each; that of 3 biases stays."""
    biases, repeats = torch.linspace(-1, 0.9, entries, dtype=torch.float64), 1000
    sums = []
    for repeat in range(repeats):
        model = nn.ParameterList([nn.Parameter(biases.clone()), nn.Parameter(biases[:3].clone())])
        redraw(model, np.random.default_rng(repeat))
        sums.append(float(model[0].detach().sum()))
        assert float(model[1].detach().sum()) == pytest.approx(float(biases[:3].sum()))
    square, fourth = float((biases**2).sum()), float((biases**4).sum())
    assert abs(np.mean(sums)) < 5 * np.sqrt(square / repeats)
    # E s^4 = 3 (sum b^2)^2 - 2 sum b^4
    assert abs(np.mean(np.square(sums)) - square) < 5 * np.sqrt((2 * square**2 - 2 * fourth) / repeats)


class Buffered(nn.Module):
    """Weights that are no parameters, as a quantized model's are."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.randn(12, 5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.weight


def constant() -> nn.Linear:
    model = nn.Linear(12, 5)
    nn.init.constant_(model.weight, 0.5)
    nn.init.zeros_(model.bias)
    return model


@pytest.mark.filterwarnings("ignore::deeplim.probe.RoundingWarning")  # of constant weights: parallel but for rounding
@pytest.mark.parametrize("make", [Buffered, constant, nn.Tanh])
def test_copies_without_anything_to_redraw_are_told(make):
    model, x = make(), X.astype(np.float32)
    paths = dl.probe.record(model, x, repeats=3)
    assert paths.source.endswith(", its own weights and 2 copies without anything to redraw")
    assert paths.log_norm == pytest.approx(paths.log_norm[[0, 0, 0]], abs=1e-5)
    assert dl.probe.record(model, x, repeats=2).source.endswith("its own weights and 1 copy without anything to redraw")
    assert dl.probe.record(model, x, repeats=1).source.endswith(", its own weights")
    with_one = nn.Sequential(model, nn.Linear(12 if make is nn.Tanh else 5, 3))
    assert dl.probe.record(with_one, x, repeats=3).source.endswith("its own weights and 2 redrawn copies")
