"""Signals of any framework: activations of m inputs become log norms and log gaps, and layer by layer ``Paths``."""

from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float, Int

from deeplim.checks import check_memory
from deeplim.errors import InputError
from deeplim.modules import Modules
from deeplim.paths import Paths, every

BLOCK = 1 << 16
"""Numbers that are made doubles at a time: few enough to stay in a core's cache."""
LEAST = 256
"""Features at least in a block, for products of matrices to be fast."""
_EXTREME = 400
"""Powers of two beyond which a double's square, summed over features, could over- or underflow."""
Products = Callable[[np.ndarray], np.ndarray]
"""From rows, in single or double precision, to their products in double precision; only those below the diagonal and on
it are read."""
_NEAR = 2.0**-16
"""Gaps below this are found from differences; above it, 1 - rho loses five of sixteen digits at most."""
_RESOLVED = 2.0**-16
"""The part of its largest term that a squared distance may be before it, too, is found from differences of its own."""
_ROUNDING = 4 * np.finfo(float).eps
FLOOR = 16.0
"""A layer's own rounding moves a gap by about this many squared rounding units (see ``rounding_floor``)."""


def norms_and_gaps(
    x: Float[np.ndarray, "input feature"], products: Products | None = None
) -> tuple[Float[np.ndarray, " input"], Float[np.ndarray, " pair"]]:
    """Return log(|x^a|^2 / n) of every input and log(1 - rho^{ab}) of every pair, in double precision.

    x: one input a row, in single or double precision. Pairs in the order (0,1), (0,2), ..., (1,2), ... A log norm is
    minus infinity where an input is all zero and plus infinity where it has an infinity or a NaN; there the gaps
    are NaN. Near inputs, 1 - rho < 1e-5, are told apart by their differences, so that a gap keeps eleven digits however
    small it is (less, when the norms differ, what an error of 1e-16 in the angle takes); a log gap is minus infinity
    where one input is the other times a factor, to the rounding of that product. Norms neither overflow nor underflow.
    """
    exponent = _exponents(x)
    gram = (products or products_of_rows)(_scaled(x, exponent))
    own = gram.diagonal()
    with np.errstate(divide="ignore", invalid="ignore"):
        log_norm = np.log(own / x.shape[1]) + 2 * np.log(2.0) * exponent
    log_norm[~np.isfinite(own)] = np.inf
    first, second, flat = _pairs(len(x))
    if not np.isfinite(log_norm).all():
        return log_norm, np.full(len(first), np.nan)
    scale = 1 / np.sqrt(own)
    gap = gram.ravel().take(flat)
    gap *= scale.take(first)
    gap *= scale.take(second)
    np.subtract(1.0, gap, out=gap)
    if len(gap) and gap.min() < _NEAR:
        _refine(x, exponent, gap)
    with np.errstate(divide="ignore"):
        return log_norm, np.log(np.minimum(gap, 2.0, out=gap), out=gap)


