"""The covariance SDE of a shaped ResNet whose branch keeps its size as depth and width grow."""

from dataclasses import dataclass
from math import hypot, log

from deeplim.activations import Shaped
from deeplim.architecture import MLP, NORM_PRESERVING, Network, ResNet
from deeplim.limits.covariance_sde import shaping_strength, strong_shaping, why_no_shaped_relu
from deeplim.limits.families import NUHAT, SMOOTH
from deeplim.limits.sde import AbstractSDE, Dynamics
from deeplim.limits.smooth_sde import smooth_strengths, why_no_smooth_shaping


@dataclass(frozen=True)
class ResNetSDE(AbstractSDE):
    """dV = g^2 b(V) dt + (g^2 (2 - g^2))^(1/2) Sigma(V)^(1/2) dB, t = layer/width, for a shaped ResNet.

    g^2 = branch^2 / (skip^2 + branch^2) is the branch's share of the variance, b the drift of the shaped MLP and Sigma
    its noise; log V^{aa} also grows by log(skip^2 + branch^2) a layer. For skip = 0 it is the SDE of the MLP. The noise
    is that of a branch g^4 Sigma with the cross term 2 g^2 (1 - g^2) Sigma. A smooth activation needs a
    norm-preserving skip. Source: Noci et al. 2023 (the linear part of the shaped transformer); Li, Nica & Roy 2022.
    """

    name = "resnet-sde"
    title = "Shaped ResNet SDE"
    equation = r"dV = g^2\, b(V)\,dt + \left(g^2 (2 - g^2)\right)^{1/2} \Sigma(V)^{1/2} dB"
    statement = "A shaped ResNet with a branch of fixed size is the diffusion of the shaped MLP, slowed down."
    accuracy = (
        "A network of width n differs from it by about n^(-1/2), the size of the shaping and of the spread of V_0."
    )
    source = "after Noci et al. 2023 and Li, Nica & Roy 2022"

    @staticmethod
    def _why_not(network: Network) -> str | None:
        """Return None for a ResNet with a shaped activation and a branch of fixed size."""
        if isinstance(network, MLP):
            return "it is for a ResNet; a shaped MLP has an SDE of its own."
        if network.branch_factor is not None and network.branch_exponent > 0:
            return "it needs a branch of fixed size, such as 0.5; one that shrinks with the depth leaves no diffusion."
        if network.branch_scale == 0:
            return "its branch is 0: nothing is added to the skip, and nothing is random after the first layer."
        if network.normalization != "none":
            return f"it is derived without normalization, and this network has {network.normalization}."
        if not isinstance(network.activation, Shaped):
            return why_no_shaped_relu(network)
        if abs(hypot(network.skip_scale, network.branch_scale) - 1) > 1e-9:
            return (
                "a smooth activation needs norms near one, and a layer multiplies them by sqrt(skip^2 + branch^2) = "
                f"{hypot(network.skip_scale, network.branch_scale):.4g}; give skip = {NORM_PRESERVING!r}."
            )
        return why_no_smooth_shaping(network)

    @property
    def share(self) -> float:
        """g^2 = branch^2 / (skip^2 + branch^2)."""
        assert isinstance(self.network, ResNet)
        part = self.network.branch_scale / hypot(self.network.skip_scale, self.network.branch_scale)
        return part * part

    @property
    def dynamics(self) -> Dynamics:
        """The drift of the MLP times g^2 and noise g^2 (2 - g^2)."""
        network, share = self.network, self.share
        assert isinstance(network, ResNet)
        noise = share * (2 - share)
        if isinstance(network.activation, Shaped):
            p, q = smooth_strengths(network)
            return Dynamics(SMOOTH, share * p, share * q, noise=noise)
        growth = 2 * log(hypot(network.skip_scale, network.branch_scale))
        return Dynamics(NUHAT, share * shaping_strength(network), noise=noise, growth=growth)

    @property
    def advice(self) -> str | None:
        """What to know of a shaping so strong at this width that the limit is far."""
        return strong_shaping(self.network)

    @property
    def parameters(self) -> dict[str, float]:
        """The branch's share g^2, the drift's strengths, the noise strength and T = depth/width."""
        dynamics = self.dynamics
        drift = {"p": dynamics.p, "q": dynamics.q} if dynamics.law == SMOOTH else {"gamma": dynamics.p}
        return {"share": self.share} | drift | {"noise": dynamics.noise, "T": self.network.aspect}
