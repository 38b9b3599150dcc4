"""Claims about residual networks, and about the MLP that has the same ODE."""

from itertools import pairwise

import numpy as np
from jaxtyping import Float

from deeplim.activations import ShapedReLU
from deeplim.architecture import MLP, ResNet
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
    std_of,
    variance_of,
)
from deeplim.claims.draws import ONE, at_depth, correlations, log_norms, told
from deeplim.ensemble import simulate
from deeplim.gaussian import nuhat
from deeplim.inputs import gram
from deeplim.limits.flow import nuhat_flow
from deeplim.limits.infinite_width import InfiniteWidth
from deeplim.statistics import Estimate

_START = 0.3
_PAIR = gram(correlation=_START)


def _curve(time: Float[np.ndarray, " time"]) -> Float[np.ndarray, " time"]:
    """rho(s) of d rho / ds = nuhat(rho) / pi from 0.3."""
    return 1 - nuhat_flow(np.full(len(time), 1 - _START), time / np.pi)


_END = float(_curve(np.ones(1))[0])
"""rho(1), the correlation at the last layer: 0.4517."""


def _ode(seed: int) -> Outcome:
    network, count = ResNet(width=800, depth=100), 2000
    layers = list(range(10, 101, 10))
    paths = simulate(network, _PAIR, networks=count, seed=seed, layers=layers)
    found = [mean_of(1 - np.exp(paths.log_gap[:, k, 0])) for k in range(len(layers))]
    reason = "1/depth + 1/width: the step of the layers, and the mean of a curved function"
    allowance = 1 / network.depth + 1 / network.width
    numbers = (number_of("mean ρ at the last layer", _END, found[-1], allowance=allowance, reason=reason),)
    s = np.linspace(0, 1, 60)
    series = (
        Series.of("dρ/ds = ν̂(ρ)/π", "predicted", s, _curve(s)),
        estimates("exact networks, mean", np.array(layers) / 100, found),
    )
    return Outcome(numbers, told(network, _PAIR, count, seed), Figure("s = layer/depth", "correlation ρ", series))


def _norm(seed: int) -> Outcome:
    network, count = ResNet(width=200, depth=50), 10_000
    layers = [10, 20, 30, 40, 50]
    paths = simulate(network, ONE, networks=count, seed=seed, layers=layers)
    found = [mean_of(np.exp(paths.log_norm[:, k, 0])) for k in range(len(layers))]
    # At finite width a row is not symmetric, as its sign and the size of its branch are related: E V is off by 1/width.
    allowance, reason = np.e * (1 / (2 * 50) + 2 / 200), "e/(2 depth) + 2e/width, the step and the asymmetry of rows"
    numbers = (number_of("mean V at the last layer", np.e, found[-1], allowance=allowance, reason=reason),)
    s = np.linspace(0, 1, 60)
    series = (
        Series.of("exp(s)", "predicted", s, np.exp(s)),
        estimates("exact networks, mean", np.array(layers) / 50, found),
    )
    return Outcome(numbers, told(network, ONE, count, seed), Figure("s = layer/depth", "V", series))


