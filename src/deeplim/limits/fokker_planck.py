"""The law of a diffusion on the line with constant noise, without sampling: the Fokker-Planck equation.

The diffusion becomes a birth-death chain on a grid, whose error is a series in powers of the spacing. Four nested grids
remove the first three terms. The logarithm of the density is extrapolated rather than the density, which so stays
positive and precise in its tails, and what the last pass changes estimates the error: the grids are refined until that
is small enough. No time step to choose, no sampling error, some tens of milliseconds.
"""

from dataclasses import dataclass

import numpy as np

from deeplim.errors import InputError, LimitError
from deeplim.limits.birth_death import Drift, evolve, rates
from deeplim.limits.density import LINE, Density, Variable

_POINTS, _ROUGH_POINTS, _MOST_POINTS = 512, 64, 140_000
_ROUGH = 1e-6
"""From this tolerance of the L1 error on, a solution begins with a coarser grid."""
_PILOT_SPACING, _MOST_PILOTS = 0.04, 20_000
"""Of the grid that finds the ends, in standard deviations of the noise; coarser, it would run away by itself."""
_FEWEST_STEPS, _MOST_STEPS = 32, 2048
_FIRST_REACH, _GROWTH, _MOST_GROWTHS = 2.5, 1.5, 60
_BEYOND = 1e-22
"""Probability that may lie beyond an end of the grid."""
_LEAST_LOST = 1e-18
"""Less than this counts as not lost at all."""
_GONE = 1e11
"""An outward drift times the time at which whatever is there has as good as left for infinity."""
_STEP_TOLERANCE = 1e-11
_FARTHEST, _DOUBT = 1.0, 5.0
"""The most that extrapolation may change a density's logarithm, and by how much it is trusted less in strong drifts."""


@dataclass(frozen=True)
class _Problem:
    """dX = drift(X) dt + sqrt(2 half_noise) dB for a time, from a point or from a law."""

    drift: Drift
    half_noise: float
    time: float
    start: float | Density

    @property
    def ends(self) -> tuple[float, float]:
        """The least and greatest point of the start."""
        if isinstance(self.start, Density):
            return float(self.start.x[0]), float(self.start.x[-1])
        return self.start, self.start

    def hurried(self, spacing: float) -> bool:
        """Whether the start is in a drift that outweighs the noise from one point to the next."""
        middle = self.start.read_as(LINE).mean if isinstance(self.start, Density) else self.start
        return bool(spacing * np.abs(self.drift(np.array([middle])))[0] > self.half_noise / 2)

    @property
    def lost(self) -> np.ndarray:
        """What had left before the start, below and above."""
        if isinstance(self.start, Density):
            return np.array([self.start.lost_below, self.start.lost_above])
        return np.zeros(2)

    @property
    def width(self) -> float:
        """The standard deviation of a start that is a law: the grids must see it."""
        if isinstance(self.start, Density):
            return self.start.read_as(LINE).std
        return np.inf

    def masses(self, x: np.ndarray) -> np.ndarray:
        """The start as probabilities of the state below, of the points and of the state above."""
        if isinstance(self.start, Density):
            inner = self.start.at_points(x)
            inner *= (1 - self.start.lost) / inner.sum()
        else:
            inner = np.zeros(len(x))
            inner[np.argmin(np.abs(x - self.start))] = 1.0
        return np.concatenate([self.lost[:1], inner, self.lost[1:]])


@dataclass(frozen=True)
class _Grid:
    """``cells`` + 1 points from ``first`` spacings below the origin, which is one of them."""

    origin: float
    spacing: float
    first: int
    cells: int

    @property
    def x(self) -> np.ndarray:
        return self.origin + self.spacing * np.arange(-self.first, self.cells - self.first + 1)

    def finer(self, fold: int) -> "_Grid":
        """The grid with a ``fold`` of the points, those of this one among them."""
        return _Grid(self.origin, self.spacing / fold, self.first * fold, self.cells * fold)


