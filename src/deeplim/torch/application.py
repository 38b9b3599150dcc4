"""A network applied to a PyTorch model in place: activations, residual branches and weights, all of it or nothing."""

from collections.abc import Iterator
from math import isclose, sqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from deeplim.activations import gain
from deeplim.architecture import MLP, Network, ResNet
from deeplim.checks import check_count, check_kind, check_seed
from deeplim.errors import InputError, SpecError
from deeplim.inputs import MOST_INPUTS
from deeplim.probe.array_inputs import held_batches
from deeplim.probe.chain_parts import Weights
from deeplim.probe.torch_activations import described
from deeplim.probe.torch_inputs import read_arguments
from deeplim.probe.torch_steps import Step
from deeplim.probe.world import alone
from deeplim.shaping.design import shape
from deeplim.shaping.infinite_width import check_network
from deeplim.shaping.target import Target
from deeplim.torch.edits import Change, Edit, assignment, drawing, make_all, replacement
from deeplim.torch.modules import ScaledLinear, ScaledResidual
from deeplim.torch.sites import Site, activation_module, site_of

_SAME = 1e-6


def shape_(
    model: nn.Module,
    target: Target,
    *,
    vary: str | None = None,
    inputs: Any = None,
    seed: int | None = None,
    networks: int = 10_000,
) -> list[Change]:
    """Shape a model in place for its own width and depth so that it keeps a target, and return what was changed.

    The architecture is read off the model, whatever its weights are; ``deeplim.shape(network, target, vary=vary)``
    chooses the most nonlinear network that keeps the target, counted in ``networks`` exact ones; ``apply_`` makes the
    model that. inputs, seed: as there. InputError, with the model exactly as it was, also when the target cannot be
    kept, with the probability that can be.
    """
    check_kind("a target", target, Target, "give a deeplim.Target(correlation=...)", error=SpecError)
    check_count("networks", networks)
    seed = None if seed is None else check_seed(seed)
    with alone():
        inputs = held_batches(inputs)
        shaping = shape(site_of(model, inputs).network, target, vary=vary, networks=networks, seed=seed or 0)
        if not shaping.feasible:
            least = "" if shaping.least_width is None else f"; the least width at this depth is {shaping.least_width}"
            raise InputError(
                f"no {shaping.vary} of a network of width {shaping.network.width} and depth {shaping.network.depth} "
                f"keeps {target}: the largest probability found is {shaping.law.probability}{least}."
            )
        return apply_(model, shaping.network, inputs=inputs, seed=seed)


def apply_(model: nn.Module, network: Network, *, inputs: Any = None, seed: int | None = None) -> list[Change]:
    """Give a model the activations, residual scales and initial weights of a network, and return what was changed.

    The model must have the network's form: sizes, normalization and residual sums stay as they are. Activations are
    replaced wherever the model has them; where a sum stands in code, the branch's last Linear layer is scaled. Weights
    and biases are drawn anew, Gaussian with variance sigma_w^2 / fan_in and sigma_b^2; the first layer's variance is
    1 / fan_in, over the mean square of ``inputs`` when these are given; a head's keeps the mean square of what it is
    given, after an activation by the network's sigma_w^2. seed: of those draws; None draws them by torch's own random
    numbers. Mode, device, type and requires_grad stay. InputError or SpecError, with the model exactly as it was,
    when its architecture is not a deeplim network's or another one's, where an activation or a scale stands in code,
    for frozen or quantized parameters, and for tied ones.
    """
    check_network(network)
    seed = None if seed is None else check_seed(seed)
    with alone():
        inputs = held_batches(inputs)
        site = site_of(model, inputs)
        _check_form(site.network, network)
        replaced = _activation_edits(site, network)
        edits = [
            *dict.fromkeys(replaced.values()),
            *_branch_edits(site, network),
            *_weight_edits(site, network, set(replaced), inputs, seed),
        ]
        return make_all(edits, lambda: _check_taken(site, network, inputs))


