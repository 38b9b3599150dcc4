"""Two routes to one limit: the ResNet and the MLP shaped at the rate of its depth, against the ODE they share.

The first result of Li & Nica (2023), with the rates at which each route arrives measured.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from math import pi, sqrt
from typing import Any, Literal, NamedTuple

from deeplim import limits
from deeplim.activations import LeakyReLU, ReLU, ShapedReLU
from deeplim.architecture import MLP, Network, ResNet, check_network
from deeplim.checks import brief, check_flag, check_kind, check_progress, check_real, check_seed
from deeplim.errors import InputError, LimitError
from deeplim.finite import chain
from deeplim.inputs import Inputs, check_inputs, check_pair, gram
from deeplim.limits.covariance_ode import CovarianceODE
from deeplim.observables import OBSERVABLES, Pair
from deeplim.rates import (
    OBSERVED,
    Convergence,
    Curve,
    Quantity,
    along_depth,
    along_width,
    convergence,
    convergence_of_recursion,
    own_seed,
    rate_cells,
)
from deeplim.specs import number
from deeplim.statistics import Estimate, Sample
from deeplim.tables import text_table

Route = Literal["resnet", "mlp"]
Varied = Literal["width", "depth"]
Progress = Callable[[str], object]
SAME = 1e-3
"""Two gammas this close, relatively, are one limit: c_minus typed to four digits is meant."""
QUICK = 8
_FACTORS = (0.25, 0.5, 1, 2, 4)
_FEWEST, _MOST = 200, 2_000_000


class Design(NamedTuple):
    """Sizes to go along, the size held fixed, what is measured, and how much: so many networks, or so much work.

    work: networks x width x depth at each size, with which the error of a mean at width n is the same multiple of 1/n
    everywhere. No networks and no work: the infinite-width recursion, which needs none.
    """

    varied: Varied
    sizes: tuple[int, ...]
    fixed: int
    measured: tuple[Quantity, ...]
    networks: int = 0
    work: float = 0.0

    @property
    def sampled(self) -> bool:
        """Whether networks are drawn."""
        return bool(self.networks or self.work)

    def counts(self, quick: bool) -> list[int]:
        """Return how many networks to draw at each size."""
        share = QUICK if quick else 1
        wanted = [self.networks if self.networks else self.work / (size * self.fixed) for size in self.sizes]
        return [min(max(round(count / share), _FEWEST), _MOST) for count in wanted]


RESNET_DESIGNS = (
    Design("width", (256, 512, 1024, 2048, 4096), 32, ("spread",), networks=4000),
    Design("depth", (32, 64, 128, 256, 512), 256, ("spread",), networks=4000),
    Design("width", (64, 128, 256, 512), 8, ("mean",), work=6e8),
    Design("depth", (256, 512, 1024, 2048, 4096), 256, ("mean",)),
)
MLP_DESIGNS = (
    Design("width", (1024, 2048, 4096, 8192, 16384), 32, ("spread",), networks=2000),
    Design("depth", (32, 64, 128, 256, 512), 8192, ("spread",), networks=1200),
    Design("width", (128, 256, 512, 1024), 8, ("mean",), work=1e9),
    Design("depth", (256, 512, 1024, 2048, 4096), 4096, ("mean",)),
)
"""Sizes from which on a power stands alone: its next term, of order 1/width, 1/depth or (for the MLP, kept at
1/16 and below) depth/width, is below the sampling error. The MLP's mean correlation is measured to about 4% so."""


@dataclass(frozen=True)
class Arrival:
    """One observable of one network's last layer: its law over networks, and what the two deterministic rungs say."""

    route: Route
    network: str
    networks: int
    observable: str
    mean: Estimate
    spread: Estimate
    infinite_width: float
    ode: float


@dataclass(frozen=True)
class Approach:
    """The rate at which one error of one route falls or grows; exact where no network was drawn."""

    route: Route
    varied: Varied
    fixed: int
    curve: Curve
    networks: tuple[int, ...]
    expected: float

    @property
    def exact(self) -> bool:
        """Whether infinitely wide networks were followed, without sampling."""
        return not any(self.networks)


