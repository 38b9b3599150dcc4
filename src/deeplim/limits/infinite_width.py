"""The infinite-width recursion: the covariance of a network of finite depth as its width grows without bound."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from deeplim.activations import Elementwise
from deeplim.architecture import MLP, Network
from deeplim.errors import LimitError
from deeplim.gaussian import mean_square, mean_square_difference, nuhat, slope_kernel_strength
from deeplim.inputs import Inputs
from deeplim.limits.base import AbstractLimit
from deeplim.paths import Paths

Pairs = tuple[np.ndarray, np.ndarray]
_RESOLVED = 1e-300
"""Smallest gap that quadrature returns, so that its logarithm is finite."""


@dataclass(frozen=True)
class InfiniteWidth(AbstractLimit):
    """V_{l+1} = K(V_l) for the MLP and skip^2 V_l + branch^2 K(V_l) for the ResNet; K^{ab} = c E phi(g^a) phi(g^b).

    For two slopes K(rho) = rho + kappa nuhat(rho), kappa = (s_+ - s_-)^2 / (pi (s_+^2 + s_-^2)), followed in the gap
    1 - rho so that nothing is lost as inputs align; for other activations K is found by Gaussian quadrature.
    Source: Cho & Saul 2009; Daniely, Frostig & Singer 2016; Li & Nica 2023, section 2.
    """

    name = "infinite-width"
    title = "Infinite-width recursion"
    clock = "layer"
    equation = r"V_{\ell+1} = K(V_\ell), \qquad K^{ab}(V) = c\, \mathbb{E}\,\varphi(g^a)\varphi(g^b), \; g \sim N(0, V)"
    statement = "At infinite width every network of this depth has the same covariances; this is the map they follow."
    accuracy = (
        "A network of width n and depth d fluctuates about it: an MLP by about sqrt(d/n), a ResNet with branch "
        "a/sqrt(d) by about n^(-1/2)."
    )
    source = "Cho & Saul 2009; Daniely et al. 2016; Li & Nica 2023, section 2"
    deterministic = True

    @staticmethod
    def why_not(network: Network) -> str | None:
        """Return None: every network has an infinite-width recursion."""
        return None

    @property
    def parameters(self) -> dict[str, float]:
        """c, and kappa for an activation given by slopes."""
        found = {"c": self.network.gain}
        if self.network.homogeneous:
            found["kappa"] = slope_kernel_strength(*self.network.slopes)
        return found

    def _sample(self, inputs: Inputs, time: Float[np.ndarray, " layer"], samples: int, seed: int) -> Paths:
        pairs = np.triu_indices(inputs.count, 1)
        log_norm, gap = inputs.log_norm.copy(), inputs.gap[pairs]
        norms, gaps = [], []
        for layer in range(int(time.max()) + 1):
            if layer > 0:
                with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                    log_norm, gap = self._step(log_norm, gap, pairs)
            if not (np.isfinite(log_norm).all() and np.isfinite(gap).all()):
                raise LimitError(f"at infinite width the norms of {self.network} leave every float by layer {layer}.")
            if layer in time:
                norms.append(log_norm)
                gaps.append(gap)
        return self._paths(np.array([norms]), np.log(np.array([gaps])), time, inputs)

    def _step(self, log_norm: np.ndarray, gap: np.ndarray, pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
        """One layer; the covariance of a sum is the sum, so norms and gaps mix with the weights of the two branches."""
        network = self.network
        log_new, gap_new = kernel_map(network, log_norm, gap, pairs)
        if isinstance(network, MLP):
            return log_new, gap_new
        kept, added = _log_square(network.skip) + log_norm, _log_square(network.branch_scale) + log_new
        total = np.logaddexp(kept, added)
        # 1 - rho = 1 - sum of sqrt(share_a share_b) rho over the two branches, whose shares of V^{aa} add up to one;
        # one minus the sum of square roots is half the squared distance of the roots, so nothing cancels.
        roots = [np.exp((part - total) / 2) for part in (kept, added)]
        apart = sum((root[pairs[0]] - root[pairs[1]]) ** 2 for root in roots) / 2
        both = [root[pairs[0]] * root[pairs[1]] for root in roots]
        return total, np.asarray(apart + both[0] * gap + both[1] * gap_new)


def kernel_map(
    network: Network, log_norm: np.ndarray, gap: np.ndarray, pairs: Pairs
) -> tuple[Float[np.ndarray, " input"], Float[np.ndarray, " pair"]]:
    """Return log norms and gaps of K(V), K^{ab} = c E phi(g^a) phi(g^b): one layer of an MLP of infinite width."""
    if isinstance(network.activation, Elementwise):
        return _quadrature(network, log_norm, gap, pairs)
    kappa = slope_kernel_strength(*network.slopes)
    return log_norm, gap - kappa * nuhat(gap)


def _quadrature(network: Network, log_norm: np.ndarray, gap: np.ndarray, pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
    assert isinstance(network.activation, Elementwise)
    phi, c = network.activation.load(), network.gain
    roots = np.exp(log_norm / 2)
    new = np.array([c * mean_square(phi, variance) for variance in np.exp(log_norm)])
    new_roots = np.sqrt(new)
    # 2 |a| |b| (1 - rho) = E (phi(a) - phi(b))^2 - (|a| - |b|)^2
    apart = np.array(
        [c * mean_square_difference(phi, (roots[i], roots[j]), g) for i, j, g in zip(*pairs, gap, strict=True)]
    )
    first, second = new_roots[pairs[0]], new_roots[pairs[1]]
    return np.log(new), np.clip((apart - (first - second) ** 2) / (2 * first * second), _RESOLVED, 2.0)


def _log_square(scale: float) -> float:
    return 2 * float(np.log(abs(scale))) if scale else -np.inf
