"""The steps of a model as deeplim's MLP or ResNet: which step is which part, or in one sentence why it is neither."""

from collections.abc import Sequence

from deeplim.probe.chain_parts import Chain, Weights, check_alike, line_to, read_between, refuse, refuse_step, width_of
from deeplim.probe.residual_chains import Block, read_block, read_resnet
from deeplim.probe.torch_steps import Value


def chain_of(output: Value) -> Chain:
    """Return the parts; NotDescribed says why there are none."""
    tail, end = line_to(_body(output))
    blocks: list[Block] = []
    while end.step.kind == "sum":
        block = read_block(end.step)
        before, end = line_to(block.skip)
        blocks.insert(0, block._replace(before=before))
    if end.step.kind != "input":
        refuse_step(end.step)
    if end.factor == 0:
        refuse("the inputs are multiplied by 0, so nothing passes; deeplim's networks pass on a signal.")
    return read_resnet(blocks, tail) if blocks else _read_mlp(tail)


def _body(output: Value) -> Value:
    """The output without what a model does to the last Linear layer's, such as a softmax or a squeeze."""
    value = output
    while value.step.kind in ("other", "activation", "normalization") and len(value.step.of) == 1:
        value = value.step.of[0]
    return value if value.step.kind == "linear" and _had_other(output, value) else output


def _had_other(output: Value, body: Value) -> bool:
    while output.step is not body.step:
        if output.step.kind == "other":
            return True
        output = output.step.of[0]
    return False


def _read_mlp(line: Sequence[Value]) -> Chain:
    at = [i for i, value in enumerate(line) if value.step.kind == "linear"]
    if not at:
        refuse("the model has no Linear layer; deeplim's networks are made of them.")
    if at[0] != 0:
        begun = line[0].step.name if line else "the model"
        refuse(f"{begun} acts on the inputs before any Linear layer; deeplim's networks begin with a Linear layer.")
    linears = [line[i] for i in at]
    groups = [line[i + 1 : j] for i, j in zip(at, [*at[1:], len(line)], strict=True)]
    last: tuple[str, ...] = ()
    if _is_readout(linears, groups):
        last = tuple(value.step.name for value in line[at[-1] :])
        linears, groups = linears[:-1], groups[:-1]
    if len(linears) == 1 and not groups[0] and not last:
        refuse("the model is one Linear layer; deeplim's networks have hidden layers.")
    zero = next((value.step.name for value in line if value.factor == 0), None)
    if zero is not None:
        refuse(f"what {zero} gives is multiplied by 0, so nothing passes; deeplim's networks pass on a signal.")
    found = [read_between(group, linear) for group, linear in zip(groups, linears, strict=True)]
    check_alike(found, [linear.step.name for linear in linears])
    handed = [linears[0].step.of[0].factor, *(between.after for between in found)]
    weights = [
        Weights(linear.step, before * linear.factor, linear.factor)
        for linear, before in zip(linears, handed, strict=False)
    ]
    return Chain(
        kind="mlp",
        width=width_of(linears[0].step, [linear.step for linear in linears[1:]]),
        depth=len(linears),
        first=weights[0],
        hidden=tuple(weights[1:]),
        states={layer: between.state for layer, between in enumerate(found, 1)},
        activation=found[0].activation,
        normalization=found[0].normalization,
        placement=found[0].placement,
        last=last,
    )


def _is_readout(linears: Sequence[Value], groups: Sequence[Sequence[Value]]) -> bool:
    """Whether the last Linear layer gives the model's output: nothing follows it, or it has another width."""
    if len(linears) == 1:
        return False
    before, last = (linear.step.weight.shape[0] for linear in linears[-2:])
    return not groups[-1] or before != last
