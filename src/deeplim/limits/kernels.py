"""Kernel maps: how one layer of infinite width changes the covariances of its inputs, normalization included.

Everything is in log norms (log V^{aa}, by input) and gaps (1 - rho^{ab}, by pair), so that nothing is lost as inputs
align. ``pairs`` are the two inputs of every gap, as two arrays of indices.
"""

from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from deeplim.architecture import MLP, Network, ResNet, check_network
from deeplim.checks import brief, check_kind, check_whole, within_floats
from deeplim.differences import correlate, in_coordinates, measure, scaled
from deeplim.errors import InputError, LimitError
from deeplim.gaussian import check_log_norm, kernel, nuhat, slope_kernel_strength
from deeplim.walk import branch

Pairs = tuple[Int[np.ndarray, " pair"], Int[np.ndarray, " pair"]]
Norms = Float[np.ndarray, " input"]
Gaps = Float[np.ndarray, " pair"]
SMALLEST_GAP = 1e-300
"""Smallest gap that a map returns, so that its logarithm is finite."""
_POINTS = 2**15
"""Rows, and as many mirrored ones, over which batchnorm is averaged; fewer for many inputs."""
_MOST_NUMBERS = 2**21
_LARGEST_ROWS = 600.0
"""Log of the largest mean square of which rows are drawn, and minus that of the smallest."""


def layer_map(network: Network, log_norm: Norms, gap: Gaps, pairs: Pairs, *, rows: int = 0) -> tuple[Norms, Gaps]:
    """Return log norms and gaps one layer further: K(V) for an MLP, skip^2 V + branch^2 K(V) for a ResNet.

    K(V) = c E phi(g) phi(g)^T + sigma_b^2, g ~ N(0, V), and with a normalization what ``kernel_map`` says; after the
    sum, rmsnorm and layernorm put the norms back to one. A ResNet with batchnorm before or after the sum has rows that
    are no Gaussians, and no such map.
    """
    log_new, gap_new = kernel_map(network, log_norm, gap, pairs, rows=rows)  # which checks them
    if isinstance(network, MLP):
        return log_new, gap_new
    kept, added = _log_square(network.skip_scale) + log_norm, _log_square(network.branch_scale) + log_new
    total, gap_new = sum_of((kept, gap), (added, gap_new), pairs)
    if network.normalization != "none" and network.placement == "after-sum":
        total = np.zeros_like(total)
    return total, gap_new


def sum_of(one: tuple[Norms, Gaps], other: tuple[Norms, Gaps], pairs: Pairs) -> tuple[Norms, Gaps]:
    """Return log norms and gaps of the sum of two independent parts.

    1 - rho = 1 - sum of sqrt(share_a share_b) rho over the parts, whose shares of V^{aa} add up to one; one minus the
    sum of square roots is half the squared distance of the roots, so nothing cancels.
    """
    total = np.logaddexp(one[0], other[0])
    roots = [np.exp((part - total) / 2) for part in (one[0], other[0])]
    apart = sum((root[pairs[0]] - root[pairs[1]]) ** 2 for root in roots) / 2
    both = [root[pairs[0]] * root[pairs[1]] for root in roots]
    return total, np.asarray(apart + both[0] * one[1] + both[1] * other[1])


def _biased(network: Network, log_norm: Norms, gap: Gaps, pairs: Pairs) -> tuple[Norms, Gaps]:
    """The same beside a bias, which is one for all inputs."""
    if network.bias_variance == 0:
        return log_norm, gap
    bias = np.full_like(log_norm, np.log(network.bias_variance)), np.zeros_like(gap)
    return sum_of((log_norm, gap), bias, pairs)


