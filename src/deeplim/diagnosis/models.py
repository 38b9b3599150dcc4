"""Real models as evidence: signals forward and backward, the architecture read off, and exact networks beside them."""

import sys
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from deeplim.diagnosis.evidence import INPUT, Evidence
from deeplim.diagnosis.subjects import Probing, layer_names
from deeplim.diagnosis.thresholds import Thresholds
from deeplim.ensemble import simulate
from deeplim.errors import DeeplimError, InputError
from deeplim.inputs import Inputs
from deeplim.modules import Modules
from deeplim.paths import Paths

if TYPE_CHECKING:
    from deeplim.probe.reading import LayerWeights, Reading


def of_model(model: Any, inputs: Any, thresholds: Thresholds, probing: Probing) -> tuple[str, str | None, Evidence]:
    """Return a name for the model, what was read of it in words, and the evidence."""
    from deeplim.probe.array_inputs import held_batches
    from deeplim.probe.world import undisturbed

    with undisturbed(model, inputs, probing.initialize, probing.modules):
        return _of_model(model, held_batches(inputs), thresholds, probing)


def _of_model(model: Any, inputs: Any, thresholds: Thresholds, probing: Probing) -> tuple[str, str | None, Evidence]:
    from deeplim.probe.record import record

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what lies below the rounding of floats is a finding here
        recorded = record(model, inputs, **_options(probing))
        backward, silence = _gradients(model, inputs, probing)
        reading = _read(model, inputs, probing.seed)
        if reading is not None and reading.network is not None and reading.functional and probing.modules is None:
            # the chain's states are given by code, between modules: make them modules
            model = _observable(model, inputs)
            recorded = record(model, inputs, **_options(probing))
            backward, silence = _gradients(model, inputs, probing)
    names = layer_names(recorded)
    seen = Evidence(
        measured=recorded,
        layers=names,
        recorded=recorded,
        recorded_layers=names,
        thresholds=thresholds,
        backward=backward,
        backward_layers=() if backward is None else layer_names(backward),
        sequences=recorded.samples // probing.repeats,
        independent=probing.initialize is not None or not _given(model),
    )
    told = silence
    if reading is not None:
        read, found = _read_as(reading, recorded, backward, probing)
        told = read if silence is None else f"{read.rstrip('.')}; {silence}"
        seen = replace(seen, **found)
    return recorded.source, told, seen


def _read_as(
    reading: "Reading", recorded: Paths, backward: Paths | None, probing: Probing
) -> tuple[str, dict[str, Any]]:
    """What was read, in words, and what it adds to the evidence."""
    parts: dict[str, Any] = {
        "normalized": bool(reading.normalizations),
        "branches": reading.branches,
        "linears": len(reading.linears),
        "zeroed": reading.zeroed,
        "convolutional": bool(reading.convolutions),
        "units": reading.width,
    }
    if reading.network is None:
        return f"no known architecture: {reading.why_not}", parts
    told = f"read as {reading.network}"
    rows = _rows(reading, recorded)
    if rows is not None and probing.per == "input":
        return f"{told}, but each input is {rows}, and no exact networks are drawn beside it", parts
    try:
        return told, parts | _beside(reading, recorded, backward, probing)
    except DeeplimError as reason:
        return f"{told}, but no exact networks can be drawn beside it ({str(reason).rstrip('.')})", parts


def _given(model: Any) -> bool:
    """Whether this is a PyTorch model itself, of which copies are made, rather than a factory."""
    if "torch" not in sys.modules:
        return False
    from deeplim.probe.torch_models import recognises

    return recognises(model) and not isinstance(model, type)


def _rows(reading: "Reading", recorded: Paths) -> str | None:
    """What an input is where it is not one row of the first layer's: its rows share weights, as no network's do."""
    known = None if recorded.modules is None else recorded.modules.features
    names, n_in = layer_names(recorded), reading.weights[0].fan_in
    if known is None or INPUT not in names or known[names.index(INPUT)] == n_in:
        return None
    numbers = int(known[names.index(INPUT)])
    return f"{numbers // n_in} rows of {n_in} numbers" if numbers % n_in == 0 else f"{numbers} numbers, not {n_in}"


