"""Claims about normalization, with and without shaping.

Normalized networks are drawn by a kernel of their own, which stores the rows, finds their means and squares, and makes
the change as they are read again; nothing in it knows where correlations go.
"""

from collections.abc import Callable

import numpy as np

from deeplim.activations import Shaped, ShapedReLU
from deeplim.architecture import MLP
from deeplim.claims.claim import Claim, Figure, Outcome, Series, density_line, estimates, histogram
from deeplim.claims.draws import correlations, log_norms, networks_at, told
from deeplim.claims.measures import difference, extrapolated, mean_of, next_order, part_of, scaled, std_of
from deeplim.claims.number import Allowance, Number, number_of
from deeplim.gaussian import nuhat
from deeplim.inputs import gram
from deeplim.limits.density import Density
from deeplim.limits.kernels import fixed_points
from deeplim.limits.laws import (
    centred_relu_drift,
    explosion_probability,
    pair_density,
    shaped_relu_drift,
    shaped_smooth_drift,
)
from deeplim.statistics import Estimate

_RHO = 0.3
_PAIR = gram(correlation=_RHO)
_FAR = -0.9
"""Correlation that diffusions begin at: far from 1, where their drifts are strong beside the noise."""
_TIME, _WIDTHS = 0.5, (64, 128)
_STRENGTHS = {"claimed": 1.0, "no drift, a linear network": 0.0, "half the drift": 0.5, "twice the drift": 2.0}
_UNSEEN = 15
"""An event of probability 15/N is missed by N networks once in three million times, as rarely as 5 standard errors."""


def _rmsnorm(seed: int) -> Outcome:
    """Measured: normalized networks, by the kernel that divides their rows. Predicted: networks without normalization,
    drawn neuron by neuron by another kernel.
    """
    size, count, shaped = 64, 3000, ShapedReLU(c_minus=-2)
    plain = MLP(width=size, depth=size, activation=shaped)
    normed = plain.model_copy(update={"normalization": "rmsnorm"})
    others = networks_at(plain, _PAIR, networks=10 * count, seed=seed)
    drawn = networks_at(normed, _PAIR, networks=count, seed=seed + 1)
    without, found = correlations(others), correlations(drawn)
    gamma = 4 / (2 * np.pi)
    layernorm = pair_density(centred_relu_drift(gamma), 1 - _RHO, time=1.0)
    weaker = pair_density(shaped_relu_drift(gamma / 2), 1 - _RHO, time=1.0)
    numbers = [
        number_of(
            f"{name} of ρ at the last layer, as without",
            of(without).value,
            Estimate(of(found).value, difference(of(found), of(without)).error),
            refutes={"as LayerNorm makes it": centred, "half the drift": half},
        )
        for name, of, centred, half in (
            ("mean", mean_of, layernorm.mean, weaker.mean),
            ("standard deviation", std_of, layernorm.std, weaker.std),
        )
    ]
    spread = std_of(log_norms(others)).value
    numbers.append(
        number_of(
            "standard deviation of log V at the last layer",
            0.0,
            std_of(log_norms(drawn)),
            refutes={"as without normalization": spread, "half of that": spread / 2},
            allowance=Allowance(1 / np.sqrt(size), "1/√width, the scatter of one layer"),
        )
    )
    plain_line = histogram(without, columns=40)
    series = (
        Series.of("without normalization", "predicted", plain_line.x, plain_line.y),
        density_line(layernorm, "as LayerNorm makes it", refuted=True),
        histogram(found, name="with RMSNorm", columns=20),
    )
    simulated = told(normed, _PAIR, count, seed + 1) + f" {10 * count:,} without, seed {seed}."
    return Outcome(tuple(numbers), simulated, Figure("correlation ρ at the last layer", "density (per ρ)", series))


def _composed(layer: Callable[[float], float], depth: int) -> list[float]:
    line = [_RHO]
    for _ in range(depth):
        line.append(layer(line[-1]))
    return line


def _relu(rho: float) -> float:
    return rho + float(nuhat(1 - rho)) / np.pi


def _centred_relu(rho: float) -> float:
    return (_relu(rho) - 1 / np.pi) / (1 - 1 / np.pi)


