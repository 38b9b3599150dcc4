"""PyTorch modules put back to what they were, whatever their forward passes do to them.

Attributes are put back as they were bound, and containers among them with their contents; parameters, buffers and other
tensors with their numbers, their memory, their gradients and hooks. All are copied beforehand but the large parameters
and gradients of a large model: of these a copy is made before the first operation that writes into their memory, so
that such a model is not held twice. (Buffers may be written by operations that do not say so, as the statistics of a
batch normalization are.)
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache, partial
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from deeplim.errors import InputError
from deeplim.probe.contents import Restore, contents_of, put_back_dict
from deeplim.probe.factories import reason

SMALL = 1 << 16
"""Bytes up to which any parameter is copied before it is in danger."""
ROOM = 1 << 24
"""Bytes of larger ones that are copied too: watching operations doubles the time of a model that is this small."""
INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Whole numbers by their size in bytes."""


@contextmanager
def kept(modules: Iterable[nn.Module], *, weights: bool = True) -> Iterator[None]:
    """Put modules back to what they were at the beginning; one thing that cannot be does not keep the others from it.

    weights: whether the numbers of parameters and gradients are put back too, as those of a network of the probe's own
    need not be.
    """
    with ExitStack() as restored:
        with torch.inference_mode(False), torch.no_grad():
            state = _State(modules, weights)
        restored.callback(_put_back_all, state.parts)
        if state.watched:
            restored.enter_context(_Writes(state.watched))
        yield


def _put_back_all(parts: list[Restore]) -> None:
    """Put every part back, also after one that cannot be, and after an interrupt; then raise what was raised."""
    raised: list[BaseException] = []
    with torch.inference_mode(False), torch.no_grad():
        for put_back in parts:
            try:
                put_back()
            except BaseException as error:
                raised.append(error)
    for one in raised:
        if isinstance(one, KeyboardInterrupt):
            raise one
    if raised:
        told = f"the model could not be put back to what it was ({reason(raised[0])})"
        raise InputError(f"{told}; probe a copy, copy.deepcopy(model).") from raised[0]


class _State:
    """What modules are made of, each thing once: ``parts`` puts each back, ``watched`` are tensors by their memory."""

    def __init__(self, modules: Iterable[nn.Module], weights: bool) -> None:
        self._weights = weights
        self.parts: list[Restore] = []
        self.watched: dict[int, list[_Tensor]] = {}
        self._seen: dict[int, Any] = {}
        self._gradients: set[int] = set()
        self._room = ROOM
        for module in modules:
            attributes = dict(vars(module))
            self.parts.append(partial(_put_back_module, module, type(module), attributes))
            self._hold(attributes.values())

    def _hold(self, values: Iterable[Any]) -> None:
        self.parts += contents_of(values, self._seen, self._hold_other)

    def _hold_other(self, one: Any) -> list[Any]:
        return self._hold_tensor(one) if isinstance(one, torch.Tensor) else []

    def _hold_tensor(self, tensor: torch.Tensor) -> list[Any]:
        """Hold a tensor; return its attributes and its gradient, which are to be held too."""
        state = _Tensor(tensor)
        self.parts.append(state.put_back)
        weight = isinstance(tensor, nn.Parameter) or id(tensor) in self._gradients
        if not weight:
            state.copy()
        elif self._weights and state.held is not None:
            self._hold_weight(state)
        self._gradients.add(id(state.gradient))
        return [*vars(tensor).values(), state.gradient]

    def _hold_weight(self, state: "_Tensor") -> None:
        size = state.tensor.nbytes
        if size <= max(SMALL, self._room):
            self._room -= size if size > SMALL else 0
            state.copy()
        else:
            self.watched.setdefault(_memory(state.tensor), []).append(state)


