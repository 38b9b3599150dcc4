"""From a layer's scatter to what is sampled: the logarithms that keep a covariance positive, to order 1/n^2.

W = (1/n) sum w w^T of a layer of width n is written as W^{00} = G, W^{01} = G Y, W^{11} = G Y^2 + H, positive definite
for every g = log G, Y and h = log(H / G). With X = W - 1 these are series in X, and the cumulants of X are second / n
and third / n^2: this module turns them into the means, covariances and third cumulants of (g, Y, h), exact to order
1/n^2 (the delta method), and into a quadratic map of three standard normals that has them. A path of order n layers
adds as many of each, so the covariance after order n layers is left with an error of order 1/n^2 in law.
"""

from collections.abc import Sequence
from functools import lru_cache, reduce

import numpy as np
from jaxtyping import Float

from deeplim.limits.layer_moments import PAIRS, TRIPLES

COEFFICIENTS = 19
"""Numbers of the quadratic map: 3 means, 6 of the lower triangle by rows, then 1, 3 and 6 of the quadratic terms."""
_DEGREE = 4
_SQUARES = tuple((i, j) for i in range(6) for j in range(i, 6))
_LARGEST_CORRECTION, _LARGEST_BENDING, _SMALLEST_PIVOT, _NOTHING = 0.5, 0.3, 0.25, 1e-12

Polynomial = dict[tuple[int, int, int], float]
# log(1 + x), y / (1 + x) and log(1 + z - y^2 / (1 + x)) - log(1 + x) at X = ((x, y), (y, z)), to degree four
_LOG: Polynomial = {(1, 0, 0): 1, (2, 0, 0): -1 / 2, (3, 0, 0): 1 / 3, (4, 0, 0): -1 / 4}
_RATIO: Polynomial = {(0, 1, 0): 1, (1, 1, 0): -1, (2, 1, 0): 1, (3, 1, 0): -1}
_REST: Polynomial = {
    (0, 0, 1): 1,
    (0, 0, 2): -1 / 2,
    (0, 0, 3): 1 / 3,
    (0, 0, 4): -1 / 4,
    (0, 2, 0): -1,
    (1, 2, 0): 1,
    (2, 2, 0): -1,
    (0, 2, 1): 1,
    (1, 2, 1): -1,
    (0, 2, 2): -1,
    (0, 4, 0): -1 / 2,
}
_LOGS: tuple[Polynomial, ...] = (
    _LOG,
    _RATIO,
    {key: _REST.get(key, 0) - _LOG.get(key, 0) for key in _REST.keys() | _LOG.keys()},
)


def log_cumulants(
    second: Float[np.ndarray, "row 6"], third: Float[np.ndarray, "row 10"], width: int
) -> tuple[Float[np.ndarray, "row 3"], Float[np.ndarray, "row 6"], Float[np.ndarray, "row 10"]]:
    """Return the means, covariances (in the order ``PAIRS``) and third cumulants (``TRIPLES``) of (g, Y, h).

    Where the correction of order 1/n^2 would be more than half of the leading variance, at small widths and for
    functions with heavy tails, it is damped to that half, smoothly; the leading order always stays.
    """
    leading, correcting = _expansion()
    quadratic = np.stack([second[:, i] * second[:, j] for i, j in _SQUARES], axis=1)
    # stacks of small products, so that no row depends on those beside it
    first_order = (second[:, None] @ leading.T)[:, 0] / width
    correction = (np.concatenate([third, quadratic], axis=1)[:, None] @ correcting.T)[:, 0] / width**2
    variances = [3 + PAIRS.index((i, i)) for i in range(3)]
    size = np.maximum(first_order[:, variances], 1e-300)
    allowed = _damping(correction[:, variances] / size / _LARGEST_CORRECTION)
    # each cumulant by those of its variables, so that one input's law does not depend on the other
    damping = [allowed[:, sorted(set(index))].prod(axis=1) for index in ((0,), (1,), (2,), *PAIRS, *TRIPLES)]
    found = first_order + correction * np.stack(damping, axis=1)
    return found[:, :3], found[:, 3:9], found[:, 9:]


