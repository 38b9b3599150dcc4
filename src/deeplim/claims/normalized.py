"""Claims about normalization, with and without shaping."""

import numpy as np

from deeplim.activations import Shaped, ShapedReLU
from deeplim.architecture import MLP
from deeplim.claims.claim import (
    Claim,
    Figure,
    Number,
    Outcome,
    Series,
    control,
    estimates,
    histogram,
    mean_of,
    number_of,
    std_of,
)
from deeplim.claims.draws import at_depth, correlations, told
from deeplim.ensemble import simulate
from deeplim.gaussian import nuhat
from deeplim.inputs import gram
from deeplim.limits.density import Density
from deeplim.limits.kernels import fixed_points
from deeplim.limits.laws import centred_relu_drift, pair_density, shaped_relu_drift, shaped_smooth_drift
from deeplim.statistics import Estimate

_RHO = 0.3
_PAIR = gram(correlation=_RHO)


def _line_of(law: Density, name: str, role: str = "predicted") -> Series:
    line = np.tanh(np.linspace(-3, 3.8, 200))
    return Series.of(name, role, line, law.at_points(np.arctanh(line)) / (1 - line**2))  # type: ignore[arg-type]


def _rmsnorm(seed: int) -> Outcome:
    size, count = 64, 3000
    plain = MLP(width=size, depth=size, activation=ShapedReLU(c_minus=-2))
    normed = plain.model_copy(update={"normalization": "rmsnorm"})
    without = correlations(at_depth(plain, _PAIR, networks=10 * count, seed=seed))
    found = correlations(at_depth(normed, _PAIR, networks=count, seed=seed + 1))
    numbers = [
        number_of(
            f"{name} of ρ at the last layer, as without",
            of(without).value,
            Estimate(of(found).value, float(np.hypot(of(found).error, of(without).error))),
        )
        for name, of in (("mean", mean_of), ("standard deviation", std_of))
    ]
    plain_line = histogram(without, columns=40)
    series = (
        Series.of("without normalization", "predicted", plain_line.x, plain_line.y),
        histogram(found, name="with RMSNorm", columns=20),
    )
    return Outcome(
        tuple(numbers),
        told(normed, _PAIR, count, seed + 1) + f" {10 * count:,} without, seed {seed}.",
        Figure("correlation ρ at the last layer", "density (per ρ)", series),
    )


def _layernorm(seed: int) -> Outcome:
    network, count = MLP(width=500, depth=12, normalization="layernorm", placement="after-activation"), 300
    layers = list(range(network.depth + 1))
    paths = simulate(network, _PAIR, networks=count, seed=seed, layers=layers)
    found = [mean_of(1 - np.exp(paths.log_gap[:, k, 0])) for k in layers[1:]]
    rho, line = _RHO, [_RHO]
    for _ in layers[1:]:
        rho = (rho + float(nuhat(1 - rho)) / np.pi - 1 / np.pi) / (1 - 1 / np.pi)
        line.append(rho)
    close = gram(gap=1e-6)
    shallow = network.model_copy(update={"depth": 1})
    apart = 1e6 * np.exp(simulate(shallow, close, networks=count, seed=seed + 1, layers=[1]).log_gap[:, 0, 0])
    points = {round(point.correlation): point for point in fixed_points(network)}
    allowance, reason = 10 / network.width, "10/width, the bias of a curved function of the rows"
    numbers = (
        Number("slope of the map at its fixed point 0", 0.5 / (1 - 1 / np.pi), points[0].slope, uncertainty=2e-6),
        number_of("mean ρ after 4 layers", line[4], found[3], allowance=allowance, reason=reason),
        number_of(
            "(1 − ρ')/(1 − ρ) near ρ = 1, the slope there",
            1 / (1 - 1 / np.pi),
            mean_of(apart),
            allowance=0.03,
            reason="10/width, and √(1−ρ)",
        ),
        control("mean ρ after 12 layers if inputs aligned", 0.9, found[-1], allowance=allowance, reason=reason),
    )
    series = (
        Series.of("map of infinite width", "predicted", layers, line),
        estimates("exact networks", layers[1:], found),
    )
    return Outcome(numbers, told(network, _PAIR, count, seed), Figure("layer", "mean correlation ρ", series))


def _layernorm_shaped(seed: int) -> Outcome:
    size, count = 200, 800
    network = MLP(
        width=size,
        depth=size,
        activation=ShapedReLU(c_minus=-2),
        normalization="layernorm",
        placement="after-activation",
    )
    gamma = 4 / (2 * np.pi)
    law = pair_density(centred_relu_drift(gamma), 1 - _RHO, time=1.0)
    without = pair_density(shaped_relu_drift(gamma), 1 - _RHO, time=1.0)
    rho = correlations(at_depth(network, _PAIR, networks=count, seed=seed))
    gaps = np.linspace(1e-3, 1, 200)
    allowance = 2 / np.sqrt(size) * gamma * float(np.abs(nuhat(gaps) - gaps).max())
    reason = "2/√width, the size of the shaping, times the largest drift between 0 and 1"
    numbers = (
        number_of("mean ρ at layer/width = 1", law.mean, mean_of(rho), allowance=allowance, reason=reason),
        number_of("its standard deviation", law.std, std_of(rho), allowance=allowance, reason=reason),
        control("mean ρ without LayerNorm", without.mean, mean_of(rho), allowance=allowance, reason=reason),
    )
    series = (
        _line_of(law, "density of the SDE"),
        _line_of(without, "without LayerNorm", "refuted"),
        histogram(rho, columns=20),
    )
    return Outcome(
        numbers,
        told(network, _PAIR, count, seed),
        Figure("correlation ρ at layer/width = 1", "density (per ρ)", series),
    )


def _no_explosion(seed: int) -> Outcome:
    a, count = 0.6, 1000
    network = MLP(width=200, depth=100, activation=Shaped(function="silu", a=a), normalization="rmsnorm")
    p = 1 / (4 * a * a)
    law = pair_density(shaped_smooth_drift(p), 1 - _RHO, time=0.5)
    paths = at_depth(network, _PAIR, networks=count, seed=seed)
    rho = correlations(paths)
    allowance = 1 / (a * np.sqrt(200)) * 0.5 * p
    reason = "1/(a √width), the size of the shaping, times the largest drift between 0 and 1 and the time"
    numbers = (
        number_of("mean ρ at layer/width = 1/2", law.mean, mean_of(rho), allowance=allowance, reason=reason),
        number_of("its standard deviation", law.std, std_of(rho), allowance=allowance, reason=reason),
        Number("part of the networks lost", 0.0, 1 - len(rho) / count),
    )
    series = (_line_of(law, "density of the SDE"), histogram(rho, columns=20))
    return Outcome(
        numbers,
        told(network, _PAIR, count, seed),
        Figure("correlation ρ at layer/width = 1/2", "density (per ρ)", series),
    )


def _half(seed: int) -> Outcome:
    widths = (10**2, 10**3, 10**4, 10**5)
    activation = Shaped(function="silu", a=1.0)
    found = []
    for width in widths:
        network = MLP(width=width, depth=width, activation=activation, normalization="rmsnorm")
        found.append(next(point.correlation for point in fixed_points(network) if point.stable))
    numbers = (
        Number(
            "stable fixed point of a layer at width 100,000",
            0.5,
            found[-1],
            allowance=1 / np.sqrt(widths[-1]),
            reason="1/(a √width), the size of the shaping",
        ),
    )
    series = (
        Series.of("1/2", "predicted", [widths[0], widths[-1]], [0.5, 0.5]),
        Series.of("fixed point of the kernel", "measured", widths, found),
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
