"""Right-hand sides of the covariance ODEs, in log norms and gaps 1 - rho: what they are as depth grows."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from deeplim.gaussian import nuhat
from deeplim.limits.families import CENTRED_NUHAT, CENTRED_SQUARE, NUHAT, QUADRATIC

Array = Float[np.ndarray, "*shape"]
Pairs = tuple[np.ndarray, np.ndarray]
_LARGEST_LOG_GROWTH = 690.0
Speed = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Log norms (input) and gaps (pair, in the order of ``np.triu_indices``) -> their derivatives in layer/depth."""


def gap_speed(law: int, gap: Array) -> Array:
    """Return d gap / da of a drift that needs no norms, as in ``deeplim.limits.drifts``, of an array of gaps."""
    return {
        NUHAT: lambda: -nuhat(gap),
        CENTRED_NUHAT: lambda: gap - nuhat(gap),
        QUADRATIC: lambda: gap * (1 - 2 * gap),
        CENTRED_SQUARE: lambda: 2 * gap * (1 - gap),
    }[law]()


def smooth_speed(p: float, q: float, pairs: Pairs) -> Speed:
    """Return the speeds of smooth shaping: d log v = beta (v - 1), and with x, y the norms of a pair,

    d gap = p [sqrt(x y) gap (1 - 2 gap) + (3/2)(1 - gap)(sqrt x - sqrt y)^2], in which nothing cancels near gap = 0.
    """
    beta = 3 * p + 2 * q

    def speed(log_norm: np.ndarray, gap: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        root = np.exp(log_norm / 2)
        first, second = root[pairs[0]], root[pairs[1]]
        turn = p * (first * second * gap * (1 - 2 * gap) + 1.5 * (1 - gap) * (first - second) ** 2)
        return beta * np.expm1(log_norm), turn

    return speed


def added_speed(branch: Speed, square: float, *, keeps: str, pairs: Pairs) -> Speed:
    """Return the speeds of dV = square B(V) ds, B(V) the branch's covariance by its log norms and gaps.

    keeps: 'nothing', 'norms on average' (a norm-preserving skip: less square V ds) or 'norms' (divided by after every
    block). The correlation moves alike in all three: d rho = sqrt(g_a g_b) rho_B - rho (g_a + g_b) / 2, with growth
    rates g = square B^{aa} / V^{aa}, written in gaps.
    """
    less = {"nothing": 0.0, "norms on average": square, "norms": 0.0}[keeps]

    def speed(log_norm: np.ndarray, gap: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        log_new, gap_new = branch(log_norm, gap)
        growth = square * np.exp(np.minimum(log_new - log_norm, _LARGEST_LOG_GROWTH))
        first, second = np.sqrt(growth[pairs[0]]), np.sqrt(growth[pairs[1]])
        turn = (first - second) ** 2 / 2 + first * second * gap_new - gap * (first**2 + second**2) / 2
        return (0.0 * growth if keeps == "norms" else growth - less), turn

    return speed
