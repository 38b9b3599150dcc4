"""The design problem: the most nonlinear network that keeps a target, at infinite width and at its own width.

At a finite width the final correlation is random. Networks i = 0, 1, ... of one seed are drawn at every x with the same
random numbers, so that how far outside network i is depends continuously on x, and so does the quantile that must be 0.
Its root is found with few networks and moved once by many; then networks that have had no say are counted.
"""

from dataclasses import dataclass, field
from itertools import pairwise
from math import ceil, floor, log10, sqrt
from time import perf_counter

import numpy as np

from deeplim.architecture import MLP, Network
from deeplim.checks import check_count, check_kind, check_seed
from deeplim.ensemble import simulate
from deeplim.errors import InputError, LimitError
from deeplim.gaussian import slope_kernel_strength
from deeplim.limits.infinite_width import InfiniteWidth
from deeplim.limits.laws import pair_density, shaped_relu_drift
from deeplim.paths import Paths
from deeplim.shaping.feasibility import least_width
from deeplim.shaping.infinite_width import check_network
from deeplim.shaping.search import Share, largest_inside
from deeplim.shaping.shaping import Law, Shaping
from deeplim.shaping.target import Target
from deeplim.shaping.variation import AbstractVariation, variation

_FRESH, _FINE_SEED = 2**40, 2**41
"""What is added to the seed for networks that had no say, and for the many that move the root."""
_COARSE, _FINE, _MORE = 4, 2, 4
"""Fewer networks by this factor find the root, more by this one move it, and more still after a failed count."""
_TRIES = 3
_NEARBY = 0.05
_FEWEST = 100
_SIGMAS = 4.0
"""Shares differ when they are this many of the largest standard error, (1/2 networks)^(1/2), of a difference apart."""


def infinite_width(network: Network, target: Target, *, vary: str | None = None) -> Network | None:
    """Return the most nonlinear network of infinite width that keeps a target, TAT's for correlation = eta and start 0.

    There every network of a depth has one final correlation and one norm, and the quantile says nothing. None where not
    even the linear one keeps it. SpecError as for ``shape``.
    """
    family = variation(check_network(network), vary)
    check_kind("a target", target, Target, "make one with deeplim.Target(...)")
    x = _at_infinite_width(family, target)
    return None if x is None else family.at(x)


