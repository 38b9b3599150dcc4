"""Means over two correlated Gaussians of what a function makes of them, at any sizes and any angle between them.

The plane is cut where either Gaussian changes its sign, and every sector in its middle: an angle is then counted from
the nearest line where one of the two vanishes. So nothing is lost however small the angle between them is, nor where a
function turns within a tiny part of a deviation.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from deeplim.errors import LimitError
from deeplim.panels import RADIUS, Integral, Panels, features, octave_of, panel_rule, refine

Function = Callable[[np.ndarray], np.ndarray]
Product = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Values of f at the two Gaussians -> what to average, or several such along a new first axis."""
Array = Float[np.ndarray, "..."]

_RADII = np.array([0, 1 / 2, 1.25, 2.5, 4, 6, 8.5, RADIUS])
_INNERMOST = 1e-9
"""Radius within which nothing is resolved."""
_SMALLEST = 1e-6
"""Angle in radians, by unit of the scale on which f turns, below which a mean is extrapolated: rounding in f(a) - f(b)
weighs 1e-16 / angle."""
_SHARPEST = 1e-3
"""The smallest scale on which f is taken to turn, for that."""
_RATIO = 4.0
"""How fast panels of the angle widen."""
_FINEST = 1e-15
"""Part of a sector that is its first panel at least."""
_NUMBERS = 200_000
"""Values of f at a time, which fit in a processor's cache."""
MOST_VALUES = 20_000_000
"""Values of f that a mean may take: a second or so."""
_MOST_CORNERS = 4000
_FLOOR, _NOTHING = 1e-29, 1e-27
"""Rounding of a square of a difference of numbers of order one, and what is rounding of a mean of such squares."""
WORST = 1e-4
"""Relative error of a mean that is still handed back."""
_SIGNS = np.array([1.0, -1.0])


class _Side(NamedTuple):
    """What the panels of f are for one Gaussian: its kinks and jumps, edges on either side of 0, and the first edge."""

    deviation: float
    breaks: Float[np.ndarray, " break"]
    edges: tuple[Float[np.ndarray, " edge"], Float[np.ndarray, " edge"]]
    turn: float

    @classmethod
    def of(cls, function: Function, deviation: float) -> "_Side":
        breaks, edges = features(function, octave_of(deviation))
        sides = edges[edges > 0], -edges[edges < 0][::-1]
        return cls(deviation, breaks, sides, float(min(sides[0][0], sides[1][0])))

    def cuts(self, slope: Array) -> Array:
        """Radii from 1e-9 to 12 at which f(slope r) is at an edge of its panels; 0 where there are no more."""
        below, size = slope < 0, np.abs(slope)
        begin = [np.searchsorted(one, _INNERMOST * size) for one in self.edges]
        end = [np.searchsorted(one, RADIUS * size) for one in self.edges]
        start, stop = np.where(below, begin[1], begin[0]), np.where(below, end[1], end[0])
        most = int((stop - start).max(initial=0))
        index = start[:, None] + np.arange(most)
        length = max(len(one) for one in self.edges)
        table = np.stack([np.pad(one, (0, length - len(one))) for one in self.edges])
        at = table[below.astype(int)[:, None], np.minimum(index, length - 1)]
        return np.where(index < stop[:, None], np.minimum(at / size[:, None], RADIUS), 0.0)


