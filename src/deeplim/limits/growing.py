"""Does one layer's drift converge as the network grows, and to what? Found from its kernel map at growing sizes.

A layer of infinite width maps V to K_n(V), where n is the size that grows: the width, or the depth. In log norms and
gaps n (K_n - V) is a vector at any state. Here it is followed over n = 4^4, ..., 4^11: it grows like n^delta, and where
delta is 0 its limit is a weighted sum of its values at a few n, which cancels the leading powers of n^-omega.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from deeplim.activations import Shaped, ShapedReLU
from deeplim.architecture import MLP, Network, ResNet
from deeplim.errors import LimitError, SpecError
from deeplim.limits.kernels import Pairs, layer_map

SIZES = 4 ** np.arange(4, 12)
POWERS = (0.5, 1.0, 1 / 3, 0.25)
"""Steps omega of the powers of 1/n that may follow the limit: shaping at the exponent 1/2 gives 1/2 or 1."""
_ROUNDING = 1e-14
"""Relative rounding of a kernel map, which n (K_n - V) has n times over."""
_SEEN = 1e4
"""How many times their rounding values must be for their growth to be read."""
_FINE = 1e-8
_LARGEST_SIZE = 10_000_000

Values = Float[np.ndarray, "size point"]
Grown = Literal["width", "depth"]


@dataclass(frozen=True)
class Weights:
    """A rule that reads a limit off values at growing sizes: their sum with these weights.

    error: that of the limit it gave, relative to max(1, |limit|), as estimated from the rules that leave the smallest
    or the largest size out, and from rounding.
    """

    sizes: tuple[int, ...]
    weights: tuple[float, ...]
    error: float

    def of(self, value: Callable[[int], np.ndarray]) -> np.ndarray:
        """Return the limit of a function of the size."""
        return np.asarray(sum(w * value(n) for n, w in zip(self.sizes, self.weights, strict=True)))


def grown(network: Network) -> Grown:
    """Return the size whose growth makes the limit: the depth for a branch a/depth^alpha, else the shaping's rate."""
    if isinstance(network, ResNet) and network.branch_factor is not None and network.branch_exponent > 0:
        return "depth"
    activation = network.activation
    return activation.rate if isinstance(activation, Shaped | ShapedReLU) else "width"


def at_size(network: Network, size: int) -> Network:
    """Return the critical network grown to this size, at the same depth/width (the depth at most 10^7)."""
    network = network.model_copy(update={"weight_variance": None})
    if grown(network) == "width":
        depth = round(size * network.aspect)
        return network.model_copy(update={"width": size, "depth": int(np.clip(depth, 1, _LARGEST_SIZE))})
    width = round(size / network.aspect)
    return network.model_copy(update={"depth": size, "width": int(np.clip(width, 2, _LARGEST_SIZE))})


def held(network: Network) -> bool:
    """Whether norms are put to one in every layer."""
    return network.normalization != "none" and (isinstance(network, MLP) or network.placement == "after-sum")


def grows_alike(network: Network) -> bool:
    """Whether all norms are multiplied by one number in a layer, whatever they are."""
    return network.homogeneous and network.normalization == "none"


def depends_on_gap_alone(network: Network) -> bool:
    """Whether the gap of a pair changes alike whatever its norms are."""
    return held(network) or grows_alike(network)


def states(
    root: Float[np.ndarray, " input"], gap: Float[np.ndarray, " gap"]
) -> tuple[Float[np.ndarray, " input"], Float[np.ndarray, " pair"], Pairs]:
    """Return the log norms of these roots, and all gaps for any two of them, or one twice: (log norms, gaps, pairs)."""
    first, second = np.triu_indices(len(root))
    return 2 * np.log(root), np.tile(gap, len(first)), (np.repeat(first, len(gap)), np.repeat(second, len(gap)))


def scaled_change(
    network: Network, size: int, *, log_norm: np.ndarray, gap: np.ndarray, pairs: Pairs
) -> Float[np.ndarray, " coordinate"]:
    """Return n times what one layer changes at size n: relative, of each norm; absolute, of each gap.

    Where all norms grow alike, or are held, what they do is left out and stands at 0.
    """
    log_new, gap_new = layer_map(at_size(network, size), log_norm, gap, pairs)
    growth = 0.0 * log_norm if depends_on_gap_alone(network) else np.expm1(log_new - log_norm)
    return size * np.concatenate([growth, gap_new - gap])


def at_sizes(value: Callable[[int], np.ndarray]) -> tuple[tuple[int, ...], Values]:
    """Return the sizes at which the network exists, and the values there."""
    sizes, values = [], []
    for size in SIZES:
        try:
            values.append(value(int(size)))
            sizes.append(int(size))
        except SpecError:  # a norm-preserving skip needs a branch below one, which a large a reaches at a large depth
            continue
    if len(sizes) < 4:
        raise LimitError(f"no limit can be sought: the network exists at {len(sizes)} of the sizes {SIZES[0]} to 4^11.")
    return tuple(sizes), np.array(values)


