"""Claims about deep unshaped ReLU networks: how inputs align, and how norms spread.

R = 1 / (n sqrt(1 - rho)) after n layers of width n is what they are about. The limit's constants are kappa = 1/pi, the
drift, and A = 2, the noise; a linear network's noise has A = 1.
"""

import numpy as np

from deeplim.architecture import MLP
from deeplim.claims.claim import Claim, Figure, Outcome, Series, estimates, histogram
from deeplim.claims.draws import ONE, log_gaps, log_norms, networks_at, told
from deeplim.claims.measures import difference, extrapolated, mean_of, std_of, variance_of
from deeplim.claims.number import Allowance, number_of
from deeplim.claims.quadrature import follow, leaky
from deeplim.inputs import gram
from deeplim.limits.density import Density, normal_density
from deeplim.limits.moment_chain import MomentChain
from deeplim.limits.ratio_law import ratio_density
from deeplim.limits.unshaped_sde import UnshapedSDE
from deeplim.statistics import Estimate

_PAIR = gram(correlation=0.3)
_WITHOUT_NOISE = np.sqrt(2) / (3 * np.pi)
"""R at infinite width, kappa sqrt(2)/3 = 0.150."""


def _ratios(width: int, networks: int, seed: int, gap: float = 0.7) -> np.ndarray:
    paths = networks_at(MLP(width=width, depth=width), gram(gap=gap), networks=networks, seed=seed)
    return np.exp(-log_gaps(paths) / 2) / width


def _law(*, drift: float = 1.0, noise: float = 1.0, start: float = 0.0) -> Density:
    """The law of R_1 by the SDE, with parts of its drift and its noise."""
    limit = UnshapedSDE(MLP(width=1000, depth=1000)).parameters
    return ratio_density(kappa=drift * limit["kappa"], a=noise * limit["A"], time=1.0, start=start)


def _log_mean(law: Density) -> float:
    return law.expect(np.log)


def _log_spread(law: Density) -> float:
    mean = _log_mean(law)
    return float(np.sqrt(law.expect(lambda r: (np.log(r) - mean) ** 2)))


def _mean_log(ratios: np.ndarray) -> Estimate:
    return mean_of(np.log(ratios))


def _std_log(ratios: np.ndarray) -> Estimate:
    return std_of(np.log(ratios))


def _singular(seed: int) -> Outcome:
    """Measured: exact networks of two widths, Gaussian rows through ReLU. Predicted: the SDE's law; they share nothing.

    The start adds e^2/(n sqrt(0.7)) to E R, second-order terms of a layer 10/n of it, and the first correction to the
    drift, 0.225 sqrt(1 - rho) of it with sqrt(1 - rho) = 1/(0.15 l), 0.225 e^2 log(n)/n. Between a width and its double
    the terms of 1/n go out, and 0.225 e^2 log(2)/n of the last stays.
    """
    widths, counts = (24, 48, 96, 192), (20_000, 20_000, 20_000, 12_000)
    drawn = [_ratios(n, count, seed + k) for k, (n, count) in enumerate(zip(widths, counts, strict=True))]
    law, half, twice, linear = _law(), _law(drift=0.5), _law(drift=2.0), _law(noise=0.5)
    laws = {"half the drift": half, "twice the drift": twice, "a linear network's noise": linear}
    size = Allowance(
        2 / widths[2] + 100 / widths[2] ** 2,
        "2/width + 100/width², width 96: what the logarithm of the width leaves, and the next order",
    )
    numbers = (
        number_of(
            "E R at layer/width = 1, widths 96 and 192 extrapolated",
            law.mean,
            extrapolated(mean_of, *drawn[2:]),
            refutes={"twice the drift": twice.mean, "infinite width": _WITHOUT_NOISE},
            allowance=size,
        ),
        number_of(
            "mean log R, the same",
            _log_mean(law),
            extrapolated(_mean_log, *drawn[2:]),
            refutes={name: _log_mean(other) for name, other in laws.items()},
            allowance=size,
        ),
        number_of(
            "std of log R, the same",
            _log_spread(law),
            extrapolated(_std_log, *drawn[2:]),
            refutes={"a linear network's noise": _log_spread(linear), "infinite width": 0.0},
            allowance=size,
        ),
    )
    simulated = f"20,000 to 12,000 exact ReLU networks, width = depth = 24 to 192; ρ = 0.3; seeds from {seed}."
    return Outcome(numbers, simulated, _approach(law, linear, widths, drawn))


def _approach(law: Density, linear: Density, widths: tuple[int, ...], drawn: list[np.ndarray]) -> Figure:
    ends = [widths[0], widths[-1]]
    series = (
        Series.of("E R of the SDE", "predicted", ends, [law.mean] * 2),
        Series.of("E R with a linear network's noise", "refuted", ends, [linear.mean] * 2),
        Series.of("E R at infinite width", "refuted", ends, [_WITHOUT_NOISE] * 2),
        estimates("E R, exact networks", widths, [mean_of(r) for r in drawn]),
        Series.of("std of log R of the SDE", "predicted", ends, [_log_spread(law)] * 2),
        estimates("std of log R of the same", widths, [_std_log(r) for r in drawn]),
    )
    return Figure("width = depth", "E R and std of log R at the last layer", series, log_x=True)


