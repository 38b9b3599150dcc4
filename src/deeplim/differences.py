"""Rows of a layer for a batch of networks, in difference coordinates: activation, normalization, norms and gaps.

Coordinate 0 of a row is z^0 and coordinate a is (z^a - z^0) / r_a, r_a the size of that difference, so that all are of
order one however close the inputs are, and no difference is formed by subtracting nearly equal numbers. An input whose
norm has parted from input 0's is a coordinate of its own instead, z^a / r_a (``own``), and keeps its digits however
small it is beside z^0. In NumPy, with the axes (network, input, neuron): whatever is done to a network does not depend
on those beside it.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from deeplim.architecture import Network
from deeplim.resolution import ANTIPODAL, APART, COLLAPSED, VANISHED

_LEAST = 1e-5
"""Differences below this part of input 0's scale are taken over that much and rescaled: a derivative to 1e-10."""
_COLUMNS = 16
"""Columns that are factorised together."""
_SMALLEST_SIZE = 1e-280

Array = Float[np.ndarray, "..."]


class Rows(NamedTuple):
    """The rows of a layer in difference coordinates, and log r_a (0 for input 0, minus infinity where parallel)."""

    values: Float[np.ndarray, "network input neuron"]
    log_size: Float[np.ndarray, "network input"]
    own: Bool[np.ndarray, "network input"] | None = None


class Covariance(NamedTuple):
    """The covariance of the coordinates, those of differences scaled to a diagonal of one, and log r_a."""

    matrix: Float[np.ndarray, "network input input"]
    log_size: Float[np.ndarray, "network input"]
    own: Bool[np.ndarray, "network input"] | None = None

    def square_norms(self) -> Float[np.ndarray, "network input"]:
        """Return V^{aa}; 0 where that is rounding."""
        r = np.exp(self.log_size)
        r[:, 0] = 0.0
        first = self.matrix[:, :1, 0]
        square = first + r * (2 * self.matrix[:, 0] + r)
        square = np.where(square > COLLAPSED * (first + r * r), square, 0.0)
        return square if self.own is None else np.where(self.own, r * r, square)

    def log_norms(self) -> Float[np.ndarray, "network input"]:
        """Return log V^{aa}, minus infinity where V^{aa} is 0."""
        with np.errstate(divide="ignore"):
            found = np.log(self.square_norms())
        return found if self.own is None else np.where(self.own, 2 * self.log_size, found)

    def log_gaps(self) -> Float[np.ndarray, "network pair"]:
        """Return log(1 - rho) of every pair: minus infinity where parallel, NaN where a norm is 0 or infinite.

        |z^a - z^b|^2 - (|z^a| - |z^b|)^2 = 2 |z^a| |z^b| (1 - rho), every term divided by the larger size squared.
        """
        norm, lean = np.exp(self.log_norms() / 2), self.matrix[:, 0]
        b, a = np.triu_indices(norm.shape[1], 1)
        log_size = self.log_size.copy()
        log_size[:, 0] = -np.inf
        largest = np.maximum(log_size[:, a], log_size[:, b])
        shift = np.where(np.isneginf(largest), 0.0, largest)
        r, k_a, k_b = np.exp(largest), np.exp(log_size[:, a] - shift), np.exp(log_size[:, b] - shift)
        norm_a, norm_b = norm[:, a], norm[:, b]
        with np.errstate(divide="ignore", invalid="ignore"):
            distance = k_a**2 + k_b**2 - 2 * k_a * k_b * self.matrix[:, a, b]
            radial = (2 * (k_a * lean[:, a] - k_b * lean[:, b]) + r * (k_a**2 - k_b**2)) / (norm_a + norm_b)
            rest = distance - radial**2
            parallel = rest <= COLLAPSED * np.where(b == 0, distance, k_a**2 + k_b**2)
            found = np.where(parallel, -np.inf, 2 * shift + np.log(rest / (2 * norm_a * norm_b)))
        if self.own is not None and self.own.any():
            found = self._log_gaps_apart(self.own, found, norm, a, b)
        lost = ~(norm > 0).all(axis=1) | ~np.isfinite(norm).all(axis=1)
        found[lost] = np.nan
        return np.minimum(found, ANTIPODAL)

    def _log_gaps_apart(
        self,
        own: Bool[np.ndarray, "network input"],
        as_differences: Float[np.ndarray, "network pair"],
        norm: Float[np.ndarray, "network input"],
        a: Int[np.ndarray, " pair"],
        b: Int[np.ndarray, " pair"],
    ) -> Float[np.ndarray, "network pair"]:
        """The same where an input of the pair is its own coordinate; where one of them is, 1 - rho is a difference."""
        size, lean, between = np.exp(self.log_size), self.matrix[:, 0], self.matrix[:, a, b]
        size[:, 0] = 0.0
        to_b, to_a = (np.where(c > 0, lean[:, c], 0.0) for c in (a, b))  # <x^c, z^0>
        with np.errstate(divide="ignore", invalid="ignore"):
            k = np.exp(-np.abs(self.log_size[:, a] - self.log_size[:, b]))
            across = 1 + k * k - 2 * k * between - (1 - k) ** 2
            both = np.where(across > COLLAPSED * (1 + k * k), across / (2 * k), 0.0)
            beside = np.where(b > 0, size[:, b] * between, 0.0)
            at_a, at_b = (to_b + beside) / norm[:, b], (to_a + size[:, a] * between) / norm[:, a]
            one = 1 - np.where(own[:, a], at_a, at_b)
            found = np.log(np.where(own[:, a] & own[:, b], both, np.where(one > COLLAPSED, one, 0.0)))
        return np.where(own[:, a] | own[:, b], found, as_differences)


