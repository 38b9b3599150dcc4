"""What a PyTorch model is made of, a network of deeplim's or not: its linear maps, normalizations and branches."""

from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from deeplim.errors import InputError
from deeplim.probe.chain_parts import NotDescribed
from deeplim.probe.torch_reading import trace_of
from deeplim.probe.torch_steps import Step, Trace, Value

_LINEAR = (nn.Linear, nn.Bilinear, _ConvNd)
_NORMALIZING = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.LocalResponseNorm, nn.RMSNorm)


class Anatomy(NamedTuple):
    """Modules by what they do, in the order of the model's tree.

    linears: linear maps, convolutions among them. branches: modules whose output is added to what they were given, in
    the order in which they run; zeroed: those that are multiplied by 0 before.
    """

    linears: tuple[str, ...] = ()
    convolutions: tuple[str, ...] = ()
    normalizations: tuple[str, ...] = ()
    branches: tuple[str, ...] = ()
    zeroed: tuple[str, ...] = ()


def anatomy(model: nn.Module, inputs: Any = None) -> Anatomy:
    """Return the parts of a model; no branches where what it does to two of the inputs cannot be followed.

    inputs: as for ``read_architecture``.
    """
    modules = [(name, module) for name, module in model.named_modules() if name]
    try:
        branches = _branches(trace_of(model, inputs))
    except (InputError, NotDescribed):
        branches = {}
    return Anatomy(
        linears=tuple(name for name, module in modules if _is_linear(module)),
        convolutions=tuple(name for name, module in modules if isinstance(module, _ConvNd)),
        normalizations=tuple(name for name, module in modules if _normalizes(module)),
        branches=tuple(branches),
        zeroed=tuple(name for name, factor in branches.items() if factor == 0),
    )


def _is_linear(module: nn.Module) -> bool:
    """A linear map, or a module of another library's that has a matrix and is called one."""
    weight = getattr(module, "weight", None)
    called = type(module).__name__.lower().startswith(("linear", "conv", "dense"))
    return isinstance(module, _LINEAR) or (called and isinstance(weight, torch.Tensor) and weight.ndim > 1)


def _normalizes(module: nn.Module) -> bool:
    leaf = not any(True for _ in module.children())
    return isinstance(module, _NORMALIZING) or (leaf and type(module).__name__.lower().endswith("norm"))


def _branches(trace: Trace) -> dict[str, float]:
    """The modules that give what is added to a stream, and by what factor: of each the outermost."""
    order = _in_order(trace.output.step)
    given: dict[Step, str] = {value.step: name.partition("#")[0] for name, value in trace.recorded.items()}
    found: dict[str, float] = {}
    for step in order:
        if step.kind != "sum":
            continue
        for skip, branch in (step.of, step.of[::-1]):
            if branch.step in given and branch.step is not skip.step and _comes_from(branch, skip, order):
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


def _comes_from(branch: Value, skip: Value, order: dict[Step, int]) -> bool:
    """Whether a branch is computed from the skip: only the steps between the two are gone over."""
    seen, waiting = set(), [branch.step]
    while waiting:
        step = waiting.pop()
        if step is skip.step:
            return True
        if step not in seen and order[step] > order[skip.step]:
            seen.add(step)
            waiting += [value.step for value in step.of]
    return False