def _started(seed: int) -> Outcome:
    """Measured: exact networks, Gaussian rows through ReLU. Predicted: the SDE's mean in closed form, and its law from
    the Fokker-Planck equation; they share nothing.
    """
    width, gap, count = 200, 0.01, 8000
    start = 1 / (width * np.sqrt(gap))
    network = MLP(width=width, depth=width)
    ratio, limit = _ratios(width, count, seed, gap), UnshapedSDE(network)
    law, linear = _law(start=start), _law(start=start, noise=0.5)
    others = {
        "the start left out": _law(),
        "half the drift": _law(start=start, drift=0.5),
        "twice the drift": _law(start=start, drift=2.0),
    }
    mean, mean_twice = (limit.mean_ratio(1.0, begin) for begin in (start, 2 * start))
    size = Allowance(10 / width, "10/width: E √(χ²_N/χ²_{N−1}) of a layer is 1 + 2/n + 10/n²")
    numbers = (
        number_of(
            "E R from R₀ = 0.05",
            mean,
            mean_of(ratio),
            refutes={"the start left out": limit.mean_ratio(1.0), "twice the start": mean_twice},
            allowance=Allowance(size.size * mean, f"of it, {size.reason}"),
        ),
        number_of(
            "mean log R",
            _log_mean(law),
            _mean_log(ratio),
            refutes={name: _log_mean(other) for name, other in others.items()},
            allowance=size,
        ),
        number_of(
            "std of log R",
            _log_spread(law),
            _std_log(ratio),
            refutes={"a linear network's noise": _log_spread(linear), "infinite width": 0.0},
            allowance=size,
        ),
    )
    figure = _started_figure(law, others, np.log(ratio))
    return Outcome(numbers, told(network, gram(gap=gap), count, seed), figure)


def _started_figure(law: Density, others: dict[str, Density], values: np.ndarray) -> Figure:
    line = np.linspace(values.min(), values.max(), 100)
    series = (
        Series.of("density of the SDE from R₀ = 0.05", "predicted", line, law.at_points(line)),
        *(Series.of(name, "refuted", line, other.at_points(line)) for name, other in others.items()),
        histogram(values),
    )
    return Figure("log R at layer/width = 1", "density (per unit)", series)


def _finite(seed: int) -> Outcome:
    """Measured: exact networks, Gaussian rows through ReLU. Predicted: the moment chain, which draws each layer from
    its mean, scatter and third cumulants in closed form and sees no neuron.
    """
    widths, count = (32, 64, 100, 150), 12_000
    exact, chain = [], []
    for k, n in enumerate(widths):
        exact.append(_ratios(n, count, seed + 2 * k))
        paths = MomentChain(MLP(width=n, depth=n)).sample(_PAIR, samples=count, seed=seed + 2 * k + 1, layers=[n])
        chain.append(np.exp(-log_gaps(paths) / 2) / n)
    at, law = widths.index(100), _law()
    infinite = float(follow(leaky(0.0), 0.7, 100)[-1]) ** -0.5 / 100
    size = Allowance(10 * 100 / 100**3, "10 depth/width³, what the moment chain says it leaves")
    numbers = []
    for name, of, limit, no_noise in (
        ("E R", mean_of, law.mean, infinite),
        ("mean log R", _mean_log, _log_mean(law), float(np.log(infinite))),
    ):
        follows = of(chain[at])
        apart = difference(of(exact[at]), follows).error
        numbers.append(
            number_of(
                f"{name} at width = depth = 100, the moment chain",
                follows.value,
                Estimate(of(exact[at]).value, apart),
                refutes={"the limit": limit, "infinite width at this depth": no_noise},
                allowance=size,
            )
        )
    ends = [widths[0], widths[-1]]
    series = (
        Series.of("moment chain", "predicted", widths, [float(r.mean()) for r in chain]),
        Series.of("singular SDE", "refuted", ends, [law.mean, law.mean]),
        estimates("exact networks", widths, [mean_of(r) for r in exact]),
    )
    simulated = (
        f"{count:,} exact ReLU networks and as many moment chains at each of four widths; ρ = 0.3; seeds from {seed}."
    )
    figure = Figure("width = depth", "E R, R = 1/(width √(1−ρ))", series, log_x=True)
    return Outcome(tuple(numbers), simulated, figure)


def _log_norm(seed: int) -> Outcome:
    """Measured: exact networks neuron by neuron. Predicted: the normal law; no code here has a layer's own law."""
    network, count = MLP(width=200, depth=200), 8000
    values = log_norms(networks_at(network, ONE, networks=count, seed=seed))
    others = {
        "a linear or shaped network": (-1.0, 2.0),
        "half the noise": (-1.25, 2.5),
        "twice the noise": (-5.0, 10.0),
    }
    numbers = (
        number_of(
            "mean log V, −5t/2",
            -2.5,
            mean_of(values),
            refutes={name: mean for name, (mean, _) in others.items()},
            allowance=Allowance(5 / network.width, "5/width: −5/(2n) − 4/n² a layer"),
        ),
        number_of(
            "Var log V, 5t",
            5.0,
            variance_of(values),
            refutes={name: variance for name, (_, variance) in others.items()},
            allowance=Allowance(20 / network.width, "20/width: 5/n + 19/n² a layer"),
        ),
    )
    line = np.linspace(values.min(), values.max(), 120)
    series = (
        Series.of("N(−5/2, 5)", "predicted", line, normal_density(-2.5, 5.0).at_points(line)),
        Series.of("a linear or shaped network, N(−1, 2)", "refuted", line, normal_density(-1.0, 2.0).at_points(line)),
        Series.of("half the noise, N(−5/4, 5/2)", "refuted", line, normal_density(-1.25, 2.5).at_points(line)),
        histogram(values),
    )
    figure = Figure("log V at layer/width = 1", "density (per unit)", series)
    return Outcome(numbers, told(network, ONE, count, seed), figure)


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
        "At width 100 the singular limit gives E R = 0.48 where networks, and the moment chain, have 0.62.",
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
)
