"""Architectures read off PyTorch models: the network, and overlays equal to their definitions."""

from functools import partial
from math import sqrt
from typing import Any

import numpy as np
import pytest
import torch
from refusals import refused_as_input
from torch import nn
from torch.nn import functional as F
from torch_zoo import (
    N_IN,
    AfterSum,
    Functional,
    FunctionalResNet,
    Residual,
    Scaled,
    Slopes,
    draw,
    linear,
    resnet,
    stack,
)

import deeplim as dl
from deeplim.activations import Activation
from deeplim.architecture import MLP, Network, ResNet
from deeplim.inputs import gram
from deeplim.probe import observable, read_architecture, record

W, D = 32, 4
SIZE: dict[str, Any] = {"width": W, "depth": D}
LINEAR = partial(linear, W)
LAYERNORM, RMSNORM, BATCHNORM = (partial(norm, W) for norm in (nn.LayerNorm, nn.RMSNorm, nn.BatchNorm1d))
TWO = {"weight_variance": 2.0}
"""He's variance, where it is not the critical one."""
X = np.random.default_rng(1).normal(size=(3, N_IN))


pytestmark = pytest.mark.usefixtures("repeatable")


def function(name: str) -> Activation:
    return dl.Elementwise(function=name)


STACKS: dict[str, tuple[list[Any], Network]] = {
    "relu": ([nn.ReLU], MLP(**SIZE)),
    "relu in place": ([partial(nn.ReLU, inplace=True)], MLP(**SIZE)),
    "leaky": ([partial(nn.LeakyReLU, 0.2)], MLP(**SIZE, activation=dl.LeakyReLU(slope=0.2), **TWO)),
    "prelu": ([nn.PReLU], MLP(**SIZE, activation=dl.LeakyReLU(slope=0.25), **TWO)),
    "linear": ([], MLP(**SIZE, activation=dl.LeakyReLU(slope=1), **TWO)),
    "identity": ([nn.Identity], MLP(**SIZE, activation=dl.LeakyReLU(slope=1), **TWO)),
    "tanh": ([nn.Tanh], MLP(**SIZE, activation=function("tanh"), **TWO)),
    "sigmoid": ([nn.Sigmoid], MLP(**SIZE, activation=function("logistic"), **TWO)),
    "softplus": ([nn.Softplus], MLP(**SIZE, activation=function("softplus"), **TWO)),
    "silu": ([nn.SiLU], MLP(**SIZE, activation=function("silu"), **TWO)),
    "gelu": ([nn.GELU], MLP(**SIZE, activation=function("gelu"), **TWO)),
    "gelu tanh": (
        [partial(nn.GELU, approximate="tanh")],
        MLP(**SIZE, activation=function("deeplim.functions:gelu_tanh"), **TWO),
    ),
    "elu": ([nn.ELU], MLP(**SIZE, activation=function("deeplim.functions:elu"), **TWO)),
    "celu": ([nn.CELU], MLP(**SIZE, activation=function("deeplim.functions:elu"), **TWO)),
    "selu": ([nn.SELU], MLP(**SIZE, activation=function("deeplim.functions:selu"), **TWO)),
    "mish": ([nn.Mish], MLP(**SIZE, activation=function("deeplim.functions:mish"), **TWO)),
    "softsign": ([nn.Softsign], MLP(**SIZE, activation=function("deeplim.functions:softsign"), **TWO)),
    "slopes": (
        [partial(Slopes, 1 + 0.5 / sqrt(W), 1 - 1 / sqrt(W))],
        MLP(**SIZE, activation=dl.ShapedReLU(c_plus=0.5, c_minus=-1), **TWO),
    ),
    "shaped": (
        [partial(Scaled, "tanh", 1.2 * sqrt(W))],
        MLP(**SIZE, activation=dl.Shaped(function="tanh", a=1.2), **TWO),
    ),
    "dropout": ([nn.ReLU, partial(nn.Dropout, 0.3)], MLP(**SIZE)),
    "layernorm before": ([LAYERNORM, nn.ReLU], MLP(**SIZE, normalization="layernorm")),
    "rmsnorm before": ([RMSNORM, nn.ReLU], MLP(**SIZE, normalization="rmsnorm")),
    "batchnorm before": ([BATCHNORM, nn.ReLU], MLP(**SIZE, normalization="batchnorm")),
    "layernorm after": (
        [nn.ReLU, LAYERNORM],
        MLP(**SIZE, normalization="layernorm", placement="after-activation", **TWO),
    ),
    "normalization alone": (
        [LAYERNORM],
        MLP(**SIZE, normalization="layernorm", activation=dl.LeakyReLU(slope=1), **TWO),
    ),
}


