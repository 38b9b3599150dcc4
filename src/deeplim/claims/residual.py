"""Claims about residual networks, and about the MLP that has the same ODE.

Measured: exact networks, Gaussian rows through the activation. Predicted: the flow of the ODE, which integrates 1/nuhat
and knows no network, or a closed form written out here. They share the architecture alone.
"""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from jaxtyping import Float

from deeplim.activations import ShapedReLU
from deeplim.architecture import MLP, ResNet
from deeplim.claims.claim import Claim, Figure, Outcome, Series, estimates
from deeplim.claims.draws import ONE, correlations, log_norms, networks_at, told
from deeplim.claims.measures import extrapolated, mean_of, next_order, std_of, variance_of
from deeplim.claims.number import Allowance, number_of
from deeplim.claims.quadrature import follow
from deeplim.gaussian import nuhat
from deeplim.inputs import gram
from deeplim.limits.flow import nuhat_flow
from deeplim.statistics import Estimate

_START = 0.3
_PAIR = gram(correlation=_START)
_S = np.linspace(0, 1, 60)
_COMPARED = np.array([0.0, 0.5, 1.0, 2.0])
"""Strengths of the drift: none, half, the ODE's, twice."""


def _curve(time: Float[np.ndarray, " time"]) -> Float[np.ndarray, " time"]:
    """rho(s) of d rho / ds = nuhat(rho) / pi from 0.3."""
    return 1 - nuhat_flow(np.full(len(time), 1 - _START), time / np.pi)


def _ends() -> tuple[float, dict[str, float]]:
    """rho(1), the correlation at the last layer, 0.4517, and what other strengths of the drift would make of it."""
    none, half, end, twice = map(float, _curve(_COMPARED))
    return end, {"no drift": none, "half the drift": half, "twice the drift": twice}


def _refuted_lines(curve: Callable[[np.ndarray], np.ndarray]) -> tuple[Series, Series]:
    return (
        Series.of("half the drift", "refuted", _S, curve(_S / 2)),
        Series.of("twice the drift", "refuted", _S, curve(2 * _S)),
    )


def _ode(seed: int) -> Outcome:
    """Measured and predicted as the module says."""
    network, count = ResNet(width=800, depth=100), 2000
    layers = list(range(10, 101, 10))
    paths = networks_at(network, _PAIR, networks=count, seed=seed, layers=layers)
    found = [mean_of(correlations(paths, k)) for k in range(len(layers))]
    size = Allowance(
        1 / network.depth + 1 / network.width,
        "1/depth + 1/width: the step of the layers, and the mean of a curved function",
    )
    end, others = _ends()
    numbers = (
        number_of(
            "mean ρ at the last layer",
            end,
            found[-1],
            refutes=others,
            allowance=size,
        ),
    )
    series = (
        Series.of("dρ/ds = ν̂(ρ)/π", "predicted", _S, _curve(_S)),
        *_refuted_lines(_curve),
        estimates("exact networks, mean", np.array(layers) / 100, found),
    )
    return Outcome(numbers, told(network, _PAIR, count, seed), Figure("s = layer/depth", "correlation ρ", series))


def _norm(seed: int) -> Outcome:
    """Measured and predicted as the module says."""
    network, count = ResNet(width=200, depth=50), 10_000
    layers = [10, 20, 30, 40, 50]
    paths = networks_at(network, ONE, networks=count, seed=seed, layers=layers)
    found = [mean_of(np.exp(log_norms(paths, k))) for k in range(len(layers))]
    # At finite width a row is not symmetric, as its sign and the size of its branch are related: E V is off by 1/width.
    size = Allowance(np.e * (1 / 100 + 2 / 200), "e/(2 depth) + 2e/width, the step and the asymmetry of rows")
    controls = {"an MLP's norm, kept": 1.0, "half the growth, without He's factor 2": np.exp(0.5), "twice": np.exp(2.0)}
    numbers = (number_of("mean V at the last layer", np.e, found[-1], refutes=controls, allowance=size),)
    series = (
        Series.of("exp(s)", "predicted", _S, np.exp(_S)),
        Series.of("half the growth", "refuted", _S, np.exp(_S / 2)),
        estimates("exact networks, mean", np.array(layers) / 50, found),
    )
    return Outcome(numbers, told(network, ONE, count, seed), Figure("s = layer/depth", "V", series))