class Plane:
    """Means over a plane of two Gaussians of what a function makes of them.

    In polar coordinates the Gaussians are r sd_a A(t) and r sd_b B(t). Along each ray the panels of f itself, for a and
    for b, are the panels of the rule, so f is resolved whatever its scale; across rays panels widen from where f first
    turns, are halved where needed, and begin at the rays through the points (kink, kink).
    """

    def __init__(self, function: Function) -> None:
        self.function = function

    def square_difference(self, deviations: tuple[float, float], gap: float, of: Product) -> Integral:
        """Return the mean of ``of`` (f(a), f(b)), a square that vanishes at gap 0 if the deviations are equal.

        Below the angle at which rounding in f(a) - f(b) would count, what the angle adds is extrapolated by the power
        of the angle that three angles show beside its square: kinks give another 1, cusps 0 (a logarithm), jumps -1.
        """
        turn = _Side.of(self.function, max(deviations)).turn
        least = _SMALLEST * min(max(turn, _SHARPEST), 1.0) / max(1.0, *deviations)
        angle, alike = angles_of(gap)[0], deviations[0] == deviations[1]
        floor = 0.0 if alike else _FLOOR
        if angle >= least:
            return self.mean(of, deviations, angles_of(gap), floor=floor)
        none = 0.0 if alike else float(self.mean(of, deviations, (0.0, np.pi), floor=floor).value[0])
        none = none if none > _NOTHING else 0.0
        three = [self.mean(of, deviations, (k * least, np.pi - k * least), floor=floor) for k in (1, 2, 4)]
        near, middle, far = ((float(one.value[0]) - none) / k**2 for one, k in zip(three, (1, 2, 4), strict=True))
        first, second, share = middle - near, far - middle, angle / least
        found = near
        if abs(first) > 1e-8 * abs(near) and first * second > 0:
            power = float(np.clip(np.log2(second / first), -1.0, 2.0))
            power = round(power) if abs(power - round(power)) < 0.05 else power
            grown = np.log(share) / np.log(2) if power == 0 else (share**power - 1) / (2**power - 1)
            found = near + first * grown
        error = share**2 * three[0].error if none == 0 else three[0].error
        return Integral(np.array([none + share**2 * max(found, 0.0)]), error)

    def mean(
        self,
        of: Product,
        deviations: tuple[float, float],
        angles: tuple[float, float],
        *,
        floor: float = 0.0,
        tolerance: float = 1e-11,
    ) -> Integral:
        """Return E of(f(a), f(b)) at an angle between a and b, given with pi less it.

        Within the tolerance times the mean, or the floor.
        """
        theta, psi = angles
        sides = _Side.of(self.function, deviations[0]), _Side.of(self.function, deviations[1])
        panels, taken = _panels(sides, theta, psi), 0

        def values(panels: Panels) -> np.ndarray:
            nonlocal taken
            node, _ = panel_rule()
            t = panels.left[:, None] + (panels.right - panels.left)[:, None] * node
            slopes = _slopes(panels.label[:, None], t, theta, psi)
            found, count = self._along(of, sides, slopes[0].ravel(), slopes[1].ravel())
            taken += count
            return found.reshape(len(found), *t.shape)

        whole = values(panels)
        most = int(len(panels.left) * max(1.0, MOST_VALUES / max(taken, 1)))
        # f(a) - f(b) is rounded to 1e-16 of f, and is as small as the angle where f is not saturated
        tolerance += 1e-15 / max(min(1.0, theta * max(1.0, *deviations)), 1e-8)

        def again(some: Panels) -> np.ndarray:
            return whole if some is panels else values(some)

        found = refine(again, panels, tolerance=tolerance, floor=2 * np.pi * floor, most=most)
        return Integral(found.value / (2 * np.pi), found.error / (2 * np.pi))

    def _along(self, of: Product, sides: tuple[_Side, _Side], *turns: Array) -> tuple[Array, int]:
        """The integrals of of(f(a), f(b)) r exp(-r^2 / 2) over r > 0 on rays of these A and B; values of f taken."""
        found, taken = [], 0
        chunk = max(1, _NUMBERS // (12 * (len(_RADII) + 2 * 24)))
        for k in range(0, len(turns[0]), chunk):
            a, b = (side.deviation * turn[k : k + chunk] for side, turn in zip(sides, turns, strict=True))
            one, count = self._rays(of, (a, b), [sides[0].cuts(a), sides[1].cuts(b)])
            found.append(one)
            taken += count
        return np.concatenate(found, axis=1), taken

    def _rays(self, of: Product, slopes: tuple[Array, Array], cuts: list[Array]) -> tuple[Array, int]:
        node, weight = panel_rule()
        rays = len(slopes[0])
        with np.errstate(all="ignore"):
            r = np.sort(np.concatenate([*cuts, np.broadcast_to(_RADII, (rays, len(_RADII)))], axis=1), axis=1)
            ray, panel = np.nonzero(np.diff(r) > 1e-14)
            left, width = r[ray, panel], r[ray, panel + 1] - r[ray, panel]
            r = left[:, None] + width[:, None] * node
            values = of(*(self.function(slope[ray, None] * r) for slope in slopes)).reshape(-1, *r.shape)
            sums = np.einsum("kij,j->ki", values * (r * np.exp(-r * r / 2)), weight) * width
        return np.stack([np.bincount(ray, one, minlength=rays) for one in sums]), 2 * r.size


def _panels(sides: tuple[_Side, _Side], theta: float, psi: float) -> Panels:
    """The first panels of each of the eight half sectors, four with their mirror images."""
    turns = [side.turn / (RADIUS * max(side.deviation, 1e-300)) for side in sides]
    corners = _corners(sides, theta)
    parts = []
    for label, length in enumerate((psi / 2, psi / 2, theta / 2, theta / 2)):
        if length == 0:
            continue
        own = turns[label in (0, 3)]
        other = max(theta if label < 2 else psi, turns[label not in (0, 3)])
        begin = max(min(own, other, length), _FINEST * min(theta, length), 1e-305)
        steps = begin * _RATIO ** np.arange(np.floor(np.log(length / begin) / np.log(_RATIO)) + 1)
        for sign in range(2):
            inner = np.concatenate([steps, corners.get(label + 4 * sign, np.zeros(0))])
            edges = np.unique(np.concatenate([[0.0, length], inner[(inner > 0) & (inner < length * (1 - 1e-9))]]))
            parts.append((edges[:-1], edges[1:], np.full(len(edges) - 1, label + 4 * sign)))
    return Panels(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _corners(sides: tuple[_Side, _Side], theta: float) -> dict[int, np.ndarray]:
    """The rays at which a and b are both at kinks, by half sector."""
    count = len(sides[0].breaks) * len(sides[1].breaks)
    if not 0 < count <= _MOST_CORNERS or min(side.deviation for side in sides) == 0:
        return {}
    x, y = (one.ravel() for one in np.meshgrid(*(side.breaks / side.deviation for side in sides)))
    alike, first = x * y > 0, np.abs(x) >= np.abs(y)
    # sin t / sin(theta + t) or, with different signs, sin t / sin(theta - t), is the ratio of the smaller to the larger
    with np.errstate(all="ignore"):
        ratio = np.where(first, np.abs(y / x), np.abs(x / y))
        lean = np.where(alike, (1 - ratio) + 2 * ratio * np.sin(theta / 2) ** 2, 1 + ratio * np.cos(theta))
        turn = np.arctan2(ratio * np.sin(theta), lean)
    label = np.where(alike, np.where(first, 0, 1), np.where(first, 3, 2)) + 4 * (x < 0)
    return {int(one): turn[label == one] for one in np.unique(label)}


def angles_of(gap: float) -> tuple[float, float]:
    """Return the angle between two Gaussians of correlation 1 - gap, and pi less it, both precise."""
    near, far = np.sqrt(gap), np.sqrt(2.0 - gap)
    return float(2 * np.arctan2(near, far)), float(2 * np.arctan2(far, near))


def _slopes(label: np.ndarray, t: Array, theta: float, psi: float) -> tuple[Array, Array]:
    """A and B at an angle t from where the smaller of them vanishes.

    label modulo 4: 0 and 1 between the lines where one of them is 0, on the side where their signs agree, counted from
    B = 0 and from A = 0; 2 and 3 on the side where they differ, counted from A = 0 and from B = 0. From 4 on: opposite.
    """
    near, kind, sign = np.sin(t), label % 4, _SIGNS[label // 4]
    # sin(theta + t) = sin(psi - t)
    acute = theta < psi
    wide = np.where(kind < 2, np.sin(theta + t if acute else psi - t), np.sin(theta - t if acute else psi + t))
    first = np.where((kind == 1) | (kind == 2), near, wide)
    second = np.where(kind == 1, wide, np.where(kind == 0, near, np.where(kind == 2, -wide, -near)))
    return sign * first, sign * second


def check_error(found: Integral, what: str, size: Array | float | None = None) -> Integral:
    """Return an integral; LimitError where its error is above 1e-4 of it (or of the size)."""
    worst = found.worst(size)
    if not worst <= WORST:
        raise LimitError(
            f"{what} is resolved to {min(worst, 1.0):.0e} at best and {WORST:.0e} is needed: it turns too often on the "
            "scale of these inputs, or is not computed in double precision; give smaller inputs or a smoother "
            "function, or draw exact networks."
        )
    return found