def kernel_map(network: Network, log_norm: Norms, gap: Gaps, pairs: Pairs, *, rows: int = 0) -> tuple[Norms, Gaps]:
    """Return log norms and gaps of the layer's second moments where they are handed on: in a ResNet, of its branch.

    rmsnorm before the activation makes K of the correlations; after it, or before the sum, the correlations of K. A
    bias adds sigma_b^2 to every entry, before the sum's normalization.
    layernorm is the same wherever the neurons have mean zero, which is everywhere but after the activation: there it
    gives the correlations of Cov(phi(g)), for slopes 1 - rho' = (1 - rho - kappa nuhat(rho)) / (1 - kappa).
    batchnorm has no closed form: E h h^T, h = sqrt(c) phi(N(g)) or N(phi(g)), is averaged over quasi-random rows, and
    ``rows`` numbers the sets of them: over many layers different sets keep errors from adding up. Layer by layer it
    takes m inputs to one correlation for all pairs, however near they were: -1/(m - 1) after an activation, or before a
    linear one; before ReLU, measured, 0.109, 0.265 and 0.300 for m = 3, 10 and 30 (1/pi as m grows). Only m inputs of
    fewer dimensions through a linear network never get there. (Joudaki, Daneshmand & Bach 2023.)
    """
    _check_state(network, log_norm, gap, pairs)
    kind, place = network.normalization, network.placement
    if kind == "batchnorm" and place in ("before-activation", "after-activation"):
        return _biased(network, *_average(network, log_norm, gap, pairs, rows), pairs)
    if kind != "none" and place == "before-activation":
        log_norm = np.zeros_like(log_norm)
    centred = kind == "layernorm" and place == "after-activation"
    log_new, gap_new = (centred_map if centred else activation_map)(network, log_norm, gap, pairs)
    if kind != "none" and place == "after-activation":
        log_new = np.full_like(log_new, np.log(network.gain))
    log_new, gap_new = _biased(network, log_new, gap_new, pairs)
    if kind != "none" and place == "before-sum":
        log_new = np.zeros_like(log_new)
    return log_new, gap_new


def activation_map(network: Network, log_norm: Norms, gap: Gaps, pairs: Pairs) -> tuple[Norms, Gaps]:
    """Return log norms and gaps of K(V), K^{ab} = c E phi(g^a) phi(g^b), whatever the network's normalization."""
    _check_state(network, log_norm, gap, pairs)
    if not network.homogeneous:
        return _quadrature(network, log_norm, gap, pairs, centred=False)
    kappa = slope_kernel_strength(*network.slopes)
    return log_norm + np.log(network.gain_ratio), gap - kappa * nuhat(gap)


def centred_map(network: Network, log_norm: Norms, gap: Gaps, pairs: Pairs) -> tuple[Norms, Gaps]:
    """Return log variances, and gaps of the correlations, of c Cov(phi(g^a), phi(g^b))."""
    _check_state(network, log_norm, gap, pairs)
    if network.homogeneous:
        # E phi(g) = (s_+ - s_-) / sqrt(2 pi), and c (E phi(g))^2 = kappa
        kappa = slope_kernel_strength(*network.slopes)
        return log_norm + np.log1p(-kappa) + np.log(network.gain_ratio), (gap - kappa * nuhat(gap)) / (1 - kappa)
    return _quadrature(network, log_norm, gap, pairs, centred=True)


def _quadrature(network: Network, log_norm: Norms, gap: Gaps, pairs: Pairs, *, centred: bool) -> tuple[Norms, Gaps]:
    check_log_norm(log_norm)
    log_square, found = kernel(network.function, np.exp(log_norm / 2), gap, pairs, centred=centred)
    return np.log(network.gain) + log_square, np.clip(found, SMALLEST_GAP, 2.0)


def _check_state(network: Network, log_norm: Norms, gap: Gaps, pairs: Pairs) -> None:
    """Raise InputError unless these are a network, and arrays of log norms, of gaps, and of the gaps' two inputs."""
    check_network(network)
    cure = "give a NumPy array of one axis, of {}"
    arrays = [("log_norm", log_norm, "float64"), ("gap", gap, "float64")]
    if not isinstance(pairs, tuple) or len(pairs) != 2:
        raise InputError(f"pairs={brief(pairs)} was given; give two arrays of the indices of inputs.")
    for what, array, kind in (*arrays, ("pairs", pairs[0], "int64"), ("pairs", pairs[1], "int64")):
        check_kind(what, array, np.ndarray, cure.format(kind))
        if array.dtype != kind or array.ndim != 1:
            raise InputError(f"{what} is of type {array.dtype} and shape {array.shape}; {cure.format(kind)}.")
    if not len(gap) == len(pairs[0]) == len(pairs[1]) or any(
        len(one) and not 0 <= one.min() <= one.max() < len(log_norm) for one in pairs
    ):
        raise InputError(f"pairs={brief(pairs)} was given; give the two inputs of each gap, by their indices.")


