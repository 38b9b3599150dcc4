"""Claims about unshaped ReLU networks: how inputs align, how norms spread, how layers die."""

import numpy as np
from scipy.special import polygamma, psi
from scipy.stats import binom, chi2

from deeplim.architecture import MLP
from deeplim.claims.claim import (
    Claim,
    Figure,
    Outcome,
    Series,
    control,
    estimates,
    histogram,
    mean_of,
    number_of,
    std_of,
    variance_of,
)
from deeplim.claims.draws import ONE, at_depth, log_gaps, log_norms, told
from deeplim.ensemble import simulate
from deeplim.inputs import gram
from deeplim.limits.density import Density
from deeplim.limits.moment_chain import MomentChain
from deeplim.limits.ratio_law import ratio_density
from deeplim.limits.unshaped_sde import UnshapedSDE
from deeplim.statistics import Estimate, fraction

_PAIR = gram(correlation=0.3)
_ROOT = np.sqrt(2) / 3
_LIMIT = _ROOT / np.pi * np.expm1(2.0) / 2
"""E R_1 = (kappa sqrt(2)/3)(e^A - 1)/A of ReLU, from the singular start: 0.4793."""


def _ratios(width: int, networks: int, seed: int, gap: float = 0.7) -> np.ndarray:
    """R = 1 / (n sqrt(1 - rho)) at layer n of exact ReLU networks of width n."""
    paths = at_depth(MLP(width=width, depth=width), gram(gap=gap), networks=networks, seed=seed)
    return np.exp(-log_gaps(paths) / 2) / width


def _log_spread(law: Density) -> float:
    """The standard deviation of log R."""
    mean = law.expect(np.log)
    return float(np.sqrt(law.expect(lambda r: (np.log(r) - mean) ** 2)))


def _singular(seed: int) -> Outcome:
    widths, counts = (32, 64, 128, 256, 512), (20_000, 20_000, 20_000, 16_000, 8000)
    exact = [_ratios(n, count, seed + k) for k, (n, count) in enumerate(zip(widths, counts, strict=True))]
    wide = 4000
    network = MLP(width=wide, depth=wide)
    chain = np.exp(-log_gaps(MomentChain(network).sample(_PAIR, samples=6000, seed=seed + 9, layers=[wide])) / 2) / wide
    drawn, sizes = [*exact, chain], [*widths, wide]
    means, spreads = [mean_of(r) for r in drawn], [std_of(np.log(r)) for r in drawn]
    spread = _log_spread(ratio_density(kappa=1 / np.pi, a=2.0, time=1.0))
    # The start adds e^2 / (n sqrt(0.7)), second-order terms of a layer 10/n of the limit, and the first correction to
    # the drift, 0.225 sqrt(eps) of it with sqrt(eps) = 1/(0.15 l), adds 0.225 e^2 log(n) / n.
    reason = "(14 + 2 log width)/width: the start, and the next order of a layer"
    numbers = []
    for k, who in ((4, "exact networks of width 512"), (5, "moment chain of width 4000")):
        allowed = (14 + 2 * np.log(sizes[k])) / sizes[k]
        numbers += [
            number_of(f"E R at layer/width = 1, {who}", _LIMIT, means[k], allowance=allowed, reason=reason),
            number_of(f"std of log R, {who}", spread, spreads[k], allowance=allowed, reason=reason),
        ]
    series = (
        Series.of("E R of the SDE", "predicted", [widths[0], wide], [_LIMIT, _LIMIT]),
        estimates("E R, exact networks (to 512) and moment chain", sizes, means),
        Series.of("std of log R of the SDE", "predicted", [widths[0], wide], [spread, spread]),
        estimates("std of log R of the same", sizes, spreads),
    )
    simulated = (
        "20,000 to 8,000 exact ReLU networks, width = depth = 32 to 512, and 6,000 moment chains, width = depth = "
        f"4000; ρ = 0.3; seeds from {seed}."
    )
    return Outcome(
        tuple(numbers), simulated, Figure("width = depth", "E R and std of log R at the last layer", series, log_x=True)
    )


def _started(seed: int) -> Outcome:
    width, gap, count = 400, 2.5e-3, 6000
    start = 1 / (width * np.sqrt(gap))
    network = MLP(width=width, depth=width)
    ratio = _ratios(width, count, seed, gap)
    predicted = UnshapedSDE(network).mean_ratio(1.0, start)
    law = ratio_density(kappa=1 / np.pi, a=2.0, time=1.0, start=start)
    reason = "10/width of it: E √(χ²_N/χ²_{N−1}) of a layer is 1 + 2/n + 10/n² to second order"
    numbers = (
        number_of("E R from R₀ = 0.05", predicted, mean_of(ratio), allowance=10 / width * predicted, reason=reason),
        number_of("std of log R", _log_spread(law), std_of(np.log(ratio)), allowance=10 / width, reason="10/width"),
        control("E R without the start", _LIMIT, mean_of(ratio), allowance=10 / width * predicted, reason=reason),
    )
    line = np.linspace(np.log(ratio.min()), np.log(ratio.max()), 100)
    series = (
        Series.of("density of the SDE from R₀ = 0.05", "predicted", line, law.at_points(line)),
        histogram(np.log(ratio)),
    )
    return Outcome(
        numbers,
        told(network, gram(gap=gap), count, seed),
        Figure("log R at layer/width = 1", "density (per unit)", series),
    )


