"""Weights read off PyTorch models: their variances, the laws of their entries, and layers unlike the others."""

from functools import partial
from math import sqrt
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from scipy.special import fdtr, fdtrc
from torch import nn
from torch_zoo import N_IN, draw, linear, resnet, stack

import deeplim as dl
from deeplim.architecture import MLP, ResNet
from deeplim.inputs import gram
from deeplim.probe import read_architecture
from deeplim.probe.weights_law import freedoms, measure_entries, nearest, odd_one

W, D = 32, 4
SIZE: dict[str, Any] = {"width": W, "depth": D}
LINEAR = partial(linear, W)


pytestmark = pytest.mark.usefixtures("repeatable")


def variance_of(make: Any) -> tuple[float | None, float, str]:
    network = read_architecture(make).network
    assert network is not None
    return network.weight_variance, network.bias_variance, " ".join(read_architecture(make).notes)


def test_weights_that_agree_with_a_textbook_have_its_exact_variance():
    weight, bias, notes = variance_of(stack(W, D, nn.ReLU))
    assert (weight, bias) == (1 / 3, 1 / (3 * W))
    assert "PyTorch's default" in notes
    assert "biases are not Gaussian" in notes
    weight, bias, notes = variance_of(partial(draw, stack(W, D, nn.Tanh), 1.0))
    assert (weight, bias) == (1.0, 0.0)
    assert "LeCun's" in notes
    assert "critical would be 2.536" in notes
    weight, _, notes = variance_of(partial(draw, stack(W, D, nn.ReLU), 2.0))
    assert weight is None
    assert "the critical 2 (He's" in notes
    weight, bias, notes = variance_of(partial(draw, stack(W, D, nn.ReLU), 1.4, 0.3))
    assert weight == pytest.approx(1.4, rel=0.1)
    assert weight != 1.4
    assert bias == pytest.approx(0.3, rel=0.3)
    assert "no textbook value" in notes


def test_uniform_and_orthogonal_weights_are_told():
    def drawn(init: Any) -> Any:
        model = stack(W, D, nn.ReLU)
        for parameter in model.parameters():
            init(parameter) if parameter.ndim == 2 else nn.init.zeros_(parameter)
        return read_architecture(model)

    assert {w.law for w in drawn(nn.init.kaiming_normal_).weights} == {"gaussian"}
    assert {w.law for w in drawn(nn.init.kaiming_uniform_).weights} == {"uniform"}
    assert {w.law for w in drawn(lambda w: w.detach().copy_(torch.randn_like(w).sign())).weights} == {"other"}
    orthogonal = drawn(partial(nn.init.orthogonal_, gain=sqrt(2)))
    assert {w.law for w in orthogonal.weights} == {"orthogonal"}
    assert orthogonal.network == MLP(**SIZE)
    assert "orthogonal weights; deeplim's are independent" in orthogonal.notes[-1]


def test_frozen_branches_are_told():
    zeroed = draw(resnet(W, D, nn.ReLU, LINEAR))
    for block in list(zeroed)[1:-1]:
        nn.init.zeros_(block.branch[-1].weight)
    rezero = draw(resnet(W, D, nn.ReLU, LINEAR, scale=torch.zeros(1)))
    for model in (zeroed, rezero):
        reading = read_architecture(model)
        assert reading.network == ResNet(**SIZE, branch=0)
        assert "every residual branch is 0 at initialization" in reading.notes[-1]
    paths = dl.simulate(ResNet(**SIZE, branch=0), gram(correlation=0.3), networks=5)
    assert np.allclose(paths.log_norm, paths.log_norm[:, :1])


def test_standard_errors_of_variances_are_those_of_their_law():
    """Var of a mean of squares: 2/N for unit Gaussians, 4/5 / N for uniform ones of unit variance."""
    rng = np.random.default_rng(0)
    gaussian = measure_entries(rng.normal(size=(300, 300)))
    uniform = measure_entries(rng.uniform(-sqrt(3), sqrt(3), size=(300, 300)))
    assert gaussian.variance_error == pytest.approx(sqrt(2 / 90_000), rel=0.05)
    assert uniform.variance_error == pytest.approx(sqrt(0.8 / 90_000), rel=0.05)
    assert (gaussian.law, uniform.law) == ("gaussian", "uniform")


