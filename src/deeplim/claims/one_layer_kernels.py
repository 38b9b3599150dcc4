"""Claims about the mean of one layer, the kernel that a network of any width has exactly."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from deeplim.activations import Elementwise
from deeplim.architecture import MLP
from deeplim.claims.claim import Claim, Figure, Outcome, Series, estimates
from deeplim.claims.draws import half_square_differences, networks_at
from deeplim.claims.measures import mean_of, scaled
from deeplim.claims.number import Allowance, number_of
from deeplim.inputs import gram
from deeplim.statistics import Estimate

_GRID = np.linspace(-1, 1, 101)
_RHOS = (-0.9, -0.5, 0.0, 0.3, 0.6, 0.9)
_COUNT = 40_000

Curve = Callable[[Any], Any]
"""A function of one correlation or of an array of them."""


def _nuhat(rho: Any, sign: float = -1.0) -> Any:
    return np.sqrt(1 - rho**2) + sign * rho * np.arccos(rho)


def _arccosine(rho: Any, strength: float = 1.0) -> Any:
    return rho + strength * _nuhat(rho) / np.pi


def _linear(rho: Any) -> Any:
    return rho


def _erf(rho: Any) -> Any:
    return np.arcsin(2 * rho / 3) / np.arcsin(2 / 3)


def _sine(rho: Any) -> Any:
    return np.sinh(rho) / np.sinh(1.0)


def _half_differences(network: MLP, seed: int) -> list[Estimate]:
    """E |h - h'|^2 / 2 = 1 - K(rho) after one layer, from each of six correlations: E |h|^2 is 1."""
    layers = [gram(correlation=rho) for rho in _RHOS]
    drawn = [networks_at(network, pair, networks=_COUNT, seed=seed + k) for k, pair in enumerate(layers)]
    return [mean_of(half_square_differences(paths)) for paths in drawn]


def _told(network: MLP, seed: int) -> str:
    return f"{_COUNT:,} exact layers of {network} from each of six correlations; seeds {seed} to {seed + 5}."


def _kernel_outcome(network: MLP, seed: int, kernel: tuple[str, Curve], others: Mapping[str, Curve]) -> Outcome:
    """A kernel against one layer's mean, and other kernels wherever they say something else of this correlation."""
    name, curve = kernel
    found = [scaled(one, -1.0, 1.0) for one in _half_differences(network, seed)]
    numbers = [
        number_of(
            f"K({rho})",
            curve(rho),
            one,
            refutes={law: other(rho) for law, other in others.items() if abs(other(rho) - curve(rho)) > 1e-9},
        )
        for rho, one in zip(_RHOS, found, strict=True)
    ]
    series = (
        Series.of(name, "predicted", _GRID, curve(_GRID)),
        *(Series.of(law, "refuted", _GRID, other(_GRID)) for law, other in others.items()),
        estimates("mean of one layer", _RHOS, found),
    )
    figure = Figure("correlation ρ of the inputs", "E V¹² after one layer", series)
    return Outcome(tuple(numbers), _told(network, seed), figure)


def _arccosine_kernel(seed: int) -> Outcome:
    """Measured: phi of Gaussian rows, summed. Predicted: the closed form, written out here; they share nothing."""
    others: dict[str, Curve] = {
        "a linear layer": _linear,
        "half of ν̂": lambda rho: _arccosine(rho, 0.5),
        "twice ν̂": lambda rho: _arccosine(rho, 2.0),
    }
    kernel = "arc-cosine kernel of degree one", _arccosine
    return _kernel_outcome(MLP(width=100, depth=1), seed, kernel, others)


def _erf_arcsine(seed: int) -> Outcome:
    """Measured: erf of Gaussian rows, summed. Predicted: the closed form, written out here; they share nothing."""
    others: dict[str, Curve] = {
        "a linear layer": _linear,
        "the kernel of sin": _sine,
        "ReLU's arc-cosine kernel": _arccosine,
    }
    network = MLP(width=100, depth=1, activation=Elementwise(function="erf"))
    return _kernel_outcome(network, seed, ("arcsine kernel", _erf), others)


