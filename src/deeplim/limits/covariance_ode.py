"""The covariance ODE: the common limit of the d^(-1/2) ResNet and of the MLP shaped at the rate of its depth."""

from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float

from deeplim.activations import Shaped, ShapedReLU
from deeplim.architecture import MLP, NORM_PRESERVING, Network, ResNet
from deeplim.errors import LimitError
from deeplim.gaussian import LARGEST_LOG_NORM, slope_kernel_strength
from deeplim.hermite import expand
from deeplim.inputs import Inputs
from deeplim.limits.base import AbstractLimit
from deeplim.limits.courses import Course, follow
from deeplim.limits.covariance_sde import is_linear, strong_shaping
from deeplim.limits.families import CENTRED_NUHAT, CENTRED_SQUARE, NUHAT, QUADRATIC
from deeplim.limits.flow import nuhat_flow
from deeplim.limits.kernels import SMALLEST_GAP, kernel_map, sum_of
from deeplim.limits.sde import LARGEST_STRENGTH
from deeplim.limits.speeds import Pairs, Speed, added_speed, gap_speed, smooth_speed
from deeplim.paths import Paths

_MANIFOLD, _LONGEST_LOG, _HALVINGS = 10.0, 1400.0, 40
"""Log of a norm's growth from which one step is sought at the start, that of the shortest time, and halvings to it."""


