"""Claims about one layer, and about networks of infinite width."""

from collections.abc import Callable

import numpy as np

from deeplim.activations import Elementwise, LeakyReLU
from deeplim.architecture import MLP
from deeplim.claims.claim import (
    Claim,
    Figure,
    Number,
    Outcome,
    Series,
    control,
    estimates,
    mean_of,
    number_of,
)
from deeplim.claims.draws import at_depth, correlations, covariances, told
from deeplim.inputs import gram
from deeplim.limits.flow import flow_clock
from deeplim.limits.infinite_width import InfiniteWidth
from deeplim.shaping.infinite_width import tat_slope
from deeplim.statistics import Estimate

_GRID = np.linspace(-1, 1, 101)
_RHOS = (-0.9, -0.5, 0.0, 0.3, 0.6, 0.9)
_ETA = 0.9


def _arccosine(rho: np.ndarray | float) -> np.ndarray | float:
    return (np.sqrt(1 - rho**2) + (np.pi - np.arccos(rho)) * rho) / np.pi


def _one_layer(network: MLP, networks: int, seed: int) -> list[Estimate]:
    """E V^{12} after one layer, which a network of any width has exactly, from each of six correlations."""
    drawn = (at_depth(network, gram(correlation=rho), networks=networks, seed=seed + k) for k, rho in enumerate(_RHOS))
    return [mean_of(covariances(paths)) for paths in drawn]


def _arccosine_kernel(seed: int) -> Outcome:
    network, count = MLP(width=100, depth=1), 40_000
    found = _one_layer(network, count, seed)
    numbers = [number_of(f"K({rho})", float(_arccosine(rho)), one) for rho, one in zip(_RHOS, found, strict=True)]
    series = (
        Series.of("arc-cosine kernel of degree one", "predicted", _GRID, _arccosine(_GRID)),
        estimates("mean of one layer", _RHOS, found),
    )
    simulated = f"{count:,} exact layers of {network} from each of six correlations; seeds {seed} to {seed + 5}."
    return Outcome(tuple(numbers), simulated, Figure("correlation ρ of the inputs", "E V¹² after one layer", series))


def _sign(seed: int) -> Outcome:
    network, count = MLP(width=100, depth=1), 40_000
    found = [
        Estimate(np.pi * (one.value - rho), np.pi * one.error)
        for rho, one in zip(_RHOS, _one_layer(network, count, seed), strict=True)
    ]
    minus = np.sqrt(1 - _GRID**2) - _GRID * np.arccos(_GRID)
    plus = np.sqrt(1 - _GRID**2) + _GRID * np.arccos(_GRID)
    at = 0.6
    measured = found[_RHOS.index(at)]
    numbers = (
        number_of("ν̂(0.6), minus sign", np.sqrt(1 - at**2) - at * np.arccos(at), measured),
        control("ν̂(0.6), plus sign", np.sqrt(1 - at**2) + at * np.arccos(at), measured),
    )
    series = (
        Series.of("√(1−ρ²) − ρ arccos ρ", "predicted", _GRID, minus),
        Series.of("√(1−ρ²) + ρ arccos ρ", "refuted", _GRID, plus),
        estimates("π (E V¹² − ρ) of one layer", _RHOS, found),
    )
    simulated = f"{count:,} exact layers of {network} from each of six correlations; seeds {seed} to {seed + 5}."
    return Outcome(numbers, simulated, Figure("correlation ρ of the inputs", "ν̂(ρ)", series))


def _kept_differences(gap: float, count: int, seed: int) -> Estimate:
    """E |h - h'|^2 / (2 n (1 - rho)) after one layer of width 50."""
    paths = at_depth(MLP(width=50, depth=1), gram(gap=gap), networks=count, seed=seed)
    root = np.exp(paths.log_norm[:, -1] / 2)
    apart = (root[:, 0] - root[:, 1]) ** 2 / 2 + root[:, 0] * root[:, 1] * np.exp(paths.log_gap[:, -1, 0])
    return mean_of(apart / gap)