def _average(network: Network, log_norm: Norms, gap: Gaps, pairs: Pairs, number: int) -> tuple[Norms, Gaps]:
    """A layer with batchnorm, averaged over quasi-random rows.

    Errors of log norms and of gaps, measured: 3e-4 for three inputs, 4e-3 for ten, 1e-2 for fifty. With two inputs it
    is exact before the activation, as batchnorm leaves a sign. Two inputs very much closer to each other than to input
    0 lose digits of their gap.
    """
    m = len(log_norm)
    gaps = np.zeros((m, m))
    gaps[pairs] = gap
    scale_free = network.homogeneous or network.placement == "before-activation"
    begin = in_coordinates(roots_for_rows(log_norm, scale_free), gaps + gaps.T)
    rows, _ = branch(network, correlate(begin, _numbered_normals(m, number)))
    found = scaled(measure(rows)[0], network.gain)
    with np.errstate(divide="ignore"):
        return np.log(found.square_norms()[0]), np.maximum(np.exp(found.log_gaps()[0]), SMALLEST_GAP)


def roots_for_rows(log_norm: Norms, scale_free: bool) -> Norms:
    """Return the norms of inputs that rows are drawn of, in units of the largest where a layer is the same in any.

    LimitError where their squares or those of the layer's would leave the floats.
    """
    largest = float(log_norm.max())
    if scale_free:
        return np.exp((log_norm - largest) / 2)
    furthest = float(log_norm[np.abs(log_norm).argmax()])
    if not abs(furthest) <= _LARGEST_ROWS:
        raise LimitError(
            f"batchnorm is averaged over rows, and those of inputs of mean square e^{furthest:.0f} leave every float; "
            f"give inputs between e^-{_LARGEST_ROWS:.0f} and e^{_LARGEST_ROWS:.0f}."
        )
    return np.exp(log_norm / 2)


@lru_cache(maxsize=4)
def _numbered_normals(inputs: int, number: int) -> Float[np.ndarray, "1 input neuron"]:
    return mirrored_normals(inputs, np.random.default_rng(number))


def mirrored_normals(inputs: int, rng: np.random.Generator) -> Float[np.ndarray, "1 input neuron"]:
    """Return quasi-random standard normal rows and their mirror images: Sobol points, rotated, in random order.

    As many as 65,536, fewer for more than 32 inputs.
    """
    from scipy.special import ndtri

    inputs = check_whole("inputs", inputs, 1, 21_201)  # as many as there are directions of Sobol points
    check_kind("rng", rng, np.random.Generator, "give numpy.random.default_rng(seed)")
    points = (_sobol(inputs) + rng.random(inputs)) % 1
    points = rng.permutation(rng.permutation(points), axis=1)
    half = ndtri(np.clip(points, 1e-16, 1 - 1e-16)).T
    return np.concatenate([half, -half], axis=1)[None]