@pytest.mark.parametrize("name", STACKS)
def test_stacks_are_read_as_mlps(name: str):
    between, network = STACKS[name]
    reading = read_architecture(partial(draw, stack(W, D, *between)))
    assert reading.why_not is None
    assert reading.network == network
    assert len(reading.layers) == D
    assert len(reading.weights) == D
    assert len(reading.linears) == D + 1
    assert not reading.functional


def test_nested_stacks_have_the_names_of_their_modules():
    model = draw(nn.Sequential(nn.Sequential(nn.Flatten(), stack(W, D, nn.Tanh)), nn.LogSoftmax(-1)))
    reading = read_architecture(model)
    assert reading.network == MLP(**SIZE, activation=function("tanh"), **TWO)
    assert reading.layers == reading.activations == ("0.1.1", "0.1.3", "0.1.5", "0.1.7")
    assert reading.linears == ("0.1.0", "0.1.2", "0.1.4", "0.1.6", "0.1.8")


RESNETS: dict[str, tuple[Any, Network]] = {
    "plain": (resnet(W, D, nn.ReLU, LINEAR), ResNet(**SIZE, branch=1)),
    "scaled": (resnet(W, D, nn.ReLU, LINEAR, scale=3 / sqrt(7)), ResNet(**SIZE, branch=3 / sqrt(7))),
    "by depth": (resnet(W, 3, nn.ReLU, LINEAR, scale=1 / sqrt(3)), ResNet(width=W, depth=3, branch="1/sqrt(depth)")),
    "norm-preserving": (
        resnet(W, D, nn.ReLU, LINEAR, skip=sqrt(0.7), scale=sqrt(0.3)),
        ResNet(**SIZE, skip="norm-preserving", branch=sqrt(0.3)),
    ),
    "parameters": (
        resnet(W, D, nn.ReLU, LINEAR, skip=torch.tensor(0.9), scale=torch.full((W,), 0.3)),
        ResNet(**SIZE, skip=0.9, branch=0.3),
    ),
    "linear branch": (resnet(W, D, LINEAR), ResNet(**SIZE, branch=1, activation=dl.LeakyReLU(slope=1), **TWO)),
    "before": (resnet(W, D, LAYERNORM, nn.ReLU, LINEAR), ResNet(**SIZE, branch=1, normalization="layernorm")),
    "after": (
        resnet(W, D, nn.ReLU, RMSNORM, LINEAR),
        ResNet(**SIZE, branch=1, normalization="rmsnorm", placement="after-activation", **TWO),
    ),
    "before sum": (
        resnet(W, D, nn.ReLU, LINEAR, BATCHNORM),
        ResNet(**SIZE, branch=1, normalization="batchnorm", placement="before-sum"),
    ),
    "after sum": (
        nn.Sequential(nn.Linear(N_IN, W), *(AfterSum(W, nn.LayerNorm) for _ in range(D)), nn.Linear(W, 2)),
        ResNet(**SIZE, branch=1, normalization="layernorm", placement="after-sum"),
    ),
    "end": (resnet(W, D, nn.ReLU, LINEAR, end=(LAYERNORM(), nn.ReLU())), ResNet(**SIZE, branch=1)),
    "dropout": (resnet(W, D, nn.ReLU, LINEAR, partial(nn.Dropout, 0.1)), ResNet(**SIZE, branch=1)),
    "functions": (FunctionalResNet(W, D, 0.5), ResNet(**SIZE, branch=0.5, activation=function("tanh"), **TWO)),
}


@pytest.mark.parametrize("name", RESNETS)
def test_residual_networks_are_read(name: str):
    model, network = RESNETS[name]
    reading = read_architecture(draw(model))
    assert reading.why_not is None
    assert reading.network == network
    assert len(reading.layers) == network.depth + 1
    assert len(reading.branches) == network.depth
    assert [state.layer for state in reading.states] == list(range(network.depth + 1))


def state_by_definition(model: nn.Sequential, weight: float, bias: float, x: torch.Tensor) -> list[np.ndarray]:
    """V_l of an MLP with one module between its Linear layers: sigma_w^2 <h, h>/n + sigma_b^2."""
    states = []
    for module in list(model)[:-1]:
        x = module(x)
        if not isinstance(module, nn.Linear):
            h = x.detach().numpy()
            states.append(weight * h @ h.T / h.shape[1] + bias)
    return states