def _slope_at_one(seed: int) -> Outcome:
    gaps, count = (1e-1, 1e-2, 1e-3, 1e-4, 1e-6, 1e-8), 40_000
    found = [_kept_differences(gap, count, seed + k) for k, gap in enumerate(gaps)]
    line = np.geomspace(1e-8, 1e-1, 60)
    first = 1 - 2 * np.sqrt(2) / (3 * np.pi) * np.sqrt(line)
    numbers = (
        number_of(
            "(1 − K(ρ)) / (1 − ρ) as ρ → 1",
            1.0,
            found[-1],
            allowance=1e-4,
            reason="(2√2/3π) √(1−ρ) is 3e-5 at the gap simulated",
        ),
        number_of(
            "the same at 1 − ρ = 0.01",
            1 - 0.1 * 2 * np.sqrt(2) / (3 * np.pi),
            found[1],
            allowance=0.01,
            reason="the next term of the series is of order 1 − ρ",
        ),
    )
    series = (
        Series.of("1 − (2√2/3π) √(1−ρ)", "predicted", line, first),
        estimates("mean of one layer", gaps, found),
    )
    simulated = f"{count:,} exact layers of width 50 from each of six gaps; seeds {seed} to {seed + 5}."
    return Outcome(numbers, simulated, Figure("gap 1 − ρ of the inputs", "(1 − K(ρ)) / (1 − ρ)", series, log_x=True))


def _dual(function: str, dual: Callable, width: int, count: int) -> Callable[[int], Outcome]:
    def check(seed: int) -> Outcome:
        network = MLP(width=width, depth=1, activation=Elementwise(function=function))
        found = _one_layer(network, count, seed)
        numbers = [
            number_of(f"K({rho})", float(dual(rho) / dual(1.0)), one) for rho, one in zip(_RHOS, found, strict=True)
        ]
        series = (
            Series.of("closed form", "predicted", _GRID, dual(_GRID) / dual(1.0)),
            estimates("mean of one layer", _RHOS, found),
        )
        simulated = f"{count:,} exact layers of {network} from each of six correlations; seeds {seed} to {seed + 5}."
        return Outcome(
            tuple(numbers), simulated, Figure("correlation ρ of the inputs", "E V¹² after one layer", series)
        )

    return check


def _collapse(seed: int) -> Outcome:
    depth = 10_000
    layers = sorted({round(layer) for layer in np.geomspace(10, depth, 25)})
    limit = InfiniteWidth(MLP(width=1000, depth=depth))
    gap = limit.sample(gram(correlation=0.3), layers=layers).correlation_gap[0, :, 0]
    scaled = np.array(layers) ** 2 * gap
    rate = 9 * np.pi**2 / 2
    numbers = (
        Number(
            "ℓ² (1 − ρ_ℓ) at ℓ = 10,000",
            rate,
            float(scaled[-1]),
            allowance=rate * 10 * np.log(depth) / depth,
            reason="10 log(ℓ)/ℓ of it: the collapse is reached like log(ℓ)/ℓ",
        ),
    )
    series = (
        Series.of("9π²/2", "predicted", [layers[0], depth], [rate, rate]),
        Series.of("infinite-width recursion", "measured", layers, scaled),
    )
    simulated = "The infinite-width recursion of an unshaped ReLU MLP from ρ = 0.3, 10,000 layers; nothing random."
    return Outcome(numbers, simulated, Figure("layer ℓ", "ℓ² (1 − ρ_ℓ)", series, log_x=True))


def _tat_map(c: float, alpha: float) -> float:
    """C(c) = [(1-alpha)^2 (sqrt(1-c^2) + (pi - arccos c) c) / pi + 2 alpha c] / (1 + alpha^2)."""
    part = (np.sqrt(max(1 - c * c, 0.0)) + (np.pi - np.arccos(c)) * c) / np.pi
    return ((1 - alpha) ** 2 * part + 2 * alpha * c) / (1 + alpha**2)


def _tat_correlation(seed: int) -> Outcome:
    width, depth, count = 2000, 50, 2000
    network = MLP(width=width, depth=depth, activation=LeakyReLU(slope=tat_slope(MLP(width=1, depth=depth), eta=_ETA)))
    inputs, layers = gram(correlation=0.0), list(range(0, depth + 1, 5))
    recursion = InfiniteWidth(network).sample(inputs, layers=layers)
    curve = 1 - recursion.correlation_gap[0, :, 0]
    found = mean_of(correlations(at_depth(network, inputs, networks=count, seed=seed)))
    numbers = (
        Number("ρ at the last layer, infinite width", _ETA, float(curve[-1]), uncertainty=1e-10),
        number_of("mean ρ at the last layer, width 2000", _ETA, found, allowance=depth / width, reason="depth/width"),
    )
    c, shape = 0.0, [0.0]
    for _ in range(depth):
        c = _tat_map(c, network.activation.slope)  # type: ignore[union-attr]
        shape.append(c)
    series = (
        Series.of("composed C map", "predicted", range(depth + 1), shape),
        estimates("exact networks, mean", [depth], [found]),
        Series.of("infinite-width recursion", "measured", layers, curve),
    )
    return Outcome(numbers, told(network, inputs, count, seed), Figure("layer", "correlation ρ", series))


