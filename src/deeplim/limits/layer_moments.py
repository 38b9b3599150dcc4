"""One layer's moments given a pair of inputs: the mean covariance, and how one neuron's products scatter about it.

A row of the layer is (phi(z), phi(z')) of a Gaussian pair. It is written as the first value p and the difference
q = (phi(z') - phi(z)) / r, r the size of z' - z, so that nothing is lost when the inputs nearly agree, and then
whitened: w = (w_1, w_2) with E w w^T = 1, w_1 along p. The covariance of width n is K^(1/2) W K^(1/2)^T with
W = (1/n) sum w w^T, whose mean is 1, whose covariance is ``second`` / n and whose third cumulants are ``third`` / n^2.
"""

from collections.abc import Callable
from functools import lru_cache
from itertools import combinations_with_replacement
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from deeplim.gaussian import angle_of_gap, nuhat, slope_kernel_strength

Function = Callable[[np.ndarray], np.ndarray]
PAIRS = tuple(combinations_with_replacement(range(3), 2))
TRIPLES = tuple(combinations_with_replacement(range(3), 3))
"""Where the second and third cumulants of (w_1^2, w_1 w_2, w_2^2) stand."""
_RADII, _SAME, _MIXED, _SLOPES = 16, 16, 12, 16
"""Nodes along the radius, on arcs where both values have one sign, where they differ, and on either for slopes."""
_CHUNK = 16
"""Pairs integrated at a time: what they need stays in a processor's cache."""
_CLOSEST = 1e-5
"""Relative size of z' - z below which a function is differenced at this size: rounding weighs 1e-16 over it."""


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
    phi: Function,
    gain: float,
    log_norm: Float[np.ndarray, " row"],
    size: Float[np.ndarray, " row"],
    direction: Float[np.ndarray, " row"],
) -> LayerMoments:
    """Return the moments of a layer of any continuous function at pairs (1, 0) and (1 + u, v) times exp(log_norm / 2).

    size, direction: the polar coordinates of (u, v), direction in [0, pi]. Quadrature in polar coordinates, the arcs
    split where either value changes sign, so that a kink at zero costs nothing; below a size of 1e-5 differences are
    taken at that size. For tanh the mean is right to 1e-6 at unit norms, 2e-4 at norms of 5 and 1e-2 at norms of 30.
    Values that are not finite come back as found; the caller counts them.
    """
    chunks = [slice(k, k + _CHUNK) for k in range(0, len(size), _CHUNK)]
    with np.errstate(all="ignore"):
        found = [_integrate(phi, gain, log_norm[part], size[part], direction[part]) for part in chunks]
    return LayerMoments(*(np.concatenate(columns) for columns in zip(*found, strict=True)))


def _integrate(
    phi: Function, gain: float, log_norm: np.ndarray, size: np.ndarray, direction: np.ndarray
) -> LayerMoments:
    one = np.exp(log_norm / 2)[:, None]
    used = np.maximum(size, _CLOSEST)
    lean, height = np.cos(direction), np.sin(direction)
    angle = np.arctan2(used * height, 1 + used * lean)[:, None]
    radius, radial_weight = _radial_rule()
    turn, share = _directions(angle)
    share = (radial_weight[:, None] * share[:, None, :]).reshape(len(size), -1)
    x = (radius[:, None] * np.cos(turn)[:, None, :]).reshape(len(size), -1)
    y = (radius[:, None] * np.sin(turn)[:, None, :]).reshape(len(size), -1)
    p = phi(one * x)
    q = (phi(one * (x + used[:, None] * (lean[:, None] * x + height[:, None] * y))) - p) / used[:, None]
    (first, cross, residual), second, third = _whitened(p, q, share, (1.0, 1.0, 1.0))
    return LayerMoments(np.log(gain * first) - log_norm, cross / first, np.sqrt(residual / first), second, third)


def _whitened(
    p: np.ndarray, q: np.ndarray, share: np.ndarray, radial: tuple[float, float, float]
) -> tuple[tuple[np.ndarray, ...], np.ndarray, np.ndarray]:
    """Raw means E p^2, E p q, E (q - projection on p)^2, and the cumulants of the whitened products.

    radial: what to multiply moments of degree two, four and six by.
    """
    first, cross = radial[0] * np.sum(share * p * p, axis=1), radial[0] * np.sum(share * p * q, axis=1)
    rest = q - (cross / first)[:, None] * p
    residual = radial[0] * np.sum(share * rest * rest, axis=1)
    one, two = p / np.sqrt(first)[:, None], rest / np.sqrt(residual)[:, None]
    # centred products would not do for slopes, whose radius is integrated already: moments first, then cumulants
    products = np.stack([one * one, one * two, two * two], axis=1)
    weighted = products * share[:, None, :]
    mean = np.array([1.0, 0.0, 1.0])
    squares = radial[1] * np.matmul(weighted, products.transpose(0, 2, 1))
    second = np.stack([squares[:, a, b] - mean[a] * mean[b] for a, b in PAIRS], axis=1)
    pairs = np.stack([products[:, a] * products[:, b] for a, b in PAIRS], axis=1)
    cubes = radial[2] * np.matmul(pairs, weighted.transpose(0, 2, 1))
    third = np.stack(
        [
            cubes[:, PAIRS.index((a, b)), c]
            - mean[a] * squares[:, b, c]
            - mean[b] * squares[:, a, c]
            - mean[c] * squares[:, a, b]
            + 2 * mean[a] * mean[b] * mean[c]
            for a, b, c in TRIPLES
        ],
        axis=1,
    )
    return (first, cross, residual), second, third


def _directions(angle: Float[np.ndarray, "row 1"]) -> tuple[np.ndarray, np.ndarray]:
    """Directions and their shares of the circle, on the four arcs where cos t and cos(t - angle) keep their signs."""
    node, weight = _legendre(_SAME)
    mixed_node, mixed_weight = _legendre(_MIXED)
    same = (np.pi - angle) * node + angle - np.pi / 2
    mixed = angle * mixed_node - np.pi / 2
    shares = (np.pi - angle) * weight, angle * mixed_weight
    return np.concatenate([same, same + np.pi, mixed, mixed + np.pi], axis=1), np.concatenate(
        [shares[0], shares[0], shares[1], shares[1]], axis=1
    ) / (2 * np.pi)


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
