"""The residual stream of a PyTorch model: where it is, between its first sum with a skip and what follows the last."""

from typing import Any, NamedTuple

from torch import nn

from deeplim.errors import InputError
from deeplim.probe.chain_parts import NotDescribed
from deeplim.probe.initializations import plain
from deeplim.probe.torch_reading import trace_of
from deeplim.probe.torch_steps import Step, Value, comes_from


class ResidualStream(NamedTuple):
    """Names of what gives the stream, in the order of execution, the innermost module of each that gives the same.

    modules: those of the model. states: what the first branch is added to, and the sums of a skip and its branch, by
    modules that have their outputs or else, as in a loop of the model's own forward, by what
    ``deeplim.probe.observable(model)`` calls them.
    """

    modules: tuple[str, ...]
    states: tuple[str, ...]


def residual_stream(model: nn.Module, inputs: Any) -> ResidualStream:
    """Return where the residual stream of a model is; InputError when what the model does cannot be followed.

    The stream is gone along from the output backward, at each sum to the operand that the other comes from. What is
    inside a branch is not on it.
    """
    try:
        trace = trace_of(plain(model), inputs)
    except NotDescribed as reason:
        raise InputError(f"{str(reason).removesuffix('.')}; name the modules of the stream, by stream=.") from None
    order = _in_order(trace.output.step)
    line, sums = _line(trace.output.step, order)
    if not sums:
        return ResidualStream((), ())
    begin = line.index(sums[0])
    end = next((at for at in range(line.index(sums[-1]) + 1, len(line)) if _leaves(line[at])), len(line))
    modules = _named(trace.recorded)
    either = _named(trace.points) | modules
    states = [line[begin - 1], *sums]
    return ResidualStream(
        tuple(modules[step] for step in line[begin:end] if step in modules),
        tuple(either[step] for step in states if step in either),
    )


def _leaves(step: Step) -> bool:
    """Whether a step makes something else of the stream, as a readout does, rather than normalize or activate it."""
    return step.kind not in ("normalization", "activation")


def _named(values: dict[str, Value]) -> dict[Step, str]:
    """The first name of each step's value: later ones are modules that pass it on."""
    found: dict[Step, str] = {}
    for name, value in values.items():
        if value.factor == 1 and name != "output":
            found.setdefault(value.step, name)
    return found


def _line(last: Step, order: dict[Step, int]) -> tuple[list[Step], list[Step]]:
    """The steps that the stream takes to the last one, and the sums of a skip and its branch among them, in order."""
    line, sums = [last], []
    while last.of:
        skip = _skip(last, order) if last.kind == "sum" else None
        sums += [last] if skip is not None else []
        operands = [value.step for value in last.of]
        # x + f(x) + g(x) is a sum of a sum; of others, as x at places that are computed, the signal is the last made
        nested = [step for step in operands if step.kind == "sum" and last.kind == "sum"]
        last = skip or max(nested or operands, key=lambda step: order[step])
        line.append(last)
    return line[::-1], sums[::-1]


def _skip(total: Step, order: dict[Step, int]) -> Step | None:
    first, second = (value.step for value in total.of)
    skip, branch = sorted((first, second), key=lambda step: order[step])
    return skip if comes_from(branch, skip, order) else None


def _in_order(last: Step) -> dict[Step, int]:
    """The steps that lead to one, each after those that it acts on, the last of these first; with their places."""
    found: dict[Step, int] = {}
    waiting: list[tuple[Step, bool]] = [(last, False)]
    while waiting:
        step, done = waiting.pop()
        if done:
            found.setdefault(step, len(found))
        elif step not in found:
            waiting.append((step, True))
            waiting += [(value.step, False) for value in step.of if value.step not in found]
    return found
