"""Claims about the proportional regime: depth and width grow together, and the covariance is a diffusion."""

import numpy as np
from scipy.special import gammainc

from deeplim.activations import Shaped, ShapedReLU
from deeplim.architecture import MLP
from deeplim.claims.claim import (
    Claim,
    Figure,
    Number,
    Outcome,
    Series,
    estimates,
    histogram,
    mean_of,
    number_of,
    std_of,
    variance_of,
)
from deeplim.claims.draws import ONE, at_depth, correlations, covariances, log_norms, told
from deeplim.gaussian import nuhat
from deeplim.inputs import gram
from deeplim.limits.covariance_sde import CovarianceSDE
from deeplim.limits.infinite_width import InfiniteWidth
from deeplim.limits.laws import pair_density, shaped_relu_drift
from deeplim.limits.smooth_sde import SmoothSDE
from deeplim.statistics import Estimate, fraction

_RHO = 0.3
_PAIR = gram(correlation=_RHO)


def _correlation(seed: int) -> Outcome:
    network, count = MLP(width=400, depth=400, activation=ShapedReLU()), 6000
    limit = CovarianceSDE(network)
    gamma = limit.parameters["gamma"]
    law = pair_density(shaped_relu_drift(gamma), 1 - _RHO, time=1.0)
    rho = correlations(at_depth(network, _PAIR, networks=count, seed=seed))
    allowance = gamma * np.pi / np.sqrt(network.width)
    reason = "γ π t/√width, the most that a shaping stronger by 1/√width can move a correlation"
    numbers = (
        number_of("mean ρ at layer/width = 1", law.mean, mean_of(rho), allowance=allowance, reason=reason),
        number_of("its standard deviation", law.std, std_of(rho), allowance=allowance, reason=reason),
    )
    line = np.tanh(np.linspace(-3, 3.8, 200))
    density = law.at_points(np.arctanh(line)) / (1 - line**2)
    series = (Series.of("density of the SDE", "predicted", line, density), histogram(rho))
    return Outcome(
        numbers,
        told(network, _PAIR, count, seed),
        Figure("correlation ρ at layer/width = 1", "density (per ρ)", series),
    )


def _log_norm(seed: int) -> Outcome:
    network, count = MLP(width=400, depth=400, activation=ShapedReLU()), 8000
    values = log_norms(at_depth(network, ONE, networks=count, seed=seed))
    reason, allowance = "5/width: second-order terms of a layer", 5 / network.width
    numbers = (
        number_of("mean log V, −t", -1.0, mean_of(values), allowance=allowance, reason=reason),
        number_of("Var log V, 2t", 2.0, variance_of(values), allowance=allowance, reason=reason),
    )
    line = np.linspace(values.min(), values.max(), 120)
    normal = np.exp(-((line + 1) ** 2) / 4) / np.sqrt(4 * np.pi)
    series = (Series.of("N(−1, 2)", "predicted", line, normal), histogram(values))
    return Outcome(
        numbers, told(network, ONE, count, seed), Figure("log V at layer/width = 1", "density (per unit)", series)
    )


def _drift(seed: int) -> Outcome:
    widths, shaped = (10**2, 10**3, 10**4, 10**5, 10**6), ShapedReLU()
    limits = [InfiniteWidth(MLP(width=n, depth=1, activation=shaped)) for n in widths]
    gaps = [float(limit.sample(_PAIR, layers=[1]).correlation_gap[0, 0, 0]) for limit in limits]
    scaled = [n * (1 - _RHO - gap) for n, gap in zip(widths, gaps, strict=True)]
    gamma = float(nuhat(1 - _RHO)) / (2 * np.pi)
    numbers = (
        Number(
            "width · E(V'¹² − V¹²) at ρ = 0.3, γ ν̂(0.3)",
            gamma,
            scaled[-1],
            allowance=2 * gamma / np.sqrt(widths[-1]),
            reason="2/√width of it, the size of the shaping",
        ),
    )
    series = (
        Series.of("γ ν̂(ρ)", "predicted", [widths[0], widths[-1]], [gamma, gamma]),
        Series.of("kernel of one shaped layer", "measured", widths, scaled),
    )
    simulated = "The kernel of one layer of ReLU shaped at five widths up to 1,000,000, ρ = 0.3; nothing random."
    return Outcome(numbers, simulated, Figure("width", "width · change of V¹²", series, log_x=True))


