"""Claims about the proportional regime: depth and width grow together, and the covariance is a diffusion.

Slopes as far above one as below, c_- = -c_+, make a network differ from the limit by orders of 1/width only, and not of
its root: changing the sign of c changes phi(x) to -phi(-x), and no law. So two widths extrapolate to the limit.
"""

import numpy as np

from deeplim.activations import ShapedReLU
from deeplim.architecture import MLP
from deeplim.claims.claim import Claim, Figure, Outcome, Series, density_line, estimates, histogram
from deeplim.claims.draws import ONE, correlations, covariances, log_norms, networks_at, told
from deeplim.claims.measures import extrapolated, mean_of, next_order, std_of, variance_of
from deeplim.claims.number import Allowance, number_of
from deeplim.finite.weights import activate
from deeplim.inputs import gram
from deeplim.limits.covariance_sde import CovarianceSDE
from deeplim.limits.density import normal_density
from deeplim.limits.laws import pair_density, shaped_relu_drift, shaped_relu_norm_density
from deeplim.statistics import Estimate

_WIDTHS, _COUNTS = (64, 128), (40_000, 20_000)
_START = -0.9
"""Correlation begun at: far from 1, where the drift is strong beside the noise."""


def _correlation(seed: int) -> Outcome:
    """Measured: exact networks of two widths, Gaussian rows through the slopes. Predicted: the Fokker-Planck equation
    of the SDE. They share the slopes alone.
    """
    shaped, time = ShapedReLU(c_plus=1, c_minus=-1), 0.5
    networks = [MLP(width=n, depth=round(time * n), activation=shaped) for n in _WIDTHS]
    pair, gamma = gram(correlation=_START), CovarianceSDE(networks[0]).parameters["gamma"]
    none, half, law, twice = (
        pair_density(shaped_relu_drift(k * gamma), 1 - _START, time=time) for k in (0.0, 0.5, 1.0, 2.0)
    )
    drawn = [
        correlations(networks_at(network, pair, networks=count, seed=seed + k))
        for k, (network, count) in enumerate(zip(networks, _COUNTS, strict=True))
    ]
    size = next_order(_WIDTHS[0])
    numbers = (
        number_of(
            "mean ρ at layer/width = 1/2",
            law.mean,
            extrapolated(mean_of, *drawn),
            refutes={
                "no drift, a linear network": none.mean,
                "half the drift": half.mean,
                "twice the drift": twice.mean,
            },
            allowance=size,
        ),
        number_of(
            "its standard deviation",
            law.std,
            extrapolated(std_of, *drawn),
            refutes={"no drift, a linear network": none.std, "no noise, infinite width": 0.0},
            allowance=size,
        ),
    )
    series = (
        density_line(law, "density of the SDE"),
        density_line(half, "half the drift", refuted=True),
        density_line(twice, "twice the drift", refuted=True),
        histogram(drawn[1], name="exact networks of width 128"),
    )
    simulated = told(networks[1], pair, _COUNTS[1], seed) + f" And {_COUNTS[0]:,} of width {_WIDTHS[0]}."
    figure = Figure("correlation ρ at layer/width = 1/2", "density (per ρ)", series)
    return Outcome(numbers, simulated, figure)


def _log_norm(seed: int) -> Outcome:
    """Measured: exact networks neuron by neuron. Predicted: the normal law; no code here has a layer's own law."""
    network, count = MLP(width=200, depth=200, activation=ShapedReLU()), 8000
    values = log_norms(networks_at(network, ONE, networks=count, seed=seed))
    size = Allowance(5 / network.width, "5/width: second-order terms of a layer")
    law = shaped_relu_norm_density(time=1.0)
    others = {"an unshaped ReLU": (-2.5, 5.0), "half the noise": (-0.5, 1.0), "twice the noise": (-2.0, 4.0)}
    numbers = (
        number_of(
            "mean log V, −t",
            law.mean,
            mean_of(values),
            refutes={name: mean for name, (mean, _) in others.items()} | {"no drift of log V": 0.0},
            allowance=size,
        ),
        number_of(
            "Var log V, 2t",
            law.std**2,
            variance_of(values),
            refutes={name: variance for name, (_, variance) in others.items()},
            allowance=size,
        ),
    )
    line = np.linspace(values.min(), values.max(), 120)
    series = (
        Series.of("N(−1, 2)", "predicted", line, law.at_points(line)),
        Series.of("an unshaped ReLU, N(−5/2, 5)", "refuted", line, normal_density(-2.5, 5.0).at_points(line)),
        Series.of("half the noise, N(−1/2, 1)", "refuted", line, normal_density(-0.5, 1.0).at_points(line)),
        histogram(values),
    )
    figure = Figure("log V at layer/width = 1", "density (per unit)", series)
    return Outcome(numbers, told(network, ONE, count, seed), figure)