@pytest.mark.parametrize(("count", "draws", "allowed"), [(64, 2000, 0.04), (256, 1000, 0.01), (4096, 100, 0.01)])
def test_few_entries_are_not_taken_for_those_of_another_law(count: int, draws: int, allowed: float):
    """The kurtosis of 64 Gaussian entries is below 2.4, nearer to uniform ones', in one of eight cases."""
    rng = np.random.default_rng(0)
    gaussian, uniform = rng.normal(size=(draws, count)), rng.uniform(-1, 1, size=(draws, count))
    assert np.mean([measure_entries(some).law != "gaussian" for some in gaussian]) < allowed
    assert np.mean([measure_entries(some).law != "uniform" for some in uniform]) < allowed
    assert measure_entries(rng.laplace(size=count * 100)).law == "other"
    nearer = np.mean([measure_entries(some).kurtosis < 2.4 for some in gaussian])
    assert count > 64 or 0.1 < nearer < 0.2


def test_an_odd_layer_is_found_and_equal_ones_are_not():
    """Means of 16 squares, whose upper tail is no Gaussian's: each set of 50 alarms with probability 6e-5."""
    rng = np.random.default_rng(0)
    values = rng.chisquare(16, size=(500, 50)) / 16
    assert [odd_one(some.tolist(), [16.0] * 50) for some in values] == [None] * 500
    odd = [1.0] * 50
    odd[17] = 1.4
    assert odd_one(odd, [1000.0] * 50) == 17
    assert odd_one([0.0, 0.0], [9.0, 9.0]) is None
    assert odd_one([0.0, 1.0], [900.0, 900.0]) is not None
    assert freedoms([measure_entries(rng.normal(size=(100, 100)))]) == pytest.approx([10_000], rel=0.1)
    assert freedoms([measure_entries(rng.uniform(-1, 1, size=(100, 100)))]) == pytest.approx([25_000], rel=0.1)
    assert nearest(1.9, 0.05, (1.0, 2.0)) == 2.0
    assert nearest(1.7, 0.05, (1.0, 2.0)) is None


@pytest.mark.parametrize("freedom", [8.0, 16.0, 1000.0])
def test_two_layers_are_odd_as_rarely_as_is_said_however_few_their_entries(freedom: float):
    """The ratio of two equal means of squares has Fisher's F law: its tails beyond what alarms are at most 6.4e-5."""

    def last(sign: int) -> float:
        found = brentq(lambda log: (odd_one([np.exp(sign * log), 1.0], [freedom] * 2) is None) - 0.5, 0, 30, xtol=1e-6)
        return float(np.exp(found))

    chance = fdtrc(freedom, freedom, last(1)) + fdtr(freedom, freedom, 1 / last(-1))
    assert 1e-6 < chance < 6.4e-5
    assert odd_one([1.0, 1.0], [freedom] * 2) is None


def test_constants_on_the_inputs_are_the_first_layers():
    """W (x / 16) is a first layer of weights 256 times smaller in variance; x - x.mean() is no constant."""

    class Pixels(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(x / 16)

    for inner in (stack(W, D, nn.ReLU), resnet(W, D, nn.ReLU, LINEAR)):
        reading = read_architecture(draw(Pixels(inner), 2.0))
        assert reading.weights[0].variance == pytest.approx(
            inner[0].weight.square().mean().item() * N_IN / 256, rel=1e-6
        )
        assert reading.first_weight_variance == pytest.approx(reading.weights[0].variance)


@pytest.mark.slow
def test_fresh_models_are_hardly_ever_refused():
    """Each of three checks refuses a sound model with probability 6e-5, however many layers it has: 40 with 0.7%."""
    assert [read_architecture(stack(16, 40, nn.ReLU)).why_not for _ in range(40)] == [None] * 40
