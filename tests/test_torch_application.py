"""Networks applied to PyTorch models: what the reading gives back, the law of what is drawn, what stays."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from applied import DEPTH, SHAPED, WIDTH, Block, as_mlp, as_resnet, made, mlp, resnet
from laws import SIGMAS, z_of_mean, z_of_means, z_of_variances
from refusals import refused_as_input
from torch import Tensor, nn

import deeplim as dl
from deeplim.paths import Paths
from deeplim.probe import read_architecture, record
from deeplim.torch import ScaledLinear, ScaledResidual, ShapedActivation, ShapedReLU, TransformedActivation, apply_


def module_resnet() -> nn.Module:
    return resnet(lambda: ScaledResidual(nn.Sequential(nn.ReLU(), nn.Linear(WIDTH, WIDTH)), 1.0))


PAIRS: dict[str, tuple[Callable[[], nn.Module], Any]] = {
    "shaped relu": (mlp, as_mlp(activation=SHAPED)),
    "leaky": (mlp, as_mlp(activation=dl.LeakyReLU(slope=0.8), bias_variance=0.1)),
    "relu": (lambda: mlp(nn.Tanh), as_mlp(activation=dl.ReLU(), weight_variance=1.9)),
    "shaped tanh": (lambda: mlp(nn.Tanh), as_mlp(activation=dl.Shaped(function="tanh", a=1.2))),
    "shaped mish": (lambda: mlp(nn.Mish), as_mlp(activation=dl.Shaped(function="deeplim.functions:mish"))),
    "tanh": (mlp, as_mlp(activation=dl.Elementwise(function="tanh"))),
    "transformed": (
        lambda: mlp(nn.Softplus),
        as_mlp(activation=dl.Transformed(function="softplus", input_scale=0.5, output_scale=4, output_shift=-0.7)),
    ),
    "branches in code": (resnet, as_resnet(activation=SHAPED)),
    "branches of modules": (module_resnet, as_resnet(skip="norm-preserving", branch="1.5/sqrt(depth)")),
    "functional activation kept": (lambda: resnet(Block), as_resnet(branch="0.5/sqrt(depth)")),
}
every_pair = pytest.mark.parametrize(("make", "network"), PAIRS.values(), ids=PAIRS.keys())


def same_function(one: Any, other: Any) -> bool:
    x = np.linspace(-4, 4, 41)
    return np.allclose(one.phi(x), other.phi(x), rtol=1e-9, atol=1e-12)


@every_pair
def test_the_reading_gives_the_network_back(make: Callable[[], nn.Module], network: Any):
    model = made(make)
    before = read_architecture(model).network
    parameters = dict(model.named_parameters())
    changes = apply_(model, network, seed=1)
    assert changes
    reading = read_architecture(model)
    found = reading.network
    assert found is not None
    assert type(found) is type(network)
    assert same_function(found, network)
    pooled = [(weights.variance, weights.standard_error) for weights in reading.weights[1:]]
    error = np.sqrt(sum(error**2 for _, error in pooled)) / len(pooled)
    assert abs(np.mean([variance for variance, _ in pooled]) - network.gain) < SIGMAS * error
    assert all(weights.law == "gaussian" for weights in reading.weights)
    if isinstance(network, dl.ResNet):
        assert found.branch_scale == pytest.approx(network.branch_scale, rel=1e-6)
        assert found.skip_scale == pytest.approx(network.skip_scale, rel=1e-6)
    assert found.bias_variance == pytest.approx(network.bias_variance, rel=0.3)
    assert found != before  # the control
    assert {name: id(value) for name, value in model.named_parameters()} == {
        name: id(value) for name, value in parameters.items()
    }
    assert model.state_dict().keys() == make().state_dict().keys()


def draws(make: Callable[[], nn.Module], network: Any) -> Callable[[], nn.Module]:
    def factory() -> nn.Module:
        model = make()
        apply_(model, network)
        return model

    return factory


X = np.random.default_rng(7).standard_normal((2, 6))


def probed(factory: Callable[[], nn.Module], network: Any, repeats: int, seed: int) -> tuple[Paths, Any]:
    reading = read_architecture(made(factory))
    paths = reading.overlay(record(factory, torch.from_numpy(X).float(), repeats=repeats, seed=seed))
    return paths, reading.inputs(X)


@pytest.mark.parametrize("name", ["shaped relu", "shaped tanh", "branches in code", "branches of modules"])
@pytest.mark.slow
def test_the_probed_law_is_the_exact_chains(name: str):
    # 200 draws; 6 comparisons a network at 5 sigma: 24 of them raise a false alarm with probability 1.4e-5.
    make, network = PAIRS[name]
    paths, inputs = probed(draws(make, network), network, 200, seed=11)
    layers = [DEPTH // 2, DEPTH]
    exact = dl.simulate(network, inputs, networks=20_000, seed=12, layers=layers)
    at = [list(paths.time).index(layer) for layer in layers]
    for i, j in enumerate(at):
        first = paths.log_norm[:, j, 0], exact.log_norm[:, i, 0]
        gap = paths.log_gap[:, j, 0], exact.log_gap[:, i, 0]
        assert z_of_means(*first) < SIGMAS
        assert z_of_means(*gap) < SIGMAS
        assert z_of_variances(*gap) < SIGMAS
    # The control: the model as it was before has another law.
    before = made(make).double()
    control = read_architecture(before).overlay(record(before, torch.from_numpy(X), repeats=60, seed=13))
    pairs = (control.log_norm[:, -1, 0], exact.log_norm[:, -1, 0]), (control.log_gap[:, -1, 0], exact.log_gap[:, -1, 0])
    assert max(z_of_means(*pair) for pair in pairs) > SIGMAS


def test_drawn_weights_have_their_variances():
    model = made(lambda: mlp(width=80, depth=3))
    apply_(model, dl.MLP(width=80, depth=3, activation=SHAPED, bias_variance=0.2), seed=2)
    gain = dl.MLP(width=80, depth=3, activation=SHAPED).gain
    for index, variance in ((0, 1 / 6), (2, gain / 80), (4, gain / 80), (6, gain / 80)):
        entries = model[index].weight.detach().double().numpy().ravel()
        assert z_of_mean(entries, 0.0) < SIGMAS
        assert z_of_mean(entries**2, variance) < SIGMAS
        assert z_of_mean(entries**2, 1.5 * variance) > SIGMAS or len(entries) < 300  # the control
    biases = torch.cat([model[index].bias.detach() for index in (0, 2, 4)]).double().numpy()
    assert z_of_mean(biases**2, 0.2) < SIGMAS
    assert not model[6].bias.any()


def test_inputs_set_the_first_layers_scale():
    model = made(mlp)
    x = 100 * torch.from_numpy(X)
    apply_(model, as_mlp(activation=SHAPED), inputs=x, seed=3)
    unit = made(mlp)
    apply_(unit, as_mlp(activation=SHAPED), seed=3)
    scale = float(x.square().mean().sqrt())
    torch.testing.assert_close(model[0].weight, unit[0].weight / scale)
    torch.testing.assert_close(model[2].weight, unit[2].weight)


def test_seeds_name_the_draws():
    models = [made(mlp), made(mlp), made(mlp)]
    for model, seed in zip(models, (5, 5, 6), strict=True):
        apply_(model, as_mlp(activation=SHAPED), seed=seed)
    assert torch.equal(models[0][4].weight, models[1][4].weight)
    assert not torch.equal(models[0][4].weight, models[2][4].weight)
    for model in models[:2]:
        torch.manual_seed(8)
        apply_(model, as_mlp(activation=SHAPED))
    assert torch.equal(models[0][4].weight, models[1][4].weight)
    assert not torch.equal(models[0][4].weight, models[0][6].weight)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_type_mode_and_gradients_stay(dtype: torch.dtype):
    model = made(lambda: mlp(dtype=dtype)).eval()
    model[3].train()
    apply_(model, as_mlp(activation=SHAPED), seed=4)
    assert all(value.dtype == dtype and value.requires_grad for value in model.parameters())
    assert [module.training for module in model] == [index == 3 for index in range(len(model))]
    assert model(torch.ones(2, 6, dtype=dtype)).dtype == dtype
    single = made(mlp)
    apply_(single, as_mlp(activation=SHAPED), seed=4)
    if dtype != torch.float64:  # which has draws of its own
        assert torch.equal(model[4].weight, single[4].weight.to(dtype))


def test_one_activation_used_everywhere_is_replaced_everywhere():
    shared = nn.ReLU()
    model = made(lambda: mlp(lambda: shared))
    model.register_module("also", nn.Identity())
    handle = shared.register_forward_hook(lambda *_: calls.append(1))
    calls: list[int] = []
    changes = apply_(model, as_mlp(activation=SHAPED), seed=0)
    assert [change.what for change in changes].count("activation") == 1
    assert str(changes[0]) == "1: activation ReLU() -> ShapedReLU(s_plus=1, s_minus=0.75)"
    found = {id(model[index]) for index in range(1, 2 * DEPTH, 2)}
    assert len(found) == 1
    assert isinstance(model[1], ShapedReLU)
    calls.clear()
    model(torch.ones(1, 6))
    assert len(calls) == DEPTH  # its hooks went along
    handle.remove()


def test_heads_keep_what_they_are_given():
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = mlp()[:-1]
            self.left, self.right = nn.Linear(WIDTH, 40), nn.Linear(WIDTH, 41)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            z = self.body(x)
            return self.left(z), torch.sigmoid(self.right(z))

    model = made(Two)
    network = as_mlp(activation=SHAPED)
    changes = {change.module: change for change in apply_(model, network, seed=0)}
    for name in ("left.weight", "right.weight"):
        assert changes[name].after == f"{network.gain:.4g}"


def test_a_shaped_model_is_shaped_again():
    model = made(resnet)
    apply_(model, as_resnet(activation=SHAPED, branch=0.5), seed=0)
    assert isinstance(model[1].linear, ScaledLinear)
    apply_(model, as_resnet(activation=dl.LeakyReLU(slope=0.5), branch=0.1), seed=0)
    assert model[1].linear.scale == pytest.approx(0.1)
    assert model[1].activation.s_minus == 0.5
    smooth = made(lambda: mlp(nn.Mish))
    mish = "deeplim.functions:mish"
    apply_(smooth, as_mlp(activation=dl.Shaped(function=mish, a=0.5)), seed=0)
    assert isinstance(smooth[1], ShapedActivation)
    apply_(smooth, as_mlp(activation=dl.Shaped(function=mish, a=2)), seed=0)
    assert smooth[1].scale == pytest.approx(2 * WIDTH**0.5)


def test_compiled_models_see_the_change():
    model = made(mlp)
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="eager")
    x = torch.from_numpy(X).float()
    before = compiled(x)
    apply_(compiled, as_mlp(activation=SHAPED), seed=0)
    torch.testing.assert_close(compiled(x), model(x))
    assert not torch.allclose(compiled(x), before)


def test_a_shaped_model_trains_and_copies():
    model = made(resnet)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    apply_(model, as_resnet(activation=SHAPED), seed=0)
    x, twin = torch.from_numpy(X).float(), copy.deepcopy(model)
    loss = model(x).square().sum()
    loss.backward()
    optimizer.step()
    assert model(x).square().sum() < loss
    twin.load_state_dict(model.state_dict())
    torch.testing.assert_close(twin(x), model(x))


def test_smooth_functions_keep_a_word():
    model = made(lambda: mlp(nn.Tanh))
    apply_(model, as_mlp(activation=dl.Transformed(function="tanh", input_scale=0.5)), seed=0)
    assert isinstance(model[1], TransformedActivation)
    assert model[1].function == "tanh"


class Multiplied(nn.Module):
    """A model that multiplies its inputs by a constant first."""

    def __init__(self, body: nn.Module, factor: float) -> None:
        super().__init__()
        self.body, self.factor = body, factor

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self.factor * x)


@pytest.mark.parametrize("make", [mlp, resnet])
def test_a_constant_on_the_inputs_is_part_of_the_first_layer(make: Callable[[], nn.Module]):
    model = made(lambda: Multiplied(make(), 3.0))
    assert read_architecture(model).first_weight_variance == pytest.approx(
        9 * read_architecture(model.body).weights[0].variance, rel=0.3
    )
    apply_(model, as_mlp() if make is mlp else as_resnet(branch=0.5), seed=0)
    entries = model.body[0].weight.detach().double().numpy().ravel()
    assert z_of_mean(entries**2, 1 / 6 / 9) < SIGMAS
    assert "multiplied by 0" in refused_as_input(lambda: apply_(Multiplied(make(), 0.0), as_mlp()))
