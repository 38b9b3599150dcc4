"""Finds a network's limit: whether n (E V' - V) converges as it grows, to which drift, and with which noise."""

from functools import partial

import numpy as np

from deeplim.activations import Shaped
from deeplim.architecture import MLP, Network, ResNet, check_network
from deeplim.checks import within_floats
from deeplim.errors import LimitError
from deeplim.limits.derived import PROBE_GAPS, PROBE_ROOTS, DerivedLimit, DerivedODE, DerivedSDE
from deeplim.limits.growing import (
    Weights,
    at_size,
    at_sizes,
    depends_on_gap_alone,
    grown,
    grows_alike,
    growth_exponent,
    limit_of,
    power_of,
    scaled_change,
    states,
)
from deeplim.limits.kernels import Pairs, layer_map
from deeplim.limits.layer_moments import function_moments, slope_moments
from deeplim.limits.tabled import Table, chebyshev_nodes, polynomial

LARGEST_ROOT = 3.0
"""The drift is found for roots of norms up to this; beyond, it goes on as the polynomial that it was found to be."""
_ROOTS, _GAPS, _ANGLES = 12, 10, 32
_FLAT = 0.01
"""Exponents smaller than this, or than three times their error, are called zero."""
_LARGEST_DOUBT = 0.05
"""The largest error of an exponent that decides anything."""
_WORST = 1e-3
"""The largest error of a drift that is handed back, and of the noise."""
_LINEAR = np.array([2.0, 0.0, 0.0, 1.0, 0.0, 2.0])
"""Second cumulants of (g^2, g h, h^2) for independent standard normal g and h, the noise of a linear layer."""
_STILL = Table(np.zeros(1), np.zeros((1, 1)), np.zeros((1, 1, 1)), False)


@within_floats
def derive(network: Network) -> DerivedODE | DerivedSDE:
    """Return the network's limit, found numerically from n (E V' - V) for n = 4^4, ..., 4^11.

    n is the depth for a branch a/depth^alpha and for shaping at the rate of the depth (an ODE in layer/depth), and else
    the width at a fixed depth/width (an SDE in layer/width). A drift that vanishes gives the limit without it.
    LimitError when the drift grows without bound, and says like which power of n; when no limit can be told from the
    sizes; for batchnorm; and for a ResNet with normalization and a branch of fixed size, whose noise is not known.
    """
    reason = DerivedLimit.why_not(check_network(network))
    if reason is not None:
        raise LimitError(f"no limit of this network is derived: {reason}")
    if isinstance(network, ResNet) and network.normalization != "none" and grown(network) == "width":
        raise LimitError(
            f"the noise of a ResNet with {network.normalization} and a branch of fixed size is not known; draw exact "
            "networks, or give a branch such as '1/sqrt(depth)'."
        )
    log_norm, gap, pairs = _probes(network)
    sizes, values = at_sizes(partial(scaled_change, network, log_norm=log_norm, gap=gap, pairs=pairs))
    exponent = _decided(network, *growth_exponent(sizes, values))
    rule = limit_of(sizes, values)[1]
    growth, error, table = _common_growth(network), rule.error, None
    noise = _noise(network) if grown(network) == "width" else 0.0
    if exponent < 0:
        error, table = 0.0, _STILL
    elif noise > 0 or isinstance(network.activation, Shaped):
        # Shaping at any one size is none for norms far above one, where the polynomial goes on.
        fit = _table_of_gap if depends_on_gap_alone(network) else _table_of_covariance
        table, rule = fit(network, rule.sizes)
        error = rule.error + _misfit(network, table, rule)
    if error > _WORST:
        raise LimitError(
            f"the drift of {network} converges, and is found only to {error:.1g}; shaping this strong at the sizes up "
            "to 4^11 is no shaping, so choose a weaker one."
        )
    if table is None or noise == 0:
        return DerivedODE(network, exponent, rule, error, growth, table)
    return DerivedSDE(network, exponent, rule, error, growth, table, noise)


def _misfit(network: Network, table: Table, rule: Weights) -> float:
    """How far a table is from the drift it was fitted to, between the states it was fitted at."""
    log_norm, gap, pairs = _probes(network)
    root = np.exp(log_norm / 2)
    fitted = np.concatenate([table.growths(root), table.turns(root[pairs[0]], root[pairs[1]], gap)])
    exact = rule.of(partial(scaled_change, network, log_norm=log_norm, gap=gap, pairs=pairs))
    return float((np.abs(fitted - exact) / np.maximum(1.0, np.abs(exact))).max())


def _probes(network: Network) -> tuple[np.ndarray, np.ndarray, Pairs]:
    return states(np.ones(1) if depends_on_gap_alone(network) else PROBE_ROOTS, PROBE_GAPS)


def _decided(network: Network, exponent: float, doubt: float) -> float:
    """The exponent of the drift's growth, 0 where it converges; LimitError where it grows."""
    if doubt > _LARGEST_DOUBT:
        raise LimitError(
            f"whether {network} has a limit cannot be told from sizes up to 4^11, where its drift grows like "
            f"n^{exponent:.2f} give or take {doubt:.2f}; scale it more gently."
        )
    if abs(exponent) < max(_FLAT, 3 * doubt):
        return 0.0
    if exponent < 0:
        return exponent
    raise LimitError(f"there is no limit: the drift of {network} grows like {power_of(network, exponent)}")