def _fluctuation(seed: int) -> Outcome:
    widths, count = (100, 200, 400), 8000
    networks = [ResNet(width=width, depth=width // 4) for width in widths]
    found = [
        std_of(correlations(at_depth(network, _PAIR, networks=count, seed=seed + k)))
        for k, network in enumerate(networks)
    ]
    first, last = found[0], found[-1]
    error = np.hypot(first.error / first.value, last.error / last.value) / np.log(4)
    exponent = Estimate(float(np.log(first.value / last.value) / np.log(4)), float(error))
    reason = "1/depth + 1/width of the smallest network"
    numbers = (
        number_of("exponent of 1/width in the std of ρ", 0.5, exponent, allowance=0.05, reason=reason),
        control("exponent if it were (depth/width)^(1/2)", 0.0, exponent, allowance=0.05, reason=reason),
    )
    line = np.geomspace(100, 400, 20)
    series = (
        Series.of("width^(−1/2)", "predicted", line, last.value * np.sqrt(400 / line)),
        Series.of("(depth/width)^(1/2)", "refuted", line, np.full(20, last.value)),
        estimates("exact networks", widths, found),
    )
    simulated = f"{count:,} exact ResNets at each width 100, 200, 400, depth width/4; ρ = 0.3; seeds from {seed}."
    return Outcome(
        numbers, simulated, Figure("width (depth = width/4)", "std of ρ at the last layer", series, log_x=True)
    )


def _equivalence(seed: int) -> Outcome:
    shaped = ShapedReLU(c_plus=0, c_minus=-np.sqrt(2), rate="depth")
    depths = (25, 100, 400, 1600)
    recursions = [InfiniteWidth(MLP(width=4000, depth=d, activation=shaped)) for d in depths]
    ends = [1 - float(r.sample(_PAIR, layers=[r.network.depth]).correlation_gap[0, 0, 0]) for r in recursions]
    once = [2 * b - a for a, b in pairwise(ends)]
    twice = [(4 * b - a) / 3 for a, b in pairwise(once)]
    network, count = MLP(width=4000, depth=40, activation=shaped), 2000
    found = mean_of(correlations(at_depth(network, _PAIR, networks=count, seed=seed)))
    value = _END
    bias = float(np.sqrt(2 / network.depth) * nuhat(1 - _START) / np.pi)
    numbers = (
        Number(
            "infinite width, extrapolated in depth^(−1/2)",
            value,
            twice[-1],
            allowance=abs(twice[-1] - twice[-2]),
            reason="the last change of the extrapolation",
        ),
        number_of(
            "mean ρ, width 4000, depth 40",
            value,
            found,
            allowance=bias + network.depth / network.width,
            reason="√(2/depth), the excess of the shaping, times the largest drift; and depth/width",
        ),
    )
    series = (
        Series.of("ResNet ODE", "predicted", [0, 0.22], [value, value]),
        estimates("exact networks, mean", [40**-0.5], [found]),
        Series.of("infinite width", "measured", np.array(depths) ** -0.5, ends),
    )
    return Outcome(numbers, told(network, _PAIR, count, seed), Figure("depth^(−1/2)", "ρ at the last layer", series))


def _branches(seed: int) -> Outcome:
    alphas, depth, width, count = (0.25, 0.4, 0.5, 0.6, 0.75, 1.0), 200, 200, 1500
    networks = [ResNet(width=width, depth=depth, branch=f"1/depth^{alpha}") for alpha in alphas]
    drawn = [at_depth(network, _PAIR, networks=count, seed=seed + k) for k, network in enumerate(networks)]
    found = [mean_of(correlations(paths)) for paths in drawn]
    explosive = mean_of(log_norms(drawn[0]))
    reason, size = "1/depth + 1/width", 1 / depth + 1 / width
    numbers = (
        number_of(
            "α = 1/4: mean log V at the last layer, depth log(1 + depth^(−1/2))",
            depth * np.log1p(depth**-0.5),
            explosive,
            allowance=depth / width,
            reason="depth/width, the size of the variance of log V",
        ),
        number_of("α = 1/2: mean ρ at the last layer", _END, found[2], allowance=size, reason=reason),
        number_of("α = 1: mean ρ, frozen at the inputs' 0.3", _START, found[-1], allowance=size, reason=reason),
        control("α = 1/4: mean ρ if it were the ODE's", _END, found[0], allowance=size, reason=reason),
    )
    line = np.linspace(0.25, 1, 60)
    series = (
        Series.of(f"ν̂'s flow for depth^(1−2α), depth {depth}", "predicted", line, _curve(depth ** (1 - 2 * line))),
        estimates("exact networks, mean", alphas, found),
    )
    simulated = f"{count:,} exact ResNets at each of six α, width {width}, depth {depth}; ρ = 0.3; seeds from {seed}."
    return Outcome(numbers, simulated, Figure("branch exponent α", "ρ at the last layer", series))


def _slowed_noise(seed: int) -> Outcome:
    branches, size, count = (0.25, 0.5, 0.75, 1.0), 200, 8000
    networks = [
        ResNet(width=size, depth=size, activation=ShapedReLU(), skip="norm-preserving", branch=b) for b in branches
    ]
    drawn = [log_norms(at_depth(network, ONE, networks=count, seed=seed + k)) for k, network in enumerate(networks)]
    found, share = [variance_of(values) for values in drawn], 0.25
    reason, allowance = "5/width: the random V₀ (2/width) and second-order terms of a layer", 5 / size
    noise = share * (2 - share)
    numbers = (
        number_of("Var log V at g² = 1/4, 2 g²(2 − g²) t", 2 * noise, found[1], allowance=allowance, reason=reason),
        number_of("mean log V, −g²(2 − g²) t", -noise, mean_of(drawn[1]), allowance=allowance, reason=reason),
        control("Var log V without the cross term, 2 g⁴ t", 2 * share**2, found[1], allowance=allowance, reason=reason),
    )
    line = np.linspace(0, 1, 60)
    series = (
        Series.of("2 g²(2 − g²)", "predicted", line, 2 * line * (2 - line)),
        Series.of("2 g⁴", "refuted", line, 2 * line**2),
        estimates("exact networks", np.array(branches) ** 2, found),
    )
    simulated = (
        f"{count:,} exact ResNets at each of four branches, {networks[1]} among them; one input; seeds from {seed}."
    )
    return Outcome(numbers, simulated, Figure("branch's share g²", "Var log V at layer/width = 1", series))


CLAIMS = (
    Claim(
        "resnet-ode",
        "The correlation of a ResNet with branch depth^(−1/2) follows dρ/ds = ν̂(ρ)/π: from 0.3 it reaches 0.4517.",
        "Li & Nica 2023, first result",
        _ode,
        quick=False,
    ),
    Claim(
        "resnet-norm",
        "The norm of that ResNet grows like e^s, to e at its last layer.",
        "Li & Nica 2023, first result",
        _norm,
    ),
    Claim(
        "resnet-fluctuation",
        "At fixed depth/width the correlation of a ResNet still concentrates, with fluctuations of size width^(−1/2).",
        "measured here; the ODE is the first result of Li & Nica 2023",
        _fluctuation,
        quick=False,
    ),
    Claim(
        "shaped-mlp-equivalence",
        "An MLP with ReLU shaped at the rate of its depth has the ResNet's ODE when (c₊ − c₋)² = 2.",
        "Li & Nica 2023, first result",
        _equivalence,
        quick=False,
    ),
    Claim(
        "branch-exponent",
        "A branch of depth^(−α) explodes for α < 1/2, gives the ODE at 1/2, and freezes the correlation for α > 1/2.",
        "Li & Nica 2023 for α = 1/2; the rest derived here",
        _branches,
        quick=False,
    ),
    Claim(
        "residual-noise",
        "A norm-preserving branch of share g² slows the noise of the covariance to g²(2 − g²).",
        "Noci et al. 2023, the linear part of the noise of the shaped transformer",
        _slowed_noise,
        quick=False,
    ),
)