def _fluctuation(seed: int) -> Outcome:
    """Measured: exact networks of three widths. Predicted: an exponent, which no code here knows."""
    widths, count = (100, 200, 400), 8000
    networks = [ResNet(width=width, depth=width // 4) for width in widths]
    found = [
        std_of(correlations(networks_at(network, _PAIR, networks=count, seed=seed + k)))
        for k, network in enumerate(networks)
    ]
    first, last = found[0], found[-1]
    error = np.hypot(first.error / first.value, last.error / last.value) / np.log(4)
    exponent = Estimate(float(np.log(first.value / last.value) / np.log(4)), float(error))
    numbers = (
        number_of(
            "exponent of 1/width in the std of ρ",
            0.5,
            exponent,
            refutes={"(depth/width)^(1/2), as in an MLP": 0.0, "1/width, as of a mean": 1.0},
            allowance=Allowance(1 / 25 + 1 / 100, "1/depth + 1/width of the smallest network"),
        ),
    )
    line = np.geomspace(100, 400, 20)
    series = (
        Series.of("width^(−1/2)", "predicted", line, last.value * np.sqrt(400 / line)),
        Series.of("(depth/width)^(1/2)", "refuted", line, np.full(20, last.value)),
        Series.of("1/width", "refuted", line, last.value * 400 / line),
        estimates("exact networks", widths, found),
    )
    simulated = f"{count:,} exact ResNets at each width 100, 200, 400, depth width/4; ρ = 0.3; seeds from {seed}."
    figure = Figure("width (depth = width/4)", "std of ρ at the last layer", series, log_x=True)
    return Outcome(numbers, simulated, figure)


def _equivalence(seed: int) -> Outcome:
    """Measured: exact networks, and at infinite width a layer by quadrature of its definition. Predicted: the ResNet's
    ODE, of which no part is an MLP's. Slopes 1 +- (2 depth)^(-1/2) are as far above one as below: off by 1/depth only.
    """
    c = np.sqrt(0.5)
    shaped, depths = ShapedReLU(c_plus=c, c_minus=-c, rate="depth"), (25, 50, 100)
    ends = [float(1 - follow(_shaped(c, depth), 1 - _START, depth)[-1]) for depth in depths]
    once = [2 * b - a for a, b in pairwise(ends)]
    network, count = MLP(width=2000, depth=40, activation=shaped), 2000
    found = mean_of(correlations(networks_at(network, _PAIR, networks=count, seed=seed)))
    end, strengths = _ends()
    others = {
        "(c₊ − c₋)² = 1, half": strengths["half the drift"],
        "(c₊ − c₋)² = 4, twice": strengths["twice the drift"],
        "a linear network": _START,
    }
    numbers = (
        number_of(
            "infinite width, extrapolated in 1/depth",
            end,
            Estimate(once[-1], 0.0),
            refutes=others,
            allowance=Allowance(1 / depths[1] ** 2, "1/depth², depth 50: the next order after extrapolation"),
        ),
        number_of(
            "mean ρ, width 2000, depth 40",
            end,
            found,
            refutes=others,
            allowance=Allowance(
                float(nuhat(1 - _START)) / np.pi / network.depth + 0.2 * network.depth / network.width,
                "one layer's step, ν̂(0.3)/(π depth); and the noise's own drift ρ(1−ρ²)/2, below 0.2 depth/width",
            ),
        ),
    )
    low, high = strengths["half the drift"], strengths["twice the drift"]
    series = (
        Series.of("ResNet ODE", "predicted", [0, 0.045], [end, end]),
        Series.of("(c₊ − c₋)² = 1", "refuted", [0, 0.045], [low, low]),
        Series.of("(c₊ − c₋)² = 4", "refuted", [0, 0.045], [high, high]),
        estimates("exact networks, mean", [1 / 40], [found]),
        Series.of("infinite width, by quadrature", "measured", 1 / np.array(depths), ends),
    )
    return Outcome(numbers, told(network, _PAIR, count, seed), Figure("1/depth", "ρ at the last layer", series))


def _shaped(c: float, depth: int) -> Callable[[np.ndarray], np.ndarray]:
    step = c / np.sqrt(depth)
    return lambda x: x + step * np.abs(x)


def _branches(seed: int) -> Outcome:
    """Measured and predicted as the module says."""
    alphas, depth, width, count = (0.25, 0.4, 0.5, 0.6, 0.75, 1.0), 200, 200, 1500
    networks = [ResNet(width=width, depth=depth, branch=f"1/depth^{alpha}") for alpha in alphas]
    drawn = [networks_at(network, _PAIR, networks=count, seed=seed + k) for k, network in enumerate(networks)]
    found = [mean_of(correlations(paths)) for paths in drawn]
    size = Allowance(
        1 / depth + 1 / width, "1/depth + 1/width: the step of the layers, and the mean of a curved function"
    )
    growth, (end, others) = depth * np.log1p(depth**-0.5), _ends()
    numbers = (
        number_of(
            "α = 1/4: mean log V at the last layer, depth log(1 + depth^(−1/2))",
            growth,
            mean_of(log_norms(drawn[0])),
            refutes={"the growth at α = 1/2": depth * np.log1p(1 / depth), "half": growth / 2, "twice": 2 * growth},
            allowance=Allowance(depth / width, "depth/width, the size of the variance of log V"),
        ),
        number_of("α = 1/2: mean ρ at the last layer", end, found[2], refutes=others, allowance=size),
        number_of(
            "α = 1: mean ρ, frozen at the inputs' 0.3",
            _START,
            found[-1],
            refutes={"the ODE as at α = 1/2, not frozen": end, "half the ODE's drift": others["half the drift"]},
            allowance=size,
        ),
    )
    line = np.linspace(0.25, 1, 60)
    series = (
        Series.of(f"ν̂'s flow for depth^(1−2α), depth {depth}", "predicted", line, _curve(depth ** (1 - 2 * line))),
        Series.of("half the drift", "refuted", line, _curve(depth ** (1 - 2 * line) / 2)),
        Series.of("the ODE at every α", "refuted", line, np.full(60, end)),
        estimates("exact networks, mean", alphas, found),
    )
    simulated = f"{count:,} exact ResNets at each of six α, width {width}, depth {depth}; ρ = 0.3; seeds from {seed}."
    return Outcome(numbers, simulated, Figure("branch exponent α", "ρ at the last layer", series))


def _slowed_noise(seed: int) -> Outcome:
    """Measured: exact networks of width 64 and 128, extrapolated. Predicted: the noise's closed form."""
    branches, share = (0.25, 0.5, 0.75, 1.0), 0.25
    shaped = {"activation": ShapedReLU(c_plus=0.5, c_minus=-0.5), "skip": "norm-preserving"}
    fine = [ResNet(width=128, depth=128, branch=b, **shaped) for b in branches]
    coarse = ResNet(width=64, depth=64, branch=branches[1], **shaped)
    counts = [20_000 if b == branches[1] else 4000 for b in branches]
    drawn = [
        log_norms(networks_at(network, ONE, networks=count, seed=seed + k))
        for k, (network, count) in enumerate(zip(fine, counts, strict=True))
    ]
    both = log_norms(networks_at(coarse, ONE, networks=40_000, seed=seed + 9)), drawn[1]
    noise, size = share * (2 - share), next_order(64)
    numbers = (
        number_of(
            "Var log V at g² = 1/4, 2 g²(2 − g²) t",
            2 * noise,
            extrapolated(variance_of, *both),
            refutes={"no cross term, 2 g⁴ t": 2 * share**2, "half the noise": noise, "an MLP without a skip, 2t": 2.0},
            allowance=size,
        ),
        number_of(
            "mean log V, −g²(2 − g²) t",
            -noise,
            extrapolated(mean_of, *both),
            refutes={
                "no cross term, −g⁴ t": -(share**2),
                "half the noise": -noise / 2,
                "an MLP without a skip, −t": -1.0,
            },
            allowance=size,
        ),
    )
    series = (
        Series.of("2 g²(2 − g²)", "predicted", _S, 2 * _S * (2 - _S)),
        Series.of("2 g⁴", "refuted", _S, 2 * _S**2),
        estimates("exact networks of width 128", np.array(branches) ** 2, [variance_of(values) for values in drawn]),
    )
    simulated = (
        f"20,000 exact ResNets, {fine[1]}, 4,000 of other branches, and 40,000 of width 64; one input; "
        f"seeds from {seed}."
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
