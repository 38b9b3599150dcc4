"""From a model's parts to the network they are: exact variances where the weights agree with them, and what to note."""

from collections.abc import Sequence
from math import isclose, sqrt
from typing import Any

from deeplim.activations import gain
from deeplim.architecture import MLP, NORM_PRESERVING, Network, ResNet
from deeplim.errors import SpecError
from deeplim.paths import listed
from deeplim.probe.chain_parts import NotDescribed, Weights, refuse
from deeplim.probe.reading import LayerWeights, Reading, State
from deeplim.probe.torch_activations import described
from deeplim.probe.torch_reading import Parts, outermost
from deeplim.probe.weights_law import TEXTBOOK, Entries, freedoms, nearest, odd_one, sigmas, textbook_name

_SAME = 1e-6


def describe(parts: Parts) -> Reading:
    """Return the reading of a model's parts; its network is None where their weights are no network's."""
    chain = parts.chain
    records = tuple(_record(parts, weights) for weights in (chain.first, *chain.hidden))
    try:
        network, first, notes = _network(parts, records)
        why_not = None
    except (NotDescribed, SpecError) as reason:
        network, first, notes, why_not = None, (0.0, 0.0), [], str(reason)
    states = tuple(
        State(layer, tuple((name, factor * value.factor) for name, factor in parts.names(value.step)))
        for layer, value in chain.states.items()
    )
    recorded = tuple(state.modules[0][0] for state in states if state.modules)
    kinds = {
        kind: _modules(parts, [step for step in _steps(parts) if step.kind == kind])
        for kind in ("linear", "activation", "normalization")
    }
    return Reading(
        network,
        why_not,
        layers=recorded,
        weights=records,
        linears=kinds["linear"],
        activations=kinds["activation"],
        normalizations=kinds["normalization"],
        branches=_branches(parts),
        width=chain.width,
        functional=not all(any(name in parts.trace.recorded for name, _ in state.modules) for state in states),
        notes=(*parts.notes, *notes),
        states=states,
        first_weight_variance=first[0],
        first_bias_variance=first[1],
    )


def _steps(parts: Parts) -> list[Any]:
    """The steps of the whole model, in the order in which modules gave them."""
    return list(dict.fromkeys(value.step for value in parts.trace.recorded.values()))


def _modules(parts: Parts, steps: Sequence[Any]) -> tuple[str, ...]:
    """The modules that give the steps, each once, however often it runs."""
    found = (next((name for name, value in parts.trace.recorded.items() if value.step is step), "") for step in steps)
    return tuple(dict.fromkeys(name.partition("#")[0] for name in found if name))


def _branches(parts: Parts) -> tuple[str, ...]:
    """The modules that give what is added: a module's second run is another branch than its first."""
    given = outermost(parts.trace)
    return tuple(given[step] for step in parts.chain.branches if step in given)


def _record(parts: Parts, weights: Weights) -> LayerWeights:
    step, (n_out, n_in) = weights.step, weights.step.weight.shape
    entries, biases = parts.weights[step], parts.biases[step]
    by, by_bias = weights.weight_factor**2 * n_in, weights.bias_factor**2
    names = parts.names(step)
    return LayerWeights(
        name=names[0][0] if names else step.name,
        fan_in=int(n_in),
        fan_out=int(n_out),
        variance=by * entries.square,
        standard_error=by * entries.variance_error,
        bias_variance=0.0 if biases is None else by_bias * biases.square,
        bias_error=0.0 if biases is None else by_bias * biases.variance_error,
        law=entries.law,
        bias_law="zero" if biases is None else biases.law,
    )


def _network(parts: Parts, records: tuple[LayerWeights, ...]) -> tuple[Network, tuple[float, float], list[str]]:
    """The network, the variances of its first layer's weights and biases, and notes."""
    chain, hidden = parts.chain, records[1:]
    if records[0].law == "zero":
        refuse(f"the weights of {records[0].name} are all 0, so nothing passes; deeplim's networks pass on a signal.")
    for record, weights in zip(records, (chain.first, *chain.hidden), strict=True):
        _check_entries(record, parts.weights[weights.step], parts.biases[weights.step], sigmas(2 * len(records)))
    activation = described(chain.activation, chain.width)
    followed = chain.normalization != "none" and chain.placement == "after-activation"
    critical = 1.0 if followed else gain(activation, chain.width, chain.depth)
    notes: list[str] = []
    frozen = _frozen(chain.kind, hidden)
    steps = [weights.step for weights in chain.hidden]
    none = Entries(chain.width, 0.0, 0.0, 0.0)
    biases = [parts.biases[step] or none for step in steps]
    common = [] if frozen else _common(hidden, [parts.weights[step] for step in steps], biases)
    weight = _weight_variance(common, critical, notes)
    bias = _bias_variance(common, weight, chain.width)
    fields = {
        "width": chain.width,
        "depth": chain.depth,
        "activation": activation,
        "normalization": chain.normalization,
        "placement": chain.placement,
        "weight_variance": weight,
        "bias_variance": bias,
    }
    first = _first_variances(records[0], critical)
    _note_laws(records, notes)
    if chain.kind == "mlp":
        return MLP(**fields), first, notes
    branch = 0.0 if frozen else chain.branch
    if branch == 0:
        notes.append("every residual branch is 0 at initialization, so the blocks pass on what they are given.")
    return ResNet(**fields, **scales(chain.skip, branch, chain.depth)), first, notes