def scatter_map(
    second: Float[np.ndarray, "row 6"], third: Float[np.ndarray, "row 10"], width: int
) -> Float[np.ndarray, "row 19"]:
    """Return the map from three standard normals z to (g, Y, h) that has their cumulants.

    (g, Y, h) = mean + L (u + q), u lower triangular in z and q quadratic: q_1 of z_1^2 - 1 alone, q_2 of z_1 and z_2,
    so that one input's norm does not depend on the other. The quadratic part is held to 0.3 of each variance.
    """
    mean, covariance, cumulant = log_cumulants(second, third, width)
    floor = (second[:, None] @ _expansion()[0][3:9].T)[:, 0] / width
    factor = _factor(_square(covariance), _SMALLEST_PIVOT * _square(floor))
    bending = _bending(factor, cumulant)
    spread = _spread(bending)
    excess = np.diagonal(spread, axis1=1, axis2=2) / _LARGEST_BENDING
    bending = bending * _damping(np.sqrt(excess))[:, :, None]
    linear = factor @ np.linalg.cholesky(np.eye(3) - _spread(bending))
    curved = factor @ bending
    rows, columns = np.tril_indices(3)
    return np.concatenate([mean, linear[:, rows, columns], curved[:, 0, :1], curved[:, 1, :3], curved[:, 2]], axis=1)


def _damping(size: np.ndarray) -> np.ndarray:
    """1 for small sizes and 1 / |size| for large ones, smoothly."""
    larger = np.maximum(np.abs(size), 1.0)
    return (larger**-4 + (size / larger) ** 4) ** -0.25 / larger


def _square(entries: np.ndarray) -> np.ndarray:
    """Symmetric matrices from their entries in the order ``PAIRS``."""
    matrix = np.empty((len(entries), 3, 3))
    for k, (i, j) in enumerate(PAIRS):
        matrix[:, i, j] = matrix[:, j, i] = entries[:, k]
    return matrix


def _factor(matrix: np.ndarray, floor: np.ndarray) -> np.ndarray:
    """Cholesky factors, each pivot at least that of ``floor``, which is positive semi-definite.

    A direction without variance, as that of the norm of a saturated layer, has a pivot and a column of zero.
    """
    factor, least = np.zeros_like(matrix), np.zeros_like(matrix)
    for into, of in ((least, floor), (factor, matrix)):
        nothing = _NOTHING * np.diagonal(of, axis1=1, axis2=2).max(axis=1)
        for j in range(3):
            pivot = of[:, j, j] - np.sum(into[:, j, :j] ** 2, axis=1)
            pivot = pivot if into is least else np.maximum(pivot, least[:, j, j] ** 2)
            seen = pivot > nothing
            into[:, j, j] = np.sqrt(np.where(seen, pivot, 0.0))
            for i in range(j + 1, 3):
                rest = of[:, i, j] - np.sum(into[:, i, :j] * into[:, j, :j], axis=1)
                into[:, i, j] = np.where(seen, rest / np.where(seen, into[:, j, j], 1.0), 0.0)
    return factor


def _inverse(factor: np.ndarray) -> np.ndarray:
    """The inverses of lower triangular factors on the directions that they have, and 0 on the others."""
    seen = np.diagonal(factor, axis1=1, axis2=2) > 0
    return np.asarray(np.linalg.inv(factor + np.eye(3) * ~seen[:, :, None]) * seen[:, :, None])


