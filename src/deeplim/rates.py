"""How fast networks reach a limit: errors along a family of growing networks, and the power of the size they follow."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from math import exp, sqrt
from numbers import Number
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from deeplim import limits
from deeplim.architecture import Network, check_network
from deeplim.checks import (
    brief,
    check_count,
    check_kind,
    check_list,
    check_numbers,
    check_progress,
    check_real,
    check_seed,
    check_whole,
)
from deeplim.errors import InputError
from deeplim.finite import chain
from deeplim.inputs import Inputs, check_inputs, check_pair
from deeplim.observables import OBSERVABLES, Pair
from deeplim.paths import Paths
from deeplim.statistics import Estimate, Sample, subtract
from deeplim.tables import text_table

Array = Float[np.ndarray, " size"]
Quantity = Literal["mean", "spread"]
Family = Mapping[int, Network]
"""Networks by the size that grows along them, their width or their depth."""
FEWEST_SIZES = 3
SIGNIFICANT = 3.0
"""Errors are said to follow a power only when no error at all fits worse by this many standard deviations."""
LARGEST_EXPONENT = 6.0
POOR = 1e-3
SMALLEST_ERROR = 1e-10
"""Differences of two exact numbers up to this are rounding, of the numbers or of the ODE's solution."""
_NUMBERS = "give finite numbers, one for each size"
OBSERVED = ("correlation", "log_norm")


@dataclass(frozen=True)
class Rate:
    """error = prefactor size^exponent with the exponent's standard error; exponent None, and why, where there is none.

    chi_square and degrees: sum of squared residuals in standard errors, and its degrees of freedom; None for errors
    without sampling error. low, high: the smallest and largest size. significance: by how many standard deviations the
    errors are not zero.
    """

    exponent: float | None
    uncertainty: float | None
    prefactor: float | None
    chi_square: float | None
    degrees: int
    low: float
    high: float
    significance: float | None
    reason: str | None = None

    @property
    def poor(self) -> bool:
        """Whether a power alone does not describe the errors: chi^2 as large has a probability below 1e-3."""
        from scipy.special import chdtrc

        return self.chi_square is not None and self.degrees > 0 and float(chdtrc(self.degrees, self.chi_square)) < POOR

    def at(self, size: float) -> float:
        """Return the fitted error at a size; InputError where no power was found."""
        size = check_real("size", size, above=0)
        if self.exponent is None or self.prefactor is None:
            raise InputError(f"there is no fitted error at {size:g} ({self.reason}); draw more networks.")
        try:
            return float(self.prefactor * size**self.exponent)
        except OverflowError:
            raise InputError(f"the error at {size:g} is beyond 1e308; give a size near those fitted.") from None

    def __str__(self) -> str:
        if self.exponent is None or self.uncertainty is None:
            return f"none: {self.reason}"
        return f"{self.exponent:+.3f} ± {self.uncertainty:.3f}"


@dataclass(frozen=True)
class Curve:
    """Errors of the mean, or of the spread (standard deviation), of one observable at each size, and their rate."""

    quantity: Quantity
    observable: str
    sizes: tuple[int, ...]
    errors: tuple[float, ...]
    uncertainties: tuple[float, ...]
    rate: Rate


