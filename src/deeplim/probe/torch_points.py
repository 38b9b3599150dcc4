"""A model whose functions are modules too: what hooks on modules do not see of a model written in functions."""

from threading import get_ident
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode

from deeplim.errors import InputError
from deeplim.probe.chain_parts import NotDescribed
from deeplim.probe.factories import build
from deeplim.probe.initializations import copy_of, plain
from deeplim.probe.torch_reading import models_of, trace_of
from deeplim.probe.torch_steps import function_name, point_of
from deeplim.probe.world import undisturbed

_POINTS = "_deeplim_points"


def observable(model_or_factory: Any, *, inputs: Any = None) -> Any:
    """Return a copy of a model, or a factory of such, in which activations and sums in Python code are modules as well.

    ``F.relu(x)`` in the forward of ``block`` is the output of a module ``block.relu``, ``x + y`` that of ``block.add``,
    so that ``deeplim.probe.record`` sees them; the model computes what it did. inputs: as for ``read_architecture``.
    InputError when the model cannot be run.
    """
    if isinstance(model_or_factory, nn.Module):
        with undisturbed(model_or_factory):
            model = copy_of(model_or_factory)
        return _with_points(model, inputs)
    with undisturbed(model_or_factory, inputs):
        _with_points(next(models_of(model_or_factory, 0)), inputs)  # refuses what is no factory, and such inputs

    def factory() -> nn.Module:
        return _with_points(build(model_or_factory), inputs)  # which draws random numbers, as it does by itself

    return factory


def _with_points(model: nn.Module, inputs: Any) -> nn.Module:
    model = plain(model)
    try:
        with undisturbed(model, inputs):
            trace = trace_of(model, inputs)
    except NotDescribed as reason:
        raise InputError(str(reason)) from None
    modules = dict(model.named_modules())
    for value in trace.points.values():
        step = value.step
        if step.kind not in ("activation", "sum", "normalization", "linear") or step.whole:
            continue
        points: dict[str, str] = modules[step.module].__dict__.setdefault(_POINTS, {})
        if step.function not in points:
            points[step.function] = point_of(modules[step.module], step.function)
            modules[step.module].add_module(points[step.function], nn.Identity())
    if not isinstance(model, _Observed):
        model.__class__ = type(type(model).__name__, (_Observed, type(model)), {})
    return model


class _Observed(nn.Module):
    """A model that shows what functions give to modules that observe it."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the model returns."""
        with _Show(self):
            return super().forward(*args, **kwargs)


class _Show(TorchFunctionMode):
    """Hands what functions give to the points of the module that is running, in this thread."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.running = [model]
        self.thread = get_ident()  # hooks on all modules are called in every thread

    def __enter__(self) -> Any:
        self.handles = [
            register_module_forward_pre_hook(self._enter),
            register_module_forward_hook(self._leave),
        ]
        return super().__enter__()

    def __exit__(self, *args: Any) -> None:
        for handle in self.handles:
            handle.remove()
        super().__exit__(*args)

    def _enter(self, module: nn.Module, args: Any) -> None:
        if get_ident() == self.thread:
            self.running.append(module)

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        if get_ident() == self.thread:
            self.running.pop()

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        point = self.running[-1].__dict__.get(_POINTS, {}).get(function_name(function))
        if point is not None and isinstance(result, torch.Tensor):
            self.running[-1].get_submodule(point)(result)
        return result
