"""Hooks on a PyTorch model: what leaves each module, once, and a model that is afterwards as it was."""

import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch.masked import MaskedTensor
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.utils.parametrize import ParametrizationList

from deeplim.errors import InputError
from deeplim.paths import listed
from deeplim.probe.factories import reason
from deeplim.probe.layers import INPUT, ROOT, check_chosen, chooses
from deeplim.probe.record import Modules
from deeplim.probe.torch_inputs import Arguments, is_floating
from deeplim.probe.torch_states import kept, version_of
from deeplim.resolution import rounding_square
from deeplim.specs import brief

_PACKED = {kind for name in ("float4_e2m1fn_x2",) if (kind := getattr(torch, name, None)) is not None}
"""Types whose elements are several numbers."""


class Output(NamedTuple):
    """What left a module: its name, the tensor, and the gap that the rounding of all layers so far has made.

    known: whether it has been taken already. tensor: None where there are no floating numbers, or where they cannot be
    seen; hidden says that, inside a transformation such as torch.func.vmap.
    """

    name: str
    tensor: torch.Tensor | None
    rounding: float
    known: bool
    hidden: bool = False


@contextmanager
def kept_as_it_was(network: torch.nn.Module) -> Iterator[None]:
    """Put a model into the mode of the probe; afterwards it is as it was, but for the numbers of its parameters.

    Normalization layers that have a mode use the statistics of the batch; everything else is as in evaluation.
    """
    modules = list(network.modules())
    with kept(modules, weights=False):
        for module in modules:
            module.training = isinstance(module, _NormBase)
        yield


def first_floating(output: Any) -> torch.Tensor | None:
    """Return the first dense floating tensor of an output, real or complex, looking into tuples, lists and mappings."""
    if isinstance(output, torch.Tensor):
        return output if is_floating(output) and _is_dense(output) else None
    parts = output.values() if isinstance(output, Mapping) else output if isinstance(output, tuple | list) else ()
    return next((found for part in parts if (found := first_floating(part)) is not None), None)


def _is_dense(tensor: torch.Tensor) -> bool:
    """Whether a tensor has numbers in memory that can each be read: masked ones have not, nor have four bits."""
    odd = tensor.is_nested or tensor.is_meta or tensor.is_quantized or isinstance(tensor, MaskedTensor)
    return tensor.layout is torch.strided and not odd and tensor.dtype not in _PACKED


def _has_storage(tensor: torch.Tensor) -> bool:
    """Whether a tensor has numbers in memory; inside a transformation of torch.func it stands for others."""
    try:
        tensor.untyped_storage()
    except NotImplementedError:
        return False
    return True


class Recorder:
    """Calls ``take`` with what leaves each chosen module of a network, in the order in which they finish.

    ``take`` says whether it took it. An output in the memory of one that was taken, unchanged since and as large, is
    that one, and known; of modules that are chosen by name none is.
    """

    def __init__(self, network: torch.nn.Module, modules: Modules | None, take: Callable[[Output], bool]) -> None:
        self._names = _hooked(network)
        self._wanted = None if modules is None else _chosen(self._names, modules)
        self._always = modules is not None and not callable(modules)
        self._take = take
        self._running: list[str] = []
        self._taken: dict[int, tuple[weakref.ref[torch.UntypedStorage], int, int]] = {}
        self._rounding = 0.0
        self._failure: BaseException | None = None

    def run(self, network: torch.nn.Module, arguments: Arguments) -> Any:
        """Return the network's output; InputError with what it raised, and in which module.

        What ``take`` raises is no error of the network's, and comes as it is.
        """
        handles = []
        try:
            for module in self._names:
                handles.append(module.register_forward_pre_hook(self._enter))
                handles.append(module.register_forward_hook(self._leave))
            if (first := arguments.first) is not None:
                self._offer(INPUT, first)
            return network(*arguments.args, **arguments.kwargs)
        except (InputError, KeyboardInterrupt):
            raise
        except BaseException as error:
            if error is self._failure:
                raise
            where = f"in its module {self._running[-1]}: " if self._running and self._running[-1] != ROOT else ""
            raise InputError(
                f"the model could not run the inputs, of shape {arguments.shapes} ({where}{reason(error)}); give "
                "inputs that it takes."
            ) from error
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, module: torch.nn.Module, args: Any) -> None:
        self._running.append(self._names[module])

    def _leave(self, module: torch.nn.Module, args: Any, output: Any) -> None:
        name = self._names[module]
        while self._running and self._running.pop() != name:
            pass
        self._offer(name, first_floating(output), _products(module))

    def _offer(self, name: str, tensor: torch.Tensor | None, products: int = 1) -> None:
        try:
            self._meet(name, tensor, products)
        except BaseException as error:
            self._failure = error
            raise

    def _meet(self, name: str, tensor: torch.Tensor | None, products: int) -> None:
        hidden = tensor is not None and not _has_storage(tensor)
        tensor = None if hidden else tensor
        new = tensor is not None and self._is_new(tensor)
        if tensor is not None and new and name != INPUT:
            self._rounding += rounding_square(torch.finfo(tensor.dtype).eps / 2, products)
        wanted = name == INPUT or self._wanted is None or name in self._wanted
        known = not (new or self._always)
        if wanted and self._take(Output(name, tensor, self._rounding, known, hidden)) and tensor is not None:
            storage = tensor.untyped_storage()
            self._taken[id(storage)] = weakref.ref(storage), version_of(tensor), tensor.numel()

    def _is_new(self, tensor: torch.Tensor) -> bool:
        storage = tensor.untyped_storage()
        known, version, size = self._taken.get(id(storage), (None, 0, 0))
        return known is None or known() is not storage or (version, size) != (version_of(tensor), tensor.numel())


def _products(module: torch.nn.Module) -> int:
    """How many products a number that leaves a module is the sum of, as its own weights tell."""
    made = getattr(module, "parametrizations", None)
    own = [*module.parameters(recurse=False), *([] if made is None else made.parameters())]
    return max((weight.numel() // len(weight) for weight in own if weight.ndim > 1 and len(weight)), default=1)


def _hooked(network: torch.nn.Module) -> dict[torch.nn.Module, str]:
    """The modules by name, but for those that make weights rather than signals."""
    made = {inner for m in network.modules() if isinstance(m, ParametrizationList) for inner in m.modules()}
    return {module: name or ROOT for name, module in network.named_modules() if module not in made}


def _chosen(names: dict[torch.nn.Module, str], modules: Modules) -> set[str]:
    if callable(modules):
        found = {name for module, name in names.items() if chooses(modules, name, module)}
        check_chosen(modules, found)
        return found
    wanted = {modules} if isinstance(modules, str) else set(modules)
    unknown = sorted(str(name) for name in wanted - set(names.values()))
    if unknown:
        raise InputError(
            f"the model has no module {brief(unknown[0])}; it has {listed([n for n in names.values() if n != ROOT])}."
        )
    return wanted
