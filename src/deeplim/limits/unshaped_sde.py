"""The unshaped MLP: a correlation that collapses like 1 / layer^2, and the SDE, singular at 0, of how it does."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from deeplim.activations import ShapedReLU
from deeplim.architecture import MLP, Network
from deeplim.checks import brief, check_count, check_numbers, check_real, check_seed
from deeplim.errors import InputError
from deeplim.gaussian import nuhat, slope_kernel_strength
from deeplim.inputs import Inputs
from deeplim.limits.base import AbstractLimit
from deeplim.limits.stepping import in_batches
from deeplim.parallel import stop_flag
from deeplim.paths import Paths

LONGEST_STEP = 1 / 64
"""Longest step of the Brownian motion in layer/width; the mean of R is exact at any step."""
_ROOT = np.sqrt(2) / 3
_NEARLY_LINEAR = 0.1
"""kappa below which slopes are called nearly equal: (1, 0.4) and nearer ones; ReLU has 1/pi."""
_LEAST_DRIFT = 2.0
"""kappa x width from which the collapse is over within a small fraction of the depth scale, the width."""
_LONGEST_TIME = 1e4
"""In layer/width: networks ten thousand times deeper than wide, whose paths take a million steps."""


@dataclass(frozen=True)
class UnshapedSDE(AbstractLimit):
    """q_t = l^2 (1 - rho_l), t = l / width, for an MLP whose two slopes stay the same at every width.

    dq = [(2q/t)(1 - kappa sqrt(2q) / 3) + A q] dt + 2 sqrt(A) q dB, q_0 = 9 / (2 kappa^2), singular at t = 0, with
    A = E s^4 / (E s^2)^2 and kappa = (s_+ - s_-)^2 / (pi (s_+^2 + s_-^2)). In R = t / sqrt(q) = 1 / (n sqrt(1 - rho))
    it is linear and regular, dR = [kappa sqrt(2) / 3 + A R] dt - sqrt(A) R dB, and is sampled as that: R is an
    exponential functional of Brownian motion (Yor 1992). E R_t = R_0 e^{At} + (kappa sqrt(2) / 3)(e^{At} - 1) / A.

    A network starts at a finite correlation, R_0 = (1 / sqrt(1 - K(rho_0)) - kappa sqrt(2) / 3) / n: the start from
    which the equation gets, in one layer, to what a layer of infinite width makes of rho_0 (``start_ratio``). It is
    1 / (n sqrt(1 - rho_0)) for near inputs, and near 1 again as rho_0 -> -1 for slopes near (1, -1), which make one of
    z and -z. The law is one of small angles: where it would put 1 - rho = e above 1 it is continued by 2 - 1/e, so that
    |rho| < 1.
    Norm: log V ~ N(-(3A - 1) t / 2, (3A - 1) t), correlated with log(1 - rho) by -sqrt(A / (3A - 1)). One pair at a
    time: both inputs carry the norm process of the first, as they do once aligned.
    Source: Li & Nica 2023, second result; norm, Hanin & Nica 2019.
    """

    name = "unshaped"
    title = "Unshaped SDE"
    clock = "layer/width"
    equation = (
        r"dq_t = \left[\frac{2 q_t}{t}\left(1 - \frac{\kappa \sqrt{2 q_t}}{3}\right) + A q_t\right] dt "
        r"+ 2\sqrt{A}\, q_t\, dB_t, \qquad q_t = \ell^2 (1 - \rho_\ell), \; q_0 = \frac{9}{2\kappa^2}"
    )
    statement = "Without shaping any two inputs align, 1 - rho falling like 1/layer^2, by a random factor of order one."
    accuracy = (
        "It is approached slowly, like 1/width up to logarithms: at width = depth = 100 the mean of 1/sqrt(1 - rho) "
        "is still 29% above it from correlation 0.3, so trust the exact networks there."
    )
    source = "Li & Nica 2023, second result; Hanin & Nica 2019 for the norm"
    deterministic = False
    most_inputs = 2

    @staticmethod
    def _why_not(network: Network) -> str | None:
        """Return None for an MLP with two different slopes that do not depend on its width."""
        if not isinstance(network, MLP):
            return "a ResNet's correlations do not collapse like 1/layer^2; this is the limit of an MLP without skips."
        if network.normalization == "batchnorm":
            return "batchnorm acts across the inputs and keeps them apart; draw exact networks."
        if network.normalization == "layernorm" and network.placement == "after-activation":
            return (
                "layernorm after the activation makes inputs orthogonal at a geometric rate instead of aligning them."
            )
        if not network.homogeneous:
            return f"it is derived for activations given by two slopes, and {network.activation} is not one."
        if network.normalization == "layernorm":
            return (
                "layernorm before the activation shifts every kink by about width^(-1/2), which changes the drift and "
                "the noise of an unshaped network at the order that this limit keeps; rmsnorm does not."
            )
        if isinstance(network.activation, ShapedReLU):
            return f"the activation is shaped: its slopes approach 1 as the {network.activation.rate} grows."
        kappa = slope_kernel_strength(*network.slopes)
        if kappa == 0:
            return "the network is linear: its correlations drift nowhere."
        if kappa * network.width < _LEAST_DRIFT:
            what, cure = "it is too narrow", "draw exact networks"
            if kappa < _NEARLY_LINEAR:
                what, cure = "its slopes are nearly equal", "write it as shaped-relu with c = (slope - 1) sqrt(width)"
            return (
                f"{what}: kappa x width = {kappa * network.width:.2g} is below {_LEAST_DRIFT:g}, and noise rather than "
                f"collapse sets the correlation; {cure}."
            )
        return None

    @property
    def parameters(self) -> dict[str, float]:
        """kappa, A, the singular start q_0 and T = depth/width."""
        s_plus, s_minus = self.network.slopes
        kappa = slope_kernel_strength(s_plus, s_minus)
        a = 2 * (s_plus**4 + s_minus**4) / (s_plus**2 + s_minus**2) ** 2
        return {"kappa": kappa, "A": a, "q_0": 9 / (2 * kappa**2), "T": self.network.aspect}

    def mean_ratio(self, time: float, start: float = 0.0) -> float:
        """Return E R_t in closed form, R = 1 / (width sqrt(1 - rho)), from R_0 = start; time in layer/width."""
        time, start = check_real("time", time, least=0), check_real("start", start, least=0)
        kappa, a = self.parameters["kappa"], self.parameters["A"]
        with np.errstate(over="ignore"):
            found = float(start * np.exp(a * time) + kappa * _ROOT * np.expm1(a * time) / a)
        if not np.isfinite(found):
            raise InputError(f"the mean at time={time:g} from start={start:g} is beyond 1e308; give smaller ones.")
        return found

    def sample_ratio(
        self, time: Float[np.ndarray, " layer"], *, samples: int, seed: int = 0, start: float = 0.0
    ) -> Float[np.ndarray, "sample layer"]:
        """Return paths of R_t = t / sqrt(q_t) at increasing times in layer/width; start = 0 is the singular start."""
        times = check_numbers("time", time, f"give increasing times from 0 to {_LONGEST_TIME:g}")
        if not len(times) or (np.diff(times, prepend=0.0) < 0).any() or times[-1] > _LONGEST_TIME:
            raise InputError(f"time={brief(time)} was given; give increasing times from 0 to {_LONGEST_TIME:g}.")
        samples, seed, start = check_count("samples", samples), check_seed(seed), check_real("start", start, least=0)
        return np.exp(self._sample_logs(times, samples, seed, start)[0])

    def _sample(self, inputs: Inputs, time: Float[np.ndarray, " layer"], samples: int, seed: int) -> Paths:
        begin = inputs.gap[0, 1:]
        start = self.start_ratio(float(begin[0])) if len(begin) else 0.0
        log_ratio, log_norm = self._sample_logs(time, samples, seed, start)
        norms = log_norm[:, :, None] + inputs.log_norm
        if self.network.normalization != "none":  # homogeneous: the correlation is the same, and norms are held at one
            norms[:, time > 0] = 0.0
        gaps = self._log_gap_at(log_ratio)[:, :, None][..., : len(begin)]
        gaps[:, time == 0] = np.log(begin)
        return self._paths(norms, gaps, time, inputs)

    def start_ratio(self, gap: float) -> float:
        """Return R_0 for inputs of this gap 1 - rho_0, infinite where one layer makes them parallel; see above."""
        gap = check_real("gap", gap, above=0, most=2)
        s_plus, s_minus = self.network.slopes
        kappa = self.parameters["kappa"]
        if gap <= 1:
            after = gap - kappa * float(nuhat(gap))
        else:
            # From rho = -1, where 1 - K = (s_+ + s_-)^2 / (s_+^2 + s_-^2) may vanish; nuhat(-r) = pi r + nuhat(r).
            at_end, rest = (s_plus + s_minus) ** 2 / (s_plus**2 + s_minus**2), 2 - gap
            after = at_end + rest * (kappa * np.pi - 1) - kappa * float(nuhat(rest))
        return (after**-0.5 - kappa * _ROOT) / self.network.width if after > 0 else np.inf

    def _log_gap_at(self, log_ratio: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
        """Log of e = 1 / (n R)^2 up to e = 1, and of 2 - 1/e beyond."""
        scaled = log_ratio + np.log(self.network.width)
        return np.where(scaled >= 0, -2 * scaled, np.log(2 - np.exp(2 * np.minimum(scaled, 0.0))))

    def _sample_logs(
        self, time: np.ndarray, samples: int, seed: int, start: float
    ) -> tuple[Float[np.ndarray, "sample layer"], Float[np.ndarray, "sample layer"]]:
        """log R from R_0 = start, and log V."""
        from deeplim.limits.ratio_paths import ratio_paths

        kappa, a = self.parameters["kappa"], self.parameters["A"]
        b = 3 * a - 1
        waits = np.diff(time, prepend=0.0)
        counts = np.ceil(waits / LONGEST_STEP - 1e-9).astype(int)
        steps = np.repeat(waits / np.maximum(counts, 1), counts)
        ratio, log_norm = np.empty((samples, len(time))), np.empty((samples, len(time)))
        coefficients = (a, kappa * _ROOT, b, float(np.sqrt(a / b)))

        def fill(first: int, part: slice) -> None:
            into = ratio[part], log_norm[part]
            ratio_paths(seed, first, start, steps, np.cumsum(counts), coefficients, *into, stop_flag())

        in_batches(fill, samples)
        with np.errstate(divide="ignore"):
            return np.log(ratio), log_norm