@dataclass(frozen=True)
class Convergence:
    """The last layer of a family of networks against a limit: print it for a table.

    networks: how many were drawn at each size, 0 where the infinite-width recursion stands for them. lost: how many of
    them were dead or exploded, and left out.
    """

    family: tuple[str, str]
    limit: str
    sizes: tuple[int, ...]
    networks: tuple[int, ...]
    lost: tuple[int, ...]
    curves: tuple[Curve, ...]

    def curve(self, quantity: Quantity, observable: str) -> Curve:
        """Return one curve; InputError if it was not measured."""
        for curve in self.curves:
            named = isinstance(quantity, str) and isinstance(observable, str)
            if named and (curve.quantity, curve.observable) == (quantity, observable):
                return curve
        known = ", ".join(f"{curve.quantity} of {curve.observable}" for curve in self.curves)
        raise InputError(f"the {brief(quantity)} of {brief(observable)} was asked for; there are {known}.")

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain Python values."""
        return asdict(self)

    def __str__(self) -> str:
        head = ["error of", *(str(size) for size in self.sizes), "exponent", "chi2/dof"]
        lines = [
            [
                f"{curve.quantity} of {curve.observable}",
                *map(_shown, curve.errors, curve.uncertainties),
                *rate_cells(curve.rate),
            ]
            for curve in self.curves
        ]
        first, last = self.family
        return f"from {first}\nto   {last}\nagainst {self.limit}\n\n{text_table(head, lines)}"


def fit_rate(sizes: ArrayLike, errors: ArrayLike, uncertainties: ArrayLike | None = None) -> Rate:
    """Return the power of the size that the errors follow, from at least three sizes.

    With standard errors: least squares in the errors themselves, not in their logarithms, so that an error that is zero
    within its own counts as such and no sign is discarded. For each exponent p the best prefactor is linear,
    C = sum(w e n^p) / sum(w n^2p), w = 1/uncertainty^2; p is where chi^2 is least, and its uncertainty is half the
    interval in which chi^2 is less than one above that (the profile likelihood of normal errors). No exponent is
    given when the errors are less than 3 standard deviations from zero, or when that interval leaves [-6, 6].

    Without: least squares of log |error| on log size; the uncertainty is then no sampling error but how far the
    exponent moves when the smaller half of the sizes is left out. No exponent when the errors change sign or are zero.
    InputError for arrays of different lengths, sizes that do not grow from above 0, or numbers that are not finite.
    """
    n, e = check_numbers("sizes", sizes, _NUMBERS), check_numbers("errors", errors, _NUMBERS)
    u = np.zeros_like(e) if uncertainties is None else check_numbers("uncertainties", uncertainties, _NUMBERS)
    _check_points(n, e, u)
    return _fit_known(n, e) if not u.any() else _fit_sampled(n, e, u)


def _check_points(n: Array, e: Array, u: Array) -> None:
    if n.ndim != 1 or not n.shape == e.shape == u.shape or len(n) < FEWEST_SIZES:
        raise InputError(
            f"sizes, errors and uncertainties of shapes {n.shape}, {e.shape} and {u.shape} were given; give one of "
            f"each at {FEWEST_SIZES} sizes or more."
        )
    if not (np.isfinite([n, e, u]).all() and n[0] > 0 and (np.diff(n) > 0).all()):
        raise InputError(
            "a size, error or uncertainty cannot be used; give finite numbers, at sizes growing from above 0."
        )
    if u.any() and not (u > 0).all():
        raise InputError("some uncertainties are zero or negative; give one above 0 for every error, or none at all.")


def _fit_sampled(n: Array, e: Array, u: Array) -> Rate:
    from scipy.optimize import brentq, minimize_scalar

    centre = float(np.exp(np.log(n).mean()))
    profile = partial(_profile, np.log(n / centre), e, u)
    grid = np.linspace(-LARGEST_EXPONENT, LARGEST_EXPONENT, 2401)
    rough = profile(grid)[1]
    near = grid[int(rough.argmin())]
    found = minimize_scalar(lambda p: float(profile(p)[1]), bounds=(near - 0.01, near + 0.01), options={"xatol": 1e-10})
    best, least = float(found.x), float(found.fun)
    significance = sqrt(max(float(((e / u) ** 2).sum()) - least, 0.0))
    made = partial(
        Rate, chi_square=least, degrees=len(n) - 2, low=float(n[0]), high=float(n[-1]), significance=significance
    )
    if significance < SIGNIFICANT:
        return made(None, None, None, reason=f"zero within {significance:.1f} standard deviations")
    outside = rough > least + 1
    below, above = grid[(grid < best) & outside], grid[(grid > best) & outside]
    if not len(below) or not len(above):
        return made(None, None, None, reason="too uncertain to tell one power from another")
    ends = [brentq(lambda p: float(profile(p)[1]) - least - 1, *sorted((best, end))) for end in (below[-1], above[0])]
    prefactor = float(profile(best)[0]) * centre**-best
    return made(best, float(ends[1] - ends[0]) / 2, prefactor)


def _profile(x: Array, e: Array, u: Array, p: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """The best C and its chi^2 for errors C exp(p x), for one exponent or many."""
    power = np.exp(np.asarray(p)[..., None] * x)
    amplitude = (power * e / u**2).sum(axis=-1) / (power**2 / u**2).sum(axis=-1)
    return amplitude, (((e - amplitude[..., None] * power) / u) ** 2).sum(axis=-1)


def _fit_known(n: Array, e: Array) -> Rate:
    made = partial(Rate, chi_square=None, degrees=len(n) - 2, low=float(n[0]), high=float(n[-1]), significance=None)
    if np.abs(e).max() <= SMALLEST_ERROR:
        return made(None, None, None, reason="there is no error")
    if not (np.sign(e) == np.sign(e[0])).all() or np.abs(e).min() <= SMALLEST_ERROR:
        return made(None, None, None, reason="the error changes sign or reaches rounding")
    x, y = np.log(n), np.log(np.abs(e))
    half = min(len(n) // 2, len(n) - 2)
    slope, height = np.polyfit(x, y, 1)
    moved = abs(slope - np.polyfit(x[half:], y[half:], 1)[0])
    return made(float(slope), float(moved), float(np.sign(e[0])) * exp(height))


def along_width(network: Network, widths: Sequence[int]) -> dict[int, Network]:
    """Return the network at each of these widths, its depth unchanged."""
    check_network(network)
    return {width: type(network)(**network.model_dump() | {"width": width}) for width in _sizes("widths", widths)}


def along_depth(network: Network, depths: Sequence[int]) -> dict[int, Network]:
    """Return the network at each of these depths, its width unchanged."""
    check_network(network)
    return {depth: type(network)(**network.model_dump() | {"depth": depth}) for depth in _sizes("depths", depths)}


def along_both(network: Network, widths: Sequence[int]) -> dict[int, Network]:
    """Return the network at each of these widths, with the depth that keeps depth/width, by width."""
    aspect = check_network(network).aspect
    sizes = {width: max(round(width * aspect), 1) for width in _sizes("widths", widths)}
    return {
        width: type(network)(**network.model_dump() | {"width": width, "depth": depth})
        for width, depth in sizes.items()
    }


def _sizes(what: str, sizes: object) -> list[int]:
    return [check_whole("a size", size, 1) for size in check_list(what, sizes, "give a list of whole numbers")]


def convergence(
    family: Family,
    inputs: Inputs,
    *,
    limit: str,
    networks: int | Sequence[int],
    samples: int = 100_000,
    seed: int = 0,
    pair: Pair = (0, 1),
    progress: Callable[[str], object] | None = None,
) -> Convergence:
    """Return the errors of exact networks against a limit at the last layer, along a family, and their rates.

    The error of a mean is the networks' mean less the limit's; that of a spread is the networks' standard deviation
    less the limit's, which is zero for a deterministic limit. Standard errors come from second and fourth moments,
    and where the limit is random include those of ``samples`` of its paths. family: see ``along_width``. networks: how
    many at each size, one number or one a size. All sizes and sides have random numbers of their own. progress: called
    with a few words before each size. LimitError where the limit does not describe a network; InputError for counts.
    """
    _check_family(family)
    check_progress(progress)
    check_count("samples", samples)
    inputs = _the_pair(inputs, pair)
    counts = _counts(family, networks)
    found: list[dict[tuple[Quantity, str], Estimate]] = []
    lost = []
    for place, (count, network) in enumerate(zip(counts, family.values(), strict=True)):
        if progress is not None:
            progress(f"{count:,} networks: {network}")
        observed = chain.sample(network, inputs, networks=count, seed=own_seed(seed, place, 0), layers=[network.depth])
        found_limit = limits.named(limit, network)
        predicted = found_limit.sample(inputs, samples=samples, seed=own_seed(seed, place, 1), layers=[network.depth])
        found.append(_errors(observed, predicted))
        lost.append(int((~observed.alive).sum()))
    return _convergence(family, limit, found, counts=counts, lost=tuple(lost))


def convergence_of_recursion(family: Family, inputs: Inputs, *, limit: str = "ode", pair: Pair = (0, 1)) -> Convergence:
    """Return the errors of infinitely wide networks against a deterministic limit, along a family, without sampling.

    What is left of a limit's error as the width grows first: that of its step in depth. LimitError or InputError as for
    ``convergence``, and InputError for a random limit.
    """
    _check_family(family)
    inputs = _the_pair(inputs, pair)
    found = []
    for network in family.values():
        recursion, other = (limits.named(name, network) for name in ("infinite-width", limit))
        if not other.deterministic:
            raise InputError(
                f"the limit {limit!r} is random, and infinitely wide networks are not; give one that is not, as 'ode'."
            )
        sides = (found_limit.sample(inputs, layers=[network.depth]) for found_limit in (recursion, other))
        found.append(_errors(*sides))
    none = (0,) * len(family)
    return _convergence(family, limit, found, counts=none, lost=none)


def _the_pair(inputs: Inputs, pair: Pair) -> Inputs:
    chosen = check_pair(pair, check_inputs(inputs).count)
    return inputs.pair(*chosen) if inputs.count != 2 or chosen != (0, 1) else inputs


def _check_family(family: object) -> None:
    cure = "give networks by their sizes, as deeplim.rates.along_width returns them"
    for size, network in check_kind("a family", family, Mapping, cure).items():
        check_whole("a size of the family", size, 1)
        check_network(network)


def _counts(family: Family, networks: int | Sequence[int]) -> tuple[int, ...]:
    cure = "give one whole number, or one for each size"
    one = isinstance(networks, Number)
    counts = [networks] * len(family) if one else check_list("networks", networks, cure)
    counts = [check_count("networks", count) for count in counts]
    if len(family) < FEWEST_SIZES or len(counts) != len(family):
        raise InputError(
            f"{len(counts)} numbers of networks for {len(family)} sizes were given; give {FEWEST_SIZES} sizes or more, "
            "and one number or as many."
        )
    if min(counts) < 2:
        raise InputError(
            f"{min(counts)} networks were asked for at one size; give 2 or more, for an error of the mean."
        )
    return tuple(counts)


def own_seed(seed: int, *place: int) -> int:
    """Return a seed of its own for each place: an equal one gives networks of every width the same random bits."""
    return int(np.random.SeedSequence([check_seed(seed), *place]).generate_state(1, np.uint64)[0] >> 1)


def _errors(observed: Paths, predicted: Paths) -> dict[tuple[Quantity, str], Estimate]:
    """The errors of the mean and spread of each observable; only of the mean where neither side is random."""
    errors: dict[tuple[Quantity, str], Estimate] = {}
    for name in OBSERVED:
        value = OBSERVABLES[name].values
        one, other = (
            Sample.of(value(paths, (0, 1))[:, -1], known=paths.deterministic) for paths in (observed, predicted)
        )
        if min(one.count, other.count) < 1:
            side = observed if one.count < 1 else predicted
            raise InputError(f"no sample of {side.source} has a finite {name}; choose networks that live.")
        errors["mean", name] = subtract(one.mean, other.mean)
        if not one.known:
            errors["spread", name] = subtract(one.std, other.std)
    return errors


def _convergence(
    family: Family,
    limit: str,
    found: Sequence[Mapping[tuple[Quantity, str], Estimate]],
    *,
    counts: tuple[int, ...],
    lost: tuple[int, ...],
) -> Convergence:
    sizes = tuple(family)
    curves = []
    for quantity, observable in found[0]:
        estimates = [errors[quantity, observable] for errors in found]
        errors, uncertainties = ([e.value for e in estimates], [e.error for e in estimates])
        rate = fit_rate(sizes, errors, uncertainties)
        curves.append(Curve(quantity, observable, sizes, tuple(errors), tuple(uncertainties), rate))
    members = list(family.values())
    return Convergence((str(members[0]), str(members[-1])), limit, sizes, counts, lost, tuple(curves))


def _shown(error: float, uncertainty: float) -> str:
    return f"{error:.2g}" + (f" ± {uncertainty:.1g}" if uncertainty else "")


def rate_cells(rate: Rate) -> tuple[str, str]:
    """Return a rate as two cells of a table: the exponent, and chi^2 by its degrees of freedom, marked where poor."""
    check_kind("a rate", rate, Rate, "give what deeplim.rates.fit_rate returns")
    per = "" if rate.chi_square is None else f"{rate.chi_square:.1f}/{rate.degrees}" + (" (poor)" if rate.poor else "")
    return str(rate), per
