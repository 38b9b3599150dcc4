"""The covariance SDE of smooth shaped activations, whose norms may explode or die."""

from dataclasses import dataclass

import numpy as np

from deeplim.activations import Shaped
from deeplim.architecture import MLP, Network
from deeplim.limits.families import SMOOTH
from deeplim.limits.laws import explosion_probability
from deeplim.limits.sde import LARGEST_STRENGTH, AbstractSDE, Dynamics


@dataclass(frozen=True)
class SmoothSDE(AbstractSDE):
    """dV = b(V) dt + Sigma(V)^(1/2) dB, t = layer/width, for an MLP with phi_s(x) = s phi(x/s), s = a sqrt(width).

    b^{ab} = p (V^{aa} V^{bb} + V^{ab} (2 V^{ab} - 3)) + q V^{ab} (V^{aa} + V^{bb} - 2), p = phi''(0)^2 / (4 a^2),
    q = phi'''(0) / (2 a^2), phi normalised to phi(0) = 0 and phi'(0) = 1. A norm follows dV = beta V (V - 1) dt +
    sqrt(2) V dB, beta = 3 p + 2 q. For beta > 0 it explodes in finite time with probability gammainc(beta + 1,
    beta V_0), and dies otherwise; for -1 <= beta <= 0 it dies; for beta < -1 it has the stationary law
    Gamma(|beta| - 1, rate |beta|). Explosions are counted, with their times: ``explosion_times``.
    Source: Li, Nica & Roy 2022, theorem 3.9 and proposition 3.8.
    """

    name = "smooth-sde"
    title = "Smooth covariance SDE"
    equation = (
        r"dV = b(V)\,dt + \Sigma(V)^{1/2} dB, \quad b^{ab} = p \left(V^{aa} V^{bb} + V^{ab} (2 V^{ab} - 3)\right) "
        r"+ q V^{ab} (V^{aa} + V^{bb} - 2)"
    )
    statement = (
        "With depth/width fixed the covariance is a diffusion in layer/width, and its norm explodes, dies or settles "
        "by the sign and size of beta."
    )
    accuracy = (
        "A network of width n differs from it by about 1/n times powers of 1/a, as long as norms stay below a^2 n."
    )
    source = "Li, Nica & Roy 2022"

    @staticmethod
    def _why_not(network: Network) -> str | None:
        """Return None for an MLP with a smooth activation shaped at the rate 1/2."""
        if not isinstance(network, MLP):
            return "it is derived for an MLP; a ResNet whose branch keeps its size in depth has an SDE of its own."
        if network.normalization != "none":
            return f"it leaves the norms free, and {network.normalization} fixes them; there is an SDE for that."
        return why_no_smooth_shaping(network)

    @property
    def dynamics(self) -> Dynamics:
        """The drift of smooth shaping, with unit noise."""
        return Dynamics(SMOOTH, *smooth_strengths(self.network))

    @property
    def beta(self) -> float:
        """(3/4 phi''(0)^2 + phi'''(0)) / a^2, at the rate of the width."""
        p, q = smooth_strengths(self.network)
        return 3 * p + 2 * q

    @property
    def parameters(self) -> dict[str, float]:
        """p, q, beta, the derivatives of the normalised function, and T = depth/width."""
        p, q = smooth_strengths(self.network)
        assert isinstance(self.network.activation, Shaped)
        phi = self.network.activation.derivatives
        found = {"p": p, "q": q, "beta": self.beta, "phi''(0)": phi.second, "phi'''(0)": phi.third}
        return found | {"T": self.network.aspect}

    @property
    def _size(self) -> tuple[int, int]:
        return self.network.width, self.network.depth

    @property
    def _per_rate(self) -> float:
        """width / rate."""
        assert isinstance(self.network.activation, Shaped)
        return 1.0 if self.network.activation.rate == "width" else self.network.width / self.network.depth

    def explosion_probability(self, norm: float = 1.0) -> float:
        """Return the probability that V explodes in finite time from V_0 = norm: gammainc(beta + 1, beta V_0), or 0."""
        return explosion_probability(self.beta, norm)

    @property
    def advice(self) -> str | None:
        """What the sign of beta means for the norm, when it does not settle; None when it does (beta < -1)."""
        beta = self.beta
        if beta < -1:
            return None
        phi = self.network.activation.derivatives  # type: ignore[union-attr]
        drive = 0.75 * phi.second**2 + phi.third
        cure = (
            f"choose a below {np.sqrt(-drive * self._per_rate):.3g}, where |beta| > 1"
            if drive < 0
            else "no scale a changes that for this function: choose an odd one such as tanh, or add rmsnorm"
        )
        if beta > 0:
            return (
                f"beta = {beta:.3g} > 0: from unit norm it explodes at some depth with probability "
                f"{self.explosion_probability():.3g} and dies otherwise, as long as it stays well below the scale "
                f"s^2 = {self.network.activation.scale(*self._size) ** 2:.3g}; {cure}."  # type: ignore[union-attr]
            )
        return f"beta = {beta:.3g} is not below -1: the norm dies as depth/width grows; {cure}."


def why_no_smooth_shaping(network: Network) -> str | None:
    """Return why the activation is not a smooth function shaped at the rate 1/2 and moderately, or None if it is."""
    activation = network.activation
    if not isinstance(activation, Shaped):
        return f"it is for a smooth function shaped as s phi(x/s), s = a sqrt(width); {activation} is something else."
    if activation.exponent != 0.5:
        way = "vanishes" if activation.exponent > 0.5 else "grows without bound"
        return (
            f"its drift exists for shaping at the exponent 1/2; at {activation.exponent:g} the drift {way} with the "
            "width."
        )
    p, q = smooth_strengths(network)
    if 3 * p + 2 * abs(q) > LARGEST_STRENGTH:
        return (
            f"its drift, p = {p:.3g} and q = {q:.3g}, is beyond {LARGEST_STRENGTH:g}: shaping this strong at this "
            "width is no shaping; choose a of order one."
        )
    return None


def smooth_strengths(network: Network) -> tuple[float, float]:
    """Return p = phi''(0)^2 / (4 a^2) and q = phi'''(0) / (2 a^2), times width/rate."""
    activation = network.activation
    assert isinstance(activation, Shaped)
    rate = network.width if activation.rate == "width" else network.depth
    scale = network.width / (rate * activation.a * activation.a)
    phi = activation.derivatives
    return phi.second**2 / 4 * scale, phi.third / 2 * scale