def in_coordinates(
    norm: Float[np.ndarray, " input"], gap: Float[np.ndarray, "input input"], *, apart: bool = False
) -> Covariance:
    """Return inputs of these norms |x^a| and gaps 1 - rho in difference coordinates, as a batch of one.

    |x^a - x^b|^2 = (|x^a| - |x^b|)^2 + 2 |x^a| |x^b| (1 - rho): nearly equal numbers are never subtracted. apart:
    whether inputs whose norms are far from input 0's are coordinates of their own.
    """
    own = _have_parted((norm / norm[0]) ** 2) if apart else np.zeros(len(norm), dtype=bool)
    if own.any():
        return _in_own_coordinates(norm, gap, own)
    distance = (norm[:, None] - norm) ** 2 + 2 * norm[:, None] * norm * gap
    size = np.sqrt(distance[0])
    safe = np.where(size > 0, size, 1.0)
    matrix = (distance[:, :1] + distance[:1] - distance) / (2 * safe[:, None] * safe)
    lean = ((norm - norm[0]) * (norm + norm[0]) - distance[0]) / (2 * safe)
    matrix[0], matrix[:, 0] = lean, lean
    matrix[0, 0] = norm[0] ** 2
    with np.errstate(divide="ignore"):
        log_size = np.log(size)
    log_size[0] = 0.0
    return Covariance(matrix[None], log_size[None])


def parts_norms(network: Network) -> bool:
    """Return whether inputs' norms can part without bound: nothing divides them out or keeps them above a bias."""
    return network.normalization == "none" and not network.homogeneous and network.bias_variance == 0


def _have_parted(ratio: Float[np.ndarray, "*shape"]) -> Bool[np.ndarray, "*shape"]:
    """Whether square norms, over input 0's, are too far from it for a difference to hold them."""
    return (ratio < APART) | (APART * ratio > 1)


def _in_own_coordinates(
    norm: Float[np.ndarray, " input"], gap: Float[np.ndarray, "input input"], own: Bool[np.ndarray, " input"]
) -> Covariance:
    """The same with some inputs as they are: x^a / |x^a|, beside (x^b - x^0) / r_b."""
    as_differences = in_coordinates(np.where(own, norm[0], norm), gap)
    size = np.where(own, norm, np.exp(as_differences.log_size[0]))
    cosine, matrix = 1 - gap, as_differences.matrix[0].copy()
    for a in np.flatnonzero(own):
        matrix[a, 0] = matrix[0, a] = norm[0] * cosine[a, 0]
        for b in range(1, len(norm)):
            inner = cosine[a, b] if own[b] else (norm[b] * cosine[a, b] - norm[0] * cosine[a, 0]) / size[b]
            matrix[a, b] = matrix[b, a] = inner
        matrix[a, a] = 1.0
    log_size = np.log(size)
    log_size[0] = 0.0
    return Covariance(matrix[None], log_size[None], own[None])


def parted(covariance: Covariance, rows: Rows | None = None) -> tuple[Covariance, Rows | None]:
    """Return a layer with its coordinates changed where norms have parted from input 0's, or come back to it."""
    before = np.zeros(covariance.log_size.shape, dtype=bool) if covariance.own is None else covariance.own
    with np.errstate(all="ignore"):  # what is lost has no norm, and stays as it is
        own = _have_parted(np.exp(covariance.log_norms() - np.log(covariance.matrix[:, :1, 0])))
    moved = own != before
    own[:, 0] = False
    if not moved[:, 1:].any():
        return covariance, rows
    # x_a <- x_a - tilt_a z^0, and then its size divided out of it.
    size = np.exp(covariance.log_size)
    tilt = np.where(moved & (size > 0), (before * 1.0 - own) / np.maximum(size, _SMALLEST_SIZE), 0.0)
    tilt[:, 0] = 0.0
    matrix = covariance.matrix - tilt[:, :, None] * covariance.matrix[:, :1]
    matrix = matrix - tilt[:, None] * matrix[:, :, :1]
    factor = np.sqrt(np.maximum(matrix.diagonal(axis1=1, axis2=2), 0.0))
    factor[:, 0] = 1.0
    inverse = np.divide(1.0, factor, out=np.zeros_like(factor), where=factor > 0)
    with np.errstate(divide="ignore"):
        log_size = covariance.log_size + np.log(factor)
    changed = Covariance(matrix * inverse[:, :, None] * inverse[:, None, :], log_size, own)
    if rows is None:
        return changed, None
    values = (rows.values - tilt[:, :, None] * rows.values[:, :1]) * inverse[:, :, None]
    return changed, Rows(values, log_size, own)


