"""The moments of the first layer, whose one pair of inputs may have any sizes, to seven digits."""

import numpy as np

from deeplim.limits.layer_moments import Function, LayerMoments, Seen, cumulants_of, layer_of, rows_of, sampled_rows
from deeplim.near_zero import from_zero
from deeplim.plane import Plane, check_error

_TOLERANCE, _NOTHING, _ACTIVE = 1e-7, 1e-22, 1e-3
_POWERS = ((0, 2), *((4 - j, j) for j in range(5)), *((6 - j, j) for j in range(7)))
"""Powers of the first output, and of what the second has beside it, whose means a layer's moments are."""


def first_moments(
    phi: Function, gain: float, log_norm: np.ndarray, seen: Seen, turn: float
) -> tuple[LayerMoments, float]:
    """Return the moments at one pair, and the share of neurons that tell the two inputs apart.

    Those are the neurons in which the difference is more than a thousandth of its root mean square: half of them for
    ReLU and near inputs, and for a step those in which the inputs have different signs. LimitError where the moments
    are not resolved to 1e-4.
    """
    p, q, share = sampled_rows(phi, log_norm, seen, turn)
    scales = [max(float(np.abs(one).max()), 1e-300) for one in (p, q)]
    active = float((share * (np.abs(q) > _ACTIVE * np.sqrt((share * (q / scales[1]) ** 2).sum()) * scales[1])).sum())
    one = float(np.exp(log_norm[0] / 2))
    size = float(np.hypot(seen.base + seen.unit * seen.lean, seen.unit * seen.height)[0])
    sizes, angle, plane = (one, one * size), float(seen.angle[0]), Plane(from_zero(phi)[1])
    angles = angle, np.pi - angle

    def rows(here: np.ndarray, there: np.ndarray) -> list[np.ndarray]:
        columns = rows_of(phi, here, there, float(seen.unit[0]), seen.base)
        return [column / scale for column, scale in zip(columns, scales, strict=True)]

    def products(here: np.ndarray, there: np.ndarray) -> np.ndarray:
        p, q = rows(here, there)
        return np.stack([p * p, p * q, q * q])

    covariance = plane.mean(products, sizes, angles, tolerance=_TOLERANCE)
    natural = np.sqrt(covariance.value[[0, 0, 2]] * covariance.value[[0, 2, 2]])
    first, cross, whole = check_error(covariance, "a layer's covariance", size=natural).value
    lean = cross / first

    def powers(here: np.ndarray, there: np.ndarray) -> np.ndarray:
        p, q = rows(here, there)
        rest = q - lean * p
        return np.stack([p**i * rest**j for i, j in _POWERS])

    scatter = plane.mean(powers, sizes, angles, tolerance=_TOLERANCE)
    natural = [first ** (i / 2) * scatter.value[0] ** (j / 2) for i, j in _POWERS]
    found = check_error(scatter, "a layer's scatter", size=np.maximum(np.abs(scatter.value), natural)).value
    residual = float(found[0]) if found[0] > _NOTHING * whole else 0.0
    sizes_of = [first ** (-i / 2) * (residual ** (-j / 2) if residual > 0 else float(j == 0)) for i, j in _POWERS]
    white = (found * sizes_of)[None, 1:]
    second, third = cumulants_of(white[:, :5], white[:, 5:], np.array([residual > 0]))
    means = np.array([first]), np.array([cross]), np.array([residual])
    return layer_of(gain, log_norm, means, [np.full(1, scale) for scale in scales], second, third), active
