"""Claims about the norm under smooth shaping, dV = beta V (V - 1) dt + sqrt(2) V dB: it explodes, settles or dies."""

import numpy as np
from scipy.special import gammainc, psi

from deeplim.activations import Shaped
from deeplim.architecture import MLP
from deeplim.claims.claim import Claim, Figure, Outcome, Series, estimates, histogram
from deeplim.claims.draws import ONE, log_norms, networks_at
from deeplim.claims.measures import extrapolated, mean_of, next_order, part_of, variance_of
from deeplim.claims.number import Allowance, Number, number_of
from deeplim.inputs import gram
from deeplim.limits.density import Density
from deeplim.limits.laws import explosion_probability, stationary_norm_density
from deeplim.limits.smooth_sde import SmoothSDE
from deeplim.paths import Paths
from deeplim.statistics import Estimate

_HORIZONS = 8, 4
"""layer/width by which all but a few paths, and networks, have exploded or died."""
_EXPLODED = 8.0
"""log V from which a norm doubles in every layer: far above the scale s^2 of the shaping, there phi is ReLU's."""
_UNDECIDED = 0.002, 0.005
"""Probability of exploding after the horizon: a norm still there is small, and at 0.1 explodes once in 200 times."""


def _silu(beta: float, width: int, horizon: int) -> MLP:
    """SiLU at a scale with this beta = 3/(4 a^2), phi''(0) = 1 and phi'''(0) = 0 for 2 SiLU."""
    activation = Shaped(function="silu", a=float(np.sqrt(0.75 / beta)))
    return MLP(width=width, depth=horizon * width, activation=activation)


def _paths_number(beta: float, norm: float, others: dict[str, float], count: int, seed: int) -> tuple[Number, Estimate]:
    limit = SmoothSDE(_silu(beta, 1000, _HORIZONS[0]))
    times = limit.explosion_times(gram(covariance=[[norm]]), samples=count, seed=seed)
    found = part_of(int(np.isfinite(times).sum()), count)
    number = number_of(
        f"P(explosion) at β = {beta:g}, V₀ = {norm:g}, paths of the SDE",
        explosion_probability(beta, norm),
        found,
        refutes=others
        | {
            "twice the drift": explosion_probability(2 * beta, norm),
            "a Gamma law of shape β, not β + 1": float(gammainc(beta, beta * norm)),
        },
        allowance=Allowance(_UNDECIDED[0], "paths that have neither exploded nor died by layer/width = 8"),
    )
    return number, found


def _explosions(paths: Paths) -> np.ndarray:
    """1 for a network whose norm has exploded, 0 for another; a network that is lost has left every float."""
    with np.errstate(invalid="ignore"):
        return (~paths.alive[:, -1] | (paths.log_norm[:, -1, 0] > _EXPLODED)).astype(float)


