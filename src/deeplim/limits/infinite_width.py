"""The infinite-width recursion: the covariance of a network of finite depth as its width grows without bound."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from deeplim.architecture import Network
from deeplim.differences import Rows, in_coordinates
from deeplim.errors import LimitError
from deeplim.gaussian import slope_kernel_strength
from deeplim.inputs import Inputs
from deeplim.limits.base import AbstractLimit
from deeplim.limits.kernels import SMALLEST_GAP, has_gaussian_rows, layer_map, mirrored_normals, roots_for_rows
from deeplim.limits.kernels import kernel_map as kernel_map
from deeplim.normalization import check_normalization
from deeplim.paths import Paths
from deeplim.walk import Walk

Followed = tuple[list[np.ndarray], list[np.ndarray]]


@dataclass(frozen=True)
class InfiniteWidth(AbstractLimit):
    """V_{l+1} = K(V_l) for the MLP and skip^2 V_l + branch^2 K(V_l) for the ResNet.

    K^{ab} = c E phi(g^a) phi(g^b) + sigma_b^2, with the network's own weight variance c and bias variance sigma_b^2
    (Poole et al. 2016), whether or not they are critical.
    For two slopes K(rho) = rho + kappa nuhat(rho), kappa = (s_+ - s_-)^2 / (pi (s_+^2 + s_-^2)), followed in the gap
    1 - rho so that nothing is lost as inputs align; for other activations K is found by Gaussian quadrature. With a
    normalization K is what ``deeplim.limits.kernels`` says; batchnorm has no closed form and is averaged over rows:
    to 1e-3 for a few inputs, 1e-2 for many or in a ResNet with it before or after the sum, where rows are not Gaussian.
    Source: Cho & Saul 2009; Daniely, Frostig & Singer 2016; Li & Nica 2023, section 2.
    """

    name = "infinite-width"
    title = "Infinite-width recursion"
    clock = "layer"
    equation = (
        r"V_{\ell+1} = K(V_\ell), \qquad "
        r"K^{ab}(V) = c\, \mathbb{E}\,\varphi(g^a)\varphi(g^b) + \sigma_b^2, \; g \sim N(0, V)"
    )
    statement = "At infinite width every network of this depth has the same covariances; this is the map they follow."
    accuracy = (
        "A network of width n and depth d fluctuates about it: an MLP by about sqrt(d/n), a ResNet with branch "
        "a/sqrt(d) by about n^(-1/2)."
    )
    source = "Cho & Saul 2009; Daniely et al. 2016; Poole et al. 2016; Li & Nica 2023, section 2"
    deterministic = True
    any_variances = True

    @staticmethod
    def _why_not(network: Network) -> str | None:
        """Return None: every network has an infinite-width recursion."""
        return None

    @property
    def parameters(self) -> dict[str, float]:
        """c, sigma_b^2 where there are biases, and kappa for an activation given by slopes."""
        found = {"c": self.network.gain}
        if self.network.bias_variance:
            found["sigma_b^2"] = self.network.bias_variance
        if self.network.homogeneous:
            found["kappa"] = slope_kernel_strength(*self.network.slopes)
        return found

    def _sample(self, inputs: Inputs, time: Float[np.ndarray, " layer"], samples: int, seed: int) -> Paths:
        check_normalization(self.network, inputs)
        follow = self._follow_covariances if has_gaussian_rows(self.network) else self._follow_rows
        norms, gaps = follow(inputs, time)
        with np.errstate(divide="ignore"):  # a gap below every float: biases have made the inputs parallel
            log_gaps = np.log(np.array([gaps]))
        return self._paths(np.array([norms]), log_gaps, time, inputs)

    def _follow_covariances(self, inputs: Inputs, time: np.ndarray) -> Followed:
        pairs = np.triu_indices(inputs.count, 1)
        log_norm, gap = inputs.log_norm.copy(), inputs.gap[pairs]
        norms, gaps = [], []
        for layer in range(int(time.max()) + 1):
            if layer > 0:
                with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                    log_norm, gap = layer_map(self.network, log_norm, gap, pairs, rows=layer)
            self._check(layer, log_norm, gap)
            if layer in time:
                norms.append(log_norm)
                gaps.append(gap)
        return norms, gaps

    def _follow_rows(self, inputs: Inputs, time: np.ndarray) -> Followed:
        """The same where rows are not Gaussian: by 65,536 of them (fewer for many inputs), the same always."""
        network = self.network
        scale_free = network.homogeneous and network.placement == "after-sum"
        begin = in_coordinates(roots_for_rows(inputs.log_norm, scale_free), inputs.gap)
        rng = np.random.default_rng(0)

        def normals(rows: Rows) -> np.ndarray:
            found, old = mirrored_normals(inputs.count, rng), rows.values
            if old.size:
                # New weights know nothing of the rows; what these rows seem to know by chance is taken out.
                across = old.transpose(0, 2, 1)
                found -= (found @ across) @ np.linalg.pinv(old @ across, hermitian=True) @ old
            return found

        walk = Walk(network, begin, 1, normals)
        norms, gaps = [], []
        for layer in range(int(time.max()) + 1):
            log_norm, gap = inputs.log_norm, inputs.gap[np.triu_indices(inputs.count, 1)]
            if layer > 0:
                walk.step()
                log_norm, log_gap = (found[0] for found in walk.norms_and_gaps())
                gap = np.maximum(np.exp(log_gap), SMALLEST_GAP)
            self._check(layer, log_norm, gap)
            if layer in time:
                norms.append(log_norm)
                gaps.append(gap)
        return norms, gaps

    def _check(self, layer: int, log_norm: np.ndarray, gap: np.ndarray) -> None:
        if not (np.isfinite(log_norm).all() and np.isfinite(gap).all()):
            raise LimitError(f"at infinite width the norms of {self.network} leave every float by layer {layer}.")
