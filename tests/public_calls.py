"""One valid call of every public function of the core, for tests that change one argument at a time.

The names are those under which users reach the functions, without ``deeplim.`` before them. Files that a call reads
are written into the current folder by ``write_files``. What takes work to make, as paths, is made when a call is first
tried, and not when tests are collected.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

import deeplim as dl
from deeplim import (
    claims,
    drawing,
    figures,
    layer_figures,
    limits,
    mean_field,
    observables,
    rates,
    reporting,
    routes,
    spectra,
    summary,
)
from deeplim.claims import Claim, Figure, Number, Outcome, Series
from deeplim.claims.number import number_of
from deeplim.inputs import read_array
from deeplim.limits import density, kernels, laws
from deeplim.modules import Modules
from deeplim.reporting import gallery
from deeplim.statistics import Estimate


class Later:
    """What is made when it is first asked for; so are its attributes and entries."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = cache(make)

    def __getattr__(self, name: str) -> "Later":
        return Later(lambda: getattr(self.make(), name))

    def __getitem__(self, index: int) -> "Later":
        return Later(lambda: self.make()[index])


def made(value: Any) -> Any:
    """Return a value with all in it made."""
    if isinstance(value, Later):
        return value.make()
    if type(value) in (tuple, list):
        return type(value)(map(made, value))
    return {name: made(one) for name, one in value.items()} if type(value) is dict else value


Call = tuple[Callable[..., object] | Later, dict[str, Any] | Later]

NETWORK = dl.MLP(width=16, depth=2)
SHAPED = dl.MLP(width=16, depth=2, activation=dl.ShapedReLU())
SMOOTH = dl.MLP(width=16, depth=2, activation=dl.Shaped(function="tanh"))
RESNET = dl.ResNet(width=16, depth=4)
DEPTH_SHAPED = dl.MLP(
    width=64, depth=4, activation=dl.ShapedReLU(c_plus=0, c_minus=routes.matching_c_minus(RESNET), rate="depth")
)
PAIR = dl.gram(correlation=0.3)
X = np.random.default_rng(0).standard_normal((3, 5))
INPUTS = dl.gram(X)
PATHS = Later(lambda: dl.simulate(NETWORK, INPUTS, networks=12, layers=[0, 1, 2]))
NAMED = Later(lambda: replace(made(PATHS), modules=Modules(("a", "b", "c"))))
PAIR_PATHS = Later(lambda: dl.simulate(NETWORK, PAIR, networks=12, layers=[0, 1, 2]))
SDE = limits.named("sde", SHAPED)
PREDICTED = Later(lambda: dl.predict(SDE, PAIR, samples=12, layers=[0, 1, 2]))
LAW = Later(lambda: limits.law(SDE, PAIR))
LADDER = Later(lambda: dl.climb(NETWORK, INPUTS, networks=12, samples=12))
SUMMARY = Later(lambda: dl.Summary.of(made(PATHS)))
FAMILY = {width: dl.MLP(width=width, depth=2) for width in (8, 16, 32)}
RATE = Later(lambda: rates.fit_rate([1, 2, 4], [1.0, 0.5, 0.26]))
RATES = Later(lambda: rates.convergence(FAMILY, PAIR, limit="infinite-width", networks=8))
ROUTES = Later(lambda: routes.compare_routes(RESNET, DEPTH_SHAPED, PAIR, work=1.0))
CHART = Later(lambda: figures.norm_along_depth(made(LADDER)))
ONE = Later(lambda: dl.climb(NETWORK, dl.gram(X[:1]), networks=12, samples=12, layers=[0]))
REPORT = Later(lambda: dl.report(made(ONE)))
NUMBER = number_of("a", 1.0, Estimate(1.0, 0.01), refutes={"half": 0.5})
OUTCOME = Outcome((NUMBER,), "nothing", Figure("x", "y", (Series.of("a", "measured", [0.0, 1.0], [0.0, 1.0]),)))
CLAIM = Claim("a", "one is one", "nobody", lambda seed: OUTCOME)
RESULT = Later(CLAIM.run)
NORMS, GAPS, PLACES = np.zeros(2), np.full(1, 0.7), (np.zeros(1, dtype=int), np.ones(1, dtype=int))
STATE = {"log_norm": NORMS, "gap": GAPS, "pairs": PLACES}