def _scatter(seed: int) -> Outcome:
    network, count = MLP(width=400, depth=1, activation=ShapedReLU()), 200_000
    paths = at_depth(network, _PAIR, networks=count, seed=seed)
    norms = np.exp(paths.log_norm[:, -1])
    entries = {"11": norms[:, 0], "22": norms[:, 1], "12": covariances(paths)}
    before = {"11": 1.0, "22": 1.0, "12": _RHO, "21": _RHO}
    names = [("11", "11"), ("11", "12"), ("11", "22"), ("12", "12")]
    predicted, found = [], []
    for p, q in names:
        predicted.append(before[p[0] + q[0]] * before[p[1] + q[1]] + before[p[0] + q[1]] * before[p[1] + q[0]])
        x, y = entries[p], entries[q]
        found.append(mean_of(network.width * (x - x.mean()) * (y - y.mean())))
    reason = "10/width: the shaping enters a layer's scatter at order 1/width"
    numbers = [
        number_of(f"width · Cov(V{p}, V{q})", value, one, allowance=10 / network.width, reason=reason)
        for (p, q), value, one in zip(names, predicted, found, strict=True)
    ]
    series = (
        Series.of("equal", "predicted", [0, 2.2], [0, 2.2]),
        estimates("one exact layer", predicted, found),
    )
    return Outcome(
        tuple(numbers),
        told(network, _PAIR, count, seed),
        Figure("Σ predicted", "width · covariance of a layer's entries", series),
    )


def _explosion(seed: int) -> Outcome:
    cases, count = ((1.0, 1.0), (4.0, 0.7)), 20_000
    found = []
    for k, (beta, norm) in enumerate(cases):
        activation = Shaped(function="silu", a=np.sqrt(0.75 / beta))
        limit = SmoothSDE(MLP(width=1000, depth=8000, activation=activation))
        times = limit.explosion_times(gram(covariance=[[norm]]), samples=count, seed=seed + k)
        found.append((limit.beta, norm, fraction(int(np.isfinite(times).sum()), count)))
    reason = "paths that have neither exploded nor died by layer/width = 8"
    numbers = [
        number_of(
            f"P(explosion) at β = {beta:g}, V₀ = {norm:g}",
            float(gammainc(beta + 1, beta * norm)),
            one,
            allowance=0.002,
            reason=reason,
        )
        for beta, norm, one in found
    ]
    line = np.linspace(0.05, 6, 100)
    series = (
        Series.of("P(Γ(β+1) < β V₀), V₀ = 1", "predicted", line, gammainc(line + 1, line)),
        Series.of("P(Γ(β+1) < β V₀), V₀ = 0.7", "predicted", line, gammainc(line + 1, 0.7 * line)),
        estimates("paths of the SDE", [one[0] for one in found], [one[2] for one in found]),
    )
    simulated = f"{count:,} paths of the smooth SDE of silu in each case, to layer/width = 8; seeds {seed}, {seed + 1}."
    return Outcome(tuple(numbers), simulated, Figure("β", "probability of an explosion", series))


def _gamma_law(seed: int) -> Outcome:
    a = np.sqrt(2 / 3)
    network, count = MLP(width=200, depth=600, activation=Shaped(function="tanh", a=a)), 1500
    values = np.exp(log_norms(at_depth(network, ONE, networks=count, seed=seed)))
    reason, allowance = "3/(a² width): the next term of tanh", 3 / (a * a * network.width)
    numbers = (
        number_of("mean V, (|β| − 1)/|β|", 2 / 3, mean_of(values), allowance=allowance, reason=reason),
        number_of("Var V, (|β| − 1)/|β|²", 2 / 9, variance_of(values), allowance=allowance, reason=reason),
    )
    line = np.linspace(0, 4, 120)
    series = (
        Series.of("Gamma(2, rate 3)", "predicted", line, 9 * line * np.exp(-3 * line)),
        histogram(values, columns=25),
    )
    return Outcome(numbers, told(network, ONE, count, seed), Figure("V at layer/width = 3", "density (per V)", series))


