"""Claims about networks of infinite width, measured by quadrature of a layer's definition or with wide networks."""

from functools import partial

import numpy as np
from scipy.optimize import brentq

from deeplim.activations import LeakyReLU
from deeplim.architecture import MLP
from deeplim.claims.claim import Claim, Figure, Outcome, Series, estimates
from deeplim.claims.draws import correlations, networks_at
from deeplim.claims.measures import extrapolated, mean_of
from deeplim.claims.number import Allowance, number_of
from deeplim.claims.quadrature import follow, leaky
from deeplim.inputs import gram
from deeplim.limits.flow import flow_clock
from deeplim.limits.unshaped_sde import UnshapedSDE
from deeplim.shaping.infinite_width import tat_slope
from deeplim.statistics import Estimate

_ETA = 0.9
_ROUNDING = 2e-11
"""What rounding and the solver of a slope may do to a correlation."""


def _collapse(seed: int) -> Outcome:
    """Measured: a layer by quadrature of its definition, again and again. Predicted: 9/(2 kappa^2), by the SDE; they
    share nothing.

    (1 - rho)^(-1/2) grows by sqrt(2)/(3 pi) a layer, plus what falls like 1/layer: over layers l to 2l the rate is off
    by 3 log(2)/l of it.
    """
    depth = 4000
    half = depth // 2
    gaps = follow(leaky(0.0), 0.7, depth)
    found = (half / (gaps[depth] ** -0.5 - gaps[half] ** -0.5)) ** 2
    rate = UnshapedSDE(MLP(width=1000, depth=1000)).parameters["q_0"]
    number = number_of(
        "ℓ² (1 − ρ_ℓ) by layers 2,000 to 4,000, 9π²/2",
        rate,
        Estimate(found, 0.0),
        refutes={"twice the drift": rate / 4, "half the drift": 4 * rate, "9/2, a drift without its 1/π": 4.5},
        allowance=Allowance(4 / half * rate, "4/ℓ of it, ℓ = 2,000: the next term of the series is 3 log(2)/ℓ"),
    )
    layers = sorted({round(layer) for layer in np.geomspace(10, depth, 25)})
    series = (
        Series.of("9π²/2", "predicted", [layers[0], depth], [rate, rate]),
        Series.of("twice the drift", "refuted", [layers[0], depth], [rate / 4, rate / 4]),
        Series.of("one layer by quadrature, composed", "measured", layers, np.array(layers) ** 2 * gaps[layers]),
    )
    simulated = "A ReLU layer of infinite width by quadrature, composed 4,000 times from ρ = 0.3; nothing random."
    return Outcome((number,), simulated, Figure("layer ℓ", "ℓ² (1 − ρ_ℓ)", series, log_x=True))


def _tat_map(c: float, alpha: float, strength: float = 1.0) -> float:
    """C(c) = c + strength kappa nuhat(c), kappa = (1 - alpha)^2 / (pi (1 + alpha^2)); TAT's for strength 1."""
    kappa = strength * (1 - alpha) ** 2 / (np.pi * (1 + alpha**2))
    return c + kappa * (np.sqrt(max(1 - c * c, 0.0)) - c * np.arccos(c))


def _composed(depth: int, alpha: float, strength: float = 1.0) -> list[float]:
    curve = [0.0]
    for _ in range(depth):
        curve.append(min(_tat_map(curve[-1], alpha, strength), 1.0))
    return curve


def _tat_correlation(seed: int) -> Outcome:
    """Measured: exact networks, and a layer by quadrature of its definition. Predicted: eta, for which TAT's closed C
    map was solved. Only the slope is shared.
    """
    widths, depth, count = (500, 1000), 50, 2000
    slope = tat_slope(MLP(width=1, depth=depth), eta=_ETA)
    networks = [MLP(width=width, depth=depth, activation=LeakyReLU(slope=slope)) for width in widths]
    pair = gram(correlation=0.0)
    drawn = [
        correlations(networks_at(network, pair, networks=count, seed=seed + k)) for k, network in enumerate(networks)
    ]
    curve = 1 - follow(leaky(slope), 1.0, depth)
    half, twice = _composed(depth, slope, 0.5), _composed(depth, slope, 2.0)
    controls = {
        "half the shaping": half[-1],
        "twice the shaping": twice[-1],
        "ReLU, slope 0": _composed(depth, 0.0)[-1],
        "a linear network": 0.0,
    }
    numbers = (
        number_of(
            "ρ at the last layer, infinite width",
            _ETA,
            Estimate(float(curve[-1]), _ROUNDING),
            refutes=controls,
        ),
        number_of(
            "mean ρ at the last layer, widths 500 and 1000 extrapolated",
            _ETA,
            extrapolated(mean_of, *drawn),
            refutes=controls,
            allowance=Allowance((depth / widths[0]) ** 2 / 2, "(depth/width)²/2, the next order after extrapolation"),
        ),
    )
    layers = range(depth + 1)
    series = (
        Series.of("TAT's C map, composed", "predicted", layers, _composed(depth, slope)),
        Series.of("half the shaping", "refuted", layers, half),
        Series.of("twice the shaping", "refuted", layers, twice),
        estimates("exact networks of width 1000, mean", [depth], [mean_of(drawn[1])]),
        Series.of("one layer by quadrature, composed", "measured", layers[::5], curve[::5]),
    )
    simulated = f"{count:,} exact networks of each width, {networks[1]} among them; {pair}; seeds from {seed}."
    return Outcome(numbers, simulated, Figure("layer", "correlation ρ", series))


def _shortfall(depth: int, slope: float) -> float:
    return _ETA - float(1 - follow(leaky(slope), 1.0, depth)[-1])


def _strength(depth: int) -> float:
    """(c_+ - c_-)^2 depth/(2 pi rate), slopes 1 and alpha scaled to s_+^2 + s_-^2 = 2, that brings 0 to eta."""
    alpha = brentq(partial(_shortfall, depth), 0.0, 1.0, xtol=1e-13)
    return float((1 - alpha) ** 2 / (1 + alpha**2) * depth / np.pi)


def _tat_dictionary(seed: int) -> Outcome:
    """Measured: the slope for which a layer, by quadrature of its definition, composed comes to eta. Predicted: the
    integral of 1/nuhat, by the library's clock. They share nothing.
    """
    depths = (30, 60, 120, 240)
    strengths = [_strength(depth) for depth in depths]
    begin, target, less = flow_clock(np.array([1.0, 1 - _ETA, 0.2]))
    time = float(target - begin)
    number = number_of(
        "(c₊ − c₋)²/(2π) · depth/rate, depths 120 and 240 extrapolated",
        time,
        Estimate(2 * strengths[-1] - strengths[-2], 0.0),
        refutes={"half the time": time / 2, "twice the time": 2 * time, "the time to ρ = 0.8": float(less - begin)},
        allowance=Allowance(
            time * (time / depths[-2]) ** 2, "(time/depth)² of it, depth 120: the next order after extrapolation"
        ),
    )
    ends = [depths[0], depths[-1]]
    series = (
        Series.of("time of the flow of ν̂ from 0 to 0.9", "predicted", ends, [time, time]),
        Series.of("the time to ρ = 0.8", "refuted", ends, [float(less - begin)] * 2),
        Series.of("strength that brings 0 to 0.9, by quadrature", "measured", depths, strengths),
    )
    simulated = "The slope that takes 0 to 0.9 at four depths, a layer by quadrature; nothing random."
    return Outcome((number,), simulated, Figure("depth", "(c₊ − c₋)²/(2π) · depth/rate", series, log_x=True))


CLAIMS = (
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
