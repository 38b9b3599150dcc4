"""Networks applied to PyTorch models: what the reading gives back, the law of what is drawn, and all or nothing."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from laws import SIGMAS, z_of_mean, z_of_means, z_of_variances
from refusals import refusal, refused_as_input
from torch import Tensor, nn
from torch.nn import functional

import deeplim as dl
from deeplim.errors import DeeplimError, SpecError
from deeplim.paths import Paths
from deeplim.probe import read_architecture, record
from deeplim.torch import (
    ScaledLinear,
    ScaledResidual,
    ShapedActivation,
    ShapedReLU,
    TransformedActivation,
    apply_,
    edits,
)

WIDTH, DEPTH = 16, 8
SHAPED = dl.ShapedReLU(c_plus=0, c_minus=-1)


def mlp(activation: Callable[[], nn.Module] = nn.ReLU, *, width: int = WIDTH, depth: int = DEPTH, **kinds: Any):
    layers: list[nn.Module] = [nn.Linear(6, width, **kinds), activation()]
    for _ in range(depth - 1):
        layers += [nn.Linear(width, width, **kinds), activation()]
    return nn.Sequential(*layers, nn.Linear(width, 3, **kinds))


class Block(nn.Module):
    """z + W phi(z), the sum in code."""

    def __init__(self, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.activation = activation
        self.linear = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.linear(self.activation(x) if self.activation is not None else functional.relu(x))


def resnet(block: Callable[[], nn.Module] = lambda: Block(nn.ReLU())) -> nn.Module:
    return nn.Sequential(nn.Linear(6, WIDTH), *(block() for _ in range(DEPTH)), nn.Linear(WIDTH, 3))


def module_resnet() -> nn.Module:
    return resnet(lambda: ScaledResidual(nn.Sequential(nn.ReLU(), nn.Linear(WIDTH, WIDTH)), 1.0))


def as_mlp(**fields: Any) -> dl.MLP:
    return dl.MLP(**{"width": WIDTH, "depth": DEPTH, **fields})


def as_resnet(**fields: Any) -> dl.ResNet:
    return dl.ResNet(**{"width": WIDTH, "depth": DEPTH, **fields})


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


def made(make: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def numbers(parameter: nn.Parameter) -> Tensor:
    there = not isinstance(parameter, nn.parameter.UninitializedParameter) and not parameter.is_meta
    return parameter.detach().clone() if there else torch.empty(0)


def state_of(model: nn.Module) -> tuple[Any, ...]:
    """All that a failed call must leave: the modules themselves, their attributes, and every number."""
    modules = {name: (module, module.training, repr(module)) for name, module in model.named_modules()}
    parameters = {name: (value, numbers(value), value.requires_grad) for name, value in model.named_parameters()}
    return modules, parameters


def assert_unchanged(model: nn.Module, before: tuple[Any, ...]) -> None:
    modules, parameters = state_of(model)
    assert modules == before[0]
    assert parameters.keys() == before[1].keys()
    for name, (value, saved, gradient) in parameters.items():
        assert value is before[1][name][0]
        assert torch.equal(saved, before[1][name][1])
        assert gradient == before[1][name][2]


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


@pytest.mark.parametrize("cause", ["replacement", "drawing", "check"])
def test_what_fails_in_the_middle_is_taken_back(cause: str, monkeypatch: pytest.MonkeyPatch):
    model = made(resnet)
    before = state_of(model)
    calls = 0

    def failing(original: Any) -> Any:
        def call(*args: Any) -> Any:
            nonlocal calls
            calls += 1
            made = original(*args)
            if calls < 5:
                return made

            def make() -> None:
                raise RuntimeError("out of memory")

            return make

        return call

    if cause == "check":
        from deeplim.torch import application

        def refuse(*_: Any) -> None:
            raise RuntimeError("out of memory")

        monkeypatch.setattr(application, "_check_taken", refuse)
    else:
        from deeplim.torch import application

        monkeypatch.setattr(application, cause, failing(getattr(edits, cause)))
    with pytest.raises(RuntimeError, match="out of memory"):
        apply_(model, as_resnet(activation=SHAPED), seed=0)
    assert_unchanged(model, before)


class Doubled(nn.Module):
    """An activation that does more than its name says."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(2 * x)


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(6, WIDTH), *(nn.Linear(WIDTH, WIDTH) for _ in range(DEPTH - 1))])

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = functional.relu(layer(x))
        return x