def _layernorm(seed: int) -> Outcome:
    """Measured: normalized networks. Predicted: the map of infinite width, (K(rho) - 1/pi)/(1 - 1/pi), its fixed points
    and its slopes; they share nothing.
    """
    network, count = MLP(width=500, depth=12, normalization="layernorm", placement="after-activation"), 2000
    layers = list(range(network.depth + 1))
    paths = networks_at(network, _PAIR, networks=count, seed=seed, layers=layers)
    found = [mean_of(correlations(paths, k)) for k in layers]
    line, aligning = _composed(_centred_relu, network.depth), _composed(_relu, network.depth)
    at_zero, at_one = _slopes(network.model_copy(update={"depth": 1}), seed + 1)
    points = {round(point.correlation): point for point in fixed_points(network)}
    size = Allowance(10 / network.width, "10/width, the bias of a curved function of the rows")
    numbers = (
        number_of(
            "slope of the map at its fixed point 0",
            points[0].slope,
            at_zero,
            refutes={"without LayerNorm, 1/2": 0.5, "no attraction": 1.0},
            allowance=size,
        ),
        number_of(
            "(1 − ρ')/(1 − ρ) near ρ = 1, the slope there",
            points[1].slope,
            at_one,
            refutes={"without LayerNorm": 1.0, "the slope at 0": 0.5 / (1 - 1 / np.pi)},
            allowance=size,
        ),
        number_of(
            "mean ρ after 4 layers",
            line[4],
            found[4],
            refutes={"without LayerNorm": aligning[4], "a slope of 1/2": _RHO / 2**4, "unchanged": _RHO},
            allowance=size,
        ),
    )
    series = (
        Series.of("map of infinite width", "predicted", layers, line),
        Series.of("without LayerNorm", "refuted", layers, aligning),
        Series.of("a slope of 1/2", "refuted", layers, _RHO / 2.0 ** np.array(layers)),
        estimates("exact networks", layers[1:], found[1:]),
    )
    return Outcome(numbers, told(network, _PAIR, count, seed), Figure("layer", "mean correlation ρ", series))


def _slopes(layer: MLP, seed: int) -> tuple[Estimate, Estimate]:
    """The slope of one layer's mean at rho = 0, from rho = 0.1 and -0.1, and at rho = 1, from 1 - rho = 1e-6.

    K has no third power of rho, so that the difference about 0 is the slope up to the fifth.
    """
    above, below, close = gram(correlation=0.1), gram(correlation=-0.1), gram(gap=1e-6)
    drawn = [networks_at(layer, pair, networks=20_000, seed=seed + k) for k, pair in enumerate((above, below))]
    apart = networks_at(layer, close, networks=4000, seed=seed + 2)
    at_zero = scaled(difference(*(mean_of(correlations(paths)) for paths in drawn)), 5.0)
    return at_zero, mean_of(1e6 * (1 - correlations(apart)))


def _diffusion(
    networks: list[MLP], laws: dict[str, Density], counts: tuple[int, int], seed: int
) -> tuple[list[Number], str, Figure]:
    """The mean and spread of rho at layer/width = 1/2 from -0.9 by two widths, what was simulated, and a figure.

    Of the laws the first is the claim's, and the second has no drift.
    """
    pair = gram(correlation=_FAR)
    drawn = [
        correlations(networks_at(network, pair, networks=count, seed=seed + k))
        for k, (network, count) in enumerate(zip(networks, counts, strict=True))
    ]
    (_, law), (undriven, none), *rest = laws.items()
    size = next_order(_WIDTHS[0])
    numbers = [
        number_of(
            "mean ρ at layer/width = 1/2",
            law.mean,
            extrapolated(mean_of, *drawn),
            refutes={undriven: none.mean} | {name: other.mean for name, other in rest},
            allowance=size,
        ),
        number_of(
            "its standard deviation",
            law.std,
            extrapolated(std_of, *drawn),
            refutes={undriven: none.std, "no noise, infinite width": 0.0},
            allowance=size,
        ),
    ]
    series = (
        density_line(law, "density of the SDE"),
        *(density_line(other, name, refuted=True) for name, other in rest),
        histogram(drawn[1], columns=25, name=f"exact networks of width {_WIDTHS[1]}"),
    )
    simulated = told(networks[1], pair, counts[1], seed) + f" And {counts[0]:,} of width {_WIDTHS[0]}."
    return numbers, simulated, Figure("correlation ρ at layer/width = 1/2", "density (per ρ)", series)


def _layernorm_shaped(seed: int) -> Outcome:
    """Measured: normalized networks of two widths. Predicted: the SDE's law by the Fokker-Planck equation."""
    gamma = 4 / (2 * np.pi)
    base = MLP(width=2, depth=1, activation=ShapedReLU(c_plus=1, c_minus=-1))
    normalized = base.model_copy(update={"normalization": "layernorm", "placement": "after-activation"})
    networks = [normalized.model_copy(update={"width": n, "depth": round(_TIME * n)}) for n in _WIDTHS]
    laws = {name: pair_density(centred_relu_drift(k * gamma), 1 - _FAR, time=_TIME) for name, k in _STRENGTHS.items()}
    laws["without LayerNorm"] = pair_density(shaped_relu_drift(gamma), 1 - _FAR, time=_TIME)
    numbers, simulated, figure = _diffusion(networks, laws, (40_000, 20_000), seed)
    return Outcome(tuple(numbers), simulated, figure)