def _check_form(present: Network, network: Network) -> None:
    for name in ("kind", "width", "depth", "normalization", "placement"):
        has, wants = getattr(present, name), getattr(network, name)
        if has != wants and not (name == "placement" and present.normalization == "none"):
            raise SpecError(f"the model is {present} and cannot be made {network}; give a network of {name} {has!r}.")


def _activation_edits(site: Site, network: Network) -> dict[Step, Edit]:
    """The edit for each activation step of the layers; steps of one module share it."""
    if _same_function(site.network, network):
        return {}
    steps = _activation_steps(site)
    if not steps:
        raise InputError(f"the model has no activations between its layers, where {network.activation} could be put.")
    edits: dict[str, Edit] = {}
    for step in steps:
        if step.module not in edits:
            old = site.activation(step)
            new = activation_module(network, site.network, old)
            change = Change(step.module, "activation", _text(old), _text(new))
            edits[step.module] = Edit(change, replacement(site.model, old, new))
    return {step: edits[step.module] for step in steps}


def _activation_steps(site: Site) -> list[Step]:
    """The activations between the layers' weights, and an MLP's after its last layer."""
    chain = site.chain
    ends = [weights.step.of[0].step for weights in chain.hidden]
    if chain.kind == "mlp":
        ends.append(chain.states[chain.depth].step)
    found: list[Step] = []
    for step in ends:
        while step.kind in ("activation", "normalization"):
            found += [step] if step.kind == "activation" else []
            step = step.of[0].step
    return found


def _branch_edits(site: Site, network: Network) -> Iterator[Edit]:
    if not isinstance(network, ResNet):
        return
    chain = site.chain
    if chain.branch == 0 != network.branch_scale:
        raise InputError(
            "the model multiplies its residual branches by 0, which no scale undoes; set that factor to 1."
        )
    by = 1.0 if network.branch_scale == chain.branch else network.branch_scale / chain.branch
    skip_by = network.skip_scale / chain.skip if chain.skip else 1.0
    if isclose(by, 1, rel_tol=_SAME) and isclose(skip_by, 1, rel_tol=_SAME):
        return
    for layer, weights in enumerate(chain.hidden, 1):
        total = chain.states[layer].step
        while total.kind != "sum":
            total = total.of[0].step
        block = site.model.get_submodule(total.module)
        if isinstance(block, ScaledResidual):
            yield _assigned(total.module, block, "scale", by)
            yield _assigned(total.module, block, "skip", skip_by)
            continue
        if not isclose(skip_by, 1, rel_tol=_SAME):
            raise InputError(
                f"{total.name} adds its skip connection in code, times {chain.skip:g}, where it should be times "
                f"{network.skip_scale:.6g}; write the block as a deeplim.torch.ScaledResidual, or keep its skip."
            )
        yield _scaled_linear(site, weights.step, by)


def _assigned(name: str, module: ScaledResidual | ScaledLinear, what: str, by: float) -> Edit:
    before = getattr(module, what)
    return Edit(Change(name, what, f"{before:.6g}", f"{before * by:.6g}"), assignment(module, what, before * by))


def _scaled_linear(site: Site, step: Step, by: float) -> Edit:
    """The edit that scales a branch by its Linear layer."""
    linear = site.model.get_submodule(step.module)
    if isinstance(linear, ScaledLinear):
        return _assigned(step.module, linear, "scale", by)
    if type(linear) is not nn.Linear or site.network.placement == "before-sum":
        raise InputError(
            f"the residual branch of {step.name} does not end in a torch.nn.Linear that could be scaled; write its "
            "block as a deeplim.torch.ScaledResidual."
        )
    return Edit(
        Change(step.module, "scale", "1", f"{by:.6g}"), replacement(site.model, linear, ScaledLinear.of(linear, by))
    )


