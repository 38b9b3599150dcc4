"""The networks that a probe of a PyTorch model looks at: a factory's, or a model and copies with weights drawn anew."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from deeplim.errors import InputError
from deeplim.probe.factories import build, seeded, stream, user_code
from deeplim.probe.redraws import FIRST, SAMPLE, alike, signs_of
from deeplim.probe.torch_states import INTEGERS, bits, has_numbers, same_bits
from deeplim.specs import brief

Initialize = Callable[[torch.nn.Module], object]


def networks(
    model: Any, repeats: int, seed: int, initialize: Initialize | None
) -> Iterator[tuple[int, torch.nn.Module]]:
    """Yield the networks one after another, each to be dropped before the next.

    A model's own weights come first. InputError for a factory that makes no module, a model that cannot be copied, an
    initialization that draws nothing or raises, and parameters that have no values yet or are not finite.
    """
    given = isinstance(model, torch.nn.Module)
    if not given and initialize is not None:
        raise InputError("initialize= draws the weights of a model's copies, and a factory was given; leave it out.")
    for repeat in range(repeats):
        if given:
            network = plain(model) if repeat == 0 else _drawn(plain(model), seed, repeat, initialize)
        else:
            with seeded(seed, repeat):
                network = plain(build(model))
        check_parameters(network)
        if any(tensor.is_inference() for tensor in (*network.parameters(), *network.buffers())):
            network = copy_of(network)  # of plain tensors, which have gradients and may be changed
        yield repeat, network
        del network


def plain(model: Any) -> torch.nn.Module:
    """Return the module inside wrappers that compile it or spread it over devices.

    InputError if it is no module, or if one in it is scripted or traced, and takes no hooks.
    """
    if not isinstance(model, torch.nn.Module):
        raise InputError(
            f"the factory returned an object of type {type(model).__name__}; give a function without arguments that "
            "returns a PyTorch module."
        )
    inside = getattr(model, "_orig_mod", model)
    if isinstance(inside, torch.nn.DataParallel | torch.nn.parallel.DistributedDataParallel):
        inside = inside.module
    for name, module in inside.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            which = f"the module {name}" if name else "the model"
            raise InputError(f"{which} is scripted or traced and cannot be hooked; give the model before scripting it.")
    return inside


def check_parameters(network: torch.nn.Module) -> None:
    """Raise InputError for parameters without values, of a lazy module or on the meta device, or not finite."""
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        if tensor.is_meta:
            raise InputError(
                f"the model's weights ({name}) are on the meta device, without values; materialise them first, by "
                "model.to_empty(device='cpu') and an initialization."
            )
    for name, parameter in network.named_parameters():
        if isinstance(parameter, torch.nn.parameter.UninitializedParameter):
            raise InputError(f"the parameter {name} has no values yet; run the lazy model on one batch first.")
        if not _finite(name, parameter):
            raise InputError(f"the parameter {name} contains a NaN or an infinity; initialize it first.")


def _finite(name: str, parameter: torch.Tensor) -> bool:
    with user_code(lambda reason: f"the parameter {name} cannot be read ({reason}); give one of dense numbers."):
        return _all_finite(parameter.detach())


def _all_finite(values: torch.Tensor) -> bool:
    if values.is_complex():
        values = torch.view_as_real(values.resolve_conj())
    if not values.is_floating_point() or not values.numel():
        return True
    values = values.float() if values.element_size() < 2 else values
    if torch.isfinite(values.sum()):  # the fastest pass, and enough: only a sum of large numbers needs another
        return True
    low, high = torch.aminmax(values)  # a NaN is both
    return bool(torch.isfinite(low) & torch.isfinite(high))


def copy_of(model: torch.nn.Module) -> torch.nn.Module:
    """Return a copy of a model; InputError with what the model raises when it is copied."""
    cure = "give a function that makes it, or repeats=1"
    with user_code(lambda reason: f"the model cannot be copied ({reason}); {cure}."):
        return copy.deepcopy(model)


def _drawn(model: torch.nn.Module, seed: int, repeat: int, initialize: Initialize | None) -> torch.nn.Module:
    network = copy_of(model)
    if initialize is None:
        redraw(network, np.random.default_rng(stream(seed, repeat)))
        return network
    failed = f"initialize={brief(initialize)} failed"
    with user_code(lambda reason: f"{failed} ({reason})."), seeded(seed, repeat), torch.no_grad():
        initialize(network)
    check_parameters(network)
    if not changed(model, network):
        raise InputError(
            f"initialize={brief(initialize)} changed no parameter; it is called once, with the whole model, as in "
            "lambda model: model.apply(draw)."
        )
    return network


def changed(model: torch.nn.Module, network: torch.nn.Module) -> bool:
    """Return whether a copy of a model has other parameters."""
    before, after = _plain(model), _plain(network)
    return len(before) != len(after) or not all(map(_equal, before, after))


def redraw(network: torch.nn.Module, rng: np.random.Generator) -> None:
    """Draw every parameter again from its own entries, whatever their type and device (see ``redraws``).

    But for those that are no plain numbers in memory, as sparse and nested tensors, which stay.
    """
    parameters = _plain(network)
    firsts = alike(parameters, _looks, _equal)
    with torch.no_grad():
        for place, first in enumerate(firsts):
            if first == place:
                _redraw(parameters[place], rng)
            else:
                parameters[place].copy_(parameters[first])


def _plain(network: torch.nn.Module) -> list[torch.nn.Parameter]:
    """The parameters that are numbers in memory: not sparse or nested, nor bits without a meaning."""
    return [one for one in network.parameters() if has_numbers(one) and not str(one.dtype).startswith("torch.bits")]


def _redraw(parameter: torch.Tensor, rng: np.random.Generator) -> None:
    values = parameter.detach().to("cpu", memory_format=torch.contiguous_format, copy=True).view(-1)
    rows = torch.view_as_real(values) if values.is_complex() else values
    words = rows.view(INTEGERS[rows.element_size()]).numpy()
    moving = (values != 0).numpy()
    entries = words if moving.all() else words[moving]
    rng.shuffle(entries)
    if rows.is_floating_point() and rows.element_size() > 1:
        numbers = torch.from_numpy(entries).view(rows.dtype)
        signs = signs_of(numbers[:SAMPLE].to(torch.float64).numpy(), len(numbers), rng)
        if signs is not None:
            numbers.mul_(torch.from_numpy(signs).view(-1, *[1] * (rows.ndim - 1)))
    if entries is not words:
        words[moving] = entries
    parameter.copy_(values.view(parameter.shape))


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    alike = (one.dtype, one.device, one.shape) == (other.dtype, other.device, other.shape)
    return alike and same_bits(one, other)


def _looks(parameter: torch.Tensor) -> tuple[object, ...]:
    first = torch.atleast_1d(bits(parameter))[:1].flatten()[:FIRST]
    return parameter.dtype, parameter.shape, parameter.device, first.cpu().numpy().tobytes()