@dataclass(frozen=True)
class Routes:
    """Both routes against their common ODE: where the two networks are, and the rates at which each arrives."""

    resnet: str
    mlp: str
    inputs: str
    gamma: float
    arrivals: tuple[Arrival, ...]
    approaches: tuple[Approach, ...]
    seed: int

    def approach(self, route: Route, quantity: Quantity, varied: Varied, observable: str = "correlation") -> Approach:
        """Return one of the measured rates; InputError if it was not measured."""
        for found in self.approaches:
            measured = found.route, found.curve.quantity, found.varied, found.curve.observable
            wanted = route, quantity, varied, observable
            if all(isinstance(word, str) for word in wanted) and measured == wanted:
                return found
        words = [brief(word) for word in (quantity, observable, route, varied)]
        raise InputError("no rate of the {} of {} of the {} in its {} was measured; choose another.".format(*words))

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain Python values."""
        plain = asdict(self)
        for row, found in zip(plain["approaches"], self.approaches, strict=True):
            row["exact"] = found.exact
        return plain

    def __str__(self) -> str:
        head = ["observable", "route", "networks", "mean", "ODE", "infinite width", "standard deviation"]
        arrived = text_table(head, [arrival_cells(found) for found in self.arrivals])
        head = ["route", "error of", "along", "at", "exponent", "expected", "chi2/dof"]
        rates = text_table(head, [approach_cells(found) for found in self.approaches])
        title = f"{self.resnet}\n{self.mlp}\n{self.inputs}, gamma = {self.gamma:.6g}"
        told = f"{title}\n\nat the last layer\n{arrived}\n\nerror ~ size^exponent\n{rates}"
        if any(found.curve.rate.poor for found in self.approaches):
            told += "\n\nWhere chi2/dof is poor no single power describes these sizes: go to larger ones."
        return told


def two_routes(
    *,
    correlation: float = 0.3,
    branch: float = 1.0,
    activation: ReLU | LeakyReLU | None = None,
    c_plus: float = 0.0,
    seed: int = 0,
    quick: bool = False,
    progress: Progress | None = None,
) -> Routes:
    """Return how the ResNet with branch a/sqrt(depth) and the MLP shaped to match it reach d rho/ds = a^2 kappa nuhat.

    The MLP's c_- is c_+ - a sqrt(2 pi kappa), c_+ - sqrt(2) a for ReLU. Each rate is measured on sizes of its own
    (``RESNET_DESIGNS``, ``MLP_DESIGNS``), in about a minute on two cores; ``quick`` draws an eighth of the networks,
    which multiplies the uncertainties by about three. The two networks are those of width 800, depth 100, and of width
    4000, depth 40. Source: Li & Nica 2023, first result. InputError, SpecError or LimitError for bad settings.
    """
    check_progress(progress)
    check_flag("quick", quick)
    seed, branch = check_seed(seed), check_real("branch", branch)
    activation = ReLU() if activation is None else activation
    resnet = ResNet(width=800, depth=100, activation=activation, branch=f"{number(float(branch))}/sqrt(depth)")
    c_minus = matching_c_minus(resnet, c_plus=c_plus)
    mlp = MLP(width=4000, depth=40, activation=ShapedReLU(c_plus=c_plus, c_minus=c_minus, rate="depth"))
    inputs = gram(correlation=correlation)
    return _routes(resnet, mlp, inputs, (RESNET_DESIGNS, MLP_DESIGNS), seed=seed, quick=quick, progress=progress)


def compare_routes(
    resnet: Network,
    mlp: Network,
    inputs: Inputs,
    *,
    pair: Pair = (0, 1),
    work: float = 2e8,
    seed: int = 0,
    progress: Progress | None = None,
) -> Routes:
    """Return how a ResNet and an MLP that share an ODE reach it, at their own sizes and from 1/4 to 4 times those.

    The two may come in either order. work: networks x width x depth at each size, for 200 networks or more; 2e8 takes a
    second. The rates are those of the sizes gone along: the powers of the theorem hold where the depth
    is large and depth/width small. LimitError, in one sentence with the c_minus that would match, when the two do
    not share an ODE.
    """
    check_progress(progress)
    seed, chosen = check_seed(seed), check_pair(pair, check_inputs(inputs).count)
    if isinstance(resnet, MLP):
        resnet, mlp = mlp, resnet
    reason = why_no_common_limit(resnet, mlp)
    if reason is not None or not isinstance(resnet, ResNet) or not isinstance(mlp, MLP):
        raise LimitError(str(reason))
    work = check_real("work, networks x width x depth at each size,", work, above=0)
    inputs = inputs.pair(*chosen) if inputs.count != 2 or chosen != (0, 1) else inputs
    designs = tuple(_around(resnet, work)), tuple(_around(mlp, work))
    return _routes(resnet, mlp, inputs, designs, seed=seed, quick=False, progress=progress, work=work)


def matching_c_minus(resnet: ResNet, *, c_plus: float = 0.0, above: bool = False) -> float:
    """Return the c_- with which an MLP shaped at the rate of its depth follows the ResNet's ODE.

    (c_+ - c_-)^2 = 2 pi a^2 kappa, 2 a^2 for ReLU; the solution below c_+, or the one above. LimitError when the
    ResNet has no ODE d rho / ds = gamma nuhat(rho).
    """
    check_kind("a residual network", resnet, ResNet, "give a deeplim.ResNet")
    c_plus, above = check_real("c_plus", c_plus), check_flag("above", above)
    reason = _why_no_gamma(resnet)
    if reason is not None:
        raise LimitError(f"no shaped MLP follows the ResNet: {reason}")
    apart = sqrt(2 * pi * _gamma(resnet))
    return c_plus + apart if above else c_plus - apart


def why_no_common_limit(resnet: Network, mlp: Network) -> str | None:
    """Return None when the two follow one ODE for rho, else one sentence that says why not, with the cure."""
    check_network(resnet)
    check_network(mlp)
    if not isinstance(resnet, ResNet) or not isinstance(mlp, MLP):
        return "the two routes are a ResNet and an MLP shaped at the rate of its depth; give one of each."
    for name, network in (("ResNet", resnet), ("MLP", mlp)):
        reason = _why_no_gamma(network)
        if reason is not None:
            return f"the {name} has no ODE d rho/ds = gamma nuhat(rho) to share: {reason}"
    first, second = _gamma(resnet), _gamma(mlp)
    if abs(first - second) <= SAME * max(first, second):
        return None
    shaped = mlp.activation
    assert isinstance(shaped, ShapedReLU)
    cure = matching_c_minus(resnet, c_plus=shaped.c_plus, above=shaped.c_minus > shaped.c_plus)
    return (
        f"the two follow different ODEs: gamma is {first:.6g} for the ResNet and {second:.6g} for the MLP, whose "
        f"c_minus = {shaped.c_minus:g} would have to be {cure:.6g}."
    )


def _why_no_gamma(network: Network) -> str | None:
    if network.normalization != "none":
        return f"{network.normalization} changes the equation; compare networks without normalization."
    if not network.homogeneous:
        return f"its activation, {network.activation}, is not given by two slopes; relu, leaky and shaped-relu are."
    return CovarianceODE.why_not(network)


def _gamma(network: Network) -> float:
    return CovarianceODE(network).parameters["gamma"]


def _around(network: Network, work: float) -> Iterator[Design]:
    """Designs about the network's own sizes."""
    widths, depths = ([max(round(size * factor), 1) for factor in _FACTORS] for size in (network.width, network.depth))
    yield Design("width", tuple(sorted(set(widths))), network.depth, ("mean", "spread"), work=work)
    yield Design("depth", tuple(sorted(set(depths))), network.width, ("spread",), work=work)
    yield Design("depth", tuple(sorted(set(depths))), network.width, ("mean",))


