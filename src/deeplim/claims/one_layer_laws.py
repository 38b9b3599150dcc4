"""Claims about the law of one ReLU layer of finite width: its norm, its death, and the angle of two inputs.

Measured: layers made of their weights, or Gaussian rows through ReLU. Predicted: chi-square and binomial laws, which
specialised code of this library draws and these measurements do not use.
"""

import numpy as np
from scipy.special import polygamma, psi
from scipy.stats import binom, chi2

from deeplim.architecture import MLP
from deeplim.claims.claim import Claim, Figure, Outcome, Series, estimates, histogram
from deeplim.claims.draws import ONE, log_gaps, log_norms, networks_at, weights_at
from deeplim.claims.measures import mean_of, part_of, variance_of
from deeplim.claims.number import Allowance, number_of
from deeplim.inputs import gram


def _chi_square(seed: int) -> Outcome:
    """Measured and predicted as the module says: W x through ReLU, squared and summed."""
    n, count = 8, 200_000
    paths = weights_at(MLP(width=n, depth=1), ONE, networks=count, seed=seed)
    values = np.exp(log_norms(paths))
    every = np.concatenate([values, np.zeros(count - len(values))])
    k = np.arange(1, n + 1)
    weight = binom.pmf(k, n, 0.5) / (1 - 0.5**n)
    numbers = (
        number_of("E V'/V", 1.0, mean_of(every), refutes={"weights without He's factor 2": 0.5}),
        number_of(
            "Var V'/V, 5/n",
            5 / n,
            variance_of(every),
            refutes={"exactly n/2 active neurons, 4/n": 4 / n, "a linear layer, 2/n": 2 / n},
        ),
        number_of(
            "E log V'/V of the living",
            float(weight @ (psi(k / 2) + np.log(4 / n))),
            mean_of(np.log(values)),
            refutes={
                "exactly n/2 active neurons": float(psi(n / 4) + np.log(4 / n)),
                "a linear layer": float(psi(n / 2) + np.log(2 / n)),
                "a log-normal law, −log(1 + 5/n)/2": -np.log1p(5 / n) / 2,
            },
        ),
    )
    line = np.linspace(0.02, 4, 120)
    density = (n / 2) * weight @ np.array([chi2.pdf(line * n / 2, one) for one in k])
    series = (
        Series.of("(2/n) χ²_K, K ~ Binomial(n, 1/2)", "predicted", line, density),
        Series.of("exactly n/2 active neurons", "refuted", line, (n / 2) * chi2.pdf(line * n / 2, n / 2)),
        histogram(values, name="layers made of their weights"),
    )
    simulated = f"{count:,} ReLU layers of width {n} made of their weights; one input; seed {seed}."
    return Outcome(numbers, simulated, Figure("V'/V of one layer of width 8", "density (per unit)", series))


def _dead(seed: int) -> Outcome:
    """Measured and predicted as the module says: a network is dead when its signs have made it so."""
    n, depth, count = 6, 50, 10_000
    layers = list(range(5, depth + 1, 5))
    dead = weights_at(MLP(width=n, depth=depth), ONE, networks=count, seed=seed, layers=layers).dead
    found = [part_of(int(lost), count) for lost in dead]
    line = np.arange(0, depth + 1)
    curves = {
        name: 1 - (1 - chance) ** line for name, chance in (("half", 2.0**-7), ("once", 2.0**-n), ("twice", 2**-5))
    }
    numbers = (
        number_of(
            "P(dead by layer 50), 1 − (1 − 2⁻⁶)⁵⁰",
            curves["once"][-1],
            found[-1],
            refutes={
                "all signs equal, 2⁻⁵ a layer": curves["twice"][-1],
                "half the probability a layer": curves["half"][-1],
                "no layer dies, infinite width": 0.0,
            },
        ),
    )
    series = (
        Series.of("1 − (1 − 2⁻⁶)^ℓ", "predicted", line, curves["once"]),
        Series.of("all signs equal, 2⁻⁵ a layer", "refuted", line, curves["twice"]),
        Series.of("half the probability a layer", "refuted", line, curves["half"]),
        estimates("networks with weights", layers, found),
    )
    simulated = f"{count:,} ReLU networks of width {n}, depth {depth}, made of their weights; one input; seed {seed}."
    return Outcome(numbers, simulated, Figure("layer ℓ", "part of the networks dead", series))


def _small_angle(seed: int) -> Outcome:
    """Measured and predicted as the module says: Gaussian rows and their differences through ReLU."""
    n, gap, count = 20, 1e-12, 100_000
    paths = networks_at(MLP(width=n, depth=1), gram(gap=gap), networks=count, seed=seed)
    change = log_gaps(paths) - np.log(gap)
    k = np.arange(2, n + 1)
    weight = binom.pmf(k, n, 0.5) / binom.pmf(k, n, 0.5).sum()
    means, variances = _log_ratio(k)
    mean = float(weight @ means)
    fixed, linear = _log_ratio(np.array(n / 2)), _log_ratio(np.array(float(n)))
    numbers = (
        number_of(
            "mean change of log(1 − ρ)",
            mean,
            mean_of(change),
            refutes={
                "infinite width, no change": 0.0,
                "a linear layer": float(linear[0]),
            },
        ),
        number_of(
            "its variance",
            float(weight @ (variances + (means - mean) ** 2)),
            variance_of(change),
            refutes={"exactly n/2 active neurons": float(fixed[1]), "a linear layer": float(linear[1])},
        ),
    )
    edges = np.linspace(-4, 3, 36)
    series = (
        _drawn_ratio("χ²_{N−1}/χ²_N, N ~ Binomial(n, 1/2)", edges, n, 0.5, seed),
        _drawn_ratio("a linear layer, N = n", edges, n, 1.0, seed, refuted=True),
        histogram(change, name="exact layers"),
    )
    simulated = f"{count:,} exact ReLU layers of width {n}; inputs at 1 − ρ = {gap:g}; seed {seed}."
    figure = Figure("change of log(1 − ρ) in one layer of width 20", "density (per unit)", series)
    return Outcome(numbers, simulated, figure)