def _explosion(seed: int) -> Outcome:
    """Measured: paths of the SDE, and exact networks of two widths. Predicted: the scale function's integral, of which
    neither is made; beta is worked out here and not by the limit.
    """
    count, widths, counts = 20_000, (64, 128), (6000, 4000)
    one, first = _paths_number(1.0, 1.0, {"half the drift": explosion_probability(0.5)}, count, seed)
    four, second = _paths_number(4.0, 0.7, {"unit norm at the start": explosion_probability(4.0)}, count, seed + 1)
    drawn = [
        _explosions(networks_at(_silu(1.0, n, _HORIZONS[1]), ONE, networks=some, seed=seed + 2 + k))
        for k, (n, some) in enumerate(zip(widths, counts, strict=True))
    ]
    found = extrapolated(mean_of, *drawn)
    networks = number_of(
        "the same at β = 1, V₀ = 1, exact networks of width 64 and 128 extrapolated",
        explosion_probability(1.0),
        found,
        refutes={"a Gamma law of shape β, not β + 1": float(gammainc(1.0, 1.0)), "no explosion": 0.0},
        allowance=Allowance(
            next_order(widths[0]).size + _UNDECIDED[1],
            "50/width², width 64, the next order; and 0.005, networks that explode after layer/width = 4",
        ),
    )
    line = np.linspace(0.05, 6, 100)
    series = (
        Series.of("P(Γ(β+1) < β V₀), V₀ = 1", "predicted", line, gammainc(line + 1, line)),
        Series.of("P(Γ(β+1) < β V₀), V₀ = 0.7", "predicted", line, gammainc(line + 1, 0.7 * line)),
        Series.of("shape β, not β + 1, V₀ = 1", "refuted", line, gammainc(line, line)),
        Series.of("twice the drift, V₀ = 1", "refuted", line, gammainc(2 * line + 1, 2 * line)),
        estimates("paths of the SDE", [1.0, 4.0], [first, second]),
        estimates("exact networks, extrapolated", [1.0], [found]),
    )
    simulated = (
        f"{count:,} paths of the smooth SDE of silu in each case, to layer/width = 8; {counts[0]:,} and {counts[1]:,} "
        f"exact networks of silu, width 64 and 128, to 4; seeds from {seed}."
    )
    return Outcome((one, four, networks), simulated, Figure("β", "probability of an explosion", series))


def _gamma_law(seed: int) -> Outcome:
    """Measured: exact networks of two widths, Gaussian rows through tanh. Predicted: the stationary law in closed form,
    with beta = -2/a^2 worked out here. They share the scale a alone.
    """
    a, widths, counts = float(np.sqrt(2 / 3)), (50, 100), (20_000, 10_000)
    beta = 2 / a**2
    networks = [_tanh(a, n, 4) for n in widths]
    drawn = [
        np.exp(log_norms(networks_at(network, ONE, networks=count, seed=seed + k)))
        for k, (network, count) in enumerate(zip(networks, counts, strict=True))
    ]
    half, law, twice = (stationary_norm_density(-k * beta) for k in (0.5, 1.0, 2.0))
    size = Allowance(
        (3 / (a * a * widths[0])) ** 2 / 2,
        "(3/(a² width))²/2, width 50: the next term of tanh, after extrapolation",
    )
    numbers = _gamma_numbers(half, law, twice, drawn, size)
    line = np.linspace(0.02, 4, 120)
    mean = law.expect(np.exp)
    series = (
        Series.of("Gamma(2, rate 3)", "predicted", line, law.at_points(np.log(line)) / line),
        Series.of("twice the drift, Gamma(5, rate 6)", "refuted", line, twice.at_points(np.log(line)) / line),
        Series.of("an exponential law", "refuted", line, np.exp(-line / mean) / mean),
        histogram(drawn[1], columns=25, name="exact networks of width 100"),
    )
    simulated = (
        f"{counts[0]:,} and {counts[1]:,} exact networks, width 50 and 100 and 4 times as deep, "
        f"{networks[1].activation}; one input; seeds from {seed}."
    )
    return Outcome(numbers, simulated, Figure("V at layer/width = 4", "density (per V)", series))


def _gamma_numbers(
    half: Density, law: Density, twice: Density, drawn: list[np.ndarray], size: Allowance
) -> tuple[Number, ...]:
    """Mean and variance of V and mean log V, by two widths: laws of log V with parts of the drift beside an exponential
    law of the same mean, which is a Gamma law of another shape.
    """
    mean = law.expect(np.exp)
    exponential = "an exponential law of this mean"
    return (
        number_of(
            "mean V, (|β| − 1)/|β|",
            mean,
            extrapolated(mean_of, *drawn),
            refutes={
                "half the drift": half.expect(np.exp),
                "twice the drift": twice.expect(np.exp),
                "unit norm, as at infinite width": 1.0,
            },
            allowance=size,
        ),
        number_of(
            "Var V, (|β| − 1)/|β|²",
            law.expect(lambda x: np.exp(2 * x)) - mean**2,
            extrapolated(variance_of, *drawn),
            refutes={exponential: mean**2, "no noise": 0.0},
            allowance=size,
        ),
        number_of(
            "mean log V, ψ(|β| − 1) − log |β|",
            law.mean,
            extrapolated(lambda values: mean_of(np.log(values)), *drawn),
            refutes={
                "half the drift": half.mean,
                "twice the drift": twice.mean,
                exponential: float(psi(1) + np.log(mean)),
            },
            allowance=size,
        ),
    )