def test_an_overlay_is_the_state_by_its_definition():
    model = draw(stack(W, D, nn.Tanh), 1.5, 0.2).double()
    reading = read_architecture(model)
    assert reading.network is not None
    found = reading.overlay(record(model, X, repeats=1))
    assert found.time.tolist() == [1, 2, 3, 4]
    assert (found.clock, found.width, found.depth) == ("layer", W, D)
    states = state_by_definition(model, reading.network.gain, reading.network.bias_variance, torch.tensor(X))
    np.testing.assert_allclose(found.covariance[0], states, rtol=1e-12)
    np.testing.assert_allclose(
        found.correlation_gap[0, -1], gram(covariance=states[-1]).gap[np.triu_indices(3, 1)], 1e-9
    )


def test_constants_in_python_code_count_as_weights():
    """1.3 phi(0.5 W x) is phi of half the weights, and 1.3 times the next ones, to which a state h belongs."""
    model = draw(Functional(W, D, lambda z: 1.3 * torch.tanh(0.5 * z)), 2.0, 0.2).double()
    reading = read_architecture(model)
    assert reading.network is not None
    raw = [layer.weight.detach().square().mean().item() * layer.in_features for layer in model.layers]
    assert [w.variance for w in reading.weights] == pytest.approx([0.25 * raw[0], *(0.65**2 * v for v in raw[1:])])
    assert reading.network.gain == pytest.approx(0.65**2 * np.mean(raw[1:]))
    seen = observable(model)
    found = reading.overlay(record(seen, X, repeats=1))
    h = torch.tanh(0.5 * model.layers[0](torch.tensor(X))).detach().numpy()
    state = reading.network.gain * h @ h.T / W + reading.network.bias_variance
    np.testing.assert_allclose(found.covariance[0, 0], state, rtol=1e-12)


def test_a_residual_overlay_is_the_mean_square_of_the_sums():
    model = draw(RESNETS["norm-preserving"][0]).double()
    reading = read_architecture(model)
    found = reading.overlay(record(model, X, repeats=1))
    z = torch.tensor(X)
    for layer, module in enumerate(list(model)[:-1]):
        z = module(z)
        np.testing.assert_allclose(found.covariance[0, layer], (z @ z.T / W).detach().numpy(), rtol=1e-12)


def test_inputs_have_the_covariance_of_the_first_preactivation():
    model = draw(stack(W, D, nn.ReLU), 1.0, 0.5)
    reading = read_architecture(model)
    w, b = reading.first_weight_variance, reading.first_bias_variance
    assert w == 1.0  # LeCun's
    assert b == pytest.approx(model[0].bias.square().mean().item())
    np.testing.assert_allclose(reading.inputs(X).covariance, w * X @ X.T / N_IN + b, rtol=1e-12)
    np.testing.assert_array_equal(reading.inputs(torch.tensor(X).reshape(3, 2, 4)).gap, reading.inputs(X).gap)
    assert "takes rows of 8" in refused_as_input(lambda: reading.inputs(X[:, 1:]))


def test_near_inputs_keep_their_gap_in_an_overlay():
    """s G + b at rho = 1 - 1e-12: equal norms make the gap s A / (s A + b) times as large, and no digit is lost."""
    from deeplim.probe.reading import handed_on

    log_norm, log_gap = np.log([[[2.0, 2.0]]]), np.log([[[1e-12]]])
    norm, gap = handed_on(log_norm, log_gap, 0.5, 0.25)
    assert norm.ravel() == pytest.approx(np.log([1.25, 1.25]), rel=1e-14)
    assert gap.item() == pytest.approx(np.log(1e-12 / 1.25), rel=1e-14)
    uneven, _ = np.exp(handed_on(np.log([[[2.0, 8.0]]]), np.log([[[0.3]]]), 0.5, 0.25)[1]).ravel(), None
    v = 0.5 * np.array([[2, 4 * 0.7], [4 * 0.7, 8]]) + 0.25
    assert uneven.item() == pytest.approx(1 - v[0, 1] / sqrt(v[0, 0] * v[1, 1]), rel=1e-13)