def write_files() -> None:
    """Write what the calls read into the current folder."""
    np.save("x.npy", X)
    made(PATHS).save("paths.npz")
    made(SUMMARY).save("summary.npz")
    Path("network.json").write_text(NETWORK.to_json())


def _two_routes(**options: Any) -> None:
    """The arguments alone: the work takes a minute."""
    with patch.object(routes, "_routes"):
        routes.two_routes(**options)


_two_routes.__wrapped__ = routes.two_routes  # type: ignore[attr-defined]
DRAWN: dict[str, Any] = {"network": NETWORK, "inputs": INPUTS, "seed": 1, "layers": [1, 2]}

CALLS: dict[str, Call] = {
    "MLP": (dl.MLP, {"width": 8, "depth": 2}),
    "ResNet": (dl.ResNet, {"width": 8, "depth": 2}),
    "ReLU": (dl.ReLU, {}),
    "LeakyReLU": (dl.LeakyReLU, {"slope": 0.2}),
    "ShapedReLU": (dl.ShapedReLU, {"c_plus": 0.0}),
    "Elementwise": (dl.Elementwise, {"function": "tanh"}),
    "Shaped": (dl.Shaped, {"function": "tanh"}),
    "Transformed": (dl.Transformed, {"function": "tanh"}),
    "MLP.model_copy": (NETWORK.model_copy, {"update": {"width": 9}}),
    "MLP.from_json": (dl.MLP.from_json, {"text": NETWORK.to_json()}),
    "MLP.model_validate_json": (dl.MLP.model_validate_json, {"json_data": NETWORK.to_json()}),
    "ShapedReLU.slopes": (dl.ShapedReLU().slopes, {"width": 8, "depth": 2}),
    "LeakyReLU.slopes": (dl.LeakyReLU(slope=0.1).slopes, {"width": 8, "depth": 2}),
    "ReLU.slopes": (dl.ReLU().slopes, {"width": 8, "depth": 2}),
    "Elementwise.at": (dl.Elementwise(function="tanh").at, {"width": 8, "depth": 2}),
    "Shaped.at": (dl.Shaped(function="tanh").at, {"width": 8, "depth": 2}),
    "Shaped.scale": (dl.Shaped(function="tanh").scale, {"width": 8, "depth": 2}),
    "Transformed.at": (dl.Transformed(function="tanh").at, {"width": 8, "depth": 2}),
    "read_network": (dl.read_network, {"text": NETWORK.to_json()}),
    "simulate": (dl.simulate, DRAWN | {"networks": 3, "threads": 1, "progress": print}),
    "summarize": (dl.summarize, DRAWN | {"networks": 3, "threads": 1}),
    "predict": (dl.predict, {"limit": SDE, "inputs": PAIR, "samples": 3}),
    "climb": (dl.climb, {"network": NETWORK, "inputs": INPUTS, "networks": 3, "samples": 3}),
    "plan": (dl.plan, {"network": NETWORK, "inputs": INPUTS, "networks": 3, "threads": 1}),
    "compare": (dl.compare, {"observed": PAIR_PATHS, "predicted": PREDICTED, "bootstrap": 3}),
    "digits": (dl.digits, {}),
    "gram": (dl.gram, {"x": X, "names": ["a", "b", "c"]}),
    "gram of a correlation": (dl.gram, {"correlation": 0.3}),
    "gram of a gap": (dl.gram, {"gap": 0.3}),
    "gram of a covariance": (dl.gram, {"covariance": np.eye(2)}),
    "read_inputs": (dl.read_inputs, {"path": "x.npy"}),
    "inputs.read_array": (read_array, {"path": "x.npy"}),
    "inputs.Inputs": (
        type(INPUTS),
        {"log_norm": INPUTS.log_norm, "gap": INPUTS.gap, "names": INPUTS.names, "source": "x"},
    ),
    "inputs.Inputs.pair": (INPUTS.pair, {"first": 0, "second": 2}),
    "Paths": (dl.Paths, Later(lambda: vars(made(PATHS)))),
    "Paths.pair": (PATHS.pair, {"first": 0, "second": 1}),
    "Paths.pair_index": (PATHS.pair_index, {"pair": (0, 1)}),
    "Paths.on_clock": (PATHS.on_clock, {"clock": "layer/width"}),
    "Paths.at": (PATHS.at, {"times": [1.0]}),
    "Paths.named": (NAMED.named, {"names": ["a"]}),
    "Paths.save": (PATHS.save, {"path": "saved.npz"}),
    "Paths.load": (dl.Paths.load, {"path": "paths.npz"}),
    "Paths.to_xarray": (PATHS.to_xarray, {}),
    "Summary.of": (dl.Summary.of, {"paths": PATHS, "pair": (0, 1)}),
    "Summary.merge": (SUMMARY.merge, {"other": SUMMARY}),
    "Summary.mean": (SUMMARY.mean, {"name": "log_norm"}),
    "Summary.std": (SUMMARY.std, {"name": "log_norm"}),
    "Summary.standard_error": (SUMMARY.standard_error, {"name": "log_norm"}),
    "Summary.std_error": (SUMMARY.std_error, {"name": "log_norm"}),
    "Summary.quantile": (SUMMARY.quantile, {"name": "log_norm", "q": 0.5}),
    "Summary.save": (SUMMARY.save, {"path": "saved.npz"}),
    "Summary.load": (dl.Summary.load, {"path": "summary.npz"}),
    "Summary.to_dict": (SUMMARY.to_dict, {}),
    "summary.describe": (summary.describe, {"paths": PATHS}),
    "report": (dl.report, {"ladders": ONE, "command": "c", "title": "t"}),
    "report of several": (dl.report, {"ladders": [ONE, ONE]}),
    "reporting.Report.save": (REPORT.save, {"path": "report.html"}),
    "reporting.Report.save_figures": (REPORT.save_figures, {"folder": "figures", "formats": ["svg"]}),
    "reporting.Report.to_json": (REPORT.to_json, {}),
    "reporting.findings": (reporting.findings, {"ladder": LADDER}),
    "ladder.Ladder.seen": (LADDER.seen, {"rung": "exact"}),
    "ladder.Ladder.to_dict": (LADDER.to_dict, {}),
    "limits.find": (limits.find, {"network": NETWORK}),
    "limits.explain": (limits.explain, {"network": NETWORK}),
    "limits.named": (limits.named, {"name": "unshaped", "network": NETWORK}),
    "limits.recommend": (limits.recommend, {"network": NETWORK}),
    "limits.derive": (limits.derive, {"network": dl.ResNet(width=16, depth=4)}),
    "limits.law": (limits.law, {"limit": SDE, "inputs": PAIR, "layer": 2}),
    **{
        f"limits.{kind.__name__}": (kind, {"network": one})
        for kind, one in (
            (type(limit), network) for network in (NETWORK, SHAPED, SMOOTH, RESNET) for limit in limits.find(network)
        )
        if kind.__name__ not in ("CovarianceODE", "CovarianceSDE", "InfiniteWidth")  # checked at run time in the tests
    },
    **{f"limits.{kind.__name__}.why_not": (kind.why_not, {"network": NETWORK}) for kind in limits.ALL},
    **{
        f"limits.{type(limit).__name__}.sample": (limit.sample, {"inputs": PAIR, "samples": 3, "layers": [1]})
        for network in (NETWORK, SHAPED, SMOOTH, RESNET)
        for limit in limits.find(network)
    },
    "limits.SmoothSDE.explosion_times": (
        limits.named("smooth-sde", SMOOTH).explosion_times,
        {"inputs": PAIR, "samples": 3},
    ),
    "limits.SmoothSDE.explosion_probability": (limits.named("smooth-sde", SMOOTH).explosion_probability, {"norm": 1.0}),
    "limits.UnshapedSDE.mean_ratio": (limits.named("unshaped", NETWORK).mean_ratio, {"time": 0.5, "start": 0.1}),
    "limits.UnshapedSDE.sample_ratio": (limits.named("unshaped", NETWORK).sample_ratio, {"time": [0.5], "samples": 3}),
    "limits.UnshapedSDE.start_ratio": (limits.named("unshaped", NETWORK).start_ratio, {"gap": 0.5}),
    "limits.density.Variable.at": (LAW.variable.at, {"value": 0.5}),
    "limits.density.Variable.at_gap": (LAW.variable.at_gap, {"gap": 0.5}),
    "limits.density.normal_density": (density.normal_density, {"mean": 0.0, "variance": 1.0}),
    **{
        f"limits.laws.{name}": (getattr(laws, f"{name}_drift"), {argument: 0.5})
        for name, argument in (
            ("shaped_relu", "gamma"),
            ("centred_relu", "gamma"),
            ("shaped_smooth", "p"),
            ("centred_smooth", "p"),
        )
    },
    "limits.laws.pair_density": (
        laws.pair_density,
        {"drift": laws.shaped_relu_drift(0.3), "gap": 0.7, "time": 0.5, "noise": 1.0},
    ),
    "limits.laws.shaped_relu_norm_density": (laws.shaped_relu_norm_density, {"norm": 1.0, "time": 0.5}),
    "limits.laws.shaped_smooth_norm_density": (laws.shaped_smooth_norm_density, {"beta": -0.5, "time": 0.5}),
    "limits.laws.explosion_probability": (laws.explosion_probability, {"beta": 0.5, "norm": 1.0}),
    "limits.laws.stationary_norm_density": (laws.stationary_norm_density, {"beta": -2.0}),
    "limits.density.Density.moment": (LAW.moment, {"power": 2}),
    "limits.density.Density.expect": (LAW.expect, {"function": np.square}),
    "limits.density.Density.cdf": (LAW.cdf, {"value": 0.5}),
    "limits.density.Density.tail": (LAW.tail, {"value": 0.5}),
    "limits.density.Density.tail_gap": (LAW.tail_gap, {"gap": 0.5}),
    "limits.density.Density.quantile": (LAW.quantile, {"q": 0.5}),
    "limits.density.Density.gap_quantile": (LAW.gap_quantile, {"q": 0.5}),
    "limits.density.Density.read_as": (LAW.read_as, {"variable": LAW.variable}),
    "limits.density.Density.at_points": (LAW.at_points, {"x": np.zeros(2)}),
    "limits.kernels.layer_map": (kernels.layer_map, {"network": RESNET, **STATE}),
    "limits.kernels.kernel_map": (kernels.kernel_map, {"network": NETWORK, **STATE}),
    "limits.kernels.activation_map": (kernels.activation_map, {"network": SMOOTH, **STATE}),
    "limits.kernels.centred_map": (kernels.centred_map, {"network": SMOOTH, **STATE}),
    "limits.kernels.mirrored_normals": (kernels.mirrored_normals, {"inputs": 2, "rng": np.random.default_rng(0)}),
    "limits.kernels.has_gaussian_rows": (kernels.has_gaussian_rows, {"network": NETWORK}),
    "limits.kernels.norm_free": (kernels.norm_free, {"network": NETWORK}),
    "limits.kernels.fixed_points": (kernels.fixed_points, {"network": NETWORK}),
    "mean_field.fixed_point": (mean_field.fixed_point, {"network": NETWORK}),
    "edge_of_chaos": (dl.edge_of_chaos, {"network": NETWORK}),
    "mean_field.neighbour_growths": (mean_field.neighbour_growths, {"network": SMOOTH, "norm": 1.0, "layers": 2}),
    **{
        f"observables.{one.name}": (one.values, {"paths": PATHS, "pair": (0, 1)})
        for one in observables.OBSERVABLES.values()
    },
    "observables.available": (observables.available, {"paths": PATHS}),
    **{
        f"spectra.{one.__name__}": (one, {"paths": PATHS})
        for one in (spectra.spectrum, spectra.effective_rank, spectra.participation_ratio, spectra.describe_spectrum)
    },
    "rates.fit_rate": (
        rates.fit_rate,
        {"sizes": [1, 2, 4, 8], "errors": [1.0, 0.5, 0.26, 0.12], "uncertainties": [0.1, 0.1, 0.01, 0.01]},
    ),
    "rates.along_width": (rates.along_width, {"network": NETWORK, "widths": [8, 16]}),
    "rates.along_depth": (rates.along_depth, {"network": NETWORK, "depths": [8, 16]}),
    "rates.along_both": (rates.along_both, {"network": NETWORK, "widths": [8, 16]}),
    "rates.convergence": (
        rates.convergence,
        {"family": FAMILY, "inputs": PAIR, "limit": "infinite-width", "networks": 3, "samples": 3, "progress": None},
    ),
    "rates.convergence_of_recursion": (
        rates.convergence_of_recursion,
        {"family": {depth: dl.ResNet(width=8, depth=depth) for depth in (2, 4, 8)}, "inputs": PAIR},
    ),
    "rates.own_seed": (rates.own_seed, {"seed": 3}),
    "rates.rate_cells": (rates.rate_cells, {"rate": RATES.curves[0].rate}),
    "rates.Rate.at": (RATE.at, {"size": 8.0}),
    "rates.Convergence.curve": (RATES.curve, {"quantity": "mean", "observable": "correlation"}),
    "rates.Convergence.to_dict": (RATES.to_dict, {}),
    "routes.two_routes": (_two_routes, {"correlation": 0.3}),
    "routes.compare_routes": (
        routes.compare_routes,
        {"resnet": RESNET, "mlp": DEPTH_SHAPED, "inputs": PAIR, "work": 1.0},
    ),
    "routes.matching_c_minus": (routes.matching_c_minus, {"resnet": RESNET}),
    "routes.why_no_common_limit": (routes.why_no_common_limit, {"resnet": RESNET, "mlp": NETWORK}),
    "routes.arrival_cells": (routes.arrival_cells, {"found": ROUTES.arrivals[0]}),
    "routes.approach_cells": (routes.approach_cells, {"found": ROUTES.approaches[0]}),
    "routes.Routes.approach": (ROUTES.approach, {"route": "mlp", "quantity": "mean", "varied": "width"}),
    "routes.Routes.to_dict": (ROUTES.to_dict, {}),
    **{
        f"figures.{one.__name__}": (one, {"ladder": LADDER})
        for one in (
            figures.concentrated,
            figures.correlation_along_depth,
            figures.figures,
            figures.gap_along_depth,
            figures.law_at_last_layer,
            figures.norm_along_depth,
        )
    },
    "figures.correlation_matrix": (figures.correlation_matrix, {"of": LADDER}),
    "figures.rung": (figures.rung, {"ladder": LADDER, "name": "exact"}),
    "drawing.caption": (drawing.caption, {"chart": CHART}),
    "drawing.svg": (drawing.svg, {"chart": CHART, "title": False}),
    "drawing.save": (drawing.save, {"chart": CHART, "path": "figure.svg"}),
    "drawing.plus_minus": (drawing.plus_minus, {"value": 1.0, "error": 0.1}),
    "layer_figures.layer_figure": (layer_figures.layer_figure, {"paths": PATHS, "predicted": PATHS}),
    "claims.named": (claims.named, {"names": ["resnet-ode"]}),
    "claims.Claim.run": (CLAIM.run, {"seed": 0}),
    "claims.Series.of": (Series.of, {"name": "a", "role": "measured", "x": [0.0], "y": [1.0]}),
    "claims.Number": (Number, vars(NUMBER)),
    "claims.Number.refutes": (NUMBER.refutes, {"control": NUMBER.controls[0]}),
    "claims.Number.margin": (NUMBER.margin, {"control": NUMBER.controls[0]}),
    "claims.Outcome": (Outcome, vars(OUTCOME)),
    "reporting.gallery.draw": (gallery.draw, {"result": RESULT}),
    "reporting.gallery.Gallery.save": (Later(lambda: gallery.gallery([made(RESULT)])).save, {"folder": "gallery"}),
    "reporting.gallery.gallery": (gallery.gallery, {"results": [RESULT], "command": "c"}),
}