def _weight_edits(site: Site, network: Network, replaced: set[Step], inputs: Any, seed: int | None) -> Iterator[Edit]:
    """The draws of all weights and biases, in the order of the layers and then the heads."""
    generator = torch.Generator()
    generator.manual_seed(int(torch.randint(2**62, ())) if seed is None else seed)
    drawn: dict[str, str] = {}
    first = 1 / _mean_square(inputs, site.chain.first.step)
    layers = [(site.chain.first, first), *((weights, network.gain) for weights in site.chain.hidden)]
    heads = [(Weights(step, step.of[0].factor), _head_gain(step, network, replaced)) for step in site.heads()]
    for weights, variance in (*layers, *heads):
        step = weights.step
        parameter = site.parameter(step.weight, f"the weights of {step.name}")
        if parameter[0] in drawn:
            raise InputError(
                f"{drawn[parameter[0]]} and {step.name} share one weight matrix; untie them to shape them."
            )
        drawn[parameter[0]] = step.name
        fan_in = int(step.weight.shape[1])
        yield _drawing(parameter, "weight variance times fan-in", weights.weight_factor, variance, fan_in, generator)
        sigma = 0.0 if step in {head.step for head, _ in heads} else network.bias_variance
        if step.bias is not None:
            biases = site.parameter(step.bias, f"the biases of {step.name}")
            if sigma == 0 and not biases[1].detach().any():
                continue
            yield _drawing(biases, "bias variance", weights.bias_factor, sigma, 1, generator)
        elif sigma > 0:
            raise InputError(f"{step.name} has no biases, and {network} has; give it biases or a network without.")


def _mean_square(inputs: Any, first: Step) -> float:
    """That of the entries of the inputs; 1 when none are given."""
    if inputs is None:
        return 1.0
    arrays = isinstance(inputs, np.ndarray | Tensor)
    given = torch.as_tensor(inputs) if arrays else read_arguments(inputs, MOST_INPUTS).first
    square = 0.0 if given is None else float(given.abs().double().square().mean())
    if not 0 < square < float("inf"):
        raise InputError(
            f"the inputs to {first.name} have mean square {square:g}; give finite inputs that are not all 0."
        )
    return square


def _head_gain(step: Step, network: Network, replaced: set[Step]) -> float:
    """The weight variance times fan-in that keeps the mean square of what a head is given, before any activation."""
    before = step.of[0].step
    if before.kind != "activation":
        return 1.0
    if before in replaced or isinstance(network, MLP):
        return network.gain
    return gain(described(before.what, network.width), network.width, network.depth)


def _drawing(
    parameter: tuple[str, Tensor], what: str, factor: float, variance: float, fan_in: int, generator: torch.Generator
) -> Edit:
    """The edit that draws a parameter anew; the constant ``factor`` that multiplies it in the model is divided out."""
    name, values = parameter
    before = float(values.detach().double().square().mean()) * fan_in * factor**2
    change = Change(name, what, f"{before:.4g}", f"{variance:.4g}")
    return Edit(change, drawing(values, sqrt(variance / fan_in) / abs(factor), generator))


def _check_taken(site: Site, network: Network, inputs: Any) -> None:
    """Read the changed model again: what other code of the model does with it may have undone a change."""
    again = site_of(site.model, inputs)
    same = [_same_function(again.network, network)]
    if isinstance(network, ResNet) and isinstance(again.network, ResNet):
        same += [
            isclose(getattr(again.network, s), getattr(network, s), rel_tol=_SAME)
            for s in ("branch_scale", "skip_scale")
        ]
    pairs = zip((site.chain.first, *site.chain.hidden), (again.chain.first, *again.chain.hidden), strict=True)
    same += [isclose(x, y, rel_tol=_SAME) for old, new in pairs for x, y in zip(old[1:], new[1:], strict=True)]
    if not all(same):
        raise InputError(
            f"changed towards {network} the model read as {again.network}, because its own code takes part in what was "
            "replaced; it was left as it was, and can be built from the modules of deeplim.torch instead."
        )


def _same_function(one: Network, other: Network) -> bool:
    points = np.concatenate([-np.geomspace(1e-3, 5, 40), np.geomspace(1e-3, 5, 40)])
    return bool(np.allclose(one.phi(points), other.phi(points), rtol=_SAME, atol=1e-9))


def _text(module: nn.Module) -> str:
    return repr(module) if "\n" not in repr(module) else f"{type(module).__name__}({module.extra_repr()})"
