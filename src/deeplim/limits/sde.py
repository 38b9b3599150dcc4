"""What every covariance SDE is: a drift with its strengths, a noise strength, and the integrator they share."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import NamedTuple, final

import numpy as np
from jaxtyping import Float

from deeplim.checks import check_count, check_seed
from deeplim.errors import InputError, LimitError
from deeplim.inputs import Inputs, check_inputs, check_reference
from deeplim.limits.base import AbstractLimit
from deeplim.limits.stepping import LONGEST_JOINT_STEP, LONGEST_NOISE, LONGEST_STEP, Plan, in_batches, split_plan
from deeplim.parallel import stop_flag
from deeplim.paths import Paths

LARGEST_STRENGTH = 1e3
"""The strongest drift that is stepped; shaping that gives more is no shaping at that width."""
SMALLEST_GAP = 1e-300
"""1 - rho of inputs that agree: what a diffusion of gaps can start from."""
_LARGEST_NORM = 500.0
_LEAST_NOISE = 1 / 64
"""With less noise than this, steps are as long as they are with this much."""
_MOST_SUBSTEPS = 1e5
"""Substeps of the drift that a path may need at its start, by estimate: a millisecond or so."""


class Dynamics(NamedTuple):
    """The coefficients of dV = drift dt + noise^(1/2) Sigma(V)^(1/2) dB, t = layer/width.

    law: one of the drifts of ``deeplim.limits.drifts``, with strengths p and (of SMOOTH alone) q; normalised: whether
    norms are held at one; growth: what log V^{aa} gains a layer besides, the same in every network.
    """

    law: int
    p: float
    q: float = 0.0
    noise: float = 1.0
    normalised: bool = False
    growth: float = 0.0

    @property
    def smooth(self) -> tuple[float, float] | None:
        """p and q of the drift of smooth shaping; None for another."""
        from deeplim.limits.families import SMOOTH

        return (self.p, self.q) if self.law == SMOOTH else None

    @property
    def strength(self) -> float:
        """The largest rate of the drift."""
        return 3 * abs(self.p) + 2 * abs(self.q)


@dataclass(frozen=True)
class AbstractSDE(AbstractLimit):
    """A covariance SDE on the clock layer/width; a subclass says which networks it describes and its dynamics."""

    clock = "layer/width"
    deterministic = False

    @property
    @abstractmethod
    def dynamics(self) -> Dynamics:
        """The coefficients at this network."""

    @final
    def explosion_times(self, inputs: Inputs, *, samples: int = 10_000, seed: int = 0) -> Float[np.ndarray, " sample"]:
        """Return when, in layer/width, each path of ``sample`` with this seed explodes; infinity where it does not.

        The paths are those that ``sample`` gives when it records the depth alone. InputError for a bad count or seed.
        """
        check_inputs(inputs)
        samples, seed = check_count("samples", samples), check_seed(seed)
        return self._paths_of(inputs, np.array([self.network.aspect]), samples, seed)[2]

    @final
    def _sample(self, inputs: Inputs, time: Float[np.ndarray, " layer"], samples: int, seed: int) -> Paths:
        norms, gaps, explosions = self._paths_of(inputs, time, samples, seed)
        exploded = bool((explosions < np.inf).any())
        alive = np.asarray(np.isfinite(norms).all(axis=2)) if exploded else None
        return self._paths(norms, np.log(gaps, out=gaps), time, inputs, alive=alive)

    def _check_substeps(self, inputs: Inputs) -> None:
        """Refuse norms so large that following the drift of smooth shaping would never end."""
        from deeplim.limits.families import SMOOTH

        dynamics, largest = self.dynamics, float(inputs.log_norm.max())
        if dynamics.law != SMOOTH or largest <= 0:
            return
        if largest > _LARGEST_NORM:
            raise LimitError(f"an input has a mean square of e^{largest:.0f}; give inputs of norms near one.")
        beta = abs(3 * dynamics.p + 2 * dynamics.q)
        lasting = min(np.exp(largest) * self.network.aspect, largest / beta if beta > 0 else np.inf)
        if 5 * dynamics.strength * lasting > _MOST_SUBSTEPS:
            raise LimitError(
                f"an input has the mean square V = {np.exp(largest):.3g}, where the drift of {self.network} is too "
                "fast to be followed; give inputs of norms near one."
            )

    def _paths_of(
        self, inputs: Inputs, time: Float[np.ndarray, " layer"], samples: int, seed: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Norms (path, layer, input), gaps (path, layer, pair) and explosion times (path)."""
        try:
            check_reference(inputs)
        except InputError as error:  # other descriptions can be given them
            raise LimitError(str(error)) from None
        m, dynamics = inputs.count, self.dynamics
        self._check_substeps(inputs)
        plan = _plan(time, dynamics, LONGEST_STEP if m <= 2 else LONGEST_JOINT_STEP, exact_noise=m <= 2)
        norms = np.empty((samples, len(time), m))
        gaps = np.empty((samples, len(time), m * (m - 1) // 2))
        explosions = np.empty(samples)
        start = np.zeros(m) if dynamics.normalised else inputs.log_norm
        follow = _follow_pair if m <= 2 else _follow_several

        def fill(first: int, part: slice) -> None:
            follow(seed, first, start, inputs.gap, plan, dynamics, norms[part], gaps[part], explosions[part])

        in_batches(fill, samples)
        norms += dynamics.growth * self.network.width * time[:, None]
        if dynamics.normalised:
            norms[:, time == 0] = inputs.log_norm
        return norms, gaps, explosions


def _plan(time: Float[np.ndarray, " layer"], dynamics: Dynamics, longest: float, *, exact_noise: bool) -> Plan:
    """The steps, the longest given in units of unit noise; where nothing is split, as long as the noise can be."""
    if exact_noise and dynamics.strength == 0:
        longest = 2 * LONGEST_NOISE
    return split_plan(time, dynamics.strength, longest / max(dynamics.noise, _LEAST_NOISE))


def _follow_pair(
    seed: int, first: int, log_norm: np.ndarray, gap: np.ndarray, plan: Plan, dynamics: Dynamics, *into: np.ndarray
) -> None:
    from deeplim.limits.pairs import pair_paths

    between = max(float(gap[0, 1]), SMALLEST_GAP) if len(gap) == 2 else 1.0
    pair_paths(seed, first, log_norm, between, tuple(plan), tuple(dynamics)[:5], dynamics.smooth, *into, stop_flag())


def _follow_several(
    seed: int, first: int, log_norm: np.ndarray, gap: np.ndarray, plan: Plan, dynamics: Dynamics, *into: np.ndarray
) -> None:
    from deeplim.limits.integrators import covariance_paths

    apart = np.maximum(gap, SMALLEST_GAP)
    covariance_paths(
        seed, first, log_norm, apart, tuple(plan), tuple(dynamics)[:5], dynamics.smooth, *into, stop_flag()
    )


def sample_correlation(
    limit: AbstractSDE,
    correlation: float,
    *,
    time: Float[np.ndarray, " layer"],
    samples: int,
    seed: int = 0,
    longest_step: float = LONGEST_STEP,
) -> Float[np.ndarray, "sample layer"]:
    """Return paths of the gap 1 - rho of one pair alone, from its own SDE; time in layer/width.

    The covariance SDE gives the same law together with the norms; this one costs less. ``longest_step``, in units of
    unit noise, trades accuracy for speed: the error of means and standard deviations falls with its square. Path i of a
    seed is the same however many are asked for. LimitError for smooth shaping without normalization, whose correlation
    does not go without its norms; InputError for a correlation, count, seed or step out of range.
    """
    from deeplim.limits.families import SMOOTH
    from deeplim.limits.pairs import correlation_paths

    if not -1 <= correlation <= 1:
        raise InputError(f"the correlation {correlation} was given; give a number from -1 to 1.")
    if not 0 < longest_step <= 1:
        raise InputError(f"the longest step {longest_step} was given; give a number above 0 and up to 1.")
    samples, seed, dynamics = check_count("samples", samples), check_seed(seed), limit.dynamics
    if dynamics.law == SMOOTH:
        raise LimitError(
            f"the correlation of {limit.network} depends on its norms; sample its covariance with limit.sample."
        )
    plan = _plan(time, dynamics, longest_step, exact_noise=True)
    gaps = np.empty((samples, len(time)))
    start = max(1 - correlation, SMALLEST_GAP)

    def fill(first: int, part: slice) -> None:
        correlation_paths(seed, first, start, tuple(plan), tuple(dynamics)[:5], gaps[part], stop_flag())

    in_batches(fill, samples)
    return gaps
