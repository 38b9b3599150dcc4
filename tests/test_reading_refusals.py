"""Models that no deeplim network describes: one sentence each, with the module and the reason."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from refusals import refused_as_input
from torch import nn
from torch.nn import functional as F
from torch_zoo import N_IN, Functional, Residual, Scaled, Slopes, draw, linear, resnet, stack

from deeplim.probe import read_architecture

W, D = 32, 4
LINEAR, LAYERNORM = partial(linear, W), partial(nn.LayerNorm, W)


pytestmark = pytest.mark.usefixtures("repeatable")


def why_not(model: Any) -> str:
    reading = read_architecture(model)
    assert reading.network is None
    sentence = str(reading.why_not)
    assert re.fullmatch(r"[^\n]{20,400}[^.]\.", sentence), sentence
    assert not re.search(r"\.\s", sentence), sentence
    return sentence


class Forward(nn.Module):
    """A stem and a readout around Python code on one Linear layer."""

    def __init__(self, code: Callable[[nn.Module, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.stem, self.hidden, self.readout = nn.Linear(N_IN, W), nn.Linear(W, W), nn.Linear(W, 2)
        self.code = code

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.readout(self.code(self.hidden, self.stem(x)))


class Shortcut(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.shortcut, self.linear = nn.Linear(W, W), nn.Linear(W, W)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.shortcut(x) + self.linear(F.relu(x))


def filled(model: nn.Sequential, at: int, fill: Callable[[torch.Tensor], Any], what: str = "weight") -> nn.Sequential:
    """The model with another weight or bias in one layer."""
    draw(model)
    with torch.no_grad():
        fill(getattr(model[at], what))
    return model


def tied() -> nn.Sequential:
    model = stack(W, D, nn.ReLU)
    model[4].weight = model[2].weight
    return model


def blocks(*parts: Any) -> nn.Sequential:
    return draw(nn.Sequential(nn.Linear(N_IN, W), *parts, nn.Linear(W, 2)))


def block(scale: float = 1.0, activation: Any = nn.ReLU) -> nn.Module:
    return Residual(activation(), LINEAR(), scale=scale)


RELU_STACK = partial(stack, W, D, nn.ReLU)
REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "convolution": (lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU()), "0 (Conv2d) is a convolution"),
    "attention": (lambda: nn.TransformerEncoderLayer(W, 4), "self_attn (MultiheadAttention) is attention"),
    "recurrent": (lambda: nn.Sequential(nn.Linear(N_IN, W), nn.LSTM(W, W)), "1 (LSTM) is recurrent"),
    "embedding": (lambda: nn.Sequential(nn.Embedding(9, W), nn.Linear(W, W)), "0 (Embedding) is an embedding"),
    "no weights": (nn.ReLU, "the model has no weight matrix"),
    "two arguments": (lambda: TwoArguments(), "could not be run on a batch of shape (2, 8) (TypeError: TwoArguments"),
    "not followed": (lambda: NewTensor(), "does not come from its input through functions of tensors"),
    "one layer": (lambda: nn.Sequential(nn.Linear(N_IN, 2)), "the model is one Linear layer"),
    "inputs first": (
        lambda: nn.Sequential(nn.LayerNorm(N_IN), *RELU_STACK()),
        "0 acts on the inputs before any Linear",
    ),
    "widths": (
        lambda: nn.Sequential(nn.Linear(N_IN, W), nn.ReLU(), nn.Linear(W, 20), nn.ReLU(), nn.Linear(20, 2)),
        "2 maps 32 numbers to 20 where 0 gives 32; deeplim's networks have one width",
    ),
    "tied": (tied, "2 and 4 share one weight matrix"),
    "runs twice": (
        lambda: Forward(lambda f, z: f(F.relu(f(F.relu(z)))).relu()),
        "hidden runs twice with one weight matrix",
    ),
    "weight norm": (
        lambda: nn.Sequential(
            *[nn.utils.parametrizations.weight_norm(m) if i == 2 else m for i, m in enumerate(RELU_STACK())]
        ),
        "the weights of 2 are computed from other parameters, as weight_norm does",
    ),
    "concatenation": (
        lambda: Forward(lambda f, z: torch.cat([f(z)[:, :16], z[:, :16]], 1)),
        "cat in the model's forward conc",
    ),
    "part": (lambda: Forward(lambda f, z: F.pad(f(z)[:, 1:], (1, 0)).relu()), "pad in the model's forward is no part"),
    "gate": (
        lambda: Forward(lambda f, z: z * torch.sigmoid(f(z))),
        "mul in the model's forward multiplies two signals",
    ),
    "softmax": (lambda: Forward(lambda f, z: f(z.softmax(-1)).relu()), "applies softmax to the signal"),
    "constant": (
        lambda: Forward(lambda f, z: f(4 * (torch.sigmoid(z) - 0.5)).relu()),
        "sub in the model's forward adds a con",
    ),
    "dropout always": (lambda: Forward(lambda f, z: f(F.dropout(z).relu())), "drops entries in evaluation mode too"),
    "unknown function": (
        lambda: stack(W, D, nn.Hardswish),
        "7 applies hardswish, which is no part of a deeplim network",
    ),
    "softplus beta": (lambda: stack(W, D, partial(nn.Softplus, 2.0)), "applies softplus"),
    "two activations": (lambda: stack(W, D, nn.ReLU, nn.Tanh), "1 and 2 stand before one Linear layer"),
    "two normalizations": (
        lambda: stack(W, D, LAYERNORM, nn.ReLU, LAYERNORM),
        "1 and 2 and 3 stand before one Linear layer",
    ),
    "another activation": (
        lambda: nn.Sequential(nn.Linear(N_IN, W), nn.ReLU(), nn.Linear(W, W), nn.Tanh(), nn.Linear(W, 2)),
        "2 is followed by tanh where 0 is by relu",
    ),
    "another normalization": (
        lambda: nn.Sequential(nn.Linear(N_IN, W), nn.ReLU(), nn.Linear(W, W), LAYERNORM(), nn.ReLU(), nn.Linear(W, 2)),
        "2 is followed by relu and layernorm before-activation where 0 is by relu",
    ),
    "trained normalization": (
        lambda: nn.Sequential(nn.Linear(N_IN, W), filled_norm(), nn.ReLU(), nn.Linear(W, 2)),
        "1 normalizes with weights and biases that are not at their initial 1 and 0",
    ),
    "scaled before tanh": (
        lambda: nn.Sequential(nn.Linear(N_IN, W), filled_norm(2.0), nn.Tanh(), nn.Linear(W, 2)),
        "1 is multiplied by 2 before tanh",
    ),
    "slopes beyond leaky": (lambda: stack(W, D, partial(nn.LeakyReLU, 1.5)), "slope = 1.5 is not allowed"),
    "shaped by itself": (lambda: stack(W, D, partial(Scaled, "tanh", 1e-9)), "it must be a number from 1e-6 to 1e6"),
    "slopes zero": (lambda: stack(W, D, partial(Slopes, 0.0, 0.0)), "mean square of shaped-relu"),
    "multiplied by zero": (lambda: Functional(W, D, lambda z: 0 * F.relu(z)), "is multiplied by 0, so nothing passes"),
    "zero weights": (lambda: filled(RELU_STACK(), 2, nn.init.zeros_), "the weights of 2 are all 0, so nothing passes"),
    "equal weights": (
        lambda: filled(RELU_STACK(), 2, nn.init.ones_),
        "the weights of 2 are all 1; deeplim's weights are drawn",
    ),
    "weights off centre": (lambda: filled(RELU_STACK(), 2, lambda w: w.add_(0.1)), "the weights of 2 have mean 0."),
    "equal biases": (
        lambda: filled(RELU_STACK(), 2, partial(nn.init.constant_, val=0.01), "bias"),
        "the biases of 2 are all 0.01",
    ),
    "odd layer": (
        lambda: filled(RELU_STACK(), 4, lambda w: w.mul_(2)),
        "the weights of 4 have variance times fan-in ",
    ),
    "odd biases": (lambda: filled(RELU_STACK(), 4, nn.init.normal_, "bias"), "the biases of 4 have variance "),
    "activation last": (lambda: resnet(W, D, LINEAR, nn.ReLU), "has relu after its Linear layer 1.branch.0, phi(W z)"),
    "two layers": (
        lambda: resnet(W, D, nn.ReLU, LINEAR, nn.ReLU, LINEAR),
        "has 2 Linear layers (1.branch.1 and 1.branch.3)",
    ),
    "no layer": (lambda: resnet(W, D, nn.ReLU), "has no Linear layer"),
    "two in a branch": (
        lambda: resnet(W, D, LAYERNORM, nn.ReLU, LINEAR, LAYERNORM),
        "the blocks have two normalizations",
    ),
    "shortcut": (lambda: blocks(Shortcut(), Shortcut()), "the skip of 2 passes through 2.shortcut"),
    "in place": (lambda: blocks(InPlace(), InPlace()), "the first block, 1, is given what 0 and 1.relu give"),
    "activation between": (lambda: blocks(block(), nn.ReLU(), block()), "2 stands between two blocks"),
    "stem": (
        lambda: nn.Sequential(nn.Linear(N_IN, W), nn.ReLU(), block(), nn.Linear(W, 2)),
        "is given what 0 and 1 give",
    ),
    "no stem": (lambda: nn.Sequential(block(), block()), "the first block, 0, is given the inputs themselves"),
    "odd scale": (lambda: blocks(block(), block(), block(0.5)), "3 multiplies its branch by 0.5 where 1 does by 1"),
    "odd activation": (lambda: blocks(block(), block(activation=nn.Tanh)), "2 is followed by tanh where 1 is by relu"),
    "nested sum": (
        lambda: Forward(lambda f, z: z + f(z + f(z).relu())),
        "adds two signals neither of which comes straight",
    ),
    "branch of another width": (
        lambda: blocks(Residual(nn.ReLU(), nn.Linear(W, 20), nn.Linear(20, W))),
        "has 2 Linear layers (1.branch.1 and 1.branch.2)",
    ),
}


class TwoArguments(nn.Linear):
    def __init__(self) -> None:
        super().__init__(N_IN, W)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return super().forward(x + y)


class NewTensor(nn.Linear):
    def __init__(self) -> None:
        super().__init__(N_IN, W)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ones(2, W)


class InPlace(nn.Module):
    """The activation is applied in place, to the skip as well."""

    def __init__(self) -> None:
        super().__init__()
        self.relu, self.linear = nn.ReLU(inplace=True), nn.Linear(W, W)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.linear(self.relu(x))


def filled_norm(weight: float | None = None) -> nn.LayerNorm:
    norm = nn.LayerNorm(W)
    nn.init.normal_(norm.weight) if weight is None else nn.init.constant_(norm.weight, weight)
    return norm


@pytest.mark.parametrize("name", REFUSED)
def test_why_no_network_describes_a_model(name: str):
    make, reason = REFUSED[name]
    assert reason in why_not(make())


def test_frozen_branches_beside_others_are_named():
    model = resnet(W, D, nn.ReLU, LINEAR)
    draw(model)
    nn.init.zeros_(model[3].branch[1].weight)
    assert "the weights of 3.branch.1 are all 0 where those of 1.branch.1 are not" in why_not(model)


def test_what_is_no_model_is_refused():
    assert "a list was given; give a torch.nn.Module or a function" in refused_as_input(lambda: read_architecture([1]))
    assert "returned an object of type int" in refused_as_input(lambda: read_architecture(lambda: 3))
    assert "could not make a model" in refused_as_input(lambda: read_architecture(lambda: 1 / 0))
    broken = filled(RELU_STACK(), 2, lambda w: w.mul_(float("nan")))
    assert "contains a NaN" in refused_as_input(lambda: read_architecture(broken))
    assert "the seed -1" in refused_as_input(lambda: read_architecture(RELU_STACK(), seed=-1))


def test_a_reading_without_a_network_overlays_nothing():
    reading = read_architecture(tied())
    assert "no deeplim network describes the model" in refused_as_input(lambda: reading.inputs(torch.ones(2, N_IN)))


def test_a_clamp_from_zero_up_is_relu_and_one_with_a_top_is_not() -> None:
    clamped, plain = (Forward(lambda f, z, phi=phi: phi(f(phi(z)))) for phi in (lambda x: x.clamp(min=0), torch.relu))
    clamped.load_state_dict(plain.state_dict())
    network = read_architecture(clamped).network
    assert network is not None
    assert network == read_architecture(plain).network
    assert "clamp" in why_not(Forward(lambda f, z: f(z.clamp(0, 6)).relu()))


def test_sentences_name_a_function_once() -> None:
    told = why_not(Forward(lambda f, z: f(torch.relu(z) * torch.randn_like(z)).relu()))
    assert told.count("randn_like") <= 1
    assert why_not(Forward(lambda f, z: f(torch.cumsum(z, 1)).relu())).count("cumsum") == 1
    assert "no Linear layer" in str(read_architecture(nn.Identity(), inputs=torch.ones(2, 4)).why_not)


def test_what_is_no_array_and_what_are_no_paths_is_said() -> None:
    reading = read_architecture(stack(W, D, nn.ReLU))
    assert "str was given" in refused_as_input(lambda: reading.inputs("words"))
    assert "int was given" in refused_as_input(lambda: reading.overlay(3))


def halved(z: torch.Tensor) -> torch.Tensor:
    z[:, : W // 2] = 0
    return torch.relu(z)


def one_row_doubled(z: torch.Tensor) -> torch.Tensor:
    z = torch.relu(z)
    z[0] = z[0] * 2
    return z


def through_data(z: torch.Tensor) -> torch.Tensor:
    z.data.mul_(0.1)
    return torch.relu(z)


def other_data(z: torch.Tensor) -> torch.Tensor:
    z.data = 0.1 * z.data
    return torch.relu(z)


def through_a_part(z: torch.Tensor) -> torch.Tensor:
    z[:, : W // 2].mul_(2)
    return torch.relu(z)


def through_the_transpose(z: torch.Tensor) -> torch.Tensor:
    z.t().relu_()
    return z


def into_a_buffer(z: torch.Tensor) -> torch.Tensor:
    buffer = torch.zeros(len(z), W)
    buffer[:] = z
    return torch.relu(buffer)


@pytest.mark.parametrize(
    "change",
    [halved, one_row_doubled, through_data, other_data, through_a_part, through_the_transpose, into_a_buffer],
)
def test_what_is_written_into_is_no_longer_what_it_was(change) -> None:
    assert read_architecture(Forward(lambda f, z: torch.relu(f(torch.relu(z))))).network is not None  # the control
    told = why_not(Forward(lambda f, z: change(f(torch.relu(z)))))
    assert "writes into" in told
    assert "the signal" in told


def relu_of_a_view(z: torch.Tensor) -> torch.Tensor:
    return z.view(-1).relu_().view(z.shape)


@pytest.mark.parametrize(
    "change",
    [torch.relu_, partial(nn.functional.relu, inplace=True), lambda z: z.clamp_(min=0), relu_of_a_view],
    ids=["relu_", "inplace", "clamp_", "of a view"],
)
def test_what_changes_the_signal_as_a_whole_is_read_as_what_it_gives(change) -> None:
    in_place, plain = (Forward(lambda f, z, phi=phi: phi(f(phi(z.clone())))) for phi in (change, torch.relu))
    in_place.load_state_dict(plain.state_dict())
    with torch.inference_mode():
        network = read_architecture(in_place).network
        assert network is not None
        assert network == read_architecture(plain).network
