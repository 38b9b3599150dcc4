"""Which known drift of a covariance SDE or ODE a given one is, if any, and with which strengths."""

import numpy as np

from deeplim.limits.families import CENTRED_NUHAT, CENTRED_SQUARE, NUHAT, QUADRATIC
from deeplim.limits.speeds import Pairs, gap_speed, smooth_speed

_KNOWN = {
    "gamma nuhat(rho)": (NUHAT, "gamma"),
    "gamma (nuhat(rho) - 1 + rho)": (CENTRED_NUHAT, "gamma"),
    "p (1 - rho)(1 - 2 rho)": (QUADRATIC, "p"),
    "-2 p rho (1 - rho)": (CENTRED_SQUARE, "p"),
}
SMOOTH_NAME = "the drift of smooth shaping"


def recognise_correlation(gap: np.ndarray, turn: np.ndarray, tolerance: float) -> tuple[str | None, dict[str, float]]:
    """Return the known drift of the correlation alone that ``turn`` = d gap / dt is, and its strength.

    It is one when nowhere further from it than the tolerance, relative to the largest turn (or to one if that is more).
    """
    for name, (law, strength) in _KNOWN.items():
        shape = gap_speed(law, gap)
        found = float(shape @ turn / (shape @ shape))
        if np.abs(turn - found * shape).max() <= tolerance * max(1.0, np.abs(turn).max()):
            return name, {strength: found if abs(found) > tolerance else 0.0}
    return None, {}


def recognise_covariance(
    log_norm: np.ndarray, gap: np.ndarray, pairs: Pairs, growth: np.ndarray, turn: np.ndarray, tolerance: float
) -> tuple[str | None, dict[str, float]]:
    """Return p, q and beta = 3 p + 2 q when these speeds of log norms and gaps are those of smooth shaping."""
    shapes = [np.concatenate(smooth_speed(p, q, pairs)(log_norm, gap)) for p, q in ((1.0, 0.0), (0.0, 1.0))]
    given = np.concatenate([growth, turn])
    (p, q), *_ = np.linalg.lstsq(np.transpose(shapes), given, rcond=None)
    if np.abs(given - p * shapes[0] - q * shapes[1]).max() > tolerance * max(1.0, np.abs(given).max()):
        return None, {}
    p, q = (float(one) if abs(one) > tolerance else 0.0 for one in (p, q))
    return SMOOTH_NAME, {"p": p, "q": q, "beta": 3 * p + 2 * q}
