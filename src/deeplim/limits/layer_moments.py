"""One layer's moments given a pair of inputs: the mean covariance, and how one neuron's products scatter about it.

A row of the layer is (phi(z), phi(z')) of a Gaussian pair. It is written as the first value p and the difference
q = (phi(z') - phi(z)) / r, r the size of z' - z, so that nothing is lost when the inputs nearly agree, and then
whitened: w = (w_1, w_2) with E w w^T = 1, w_1 along p. The covariance of width n is K^(1/2) W K^(1/2)^T with
W = (1/n) sum w w^T, whose mean is 1, whose covariance is ``second`` / n and whose third cumulants are ``third`` / n^2.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import combinations_with_replacement
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from deeplim.gaussian import LARGEST_LOG_NORM, angle_of_gap, nuhat, slope_kernel_strength
from deeplim.near_zero import from_zero

Function = Callable[[np.ndarray], np.ndarray]
Rows = Float[np.ndarray, " row"]
PAIRS = tuple(combinations_with_replacement(range(3), 2))
TRIPLES = tuple(combinations_with_replacement(range(3), 3))
"""Where the second and third cumulants of (w_1^2, w_1 w_2, w_2^2) stand."""
_RADII, _SAME, _MIXED, _SLOPES = 16, 16, 12, 16
"""Nodes along the radius, on arcs where both values have one sign, where they differ, and on either for slopes."""
_RESOLVED, _RATIO, _ORDER = 2.3, 4.0, 6
"""Deviation, by the scale on which f turns, up to which these rules are fine enough: 2e-4 for tanh. Beyond, arcs are
graded towards their ends by this ratio, with so many nodes a panel."""
_MOST_GRADES = 34
_FINE_RADII = np.array([0, 0.03, 0.12, 0.45, 1.2, 2.2, 3.5, 5, 7, 9.5])
_NODES = 15_000
"""Nodes integrated at a time: what they need stays in a processor's cache."""
_CLOSEST = 1e-5
_NOTHING = 1e-26
"""A residual that is this part of what it is left of is rounding."""


class LayerMoments(NamedTuple):
    """The moments of one layer at each of several pairs (rows).

    log_first: log K^{00} / V^{00}. along, across: K has the first input at (1, 0) and the second at (1 + u, v) in the
    plane of the two, and these are u and v over the size of the difference before, so that they stay of order one as it
    vanishes. second: the covariance matrix of (w_1^2, w_1 w_2, w_2^2), entries in the order ``PAIRS``. third: their
    third cumulants in the order ``TRIPLES``.
    """

    log_first: Float[np.ndarray, " row"]
    along: Float[np.ndarray, " row"]
    across: Float[np.ndarray, " row"]
    second: Float[np.ndarray, "row 6"]
    third: Float[np.ndarray, "row 10"]


def slope_moments(slopes: tuple[float, float], gap: Float[np.ndarray, " row"]) -> LayerMoments:
    """Return the moments of a layer with slopes (s_+, s_-) for unit inputs at these gaps 1 - rho, in (0, 2].

    In polar coordinates the radius goes into E R^2 = 2, E R^4 = 8, E R^6 = 48, and a trigonometric polynomial of degree
    up to six is left on the four arcs where both signs are constant: quadrature with 16 nodes is exact to rounding. The
    mean is the arc-cosine kernel of order one, the second moments those of order two and their mixed relatives
    (Cho & Saul 2009).
    """
    s_plus, s_minus = slopes
    angle = angle_of_gap(gap)[:, None]
    node, weight = _legendre(_SLOPES)
    same, mixed = (np.pi - angle) * node + angle - np.pi / 2, angle * node
    # on mixed arcs z = R sin x and z' = -R sin(angle - x), or the reverse; r = 2 R sin(angle / 2)
    near, far, size = np.sin(mixed), np.sin(angle - mixed), 2 * np.sin(angle / 2)
    p = [s_plus * np.cos(same), s_minus * np.cos(same), s_plus * near, -s_minus * near]
    q = [s_plus * np.sin(same - angle / 2), s_minus * np.sin(same - angle / 2)]
    q += [-(s_minus * far + s_plus * near) / size, (s_plus * far + s_minus * near) / size]
    parts = [(np.pi - angle) * weight] * 2 + [angle * weight] * 2
    share = np.concatenate(parts, axis=1) / (2 * np.pi)
    _, second, third = _whitened(np.concatenate(p, axis=1), np.concatenate(q, axis=1), share, (2.0, 8.0, 48.0))
    after = gap - slope_kernel_strength(s_plus, s_minus) * nuhat(gap)
    r = np.sqrt(2 * gap)
    across = np.sqrt(np.maximum(after * (2 - after), 0))
    return LayerMoments(np.zeros(len(gap)), -after / r, across / r, second, third)


