"""The covariance ODE: the common limit of the d^(-1/2) ResNet and of the MLP shaped at the rate of its depth."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from deeplim.activations import ShapedReLU
from deeplim.architecture import MLP, Network, ResNet
from deeplim.errors import LimitError
from deeplim.gaussian import slope_kernel_strength
from deeplim.inputs import Inputs
from deeplim.limits.base import AbstractLimit
from deeplim.limits.flow import nuhat_flow
from deeplim.limits.infinite_width import Pairs, kernel_map
from deeplim.paths import Paths


@dataclass(frozen=True)
class CovarianceODE(AbstractLimit):
    """d rho / ds = gamma nuhat(rho), s = layer/depth, as width and then depth grow (depth much smaller than width).

    ResNet with branch a / sqrt(depth): dV = a^2 K(V) ds, so V^{aa} grows like e^{a^2 s} and gamma = a^2 kappa
    (1/pi for ReLU, a = 1). MLP with ReLU shaped at the rate of the depth: V^{aa} is constant and
    gamma = (c_+ - c_-)^2 / (2 pi). The two are one equation when (c_+ - c_-)^2 = 2 a^2 (for ReLU in the ResNet).
    Source: Li & Nica 2023, first result; solved in closed form through the clock of ``deeplim.limits.flow``.
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
    def why_not(network: Network) -> str | None:
        """Return None for a ResNet with branch a/sqrt(depth), and for an MLP shaped at the rate of its depth."""
        if isinstance(network, MLP):
            if isinstance(network.activation, ShapedReLU) and network.activation.rate == "depth":
                return None
            return (
                "an MLP follows an ODE in layer/depth only when its ReLU is shaped at the rate of the depth "
                f"(s± = 1 + c±/sqrt(depth)); this one has {network.activation}."
            )
        if isinstance(network.activation, ShapedReLU):
            return "the residual branch is scaled down already; shaping its activation too leaves nothing but the skip."
        if network.skip != 1 or network.branch_factor is None:
            return (
                "a ResNet follows an ODE when its skip is 1 and its branch is a/sqrt(depth); "
                f"here skip = {network.skip:g} and branch = {network.branch}."
            )
        return None

    @property
    def parameters(self) -> dict[str, float]:
        """gamma, for an activation given by slopes; the growth rate a^2 of its log norm, for a ResNet."""
        network = self.network
        if isinstance(network, ResNet):
            growth = _branch_factor(network) ** 2
            found = {"growth": growth}
            if network.homogeneous:
                found["gamma"] = growth * slope_kernel_strength(*network.slopes)
            return found
        activation = network.activation
        assert isinstance(activation, ShapedReLU)
        return {"gamma": (activation.c_plus - activation.c_minus) ** 2 / (2 * np.pi)}

    def _sample(self, inputs: Inputs, time: Float[np.ndarray, " layer"], samples: int, seed: int) -> Paths:
        pairs = np.triu_indices(inputs.count, 1)
        if not self.network.homogeneous:
            log_norm, gap = self._integrate(inputs, time, pairs)
        else:
            parameters = self.parameters
            log_norm = inputs.log_norm + parameters.get("growth", 0.0) * time[:, None]
            gap = nuhat_flow(inputs.gap[pairs], parameters["gamma"] * time[:, None])
        return self._paths(log_norm[None], np.log(gap)[None], time, inputs)

    def _integrate(self, inputs: Inputs, time: np.ndarray, pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
        """dV = a^2 K(V) ds for any activation, by DOP853 to 1e-9, with the kernel from quadrature."""
        from scipy.integrate import solve_ivp

        network, m = self.network, inputs.count
        assert isinstance(network, ResNet)
        square = _branch_factor(network) ** 2

        def speed(_: float, state: np.ndarray) -> np.ndarray:
            log_norm, gap = state[:m], np.minimum(np.exp(state[m:]), 2.0)
            log_new, gap_new = kernel_map(network, log_norm, gap, pairs)
            growth = square * np.exp(log_new - log_norm)
            first, second = growth[pairs[0]], growth[pairs[1]]
            # rho' = sqrt(growth_a growth_b) rho_new - rho (growth_a + growth_b) / 2, written in gaps
            apart = (np.sqrt(first) - np.sqrt(second)) ** 2 / 2
            turn = apart + np.sqrt(first * second) * gap_new - gap * (first + second) / 2
            return np.concatenate([growth, turn / gap])

        begin = np.concatenate([inputs.log_norm, np.log(inputs.gap[pairs])])
        end = max(float(time[-1]), 1e-9)
        solved = solve_ivp(speed, (0, end), begin, method="DOP853", t_eval=time, rtol=1e-9, atol=1e-12)
        if not solved.success:
            raise LimitError(f"the covariance ODE could not be solved for {network.activation}: {solved.message}.")
        return solved.y[:m].T, np.exp(solved.y[m:].T)


def _branch_factor(network: ResNet) -> float:
    assert network.branch_factor is not None
    return network.branch_factor
