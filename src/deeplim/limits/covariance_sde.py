"""The covariance SDE of the proportional regime: depth and width grow together, ReLU shaped at their rate."""

from dataclasses import dataclass

import numpy as np

from deeplim.activations import ShapedReLU
from deeplim.architecture import MLP, Network
from deeplim.limits.families import NUHAT
from deeplim.limits.sde import LARGEST_STRENGTH, AbstractSDE, Dynamics

_MILD = 0.7, 1.4
"""What a layer of shaped ReLU may do to correlations, over what the limit says, without a warning."""


@dataclass(frozen=True)
class CovarianceSDE(AbstractSDE):
    """dV = b(V) dt + Sigma(V)^(1/2) dB, t = layer/width, for an MLP with ReLU shaped at the rate of width (or depth).

    b^{ab} = gamma nuhat(rho^{ab}) sqrt(V^{aa} V^{bb}) for a != b and 0 on the diagonal, gamma = (c_+ - c_-)^2 / (2 pi)
    times width/rate; Sigma^{ab,cd} = V^{ac} V^{bd} + V^{ad} V^{bc}. Hence log V^{aa}_t ~ log V^{aa}_0 + N(-t, 2t), and
    d rho = [gamma nuhat(rho) - rho (1 - rho^2) / 2] dt + (1 - rho^2) dB. Any number of inputs; the linear network is
    gamma = 0. Source: Li, Nica & Roy 2022, theorem 3.2; Li & Nica 2023, equation for the correlation.
    """

    name = "sde"
    title = "Covariance SDE"
    equation = (
        r"dV = b(V)\,dt + \Sigma(V)^{1/2} dB, \quad b^{ab} = \gamma\, \hat\nu(\rho^{ab}) \sqrt{V^{aa} V^{bb}}, \quad "
        r"\Sigma^{ab,cd} = V^{ac} V^{bd} + V^{ad} V^{bc}"
    )
    statement = "With depth/width fixed the covariance stays random: it is a diffusion in layer/width."
    accuracy = "A network of width n differs from it by about n^(-1/2), the size of the shaping."
    source = "Li, Nica & Roy 2022; Li & Nica 2023"

    @staticmethod
    def _why_not(network: Network) -> str | None:
        """Return None for an MLP with shaped ReLU, or a linear one."""
        if not isinstance(network, MLP):
            return "it is derived for an MLP; a ResNet whose branch keeps its size in depth has an SDE of its own."
        if network.normalization != "none":
            return f"it leaves the norms free, and {network.normalization} fixes them; there is an SDE for that."
        return why_no_shaped_relu(network)

    @property
    def dynamics(self) -> Dynamics:
        """The drift gamma nuhat, with unit noise."""
        return Dynamics(NUHAT, shaping_strength(self.network))

    @property
    def advice(self) -> str | None:
        """What to know of a shaping so strong at this width that the limit is far."""
        return strong_shaping(self.network)

    @property
    def parameters(self) -> dict[str, float]:
        """gamma and T = depth/width."""
        return {"gamma": shaping_strength(self.network), "T": self.network.aspect}


def is_linear(network: Network) -> bool:
    """Return whether phi is the identity."""
    return not isinstance(network.activation, ShapedReLU) and network.homogeneous and len(set(network.slopes)) == 1


def why_no_shaped_relu(network: Network) -> str | None:
    """Return why the activation is neither linear nor a ReLU shaped at rate 1/2 and moderately, or None if it is."""
    activation = network.activation
    if is_linear(network):
        return None
    if not isinstance(activation, ShapedReLU):
        return (
            "the covariance of an MLP follows it only when its activation is a shaped ReLU, s± = 1 + c±/sqrt(width); "
            f"{activation} is something else."
        )
    if activation.exponent != 0.5:
        way = "vanishes" if activation.exponent > 0.5 else "grows without bound"
        return (
            f"its drift exists for shaping at the exponent 1/2; at {activation.exponent:g} the drift {way} with the "
            "width."
        )
    gamma = shaping_strength(network)
    if gamma > LARGEST_STRENGTH:
        return (
            f"its drift gamma = {gamma:.3g} is beyond {LARGEST_STRENGTH:g}: shaping this strong at this "
            "width is no shaping; choose c_plus and c_minus of order one."
        )
    return None


def shaping_strength(network: Network) -> float:
    """Return gamma = (c_+ - c_-)^2 / (2 pi) times width/rate for a shaped ReLU, and 0 for a linear network."""
    activation = network.activation
    if not isinstance(activation, ShapedReLU):
        return 0.0
    rate = network.width if activation.rate == "width" else network.depth
    apart = activation.c_plus - activation.c_minus
    return apart * apart / (2 * np.pi) * network.width / rate


def strong_shaping(network: Network) -> str | None:
    """Return a warning where one layer moves correlations by much more or less than the limit of shaping says.

    A layer's kernel moves them by kappa nuhat(rho), kappa = (s_+ - s_-)^2 / (pi (s_+^2 + s_-^2)), and the limit takes
    s_+ and s_- for one in the denominator.
    """
    if not isinstance(network.activation, ShapedReLU):
        return None
    s_plus, s_minus = network.slopes
    ratio = 2 / (s_plus * s_plus + s_minus * s_minus)
    if _MILD[0] <= ratio <= _MILD[1]:
        return None
    return (
        f"at this size the slopes are {s_plus:.3g} and {s_minus:.3g}, far from one, and a layer moves correlations "
        f"{ratio:.2g} times as much as the limit says; trust the moment chain or exact networks."
    )
