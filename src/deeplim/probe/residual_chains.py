"""Residual blocks, z + branch(z), among a model's steps, and whether they are those of deeplim's ResNet."""

from collections.abc import Sequence
from math import isclose
from typing import NamedTuple

from deeplim.probe.chain_parts import (
    Between,
    Chain,
    Weights,
    check_alike,
    names_of,
    read_between,
    refuse,
    refuse_step,
    width_of,
)
from deeplim.probe.torch_activations import spoken
from deeplim.probe.torch_steps import Step, Value

_SAME = 1e-6


class Block(NamedTuple):
    """A sum: its skip, its branch from the skip's step on, the factor on what that is given, and what led to it."""

    total: Step
    skip: Value
    branch: list[Value]
    entry: float
    before: list[Value]

    @property
    def name(self) -> str:
        """Where the sum is taken."""
        return self.total.name


class _Branch(NamedTuple):
    between: Between
    weights: Weights
    scale: float
    normalization: str


def read_block(total: Step) -> Block:
    """Find which operand of a sum is the skip: the one that the other comes from."""
    first, second = (_back(value) for value in total.of)
    for skip, line in zip(total.of, (second, first), strict=True):
        at = next((i for i, value in enumerate(line) if value.step is skip.step), None)
        if at is not None:
            return Block(total, skip, line[:at][::-1], line[at].factor, [])
    ends = [line[-1].step for line in (first, second)]
    for end in ends:
        if end.kind == "other":
            refuse_step(end)
    if ends[0] is ends[1]:
        short = min(first, second, key=len)
        refuse(
            f"the skip of {total.name} passes through {names_of(short[:-1][::-1])}; "
            "deeplim's skips pass on what they are given."
        )
    refuse(f"{total.name} adds two signals neither of which comes straight from the other; deeplim adds W phi(z) to z.")


def _back(value: Value) -> list[Value]:
    """The steps back from a value through the first sum or input, each with the factor it is used with."""
    line = [value]
    while value.step.kind in ("linear", "activation", "normalization"):
        value = value.step.of[0]
        line.append(value)
    return line


def read_resnet(blocks: Sequence[Block], tail: Sequence[Value]) -> Chain:
    """Return the parts of a residual network, its blocks in order; NotDescribed where it is not deeplim's."""
    stem = blocks[0].before
    if [value.step.kind for value in stem] != ["linear"]:
        begun = f"what {names_of(stem)} give" if stem else "the inputs themselves"
        refuse(f"the first block, {blocks[0].name}, is given {begun}; deeplim's ResNet begins with one Linear layer.")
    after = _after_sums(blocks, tail)
    branches = [_read_branch(block) for block in blocks]
    check_alike([branch.between for branch in branches], [block.name for block in blocks])
    normalization, placement = _normalization(blocks, branches, after)
    weights = tuple(branch.weights for branch in branches)
    entries = [block.entry for block in blocks]
    if 0 in entries or (after and any(entry != 1 for entry in entries)):
        refuse(f"{blocks[0].name} scales what its branch is given by {entries[0]:g}; deeplim's branches are given z.")
    entries.append(entries[-1] if len(entries) > 1 else 1.0)
    skips = [block.skip.factor / entries[i] * entries[i + 1] for i, block in enumerate(blocks)]
    scales = [branch.scale * entries[i + 1] for i, branch in enumerate(branches)]
    ends = [stem[0].step, *(after or [block.total for block in blocks])]
    return Chain(
        kind="resnet",
        width=width_of(stem[0].step, [weight.step for weight in weights]),
        depth=len(blocks),
        first=Weights(stem[0].step, entries[0] * stem[0].step.of[0].factor, entries[0]),
        hidden=weights,
        states={layer: Value(step, 1 / entry) for layer, (step, entry) in enumerate(zip(ends, entries, strict=True))},
        activation=branches[0].between.activation,
        normalization=normalization,
        placement=placement,
        last=tuple(value.step.name for value in tail[bool(after) :]),
        branches=tuple(block.branch[-1].step for block in blocks),
        skip=_one(blocks, skips, "its skip"),
        branch=_one(blocks, scales, "its branch"),
    )


def _after_sums(blocks: Sequence[Block], tail: Sequence[Value]) -> list[Step] | None:
    """The normalization after each sum, where there is one after all."""
    between = [block.before for block in blocks[1:]]
    if not any(between):
        return None
    after = [*between, list(tail[:1])]
    words = {value.step.what if value.step.kind == "normalization" else None for line in after for value in line[:1]}
    if all(len(line) == 1 for line in after) and len(words) == 1 and None not in words:
        return [line[0].step for line in after]
    odd = next(line for line in between if line)
    refuse(
        f"{names_of(odd)} stands between two blocks; deeplim's ResNet hands a sum on as it is, or normalized after "
        "every block alike."
    )


def _read_branch(block: Block) -> _Branch:
    kinds = [value.step.kind for value in block.branch]
    linears = [value for value in block.branch if value.step.kind == "linear"]
    if len(linears) != 1:
        many = f"{len(linears)} Linear layers ({names_of(linears)})" if linears else "no Linear layer"
        refuse(f"the branch of {block.name} has {many}; deeplim's ResNet has one, in W phi(z).")
    at = kinds.index("linear")
    rest = block.branch[at + 1 :]
    if any(value.step.kind == "activation" for value in rest):
        phi = next(value.step.what for value in rest if value.step.kind == "activation")
        refuse(
            f"the branch of {block.name} has {spoken(phi)} after its Linear layer {linears[0].step.name}, phi(W z); "
            "deeplim's ResNet has the activation first, W phi(z)."
        )
    if len(rest) > 1:
        refuse(f"the branch of {block.name} ends in {names_of(rest)}; deeplim has one normalization before a sum.")
    between = read_between(block.branch[:at], Value(block.skip.step, 1.0))
    weights = Weights(linears[0].step, between.after)
    return _Branch(between, weights, block.branch[-1].factor, str(rest[0].step.what) if rest else "none")


def _normalization(blocks: Sequence[Block], branches: Sequence[_Branch], after: list[Step] | None) -> tuple[str, str]:
    """The one normalization of every block, and its place."""
    for block, branch in zip(blocks, branches, strict=True):
        if branch.normalization != branches[0].normalization:
            refuse(
                f"{block.name} has the normalization {branch.normalization} before its sum where {blocks[0].name} has "
                f"{branches[0].normalization}; deeplim's blocks are all alike."
            )
    found: list[tuple[str, str]] = [
        (branches[0].between.normalization, branches[0].between.placement),
        (branches[0].normalization, "before-sum"),
        (str(after[0].what) if after else "none", "after-sum"),
    ]
    there = [(word, place) for word, place in found if word != "none"]
    if len(there) > 1:
        words = " and ".join(f"{word} {place}" for word, place in there)
        refuse(f"the blocks have two normalizations, {words}; deeplim's have at most one.")
    return there[0] if there else ("none", "before-activation")


def _one(blocks: Sequence[Block], values: Sequence[float], what: str) -> float:
    """The value that all blocks have."""
    for block, value in zip(blocks, values, strict=True):
        if not isclose(value, values[0], rel_tol=_SAME, abs_tol=1e-12):
            refuse(
                f"{block.name} multiplies {what} by {value:.6g} where {blocks[0].name} does by {values[0]:.6g}; "
                "deeplim's blocks are all alike."
            )
    return values[0]