def function_moments(
    phi: Function, gain: float, log_norm: Rows, size: Rows, direction: Rows, *, turn: float = 1.0
) -> LayerMoments:
    """Return the moments of a layer of any continuous function at pairs (1, 0) and (1 + u, v) times exp(log_norm / 2).

    size, direction: the polar coordinates of (u, v), direction in [0, pi]; differences below ``closest`` are taken at
    that size. Accuracy as for ``moments_of``.
    """
    unit = np.maximum(size, closest(log_norm, turn))
    return moments_of(phi, gain, log_norm, Seen(1.0, unit, np.cos(direction), np.sin(direction)), turn)


def closest(log_norm: Rows, turn: float) -> Rows:
    """Return the relative size of z' - z below which a function is differenced at this size: 1e-5 of what it turns on.

    Rounding weighs 1e-16 over it.
    """
    return _CLOSEST / np.maximum(deviations(log_norm) / turn, 1.0)


class Seen(NamedTuple):
    """How a second input is seen from the first, (1, 0): it stands at (base, 0) + unit (lean, height).

    base: 1 where their difference is what keeps its digits, 0 where the second input itself is.
    """

    base: float
    unit: Rows
    lean: Rows
    height: Rows

    def of(self, rows: np.ndarray | slice) -> "Seen":
        """Return some of the rows."""
        return Seen(self.base, self.unit[rows], self.lean[rows], self.height[rows])

    def place(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return what the second input is where the first is x and a direction orthogonal to it y."""
        return self.base * x + self.unit[:, None] * (self.lean[:, None] * x + self.height[:, None] * y)

    @property
    def angle(self) -> Rows:
        """The angle between the two."""
        return np.arctan2(self.unit * self.height, self.base + self.unit * self.lean)


def deviations(log_norm: Rows) -> Rows:
    """Return standard deviations, those that a function cannot be given as the nearest that it can."""
    return np.exp(np.clip(log_norm, -LARGEST_LOG_NORM, LARGEST_LOG_NORM) / 2)


def moments_of(
    phi: Function, gain: float, log_norm: Rows, seen: Seen, turn: float, *, most: int = _MOST_GRADES
) -> LayerMoments:
    """Return the moments of a layer of any continuous function at pairs of first inputs of these log norms.

    turn: the scale on which phi turns. Quadrature in polar coordinates, the arcs split where either value changes sign,
    so that a kink at zero costs nothing, and graded towards there, ``most`` times at most, where phi turns within a
    small part of a deviation. For tanh the mean is right to 1e-6 at unit norms and to 5e-3 at any. Values that are not
    finite come back as found; the caller counts them.
    """
    grade = np.minimum(grades(log_norm, turn), most)
    found = [np.empty((len(log_norm), *shape)) for shape in ((), (), (), (len(PAIRS),), (len(TRIPLES),))]
    for one in np.unique(grade):
        rows = np.flatnonzero(grade == one)
        for part in np.array_split(rows, np.clip(len(rows) * _count(int(one)) // _NODES, 1, len(rows))):
            with np.errstate(all="ignore"):
                moments = _integrate(phi, gain, log_norm[part], seen.of(part), int(one))
            for column, of in zip(found, moments, strict=True):
                column[part] = of
    return LayerMoments(*found)


def grades(log_norm: Rows, turn: float) -> np.ndarray:
    """Return how many times arcs are divided by 4 towards their ends, for a function that turns on this scale."""
    sharp = np.maximum(deviations(log_norm) / turn / _RESOLVED, 1.0)
    return np.minimum(np.ceil(np.log(sharp) / np.log(_RATIO)), _MOST_GRADES).astype(int)


def _integrate(phi: Function, gain: float, log_norm: Rows, seen: Seen, grade: int) -> LayerMoments:
    p, q, share = _sampled(phi, log_norm, seen, grade)
    scales = [np.abs(one).max(axis=1) for one in (p, q)]
    scales = [np.where(scale > 0, scale, 1.0) for scale in scales]
    means, second, third = _whitened(p / scales[0][:, None], q / scales[1][:, None], share, (1.0, 1.0, 1.0))
    return layer_of(gain, log_norm, means, scales, second, third)


def sampled_rows(phi: Function, log_norm: Rows, seen: Seen, turn: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return p and q of one pair at the nodes of the rule, and their shares."""
    with np.errstate(all="ignore"):
        return _sampled(phi, log_norm, seen, int(grades(log_norm, turn)[0]))


def _sampled(phi: Function, log_norm: Rows, seen: Seen, grade: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    radius, radial_weight = _radial_rule() if grade == 0 else _graded_radii()
    turned, share = _directions(seen.angle[:, None], grade)
    share = (radial_weight[:, None] * share[:, None, :]).reshape(len(log_norm), -1)
    x, y = ((radius[:, None] * of(turned)[:, None, :]).reshape(share.shape) for of in (np.cos, np.sin))
    one, added = deviations(log_norm)[:, None], from_zero(phi)[1]
    p, q = rows_of(phi, added(one * x), added(one * seen.place(x, y)), seen.unit[:, None], seen.base)
    return p, q, share


def rows_of(
    phi: Function, here: np.ndarray, there: np.ndarray, unit: np.ndarray | float, base: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return p = phi(z) and q = (phi(z') - phi(z)) / unit, or phi(z') / unit where base is 0.

    here, there: what phi adds to phi(0) at z and z'.
    """
    value = from_zero(phi)[0]
    return here + value, ((there - here) if base else (there + value)) / unit


def layer_of(
    gain: float,
    log_norm: Rows,
    means: tuple[np.ndarray, ...],
    scales: Sequence[np.ndarray],
    second: np.ndarray,
    third: np.ndarray,
) -> LayerMoments:
    """Return the moments from E p^2, E p q and the residual of q, those of p and q divided by scales."""
    first, cross, residual = means
    ratio = scales[1] / scales[0]
    log_first = np.log(gain * first) + 2 * np.log(scales[0]) - log_norm
    return LayerMoments(log_first, cross / first * ratio, np.sqrt(residual / first) * ratio, second, third)


def _whitened(
    p: np.ndarray, q: np.ndarray, share: np.ndarray, radial: tuple[float, float, float]
) -> tuple[tuple[np.ndarray, ...], np.ndarray, np.ndarray]:
    """Raw means E p^2, E p q, E (q - projection on p)^2, and the cumulants of the whitened products.

    radial: what to multiply moments of degree two, four and six by.
    """
    from deeplim.limits.moment_steps import moment_sums

    means, fourth, sixth = (np.empty((len(p), columns)) for columns in (3, 5, 7))
    moment_sums(p, q, share, _NOTHING, means, fourth, sixth)
    # with the radius of slopes, which is integrated already, a root mean square is sqrt(radial[0]) times as much
    scale = radial[0]
    first, cross, residual = (scale * column for column in means.T)
    second, third = cumulants_of(radial[1] / scale**2 * fourth, radial[2] / scale**3 * sixth, residual > 0)
    return (first, cross, residual), second, third


def cumulants_of(
    fourth: Float[np.ndarray, "row 5"], sixth: Float[np.ndarray, "row 7"], seen: np.ndarray
) -> tuple[Float[np.ndarray, "row 6"], Float[np.ndarray, "row 10"]]:
    """Return the second and third cumulants of (w_1^2, w_1 w_2, w_2^2) from the moments E w_1^(k - j) w_2^j, k = 4, 6.

    seen: whether there is a w_2, whose mean square is one then.
    """
    mean = [np.ones(len(fourth)), np.zeros(len(fourth)), seen.astype(float)]
    second = [fourth[:, a + b] - mean[a] * mean[b] for a, b in PAIRS]
    third = [
        sixth[:, a + b + c]
        - mean[a] * fourth[:, b + c]
        - mean[b] * fourth[:, a + c]
        - mean[c] * fourth[:, a + b]
        + 2 * mean[a] * mean[b] * mean[c]
        for a, b, c in TRIPLES
    ]
    return np.stack(second, axis=1), np.stack(third, axis=1)


def _directions(angle: Float[np.ndarray, "row 1"], grade: int) -> tuple[np.ndarray, np.ndarray]:
    """Directions and their shares of the circle, on the four arcs where cos t and cos(t - angle) keep their signs."""
    rules = [_legendre(_SAME), _legendre(_MIXED)] if grade == 0 else [_graded(grade)] * 2
    (node, weight), (mixed_node, mixed_weight) = rules
    same = (np.pi - angle) * node + angle - np.pi / 2
    mixed = angle * mixed_node - np.pi / 2
    shares = (np.pi - angle) * weight, angle * mixed_weight
    return np.concatenate([same, same + np.pi, mixed, mixed + np.pi], axis=1), np.concatenate(
        [shares[0], shares[0], shares[1], shares[1]], axis=1
    ) / (2 * np.pi)


def _count(grade: int) -> int:
    """Nodes a pair takes."""
    if grade == 0:
        return _RADII * 2 * (_SAME + _MIXED)
    return len(_graded_radii()[0]) * 4 * len(_graded(grade)[0])


@lru_cache(maxsize=_MOST_GRADES)
def _graded(grade: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights on [0, 1], on panels that shrink by a ratio towards both ends, so many times."""
    half = np.append(0.0, _RATIO ** -np.arange(grade, -1.0, -1.0)) / 2
    return _composite(np.append(half, 1 - half[-2::-1]))


@lru_cache(maxsize=1)
def _graded_radii() -> tuple[np.ndarray, np.ndarray]:
    r, weight = _composite(_FINE_RADII)
    return r, weight * r * np.exp(-r * r / 2)


def _composite(edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    node, weight = _legendre(_ORDER)
    width = np.diff(edges)[:, None]
    return (edges[:-1, None] + width * node).ravel(), (width * weight).ravel()


@lru_cache(maxsize=8)
def _legendre(order: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre nodes and weights on [0, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(order)
    return (1 + nodes) / 2, weights / 2


@lru_cache(maxsize=1)
def _radial_rule() -> tuple[np.ndarray, np.ndarray]:
    """The Gauss rule for r exp(-r^2 / 2) on r > 0: exact for polynomials in r, odd ones too (a kink makes them).

    By the Lanczos process on a fine discretisation, whose Jacobi matrix has the nodes as eigenvalues.
    """
    fine, weight = _legendre(200)
    r = 14 * fine
    weight = 14 * weight * r * np.exp(-r * r / 2)
    basis = [np.sqrt(weight / weight.sum())]
    diagonal, beside = [], []
    for _ in range(_RADII):
        step = r * basis[-1]
        diagonal.append(float(step @ basis[-1]))
        for _ in range(2):  # orthogonalised twice: once leaves rounding that grows
            for vector in basis:
                step = step - (step @ vector) * vector
        beside.append(float(np.linalg.norm(step)))
        basis.append(step / beside[-1])
    jacobi = np.diag(diagonal) + np.diag(beside[:-1], 1) + np.diag(beside[:-1], -1)
    nodes, vectors = np.linalg.eigh(jacobi)
    return nodes, weight.sum() * vectors[0] ** 2