def _sine_dual(seed: int) -> Outcome:
    """Measured: sin of Gaussian rows, summed. Predicted: the closed form, written out here; they share nothing."""
    others: dict[str, Curve] = {
        "a linear layer": _linear,
        "the arcsine kernel of erf": _erf,
        "ReLU's arc-cosine kernel": _arccosine,
    }
    network = MLP(width=100, depth=1, activation=Elementwise(function="sin"))
    return _kernel_outcome(network, seed, ("sinh(ρ)/sinh(1)", _sine), others)


def _sign(seed: int) -> Outcome:
    """Measured: phi of Gaussian rows, summed. Predicted: either sign, written out here; they share nothing."""
    network, at = MLP(width=100, depth=1), 0.6
    found = [
        scaled(one, -np.pi, np.pi * (1 - rho)) for rho, one in zip(_RHOS, _half_differences(network, seed), strict=True)
    ]
    minus = _nuhat(at)
    controls = {"a plus sign": _nuhat(at, 1.0), "no ν̂, a linear layer": 0.0, "half": minus / 2, "twice": 2 * minus}
    numbers = (number_of("ν̂(0.6), minus sign", minus, found[_RHOS.index(at)], refutes=controls),)
    series = (
        Series.of("√(1−ρ²) − ρ arccos ρ", "predicted", _GRID, _nuhat(_GRID)),
        Series.of("√(1−ρ²) + ρ arccos ρ", "refuted", _GRID, _nuhat(_GRID, 1.0)),
        estimates("π (E V¹² − ρ) of one layer", _RHOS, found),
    )
    return Outcome(numbers, _told(network, seed), Figure("correlation ρ of the inputs", "ν̂(ρ)", series))


def _slope_at_one(seed: int) -> Outcome:
    """Measured: the differences of phi of Gaussian rows, summed. Predicted: the series of K; they share nothing."""
    gaps, network = (1e-1, 1e-2, 1e-3, 1e-4, 1e-6, 1e-8), MLP(width=100, depth=1)
    drawn = [networks_at(network, gram(gap=gap), networks=_COUNT, seed=seed + k) for k, gap in enumerate(gaps)]
    found = [mean_of(half_square_differences(paths) / gap) for paths, gap in zip(drawn, gaps, strict=True)]
    coefficient = 2 * np.sqrt(2) / (3 * np.pi)
    numbers = (
        number_of(
            "(1 − K(ρ)) / (1 − ρ) as ρ → 1",
            1.0,
            found[-1],
            refutes={"LayerNorm after ReLU": 1 / (1 - 1 / np.pi), "weights without He's factor 2": 0.5},
            allowance=Allowance(1e-4, "(2√2/3π) √(1−ρ) is 3e-5 at the gap simulated"),
        ),
        number_of(
            "the same at 1 − ρ = 0.01",
            1 - coefficient * 0.1,
            found[1],
            refutes={
                "no correction, as without a kink": 1.0,
                "half the correction": 1 - coefficient * 0.05,
                "twice the correction": 1 - coefficient * 0.2,
            },
            allowance=Allowance(
                0.01 * 0.1 * coefficient / 20, "(1−ρ)/20 of the correction, the next term of the series"
            ),
        ),
    )
    line = np.geomspace(1e-8, 1e-1, 60)
    series = (
        Series.of("1 − (2√2/3π) √(1−ρ)", "predicted", line, 1 - coefficient * np.sqrt(line)),
        Series.of("half the correction", "refuted", line, 1 - coefficient * np.sqrt(line) / 2),
        Series.of("twice the correction", "refuted", line, 1 - coefficient * np.sqrt(line) * 2),
        estimates("mean of one layer", gaps, found),
    )
    simulated = f"{_COUNT:,} exact layers of width 100 from each of six gaps; seeds {seed} to {seed + 5}."
    return Outcome(numbers, simulated, Figure("gap 1 − ρ of the inputs", "(1 − K(ρ)) / (1 − ρ)", series, log_x=True))


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
        _erf_arcsine,
        quick=False,
    ),
    Claim(
        "sine-dual",
        "The dual of sin is sinh(ρ)/sinh(1) after scaling to unit norm.",
        "by the characteristic function; a dual activation in the sense of Daniely, Frostig & Singer 2016",
        _sine_dual,
        quick=False,
    ),
)