def diffusion_density(
    drift: Drift,
    *,
    noise: float,
    time: float,
    start: float | Density,
    variable: Variable = LINE,
    tolerance: float = 1e-8,
) -> Density:
    """Return the law at a time of dX = drift(X) dt + sqrt(noise) dB, begun at a point or with a given law.

    ``drift`` is a smooth vectorised function. The grid is found from it. Where it drives X to infinity in finite time
    the end of the grid absorbs, and the mass lost there is the probability of an explosion by that time. ``tolerance``
    bounds the estimated L1 error, which the density carries as ``error``. Below 1e-6 the far tails keep their digits
    too; from there on a smooth law takes some ten milliseconds. InputError unless time and noise are above 0 and the
    start is finite; LimitError where the drift is not finite, or no grid of 140,000 points is fine enough.
    """
    point = start if not isinstance(start, Density) else 0.0
    if not (0 < time < np.inf and 0 < noise < np.inf and np.isfinite(point)):
        raise InputError(
            f"time {time}, noise {noise} and start {point} were given; give time and noise above 0 and a finite start."
        )
    problem = _Problem(drift, noise / 2, float(time), start if isinstance(start, Density) else float(start))
    try:
        with np.errstate(over="raise", divide="raise", invalid="raise"):
            return _found(problem, variable, tolerance)
    except (FloatingPointError, OverflowError):
        raise LimitError(
            f"with noise {noise:g} the law spreads, or is driven, beyond what floats hold by time {time:g}; give a "
            "time, a noise and parameters nearer 1."
        ) from None


def _found(problem: _Problem, variable: Variable, tolerance: float) -> Density:
    """The law on the coarsest grid that knows it to the tolerance."""
    grid = _reach(problem, _POINTS if tolerance < _ROUGH else _ROUGH_POINTS)
    steps = _enough_steps(problem, grid)
    levels = [_solve(problem, grid.finer(fold), steps) for fold in (1, 2, 4)]
    while True:
        levels.append(_solve(problem, grid.finer(8), steps))
        found = _extrapolated(problem, grid, levels[-4:], variable)
        if found.error <= tolerance:
            return found
        grid = grid.finer(2)
        if 8 * grid.cells > _MOST_POINTS:
            raise LimitError(
                f"the density at time {problem.time:g} is known to {found.error:.1g} on {_MOST_POINTS:,} points and "
                f"not to {tolerance:g}; allow a larger tolerance, or take the limit without noise."
            )


def _reach(problem: _Problem, points: int) -> _Grid:
    """A grid so wide that nothing gets to its ends, or that what does is on its way to infinity."""
    low, high = problem.ends
    deviation = np.sqrt(2 * problem.half_noise * problem.time)
    width, spacing = np.full(2, _FIRST_REACH * deviation), _PILOT_SPACING * deviation
    for _ in range(_MOST_GROWTHS):
        ends = (-_escape(problem, -low, width[0], -1.0), _escape(problem, high, width[1], 1.0))
        cells = max(int(min((ends[1] - ends[0]) / spacing + 1, _MOST_PILOTS)), _seen(problem, ends))
        grid = _grid_over(problem, *ends, cells)
        lost = _solve(problem, grid, _FEWEST_STEPS)[[0, -1]] - problem.lost
        grow = (lost > _BEYOND) & (np.array(ends) == [low - width[0], high + width[1]])
        if not grow.any():
            return _grid_over(problem, *ends, max(points, _seen(problem, ends)))
        width = np.where(grow, _GROWTH * width, width)
    raise LimitError(
        f"the law at time {problem.time:g} reaches beyond {ends[0]:.3g} or {ends[1]:.3g}; ask for an earlier time."
    )


def _seen(problem: _Problem, ends: tuple[float, float]) -> int:
    """How many cells between the ends see a start that is a law."""
    cells = int(np.ceil(2 * (ends[1] - ends[0]) / problem.width))
    if 8 * cells > _MOST_POINTS:
        raise LimitError(
            f"the start has a standard deviation of {problem.width:.2g}, too narrow for a grid from {ends[0]:.3g} to "
            f"{ends[1]:.3g}; begin at a point instead."
        )
    return cells


def _escape(problem: _Problem, edge: float, reach: float, sign: float) -> float:
    """The point ``reach`` beyond the edge in the direction ``sign``, times the sign.

    If the drift leads straight out from there, ever faster, it is the first point from which it does.
    """
    outward = edge + np.linspace(0.0, reach, 401)
    speed = sign * _finite_drift(problem, sign * outward) * problem.time
    if speed[-1] <= max(_GONE, speed[-2]):
        return edge + reach
    return float(outward[len(speed) - np.argmin((speed > _GONE)[::-1])]) if speed[0] <= _GONE else edge