def shape(
    network: Network, target: Target, *, vary: str | None = None, networks: int = 10_000, seed: int = 0
) -> Shaping:
    """Return the most nonlinear network of this width and depth that keeps a target with the stated probability.

    vary: "slope" (the negative slope of ReLU and its like, 0 to 1), "scale" (a of a smooth s phi(x / s), from s = 1
    up), "branch" (a of a ResNet's a / sqrt(depth), down from sqrt(depth)) or "curvature" (C_f''(1) of a smooth
    activation as TAT transforms it); by default the slope or the scale, and the curvature of a transformed activation.
    Weights become critical and biases zero. ``networks`` fresh exact ones count at the end; half as many again find
    the root, twice as many move it, and it is moved one standard error to the safe side. Where not even the linear
    network keeps the target the result says so (``feasible`` False) with the least width that would. SpecError or
    InputError for what cannot be varied, counts below 100 and seeds out of range.
    """
    began = perf_counter()
    check_kind("a target", target, Target, "make one with deeplim.Target(...)")
    networks, seed = check_count("networks", networks), check_seed(seed)
    if networks < _FEWEST:
        raise InputError(f"{networks} networks were asked for, and a quantile takes {_FEWEST} at least; ask for more.")
    family = variation(check_network(network), vary)
    limit = _at_infinite_width(family, target)
    draws = _Draws(family, target, max(networks // _COARSE, _FEWEST), seed)
    x = largest_inside(draws.margin, _guess(family, target, limit), 0.01)
    x, feasible, law = _settled(draws, x, networks)
    return Shaping(
        target=target,
        vary=family.word,
        symbol=family.symbol,
        feasible=feasible,
        network=family.at(x),
        value=family.value(x),
        law=law,
        infinite_width_network=None if limit is None else family.at(limit),
        infinite_width_value=None if limit is None else family.value(limit),
        infinite_width_law=None if limit is None else draws.law(limit, networks),
        most_nonlinear=x == 1,
        monotone=draws.monotone(x),
        least_width=None if feasible else least_width(family.at(0.0), target, networks, (seed + _FRESH) % 2**63),
        networks=networks,
        seed=seed,
        seconds=perf_counter() - began,
    )


def _settled(draws: "_Draws", x: float | None, networks: int) -> tuple[float, bool, Law]:
    """The nonlinearity, whether the target can be kept, and the law there, of fresh networks."""
    quantile = draws.target.quantile
    if x is None or x == 0:
        best = draws.best()
        law = draws.law(best, networks)
        return best, law.probability.interval[1] >= quantile, law
    if x == 1:
        law = draws.law(1.0, networks)
        if law.probability.interval[1] >= quantile:
            return x, True, law
    for attempt in range(_TRIES):
        x = draws.moved(x, _FINE * networks * _MORE**attempt, attempt)
        law = draws.law(x, networks, attempt)
        if law.probability.interval[1] >= quantile:
            break
    return x, law.probability.interval[1] >= quantile, law


def _at_infinite_width(family: AbstractVariation, target: Target) -> float | None:
    layers = [0, family.network.depth]

    def margin(x: float) -> float:
        try:
            return float(target.margins(InfiniteWidth(family.at(x)).sample(target.inputs, layers=layers))[0])
        except LimitError:  # a norm beyond every float, or no network at x
            return np.inf

    # A layer of a smooth function is a quadrature, where that of slopes is a formula.
    tolerance = 1e-12 if family.network.homogeneous else 1e-8
    return largest_inside(lambda x: min(margin(x), 50.0), 0.5, tolerance)


def _guess(family: AbstractVariation, target: Target, limit: float | None) -> float:
    """Where to look first: where the covariance SDE has the quantile, for slopes of an MLP, or below the limit's."""
    network, most = family.network, 0.5 if limit is None else limit
    if family.word != "slope" or not isinstance(network, MLP) or network.normalization != "none":
        return most / (1 + network.aspect)

    def short(x: float) -> float:
        strength = network.width * slope_kernel_strength(1.0, 1 - x)
        try:
            law = pair_density(shaped_relu_drift(strength), 1 - target.start, time=network.aspect, tolerance=1e-4)
        except LimitError:  # a drift that no grid resolves leaves nothing below the bound
            return -target.quantile
        return law.cdf(target.correlation) - target.quantile

    from scipy.optimize import brentq

    return float(brentq(short, 0.0, most, xtol=0.01 * most)) if short(0.0) > 0 > short(most) else most / 2


@dataclass
class _Draws:
    """Exact networks of one family at any x, by the same random numbers, and how far outside their target they are."""

    family: AbstractVariation
    target: Target
    networks: int
    seed: int
    kept: dict[float, np.ndarray] = field(default_factory=dict)

    def margins(self, x: float) -> np.ndarray:
        """The sorted margins at x; all 50 where there is no network."""
        if x not in self.kept:
            self.kept[x] = self._draw(x, self.networks, self.seed)[1]
        return self.kept[x]

    def _draw(self, x: float, networks: int, seed: int) -> tuple[Paths | None, np.ndarray]:
        try:
            network = self.family.at(x)
        except LimitError:
            return None, np.full(networks, 50.0)
        layers = [0, network.depth]
        paths = simulate(network, self.target.inputs, networks=networks, seed=seed % 2**63, layers=layers)
        return paths, np.sort(self.target.margins(paths))

    def margin(self, x: float) -> float:
        """The margin that the stated share of networks is below."""
        return _order(self.margins(x), self.target.quantile)

    def inside(self, x: float) -> Share:
        """How many are inside."""
        return Share(int((self.margins(x) <= 0).sum()), self.networks)

    def best(self) -> float:
        """The nonlinearity of all tried at which most networks are inside; 0 unless another is better by its errors."""
        best = max(self.kept, key=lambda x: self.inside(x).count)
        apart = self.inside(best).value - self.inside(0.0).value
        return best if apart > _SIGMAS * sqrt(0.5 / self.networks) else 0.0

    def moved(self, x: float, networks: int, attempt: int) -> float:
        """The root moved to where more networks have it, and by a standard error of theirs to the safe side."""
        q = self.target.quantile
        safe = min(q + sqrt(q * (1 - q) / networks), 1.0)
        _, fine = self._draw(x, networks, self.seed + _FINE_SEED + attempt)
        low, high = x * (1 - _NEARBY), min(x * (1 + _NEARBY), 1.0)
        slope = (self.margin(high) - self.margin(low)) / (high - low)
        if not slope > 0:
            return x
        moved = float(np.clip(x - _order(fine, safe) / slope, x * 0.7, min(x * 1.3, 1.0)))
        # Cut to four digits: what more there are is noise.
        unit = 10.0 ** (floor(log10(moved)) - 3)
        return round(floor(moved / unit) * unit, 12)

    def law(self, x: float, networks: int, attempt: int = 0) -> Law:
        """The law at x, of networks that have had no say."""
        paths, margins = self._draw(x, networks, self.seed + _FRESH + attempt)
        assert paths is not None
        return Law.of(paths, Share(int((margins <= 0).sum()), networks))

    def monotone(self, x: float) -> bool:
        """Whether, as far as these networks tell, fewer are inside the more nonlinear they are."""
        shares = [self.inside(at).value for at in sorted({0.0, x / 2, x, (1 + x) / 2, 1.0})]
        return max(more - fewer for fewer, more in pairwise(shares)) <= _SIGMAS * sqrt(0.5 / self.networks)


def _order(margins: np.ndarray, share: float) -> float:
    """The least margin that at least this share of the sorted ones is not above."""
    return float(margins[min(ceil(share * len(margins)), len(margins)) - 1])