def frozen() -> nn.Module:
    model = mlp()
    model[6].weight.requires_grad_(False)
    return model


def lazy() -> nn.Module:
    model = mlp()
    model[0] = nn.LazyLinear(WIDTH)
    return model


def tied_head() -> nn.Module:
    model = mlp(width=6)
    model[-1] = nn.Linear(6, 6)
    model[-1].weight = model[0].weight
    return model


def weight_normed() -> nn.Module:
    model = mlp()
    nn.utils.parametrizations.weight_norm(model[4])
    return model


def without_biases() -> nn.Module:
    return mlp(bias=False)


def quantized() -> nn.Module:
    model = mlp()
    model[4].__class__ = type("Linear", (nn.Linear,), {"__module__": "torch.ao.nn.quantized.modules.linear"})
    return model


REFUSED: dict[str, tuple[Callable[[], nn.Module], Any, str]] = {
    "functional activations": (Functional, as_mlp(activation=SHAPED), "called in code"),
    "another width": (mlp, dl.MLP(width=WIDTH + 1, depth=DEPTH), f"width {WIDTH}"),
    "another depth": (mlp, dl.MLP(width=WIDTH, depth=DEPTH + 1), f"depth {DEPTH}"),
    "another kind": (mlp, as_resnet(), "kind 'mlp'"),
    "normalized": (mlp, as_mlp(normalization="rmsnorm"), "normalization 'none'"),
    "no network of deeplim's": (lambda: nn.Sequential(nn.Conv2d(3, 3, 3)), as_mlp(), "convolution"),
    "lazy": (lazy, as_mlp(activation=SHAPED), "has no shape yet"),
    "meta": (lambda: mlp(device="meta"), as_mlp(activation=SHAPED), "meta device"),
    "frozen": (frozen, as_mlp(activation=SHAPED), "6.weight is frozen"),
    "tied": (tied_head, dl.MLP(width=6, depth=DEPTH, activation=SHAPED), "share one weight matrix"),
    "computed weights": (weight_normed, as_mlp(activation=SHAPED), "computed from other parameters"),
    "no biases": (without_biases, as_mlp(bias_variance=0.1), "has no biases"),
    "quantized": (quantized, as_mlp(activation=SHAPED), "quantized"),
    "skip in code": (resnet, as_resnet(skip=0.5, branch=0.5), "skip connection in code"),
    "learned slope": (lambda: mlp(nn.PReLU), as_mlp(activation=SHAPED), "PReLU with parameters"),
    "code beside the activation": (lambda: mlp(Doubled), as_mlp(activation=SHAPED), "its own code"),
    "a function of arrays": (mlp, as_mlp(activation=dl.Elementwise(function="numpy:arctan")), "function of arrays"),
}


@pytest.mark.parametrize(("make", "network", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_refusals_are_sentences_and_change_nothing(make: Callable[[], nn.Module], network: Any, words: str):
    model = made(make)
    before = state_of(model)
    assert words in refusal(lambda: apply_(model, network, seed=0), DeeplimError)
    assert_unchanged(model, before)


def test_arguments_are_checked():
    assert "a function was given" in refused_as_input(lambda: apply_(mlp, as_mlp()))
    assert "seed" in refused_as_input(lambda: apply_(mlp(), as_mlp(), seed=-1))
    assert "a str was given" in refusal(lambda: apply_(mlp(), "mlp"), SpecError)
    zero = torch.zeros(2, 6)
    assert "not all 0" in refused_as_input(lambda: apply_(mlp(), as_mlp(), inputs=zero))


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


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        ({"x": torch.ones(2, 6)}, "could not be run on a batch of shape (2, 6)"),
        ((torch.ones(2, 6), torch.ones(2, 6)), "could not be run on a batch of shape (2, 6), (2, 6)"),
        ("digits", "inputs of type str were given"),
        (object(), "inputs of type object were given"),
    ],
    ids=str,
)
def test_inputs_that_it_does_not_take_are_refused(inputs: Any, told: str):
    assert told in refused_as_input(lambda: apply_(mlp(), as_mlp(), inputs=inputs))