def correlate(covariance: Covariance, normals: Float[np.ndarray, "network input neuron"]) -> Rows:
    """Return Gaussian rows of this covariance, made of independent standard normals."""
    return Rows(_factorise(covariance.matrix) @ normals, covariance.log_size, covariance.own)


def _factorise(matrix: Array) -> Array:
    """The lower triangular Cholesky factors of positive semi-definite matrices; null directions give 0.

    By blocks of columns, so that most of the work is matrix products.
    """
    left, factor = matrix.copy(), np.zeros_like(matrix)
    least = COLLAPSED * np.diagonal(matrix, axis1=1, axis2=2)
    for begin in range(0, matrix.shape[1], _COLUMNS):
        panel = left[:, begin:, begin : begin + _COLUMNS]
        for k in range(panel.shape[2]):
            pivot = panel[:, k, k]
            kept = pivot > least[:, begin + k]
            root = np.sqrt(np.where(kept, pivot, 1.0))
            column = np.where(kept[:, None], panel[:, k:, k] / root[:, None], 0.0)
            factor[:, begin + k :, begin + k] = column
            panel[:, k:, k:] -= column[:, :, None] * column[:, None, : panel.shape[2] - k]
        done = factor[:, begin + _COLUMNS :, begin : begin + _COLUMNS]
        left[:, begin + _COLUMNS :, begin + _COLUMNS :] -= done @ done.transpose(0, 2, 1)
    return factor


def measure(rows: Rows) -> tuple[Covariance, Rows]:
    """Return the mean over neurons of row row^T, and the rows, with the size of every difference taken out."""
    values = rows.values
    matrix = values @ values.transpose(0, 2, 1) / values.shape[2]
    factor = np.sqrt(matrix.diagonal(axis1=1, axis2=2))
    factor[:, 0] = 1.0
    inverse = np.divide(1.0, factor, out=np.zeros_like(factor), where=factor > 0)
    with np.errstate(divide="ignore"):
        log_size = rows.log_size + np.log(factor)
    return (
        Covariance(matrix * inverse[:, :, None] * inverse[:, None, :], log_size, rows.own),
        Rows(values * inverse[:, :, None], log_size, rows.own),
    )


def scaled(covariance: Covariance, factor: float) -> Covariance:
    """Return ``factor`` times a covariance."""
    root, matrix = np.sqrt(factor), covariance.matrix.copy()
    matrix[:, 0] *= root
    matrix[:, :, 0] *= root
    log_size = covariance.log_size + np.log(root)
    log_size[:, 0] = 0.0
    return Covariance(matrix, log_size, covariance.own)


def biased(covariance: Covariance, variance: float) -> Covariance:
    """Return a covariance with a bias of this variance added to every input: one and the same, so to z^0 alone."""
    if variance == 0:
        return covariance
    matrix = covariance.matrix.copy()
    matrix[:, 0, 0] += variance
    return Covariance(matrix, covariance.log_size, covariance.own)


def add(kept: Rows, skip: float, added: Rows, branch: float) -> Rows:
    """Return skip times some rows plus branch times others."""
    with np.errstate(divide="ignore"):
        sizes = [kept.log_size + np.log(abs(skip)), added.log_size + np.log(abs(branch))]
    largest = np.maximum(*sizes)
    largest[:, 0] = 0.0
    safe = np.where(np.isneginf(largest), 0.0, largest)
    first, second = (np.exp(size - safe)[:, :, None] for size in sizes)
    values = np.sign(skip) * first * kept.values + np.sign(branch) * second * added.values
    return Rows(values, largest, added.own)