def _routes(
    resnet: ResNet,
    mlp: MLP,
    inputs: Inputs,
    designs: tuple[tuple[Design, ...], tuple[Design, ...]],
    *,
    seed: int,
    quick: bool,
    progress: Progress | None,
    work: float = 8e8,
) -> Routes:
    arrivals: list[Arrival] = []
    approaches: list[Approach] = []
    pairs: list[tuple[ResNet | MLP, tuple[Design, ...]]] = [(resnet, designs[0]), (mlp, designs[1])]
    for side, (network, own) in enumerate(pairs):
        arrivals += _arrivals(network, inputs, work / (QUICK if quick else 1), own_seed(seed, side), progress)
        for place, design in enumerate(own, start=1):
            found = _along(network, inputs, design, design.counts(quick), own_seed(seed, side, place), progress)
            approaches += _approaches(network, design, found)
    words = str(resnet), str(mlp), str(inputs)
    return Routes(*words, _gamma(resnet), tuple(arrivals), tuple(approaches), seed)


def _arrivals(
    network: ResNet | MLP, inputs: Inputs, work: float, seed: int, progress: Progress | None
) -> Iterator[Arrival]:
    count = min(max(round(work / (network.width * network.depth)), _FEWEST), _MOST)
    if progress is not None:
        progress(f"{count:,} networks: {network}")
    drawn = chain.sample(network, inputs, networks=count, seed=seed, layers=[network.depth])
    known = [limits.named(name, network).sample(inputs, layers=[network.depth]) for name in ("infinite-width", "ode")]
    for name in OBSERVED:
        observable = OBSERVABLES[name]
        sample = Sample.of(observable.values(drawn, (0, 1))[:, -1])
        wide, ode = (float(observable.values(paths, (0, 1))[0, -1]) for paths in known)
        yield Arrival(network.kind, str(network), sample.count, name, sample.mean, sample.std, wide, ode)