def _common_growth(network: Network) -> float:
    """What every log norm gains per unit of the clock, where all grow alike; 0 elsewhere."""
    if not grows_alike(network):
        return 0.0

    def gained(one: Network) -> float:
        none = np.zeros(0, dtype=int)
        return float(layer_map(one, np.zeros(1), np.zeros(0), (none, none))[0][0])

    sizes, values = at_sizes(lambda size: np.array([size * gained(at_size(network, size))]))
    exponent, doubt = growth_exponent(sizes, values)
    if abs(exponent) < max(_FLAT, 3 * doubt):
        return float(limit_of(sizes, values)[0][0])
    if exponent < 0:
        return 0.0
    if abs(exponent - 1) > _FLAT:
        raise LimitError(
            f"there is no limit: the norms of {network} grow like the exponential of {power_of(network, exponent)}"
        )
    # The same factor in every layer, at any size: no part of a limit, and exact.
    return gained(network) * (network.width if grown(network) == "width" else network.depth)


def _noise(network: Network) -> float:
    """The strength of the noise: n Cov V' tends to it times Sigma(V). LimitError where it tends to something else.

    From the fourth moments of one layer at unit norms and correlation 1/2. In a ResNet with a branch of share g^2 the
    noise is g^4 that of the branch, and 2 g^2 (1 - g^2) Sigma from its products with the skip.
    """

    def second(size: int) -> np.ndarray:
        one, gap, zero = at_size(network, size), np.array([0.5]), np.zeros(1)
        if one.homogeneous:
            return slope_moments(one.slopes, gap).second[0]
        return function_moments(one.function, one.gain, zero, zero, gap).second[0]

    found = limit_of(*at_sizes(second))[0]
    strength = float(found @ _LINEAR / (_LINEAR @ _LINEAR))
    if np.abs(found - strength * _LINEAR).max() > _WORST:
        raise LimitError(f"the noise of {network} does not tend to that of a linear layer; draw exact networks.")
    if isinstance(network, MLP):
        return strength
    kept, added = network.skip_scale**2, network.branch_scale**2
    share = added / (kept + added)
    return share**2 * strength + 2 * share * (1 - share)


def _table_of_gap(network: Network, sizes: tuple[int, ...]) -> tuple[Table, Weights]:
    """The drift of the gap alone, as a series in the angle, and the rule that found it from these sizes."""
    gap = 2 * np.sin(chebyshev_nodes(_ANGLES, np.pi) / 2) ** 2
    alone = np.zeros(_ANGLES, dtype=int)
    turn = partial(scaled_change, network, log_norm=np.zeros(1), gap=gap, pairs=(alone, alone))
    found, rule = limit_of(sizes, np.array([turn(size)[1:] / gap for size in sizes]))
    series = polynomial(found[None, None], (1.0, 1.0), rule.error * max(1.0, float(np.abs(found).max())))
    return Table(np.zeros(1), np.zeros((1, 1)), series, True), rule


def _table_of_covariance(network: Network, sizes: tuple[int, ...]) -> tuple[Table, Weights]:
    """The drift of norms and gap, as polynomials in the norms' roots and the gap, and the rule that found it."""
    # 12 and 13 of Chebyshev's points have none in common, so (s - z)^2 can be divided by.
    first, second = chebyshev_nodes(_ROOTS, LARGEST_ROOT), chebyshev_nodes(_ROOTS + 1, LARGEST_ROOT)
    gap = chebyshev_nodes(_GAPS, 2.0)
    a, b = (index.ravel() for index in np.indices((_ROOTS, _ROOTS + 1)))
    log_norm = 2 * np.log(np.concatenate([first, second]))
    pairs = np.repeat(a, _GAPS + 1), np.repeat(b + _ROOTS, _GAPS + 1)
    every = np.tile(np.append(gap, 1e-300), len(a))
    distance = (first[a] - second[b]) ** 2

    def parts(size: int) -> np.ndarray:
        change = scaled_change(network, size, log_norm=log_norm, gap=every, pairs=pairs)
        turn = change[len(log_norm) :].reshape(len(a), _GAPS + 1)
        inner = (turn[:, :-1] - turn[:, -1:]) / gap
        return np.concatenate([change[:_ROOTS], turn[:, -1] / distance, inner.ravel()])

    found, rule = limit_of(sizes, np.array([parts(size) for size in sizes]))
    growth, apart, turn = np.split(found, [_ROOTS, _ROOTS + len(a)])
    shape, end = (_ROOTS, _ROOTS + 1), LARGEST_ROOT
    least = [rule.error * max(1.0, float(np.abs(part).max())) for part in (growth, apart, turn)]
    table = Table(
        polynomial(growth, (end,), least[0]),
        polynomial(apart.reshape(shape), (end, end), least[1]),
        polynomial(turn.reshape(*shape, _GAPS), (end, end), least[2]),
        False,
    )
    return table, rule