def _bending(factor: np.ndarray, cumulant: np.ndarray) -> np.ndarray:
    """Coefficients of (z1^2-1, z1 z2, z2^2-1, z1 z3, z2 z3, z3^2-1) in q, from third cumulants of L^-1 (g, Y, h)."""
    tensor = np.empty((len(cumulant), 3, 3, 3))
    for i in range(3):
        for j in range(3):
            for k in range(3):
                a, b, c = sorted((i, j, k))
                tensor[:, i, j, k] = cumulant[:, TRIPLES.index((a, b, c))]
    inverse = _inverse(factor)
    white = tensor
    for _ in range(3):  # each turn whitens the first axis and makes it the last
        white = (inverse @ white.reshape(-1, 3, 9)).reshape(-1, 3, 3, 3).transpose(0, 2, 3, 1)
    bending = np.zeros((len(cumulant), 3, 6))
    bending[:, 0, 0] = white[:, 0, 0, 0] / 6
    bending[:, 1, 0], bending[:, 1, 1] = white[:, 0, 0, 1] / 2, white[:, 0, 1, 1] / 2
    bending[:, 1, 2] = white[:, 1, 1, 1] / 6
    bending[:, 2, 0], bending[:, 2, 1] = white[:, 0, 0, 2] / 2, white[:, 0, 1, 2]
    bending[:, 2, 2], bending[:, 2, 3] = white[:, 1, 1, 2] / 2, white[:, 0, 2, 2] / 2
    bending[:, 2, 4], bending[:, 2, 5] = white[:, 1, 2, 2] / 2, white[:, 2, 2, 2] / 6
    return bending


def _spread(bending: np.ndarray) -> np.ndarray:
    """The covariance of q: Var(z^2 - 1) = 2 and Var(z_i z_j) = 1."""
    return (bending * np.array([2.0, 1, 2, 1, 1, 2])) @ bending.transpose(0, 2, 1)


@lru_cache(maxsize=1)
def _expansion() -> tuple[np.ndarray, np.ndarray]:
    """The 19 cumulants of (g, Y, h) as linear in ``second`` / n, and in (third, products of second) / n^2."""
    means = [_expected(f) for f in _LOGS]
    pairs = {(i, j): _expected(_product([_LOGS[i], _LOGS[j]])) for i, j in PAIRS}
    rows = list(means)
    rows += [pairs[i, j] - _joint(means[i], means[j]) for i, j in PAIRS]
    for i, j, k in TRIPLES:
        whole = _expected(_product([_LOGS[i], _LOGS[j], _LOGS[k]]))
        rows.append(
            whole - _joint(means[i], pairs[j, k]) - _joint(means[j], pairs[i, k]) - _joint(means[k], pairs[i, j])
        )
    table = np.array(rows)
    return table[:, :6], table[:, 6:]


def _product(factors: Sequence[Polynomial]) -> Polynomial:
    def times(left: Polynomial, right: Polynomial) -> Polynomial:
        found: Polynomial = {}
        for (a, b, c), x in left.items():
            for (d, e, f), y in right.items():
                if a + b + c + d + e + f <= _DEGREE:
                    key = (a + d, b + e, c + f)
                    found[key] = found.get(key, 0.0) + x * y
        return found

    return reduce(times, factors)


def _expected(polynomial: Polynomial) -> np.ndarray:
    """E of a polynomial in X: coefficients of the six second cumulants, the ten third, and the products of second."""
    found = np.zeros(6 + 10 + len(_SQUARES))
    for powers, coefficient in polynomial.items():
        letters = tuple(axis for axis, power in enumerate(powers) for _ in range(power))
        if len(letters) == 2:
            found[PAIRS.index(letters)] += coefficient
        elif len(letters) == 3:
            found[6 + TRIPLES.index(letters)] += coefficient
        elif len(letters) == 4:
            a, b, c, d = letters  # sorted already
            for one, two in (((a, b), (c, d)), ((a, c), (b, d)), ((a, d), (b, c))):
                i, j = sorted((PAIRS.index(one), PAIRS.index(two)))
                found[16 + _SQUARES.index((i, j))] += coefficient
    return found


def _joint(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The product of two expectations, to order 1/n^2."""
    found = np.zeros_like(left)
    for i in range(6):
        for j in range(6):
            found[16 + _SQUARES.index((min(i, j), max(i, j)))] += left[i] * right[j]
    return found