def _finite_drift(problem: _Problem, x: np.ndarray) -> np.ndarray:
    drift = np.asarray(problem.drift(x), dtype=float)
    if not np.isfinite(drift).all():
        raise LimitError(
            f"the drift is not finite at {x[~np.isfinite(drift)][0]:.4g}, which the law reaches; give one that is."
        )
    return drift


def _grid_over(problem: _Problem, low: float, high: float, cells: int) -> _Grid:
    """A grid of about so many cells with the start, if that is a point, among its points."""
    spacing = (high - low) / cells
    origin = low if isinstance(problem.start, Density) else problem.start
    first = int(np.ceil((origin - low) / spacing - 1e-9))
    return _Grid(origin, spacing, first, first + int(np.ceil((high - origin) / spacing - 1e-9)))


def _solve(problem: _Problem, grid: _Grid, steps: int) -> np.ndarray:
    """The chain's masses on the grid at the final time, those beyond its ends first and last."""
    up, down = rates(grid.x, lambda x: _finite_drift(problem, x), problem.half_noise)
    mass = evolve(problem.masses(grid.x), up, down, time=problem.time, steps=steps)
    return mass / mass.sum()  # The chain keeps its sum; on the finest grids rounding alone takes 1e-9 from it.


def _enough_steps(problem: _Problem, grid: _Grid) -> int:
    """So many steps that twice as many change nothing."""
    steps = _FEWEST_STEPS
    before = _solve(problem, grid, steps)
    while steps < _MOST_STEPS:
        steps *= 2
        after = _solve(problem, grid, steps)
        if np.abs(after - before).sum() < _STEP_TOLERANCE:
            return steps // 2
        before = after
    raise LimitError(
        f"the drift is too strong for the noise: {_MOST_STEPS} steps do not follow it for a time {problem.time:g}; "
        "take the limit without noise, or an earlier time."
    )


def _extrapolated(problem: _Problem, grid: _Grid, levels: list[np.ndarray], variable: Variable) -> Density:
    """The law from the chain's masses on the grid and on those of half, a quarter and an eighth of its spacing.

    Each pass of (4 fine - coarse) / 3 takes away one power of a double root: h^2, and the h^2 log(h) that a drift
    without bound adds. The last, (16 fine - coarse) / 15, takes away h^4.
    """
    densities = np.array([level[1:-1][:: 2**k] * (2**k / grid.spacing) for k, level in enumerate(levels)])
    sound = densities.min(axis=0) > np.finfo(float).tiny
    logs = np.log(np.where(sound, densities, 1.0))
    passed = _without(_without(logs, 4), 4)
    last = _without(passed, 16)[0]
    # Out of a start in a strong drift h^2 log(h) turns into h^2 once the grid resolves it, so the passes must agree.
    other = _without(_without(logs, 4), 16)[-1] if problem.hurried(grid.spacing) else passed[-1]
    sound &= np.abs(last - logs[-1]) < _FARTHEST
    density, before = (
        np.where(sound, np.exp(np.where(sound, x, 0)), np.maximum(densities[-1], 0)) for x in (last, other)
    )
    ends = _without(_without(np.array([level[[0, -1]] for level in levels]), 4), 4)
    beyond = _without(ends, 16)[0]
    change = np.abs(beyond - ends[-1]).sum()
    beyond = np.where(beyond - problem.lost > _LEAST_LOST, beyond, problem.lost)
    total = density.sum() * grid.spacing + beyond.sum()
    # Where the drift outweighs the noise from one point to the next, less is taken away than the powers promise.
    doubt = np.where(grid.spacing * np.abs(problem.drift(grid.x)) > problem.half_noise / 2, _DOUBT, 1.0)
    error = (doubt * np.abs(density - before)).sum() * grid.spacing + change + abs(total - 1)
    density *= (1 - beyond.sum()) / (density.sum() * grid.spacing)
    return Density(grid.x, density, variable, float(beyond[0]), float(beyond[1]), float(error))


def _without(values: np.ndarray, fold: int) -> np.ndarray:
    """Take away, from values on grids each of half the spacing of the one before, what falls by ``fold``."""
    return values[1:] + (values[1:] - values[:-1]) / (fold - 1)