def _tat_dictionary(seed: int) -> Outcome:
    depths = (30, 100, 300, 1000, 3000)
    slopes = [tat_slope(MLP(width=1, depth=depth), eta=_ETA) for depth in depths]
    strengths = [(1 - alpha) ** 2 * depth / (2 * np.pi) for alpha, depth in zip(slopes, depths, strict=True)]
    end, begin = flow_clock(np.array([1 - _ETA, 1.0]))
    time = float(end - begin)
    delta = np.sqrt(2 * np.pi * time / depths[-1])
    numbers = (
        Number(
            "(c₊ − c₋)²/(2π) · depth/rate",
            time,
            strengths[-1],
            allowance=time * delta,
            reason="1 − α of it at depth 3,000, the size of the shaping",
        ),
    )
    series = (
        Series.of("time of the flow of ν̂ from 0 to 0.9", "predicted", [depths[0], depths[-1]], [time, time]),
        Series.of("(1 − α)² depth/(2π), α by TAT", "measured", depths, strengths),
    )
    simulated = "The slopes that TAT's condition gives at five depths; nothing random."
    return Outcome(numbers, simulated, Figure("depth", "(1 − α)² depth/(2π)", series, log_x=True))


CLAIMS = (
    Claim(
        "arccosine-kernel",
        "One ReLU layer maps a correlation by the arc-cosine kernel, ρ + ν̂(ρ)/π, on average at any width.",
        "Cho & Saul 2009, the arc-cosine kernel of degree 1",
        _arccosine_kernel,
    ),
    Claim(
        "sign-is-minus",
        "ν̂(ρ) = √(1−ρ²) − ρ arccos ρ, with a minus sign; the plus sign found in public lecture notes is an error.",
        "Li & Nica 2023 and Li, Nica & Roy 2022 for ν̂; Cho & Saul 2009 for the kernel",
        _sign,
    ),
    Claim(
        "slope-one",
        "ReLU's correlation map has slope one at ρ = 1, and 1 − K(ρ) falls short of 1 − ρ by (2√2/3π)(1−ρ)^(3/2).",
        "Cho & Saul 2009; the C map of Martens et al. 2021",
        _slope_at_one,
    ),
    Claim(
        "erf-arcsine",
        "The dual of erf is the arcsine kernel: arcsin(2ρ/3) over its value at ρ = 1.",
        "Williams 1997; a dual activation in the sense of Daniely, Frostig & Singer 2016",
        _dual("erf", lambda rho: np.arcsin(2 * rho / 3), 50, 20_000),
        quick=False,
    ),
    Claim(
        "sine-dual",
        "The dual of sin is sinh(ρ)/sinh(1) after scaling to unit norm.",
        "by the characteristic function; a dual activation in the sense of Daniely, Frostig & Singer 2016",
        _dual("sin", np.sinh, 50, 20_000),
        quick=False,
    ),
    Claim(
        "collapse-rate",
        "At infinite width inputs of an unshaped ReLU MLP align as 1 − ρ ~ 9π²/(2ℓ²), the start q₀ of the SDE.",
        "Li & Nica 2023, second result",
        _collapse,
    ),
    Claim(
        "tat-correlation",
        "The leaky slope that solves TAT's C_f(0) = 0.9 gives a final correlation of 0.9 at infinite width.",
        "Zhang, Botev & Martens 2022, TAT for leaky ReLU",
        _tat_correlation,
    ),
    Claim(
        "tat-dictionary",
        "TAT's slope is shaped ReLU: (c₊ − c₋)²/(2π) depth/rate tends to the time that ν̂'s flow takes from 0 to 0.9.",
        "Zhang, Botev & Martens 2022 with the ODE of Li & Nica 2023; the dictionary is derived here",
        _tat_dictionary,
    ),
)