def _options(probing: Probing) -> dict[str, Any]:
    return {name: getattr(probing, name) for name in ("repeats", "seed", "per", "initialize", "modules")}


def _gradients(model: Any, inputs: Any, probing: Probing) -> tuple[Paths | None, str | None]:
    """The backward signals; None where the output has no gradients, and in words why."""
    from deeplim.probe.layers import NoGradients
    from deeplim.probe.record import record_gradients

    if not probing.gradients:
        return None, None
    try:
        found = record_gradients(model, inputs, **_options(probing))
    except NoGradients as reason:
        return None, f"no backward signal: {reason}"
    if not np.isfinite(found.log_norm).any():
        return None, "no backward signal: every gradient is zero or not finite"
    return found, None


def _read(model: Any, inputs: Any, seed: int) -> "Reading | None":
    """The architecture of a PyTorch model; None for others."""
    from deeplim.probe.reading import read_architecture

    if "torch" not in sys.modules:
        return None
    try:
        return read_architecture(model, inputs=inputs, seed=seed)
    except InputError:
        return None


def _observable(model: Any, inputs: Any) -> Any:
    from deeplim.probe.torch_points import observable

    return observable(model, inputs=inputs)


def _beside(reading: "Reading", recorded: Paths, backward: Paths | None, probing: Probing) -> dict[str, Any]:
    """The chain's states as recorded, from layer 0 on, and exact networks of the architecture at the same layers."""
    if reading.network is None or probing.per != "input":
        return {}
    given = _first_covariance(reading, recorded)
    states = reading.overlay(recorded)
    along = [] if backward is None else [name for name in layer_names(states) if name in layer_names(backward)]
    if states.time[0] != 0:
        states = _with_inputs(states, given)
    layers = [int(layer) for layer in states.time]
    predicted = simulate(reading.network, given, networks=probing.networks, seed=probing.seed, layers=layers)
    names = layer_names(states)
    found: dict[str, Any] = {"measured": states, "layers": names, "predicted": predicted, "network": reading.network}
    if backward is not None and along:
        found |= {"backward": backward.named(along), "backward_layers": tuple(along)}
    return found | {
        "chain": True,
        "weights": reading.weights[1:],
        "non_gaussian": [0.0 if _is_gaussian(one) else 1 / one.fan_in for one in reading.weights],
    }


def _is_gaussian(one: "LayerWeights") -> bool:
    """Whether a layer's weights and biases look Gaussian; orthogonal weights have no law of independent ones at all."""
    biased = one.bias_law in ("uniform", "other") and one.bias_variance > 0
    return one.law not in ("uniform", "other") and not biased


def _first_covariance(reading: "Reading", recorded: Paths) -> Inputs:
    """The covariance of the first layer's preactivation, from the inputs as they were recorded."""
    from deeplim.probe.reading import handed_on

    first = recorded.named([INPUT])
    if not first.alive.all():
        raise InputError("an input is zero, or too large for its precision.")
    log_norm, log_gap = handed_on(
        first.log_norm[:1], first.log_gap[:1], reading.first_weight_variance, reading.first_bias_variance
    )
    count = first.inputs
    gap = np.zeros((count, count))
    gap[np.triu_indices(count, 1)] = np.exp(log_gap[0, 0])
    if (gap[np.triu_indices(count, 1)] <= 0).any():
        raise InputError("two of the inputs are parallel; drop one.")
    return Inputs(log_norm[0, 0], gap + gap.T, first.names, "the first preactivation")


def _with_inputs(states: Paths, given: Inputs) -> Paths:
    """The chain's states with layer 0, the same in every sample, before them."""
    samples = states.samples
    gap = np.log(given.gap[np.triu_indices(given.count, 1)])
    before = {"log_norm": given.log_norm, "log_gap": gap}
    whole: dict[str, Any] = {
        name: np.concatenate([np.broadcast_to(value, (samples, 1, len(value))), getattr(states, name)], axis=1)
        for name, value in before.items()
    }
    return replace(
        states,
        **whole,
        alive=np.concatenate([np.ones((samples, 1), dtype=bool), states.alive], axis=1),
        time=np.concatenate([[0.0], states.time]),
        modules=Modules((INPUT, *layer_names(states))),
    )
