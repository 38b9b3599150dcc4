"""A PyTorch model run once on a small batch, and its parts with the statistics of their weights."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from deeplim.errors import InputError
from deeplim.paths import listed
from deeplim.probe.chain_parts import Chain, NotDescribed
from deeplim.probe.chains import chain_of
from deeplim.probe.factories import FORWARD, build, reason, seeded
from deeplim.probe.initializations import check_parameters, plain
from deeplim.probe.torch_inputs import Arguments, dense, is_floating, read_arguments
from deeplim.probe.torch_states import has_numbers
from deeplim.probe.torch_steps import Step, Trace, follow
from deeplim.probe.weights_law import Entries, measure_entries, pool
from deeplim.specs import kind_of

_ENOUGH = 1_000_000
"""Entries of weights, of one draw of a factory, that need no second draw."""
_ENTRIES = 1 << 21
"""Entries of one matrix that are looked at: they tell its variance to 0.1%."""
_MOST_DRAWS = 8
_FOREIGN: tuple[tuple[tuple[type, ...], str], ...] = (
    ((nn.modules.conv._ConvNd,), "a convolution"),
    ((nn.MultiheadAttention, nn.Transformer), "attention"),
    ((nn.RNNBase, nn.RNNCellBase), "recurrent"),
    ((nn.Embedding, nn.EmbeddingBag), "an embedding of tokens"),
    ((nn.Bilinear,), "bilinear"),
)


@dataclass(frozen=True)
class Parts:
    """A model's chain, the trace it was read from, and the weights' and biases' entries by linear step of the chain."""

    chain: Chain
    trace: Trace
    weights: dict[Step, Entries]
    biases: dict[Step, Entries | None]
    notes: tuple[str, ...]

    def names(self, step: Step) -> list[tuple[str, float]]:
        """Return the modules that give a step's value, the innermost first, and the factor each gives it with.

        Last are those that only ``deeplim.probe.observable(model)`` has.
        """
        given = [*self.trace.recorded.items(), *self.trace.points.items()]
        return [(name, value.factor) for name, value in given if value.step is step]


def read_parts(model_or_factory: Any, inputs: Any, seed: int) -> Parts:
    """Return the parts; weights' moments are pooled over a few draws of a factory. NotDescribed for other models."""
    made = models_of(model_or_factory, seed)
    model = next(made)
    parts = _read_one(model, inputs)
    chain = parts.chain
    drawn = [parts]
    if sum(one.count for one in parts.weights.values()) < _ENOUGH and not isinstance(model_or_factory, nn.Module):
        drawn += [_read_one(model, inputs) for model in made]
    return Parts(
        chain,
        parts.trace,
        _pooled([one.weights for one in drawn]),
        _pooled([one.biases for one in drawn]),
        parts.notes,
    )


def _pooled(draws: list[dict[Step, Any]]) -> dict[Step, Any]:
    """Each draw has steps of its own, in one order."""
    columns = zip(*(draw.values() for draw in draws), strict=True)
    return {step: None if column[0] is None else pool(column) for step, column in zip(draws[0], columns, strict=True)}


def models_of(model_or_factory: Any, seed: int) -> Iterator[nn.Module]:
    """Yield the model, or a few draws of a factory; InputError when it is neither."""
    if isinstance(model_or_factory, nn.Module):
        yield model_or_factory
        return
    if not callable(model_or_factory):
        raise InputError(f"{kind_of(model_or_factory)} was given; give a torch.nn.Module or a function that makes one.")
    for draw in range(_MOST_DRAWS):
        with seeded(seed, draw):
            model = build(model_or_factory)
        yield model


def read_chain(model: nn.Module, inputs: Any) -> tuple[Chain, Trace]:
    """Return the parts of a model, whatever its weights are, and its trace; NotDescribed for other models."""
    _refuse_foreign(model)
    trace = trace_of(model, inputs)
    if len(trace.given) > 1:
        raise NotDescribed(f"the model takes {listed(trace.given)}; deeplim's networks take one tensor.")
    chain = chain_of(trace.output)
    _refuse_computed(model, [chain.first.step, *(weight.step for weight in chain.hidden)])
    return chain, trace