def _design_rule(seed: int) -> Outcome:
    scales, width, count = (1.0, 4.0), 100, 1000
    networks = [MLP(width=width, depth=800, activation=Shaped(function="tanh", a=a)) for a in scales]
    half, end = [], []
    for k, network in enumerate(networks):
        half_way = network.model_copy(update={"depth": 400})
        half.append(log_norms(at_depth(half_way, ONE, networks=count, seed=seed + 2 * k)))
        end.append(log_norms(at_depth(network, ONE, networks=count, seed=seed + 2 * k + 1)))
    settled = mean_of(np.exp(end[0]))
    speeds = [_speed(first, last) for first, last in zip(half, end, strict=True)]
    numbers = (
        number_of(
            "a = 1: mean V, settled at (|β| − 1)/|β| with |β| = 2", 0.5, settled, allowance=0.03, reason="3/(a² width)"
        ),
        number_of("a = 1: change of mean log V per unit of layer/width", 0.0, speeds[0]),
        number_of(
            "a = 4: the same, −(1 − |β|) with |β| = 1/8",
            -7 / 8,
            speeds[1],
            allowance=1 / 8 + 0.03,
            reason="|β| E V, which is at most 1/8 and dies with V; and 3/width",
        ),
    )
    series = tuple(
        part
        for a, network, first, last in zip(scales, networks, half, end, strict=True)
        for part in (
            estimates(f"exact networks, a = {a:g}", [4, 8], [mean_of(first), mean_of(last)]),
            Series.of(f"a = {a:g}, by β", "predicted", [4, 8], _line(a, float(first.mean()))),
        )
    )
    simulated = (
        f"{count:,} exact networks of width {width} at depths 400 and 800, tanh shaped at a = 1 and 4; "
        f"seeds from {seed}."
    )
    return Outcome(numbers, simulated, Figure("layer/width", "mean log V (natural)", series))


def _line(a: float, begin: float) -> list[float]:
    return [begin, begin + 4 * min(2 / a**2 - 1, 0.0)]


def _speed(first: np.ndarray, last: np.ndarray) -> Estimate:
    a, b = mean_of(first), mean_of(last)
    return Estimate((b.value - a.value) / 4, float(np.hypot(a.error, b.error)) / 4)


CLAIMS = (
    Claim(
        "covariance-sde",
        "In a shaped ReLU MLP as deep as wide the correlation stays random, with the law of the covariance SDE.",
        "Li, Nica & Roy 2022, the covariance SDE of shaped ReLU",
        _correlation,
        quick=False,
    ),
    Claim(
        "log-norm-shaped",
        "The log norm of a shaped ReLU MLP is normal, N(−t, 2t) at t = layer/width.",
        "Li, Nica & Roy 2022, the diagonal of the covariance SDE",
        _log_norm,
        quick=False,
    ),
    Claim(
        "covariance-drift",
        "A layer of ReLU shaped at the rate of the width moves V¹² by γ ν̂(ρ)/width, γ = (c₊ − c₋)²/(2π).",
        "Li, Nica & Roy 2022, the drift of the covariance SDE",
        _drift,
    ),
    Claim(
        "covariance-noise",
        "The entries of V scatter within a layer with covariance (VᵃᶜVᵇᵈ + VᵃᵈVᵇᶜ)/width.",
        "Li, Nica & Roy 2022, the diffusion matrix of the covariance SDE",
        _scatter,
    ),
    Claim(
        "explosion-probability",
        "For β > 0 the norm of smooth shaping explodes with probability P(Γ(β + 1) < β V₀).",
        "the scale function of the norm's SDE of Li, Nica & Roy 2022; derived here",
        _explosion,
        quick=False,
    ),
    Claim(
        "gamma-law",
        "For β < −1 the norm settles in a Gamma law of shape |β| − 1 and rate |β|: shaped tanh at |β| = 3.",
        "the stationary law of the norm's SDE of Li, Nica & Roy 2022; derived here",
        _gamma_law,
        quick=False,
    ),
    Claim(
        "tanh-needs-small-scale",
        "Shaped tanh keeps its norm for a < √2 only: it settles at a = 1 and dies at a = 4.",
        "from the norm's SDE of Li, Nica & Roy 2022; derived here",
        _design_rule,
        quick=False,
    ),
)
