"""Claims see a limit with its drift left out, halved or doubled, and networks that are not the ones they name."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from deeplim.activations import LeakyReLU, ReLU
from deeplim.claims import (
    ALL,
    Claim,
    draws,
    infinite_width,
    named,
    normalized,
    proportional,
    quadrature,
    residual,
    smooth_norms,
)
from deeplim.finite.weights import activate
from deeplim.gaussian import slope_kernel_strength
from deeplim.limits import moment_chain, smooth_sde
from deeplim.limits.unshaped_sde import UnshapedSDE
from deeplim.shaping.infinite_width import slope_of

Change = Callable[[Callable, float], Callable]
"""A function and a strength to the function with that part of its drift, or noise."""
ALL_STRENGTHS, SOME = (0.0, 0.5, 2.0), (0.5, 2.0)


def _first(function: Callable, k: float) -> Callable:
    return lambda x, *rest, **named: function(k * x, *rest, **named)


def _second(function: Callable, k: float) -> Callable:
    return lambda x, y, *rest, **named: function(x, k * y, *rest, **named)


def _keyword(name: str) -> Change:
    return lambda function, k: lambda *rest, **named: function(*rest, **named | {name: k * named[name]})


def _result(function: Callable, k: float) -> Callable:
    return lambda *rest, **named: k * np.asarray(function(*rest, **named))


def _slope(function: Callable, k: float) -> Callable:
    return lambda *rest, **named: slope_of(k * slope_kernel_strength(1.0, function(*rest, **named)))


def _faster(function: Callable, k: float) -> Callable:
    return lambda gap: function(gap) / k


def _settling(function: Callable, k: float) -> Callable:
    return lambda beta: function(min(k * beta, -1.02))


def _start(function: property, k: float) -> property:
    def parameters(self: UnshapedSDE) -> dict[str, float]:
        found = function.fget(self)  # type: ignore[misc]
        return found | {"kappa": k * found["kappa"], "q_0": found["q_0"] / k**2}

    return property(parameters)


def _noise(function: property, k: float) -> property:
    return property(lambda self: (found := function.fget(self)) | {"A": k * found["A"]})  # type: ignore[misc]


def _slopes(function: Callable, k: float) -> Callable:
    return lambda network: [point._replace(slope=k * point.slope) for point in function(network)]


MUTATIONS: tuple[tuple[str, Any, str, Change | Callable, tuple[float, ...]], ...] = (
    ("collapse-rate", UnshapedSDE, "parameters", _start, SOME),
    ("tat-correlation", infinite_width, "tat_slope", _slope, SOME),
    ("tat-dictionary", infinite_width, "flow_clock", _faster, SOME),
    ("resnet-ode", residual, "nuhat_flow", _second, ALL_STRENGTHS),
    ("shaped-mlp-equivalence", residual, "nuhat_flow", _second, ALL_STRENGTHS),
    ("branch-exponent", residual, "nuhat_flow", _second, ALL_STRENGTHS),
    ("covariance-sde", proportional, "shaped_relu_drift", _first, ALL_STRENGTHS),
    ("covariance-drift", proportional, "shaped_relu_drift", _first, ALL_STRENGTHS),
    ("log-norm-shaped", proportional, "shaped_relu_norm_density", _keyword("time"), SOME),
    ("explosion-probability", smooth_norms, "explosion_probability", _first, ALL_STRENGTHS),
    ("explosion-probability", smooth_sde, "smooth_strengths", _result, ALL_STRENGTHS),
    ("gamma-law", smooth_norms, "stationary_norm_density", _settling, SOME),
    ("singular-sde", UnshapedSDE, "parameters", _start, SOME),
    ("singular-sde", UnshapedSDE, "parameters", _noise, SOME),
    ("started-sde", UnshapedSDE, "parameters", _start, SOME),
    ("started-sde", UnshapedSDE, "parameters", _noise, SOME),
    ("started-sde", UnshapedSDE, "mean_ratio", lambda mean, k: lambda self, t, r=0.0: mean(self, t, k * r), SOME),
    ("finite-size", moment_chain, "slope_kernel_strength", _result, SOME),
    ("layernorm-orthogonalises", normalized, "fixed_points", _slopes, SOME),
    ("layernorm-shaped", normalized, "centred_relu_drift", _first, ALL_STRENGTHS),
    ("rmsnorm-removes-explosion", normalized, "shaped_smooth_drift", _first, ALL_STRENGTHS),
    ("attracted-to-one-half", normalized, "shaped_smooth_drift", _first, ALL_STRENGTHS),
)
"""A claim, what it is predicted by and where that is looked up, and how it is changed by which strengths."""


def _marks(claim: Claim) -> tuple[pytest.MarkDecorator, ...]:
    return () if claim.quick else (pytest.mark.slow,)


CASES = [
    pytest.param(name, place, what, change, k, id=f"{name}-{what}-{k:g}", marks=_marks(named([name])[0]))
    for name, place, what, change, strengths in MUTATIONS
    for k in (*strengths, 1.0)
]


@pytest.fixture(scope="module")
def drawn_once() -> Iterator[None]:
    """Networks of a seed are drawn once for all changes of what they are compared with."""
    kept: dict[Any, Any] = {}

    def once(draw: Callable) -> Callable:
        def found(network, inputs, **words):
            told = tuple(sorted((name, str(value)) for name, value in words.items()))
            key = draw.__name__, network.model_dump_json(), inputs.gap.tobytes(), inputs.log_norm.tobytes(), told
            if key not in kept:
                kept[key] = draw(network, inputs, **words)
            return kept[key]

        return found

    with pytest.MonkeyPatch.context() as patch:
        for name in ("simulate", "sample_weights"):
            patch.setattr(draws, name, once(getattr(draws, name)))
        yield


@pytest.mark.parametrize(("name", "place", "what", "change", "k"), CASES)
def test_a_claim_fails_when_its_limit_has_another_strength(drawn_once, monkeypatch, name, place, what, change, k):
    monkeypatch.setattr(place, what, change(getattr(place, what), k))
    found = named([name])[0].run(0)
    # At its own strength, put in by the same change, the claim holds.
    assert found.fails == (k != 1.0), found.to_dict()["numbers"]


LINEAR = {"activation": LeakyReLU(slope=1.0)}
LINEAR_ALIKE: dict[str, dict[str, Any]] = {
    "log-norm-shaped": {"activation": ReLU()},
    "covariance-noise": {"activation": ReLU()},
    "residual-noise": {"activation": ReLU()},
    "resnet-norm": {"weight_variance": 1.0},
    "resnet-fluctuation": {**LINEAR, "skip": "norm-preserving", "branch": 0.5},
}
"""Claims that hold of linear networks too, with networks that they do not hold of."""
OTHERWISE = {
    "collapse-rate": "infinite width by quadrature",
    "tat-dictionary": "infinite width by quadrature",
    "attracted-to-one-half": "the kernel of a layer",
    "covariance-drift": "neurons of its own",
}
"""Claims that draw no networks, and what they are measured with."""


@pytest.mark.parametrize(
    "claim",
    [pytest.param(claim, id=claim.name, marks=_marks(claim)) for claim in ALL if claim.name not in OTHERWISE],
)
def test_a_claim_fails_of_linear_networks(monkeypatch, claim):
    count = 0

    def changed(draw: Callable) -> Callable:
        def found(network, *rest, **words):
            nonlocal count
            count += 1
            return draw(network.model_copy(update=LINEAR_ALIKE.get(claim.name, LINEAR)), *rest, **words)

        return found

    for name in ("simulate", "sample_weights"):
        monkeypatch.setattr(draws, name, changed(getattr(draws, name)))
    found = claim.run(0)
    assert count > 0
    assert found.fails, found.to_dict()["numbers"]


@pytest.mark.parametrize("name", ["collapse-rate", "tat-dictionary", "covariance-drift"])
def test_a_claim_fails_of_neurons_with_another_slope(monkeypatch, name):
    layer = quadrature.gap_after

    def steeper(phi: quadrature.Phi, gap: float, **words) -> float:
        return layer(lambda x: phi(x) + 0.1 * np.minimum(x, 0.0), gap, **words)

    monkeypatch.setattr(quadrature, "gap_after", steeper)
    monkeypatch.setattr(proportional, "activate", lambda network, z: activate(network, z) + 0.1 * np.minimum(z, 0.0))
    found = named([name])[0].run(0)
    assert found.fails, found.to_dict()["numbers"]


def test_every_claim_is_changed_somewhere():
    assert {mutation[0] for mutation in MUTATIONS} >= set(OTHERWISE)
    assert {claim.name for claim in ALL} >= {*OTHERWISE, *LINEAR_ALIKE, *(mutation[0] for mutation in MUTATIONS)}
