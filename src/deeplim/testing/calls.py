"""Calls of deeplim's functions as a Hypothesis strategy: right arguments, of which one may be of the wrong kind."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from deeplim import limits as known
from deeplim import mean_field, observables, rates, routes, spectra
from deeplim.checks import brief
from deeplim.comparison import compare
from deeplim.ensemble import predict, simulate, summarize
from deeplim.inputs import gram
from deeplim.ladder import climb
from deeplim.limits import kernels
from deeplim.paths import Paths
from deeplim.summary import Summary, describe
from deeplim.testing.strategies import activations, inputs, layers, limits, networks, paths, summaries, wrong_values


@dataclass(frozen=True)
class Call:
    """A function and the arguments that it is given."""

    name: str
    function: Callable[..., object]
    arguments: dict[str, Any]

    def __call__(self) -> object:
        """Call it."""
        return self.function(**self.arguments)

    def __str__(self) -> str:
        return f"{self.name}({', '.join(f'{name}={brief(one, 300)}' for name, one in self.arguments.items())})"


def _of_living(name: str) -> Callable[..., object]:
    """An observable where it has a value: samples that are alive, pairs that are not parallel."""

    def values(paths: Paths, pair: object) -> np.ndarray:
        found = observables.OBSERVABLES[name].values(paths, pair)  # type: ignore[arg-type]
        seen = found[paths.alive]
        return seen[~np.isneginf(seen)] if name == "log_correlation_gap" else seen

    return values


def _spectrum_of_living(paths: Paths) -> np.ndarray:
    return np.asarray(spectra.spectrum(paths)[paths.alive])


# One smooth function: each is compiled for each kernel.
_phi = activations(functions=("tanh",), wild=True)
_networks = networks(_phi, wild=True)
_inputs = inputs(wild=True)
_pairs = st.sampled_from([(0, 1), (1, 0), (0, 2), (0, 5), [0, 1], (-1, 0)])
_seeds = st.integers(0, 2**63 - 1)
_few = st.integers(1, 20)
_layers = layers(4)
_numbers = st.lists(st.floats(allow_nan=False, width=32), min_size=2, max_size=6)
_drawn: dict[str, SearchStrategy[Any]] = {"networks": _few, "seed": _seeds, "layers": _layers}
_one_network: dict[str, SearchStrategy[Any]] = {"network": _networks}
_small: dict[str, SearchStrategy[Any]] = {"network": networks(_phi, widest=8, deepest=4, wild=True)}
FUNCTIONS: dict[str, tuple[Callable[..., object], dict[str, SearchStrategy[Any]]]] = {
    "simulate": (simulate, _one_network | {"inputs": _inputs} | _drawn | {"threads": st.just(1)}),
    "summarize": (summarize, _one_network | {"inputs": _inputs, "pair": _pairs} | _drawn | {"threads": st.just(1)}),
    "predict": (
        predict,
        {"limit": limits(_networks), "inputs": _inputs, "samples": _few, "seed": _seeds, "layers": _layers},
    ),
    "climb": (
        climb,
        {
            **_small,
            "inputs": _inputs,
            "networks": st.integers(0, 9),
            "samples": _few,
            "pair": _pairs,
            "layers": _layers,
        },
    ),
    "compare": (compare, {"observed": paths(), "predicted": paths(), "pair": _pairs, "bootstrap": st.integers(0, 9)}),
    "gram": (
        gram,
        {
            "correlation": st.none() | st.floats(),
            "gap": st.none() | st.floats(),
            "names": st.none() | st.just(["a", "b"]),
        },
    ),
    "gram of an array": (gram, {"x": st.lists(st.lists(st.floats(width=32), min_size=2, max_size=2), max_size=4)}),
    "limits.find": (known.find, _one_network),
    "limits.explain": (known.explain, _one_network),
    "limits.recommend": (known.recommend, _one_network),
    "limits.named": (known.named, {"name": st.sampled_from([one.name for one in known.ALL]), **_one_network}),
    "limits.law": (
        known.law,
        {
            "limit": limits(_networks),
            "inputs": _inputs,
            "layer": st.none() | st.integers(0, 9),
            "pair": _pairs,
            "observable": st.sampled_from(["correlation", "log_norm"]),
        },
    ),
    "limits.kernels.fixed_points": (kernels.fixed_points, _one_network),
    "mean_field.fixed_point": (mean_field.fixed_point, _one_network),
    "mean_field.edge_of_chaos": (mean_field.edge_of_chaos, _one_network),
    "mean_field.neighbour_growths": (
        mean_field.neighbour_growths,
        {**_one_network, "norm": st.floats(0, 1e6), "layers": st.integers(0, 9)},
    ),
    "Summary.of": (Summary.of, {"paths": paths(), "pair": _pairs}),
    "Summary.merge": (lambda one, other: one.merge(other), {"one": summaries(), "other": summaries()}),
    "Summary.quantile": (
        lambda of, name, q: _quantiles(of, name, q),
        {"of": summaries(), "name": st.sampled_from(["log_norm", "correlation", "x"]), "q": st.floats(0, 1)},
    ),
    "describe": (describe, {"paths": paths(), "pair": _pairs}),
    "Paths.at": (lambda of, times: of.at(times), {"of": paths(), "times": st.lists(st.sampled_from([0.0, 1.0, 0.25]))}),
    "Paths.pair": (
        lambda of, first, second: of.pair(first, second),
        {"of": paths(), "first": st.integers(-1, 3), "second": st.integers(-1, 3)},
    ),
    "Paths.on_clock": (
        lambda of, clock: of.on_clock(clock),
        {"of": paths(), "clock": st.sampled_from(["layer", "layer/width", "layer/depth"])},
    ),
    **{
        f"observables.{name}": (_of_living(name), {"paths": paths(), "pair": _pairs})
        for name in observables.OBSERVABLES
    },
    "spectra.spectrum": (_spectrum_of_living, {"paths": paths()}),
    "spectra.describe_spectrum": (spectra.describe_spectrum, {"paths": paths()}),
    "rates.fit_rate": (
        rates.fit_rate,
        {"sizes": st.just([1, 2, 4]) | _numbers, "errors": _numbers, "uncertainties": st.none() | _numbers},
    ),
    "rates.along_width": (rates.along_width, {**_one_network, "widths": st.lists(st.integers(1, 99), max_size=4)}),
    "routes.why_no_common_limit": (routes.why_no_common_limit, {"resnet": _networks, "mlp": _networks}),
}
"""Functions and what they are called with."""


def _quantiles(of: Summary, name: str, q: float) -> list[float]:
    """Return quantiles of a summary, but where no sample is alive."""
    found = of.quantile(name, q)
    return [float(one) for one in found[of.moments[name].count > 0]]


@st.composite
def calls(draw: DrawFn) -> Call:
    """Return calls of deeplim's functions; in one of three some argument is any value at all."""
    name = draw(st.sampled_from(sorted(FUNCTIONS)))
    function, strategies = FUNCTIONS[name]
    given = {argument: draw(strategy) for argument, strategy in strategies.items()}
    methods = ("of", "one")  # the object itself
    replaced = [argument for argument in strategies if argument not in methods]
    if replaced and draw(st.integers(0, 2)) == 2:
        given[draw(st.sampled_from(replaced))] = draw(wrong_values())
    return Call(name, function, given)
