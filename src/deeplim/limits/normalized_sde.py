"""Normalization and shaping together: the correlation stays a diffusion, and what attracts it moves."""

from dataclasses import dataclass

from deeplim.activations import Shaped
from deeplim.architecture import MLP, Network
from deeplim.limits.covariance_sde import shaping_strength, strong_shaping, why_no_shaped_relu
from deeplim.limits.families import CENTRED_NUHAT, CENTRED_SQUARE, NUHAT, QUADRATIC
from deeplim.limits.sde import AbstractSDE, Dynamics
from deeplim.limits.smooth_sde import smooth_strengths, why_no_smooth_shaping


@dataclass(frozen=True)
class NormalizedSDE(AbstractSDE):
    """d rho = [drift - rho (1 - rho^2) / 2] dt + (1 - rho^2) dB, t = layer/width, norms one: RMSNorm or LayerNorm.

    The drift depends on the shaping and on whether means over the neurons are subtracted after the activation:

    - shaped ReLU, RMSNorm anywhere or LayerNorm before it: gamma nuhat(rho), attracted to 1 (as without);
    - shaped ReLU, LayerNorm after it: gamma (nuhat(rho) - 1 + rho), attracted to 0;
    - smooth shaping, RMSNorm anywhere or LayerNorm before it: p (1 - rho)(1 - 2 rho), attracted to 1/2;
    - smooth shaping, LayerNorm after it: -2 p rho (1 - rho), attracted to 0.

    gamma = (c_+ - c_-)^2 / (2 pi), p = phi''(0)^2 / (4 a^2); an odd function has p = 0 and the law of a linear network.
    Before the activation the mean of the preactivations is of order n^(-1/2), and subtracting it changes nothing in
    the limit. Several inputs diffuse jointly, as in the covariance SDE with every norm divided out.
    Source: derived here from Li, Nica & Roy 2022 by dividing by the norms; an answer to the question that Li & Nica
    2023 leave open.
    """

    name = "normalized-sde"
    title = "Normalized covariance SDE"
    equation = (
        r"d\rho = \left[f(\rho) - \tfrac12 \rho (1-\rho^2)\right] dt + (1-\rho^2)\,dB, \quad f = "
        r"\gamma \hat\nu(\rho), \; \gamma (\hat\nu(\rho) - 1 + \rho), \; p (1-\rho)(1-2\rho), \; -2p\rho(1-\rho)"
    )
    statement = "Normalization fixes the norms and shaping keeps the correlation a diffusion in layer/width."
    accuracy = "A network of width n differs from it by about n^(-1/2), the size of the shaping."
    source = "derived here after Li, Nica & Roy 2022; the question is of Li & Nica 2023"

    @staticmethod
    def _why_not(network: Network) -> str | None:
        """Return None for an MLP with RMSNorm or LayerNorm and a shaped activation."""
        if not isinstance(network, MLP):
            return "it is derived for an MLP; for a normalized ResNet the exact networks are the answer."
        if network.normalization == "none":
            return "it is for networks with rmsnorm or layernorm, and this one has none."
        if network.normalization == "batchnorm":
            return "batchnorm acts across the inputs, so that no equation of pairs is closed; draw exact networks."
        if isinstance(network.activation, Shaped):
            return why_no_smooth_shaping(network)
        return why_no_shaped_relu(network)

    @property
    def dynamics(self) -> Dynamics:
        """The drift that goes with the shaping and the normalization, with unit noise."""
        network = self.network
        centred = network.normalization == "layernorm" and network.placement == "after-activation"
        if isinstance(network.activation, Shaped):
            p, _ = smooth_strengths(network)
            return Dynamics(CENTRED_SQUARE if centred else QUADRATIC, p, normalised=True)
        return Dynamics(CENTRED_NUHAT if centred else NUHAT, shaping_strength(network), normalised=True)

    @property
    def attracting(self) -> float | None:
        """The correlation that the drift of the activation alone leads to: 1, 1/2 or 0; None where it has no drift."""
        if self.dynamics.p == 0:
            return None
        return {NUHAT: 1.0, CENTRED_NUHAT: 0.0, QUADRATIC: 0.5, CENTRED_SQUARE: 0.0}[self.dynamics.law]

    @property
    def advice(self) -> str | None:
        """What to know of a shaping so strong at this width that the limit is far."""
        return strong_shaping(self.network)

    @property
    def parameters(self) -> dict[str, float]:
        """gamma or p, and T = depth/width."""
        name = "p" if isinstance(self.network.activation, Shaped) else "gamma"
        return {name: self.dynamics.p, "T": self.network.aspect}