def _check_entries(record: LayerWeights, weights: Entries, biases: Entries | None, most: float) -> None:
    """Refuse parameters that are not drawn about 0: whose mean is more than ``most`` standard errors from it."""
    if weights.law == "constant":
        refuse(f"the weights of {record.name} are all {weights.mean:.4g}; deeplim's weights are drawn about 0.")
    if weights.off_centre > most:
        refuse(
            f"the weights of {record.name} have mean {weights.mean:.3g}, {weights.off_centre:.1f} standard errors from "
            "0; deeplim's weights are drawn about 0."
        )
    if biases is not None and biases.count > 1 and biases.law == "constant":
        refuse(f"the biases of {record.name} are all {biases.mean:.4g}; deeplim's biases are drawn about 0.")
    if biases is not None and biases.off_centre > most:
        refuse(
            f"the biases of {record.name} have mean {biases.mean:.3g}, {biases.off_centre:.1f} standard errors from 0; "
            "deeplim's biases are drawn about 0."
        )


def _frozen(kind: str, hidden: Sequence[LayerWeights]) -> bool:
    """Whether the branches of a residual network are all zero; refuse some that are, and an MLP that is."""
    zero = [record.name for record in hidden if record.law == "zero" and record.bias_variance == 0]
    if not zero:
        return False
    if kind == "mlp":
        refuse(f"the weights of {zero[0]} are all 0, so nothing passes; deeplim's networks pass on a signal.")
    if len(zero) < len(hidden):
        other = next(record.name for record in hidden if record.name not in zero)
        refuse(f"the weights of {zero[0]} are all 0 where those of {other} are not; deeplim's blocks are all alike.")
    return True


def _common(hidden: Sequence[LayerWeights], weights: list[Entries], biases: list[Entries]) -> list[float]:
    """The hidden layers' one variance and bias variance, each with its error; refuse an odd layer."""
    if not hidden:
        return []
    pooled: list[float] = []
    for what, value, error, entries in (
        ("weights", "variance", "standard_error", weights),
        ("biases", "bias_variance", "bias_error", biases),
    ):
        values, errors = ([getattr(record, name) for record in hidden] for name in (value, error))
        odd = odd_one(values, freedoms(entries))
        if odd is not None:
            rest = (sum(values) - values[odd]) / (len(values) - 1)
            times = " times fan-in" if what == "weights" else ""
            refuse(
                f"the {what} of {hidden[odd].name} have variance{times} {values[odd]:.4g} where those of the other "
                f"layers have {rest:.4g}; deeplim's layers have one."
            )
        pooled += [sum(values) / len(values), sqrt(sum(e * e for e in errors)) / len(errors)]
    return pooled


def _weight_variance(common: Sequence[float], critical: float, notes: list[str]) -> float | None:
    """None for the critical variance, a textbook's where the weights agree with one, or else what they have."""
    if not common:
        return None
    value, error = common[:2]
    agreed = nearest(value, error, (critical, *TEXTBOOK))
    told = f"hidden weights have variance times fan-in {value:.4g} ± {error:.1g}"
    if agreed is None:
        notes.append(f"{told}, which is no textbook value (critical is {critical:.4g}).")
        return value
    name = textbook_name(agreed)
    if isclose(agreed, critical, rel_tol=_SAME):
        notes.append(f"{told}: the critical {critical:.4g}" + (f" ({name})." if name else "."))
        return None
    notes.append(f"{told}: {name}; critical would be {critical:.4g}.")
    return agreed


def _bias_variance(common: Sequence[float], weight: float | None, width: int) -> float:
    """0, PyTorch's default 1/(3 width) beside its default weights, or else what the biases have."""
    if not common or common[2] == 0:
        return 0.0
    agreed = nearest(common[2], common[3], (1 / (3 * width),)) if weight == 1 / 3 else None
    return common[2] if agreed is None else agreed


def _first_variances(first: LayerWeights, critical: float) -> tuple[float, float]:
    """The first layer's, exact where they agree with a known value."""
    weight = nearest(first.variance, first.standard_error, (critical, *TEXTBOOK)) or first.variance
    bias = _bias_variance((weight, 0.0, first.bias_variance, first.bias_error), weight, first.fan_in)
    return weight, bias


def _note_laws(records: Sequence[LayerWeights], notes: list[str]) -> None:
    orthogonal = [record.name for record in records if record.law == "orthogonal"]
    if orthogonal:
        notes.append(
            f"{listed(orthogonal, 3)}: orthogonal weights; deeplim's are independent, so that it describes the mean at "
            "large width but not the fluctuations, and redrawn weights are no such network."
        )
    rest = [record.name for record in records if record.law in ("uniform", "other")]
    if rest:
        notes.append(
            f"{listed(rest, 3)}: the weights are not Gaussian, which moves laws by a relative order of 1/fan_in."
        )
    biased = [record.name for record in records if record.bias_law in ("uniform", "other") and record.bias_variance]
    if biased:
        notes.append(
            f"{listed(biased, 3)}: the biases are not Gaussian, which moves laws where biases carry much of the signal."
        )


def scales(skip: float, branch: float, depth: int) -> dict[str, float | str]:
    """Return the skip and branch of a ResNet as its specification writes them.

    A branch that is no short number, but is one divided by sqrt(depth), is written so; a skip that keeps the norm with
    the branch is "norm-preserving", but for one of 1, which keeps it beside any branch that is small enough.
    """
    written: float | str = branch
    factor = branch * sqrt(depth)
    if depth > 1 and not _short(branch) and _short(factor):
        written = f"{float(f'{factor:.6g}'):g}/sqrt(depth)"
    keeps = not isclose(skip, 1.0, rel_tol=_SAME) and isclose(skip**2 + branch**2, 1.0, rel_tol=_SAME)
    return {"skip": NORM_PRESERVING if keeps and branch != 0 and skip > 0 else skip, "branch": written}


def _short(value: float) -> bool:
    """Whether a number has two digits at most."""
    return isclose(value, float(f"{value:.2g}"), rel_tol=_SAME)
