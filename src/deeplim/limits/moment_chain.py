"""The moment chain: every layer's mean and scatter at this width, at a cost that does not depend on the width."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float

from deeplim.architecture import MLP, Network
from deeplim.gaussian import slope_kernel_strength
from deeplim.inputs import Inputs
from deeplim.limits.base import AbstractLimit
from deeplim.limits.layer_moments import slope_moments
from deeplim.limits.log_cumulants import scatter_map
from deeplim.limits.moment_grid import first_layer, function_grid
from deeplim.limits.moment_pairs import PairStates
from deeplim.limits.stepping import in_batches, in_blocks
from deeplim.parallel import stop_flag
from deeplim.paths import Paths

LEAST_WIDTH = 16
"""Below it a layer's law is not that of its moments: one in a thousand ReLU layers of width 10 is dead."""
_ANGLES = 2048


@dataclass(frozen=True)
class MomentChain(AbstractLimit):
    """V_{l+1} = K(V_l) + n^(-1/2) C(V_l)^(1/2) xi for an MLP of width n, sampled so that V stays positive definite.

    K is the mean of a layer, C / n its covariance, C^{ab,cd} = c^2 Cov(phi^a phi^b, phi^c phi^d). With K = L L^T the
    layer is L W L^T, W = T T^T, and the logarithms of T's diagonal and its third entry are given the means, covariances
    and third cumulants that they have at width n, to order 1/n^2; biases add sigma_b^2 to every entry. For ReLU and
    small angles 1 - rho is thus multiplied by a variable with those of chi^2_{N-1} / chi^2_N, N ~ Binomial(n, 1/2)
    (Jakub & Nica 2023). For two slopes without biases all depends on the angle alone and is tabulated in it; anything
    else is integrated on a grid of norms and differences. It describes continuous functions; sampling one that jumps
    raises LimitError.
    """

    name = "moments"
    title = "Moment chain"
    clock = "layer"
    equation = (
        r"V_{\ell+1} = K(V_\ell) + \sigma_b^2 + n^{-1/2}\, C(V_\ell)^{1/2}\, \xi_\ell, \qquad "
        r"C^{ab,cd} = c^2\, \mathrm{Cov}(\varphi^a \varphi^b, \varphi^c \varphi^d)"
    )
    statement = (
        "Each layer moves a pair by its mean and its scatter at this width: no limit is taken, in width or depth."
    )
    accuracy = (
        "What it leaves at depth d is of order d/n^3: means were within 0.08 standard deviations of exact networks at "
        "widths from 32 and depths to 1024; it holds from width 16 on, and cannot say how often a narrow network dies."
    )
    source = "Cho & Saul 2009 for the moments; Jakub & Nica 2023 for the angle at finite width"
    deterministic = False
    most_inputs = 2
    any_variances = True

    @staticmethod
    def _why_not(network: Network) -> str | None:
        """Return None for an MLP without normalization of width 16 or more."""
        if not isinstance(network, MLP):
            return (
                "no correction of order 1/width closes in the covariance of a ResNet alone, as the distribution of its "
                "rows moves as slowly; use exact networks."
            )
        if network.normalization != "none":
            return f"its layers are sums over neurons, and {network.normalization} makes them depend on each other."
        if network.width < LEAST_WIDTH:
            return (
                f"a layer of width {network.width} is not described by its moments, which takes {LEAST_WIDTH}; exact "
                "networks cost least there."
            )
        return None

    @property
    def parameters(self) -> dict[str, float]:
        """n, the width, c, and sigma_b^2 where there are biases."""
        biased = {"sigma_b^2": self.network.bias_variance} if self.network.bias_variance else {}
        return {"n": float(self.network.width), "c": self.network.gain} | biased

    def _sample(self, inputs: Inputs, time: Float[np.ndarray, " layer"], samples: int, seed: int) -> Paths:
        layers = np.round(time).astype(np.int64)
        log_norm = np.resize(inputs.log_norm, 2)
        gap = float(inputs.gap[0, 1]) if inputs.count == 2 else np.nan
        norms, gaps = np.empty((samples, len(layers), 2)), np.empty((samples, len(layers)))
        angle_alone = self.network.homogeneous and self.network.bias_variance == 0
        follow = _follow_slopes if angle_alone else _follow_function
        follow(self.network, log_norm, gap, layers, seed, norms, gaps)
        norms, gaps = norms[:, :, : inputs.count], gaps[:, :, None][:, :, : inputs.count - 1]
        norms[np.isnan(norms)] = np.inf  # a square overflowed beside an exploded norm
        alive = np.asarray(np.isfinite(norms).all(axis=2))
        log_gap = np.where(alive[:, :, None], np.log(np.where(alive[:, :, None], gaps, 1.0)), np.nan)
        return self._paths(norms, log_gap, time, inputs, alive=alive)


