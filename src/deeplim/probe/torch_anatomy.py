"""What a PyTorch model is made of, a network of deeplim's or not: its linear maps, normalizations and branches."""

from statistics import median_low
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils.parametrize import ParametrizationList

from deeplim.errors import InputError
from deeplim.probe.chain_parts import NotDescribed
from deeplim.probe.torch_reading import outermost, trace_of
from deeplim.probe.torch_steps import Step, Trace, comes_from

_LINEAR = (nn.Linear, nn.Bilinear, _ConvNd)
_SIZES = ("out_features", "out_channels", "nf")
"""What modules of other libraries call the number of units that they make."""
_NORMALIZING = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.LocalResponseNorm, nn.RMSNorm)


class Anatomy(NamedTuple):
    """Modules by what they do, in the order of the model's tree.

    linears: linear maps, convolutions among them. branches: modules whose output is added to what they were given, in
    the order in which they run; zeroed: those that are multiplied by 0 before. width: the median number of units that
    linear maps make, channels of convolutions, the lower of two.
    """

    linears: tuple[str, ...] = ()
    convolutions: tuple[str, ...] = ()
    normalizations: tuple[str, ...] = ()
    branches: tuple[str, ...] = ()
    zeroed: tuple[str, ...] = ()
    width: int | None = None


def anatomy(model: nn.Module, inputs: Any = None) -> Anatomy:
    """Return the parts of a model; no branches where what it does to two of the inputs cannot be followed.

    inputs: as for ``read_architecture``.
    """
    made = {inner for one in model.modules() if isinstance(one, ParametrizationList) for inner in one.modules()}
    modules = [(name, module) for name, module in model.named_modules() if name and module not in made]
    try:
        branches = _branches(trace_of(model, inputs))
    except (InputError, NotDescribed):
        branches = {}
    units = {name: units for name, module in modules if (units := _units(module)) is not None}
    return Anatomy(
        linears=tuple(units),
        convolutions=tuple(name for name, module in modules if isinstance(module, _ConvNd)),
        normalizations=tuple(name for name, module in modules if _normalizes(module)),
        branches=tuple(branches),
        zeroed=tuple(name for name, factor in branches.items() if factor == 0),
        width=median_low(units.values()) if units else None,
    )


def _units(module: nn.Module) -> int | None:
    """How many units a linear map makes, or a module of another library's that has a matrix and is called one.

    None of other modules. No attribute is looked up that may be computed: a spectral norm's weight changes its buffers.
    """
    if isinstance(module, _LINEAR):
        return int(module.out_channels if isinstance(module, _ConvNd) else module.out_features)
    weight = _stored_weight(module)
    named = type(module).__name__.removeprefix("Parametrized").lower()
    called = named.startswith(("linear", "conv", "dense"))
    if not called or not _is_leaf(module) or weight is None or weight.ndim < 2:
        return None
    told = next((module.__dict__[name] for name in _SIZES if isinstance(module.__dict__.get(name), int)), None)
    return int(weight.shape[0]) if told is None else told


def _stored_weight(module: nn.Module) -> torch.Tensor | None:
    """A module's weight, or a matrix that it is computed from, which has as many rows in weight and spectral norms."""
    original = module._modules.get("parametrizations")
    made_from = None if original is None else original._modules.get("weight")
    if isinstance(made_from, ParametrizationList):
        return next((one for one in made_from._parameters.values() if one is not None and one.ndim > 1), None)
    held = (*module._parameters.items(), *module.__dict__.items())
    return next((one for name, one in held if name == "weight" and isinstance(one, torch.Tensor)), None)


def _is_leaf(module: nn.Module) -> bool:
    return not any(name != "parametrizations" for name, _ in module.named_children())


def _normalizes(module: nn.Module) -> bool:
    named = _is_leaf(module) and type(module).__name__.lower().endswith("norm")
    return isinstance(module, _NORMALIZING) or named


def _branches(trace: Trace) -> dict[str, float]:
    """The modules that give what is added to a stream, and by what factor: of each the outermost."""
    order = _in_order(trace.output.step)
    given = outermost(trace)
    found: dict[str, float] = {}
    for step in order:
        if step.kind != "sum":
            continue
        for skip, branch in (step.of, step.of[::-1]):
            if branch.step in given and branch.step is not skip.step and comes_from(branch.step, skip.step, order):
                found.setdefault(given[branch.step], branch.factor)
    return found


def _in_order(last: Step) -> dict[Step, int]:
    """The steps that lead to the last one, each after those that it acts on, with their places."""
    order: dict[Step, int] = {}
    waiting: list[tuple[Step, bool]] = [(last, False)]
    while waiting:
        step, done = waiting.pop()
        if done:
            order.setdefault(step, len(order))
        elif step not in order:
            waiting.append((step, True))
            waiting += [(value.step, False) for value in reversed(step.of) if value.step not in order]
    return order