def _along(
    network: ResNet | MLP, inputs: Inputs, design: Design, counts: list[int], seed: int, progress: Progress | None
) -> Convergence:
    """The errors along one design: in width against the recursion at that depth, in depth against the ODE.

    The recursion takes out what the depth alone is to blame for, without which no error of a mean would vanish with
    the width. Spreads are the same against both.
    """
    other = {"width": "depth", "depth": "width"}[design.varied]
    base = type(network)(**network.model_dump() | {other: design.fixed})
    family = (along_width if design.varied == "width" else along_depth)(base, design.sizes)
    if not design.sampled:
        return convergence_of_recursion(family, inputs, limit="ode")
    limit = "infinite-width" if design.varied == "width" else "ode"
    return convergence(family, inputs, limit=limit, networks=counts, seed=seed, progress=progress)


def _approaches(network: ResNet | MLP, design: Design, found: Convergence) -> Iterator[Approach]:
    for curve in found.curves:
        if curve.quantity in design.measured and any(curve.errors):
            expected = _expected(network, curve.quantity, design.varied)
            yield Approach(network.kind, design.varied, design.fixed, curve, found.networks, expected)


def _expected(network: ResNet | MLP, quantity: Quantity, varied: Varied) -> float:
    """The power of the theory: the ResNet spreads by n^(-1/2), the MLP by (d/n)^(1/2); means are off by 1/n and more.

    In depth the ResNet's mean is off by the 1/d of an Euler step. The MLP's kappa is (c_+ - c_-)^2 / (2 pi d) times
    1 - (c_+ + c_-) / d^(1/2) + O(1/d), so that its d^(-1/2) is gone where c_+ = -c_-.
    """
    if varied == "width":
        return -1.0 if quantity == "mean" else -0.5
    if quantity == "spread":
        return 0.0 if isinstance(network, ResNet) else 0.5
    activation = network.activation
    uneven = isinstance(activation, ShapedReLU) and abs(activation.c_plus + activation.c_minus) > SAME
    return -0.5 if uneven else -1.0


def arrival_cells(found: Arrival) -> list[str]:
    """Return one arrival as the cells of a table: observable, route, networks, mean, ODE, infinite width, spread."""
    check_kind("an arrival", found, Arrival, "give one of the arrivals of deeplim.routes.two_routes")
    mean, spread = (f"{law.value:.4f} ± {law.error:.4f}" for law in (found.mean, found.spread))
    known = f"{found.ode:.4f}", f"{found.infinite_width:.4f}"
    return [found.observable, found.route, f"{found.networks:,}", mean, *known, spread]


def approach_cells(found: Approach) -> list[str]:
    """Return one rate as the cells of a table: route, error, sizes, what is held fixed, exponents, chi^2."""
    check_kind("an approach", found, Approach, "give one of the approaches of deeplim.routes.two_routes")
    sizes = f"{found.varied} {found.curve.sizes[0]} to {found.curve.sizes[-1]}"
    fixed = "infinite width" if found.exact else f"{'depth' if found.varied == 'width' else 'width'} {found.fixed}"
    exponent, quality = rate_cells(found.curve.rate)
    error = f"{found.curve.quantity} of {found.curve.observable}"
    return [found.route, error, sizes, fixed, exponent, f"{found.expected:+.1f}", "exact" if found.exact else quality]