def activate(network: Network, rows: Rows) -> Rows:
    """Return phi of the rows, in the same sizes."""
    z, x = rows.values[:, :1], rows.values[:, 1:]
    r = np.exp(rows.log_size[:, 1:, None])
    out = np.empty_like(rows.values)
    if network.homogeneous:
        s_plus, s_minus = network.slopes
        here = np.where(z < 0, s_minus, s_plus)
        there = np.where(z + r * x < 0, s_minus, s_plus)
        np.multiply(here, z, out=out[:, :1])
        # s' x + (s' - s) z / r, with s, s' the slopes at the two ends
        np.add(there * x, (there - here) * z / np.maximum(r, _SMALLEST_SIZE), out=out[:, 1:])
        return Rows(out, rows.log_size)
    phi = network.function
    least = _LEAST * np.sqrt(np.mean(z * z, axis=2, keepdims=True))
    used = np.maximum(r, np.maximum(least, _SMALLEST_SIZE))
    low = z - 0.5 * (used - r) * x
    out[:, :1] = phi(z.ravel()).reshape(z.shape)
    ends = [phi(end.ravel()).reshape(x.shape) for end in (low + used * x, low)]
    np.divide(ends[0] - ends[1], used, out=out[:, 1:])
    if rows.own is not None and rows.own.any():
        alone = rows.own[:, 1:, None]
        safe = np.maximum(r, _SMALLEST_SIZE)
        out[:, 1:] = np.where(alone, phi((safe * x).ravel()).reshape(x.shape) / safe, out[:, 1:])
    return Rows(out, rows.log_size, rows.own)


def normalize(kind: str, rows: Rows) -> tuple[Rows, Bool[np.ndarray, " network"]]:
    """Return N of the rows, and which networks are lost to 0 / 0, in some input that is zero in every neuron."""
    if kind == "none":
        return rows, np.zeros(len(rows.values), dtype=bool)
    if kind == "batchnorm":
        return _over_inputs(rows), np.zeros(len(rows.values), dtype=bool)
    return _over_neurons(rows, centred=kind == "layernorm")


def _over_neurons(rows: Rows, *, centred: bool) -> tuple[Rows, Bool[np.ndarray, " network"]]:
    """RMSNorm, and LayerNorm when centred.

    With sigma_a^2 = |z^a|^2 / n = sigma_0^2 + r_a q_a, q_a = (2 <z^0, x^a> + r_a |x^a|^2) / n, the difference of
    z^a / sigma_a and z^0 / sigma_0 is r_a (x^a - z^0 q_a / (sigma_0 (sigma_0 + sigma_a))) / sigma_a: nothing cancels.
    """
    values = rows.values
    before = np.mean(values[:, 0] ** 2, axis=1)
    if centred:
        values = values - values.mean(axis=2, keepdims=True)
    z, x = values[:, :1], values[:, 1:]
    r = np.exp(rows.log_size[:, 1:, None])
    first = np.mean(z * z, axis=2, keepdims=True)
    own = np.mean(x * x, axis=2, keepdims=True)
    change = 2 * np.mean(z * x, axis=2, keepdims=True) + r * own
    square = np.mean((z + r * x) ** 2, axis=2, keepdims=True)
    lost = _vanished(first[:, 0, 0], before) | _vanished(square, first + r * r * own).any(axis=(1, 2))
    safe = lost[:, None, None]
    sigma_0, sigma = np.sqrt(np.where(safe, 1.0, first)), np.sqrt(np.where(safe, 1.0, square))
    out = np.empty_like(values)
    np.divide(z, sigma_0, out=out[:, :1])
    across = x - z * (change / (sigma_0 * (sigma_0 + sigma)))
    # What is left of a difference along z^0, as where a single neuron is active, is rounding.
    left = np.mean(across * across, axis=2, keepdims=True)
    np.divide(across, np.where(left > COLLAPSED * own, sigma, np.inf), out=out[:, 1:])
    return Rows(out, rows.log_size), lost


def _vanished(square: Array, whole: Array) -> Bool[np.ndarray, "..."]:
    """Whether a square is rounding beside what it is part of; one that has overflowed is not."""
    return (square <= VANISHED * whole) & np.isfinite(whole)


def _over_inputs(rows: Rows) -> Rows:
    """BatchNorm: z^a less its mean over a depends on the differences alone, in units of the largest of them.

    A neuron that is the same for every input gives 0.
    """
    x = rows.values[:, 1:]
    largest = rows.log_size[:, 1:].max(axis=1, keepdims=True)
    log_ratio = rows.log_size - np.where(np.isneginf(largest), 0.0, largest)
    log_ratio[:, 0] = 0.0
    from_first = np.exp(log_ratio[:, 1:, None]) * x
    mean = from_first.sum(axis=1, keepdims=True) / (x.shape[1] + 1)
    square = (mean**2 + ((from_first - mean) ** 2).sum(axis=1, keepdims=True)) / (x.shape[1] + 1)
    inverse = np.divide(1.0, np.sqrt(square), out=np.zeros_like(square), where=square > 0)
    return Rows(np.concatenate([-mean, x], axis=1) * inverse, log_ratio)