def growth_exponent(sizes: tuple[int, ...], values: Values) -> tuple[float, float]:
    """Return delta, with which the values grow like n^delta, and its error; minus infinity when they are rounding.

    The slope of log size by log n at the last four sizes whose values are no rounding, with the power n^-1/2 and then
    n^-1 cancelled; the error is what the last cancellation changed.
    """
    n = np.array(sizes, dtype=float)
    size = np.abs(values).max(axis=1)
    seen = size > _SEEN * _ROUNDING * n
    count = len(n) if seen.all() else int(np.argmin(seen))
    if count < 3:
        return -np.inf, 0.0
    slope = np.diff(np.log(size[:count])) / np.diff(np.log(n[:count]))
    between = np.sqrt(n[1:count] * n[: count - 1])
    rules = [_cancelling(between[-k:], 0.5) @ slope[-k:] for k in range(1, min(len(slope), 3) + 1)]
    return float(rules[-1]), float(abs(rules[-1] - rules[-2]))


def limit_of(sizes: tuple[int, ...], values: Values) -> tuple[np.ndarray, Weights]:
    """Return the limit of values at growing sizes, as if they had one, and the rule that gives it best.

    The rules cancel one to four powers of n^-omega at as many sizes and one. The best has the smallest error; of those
    that are about as good, or good to 1e-8, it is the one with fewest sizes.
    """
    tried = list(_rules(np.array(sizes, dtype=float), values))
    enough = max(_FINE, 2 * min(rule.error for _, rule in tried))
    return min((one for one in tried if one[1].error <= enough), key=lambda one: (len(one[1].sizes), one[1].error))


def _rules(n: Float[np.ndarray, " size"], values: Values) -> Iterator[tuple[np.ndarray, Weights]]:
    for power in POWERS:
        for count in range(2, min(6, len(n) + 1)):
            for first in range(len(n) - count + 1):
                part = slice(first, first + count)
                weights = _cancelling(n[part], power)
                limit = weights @ values[part]
                scale = np.maximum(1.0, np.abs(limit))
                # Leaving out the smallest size tells what powers are left, leaving out the largest whether they are
                # powers of this step at all, and how noisy the values are.
                fewer = [_cancelling(n[some], power) @ values[some] for some in _one_less(part)]
                apart = np.max([np.abs(limit - other) for other in fewer], axis=0)
                noise = _ROUNDING * np.abs(weights) @ n[part]
                error = float(((apart + noise) / scale).max())
                yield limit, Weights(tuple(int(size) for size in n[part]), tuple(map(float, weights)), error)


def _one_less(part: slice) -> tuple[slice, slice]:
    return slice(part.start + 1, part.stop), slice(part.start, part.stop - 1)


def _cancelling(n: Float[np.ndarray, " size"], power: float) -> Float[np.ndarray, " size"]:
    """Weights that keep a constant and cancel n^-power, n^(-2 power), ...: Lagrange's at n^-power = 0."""
    h = (n / n[0]) ** -power
    return np.array([np.prod([other / (other - one) for other in np.delete(h, k)]) for k, one in enumerate(h)])


def scaling(network: Network) -> float:
    """Return the exponent with which a layer comes nearer to the identity as the network grows; 0 if it does not."""
    if isinstance(network, ResNet) and grown(network) == "depth" and network.branch_exponent > 0:
        return network.branch_exponent
    activation = network.activation
    return activation.exponent if isinstance(activation, Shaped | ShapedReLU) else 0.0


def power_of(network: Network, exponent: float) -> str:
    """Return the size that grows to this exponent in words, with the scaling at which there would be a limit."""
    words, given = f"{grown(network)}^{exponent:.2g}", scaling(network)
    if _scaled_twice(network):
        return f"{words}; scale the branch with the depth or shape the activation, not both."
    if given > 0:
        # The drift is of order size^(1 - k given), and k, an order of a power series, is a whole number.
        order = (1 - exponent) / given
        if abs(order - round(order)) < 0.1:
            return f"{words}; at the exponent {1 / round(order):.3g}, not {given:g}, it converges."
        return f"{words}; choose an exponent {'above' if exponent > 0 else 'below'} {given:g}."
    cure = "scale the branch by 1/sqrt(depth), or shape its activation with skip = 'norm-preserving'"
    if isinstance(network, MLP):
        cure = "shape the activation at the rate of the width"
        if grows_alike(network):
            cure += ", or see the limit 'unshaped' for its correlation"
    return f"{words}; {cure}."


def _scaled_twice(network: Network) -> bool:
    depth = isinstance(network, ResNet) and network.branch_factor is not None and network.branch_exponent > 0
    return depth and isinstance(network.activation, Shaped | ShapedReLU)