def _finite(seed: int) -> Outcome:
    widths, count = (32, 64, 100, 200), 12_000
    exact, chain = [], []
    for k, n in enumerate(widths):
        exact.append(_ratios(n, count, seed + 2 * k))
        paths = MomentChain(MLP(width=n, depth=n)).sample(_PAIR, samples=count, seed=seed + 2 * k + 1, layers=[n])
        chain.append(np.exp(-log_gaps(paths) / 2) / n)
    at = widths.index(100)
    found, follows = mean_of(exact[at]), mean_of(chain[at])
    spread, spread_follows = std_of(np.log(exact[at])), std_of(np.log(chain[at]))
    reason, allowance = "depth/width², the accuracy that the moment chain states", 0.01
    numbers = (
        number_of(
            "E R at width = depth = 100 by the moment chain",
            follows.value,
            Estimate(found.value, float(np.hypot(found.error, follows.error))),
            allowance=allowance,
            reason=reason,
        ),
        number_of(
            "std of log R there",
            spread_follows.value,
            Estimate(spread.value, float(np.hypot(spread.error, spread_follows.error))),
            allowance=allowance,
            reason=reason,
        ),
        control("E R by the limit", _LIMIT, found, allowance=allowance, reason=reason),
    )
    series = (
        Series.of("moment chain", "predicted", widths, [float(r.mean()) for r in chain]),
        Series.of("singular SDE", "refuted", [widths[0], widths[-1]], [_LIMIT, _LIMIT]),
        estimates("exact networks", widths, [mean_of(r) for r in exact]),
    )
    simulated = (
        f"{count:,} exact ReLU networks and as many moment chains at each of four widths; ρ = 0.3; seeds from {seed}."
    )
    return Outcome(numbers, simulated, Figure("width = depth", "E R, R = 1/(width √(1−ρ))", series, log_x=True))


def _log_norm(seed: int) -> Outcome:
    network, count = MLP(width=400, depth=400), 8000
    values = log_norms(at_depth(network, ONE, networks=count, seed=seed))
    numbers = (
        number_of(
            "mean log V, −5t/2", -2.5, mean_of(values), allowance=5 / 400, reason="5/width: −5/(2n) − 4/n² a layer"
        ),
        number_of(
            "Var log V, 5t", 5.0, variance_of(values), allowance=20 / 400, reason="20/width: 5/n + 19/n² a layer"
        ),
    )
    line = np.linspace(values.min(), values.max(), 120)
    normal = np.exp(-((line + 2.5) ** 2) / 10) / np.sqrt(10 * np.pi)
    series = (Series.of("N(−5/2, 5)", "predicted", line, normal), histogram(values))
    return Outcome(
        numbers, told(network, ONE, count, seed), Figure("log V at layer/width = 1", "density (per unit)", series)
    )


def _chi_square(seed: int) -> Outcome:
    n, count = 8, 200_000
    network = MLP(width=n, depth=1)
    paths = at_depth(network, ONE, networks=count, seed=seed)
    values = np.exp(log_norms(paths))
    k = np.arange(1, n + 1)
    weight = binom.pmf(k, n, 0.5)
    log_mean = float((weight / weight.sum()) @ (psi(k / 2) + np.log(4 / n)))
    every = np.concatenate([values, np.zeros(count - len(values))])
    numbers = (
        number_of("E V'/V", 1.0, mean_of(every)),
        number_of("Var V'/V, 5/n", 5 / n, variance_of(every)),
        number_of("E log V'/V of the living", log_mean, mean_of(np.log(values))),
    )
    line = np.linspace(0.02, 4, 120)
    density = (n / 2) * (weight / weight.sum()) @ np.array([chi2.pdf(line * n / 2, one) for one in k])
    series = (Series.of("(2/n) χ²_K, K ~ Binomial(n, 1/2)", "predicted", line, density), histogram(values))
    return Outcome(
        numbers, told(network, ONE, count, seed), Figure("V'/V of one layer of width 8", "density (per unit)", series)
    )


def _dead(seed: int) -> Outcome:
    n, depth, count = 6, 50, 100_000
    network = MLP(width=n, depth=depth)
    layers = list(range(5, depth + 1, 5))
    dead = simulate(network, ONE, networks=count, seed=seed, layers=layers).dead
    found = [fraction(int(lost), count) for lost in dead]
    line = np.arange(0, depth + 1)
    numbers = (number_of("P(dead by layer 50), 1 − (1 − 2⁻⁶)⁵⁰", 1 - (1 - 2.0**-n) ** depth, found[-1]),)
    series = (
        Series.of("1 − (1 − 2⁻⁶)^ℓ", "predicted", line, 1 - (1 - 2.0**-n) ** line),
        estimates("exact networks", layers, found),
    )
    return Outcome(numbers, told(network, ONE, count, seed), Figure("layer ℓ", "part of the networks dead", series))