def _follow_slopes(
    network: Network,
    log_norm: np.ndarray,
    gap: float,
    layers: np.ndarray,
    seed: int,
    norms: np.ndarray,
    gaps: np.ndarray,
) -> None:
    from deeplim.limits.moment_steps import slope_paths

    gap = 1.0 if np.isnan(gap) else gap
    table, scale = slope_table(network.slopes, network.width)
    kappa = slope_kernel_strength(*network.slopes)

    def fill(first: int, part: slice) -> None:
        slope_paths(seed, first, table, scale, kappa, log_norm, gap, layers, norms[part], gaps[part], stop_flag())

    in_batches(fill, len(norms))
    norms += (np.log(network.gain_ratio) * layers)[:, None]


@lru_cache(maxsize=32)
def slope_table(slopes: tuple[float, float], width: int) -> tuple[Float[np.ndarray, "angle 19"], float]:
    """Return the map of a layer of this width at angles pi - scale sinh(x), x evenly spaced, and the scale.

    Interpolated by cubics, a layer is right to 1e-9. The scale is that on which nearly equal slopes change the law of
    nearly opposite inputs. There is one node more at either end, extrapolated.
    """
    scale = min(max(np.sqrt(np.pi * slope_kernel_strength(*slopes)), 1e-3), 1.0)
    angle = np.pi - scale * np.sinh(np.linspace(0, np.arcsinh(np.pi / scale), _ANGLES))
    gap = np.maximum(2 * np.sin(np.maximum(angle, 0.0) / 2) ** 2, 1e-30)
    moments = slope_moments(slopes, gap)
    inner = scatter_map(moments.second, moments.third, width)
    before, after = 4 * inner[[0, -1]] - 6 * inner[[1, -2]] + 4 * inner[[2, -3]] - inner[[3, -4]]
    return np.concatenate([before[None], inner, after[None]]), scale


def _follow_function(
    network: Network,
    log_norm: np.ndarray,
    gap: float,
    layers: np.ndarray,
    seed: int,
    norms: np.ndarray,
    gaps: np.ndarray,
) -> None:
    unbiased, norm = network.model_copy(update={"bias_variance": 0.0}), (float(log_norm[0]), float(log_norm[1]))
    # an orthogonal input of the same size stands in for the second
    single, between = np.isnan(gap), 1.0 if np.isnan(gap) else gap
    grid = function_grid(unbiased)
    odd = grid.odd and network.bias_variance == 0
    first = first_layer(unbiased, norm, between, single=bool(single), odd=odd)

    def fill(rng: np.random.Generator, paths: int, part: slice) -> None:
        normals = rng.standard_normal((paths, int(layers[-1]), 3))[: part.stop - part.start]
        pairs = PairStates.of(log_norm, between, len(normals))
        for layer in range(int(layers[-1]) + 1):
            if layer > 0:
                pairs.larger_first(odd)
                if layer == 1:
                    grid.begin(pairs, first, normals[:, 0])
                else:
                    grid.step(pairs, normals[:, layer - 1])
                if network.bias_variance > 0:
                    pairs.add_bias(network.bias_variance)
            for done in np.flatnonzero(layers == layer):
                norms[part, done], gaps[part, done] = pairs.norms(), pairs.gaps()
            if single:
                pairs.stand_in()

    in_blocks(fill, len(norms), 3 * int(layers[-1]), seed)