@lru_cache(maxsize=4)
def _sobol(inputs: int) -> Float[np.ndarray, "point input"]:
    from scipy.stats.qmc import Sobol

    return Sobol(inputs, scramble=False).random_base2(int(np.log2(min(_POINTS, max(_MOST_NUMBERS // inputs, 1024)))))


def has_gaussian_rows(network: Network) -> bool:
    """Whether the rows of every layer are Gaussian, so that its covariance says all: not with batchnorm about a sum."""
    check_network(network)
    summed = isinstance(network, ResNet) and network.placement in ("before-sum", "after-sum")
    return not (summed and network.normalization == "batchnorm")


def _log_square(scale: float) -> float:
    return 2 * float(np.log(abs(scale))) if scale else -np.inf


class FixedPoint(NamedTuple):
    """A correlation that a layer of infinite width maps to itself, and the slope d rho' / d rho there.

    stable: whether correlations beside it approach it; geometrically when the slope is below 1, algebraically at 1.
    """

    correlation: float
    slope: float
    stable: bool


@within_floats
def fixed_points(network: Network) -> list[FixedPoint]:
    """Return the fixed points of rho -> rho' between two inputs at unit norm, from rho = 1 down.

    ReLU has 1 alone, at slope 1; with layernorm after it 1 at slope 1 / (1 - 1/pi) = 1.467, and 0, stable at slope
    (1/2) / (1 - 1/pi) = 0.7335. Good to about 1e-6. LimitError where a layer is no map of the correlation (batchnorm;
    norms that a ResNet does not keep, unless the activation is given by slopes) and where every rho is a fixed point.
    """
    from scipy.optimize import brentq

    _check_correlation_map(network)
    nodes = 1 - np.cos((np.arange(256) + 0.5) * np.pi / 256)
    moved = _map_of_gaps(network, nodes) - nodes
    if np.abs(moved).max() < 1e-12:
        raise LimitError(f"every correlation is a fixed point of {network}; give it an activation that is not linear.")
    at_one = _slope_at_one(network)
    found = [FixedPoint(1.0, at_one, bool(moved[0] < 0) if abs(at_one - 1) < 1e-6 else at_one < 1)]
    for k in np.flatnonzero(np.sign(moved[:-1]) != np.sign(moved[1:])):
        gap = brentq(partial(_moved, network), nodes[k], nodes[k + 1], xtol=1e-14)
        found.append(FixedPoint(1 - gap, _slope(network, gap), bool(moved[k] > 0)))
    if abs(_moved(network, 2.0)) < 1e-9:
        # Opposite inputs stay opposite when phi is odd, and then the map is odd too.
        found.append(FixedPoint(-1.0, at_one, bool(moved[-1] > 0) if abs(at_one - 1) < 1e-6 else at_one < 1))
    return found


def norm_free(network: Network) -> bool:
    """Whether the correlation map is the same whatever the norms: slopes without biases, or an MLP that divides."""
    if check_network(network).normalization == "none":
        return network.homogeneous and network.bias_variance == 0
    return isinstance(network, MLP) and (network.homogeneous or network.placement == "before-activation")


def _check_correlation_map(network: Network) -> None:
    if check_network(network).normalization == "batchnorm":
        raise LimitError(
            "batchnorm maps the correlations of all inputs at once; follow them with the infinite-width limit."
        )
    if norm_free(network):
        return
    if not network.critical:
        raise LimitError(
            f"the correlation map of {network} changes with its norms, which its variances move; see "
            "deeplim.mean_field.fixed_point."
        )
    if isinstance(network, MLP) or network.homogeneous or network.normalization != "none":
        return
    grown = network.skip_scale**2 + network.branch_scale**2
    if abs(grown - 1) > 1e-9:
        raise LimitError(
            f"a block of {network} multiplies unit norms by {grown:g}, and its correlation map changes with them; give "
            "it a norm-preserving skip or a normalization."
        )


def _map_of_gaps(network: Network, gaps: Gaps) -> Gaps:
    """The correlation map at unit norm, for any number of pairs of the same two norms."""
    pairs = np.zeros(len(gaps), dtype=int), np.ones(len(gaps), dtype=int)
    return layer_map(network, np.zeros(2), gaps, pairs)[1]


def _moved(network: Network, gap: float) -> float:
    return float(_map_of_gaps(network, np.array([gap]))[0]) - gap


def _slope(network: Network, gap: float) -> float:
    """The derivative inside (0, 2), by central differences to fourth order."""
    h = 1e-2 * min(gap, 2 - gap)
    below_2, below, above, above_2 = _map_of_gaps(network, gap + h * np.array([-2.0, -1.0, 1.0, 2.0]))
    return float((8 * (above - below) - (above_2 - below_2)) / (12 * h))


def _slope_at_one(network: Network) -> float:
    """The derivative at rho = 1: gap' / gap as the gap vanishes, which grows without bound when phi jumps."""
    gaps = np.array([1e-5, 1e-9, 1e-24])
    far, near, at = _map_of_gaps(network, gaps) / gaps
    return np.inf if near > 2 * far else float(at)
