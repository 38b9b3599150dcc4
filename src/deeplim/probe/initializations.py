"""The networks that a probe of a PyTorch model looks at: a factory's, or a model and copies with weights drawn anew."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from deeplim.errors import InputError
from deeplim.probe.factories import build, reason, seeded, stream
from deeplim.probe.redraws import FIRST, SAMPLE, alike, signs_of
from deeplim.specs import brief

Initialize = Callable[[torch.nn.Module], object]
_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


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
            network = _copied(network)  # of plain tensors, which have gradients and may be changed
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
        if not _all_finite(parameter.detach()):
            raise InputError(f"the parameter {name} contains a NaN or an infinity; initialize it first.")


def _all_finite(values: torch.Tensor) -> bool:
    if values.is_complex():
        values = torch.view_as_real(values.resolve_conj())
    if not values.is_floating_point() or not values.numel():
        return True
    if torch.isfinite(values.sum()):  # the fastest pass, and enough: only a sum of large numbers needs another
        return True
    low, high = torch.aminmax(values)  # a NaN is both
    return bool(torch.isfinite(low) & torch.isfinite(high))


def _copied(model: torch.nn.Module) -> torch.nn.Module:
    try:
        return copy.deepcopy(model)
    except Exception as error:
        raise InputError(
            f"the model cannot be copied ({reason(error)}); give a function that makes it, or repeats=1."
        ) from error


def _drawn(model: torch.nn.Module, seed: int, repeat: int, initialize: Initialize | None) -> torch.nn.Module:
    network = _copied(model)
    if initialize is None:
        redraw(network, np.random.default_rng(stream(seed, repeat)))
        return network
    try:
        with seeded(seed, repeat), torch.no_grad():
            initialize(network)
    except Exception as error:
        raise InputError(f"initialize={brief(initialize)} failed ({reason(error)}).") from error
    if not changed(model, network):
        raise InputError(
            f"initialize={brief(initialize)} changed no parameter; it is called once, with the whole model, as in "
            "lambda model: model.apply(draw)."
        )
    return network


def changed(model: torch.nn.Module, network: torch.nn.Module) -> bool:
    """Return whether a copy of a model has other parameters."""
    pairs = zip(model.parameters(), network.parameters(), strict=True)
    return not all(_equal(before, after) for before, after in pairs)


def redraw(network: torch.nn.Module, rng: np.random.Generator) -> None:
    """Draw every parameter again from its own entries, whatever their type and device (see ``redraws``)."""
    parameters = list(network.parameters())
    firsts = alike(parameters, _looks, _equal)
    with torch.no_grad():
        for place, first in enumerate(firsts):
            if first == place:
                _redraw(parameters[place], rng)
            else:
                parameters[place].copy_(parameters[first])


def _redraw(parameter: torch.Tensor, rng: np.random.Generator) -> None:
    values = parameter.detach().to("cpu", memory_format=torch.contiguous_format, copy=True).view(-1)
    rows = torch.view_as_real(values) if values.is_complex() else values
    bits = rows.view(_INTEGERS[rows.element_size()]).numpy()
    moving = (values != 0).numpy()
    entries = bits if moving.all() else bits[moving]
    rng.shuffle(entries)
    if rows.is_floating_point() and rows.element_size() > 1:
        numbers = torch.from_numpy(entries).view(rows.dtype)
        signs = signs_of(numbers[:SAMPLE].to(torch.float64).numpy(), len(numbers), rng)
        if signs is not None:
            numbers.mul_(torch.from_numpy(signs).view(-1, *[1] * (rows.ndim - 1)))
    if entries is not bits:
        bits[moving] = entries
    parameter.copy_(values.view(parameter.shape))


def _bits(parameter: torch.Tensor) -> torch.Tensor:
    """A parameter's numbers as whole ones of the same bits, which can be compared in every type."""
    values = parameter.detach()
    values = torch.view_as_real(values.resolve_conj()) if values.is_complex() else values
    return values.view(_INTEGERS[values.element_size()])


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    return torch.equal(_bits(one), _bits(other))


def _looks(parameter: torch.Tensor) -> tuple[object, ...]:
    first = torch.atleast_1d(_bits(parameter))[:1].flatten()[:FIRST]
    return parameter.dtype, parameter.shape, parameter.device, first.cpu().numpy().tobytes()
