"""Networks that are not applied to a PyTorch model: one sentence, and the model as it was."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from applied import DEPTH, SHAPED, WIDTH, Functional, as_mlp, as_resnet, assert_unchanged, made, mlp, resnet, state_of
from refusals import refusal, refused_as_input
from torch import Tensor, nn
from torch.nn import functional

import deeplim as dl
from deeplim.errors import DeeplimError, SpecError
from deeplim.torch import apply_, edits, shape_


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


def in_inference_mode() -> nn.Module:
    with torch.inference_mode():
        return mlp()


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
    "inference mode": (in_inference_mode, as_mlp(activation=SHAPED), "weight was made under torch.inference_mode()"),
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


def test_models_made_in_inference_mode_are_not_shaped_either():
    model = in_inference_mode()
    before = state_of(model)
    assert "inference_mode" in refused_as_input(lambda: shape_(model, dl.Target(correlation=0.5), seed=0))
    assert_unchanged(model, before)


def test_arguments_are_checked():
    assert "a function was given" in refused_as_input(lambda: apply_(mlp, as_mlp()))
    assert refused_as_input(lambda: apply_(None, as_mlp())).startswith("None was given; give a torch.nn.Module")
    assert refusal(lambda: shape_(mlp(), 3), SpecError).startswith("an int was given for a target")
    assert "seed" in refused_as_input(lambda: apply_(mlp(), as_mlp(), seed=-1))
    assert "a str was given" in refused_as_input(lambda: apply_(mlp(), "mlp"))
    zero = torch.zeros(2, 6)
    assert "not all 0" in refused_as_input(lambda: apply_(mlp(), as_mlp(), inputs=zero))


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        ({"x": torch.ones(2, 6)}, "could not be run on a batch of shape (2, 6)"),
        ((torch.ones(2, 6), torch.ones(2, 6)), "could not be run on a batch of shape (2, 6), (2, 6)"),
        ("digits", "inputs of type str were given"),
        (object(), "inputs of type object were given"),
    ],
    ids=["mapping", "tuple", "text", "object"],
)
def test_inputs_that_it_does_not_take_are_refused(inputs: Any, told: str):
    assert told in refused_as_input(lambda: apply_(mlp(), as_mlp(), inputs=inputs))