class _Tensor:
    """One tensor: its memory, its numbers once they are copied, and what else belongs to it."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor
        self.held = tensor.detach() if has_numbers(tensor) else None
        self.numbers: torch.Tensor | None = None
        self.tracked, self.leaf = tensor.requires_grad, tensor.is_leaf
        self.gradient = tensor.grad if tensor.is_leaf else None
        self.attributes = dict(vars(tensor))
        self.hooks = dict(tensor._backward_hooks or {})

    def copy(self) -> None:
        """Copy the numbers, before they are in danger; the first time counts."""
        if self.numbers is None and self.held is not None:
            self.numbers = self.held.clone()

    def put_back(self) -> None:
        """Make the tensor what it was."""
        tensor = self.tensor
        if self.leaf and not tensor.is_leaf:
            tensor.detach_()
        if self.held is not None:
            if not same_place(tensor, self.held):
                tensor.data = self.held
            if self.numbers is not None and not same_bits(self.held, self.numbers):
                with torch.inference_mode(tensor.is_inference()), torch.no_grad():
                    self.held.copy_(self.numbers)
        if self.leaf and tensor.requires_grad != self.tracked:
            tensor.requires_grad_(self.tracked)
        if self.leaf and tensor.grad is not self.gradient:
            tensor.grad = self.gradient
        if tensor._backward_hooks and dict(tensor._backward_hooks) != self.hooks:
            tensor._backward_hooks.clear()
            tensor._backward_hooks.update(self.hooks)
        put_back_dict(vars(tensor), self.attributes)


class _Writes(TorchDispatchMode):
    """Copies the numbers of watched tensors before an operation writes into their memory."""

    supports_higher_order_operators = True

    def __init__(self, watched: dict[int, list[_Tensor]]) -> None:
        super().__init__()
        self._watched = watched

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        for place, name in _written(function):
            value = kwargs.get(name) if name in kwargs else args[place] if place < len(args) else None
            for tensor in value if isinstance(value, list | tuple) else (value,):
                if isinstance(tensor, torch.Tensor) and has_numbers(tensor):
                    for state in self._watched.get(_memory(tensor), ()):
                        state.copy()
        return function(*args, **kwargs)


@lru_cache(maxsize=4096)
def _written(function: Any) -> tuple[tuple[int, str], ...]:
    """Which arguments an operation writes into: their places and names."""
    schema = getattr(function, "_schema", None)
    every = enumerate(schema.arguments) if schema is not None else ()
    return tuple((place, one.name) for place, one in every if one.alias_info is not None and one.alias_info.is_write)


def has_numbers(tensor: torch.Tensor) -> bool:
    """Whether a tensor is plain numbers in memory, which can be copied and compared."""
    try:
        plain = tensor.layout is torch.strided and not (tensor.is_meta or tensor.is_quantized or tensor.is_nested)
        return plain and tensor.numel() > 0 and _memory(tensor) != 0
    except Exception:  # of a lazy module's, or one that stands for others in a transformation
        return False


def _memory(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def version_of(tensor: torch.Tensor) -> int:
    """Return how often a tensor was changed in place; one made in inference mode cannot be, outside."""
    return 0 if tensor.is_inference() else tensor._version


def same_place(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors are the same numbers of the same memory."""
    if not has_numbers(one) or (one.dtype, one.device, one.shape) != (other.dtype, other.device, other.shape):
        return False
    return one.stride() == other.stride() and one.data_ptr() == other.data_ptr()


def bits(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor's numbers as whole ones of the same bits, which can be compared in every type."""
    named = any(getattr(tensor, "names", ()))  # which PyTorch has until 2.12
    values = tensor.detach().rename(None) if named else tensor.detach()
    values = torch.view_as_real(values.resolve_conj()) if values.is_complex() else values
    return values.view(INTEGERS[values.element_size()])


def same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Return whether two tensors of one type have the same numbers, NaN among them."""
    return torch.equal(bits(one), bits(other))


def _put_back_module(module: nn.Module, kind: type, held: dict[str, Any]) -> None:
    if type(module) is not kind:
        module.__class__ = kind
    put_back_dict(vars(module), held)
