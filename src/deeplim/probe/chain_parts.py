"""The parts of a chain of layers, read from a model's steps, and what deeplim's networks ask of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, NoReturn

from deeplim.probe.torch_activations import Key, homogeneous, spoken
from deeplim.probe.torch_steps import Step, Value

LINEAR: Key = ("leaky", 1.0)
"""The activation of layers that have none."""
_PLACES = {
    (): "before-activation",
    ("activation",): "before-activation",
    ("normalization",): "before-activation",
    ("normalization", "activation"): "before-activation",
    ("activation", "normalization"): "after-activation",
}


class NotDescribed(Exception):
    """Why no deeplim network describes the model, in one sentence."""


class Weights(NamedTuple):
    """A linear step, and the factors on its weights and on its biases that constants beside it amount to."""

    step: Step
    weight_factor: float = 1.0
    bias_factor: float = 1.0


@dataclass(frozen=True)
class Chain:
    """The parts of a model. ``states`` are what the chain's states are made of, by layer: each is value / factor.

    For an MLP layers 1 to depth, h_l without its weights; for a ResNet 0 to depth, z_l. ``last`` is what follows,
    ``branches`` the last step of each branch.
    """

    kind: Literal["mlp", "resnet"]
    width: int
    depth: int
    first: Weights
    hidden: tuple[Weights, ...]
    states: dict[int, Value]
    activation: Key
    normalization: str
    placement: str
    last: tuple[str, ...]
    branches: tuple[Step, ...] = ()
    skip: float = 1.0
    branch: float = 1.0


class Between(NamedTuple):
    """What a layer does between its state and the next weights.

    The state is a step's value divided by ``state.factor``; ``after`` is what multiplies it before the weights.
    """

    activation: Key
    normalization: str
    placement: str
    state: Value
    after: float

    def __str__(self) -> str:
        words = "" if self.normalization == "none" else f" and {self.normalization} {self.placement}"
        return f"{spoken(self.activation)}{words}"


def line_to(value: Value) -> tuple[list[Value], Value]:
    """Return the steps that lead to a value, one after the other, from the last sum or the input, and that."""
    line: list[Value] = []
    while value.step.kind in ("linear", "activation", "normalization"):
        line.append(value)
        value = value.step.of[0]
    return line[::-1], value


def refuse(sentence: str) -> NoReturn:
    """Raise NotDescribed."""
    raise NotDescribed(sentence)


def refuse_step(step: Step) -> NoReturn:
    """Refuse a step that no deeplim network has."""
    what = step.what if step.whole else str(step.what).replace(f"applies {step.function}, which ", "")
    refuse(f"{step.name} {what}; deeplim's networks are Linear layers, activations, normalizations and skips.")


def names_of(line: Sequence[Value]) -> str:
    """Return the names of steps, each once, in words."""
    return " and ".join(dict.fromkeys(value.step.name for value in line))


def read_between(line: Sequence[Value], at: Value) -> Between:
    """Read what stands between a value and the next weights; nothing is an activation that changes nothing."""
    kinds = tuple(value.step.kind for value in line)
    if kinds not in _PLACES:
        refuse(
            f"{names_of(line)} stand before one Linear layer; "
            "deeplim has one activation there and at most one normalization."
        )
    names = {value.step.kind: value.step.what for value in line}
    key, normalization = names.get("activation", LINEAR), names.get("normalization", "none")
    inner = line[0].factor if kinds == ("normalization", "activation") else 1.0
    if inner != 1 and not (homogeneous(key) and inner > 0):
        refuse(f"{line[0].step.name} is multiplied by {inner:g} before {spoken(key)}, which deeplim does not do.")
    if not line:
        return Between(key, normalization, _PLACES[kinds], Value(at.step, 1 / at.factor), 1.0)
    state, after = Value(line[-1].step, inner), inner * line[-1].factor
    return Between(key, normalization, _PLACES[kinds], state, after)


def check_alike(found: Sequence[Between], names: Sequence[str]) -> None:
    """Refuse layers that differ in their activation or normalization."""
    for between, name in zip(found, names, strict=True):
        if between[:3] != found[0][:3]:
            refuse(f"{name} is followed by {between} where {names[0]} is by {found[0]}; all of deeplim's are alike.")


def width_of(first: Step, hidden: Sequence[Step]) -> int:
    """Return the one width there is between hidden layers; refuse two, and weights that two layers share."""
    width, before = int(first.weight.shape[0]), first.name
    for step in hidden:
        n_out, n_in = (int(size) for size in step.weight.shape)
        if n_in != width or n_out != width:
            refuse(
                f"{step.name} maps {n_in} numbers to {n_out} where {before} gives {width}; "
                "deeplim's networks have one width throughout."
            )
        before = step.name
    _check_untied([first, *hidden])
    return width


def _check_untied(steps: Sequence[Step]) -> None:
    seen: dict[int, Step] = {}
    for step in steps:
        other = seen.setdefault(step.weight.data_ptr(), step)
        if other is not step:
            both = f"{other.name} and {step.name} share" if other.name != step.name else f"{step.name} runs twice with"
            refuse(f"{both} one weight matrix; the weights of deeplim's layers are independent.")
