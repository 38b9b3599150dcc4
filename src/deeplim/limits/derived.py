"""A limit found numerically: the drift of any network whose layers change the covariance less the larger it is."""

from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from jaxtyping import Float

from deeplim.architecture import Network
from deeplim.errors import LimitError
from deeplim.inputs import Inputs
from deeplim.limits.base import AbstractLimit
from deeplim.limits.growing import Weights, depends_on_gap_alone, grown, held, power_of, scaled_change, states
from deeplim.limits.kernels import Pairs
from deeplim.limits.recognition import recognise_correlation, recognise_covariance
from deeplim.limits.stepping import LONGEST_STEP, in_batches, split_plan
from deeplim.limits.tabled import EXPLODED, Table, tabled_paths
from deeplim.parallel import stop_flag
from deeplim.paths import Paths

PROBE_ROOTS = np.array([0.4, 1.0, 1.8, 2.7])
PROBE_GAPS = np.array([0.02, 0.4, 1.3])
"""Roots of norms and gaps at which a drift is judged."""
_ODE_TOLERANCE = 1e-8
_LARGEST = 700.0


@dataclass(frozen=True, eq=False)
class DerivedLimit(AbstractLimit):
    """A limit found by ``derive`` from one layer's moments at growing sizes, and not from a formula.

    exponent: n (E V' - V) grows like n^exponent with the size n that grows, 0 for a limit, below 0 for a drift that
    vanishes; rule: how a limit is read off the drifts at growing sizes; error: that of the drift, relative to
    max(1, |drift|), as the extrapolation (and the fit of a polynomial) estimates it; growth: what all log norms gain
    alike per unit of the clock, which is no part of the table; table: the drift, fitted for norms up to 9 and going on
    beyond as the polynomial that it was found to be, or None where the rule is applied at each state.
    """

    exponent: float
    rule: Weights
    error: float
    growth: float
    table: Table | None

    name = "derived"
    title = "Derived limit"
    statement = "This limit was found numerically, from the moments of one layer at growing sizes."
    source = "after Li, Nica & Roy 2022, whose derivation it carries out numerically"

    @staticmethod
    def _why_not(network: Network) -> str | None:
        """Return None unless the network has batchnorm."""
        if network.normalization == "batchnorm":
            return (
                "batchnorm acts across the inputs: no equation of pairs describes its covariance; draw exact networks."
            )
        return None

    @property
    def vanishes(self) -> bool:
        """Whether the drift vanishes as the network grows."""
        return self.exponent < 0

    def _rates(self, log_norm: np.ndarray, gap: np.ndarray, pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
        """d log V^{aa} / dt and d gap / dt."""
        if self.table is None:
            found = self.rule.of(partial(scaled_change, self.network, log_norm=log_norm, gap=gap, pairs=pairs))
            return self.growth + found[: len(log_norm)], found[len(log_norm) :]
        root = np.exp(log_norm / 2)
        return self.growth + self.table.growths(root), self.table.turns(root[pairs[0]], root[pairs[1]], gap)

    def drift(
        self, v_a: Float[np.ndarray, " pair"], v_b: Float[np.ndarray, " pair"], gap: Float[np.ndarray, " pair"]
    ) -> tuple[Float[np.ndarray, " pair"], ...]:
        """Return b^{aa}, b^{ab} and b^{bb} at norms V^{aa}, V^{bb} > 0 and gaps 1 - rho in (0, 2].

        Per unit of the clock. Where norms are held at one, give norms of one.
        """
        v_a, v_b, gap = (np.atleast_1d(np.asarray(value, dtype=float)) for value in (v_a, v_b, gap))
        v_a, v_b, gap = np.broadcast_arrays(v_a, v_b, gap)
        count = len(gap)
        pairs = np.arange(count), np.arange(count, 2 * count)
        growth, turn = self._rates(np.log(np.concatenate([v_a, v_b])), gap, pairs)
        first, second = growth[:count], growth[count:]
        across = np.sqrt(v_a * v_b) * ((1 - gap) * (first + second) / 2 - turn)
        return v_a * first, across, v_b * second

    @cached_property
    def recognised(self) -> tuple[str | None, dict[str, float]]:
        """The known drift that this is, to ten times the error and 1e-6 at least, and its strengths; or (None, {})."""
        tolerance = max(10 * self.error, 1e-6)
        if depends_on_gap_alone(self.network):
            gap = np.linspace(0.05, 2, 14)
            alone = np.zeros(len(gap), dtype=int)
            return recognise_correlation(gap, self._rates(np.zeros(1), gap, (alone, alone))[1], tolerance)
        log_norm, gap, pairs = states(PROBE_ROOTS, PROBE_GAPS)
        return recognise_covariance(log_norm, gap, pairs, *self._rates(log_norm, gap, pairs), tolerance)

    @property
    def finding(self) -> str:
        """What was found, in one sentence."""
        if self.vanishes:
            if np.isinf(self.exponent):
                return f"{self._without}: the drift is zero, to rounding."
            return f"{self._without}: the drift falls like {power_of(self.network, self.exponent)}"
        name, strengths = self.recognised
        known = "it is none of the known drifts" if name is None else f"recognised as {name} with "
        known += ", ".join(f"{key} = {value:.4g}" for key, value in strengths.items())
        return f"as the {grown(self.network)} grows the drift converges, to an error of {self.error:.0e}: {known}."

    @property
    def advice(self) -> str | None:
        """What a vanishing drift means; None when the drift converges."""
        return self.finding if self.vanishes else None

    @property
    def _steady(self) -> bool:
        """Whether norms have no drift but the growth that all share."""
        return self.vanishes or depends_on_gap_alone(self.network)

    def _check_norms(self, inputs: Inputs) -> None:
        if not self._steady and self.table is not None and inputs.log_norm.max() > EXPLODED:
            raise LimitError(f"an input has a norm of e^{inputs.log_norm.max():.0f}; give inputs of norms near one.")

    def _strengths(self) -> dict[str, float]:
        found = {} if self.vanishes else self.recognised[1]
        return found | ({"growth": self.growth} if self.growth else {})

    @property
    @abstractmethod
    def _without(self) -> str:
        """What is left when the drift vanishes."""


@dataclass(frozen=True, eq=False)
class DerivedODE(DerivedLimit):
    """dV = b(V) ds, s = layer/depth, for networks whose depth is what grows: any number of inputs.

    For a branch a/depth^alpha, and for activations shaped at the rate of the depth, as the width and then the depth
    grow.
    """

    clock = "layer/depth"
    deterministic = True
    equation = r"dV = b(V)\,ds, \quad b(V) = \lim_{d \to \infty} d\,\left(\mathbb{E} V' - V\right)"
    accuracy = (
        "A ResNet fluctuates about it by about width^(-1/2), an MLP by about (depth/width)^(1/2), "
        "and each is also off by the correction to the drift at its depth."
    )

    @property
    def parameters(self) -> dict[str, float]:
        """The strengths of a drift that was recognised, and the error of the drift."""
        return self._strengths() | {"error": self.error}

    @property
    def _without(self) -> str:
        return "every correlation is frozen at its inputs'"

    def _sample(self, inputs: Inputs, time: Float[np.ndarray, " layer"], samples: int, seed: int) -> Paths:
        from scipy.integrate import solve_ivp

        m, fixed = inputs.count, held(self.network)
        self._check_norms(inputs)
        pairs = np.triu_indices(m, 1)
        largest = _LARGEST if self.table is None or self._steady else EXPLODED
        begin = np.concatenate([np.zeros(m) if fixed else inputs.log_norm, np.log(inputs.gap[pairs])])

        def derivative(_: float, state: np.ndarray) -> np.ndarray:
            gap = np.clip(np.exp(state[m:]), 1e-300, 2.0)
            growth, turn = self._rates(state[:m], gap, pairs)
            return np.concatenate([growth, turn / gap])

        def explodes(_: float, state: np.ndarray) -> float:
            return float(largest - state[:m].max())

        explodes.terminal = True  # type: ignore[attr-defined]
        norms, gaps = np.full((1, len(time), m), np.inf), np.full((1, len(time), len(begin) - m), np.nan)
        solved = solve_ivp(
            derivative,
            (0, max(time[-1], 1e-9)),
            begin,
            method="DOP853",
            t_eval=time,
            events=explodes,
            rtol=_ODE_TOLERANCE,
            atol=_ODE_TOLERANCE,
        )
        if not solved.success:
            raise LimitError(f"the ODE of {self.network} could not be solved beyond layer/depth = {solved.t[-1]:.3g}.")
        reached = solved.y.shape[1]
        norms[0, :reached], gaps[0, :reached] = solved.y[:m].T, np.minimum(solved.y[m:].T, np.log(2.0))
        if fixed:
            norms[:, time == 0] = inputs.log_norm
        return self._paths(norms, gaps, time, inputs, alive=(np.arange(len(time)) < reached)[None])


@dataclass(frozen=True, eq=False)
class DerivedSDE(DerivedLimit):
    """dV = b(V) dt + noise^(1/2) Sigma(V)^(1/2) dB, t = layer/width, for networks whose width is what grows.

    Sigma^{ab,cd} = V^{ac} V^{bd} + V^{ad} V^{bc}; that the noise tends to a multiple of it, and to which, is found from
    the fourth moments of one layer. A norm that passes e^20 counts as exploded.
    """

    noise: float

    clock = "layer/width"
    deterministic = False
    most_inputs = 2
    equation = (
        r"dV = b(V)\,dt + \sigma \Sigma(V)^{1/2} dB, \quad b(V) = \lim_{n \to \infty} n\,\left(\mathbb{E} V' - V\right)"
        r", \quad \Sigma^{ab,cd} = V^{ac} V^{bd} + V^{ad} V^{bc}"
    )
    accuracy = "A network of width n differs from it by the correction to the drift at that width, mostly n^(-1/2)."

    @property
    def parameters(self) -> dict[str, float]:
        """The strengths of a drift that was recognised, the noise strength, T = depth/width, the error of the drift."""
        return self._strengths() | {"noise": self.noise, "T": self.network.aspect, "error": self.error}

    @property
    def _without(self) -> str:
        return "what is left is the law of a linear network"

    def _sample(self, inputs: Inputs, time: Float[np.ndarray, " layer"], samples: int, seed: int) -> Paths:
        m, fixed = inputs.count, held(self.network)
        self._check_norms(inputs)
        table, one = self.table, np.ones(20)
        assert table is not None
        strength = float(np.abs(table.turns(one, one, np.linspace(0.05, 2, 20)) / 0.5).max())
        plan = split_plan(time, strength, LONGEST_STEP / max(self.noise, 1 / 64))
        norms, gaps = np.empty((samples, len(time), m)), np.empty((samples, len(time), m * (m - 1) // 2))
        explosions = np.empty(samples)
        start = np.zeros(m) if self._steady else inputs.log_norm
        apart = max(float(inputs.gap[0, 1]), 1e-300) if m == 2 else 1.0

        def fill(first: int, part: slice) -> None:
            into = norms[part], gaps[part], explosions[part]
            tabled_paths(seed, first, start, apart, tuple(plan), tuple(table), self.noise, fixed, *into, stop_flag())

        in_batches(fill, samples)
        if self._steady and not fixed:
            norms += inputs.log_norm + self.growth * time[:, None]
        if fixed:
            norms[:, time == 0] = inputs.log_norm
        return self._paths(norms, np.log(gaps), time, inputs, alive=np.asarray(~np.isinf(norms).any(axis=2)))
