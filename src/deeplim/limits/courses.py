"""Where a covariance ODE leads, from norms and gaps of any size, within a budget of evaluations."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from deeplim.errors import LimitError
from deeplim.limits.speeds import Speed

MOST_CALLS = 2000
"""Evaluations of the speeds that an ODE may take; from norms and gaps of order one it takes fifty or a hundred."""
_FAST, _SLOW, _EULER = 50.0, 1e-6, 1e-8
"""Change of a log norm or log gap, at its first speed, from which the time is followed in its logarithm; up to which
all is linear to 1e-12; and up to which it is so to rounding."""
_LEAST_LOG_GAP = -690.0


@dataclass(frozen=True)
class Course:
    """Where an ODE leads: log norms (time, input) and gaps (time, pair) at the times asked for."""

    log_norm: np.ndarray
    gap: np.ndarray


def follow(
    speed: Speed,
    log_norm: np.ndarray,
    gap: np.ndarray,
    time: np.ndarray,
    *,
    begun: float = 0.0,
    tolerance: float = 1e-10,
    largest: float = np.inf,
) -> Course:
    """Return log norms and gaps at increasing times along an ODE that begins at a time, by DOP853 in their logarithms.

    Times after a log norm has passed ``largest`` are left out. Where a coordinate changes many times over, as a norm of
    1e-9 does beside a kernel of order one, all follow powers of the time, and the clock is its logarithm. LimitError
    when it cannot be solved, or not with 2,000 evaluations of the speeds.
    """
    m, state = len(log_norm), np.concatenate([log_norm, np.log(gap)])
    rates = _counted(speed, m)
    first = rates(state)
    fastest = float(np.abs(first).max(initial=0.0))
    if not fastest < np.inf:
        raise LimitError("the drift of the covariance ODE leaves every float here; give inputs of norms nearer to one.")
    duration = fastest * (time[-1] - begun)
    start = begun if begun > 0 else _EULER / fastest if duration > _FAST else 0.0
    early = state + (time - begun)[:, None] * first
    if duration < _SLOW:
        return _course(early, m)
    begin = state + (start - begun) * first
    later = _stepped(rates, begin, start, time[time > start], tolerance, lambda one: float(largest - one[:m].max()))
    return _course(np.concatenate([early[time <= start], later]), m)


def _counted(speed: Speed, m: int) -> Callable[[np.ndarray], np.ndarray]:
    """The derivatives of log norms and log gaps, so many times at most."""
    calls = 0

    def rates(state: np.ndarray) -> np.ndarray:
        nonlocal calls
        calls += 1
        if calls > MOST_CALLS:
            raise LimitError(
                f"the covariance ODE takes more than {MOST_CALLS:,} evaluations of its drift from these inputs; give "
                "inputs whose norms are nearer to one, or follow the infinite-width recursion."
            )
        gap = np.exp(np.clip(state[m:], _LEAST_LOG_GAP, np.log(2.0)))
        with np.errstate(all="ignore"):
            growth, turn = speed(state[:m], gap)
            return np.concatenate([growth, turn / gap])

    return rates


def _course(states: np.ndarray, m: int) -> Course:
    return Course(states[:, :m], np.exp(np.minimum(states[:, m:], np.log(2.0))))


def _stepped(
    rates: Callable[[np.ndarray], np.ndarray],
    begin: np.ndarray,
    start: float,
    time: np.ndarray,
    tolerance: float,
    left: Callable[[np.ndarray], float],
) -> np.ndarray:
    """The states at these times from one at ``start``, in the time itself from 0 and else in its logarithm.

    Those after ``left``, of a state, has become negative are left out.
    """
    from scipy.integrate import solve_ivp

    if not len(time):
        return np.zeros((0, len(begin)))

    def derivative(t: float, state: np.ndarray) -> np.ndarray:
        return np.exp(t) * rates(state) if start > 0 else rates(state)

    def explodes(_: float, state: np.ndarray) -> float:
        return left(state)

    explodes.terminal = True  # type: ignore[attr-defined]
    clock = np.log(np.append(start, time)) if start > 0 else np.append(0.0, time)
    with np.errstate(all="ignore"):
        solved = solve_ivp(
            derivative,
            (clock[0], clock[-1]),
            begin,
            method="DOP853",
            t_eval=clock[1:],
            events=explodes if np.isfinite(left(begin)) else None,
            rtol=tolerance,
            atol=tolerance,
        )
    if not solved.success or not np.isfinite(solved.y).all():
        reached = solved.t[-1] if len(solved.t) else clock[0]
        reached = np.exp(reached) if start > 0 else reached
        raise LimitError(f"the covariance ODE could not be solved beyond layer/depth = {reached:.3g}.")
    return np.asarray(solved.y.T)