def _small_angle(seed: int) -> Outcome:
    n, gap, count = 20, 1e-12, 200_000
    network = MLP(width=n, depth=1)
    change = log_gaps(at_depth(network, gram(gap=gap), networks=count, seed=seed)) - np.log(gap)
    k = np.arange(2, n + 1)
    weight = binom.pmf(k, n, 0.5) / binom.pmf(k, n, 0.5).sum()
    means = psi((k - 1) / 2) - psi(k / 2)
    mean = float(weight @ means)
    variance = float(weight @ (polygamma(1, (k - 1) / 2) + polygamma(1, k / 2) + (means - mean) ** 2))
    numbers = (
        number_of("mean change of log(1 − ρ)", mean, mean_of(change)),
        number_of("its variance", variance, variance_of(change)),
        control("no change on average, as at infinite width", 0.0, mean_of(change)),
    )
    generator = np.random.default_rng(seed)
    active = generator.binomial(n, 0.5, count)
    active = active[active > 1]
    twin = np.log(generator.chisquare(active - 1) / generator.chisquare(active))
    edges = np.linspace(-4, 3, 36)
    height = np.histogram(twin, edges)[0] / len(twin) / (edges[1] - edges[0])
    series = (
        Series.of("χ²_{N−1}/χ²_N, N ~ Binomial(n, 1/2)", "predicted", (edges[:-1] + edges[1:]) / 2, height),
        histogram(change),
    )
    return Outcome(
        numbers,
        told(network, gram(gap=gap), count, seed),
        Figure("change of log(1 − ρ) in one layer of width 20", "density (per unit)", series),
    )


def _angle(seed: int) -> Outcome:
    n, angles, count = 1000, (0.02, 0.05, 0.1, 0.2, 0.3), 40_000
    network = MLP(width=n, depth=1)
    found, at = [], 0.05
    for k, angle in enumerate(angles):
        gap = 2 * np.sin(angle / 2) ** 2
        after = log_gaps(at_depth(network, gram(gap=gap), networks=count, seed=seed + k))
        squares = after + np.log(2 - np.exp(after))  # sin^2 = gap (2 - gap)
        found.append(squares - 2 * np.log(np.sin(angle)))
    change = found[angles.index(at)]
    numbers = (
        number_of(
            "mean change of log sin²θ at θ = 0.05",
            -2 / (3 * np.pi) * at - 2 / n,
            mean_of(change),
            allowance=at**2 + 10 / n**2,
            reason="θ² + 10/n², the next orders",
        ),
        number_of(
            "its variance, 8n/(n + 5)²",
            8 * n / (n + 5) ** 2,
            variance_of(found[0]),
            allowance=160 / n**2 + 8 * angles[0] / n,
            reason="160/n² + 8θ/n, the next orders",
        ),
        control("no change on average", 0.0, mean_of(change), allowance=at**2, reason="θ², the next order"),
    )
    line = np.linspace(0, 0.3, 40)
    series = (
        Series.of("−(2/3π) θ − 2/n", "predicted", line, -2 / (3 * np.pi) * line - 2 / n),
        estimates("one exact layer", angles, [mean_of(values) for values in found]),
    )
    simulated = f"{count:,} exact layers of width {n} from each of five angles; seeds {seed} to {seed + 4}."
    return Outcome(numbers, simulated, Figure("angle θ of the inputs (radians)", "mean change of log sin²θ", series))


CLAIMS = (
    Claim(
        "singular-sde",
        "Unshaped, R = 1/(width √(1−ρ)) tends to a functional of Brownian motion, E R = (√2/3π)(e²ᵗ − 1)/2.",
        "Li & Nica 2023, second result; in R it is linear, after Yor 1992",
        _singular,
        quick=False,
    ),
    Claim(
        "started-sde",
        "From inputs already close the same SDE holds from R₀ = 1/(width √(1 − ρ₀)).",
        "Li & Nica 2023, second result, in the variable R; the start is derived here",
        _started,
        quick=False,
    ),
    Claim(
        "finite-size",
        "At width 100 the singular limit is a quarter off, and the moment chain, two moments a layer, is right.",
        "derived here; the limit is the second result of Li & Nica 2023",
        _finite,
        quick=False,
    ),
    Claim(
        "log-norm-unshaped",
        "The log norm of an unshaped ReLU MLP tends to N(−5t/2, 5t) at t = layer/width.",
        "Hanin & Nica 2019",
        _log_norm,
        quick=False,
    ),
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
        "A ReLU layer changes log sin²θ by −(2/3π) θ − 2/n on average, with variance about 8n/(n + 5)².",
        "Jakub & Nica 2023, mean and variance of log sin²θ",
        _angle,
    ),
)