def test_overlaid_paths_compare_with_the_network():
    reading = read_architecture(draw(stack(W, D, nn.ReLU)))
    paths = record(partial(draw, stack(W, D, nn.ReLU)), X[:2], repeats=100, seed=3)
    comparison = dl.compare(reading.overlay(paths), dl.simulate(reading.network, reading.inputs(X[:2]), networks=2000))
    assert comparison.verdict != "the laws differ"


def test_functions_are_read_but_seen_only_in_an_observable_model():
    model = draw(Functional(W, D))
    reading = read_architecture(model)
    assert reading.network == MLP(**SIZE)
    assert reading.functional
    assert reading.layers == ("relu", "relu#2", "relu#3", "relu#4")
    message = refused_as_input(lambda: reading.overlay(record(model, X, repeats=1)))
    assert "record deeplim.probe.observable(model)" in message
    seen = observable(model)
    assert torch.equal(seen(torch.tensor(X, dtype=torch.float32)), model(torch.tensor(X, dtype=torch.float32)))
    paths = record(seen, X, repeats=2, seed=0)
    assert set(reading.layers) <= set(paths.layer_names or ())
    again = read_architecture(seen)
    assert (again.network, again.layers, again.functional) == (reading.network, reading.layers, False)
    assert reading.overlay(paths).time.tolist() == [1, 2, 3, 4]
    assert not hasattr(model, "relu")  # it is a copy that has modules more


def test_a_factory_of_observable_models():
    make = observable(lambda: draw(FunctionalResNet(W, D, 0.5)))
    reading = read_architecture(make)
    assert reading.overlay(record(make, X, repeats=3)).time.tolist() == [0, 1, 2, 3, 4]
    assert "give a torch.nn.Module or a function that makes one" in refused_as_input(lambda: observable(3))
    assert "has no weight matrix" in refused_as_input(lambda: observable(nn.ReLU()))


def test_one_activation_module_for_all_layers():
    model = Functional(W, D, nn.ReLU())
    reading = read_architecture(draw(model))
    assert reading.layers == ("activation", "activation#2", "activation#3", "activation#4")
    assert reading.activations == ("activation",)
    assert reading.overlay(record(model, X, repeats=1)).time.tolist() == [1, 2, 3, 4]


class ByMatrices(nn.Module):
    """Layers without nn.Linear: x @ W + b and F.linear, weights of unit variance over sqrt(n)."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.randn(N_IN, W))
        self.second = nn.Parameter(torch.randn(W, W))
        self.bias = nn.Parameter(0.3 * torch.randn(W))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(x @ self.first / sqrt(N_IN))
        return F.linear(x, self.second, None).div(sqrt(x.shape[-1])).add(self.bias).relu_()


def test_matrices_without_modules_are_read():
    reading = read_architecture(ByMatrices())
    assert isinstance(reading.network, MLP)
    assert (reading.network.width, reading.network.depth) == (W, 2)
    assert reading.first_weight_variance == 1.0


def test_inputs_of_its_own_help_a_model_that_takes_no_rows():
    class Images(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = stack(W, D, nn.ReLU)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            images, _, _, _ = x.shape
            return self.inner(x.reshape(images, -1))

    model = draw(Images())
    assert "could not be run on a batch of shape (2, 8)" in str(read_architecture(model).why_not)
    assert read_architecture(model, inputs=np.ones((5, 1, 2, 4))).network == MLP(**SIZE)


def test_reading_leaves_the_model_and_random_numbers_as_they_were():
    model = draw(stack(W, D, BATCHNORM, nn.ReLU, nn.Dropout))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    state, hooks = torch.random.get_rng_state(), len(model._forward_hooks)
    read_architecture(model)
    read_architecture(lambda: model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.random.get_rng_state(), state)
    assert len(model._forward_hooks) == hooks


def test_the_block_of_a_residual_network_may_be_scaled_as_a_whole():
    """c (z + f(z)) is c z + c f(z): the skip is c as well."""

    class Whole(Residual):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 0.5 * super().forward(x)

    model = draw(nn.Sequential(nn.Linear(N_IN, W), *(Whole(nn.ReLU(), LINEAR()) for _ in range(D)), nn.Linear(W, 2)))
    reading = read_architecture(model)
    assert reading.network == ResNet(**SIZE, skip=0.5, branch=0.5)
    found = reading.overlay(record(model.double(), X, repeats=1))
    z = model[1](model[0](torch.tensor(X)))
    np.testing.assert_allclose(found.covariance[0, 1], (z @ z.T / W).detach().numpy(), rtol=1e-12)
