"""Rules about residual branches: those that add nothing, and those that add too much for the depth."""

from collections.abc import Iterator

import numpy as np

from deeplim.architecture import NORM_PRESERVING, ResNet
from deeplim.diagnosis.criticality import norm_decades
from deeplim.diagnosis.estimates import median
from deeplim.diagnosis.evidence import Evidence
from deeplim.diagnosis.finding import Finding
from deeplim.diagnosis.words import finite, signed
from deeplim.specs import counted

_DELIBERATE = (
    "branches that are zero to begin with (ReZero, Fixup, SkipInit) learn from the first step on and are no fault"
)
_MEANT = f"none, if it is meant: {_DELIBERATE}."


def frozen_branch(seen: Evidence) -> Iterator[Finding]:
    """Residual branches that leave the covariance as it came: the blocks do nothing at initialization."""
    zero = _zero_branches(seen)
    network = seen.network
    if zero and not isinstance(network, ResNet):
        yield Finding(
            name="frozen-branch",
            severity="note",
            measured=f"{len(zero)} of {counted(len(seen.branches), 'branch', 'branches')} "
            f"{'adds' if len(zero) == 1 else 'add'} exactly zero in every initialization.",
            remedy=_MEANT,
            where=zero[0],
            numbers={"zero": float(len(zero)), "branches": float(len(seen.branches))},
        )
    if not isinstance(network, ResNet) or network.depth < 2 or seen.end == 0:
        return
    change = _largest_change(seen)
    if not change < seen.thresholds.frozen:
        return
    alpha = network.branch_exponent
    none = network.branch_scale == 0
    scale = f"branches of scale {network.branch_scale:.3g} at depth {network.depth}"
    why = f", a/depth^{alpha:g}, vanish faster than 1/sqrt(depth)" if alpha > 0.5 else " add next to nothing"
    yield Finding(
        name="frozen-branch",
        severity="note" if none else "warning",
        measured=f"the branches of all {network.depth} blocks are exactly zero."
        if none
        else f"over all blocks no norm and no 1 - rho changes by more than {change:.2%}: {scale}{why}.",
        predicted=f"with 1/sqrt(depth) = {network.depth**-0.5:.3g} the covariance has a limit that does not depend on "
        "the depth (Li & Nica 2023).",
        remedy=_MEANT if none else f"scale each branch by 1/sqrt(depth) = {network.depth**-0.5:.3g}; {_DELIBERATE}.",
        where=seen.layers[seen.end],
        numbers=finite(change=change, branch=network.branch_scale, exponent=alpha if alpha > 0 else None),
    )


def _zero_branches(seen: Evidence) -> list[str]:
    """The residual branches that add exactly zero for every input of every initialization.

    Their outputs are zero, or what they are multiplied by. What leaves a module may be recorded as that of the last one
    inside it.
    """
    names = seen.recorded_layers
    last = {
        branch: [at for at, name in enumerate(names) if f"{name}.".startswith(f"{branch}.")] for branch in seen.branches
    }
    silent = np.asarray(np.isneginf(seen.recorded.log_norm).all(axis=(0, 2)))
    return [name for name, inside in last.items() if name in seen.zeroed or (inside and silent[inside[-1]])]


def _largest_change(seen: Evidence) -> float:
    """The median sample's largest relative change of a norm or a gap along depth."""
    paths = seen.measured
    moves = [np.abs(values[:, seen.end] - values[:, 0]) for values in (paths.log_norm, paths.log_gap)]
    with np.errstate(invalid="ignore"):
        largest = np.max(np.concatenate(moves, axis=1), axis=1)
    return median(np.asarray(largest)).value


def branch_explodes(seen: Evidence) -> Iterator[Finding]:
    """Residual branches too large for the depth: the norm grows at every block."""
    network = seen.network
    if not isinstance(network, ResNet) or network.normalization != "none":
        return
    growth = norm_decades(network, 10 ** seen.norm_at(0).value)
    limits = seen.thresholds
    if growth is None or growth <= limits.norm_warning:
        return
    reach = seen.norm_at(seen.end).value - seen.norm_at(0).value
    yield Finding(
        name="branch-explodes",
        severity="unhealthy" if growth > limits.norm_unhealthy else "warning",
        measured=f"the median mean square changes by {signed(reach)} decades over {counted(network.depth, 'block')} "
        f"with branches of scale {network.branch_scale:.3g}, {_kind(network)}.",
        predicted=f"{signed(growth)} decades at infinite width{_a_block(network)}.",
        remedy=_smaller(seen, network),
        where=seen.layers[seen.end],
        numbers=finite(decades=reach, decades_predicted=growth, branch=network.branch_scale),
    )


def _kind(network: ResNet) -> str:
    alpha = network.branch_exponent
    if alpha == 0:
        return "the same at every depth"
    return f"a/depth^{alpha:g}" + (" with an exponent below 1/2" if alpha < 0.5 else "")


def _a_block(network: ResNet) -> str:
    if not network.homogeneous or network.bias_variance > 0:
        return ", layer by layer"
    ratio = network.skip_scale**2 + network.branch_scale**2 * network.gain_ratio
    return f": a factor skip^2 + branch^2 sigma_w^2/c = {ratio:.4g} a block"


def _smaller(seen: Evidence, network: ResNet) -> str:
    """The remedies, and what each makes of norms at infinite width."""
    critical = network.model_copy(update={"weight_variance": None, "bias_variance": 0.0, "skip": 1.0})
    scaled = critical.model_copy(update={"branch": "1/sqrt(depth)"})
    beside = "" if network.skip == 1 else " beside a skip of 1"
    told = f"scale each branch by 1/sqrt(depth) = {network.depth**-0.5:.3g}{beside}{_gives(seen, scaled)}"
    if network.branch_scale < 1:
        kept = critical.model_copy(update={"branch": network.branch, "skip": NORM_PRESERVING})
        told += f"; or the skip by sqrt(1 - branch^2){_gives(seen, kept)}"
    if network.critical:
        return told + "."
    both = "both " if network.branch_scale < 1 else ""
    return f"{told}; {both}with weights of variance {network.critical_gain:.4g}/fan_in and biases of zero."


def _gives(seen: Evidence, network: ResNet) -> str:
    change = norm_decades(network, 10 ** seen.norm_at(0).value)
    return "" if change is None else f", which gives {signed(change)} decades"