@dataclass(frozen=True)
class CovarianceODE(AbstractLimit):
    """d rho / ds = gamma nuhat(rho), s = layer/depth, as width and then depth grow (depth much smaller than width).

    ResNet with branch a / sqrt(depth): dV = a^2 K(V) ds, so V^{aa} grows like e^{a^2 s} and gamma = a^2 kappa
    (1/pi for ReLU, a = 1); with a norm-preserving skip dV = a^2 (K(V) - V) ds, and the same gamma. MLP with ReLU shaped
    at the rate of the depth: V^{aa} is constant and gamma = (c_+ - c_-)^2 / (2 pi). The two are one equation when
    (c_+ - c_-)^2 = 2 a^2 (for ReLU in the ResNet). Other activations, smooth shaping and normalization change the
    drift and nothing else: K is then the branch's kernel with its normalization, and an MLP follows the drift of its
    SDE without the noise. Source: Li & Nica 2023, first result; with two slopes and no centring it is solved in closed
    form through the clock of ``deeplim.limits.flow``.
    """

    name = "ode"
    title = "Covariance ODE"
    clock = "layer/depth"
    equation = r"\frac{d\rho}{ds} = \gamma\, \hat\nu(\rho), \qquad \hat\nu(\rho) = \sqrt{1-\rho^2} - \rho \arccos\rho"
    statement = "As the width and then the depth grow, the correlation follows one deterministic curve in layer/depth."
    accuracy = (
        "A ResNet fluctuates about it by about width^(-1/2), a shaped MLP by about (depth/width)^(1/2), "
        "and a shaped MLP is also off by about depth^(-1/2)."
    )
    source = "Li & Nica 2023, first result"
    deterministic = True

    @staticmethod
    def _why_not(network: Network) -> str | None:
        """Return None for a ResNet with branch a/sqrt(depth), and for an MLP shaped at the rate of its depth."""
        if network.normalization == "batchnorm":
            return "batchnorm acts across the inputs, so that no equation of pairs is closed; draw exact networks."
        return _why_no_mlp(network) if isinstance(network, MLP) else _why_no_resnet(network)

    @property
    def parameters(self) -> dict[str, float]:
        """gamma, or p and q of smooth shaping; the growth rate of the log norm, for a ResNet without normalization."""
        network = self.network
        if isinstance(network, ResNet):
            square = _branch_square(network)
            free = network.skip == 1 and network.normalization == "none"
            found = {"growth": square} if free else {"branch": square}
            if network.homogeneous and not _centred(network):
                found["gamma"] = square * slope_kernel_strength(*network.slopes)
            return found
        if isinstance(network.activation, Shaped):
            p, q = _strengths(network.activation)
            return {"p": p, "q": q, "beta": 3 * p + 2 * q} if network.normalization == "none" else {"p": p}
        return {"gamma": _gamma(network)}

    @property
    def advice(self) -> str | None:
        """What to know of a shaping so strong at this depth that the limit is far."""
        return strong_shaping(self.network)

    def _sample(self, inputs: Inputs, time: Float[np.ndarray, " layer"], samples: int, seed: int) -> Paths:
        network = self.network
        pairs = np.triu_indices(inputs.count, 1)
        held = network.normalization != "none" and (isinstance(network, MLP) or network.placement == "after-sum")
        begin = np.zeros(inputs.count) if held else inputs.log_norm
        gap = inputs.gap[pairs]
        end = self._explosion(begin)
        before = time[time < end]
        if not len(before):
            course = Course(np.empty((0, len(begin))), np.empty((0, len(gap))))
        elif self._closed:
            course = self._closed_form(begin, gap, before)
        else:
            course = self._solved(begin, np.maximum(gap, SMALLEST_GAP), before, pairs)
        norms = np.full((1, len(time), inputs.count), np.inf)
        gaps = np.full((1, len(time), len(gap)), np.nan)
        norms[0, : len(before)], gaps[0, : len(before)] = course.log_norm, course.gap
        if held:
            norms[:, time == 0] = inputs.log_norm
        return self._paths(norms, np.log(gaps), time, inputs, alive=(time < end)[None])

    @property
    def _closed(self) -> bool:
        """Whether d rho / ds = gamma nuhat(rho) and log norms are linear in s."""
        network = self.network
        return network.homogeneous and network.normalization == "none"

    def _solved(self, log_norm: np.ndarray, gap: np.ndarray, time: np.ndarray, pairs: Pairs) -> Course:
        """The course by steps, after one of Euler's in the covariances for as long as their kernel does not change."""
        tolerance, speed = self._tolerance(log_norm), self._speed(pairs)
        begun = self._begun(log_norm, gap, time[-1], pairs, tolerance)
        if begun == 0:
            return follow(speed, log_norm, gap, time, tolerance=tolerance)
        early = [self._added(log_norm, gap, float(one), pairs) for one in time[time <= begun]]
        start = self._added(log_norm, gap, begun, pairs)
        course = follow(speed, *start, time[time > begun], begun=begun, tolerance=tolerance)
        norms, gaps = ([one[k] for one in early] for k in range(2))
        return Course(np.array([*norms, *course.log_norm]), np.array([*gaps, *course.gap]))

    def _begun(self, log_norm: np.ndarray, gap: np.ndarray, end: float, pairs: Pairs, tolerance: float) -> float:
        """How long the kernel of a ResNet's branch stays what it is while norms grow many times over; 0 if not so long.

        As where phi(0) is not 0 and inputs are tiny beside it.
        """
        network = self.network
        if isinstance(network, MLP) or network.skip != 1 or network.placement == "after-sum":
            return 0.0
        log_new, gap_new = kernel_map(network, log_norm, gap, pairs)
        if not (log_new - log_norm).max() > _MANIFOLD:
            return 0.0
        low, high = -_LONGEST_LOG, np.log(end)
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            then = kernel_map(network, *self._added(log_norm, gap, float(np.exp(middle)), pairs), pairs)
            moved = np.abs(then[0] - log_new).max(), np.abs(np.log(then[1] / gap_new)).max(initial=0.0)
            low, high = (middle, high) if max(moved) < tolerance else (low, middle)
        return float(np.exp(low)) if low > -_LONGEST_LOG else 0.0

    def _added(self, log_norm: np.ndarray, gap: np.ndarray, time: float, pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
        """V + square K(V) times a time, in log norms and gaps."""
        assert isinstance(self.network, ResNet)
        log_new, gap_new = kernel_map(self.network, log_norm, gap, pairs)
        with np.errstate(divide="ignore"):
            return sum_of((log_norm, gap), (log_new + np.log(_branch_square(self.network) * time), gap_new), pairs)

    def _tolerance(self, log_norm: np.ndarray) -> float:
        """How finely the ODE is stepped: quadrature of a rough function is right to 1e-9 and takes its time."""
        network = self.network
        if network.homogeneous or isinstance(network, MLP):
            return 1e-10
        deviations = np.exp(np.clip(log_norm, -LARGEST_LOG_NORM, LARGEST_LOG_NORM) / 2)
        return 1e-10 if expand(network.function, deviations)[1].all() else 1e-7

    def _closed_form(self, log_norm: np.ndarray, gap: np.ndarray, time: np.ndarray) -> Course:
        parameters = self.parameters
        grown = log_norm + parameters.get("growth", 0.0) * time[:, None]
        return Course(grown, nuhat_flow(gap, parameters["gamma"] * time[:, None]))

    def _explosion(self, log_norm: np.ndarray) -> float:
        """When the largest norm of smooth shaping leaves every bound, v' = beta v (v - 1); infinity if it does not."""
        beta, largest = self.parameters.get("beta", 0.0), float(log_norm.max())
        return -np.log1p(-np.exp(-largest)) / beta if beta > 0 and largest > 0 else np.inf

    def _speed(self, pairs: Pairs) -> Speed:
        network = self.network
        if isinstance(network, ResNet):
            keeps = "norms on average" if network.skip == NORM_PRESERVING else "nothing"
            keeps = "norms" if network.normalization != "none" and network.placement == "after-sum" else keeps
            return added_speed(
                partial(kernel_map, network, pairs=pairs), _branch_square(network), keeps=keeps, pairs=pairs
            )
        if isinstance(network.activation, Shaped):
            p, q = _strengths(network.activation)
            if network.normalization == "none":
                return smooth_speed(p, q, pairs)
            law, strength = (CENTRED_SQUARE if _centred(network) else QUADRATIC), p
        else:
            law, strength = (CENTRED_NUHAT if _centred(network) else NUHAT), _gamma(network)
        return lambda log_norm, gap: (0.0 * log_norm, strength * gap_speed(law, gap))


def _why_no_mlp(network: MLP) -> str | None:
    activation = network.activation
    if is_linear(network) or not isinstance(activation, ShapedReLU | Shaped) or activation.rate != "depth":
        return (
            "an MLP follows an ODE in layer/depth only when its activation is shaped at the rate of the depth "
            f"(s± = 1 + c±/sqrt(depth), or a sqrt(depth)); this one has {activation}."
        )
    if activation.exponent != 0.5:
        way = "vanishes" if activation.exponent > 0.5 else "grows without bound"
        return f"its drift exists for shaping at the exponent 1/2; at {activation.exponent:g} it {way} with the depth."
    strength = _gamma(network) if isinstance(activation, ShapedReLU) else max(map(abs, _strengths(activation)))
    if strength > LARGEST_STRENGTH:
        return (
            f"its drift, of strength {strength:.3g}, is beyond {LARGEST_STRENGTH:g}: shaping this strong at this depth "
            "is no shaping; choose c_plus, c_minus or a of order one."
        )
    return None


def _why_no_resnet(network: ResNet) -> str | None:
    if isinstance(network.activation, ShapedReLU | Shaped):
        return "the residual branch is scaled down already; shaping its activation too leaves nothing but the skip."
    alpha = network.branch_exponent
    if network.branch_factor is not None and alpha != 0.5:
        if alpha < 0.5:
            return (
                f"a branch of a/depth^{alpha:g} adds up to more than any ODE as the depth grows: the norm explodes and "
                "inputs align; at alpha = 1/2 there is a limit."
            )
        return (
            f"a branch of a/depth^{alpha:g} adds up to nothing as the depth grows: the covariance freezes at its "
            "inputs', and the network computes little more than its skip; at alpha = 1/2 there is a limit."
        )
    if network.branch_factor is None:
        return (
            "a ResNet follows an ODE when its branch is a/sqrt(depth); this branch keeps the size "
            f"{network.branch_scale:g} at every depth."
        )
    if network.branch_factor * network.branch_factor > LARGEST_STRENGTH:
        return f"a branch of {network.branch} is too large to be followed at any depth; choose a of order one."
    if network.skip not in (1, NORM_PRESERVING):
        return f"a ResNet follows an ODE when its skip is 1 or norm-preserving; here skip = {network.skip}."
    return None


def _centred(network: Network) -> bool:
    return network.normalization == "layernorm" and network.placement == "after-activation"


def _strengths(activation: Shaped) -> tuple[float, float]:
    """p and q of smooth shaping in layer/depth."""
    phi = activation.derivatives
    return phi.second**2 / (4 * activation.a * activation.a), phi.third / (2 * activation.a * activation.a)


def _gamma(network: Network) -> float:
    assert isinstance(network.activation, ShapedReLU)
    apart = network.activation.c_plus - network.activation.c_minus
    return apart * apart / (2 * np.pi)


def _branch_square(network: ResNet) -> float:
    if network.branch_factor is None:
        raise LimitError(f"the branch of {network} has no factor a.")
    return network.branch_factor**2