def _moved(network: MLP, rho: float, neurons: int, seed: int) -> Estimate:
    """width E(V'^{12} - V^{12}) over one layer, from neurons with their weights and those of the opposite sign.

    Of each pair the linear layer's product, whose mean is rho, is taken off, so that only what phi adds is left.
    """
    rng = np.random.default_rng(seed)
    one, across = rng.standard_normal((2, neurons))
    other = rho * one + np.sqrt(1 - rho**2) * across
    product = sum(activate(network, sign * one) * activate(network, sign * other) for sign in (1.0, -1.0)) / 2
    return mean_of(network.width * (network.gain * product - one * other))


def _drift(seed: int) -> Outcome:
    """Measured: neurons with explicit weights, their slopes and their gain. Predicted: the drift of the SDE; no kernel
    in closed form is used in the measurement.
    """
    widths, shaped, rho, neurons = (10**2, 10**3, 10**4, 10**5, 10**6), ShapedReLU(), 0.3, 400_000
    networks = [MLP(width=n, depth=1, activation=shaped) for n in widths]
    found = [_moved(network, rho, neurons, seed + k) for k, network in enumerate(networks)]
    drift = float(shaped_relu_drift(CovarianceSDE(networks[0]).parameters["gamma"])(np.array(1 - rho)))
    plus = (np.sqrt(1 - rho**2) + rho * np.arccos(rho)) / (2 * np.pi)
    numbers = (
        number_of(
            "width · E(V'¹² − V¹²) at ρ = 0.3, γ ν̂(0.3)",
            drift,
            found[-1],
            refutes={
                "no drift, a linear network": 0.0,
                "half the drift": drift / 2,
                "twice the drift": 2 * drift,
                "ν̂ with a plus sign": plus,
            },
            allowance=Allowance(2 * drift / np.sqrt(widths[-1]), "2/√width of it, the size of the shaping"),
        ),
    )
    ends = [widths[0], widths[-1]]
    series = (
        Series.of("γ ν̂(ρ)", "predicted", ends, [drift, drift]),
        Series.of("half the drift", "refuted", ends, [drift / 2, drift / 2]),
        Series.of("ν̂ with a plus sign", "refuted", ends, [plus, plus]),
        estimates("neurons of one shaped layer", widths, found),
    )
    simulated = (
        f"{neurons:,} pairs of neurons with opposite weights at each of five widths up to 1,000,000, ReLU shaped at "
        f"c₊ = 0, c₋ = −1; ρ = 0.3; seeds from {seed}."
    )
    return Outcome(numbers, simulated, Figure("width", "width · change of V¹²", series, log_x=True))


def _scatter(seed: int) -> Outcome:
    """Measured: exact layers, Gaussian rows through the slopes. Predicted: the SDE's noise, written out here."""
    network, count, rho = MLP(width=800, depth=1, activation=ShapedReLU(c_plus=0.5, c_minus=-0.5)), 100_000, 0.3
    pair = gram(correlation=rho)
    paths = networks_at(network, pair, networks=count, seed=seed)
    norms = np.exp(paths.log_norm[:, -1])
    entries = {"11": norms[:, 0], "22": norms[:, 1], "12": covariances(paths)}
    wrong = {
        ("11", "11"): {"an unshaped ReLU, 5": 5.0, "half the noise": 1.0, "twice the noise": 4.0},
        ("11", "12"): {"independent entries": 0.0, "half the noise": rho},
        ("11", "22"): {"independent entries": 0.0},
        ("12", "12"): {"V¹¹V²² alone": 1.0, "half the noise": (1 + rho**2) / 2},
    }
    before = {"11": 1.0, "22": 1.0, "12": rho, "21": rho}
    predicted, found = [], []
    for p, q in wrong:
        predicted.append(before[p[0] + q[0]] * before[p[1] + q[1]] + before[p[0] + q[1]] * before[p[1] + q[0]])
        x, y = entries[p], entries[q]
        found.append(mean_of(network.width * (x - x.mean()) * (y - y.mean())))
    numbers = [
        number_of(
            f"width · Cov(V{p}, V{q})",
            value,
            one,
            refutes=others,
            allowance=Allowance(10 / network.width, "10/width: the shaping enters a layer's scatter at order 1/width"),
        )
        for ((p, q), others), value, one in zip(wrong.items(), predicted, found, strict=True)
    ]
    series = (
        Series.of("equal", "predicted", [0, 2.2], [0, 2.2]),
        Series.of("half the noise", "refuted", [0, 2.2], [0, 1.1]),
        estimates("one exact layer", predicted, found),
    )
    figure = Figure("Σ predicted", "width · covariance of a layer's entries", series)
    return Outcome(tuple(numbers), told(network, pair, count, seed), figure)


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
)