@lru_cache(maxsize=4)
def _pairs(inputs: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The first and second input of every pair, and where below the diagonal it stands in a matrix."""
    first, second = np.triu_indices(inputs, 1)
    return first, second, second * inputs + first


def products_of_rows(x: Float[np.ndarray, "input feature"]) -> Float[np.ndarray, "input input"]:
    """Return <x^a, x^b> in double precision: of single precision numbers every product is then exact."""
    step = max(BLOCK // len(x), LEAST)
    gram = np.zeros((len(x), len(x)))
    with np.errstate(invalid="ignore", over="ignore"):
        for begin in range(0, x.shape[1], step):
            block = x[:, begin : begin + step].astype(float)
            gram += block @ block.T
    return gram


def _exponents(x: Float[np.ndarray, "input feature"]) -> Int[np.ndarray, " input"]:
    """The powers of two to take out of rows so that no product over- or underflows: none in single precision."""
    if x.dtype != np.float64:
        return np.zeros(len(x), dtype=int)
    with np.errstate(invalid="ignore"):
        largest = np.maximum(x.max(axis=1), -x.min(axis=1))
    exponent = np.frexp(np.where(np.isfinite(largest), largest, 0.0))[1]
    return np.where(np.abs(exponent) > _EXTREME, exponent, 0)


def _scaled(x: np.ndarray, exponent: np.ndarray) -> Float[np.ndarray, "input feature"]:
    return np.ldexp(x, -exponent[:, None]) if exponent.any() else x


def _refine(x: np.ndarray, exponent: np.ndarray, gaps: Float[np.ndarray, " pair"]) -> None:
    """Find the gaps of near pairs again, from differences to one input of them at a time, until none is left.

    Over the reference r, x^a is proportional to r + w^a with w^a across r, and the plane of two such has the squared
    area |r|^2 |w^a - w^b|^2 + |w^a|^2 |w^b|^2 - <w^a, w^b>^2. Only |w^a - w^b|^2 cancels, where two inputs are much
    nearer to each other than to r: these pairs wait for a reference among themselves.
    """
    pairs = np.triu_indices(len(x), 1)
    gap = np.zeros((len(x), len(x)))
    near = np.zeros(gap.shape, dtype=bool)
    near[pairs] = gaps < _NEAR
    near |= near.T
    while near.any():
        reference = int(near.sum(axis=1).argmax())
        chosen = np.concatenate([[reference], np.flatnonzero(near[reference])])
        found, resolved = _gaps_across(*_products_across(x, exponent, chosen))
        within = np.ix_(chosen, chosen)
        better = resolved & near[within]
        gap[within] = np.where(better, found, gap[within])
        near[within] &= ~better
    gaps[:] = np.where(gaps < _NEAR, gap[pairs], gaps)


def _products_across(
    x: np.ndarray, exponent: np.ndarray, chosen: Int[np.ndarray, " near"]
) -> tuple[Float[np.ndarray, "near near"], float]:
    """<w^a, w^b> of the chosen rows over the first of them, r, and |r|^2, in three passes over blocks of features."""

    def blocks() -> Iterator[np.ndarray]:
        step = max(BLOCK // len(chosen), LEAST)
        for begin in range(0, x.shape[1], step):
            yield _scaled(x[chosen, begin : begin + step].astype(float), exponent[chosen])

    dots = sum(rows @ rows[0] for rows in blocks())
    # A power of two brings neighbours on its two sides together, so that their difference is exact.
    factor = np.exp2(-np.rint(np.log2(dots / dots[0])))[:, None]
    more = sum((rows * factor - rows[0]) @ rows[0] for rows in blocks())[:, None] / dots[0]
    products = np.zeros((len(chosen), len(chosen)))
    for rows in blocks():
        across = rows * factor
        across -= rows[0]
        across -= more * rows[0]
        across /= 1 + more
        products += across @ across.T
    for i in 1 + np.flatnonzero(products.diagonal()[1:] <= _ROUNDING**2 * dots[0]):
        first, row = (_scaled(x[k : k + 1].astype(float), exponent[k : k + 1])[0] for k in (chosen[0], chosen[i]))
        if _proportional(first, row):
            products[i] = products[:, i] = 0.0
    return products, float(dots[0])


def _proportional(first: np.ndarray, row: np.ndarray) -> bool:
    """Whether one row is the other times a factor, up to the rounding of that product, which is no signal."""
    factor = first @ row / (row @ row)
    if abs(factor - 1) < 16 * _ROUNDING:  # a factor of one: no product was rounded
        return bool(np.array_equal(first, row))
    return bool((np.abs(first - factor * row) <= _ROUNDING * np.abs(first)).all())


def _gaps_across(
    products: Float[np.ndarray, "input input"], square: float
) -> tuple[Float[np.ndarray, "input input"], Bool[np.ndarray, "input input"]]:
    """1 - cos of the angles between r + w^a from the products of w^a, and which of them lost no digits."""
    own = products.diagonal()
    largest = np.maximum(own, own[:, None])
    distance = np.maximum(own + own[:, None] - 2 * products, 0.0)
    area = square * distance + np.maximum(own * own[:, None] - products**2, 0.0)
    sine_square = np.minimum(area / ((square + own) * (square + own[:, None])), 1.0)
    resolved = (distance > _RESOLVED * largest) | (largest == 0)
    resolved[0], resolved[:, 0] = True, True
    return sine_square / (1 + np.sqrt(1 - sine_square)), resolved


def rounding_floor(square: float) -> float:
    """Return the log of the gap that rounding makes: FLOOR times the sum of squared rounding units of the layers."""
    return float(np.log(FLOOR * square)) if square > 0 else -np.inf


class Signals:
    """Norms and gaps collected layer by layer and network by network; ``paths`` makes ``Paths`` of them.

    ``add`` every layer of a network in execution order, then ``finish`` it; all must have the same layers. A layer is
    (sample, input, feature): one sample a network, or several, such as its sequences.
    """

    def __init__(self, repeats: int, *, products: Products = products_of_rows) -> None:
        self._repeats = repeats
        self._products = products
        self._names: list[str] = []
        self._current: list[tuple[str, np.ndarray, np.ndarray, float, int, np.ndarray]] = []
        self._runs: dict[str, int] = {}
        self._shape: tuple[int, int] = (0, 0)
        self._finished = 0
        self._norms = np.empty((0, 0, 0))
        self._gaps = np.empty((0, 0, 0))
        self._floors = np.empty(0)
        self._features = np.empty(0, dtype=int)
        self._units = np.empty((2, 0, 0))

    @property
    def empty(self) -> bool:
        """Whether the network in hand has no layer yet."""
        return not self._current

    def add(self, name: str, x: Float[np.ndarray, "sample input feature"], *, rounding: float = -np.inf) -> None:
        """Take in the next layer; its second run is called name#2. rounding: its ``rounding_floor``."""
        if self._current and x.shape[:2] != self._shape:
            raise InputError(f"layer {name} has {x.shape[:2]} samples and inputs where others have {self._shape}.")
        self._shape = x.shape[0], x.shape[1]
        self._runs[name] = self._runs.get(name, 0) + 1
        told = name if self._runs[name] == 1 else f"{name}#{self._runs[name]}"
        each = [(*norms_and_gaps(sample, self._products), _of_units(sample)) for sample in x]
        norms, gaps, units = (np.stack(part) for part in zip(*each, strict=True))
        self._current.append((told, norms, gaps, rounding, x.shape[2], units.T))

    def finish(self) -> None:
        """End a network; InputError when it has other layers than the first, or when paths would not fit in memory."""
        names = [layer[0] for layer in self._current]
        samples, inputs = self._shape
        if self._finished == 0:
            check_memory(self._repeats * samples, len(names), inputs)
            self._names = names
            pairs = inputs * (inputs - 1) // 2
            self._norms = np.empty((self._repeats * samples, len(names), inputs))
            self._gaps = np.empty((self._repeats * samples, len(names), pairs))
            self._floors = np.array([layer[3] for layer in self._current])
            self._features = np.array([layer[4] for layer in self._current])
            self._units = np.empty((2, self._repeats * samples, len(names)))
        elif names != self._names:
            raise InputError(_other_layers(self._names, names, self._finished))
        part = slice(self._finished * samples, (self._finished + 1) * samples)
        for at, (_, norms, gaps, *_, units) in enumerate(self._current):
            self._norms[part, at], self._gaps[part, at], self._units[:, part, at] = norms, gaps, units
        self._finished += 1
        self._current, self._runs = [], {}

    def paths(self, source: str, names: tuple[str, ...]) -> Paths:
        """Return the paths of the finished networks, on the clock "layer", in execution order.

        A layer at which an input is all zero, or not finite, is lost to that sample; the layers after it need not be.
        """
        alive = every(np.isfinite(self._norms))
        self._gaps[~alive] = np.nan
        return Paths(
            log_norm=self._norms,
            log_gap=self._gaps,
            alive=alive,
            time=np.arange(len(self._names), dtype=float),
            clock="layer",
            names=names,
            source=source,
            modules=Modules(
                layer_names=tuple(self._names),
                log_gap_floor=self._floors if np.isfinite(self._floors).any() else None,
                features=self._features,
                silent=self._units[0],
                absolute=self._units[1],
            ),
        )


def _of_units(x: Float[np.ndarray, "input feature"]) -> tuple[float, float]:
    """Return the share of features that are zero for every input, and the mean absolute value.

    Absolute values are summed in the precision they have, block by block, unless that overflows.
    """
    from scipy.linalg.blas import dasum, sasum

    silent = np.flatnonzero(x[0] == 0)
    for row in x[1:]:
        silent = silent[row[silent] == 0]
    flat, add = x.ravel(), sasum if x.dtype == np.float32 else dasum
    with np.errstate(over="ignore", invalid="ignore"):
        total = sum(float(add(flat[begin : begin + BLOCK])) for begin in range(0, len(flat), BLOCK))
        if not np.isfinite(total):
            total = float(np.abs(x).sum(dtype=float))
    return len(silent) / x.shape[1], total / x.size


def _other_layers(first: list[str], names: list[str], index: int) -> str:
    here = next((i for i, (a, b) in enumerate(zip(first, names, strict=False)) if a != b), min(len(first), len(names)))
    ran, expected = (some[here] if here < len(some) else "nothing more" for some in (names, first))
    return (
        f"network {index} ran {ran} where network 0 ran {expected}; every network must run the same modules, so choose "
        "those that always run with modules=."
    )