def _log_ratio(k: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of log(chi^2_{k-1} / chi^2_k), the two independent."""
    return psi((k - 1) / 2) - psi(k / 2), polygamma(1, (k - 1) / 2) + polygamma(1, k / 2)


def _drawn_ratio(name: str, edges: np.ndarray, n: int, share: float, seed: int, *, refuted: bool = False) -> Series:
    """The density of log(chi^2_{N-1} / chi^2_N), N ~ Binomial(n, share), drawn for the figure alone."""
    rng, count = np.random.default_rng(seed), 200_000
    active = rng.binomial(n, share, count)
    active = active[active > 1]
    values = np.log(rng.chisquare(active - 1) / rng.chisquare(active))
    height = np.histogram(values, edges)[0] / len(values) / (edges[1] - edges[0])
    return Series.of(name, "refuted" if refuted else "predicted", (edges[:-1] + edges[1:]) / 2, height)


def _change(width: int, angle: float, count: int, seed: int) -> np.ndarray:
    """The change of log sin^2 theta in one exact layer."""
    pair = gram(gap=2 * np.sin(angle / 2) ** 2)
    after = log_gaps(networks_at(MLP(width=width, depth=1), pair, networks=count, seed=seed))
    return after + np.log(2 - np.exp(after)) - 2 * np.log(np.sin(angle))  # sin^2 = gap (2 - gap)


_STRENGTHS = {"no drift, a linear layer": 0.0, "half the drift": 0.5, "twice the drift": 2.0}


def _next_orders(angle: float, n: int) -> Allowance:
    return Allowance(angle**2 / 40 + angle / n + 10 / n**2, "θ²/40, θ/n and 10/n², the next orders")


def _angle(seed: int) -> Outcome:
    """Measured and predicted as the module says: Gaussian rows and their differences through ReLU.

    In log sin^2 theta a layer of infinite width moves by -(2/(3 pi)) theta - 2 theta^2/(9 pi^2) + ..., and one of
    finite width from a small angle by -2/n - 8/n^2 + ... with variance 8/n + 32/n^2 + ...
    """
    n, angles, count, narrow = 400, (0.02, 0.05, 0.1, 0.2, 0.3), 20_000, 50
    found = [_change(n, angle, count, seed + k) for k, angle in enumerate(angles)]
    coarse, at, slope = _change(narrow, 0.01, 8 * count, seed + 9), 0.2, 2 / (3 * np.pi)
    numbers = (
        number_of(
            "mean change of log sin²θ at θ = 0.2, width 400",
            -slope * at - 2 / n,
            mean_of(found[angles.index(at)]),
            refutes={name: -k * slope * at - 2 / n for name, k in _STRENGTHS.items()},
            allowance=_next_orders(at, n),
        ),
        number_of(
            "the same at θ = 0.01, width 50",
            -slope * 0.01 - 2 / narrow,
            mean_of(coarse),
            refutes={
                "infinite width": -slope * 0.01,
                "half of 2/n, a linear layer": -slope * 0.01 - 1 / narrow,
                "twice 2/n": -slope * 0.01 - 4 / narrow,
            },
            allowance=_next_orders(0.01, narrow),
        ),
        number_of(
            "its variance, 8/n, at θ = 0.02, width 400",
            8 / n,
            variance_of(found[0]),
            refutes={"a linear layer, 4/n": 4 / n, "twice, 16/n": 16 / n, "infinite width": 0.0},
            allowance=Allowance(40 / n**2 + 8 * angles[0] / n, "40/n² + 8θ/n, the next orders"),
        ),
    )
    simulated = f"{count:,} exact ReLU layers of width {n} from each of five angles, {8 * count:,} of width {narrow}"
    line = np.linspace(0, 0.3, 40)
    series = (
        Series.of("−(2/3π) θ − 2/n", "predicted", line, -slope * line - 2 / n),
        *(Series.of(name, "refuted", line, -k * slope * line - 2 / n) for name, k in _STRENGTHS.items()),
        estimates("one exact layer", angles, [mean_of(values) for values in found]),
    )
    figure = Figure("angle θ of the inputs (radians)", "mean change of log sin²θ", series)
    return Outcome(numbers, f"{simulated}; seeds from {seed}.", figure)


CLAIMS = (
    Claim(
        "one-layer-law",
        "One ReLU layer multiplies the norm by (2/n) χ²_K with K ~ Binomial(n, 1/2), at any width.",
        "Hanin & Nica 2019, products of random matrices with ReLU",
        _chi_square,
    ),
    Claim(
        "dead-layer",
        "A ReLU layer dies with probability 2⁻ⁿ, so a network of depth d is dead with probability 1 − (1 − 2⁻ⁿ)^d.",
        "Hanin & Nica 2019; all n signs negative",
        _dead,
    ),
    Claim(
        "small-angle-law",
        "Between close inputs a ReLU layer multiplies 1 − ρ by χ²_{N−1}/χ²_N with N ~ Binomial(n, 1/2).",
        "Jakub & Nica 2023, the small-angle regime",
        _small_angle,
    ),
    Claim(
        "angle-change",
        "A ReLU layer changes log sin²θ by −(2/3π) θ − 2/n on average, with variance about 8/n.",
        "Jakub & Nica 2023, mean and variance of log sin²θ",
        _angle,
    ),
)