def _no_explosion(seed: int) -> Outcome:
    """Measured: normalized networks, Gaussian rows through SiLU. Predicted: the SDE's law by the Fokker-Planck
    equation, and for networks without normalization the scale function's integral.
    """
    activation, p = Shaped(function="silu", a=1.0), 1 / 4
    networks = [MLP(width=n, depth=round(_TIME * n), activation=activation, normalization="rmsnorm") for n in _WIDTHS]
    laws = {name: pair_density(shaped_smooth_drift(k * p), 1 - _FAR, time=_TIME) for name, k in _STRENGTHS.items()}
    numbers, simulated, figure = _diffusion(networks, laws, (20_000, 10_000), seed)
    deep, count = networks[0].model_copy(update={"depth": 4 * _WIDTHS[0]}), 500
    exploded = networks_at(deep, _PAIR, networks=count, seed=seed + 2).log_norm[:, 0, 0] > np.log(100)
    numbers.append(
        number_of(
            "P(V > 100 at layer/width = 4)",
            0.0,
            part_of(int(exploded.sum()), count),
            refutes={"as without RMSNorm, P(Γ(β+1) < β) at β = 3/4": explosion_probability(3 * p)},
            allowance=Allowance(
                _UNSEEN / count, f"{_UNSEEN}/{count}: what has a greater probability is seen in {count} networks"
            ),
        )
    )
    return Outcome(tuple(numbers), f"{simulated} And {count} of width {_WIDTHS[0]} to layer/width = 4.", figure)


def _half(seed: int) -> Outcome:
    """Measured: fixed points of a layer's kernel, which Hermite series of SiLU give. Predicted: a root and a slope of
    the SDE's drift, of which the kernel knows nothing.
    """
    widths = (10**2, 10**3, 10**4, 10**5)
    activation = Shaped(function="silu", a=1.0)
    found = []
    for width in widths:
        network = MLP(width=width, depth=width, activation=activation, normalization="rmsnorm")
        found.append(next(point for point in fixed_points(network) if point.stable))
    below, above = shaped_smooth_drift(1 / 4)(np.array([0.5 + 1e-3, 0.5 - 1e-3]))
    speed = float(above - below) / 2e-3
    numbers = (
        number_of(
            "stable fixed point of a layer at width 100,000",
            0.5,
            Estimate(found[-1].correlation, 0.0),
            refutes={"1, as with ReLU": 1.0, "0, as with LayerNorm": 0.0},
            allowance=Allowance(10 / widths[-1], "10/(a² width), the next order of the shaping"),
        ),
        number_of(
            "width · (slope − 1) there at width 1,000, −φ''(0)²/(4a²)",
            speed,
            Estimate(1000 * (found[1].slope - 1), 0.0),
            refutes={"no drift": 0.0, "half the drift": speed / 2, "twice the drift": 2 * speed},
            allowance=Allowance(10 / widths[1], "10/(a² width), the next order of the shaping"),
        ),
    )
    ends = [widths[0], widths[-1]]
    series = (
        Series.of("1/2", "predicted", ends, [0.5, 0.5]),
        Series.of("1, as with ReLU", "refuted", ends, [1.0, 1.0]),
        Series.of("0, as with LayerNorm", "refuted", ends, [0.0, 0.0]),
        Series.of("fixed point of the kernel", "measured", widths, [point.correlation for point in found]),
    )
    simulated = "The kernel of one layer of silu shaped at four widths, with RMSNorm; nothing random."
    return Outcome(numbers, simulated, Figure("width", "stable fixed point ρ", series, log_x=True))


CLAIMS = (
    Claim(
        "rmsnorm-keeps-correlation",
        "RMSNorm leaves the correlations of a positively homogeneous network as they are, and removes only its norms.",
        "derived here: homogeneity",
        _rmsnorm,
        quick=False,
    ),
    Claim(
        "layernorm-orthogonalises",
        "LayerNorm after unshaped ReLU makes inputs orthogonal at a geometric rate, slope 0.7335 at 0 and 1.467 at 1.",
        "derived here; the question is of Li & Nica 2023, the effect is near Joudaki, Daneshmand & Bach 2023",
        _layernorm,
    ),
    Claim(
        "layernorm-shaped",
        "With shaped ReLU the geometric rate becomes an SDE attracted to 0: drift γ(ν̂(ρ) − 1 + ρ) in place of γ ν̂(ρ).",
        "derived here after Li, Nica & Roy 2022; an answer to a question of Li & Nica 2023",
        _layernorm_shaped,
        quick=False,
    ),
    Claim(
        "rmsnorm-removes-explosion",
        "With RMSNorm smooth shaping explodes no more: dρ = [p(1−ρ)(1−2ρ) − ρ(1−ρ²)/2] dt + (1−ρ²) dB.",
        "derived here after Li, Nica & Roy 2022",
        _no_explosion,
        quick=False,
    ),
    Claim(
        "attracted-to-one-half",
        "RMSNorm with smooth shaping attracts correlations to 1/2, not to 1.",
        "derived here after Li, Nica & Roy 2022",
        _half,
    ),
)
