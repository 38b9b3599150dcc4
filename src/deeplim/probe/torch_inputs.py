"""Inputs to a PyTorch model: arrays, tensors, keyword or positional arguments, or batches of these."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.masked import MaskedTensor

from deeplim.errors import InputError
from deeplim.inputs import MOST_INPUTS
from deeplim.probe.array_inputs import check_bits, collect, copied, held, numbers
from deeplim.specs import brief

_KINDS = (
    "an array, a tensor, lists of numbers, a dict of keyword arguments, a tuple of positional ones, or an iterable of "
    "batches of these"
)


@dataclass(frozen=True)
class Arguments:
    """What a model is called with: ``count`` inputs along the first axis of its tensors, and what was taken."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    count: int
    taken: str

    @property
    def tensors(self) -> dict[str, torch.Tensor]:
        """The tensors among the arguments, by name or position."""
        every = {str(i): value for i, value in enumerate(self.args)} | self.kwargs
        return {name: value for name, value in every.items() if isinstance(value, torch.Tensor)}

    @property
    def first(self) -> torch.Tensor | None:
        """The first floating tensor that holds an input a row, whose signal is that of the inputs themselves."""
        fits = (t for t in self.tensors.values() if is_floating(t) and t.ndim > 1 and len(t) == self.count)
        return next(fits, None)

    @property
    def tokens(self) -> int:
        """The length of the sequences that the inputs are, of whole numbers or of vectors; 0 where they are none."""
        for tensor in self.tensors.values():
            if tensor.ndim and len(tensor) == self.count and tensor.ndim == (3 if is_floating(tensor) else 2):
                return tensor.shape[1]
        return 0

    @property
    def shapes(self) -> str:
        """The shapes of the tensors, as text."""
        return ", ".join(str(tuple(value.shape)) for value in self.tensors.values())

    def moved(self, model: torch.nn.Module) -> "Arguments":
        """Return copies on a model's device; floating ones in its precision where all its parameters share one.

        What is no tensor is copied too, for a model may write into it.
        """
        parameters = [*model.parameters(), *model.buffers()]
        device = parameters[0].device if parameters else torch.device("cpu")
        kinds = {p.dtype.to_real() for p in model.parameters() if is_floating(p)}
        kind = kinds.pop() if len(kinds) == 1 else None

        def to_model(t: torch.Tensor) -> torch.Tensor:
            precise = None if kind is None or not is_floating(t) else kind.to_complex() if t.is_complex() else kind
            return t.to(device, precise, copy=True)

        return self._mapped(to_model, copied)

    def first_few(self, count: int) -> "Arguments":
        """Return the first inputs only."""
        few = self._mapped(lambda t: t[:count] if t.ndim and len(t) == self.count else t)
        return replace(few, count=min(count, self.count))

    def tracked(self) -> "Arguments":
        """Return arguments whose floating tensors have gradients and may still be changed in place."""
        return self._mapped(lambda t: t.requires_grad_().clone() if is_floating(t) else t)

    def _mapped(
        self, change: Callable[[torch.Tensor], torch.Tensor], other: Callable[[Any], Any] = lambda value: value
    ) -> "Arguments":
        def changed(value: Any) -> Any:
            return change(value) if isinstance(value, torch.Tensor) else other(value)

        kwargs = {name: changed(value) for name, value in self.kwargs.items()}
        return replace(self, args=tuple(changed(value) for value in self.args), kwargs=kwargs)


def is_floating(tensor: torch.Tensor) -> bool:
    """Whether a tensor has floating numbers, real or complex, which have gradients."""
    return tensor.is_floating_point() or tensor.is_complex()


def read_arguments(inputs: Any, most: int) -> Arguments:
    """Return what a model is called with; InputError when it is empty, too large, not numbers or not finite."""
    if isinstance(inputs, list):
        inputs = numbers(inputs)
    if isinstance(inputs, Mapping):
        found = _arguments((), {str(name): _tensor(value) for name, value in inputs.items()}, "")
    elif isinstance(inputs, tuple):
        found = _arguments(tuple(_tensor(value) for value in inputs), {}, "")
    elif _is_array(inputs):
        found = _arguments((_tensor(inputs),), {}, "")
    elif isinstance(inputs, Iterable) and not isinstance(inputs, str | bytes):
        found = _arguments(*collect(inputs, most, _batch, torch.Tensor, torch.cat, _KINDS))
    else:
        raise InputError(f"inputs of type {type(inputs).__name__} were given; give {_KINDS}.")
    if not 1 <= found.count <= MOST_INPUTS:
        raise InputError(f"{found.count} inputs were given; give from 1 to {MOST_INPUTS} at a time.")
    for name, tensor in found.tensors.items():
        if is_floating(tensor) and not torch.isfinite(tensor).all():
            raise InputError(f"the inputs ({name}) contain a NaN or an infinity; every entry must be a finite number.")
    return found


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray | torch.Tensor)


def _tensor(value: Any) -> Any:
    """Arrays as tensors of their own type; what is neither, such as a flag, as it is."""
    value = numbers(value, least=2)  # one list may be an option, such as a shape
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "biufc":
            raise InputError(f"an array of type {value.dtype} was given as inputs; give numbers.")
        check_bits(value.dtype)
        return torch.from_numpy(np.array(value, dtype=value.dtype.newbyteorder("=")))
    return dense(value) if isinstance(value, torch.Tensor) else value


def dense(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor without its history; InputError for one that is not plain numbers in memory."""
    if isinstance(tensor, MaskedTensor):
        raise InputError("a masked tensor was given as inputs; give its numbers with others filled in, to_tensor(0).")
    if tensor.is_nested:
        raise InputError("a nested tensor was given as inputs; pad its parts to one length.")
    if tensor.layout is not torch.strided:
        raise InputError(f"a tensor of layout {tensor.layout} was given as inputs; give tensor.to_dense().")
    if tensor.is_meta:
        raise InputError("a tensor on the meta device, without values, was given as inputs; give one that has them.")
    if tensor.is_quantized:
        raise InputError(f"a tensor of type {tensor.dtype} was given as inputs; give tensor.dequantize().")
    if tensor.is_floating_point() and tensor.element_size() < 2:
        raise InputError(f"a tensor of type {tensor.dtype} was given as inputs; give tensor.float().")
    return tensor.detach()


def _arguments(args: tuple[Any, ...], kwargs: dict[str, Any], taken: str) -> Arguments:
    found = Arguments(args, kwargs, 0, taken)
    lengths = [len(tensor) for tensor in found.tensors.values() if tensor.ndim]
    if not lengths:
        raise InputError(f"{held(args, kwargs)} hold no tensor with an axis; give {_KINDS}.")
    return replace(found, count=lengths[0])


def _batch(batch: Any) -> dict[str, Any]:
    """A batch by names, "0" for one positional argument."""
    if isinstance(batch, tuple | list) and batch:
        batch = batch[0]
    named = batch if isinstance(batch, Mapping) else {"0": batch}
    one = {str(name): _tensor(value) for name, value in named.items()}
    if not any(isinstance(value, torch.Tensor) and value.ndim for value in one.values()):
        raise InputError(f"{brief(batch)} was given as a batch of inputs; give {_KINDS}.")
    return one
