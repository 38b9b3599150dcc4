"""Signals and gradients of PyTorch models, network after network."""

from typing import Any

import numpy as np
import torch

from deeplim.paths import Paths
from deeplim.probe.factories import COTANGENT, FORWARD, seeded, stream, user_code
from deeplim.probe.initializations import Initialize, changed, networks, plain
from deeplim.probe.layers import Layers, failed_backward, own_and_copies, source, without_gradients
from deeplim.probe.record import Modules, Per
from deeplim.probe.signals import Signals
from deeplim.probe.torch_hooks import Output, Recorder, first_floating, kept_as_it_was
from deeplim.probe.torch_inputs import Arguments, is_floating, read_arguments

_FEW = 64
"""Inputs up to which all their products are as fast as half of them."""


def recognises(model: object) -> bool:
    """Whether this is a PyTorch module, or a class of them."""
    return isinstance(model, torch.nn.Module) or (isinstance(model, type) and issubclass(model, torch.nn.Module))


def probe(
    model: Any,
    inputs: Any,
    *,
    backward: bool,
    repeats: int,
    seed: int,
    per: Per,
    initialize: Initialize | None,
    modules: Modules | None,
    most: int,
) -> Paths:
    """Return the signals of a model's networks, or their gradients; ``record`` says what the options mean."""
    arguments = read_arguments(inputs, most)
    layers = Layers(Signals(repeats, multiply=_multiply), arguments, per, most)
    given = isinstance(model, torch.nn.Module)
    kind, redrawn = "module", False
    with torch.inference_mode(False):
        for repeat, network in networks(model, repeats, seed, initialize):
            kind = type(network).__name__
            redrawn = redrawn or (given and repeat > 0 and changed(plain(model), network))
            with seeded(seed, repeat, FORWARD), kept_as_it_was(network):
                if backward:
                    rng = np.random.default_rng(stream(seed, repeat, COTANGENT))
                    _gradients(network, layers, arguments.moved(network), modules, rng)
                else:
                    _signals(network, layers, arguments.moved(network), modules)
            layers.finish()
    made = f"{repeats} made by a factory"
    how = own_and_copies(repeats, anew=initialize is not None, changed=redrawn) if given else made
    told = source(kind, how, backward=backward, taken=arguments.taken, left_out=layers.left_out)
    return layers.signals.paths(told, layers.names, backward=backward)


def _array(tensor: torch.Tensor) -> np.ndarray:
    """A tensor as an array, in single precision where it is in half, of two real numbers for a complex one."""
    tensor = _real(tensor)
    wide = tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()
    return wide.detach().cpu().numpy()


def _real(tensor: torch.Tensor) -> torch.Tensor:
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


def _fitting(layers: Layers, output: Output) -> torch.Tensor | None:
    """The tensor to record of an output; None where it is left out, or known."""
    tensor = output.tensor
    if tensor is None:
        (layers.hide if output.hidden else layers.skip)(output.name)
        return None
    return tensor if layers.fits(output.name, tuple(tensor.shape)) and not output.known else None


def _signals(network: torch.nn.Module, layers: Layers, arguments: Arguments, modules: Modules | None) -> None:
    """Add the signals of a network's layers."""

    def take(output: Output) -> bool:
        tensor = _fitting(layers, output)
        if tensor is not None:
            layers.add(output.name, _array(tensor), output.rounding)
        return tensor is not None

    with torch.no_grad():
        Recorder(network, modules, take).run(network, arguments)


def _gradients(
    network: torch.nn.Module, layers: Layers, arguments: Arguments, modules: Modules | None, rng: np.random.Generator
) -> None:
    """Add the gradients of a network's layers, found in one backward pass.

    A gradient edge is a place in the graph, which an operation in place does not move as it moves a tensor.
    """
    found: list[tuple[str, torch.Size, torch.dtype, float, Any]] = []

    def take(output: Output) -> bool:
        tensor = _fitting(layers, output)
        if tensor is not None:
            edge = torch.autograd.graph.get_gradient_edge(tensor) if tensor.requires_grad else None
            found.append((output.name, tensor.shape, tensor.dtype, output.rounding, edge))
        return tensor is not None

    with torch.enable_grad():
        for parameter in network.parameters():
            parameter.requires_grad_(is_floating(parameter))
        last = first_floating(Recorder(network, modules, take).run(network, arguments.tracked()))
        if last is None or not layers.apart(tuple(last.shape)) or not last.requires_grad:
            raise without_gradients()
        last = _real(last)
    edges = [edge for *_, edge in found if edge is not None]
    cotangent = torch.tensor(layers.cotangent(tuple(last.shape), rng), device=last.device, dtype=last.dtype)
    with user_code(failed_backward):
        gradients = iter(torch.autograd.grad(last, edges, cotangent, allow_unused=True) if edges else ())
    # The forward pass's rounding, and that of the way back.
    total = 2 * max((rounding for *_, rounding, _ in found), default=0.0)
    for name, shape, dtype, rounding, edge in found:
        gradient = None if edge is None else next(gradients)
        layers.add(name, _array(torch.zeros(shape, dtype=dtype) if gradient is None else gradient), total - rounding)


def _multiply(rows: np.ndarray, products: np.ndarray) -> None:
    """Add the products of rows, on PyTorch's threads: NumPy's would fight with them.

    Of many, the lower triangle and little else.
    """
    doubles, found, count = torch.from_numpy(rows), torch.from_numpy(products), rows.shape[1]
    strip = -(-count // 2) if count > _FEW else count
    for begin in range(0, count, strip):
        end = begin + strip
        found[:, begin:end, :end].baddbmm_(doubles[:, begin:end], doubles[:, :end].mT)
