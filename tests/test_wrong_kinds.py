"""Every argument of every public function on models and on shaping, of each wrong kind: refused in one sentence."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from kinds import (
    ARRAYS,
    CALLABLE,
    COUNT,
    KINDS,
    LISTS,
    NETWORK,
    NONE,
    NOTHING,
    NUMBERS,
    PATHS,
    POSITIVE,
    SEED,
    TARGET,
)
from refusals import refusal
from torch import nn

import deeplim as dl
import deeplim.diagnosis
import deeplim.jax
import deeplim.probe
import deeplim.torch
from deeplim.diagnosis import Finding, Thresholds, branch_exponent, coordinate_check
from deeplim.errors import DeeplimError
from deeplim.probe import Signals, norms_and_gaps, observable, read_architecture, record, record_gradients
from deeplim.shaping import design, export, infinite_width
from deeplim.torch import (
    ScaledLinear,
    ScaledResidual,
    ShapedActivation,
    ShapedReLU,
    TransformedActivation,
    apply_,
    shape_,
)

X = np.random.default_rng(0).standard_normal((4, 8))
SMOOTH = NETWORK.model_copy(update={"activation": dl.Elementwise(function="tanh")})


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4))


def residual(depth: int) -> nn.Module:
    return nn.Sequential(nn.Linear(8, 8), *[ScaledResidual(nn.Linear(8, 8), depth**-0.5) for _ in range(depth)])


READING = read_architecture(mlp, inputs=X)
PARAMETERS = {"d": {"kernel": jnp.ones((3, 4)), "bias": jnp.ones(4)}}
TEXT, FINDING = {"text"}, {"name": "a", "severity": "note", "measured": "m", "remedy": "r"}
PROBE = {"inputs": NOTHING, "repeats": COUNT, "seed": SEED, "per": NOTHING, "modules": {"None", "a function of two"}}
LENIENT = Thresholds(aligned_gap=1e-9, nearly_aligned_gap=1e-9)


def _signals(**options: Any) -> dl.Paths:
    collected = Signals(1)
    collected.add("a", X[None])
    collected.finish()
    return collected.paths(**options)


def _applied(**options: Any) -> object:
    return apply_(mlp(), **options)


def _shaped(**options: Any) -> object:
    return shape_(mlp(), **options)


Call = tuple[Callable[..., object], dict[str, Any], dict[str, set[str]]]
"""A function, arguments that it takes, and of those that are tried the kinds that are right."""
CALLS: dict[str, Call] = {
    "probe.record": (
        record,
        {"model": mlp, "inputs": X, "repeats": 2},
        PROBE | {"model": NOTHING, "initialize": NONE, "most": COUNT},
    ),
    "probe.record of a model": (record, {"model": mlp(), "inputs": X, "repeats": 2}, {"initialize": NONE}),
    "probe.record_gradients": (
        record_gradients,
        {"model": mlp, "inputs": X, "repeats": 2},
        PROBE | {"model": NOTHING, "initialize": NONE, "most": COUNT},
    ),
    "probe.read_architecture": (
        read_architecture,
        {"model_or_factory": mlp, "inputs": X},
        # what it does not take for inputs of the model it says in the reading
        {"model_or_factory": NOTHING, "inputs": {"None", "a list", "an array", "a tensor"}, "seed": SEED},
    ),
    "probe.observable": (
        observable,
        {"model_or_factory": mlp, "inputs": X},
        {"model_or_factory": NOTHING, "inputs": NONE},
    ),
    "probe.norms_and_gaps": (norms_and_gaps, {"x": X}, {"x": NOTHING}),
    "probe.Signals": (Signals, {"repeats": 2}, {"repeats": COUNT, "multiply": CALLABLE}),
    "probe.Signals.add": (
        lambda **options: Signals(2).add(**options),
        {"name": "a", "x": X[None], "rounding": -1.0},
        {"name": TEXT, "x": NOTHING, "rounding": NUMBERS | {"infinity"}},
    ),
    "probe.Signals.paths": (
        _signals,
        {"source": "s", "names": tuple("abcd")},
        {"source": TEXT, "names": NOTHING},
    ),
    "probe.Reading.inputs": (READING.inputs, {"x": X}, {"x": NOTHING}),
    "probe.Reading.overlay": (READING.overlay, {"paths": record(mlp, X, repeats=1)}, {"paths": {"paths"}}),
    "diagnosis.diagnose": (
        dl.diagnose,
        {"subject": mlp, "inputs": X, "repeats": 2, "networks": 5},
        PROBE
        | {
            "subject": {"a network"},
            "networks": COUNT,
            "initialize": NONE,
            "thresholds": NOTHING,
            "gradients": {"True"},
        },
    ),
    "diagnosis.diagnose of a network": (
        dl.diagnose,
        {"subject": NETWORK, "inputs": X, "networks": 5},
        PROBE
        | {
            "networks": COUNT,
            "initialize": NONE | CALLABLE,
            "modules": NONE | TEXT | CALLABLE | {"words"},
            "gradients": {"True"},
        },
    ),
    "diagnosis.assert_healthy": (
        dl.assert_healthy,
        {"subject": mlp, "inputs": X, "repeats": 2, "networks": 5, "thresholds": LENIENT},
        PROBE | {"subject": {"a network"}, "networks": COUNT, "thresholds": NOTHING, "gradients": {"True"}},
    ),
    "diagnosis.branch_exponent": (
        branch_exponent,
        {"factory_of_depth": residual, "inputs": X, "depths": [2, 4], "repeats": 2, "stream": lambda model: ["0", "1"]},
        {
            "factory_of_depth": NOTHING,
            "inputs": NOTHING,
            "depths": {"a tuple"},
            "repeats": COUNT,
            "seed": SEED,
            "stream": NONE,
        },
    ),
    "diagnosis.coordinate_check": (
        coordinate_check,
        {"factory_of_width": lambda width: mlp(), "inputs": X, "widths": [2, 4], "repeats": 2},
        {
            "factory_of_width": NOTHING,
            "inputs": NOTHING,
            "widths": {"a tuple"},
            "repeats": COUNT,
            "seed": SEED,
            "step": NONE,
            "steps": {"zero"},
            "modules": {"None", "a function of two"},
            "thresholds": NOTHING,
        },
    ),
    "diagnosis.Thresholds": (
        Thresholds,
        {},
        {"slope": POSITIVE, "aligned_gap": NOTHING, "lost_share": NOTHING, "shrunk": POSITIVE},
    ),
    "diagnosis.Thresholds.changed": (Thresholds().changed, {"words": ["slope=0.2"]}, {"words": {"an empty list"}}),
    "diagnosis.Finding.from_dict": (Finding.from_dict, {"found": FINDING}, {"found": NOTHING}),
    "Target": (
        dl.Target,
        {},
        {
            "correlation": NOTHING,
            "quantile": NOTHING,
            "start": {"zero"},
            "norm_within": NONE | POSITIVE | {"an array without axes"},
        },
    ),
    "Target.margins": (TARGET.margins, {"paths": PATHS}, {"paths": {"paths"}}),
    "shape": (
        dl.shape,
        {"network": NETWORK, "target": TARGET, "networks": 100},
        {"network": {"a network"}, "target": {"a target"}, "vary": NONE, "networks": NOTHING, "seed": SEED},
    ),
    "shaping.design.infinite_width": (
        design.infinite_width,
        {"network": NETWORK, "target": TARGET},
        {"network": {"a network"}, "target": {"a target"}, "vary": NONE},
    ),
    "shaping.infinite_width.tat_slope": (
        infinite_width.tat_slope,
        {"network": NETWORK, "eta": 0.3},
        {"network": {"a network"}, "eta": NOTHING, "start": {"zero"}},
    ),
    "shaping.infinite_width.tat": (infinite_width.tat, {"network": SMOOTH}, {"network": NOTHING, "tau": POSITIVE}),
    "shaping.infinite_width.dks": (infinite_width.dks, {"network": SMOOTH}, {"network": NOTHING, "zeta": POSITIVE}),
    "shaping.infinite_width.conditions": (infinite_width.conditions, {"function": np.tanh}, {"function": NOTHING}),
    "shaping.infinite_width.base_of": (infinite_width.base_of, {"network": SMOOTH}, {"network": NOTHING}),
    "shaping.infinite_width.branch_share": (
        infinite_width.branch_share,
        {"network": NETWORK},
        {"network": {"a network"}},
    ),
    "shaping.export.torch_code": (export.torch_code, {"network": NETWORK}, {"network": {"a network"}}),
    "shaping.export.jax_code": (export.jax_code, {"network": NETWORK}, {"network": {"a network"}}),
    "torch.apply_": (
        _applied,
        {"network": NETWORK, "inputs": X},
        {"network": {"a network"}, "inputs": NONE, "seed": NONE | SEED},
    ),
    "torch.apply_ of a model": (apply_, {"model": mlp(), "network": NETWORK}, {"model": NOTHING}),
    "torch.shape_": (
        _shaped,
        {"target": TARGET, "networks": 100},
        {"target": {"a target"}, "vary": NONE, "inputs": NONE, "seed": NONE | SEED, "networks": NOTHING},
    ),
    "torch.shape_ of a model": (shape_, {"model": mlp(), "target": TARGET, "networks": 100}, {"model": NOTHING}),
    "torch.ShapedReLU": (ShapedReLU, {"s_plus": 1.0, "s_minus": 0.5}, {"s_plus": NUMBERS, "s_minus": NUMBERS}),
    "torch.ShapedReLU.at_rate": (
        ShapedReLU.at_rate,
        {"c_plus": 0.0, "c_minus": -1.0, "rate": 10, "exponent": 0.5},
        {"c_plus": NUMBERS, "c_minus": NUMBERS, "rate": POSITIVE, "exponent": NUMBERS},
    ),
    "torch.ShapedActivation": (
        ShapedActivation,
        {"function": "tanh", "scale": 2.0},
        {"function": NOTHING, "scale": POSITIVE, "name": NONE | TEXT},
    ),
    "torch.TransformedActivation": (
        TransformedActivation,
        {"function": "tanh"},
        {
            "function": CALLABLE,  # which is called where numbers are
            "input_scale": NUMBERS,
            "input_shift": NUMBERS,
            "output_scale": NUMBERS,
            "output_shift": NUMBERS,
            "name": NONE | TEXT,
        },
    ),
    "torch.ScaledResidual": (
        ScaledResidual,
        {"branch": nn.Linear(8, 8), "scale": 0.5},
        {"branch": NOTHING, "scale": NUMBERS, "skip": NUMBERS},
    ),
    "torch.ScaledLinear": (
        ScaledLinear,
        {"in_features": 3, "out_features": 3, "scale": 1.0},
        {
            "in_features": SEED,
            "out_features": SEED,
            "bias": {"True"},
            "device": NONE,
            "dtype": NONE,
            "scale": NUMBERS,
        },
    ),
    "torch.ScaledLinear.of": (
        ScaledLinear.of,
        {"linear": nn.Linear(3, 3), "scale": 1.0},
        {"linear": NOTHING, "scale": NUMBERS},
    ),
    "jax.activation": (deeplim.jax.activation, {"network": NETWORK}, {"network": {"a network"}}),
    "jax.initialize": (
        deeplim.jax.initialize,
        {"parameters": PARAMETERS, "network": NETWORK, "key": jax.random.key(0)},
        {"parameters": NOTHING, "network": {"a network"}, "key": NOTHING, "only": NONE},
    ),
    "jax.scaled_residual": (
        deeplim.jax.scaled_residual,
        {"x": jnp.ones(2), "branch": jnp.ones(2), "scale": 0.5},
        {
            "x": {"a JAX array", "a tensor", "NaN in a list", "a tuple"},
            "branch": {"a JAX array", "a tensor", "NaN in a list", "a tuple"},
            "scale": NUMBERS | ARRAYS - {"an array"},
            "skip": NUMBERS | ARRAYS - {"an array"},
        },
    ),
    "jax.shaped": (
        deeplim.jax.shaped,
        {"function": "tanh", "scale": 2.0},
        {"function": NOTHING, "scale": POSITIVE | ARRAYS},
    ),
    "jax.shaped_relu": (
        deeplim.jax.shaped_relu,
        {"x": jnp.ones(2), "s_plus": 1.0, "s_minus": 0.5},
        {
            "x": NUMBERS | ARRAYS | LISTS | {"NaN", "infinity", "NumPy's NaN"},
            "s_plus": NUMBERS | ARRAYS - {"an array"},
            "s_minus": NUMBERS | ARRAYS - {"an array"},
        },
    ),
    "jax.transformed": (
        deeplim.jax.transformed,
        {"function": "tanh"},
        {
            "function": CALLABLE,  # which is traced where numbers are
            "input_scale": NUMBERS | ARRAYS,
            "input_shift": NUMBERS | ARRAYS,
            "output_scale": NUMBERS | ARRAYS,
            "output_shift": NUMBERS | ARRAYS,
        },
    ),
}
TRIED = [(name, argument) for name, (_, _, arguments) in CALLS.items() for argument in arguments]


def _generator() -> Iterator[int]:
    yield from range(3)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize("name", CALLS)
def test_the_arguments_that_others_are_tried_beside_are_right(name: str):
    function, right, _ = CALLS[name]
    function(**right)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors", "ignore::deeplim.probe.RoundingWarning")
@pytest.mark.parametrize(("name", "argument"), TRIED)
def test_a_wrong_kind_is_refused_in_one_sentence(name: str, argument: str):
    function, right, arguments = CALLS[name]
    for kind, value in KINDS.items():
        given = right | {argument: _generator() if kind == "a generator" else value}
        if kind not in arguments[argument]:
            message = refusal(lambda given=given: function(**given), DeeplimError)
            assert "Traceback" not in message
    for kind in sorted(arguments[argument] & {"None", "a float", "NumPy's number", "text"}):
        if kind != "text" or argument in ("name", "source"):
            function(**right | {argument: KINDS[kind]})


NOT_CALLED = {"Change", "Drawn", "LayerWeights", "Reading", "RoundingWarning"}
"""What functions return or announce, and nobody makes."""


@pytest.mark.parametrize("module", [deeplim.probe, deeplim.torch, deeplim.jax])
def test_no_public_function_is_missing(module: Any):
    place = module.__name__.removeprefix("deeplim.")
    missing = [name for name in module.__all__ if name not in NOT_CALLED and f"{place}.{name}" not in CALLS]
    assert missing == []