def _tanh(a: float, width: int, end: int) -> MLP:
    return MLP(width=width, depth=end * width, activation=Shaped(function="tanh", a=a))


def _design_rule(seed: int) -> Outcome:
    """Measured: exact networks, Gaussian rows through tanh, at half of their depth and at all of it. Predicted: what
    the norm's SDE says with |beta| = 2/a^2, written out here. They share the scale a alone.
    """
    networks, counts, norms = (_tanh(1.0, 100, 16), _tanh(4.0, 64, 32)), (2000, 4000), []
    for k, (network, count) in enumerate(zip(networks, counts, strict=True)):
        layers = [network.depth // 2, network.depth]
        paths = networks_at(network, ONE, networks=count, seed=seed + k, layers=layers)
        norms.append((log_norms(paths, 0), log_norms(paths, 1)))
    small, large = (mean_of((last - first) / time) for (first, last), time in zip(norms, (8, 16), strict=True))
    # In d E log V/dt = -1 + |beta| (1 - E V) the last part dies like e^(-(1 - |beta|)^2 t/4): from t = 16 on.
    size = 1 / networks[1].width + np.exp(-((7 / 8) ** 2) * 4) / 8
    numbers = (
        number_of(
            "a = 1: mean V, settled at (|β| − 1)/|β| with |β| = 2",
            0.5,
            mean_of(np.exp(norms[0][1])),
            refutes={"half the drift, it dies": 0.0, "twice the drift": 0.75, "unit norm, as at infinite width": 1.0},
            allowance=Allowance(3 / networks[0].width, "3/(a² width), the next term of tanh"),
        ),
        number_of(
            "a = 1: change of mean log V per unit of layer/width",
            0.0,
            small,
            refutes={"no drift, it dies as a linear network's": -1.0, "it dies as at a = 4": -7 / 8},
        ),
        number_of(
            "a = 4: the same, −(1 − |β|) with |β| = 1/8",
            -7 / 8,
            large,
            refutes={"no drift": -1.0, "twice the drift": -3 / 4, "it settles": 0.0},
            allowance=Allowance(
                size, "1/width, a layer's next order; and |β| E V, which dies like e^(−(1 − |β|)² t/4)"
            ),
        ),
    )
    simulated = (
        f"{counts[0]:,} exact networks, {networks[0]}, and {counts[1]:,}, {networks[1]}; one input; "
        f"seeds {seed} and {seed + 1}."
    )
    return Outcome(numbers, simulated, Figure("layer/width", "mean log V (natural)", _norm_lines(norms)))


def _norm_lines(norms: list[tuple[np.ndarray, np.ndarray]]) -> tuple[Series, ...]:
    """Mean log V of a = 1 and a = 4 at two times each, with what their drifts, and none, make of the first."""
    times = (8.0, 16.0), (16.0, 32.0)
    one, four = (float(first.mean()) for first, _ in norms)
    return (
        *(
            estimates(f"exact networks, a = {a}", time, [mean_of(part) for part in pair])
            for a, time, pair in zip((1, 4), times, norms, strict=True)
        ),
        Series.of("a = 1, it settles", "predicted", times[0], [one, one]),
        Series.of("a = 4, −7/8 a unit", "predicted", times[1], [four, four - 14]),
        Series.of("a = 1 without the drift", "refuted", times[0], [one, one - 8]),
        Series.of("a = 4 without the drift", "refuted", times[1], [four, four - 16]),
    )


CLAIMS = (
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