def _read_one(model: nn.Module, inputs: Any) -> Parts:
    model = plain(model)
    check_parameters(model)
    chain, trace = read_chain(model, inputs)
    linears = [chain.first.step, *(weight.step for weight in chain.hidden)]
    notes = (f"{', '.join(trace.dropouts)}: dropout is left out, as in evaluation.",) if trace.dropouts else ()
    return Parts(
        chain,
        trace,
        {step: measure_entries(_array(step.weight)) for step in linears},
        {step: None if step.bias is None else measure_entries(_array(step.bias)) for step in linears},
        notes,
    )


def _array(tensor: torch.Tensor) -> Any:
    """The rows of a matrix, or the entries of a vector, in double precision: as many as tell its law."""
    rows = max(4, _ENTRIES * len(tensor) // tensor.numel())
    return tensor.detach()[:rows].to("cpu", torch.float64).numpy()


def _refuse_foreign(model: nn.Module) -> None:
    for name, module in model.named_modules():
        for types, word in _FOREIGN:
            if isinstance(module, types):
                kind = type(module).__name__
                raise NotDescribed(f"{name or 'the model'} ({kind}) is {word}; deeplim's networks are fully connected.")


def _refuse_computed(model: nn.Module, linears: list[Step]) -> None:
    """Refuse weights that are no parameters but made of some, by weight_norm for one."""
    own = {parameter.data_ptr() for parameter in model.parameters()}
    for step in linears:
        if step.weight.data_ptr() not in own:
            raise NotDescribed(
                f"the weights of {step.name} are computed from other parameters, as weight_norm does; "
                "deeplim's weights are independent parameters."
            )


def trace_of(model: nn.Module, inputs: Any) -> Trace:
    """Return what the model does to its inputs, or to rows of a size that it takes; NotDescribed for other models."""
    batches = [_as_batch(model, inputs)] if inputs is not None else list(_guessed(model))
    if not batches:
        quantized = any("quantized" in type(module).__module__ for module in model.modules())
        found = "is quantized: its weights are packed" if quantized else "has no weight matrix"
        raise NotDescribed(f"the model {found}; deeplim's networks have Linear layers.")
    failure = ""
    for batch in batches:
        try:
            with seeded(0, 0, FORWARD):
                trace = follow(model, *batch.args, **batch.kwargs)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # whatever the model's own code does with a batch of another shape
            failure = failure or reason(error, 160)
            continue
        if trace is None:
            raise NotDescribed(
                "what the model returns does not come from its input through functions of tensors that can be followed."
            )
        return trace
    raise NotDescribed(
        f"the model could not be run on a batch of shape {batches[0].shapes} ({failure}); give inputs= of its own."
    )


def outermost(trace: Trace) -> dict[Step, str]:
    """Return the module that gives each step: the outermost, and of several as far out the first.

    A dropout that is absent gives what the module before it gave; of a module that runs twice the second run is name#2.
    """
    given: dict[Step, str] = {}
    for name, value in trace.recorded.items():
        known = given.get(value.step)
        if known is None or name.count(".") < known.count("."):
            given[value.step] = name
    return given


def _as_batch(model: nn.Module, inputs: Any) -> Arguments:
    """Two of the inputs; InputError for what is none."""
    if isinstance(inputs, torch.Tensor):
        inputs = dense(inputs)
    if isinstance(inputs, np.ndarray | torch.Tensor) and inputs.ndim:
        inputs = inputs[:2]
    found = read_arguments(inputs, 2)
    return found.first_few(2).moved(model)


def _guessed(model: nn.Module) -> Iterator[Arguments]:
    """Batches of the widths that weight matrices act on, the first matrix's first."""
    sizes: dict[int, torch.Tensor] = {}
    for parameter in model.parameters():
        if has_numbers(parameter) and parameter.ndim == 2:
            sizes.setdefault(parameter.shape[1], parameter)
    for parameter in list(sizes.values()):
        sizes.setdefault(parameter.shape[0], parameter)
    generator = torch.Generator().manual_seed(0)
    for size, like in list(sizes.items())[:8]:
        rows = torch.randn((2, size), generator=generator)
        rows = rows.to(like.device, like.dtype if is_floating(like) else None)
        yield Arguments((rows,), {}, 2, "")
