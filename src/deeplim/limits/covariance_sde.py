"""The covariance SDE of the proportional regime: depth and width grow together, ReLU shaped at their rate."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from deeplim.activations import LeakyReLU, ShapedReLU
from deeplim.architecture import MLP, Network
from deeplim.inputs import Inputs, check_reference
from deeplim.limits.base import AbstractLimit
from deeplim.parallel import in_threads
from deeplim.paths import Paths

LONGEST_STEP = 1 / 32
"""Longest step in layer/width; the bias of the mean correlation it leaves is below 1e-4 (see the tests)."""
_LARGEST_LAYER = 0.1
_SHORTEST_STEP = 1 / 512
_LARGEST_GAMMA = 1e3
_NUMBERS_PER_BLOCK = 4_000_000


@dataclass(frozen=True)
class CovarianceSDE(AbstractLimit):
    """dV = b(V) dt + Sigma(V)^(1/2) dB, t = layer/width, for an MLP with ReLU shaped at the rate of width (or depth).

    b^{ab} = gamma nuhat(rho^{ab}) sqrt(V^{aa} V^{bb}) for a != b and 0 on the diagonal, gamma = (c_+ - c_-)^2 / (2 pi)
    times width/rate; Sigma^{ab,cd} = V^{ac} V^{bd} + V^{ad} V^{bc}. Hence log V^{aa}_t ~ log V^{aa}_0 + N(-t, 2t), and
    d rho = [gamma nuhat(rho) - rho (1 - rho^2) / 2] dt + (1 - rho^2) dB. Any number of inputs; the linear network is
    gamma = 0. Source: Li, Nica & Roy 2022, theorem 3.2; Li & Nica 2023, equation for the correlation.
    """

    name = "sde"
    title = "Covariance SDE"
    clock = "layer/width"
    equation = (
        r"dV = b(V)\,dt + \Sigma(V)^{1/2} dB, \quad b^{ab} = \gamma\, \hat\nu(\rho^{ab}) \sqrt{V^{aa} V^{bb}}, \quad "
        r"\Sigma^{ab,cd} = V^{ac} V^{bd} + V^{ad} V^{bc}"
    )
    statement = "With depth/width fixed the covariance stays random: it is a diffusion in layer/width."
    accuracy = "A network of width n differs from it by about n^(-1/2), the size of the shaping."
    source = "Li, Nica & Roy 2022; Li & Nica 2023"
    deterministic = False

    @staticmethod
    def why_not(network: Network) -> str | None:
        """Return None for an MLP with shaped ReLU, or a linear one."""
        if not isinstance(network, MLP):
            return (
                "it is derived for an MLP; a ResNet with branch a/sqrt(depth) follows an ODE instead, and for another "
                "the exact networks are the answer."
            )
        linear = isinstance(network.activation, LeakyReLU) and network.activation.slope == 1
        if linear or (isinstance(network.activation, ShapedReLU) and _gamma(network) <= _LARGEST_GAMMA):
            return None
        if isinstance(network.activation, ShapedReLU):
            return (
                f"its drift gamma = {_gamma(network):.3g} is beyond {_LARGEST_GAMMA:g}: shaping this strong at this "
                "width is no shaping; choose c_plus and c_minus of order one."
            )
        return (
            "the covariance of an MLP is a regular diffusion only when its activation is shaped, "
            "s± = 1 + c±/sqrt(width); "
            f"{network.activation} stays the same at every width."
        )

    @property
    def parameters(self) -> dict[str, float]:
        """gamma and T = depth/width."""
        return {"gamma": _gamma(self.network), "T": self.network.aspect}

    def _sample(self, inputs: Inputs, time: Float[np.ndarray, " layer"], samples: int, seed: int) -> Paths:
        from deeplim.limits.integrators import covariance_paths

        check_reference(inputs)
        m, gamma = inputs.count, self.parameters["gamma"]
        steps, recorded = step_plan(time, gamma)
        norms = np.empty((samples, len(time), m))
        gaps = np.empty((samples, len(time), m * (m - 1) // 2))

        def fill(rng: np.random.Generator, paths: int, part: slice) -> None:
            normals = rng.standard_normal((paths, len(steps), m * (m + 1) // 2))
            coins = rng.random((paths, len(steps))) < 0.5
            begin = inputs.log_norm, np.maximum(inputs.gap, 1e-300)
            covariance_paths(*begin, steps, recorded, gamma, normals, coins, norms[part], gaps[part])

        in_blocks(fill, samples, len(steps) * m * (m + 1) // 2, seed)
        return self._paths(norms, np.log(gaps), time, inputs)


def _gamma(network: Network) -> float:
    activation = network.activation
    if not isinstance(activation, ShapedReLU):
        return 0.0
    rate = network.width if activation.rate == "width" else network.depth
    return (activation.c_plus - activation.c_minus) ** 2 / (2 * np.pi) * network.width / rate


def sample_correlation(
    limit: CovarianceSDE,
    correlation: float,
    *,
    time: Float[np.ndarray, " layer"],
    samples: int,
    seed: int = 0,
) -> Float[np.ndarray, "sample layer"]:
    """Return paths of the gap 1 - rho of one pair alone, from its own SDE; time in layer/width.

    The covariance SDE gives the same law together with the norms; this one costs less and needs no matrix.
    """
    from deeplim.limits.integrators import correlation_paths

    gamma = limit.parameters["gamma"]
    steps, recorded = step_plan(time, gamma)
    gaps = np.empty((samples, len(time)))

    def fill(rng: np.random.Generator, paths: int, part: slice) -> None:
        normals = rng.standard_normal((paths, len(steps)))
        correlation_paths(1 - correlation, steps, recorded, gamma, 1.0, normals, gaps[part])

    in_blocks(fill, samples, len(steps), seed)
    return gaps


def step_plan(time: Float[np.ndarray, " layer"], gamma: float) -> tuple[Float[np.ndarray, " step"], np.ndarray]:
    """Return the steps that lead through the recorded times, and how many steps come before each of them."""
    longest = min(LONGEST_STEP, max(_LARGEST_LAYER / gamma, _SHORTEST_STEP)) if gamma > 0 else LONGEST_STEP
    waits = np.diff(time, prepend=0.0)
    counts = np.ceil(waits / longest - 1e-9).astype(np.int64)
    steps = [np.full(k, wait / k) for wait, k in zip(waits, counts, strict=True) if k > 0]
    return (np.concatenate(steps) if steps else np.zeros(0)), np.cumsum(counts)


def in_blocks(fill: Callable[[np.random.Generator, int, slice], None], samples: int, numbers: int, seed: int) -> None:
    """Call fill(rng, paths, part) on blocks of paths, each with a generator keyed by the seed and the block.

    ``fill`` draws random numbers for ``paths`` paths, a whole block, and keeps those of ``part``, so that a sample path
    of a seed is the same however many are asked for. ``numbers`` is how many random numbers a path takes.
    """
    block = max(1, min(512, _NUMBERS_PER_BLOCK // max(numbers, 1)))

    def run(first: int) -> None:
        fill(np.random.default_rng([seed, first // block]), block, slice(first, min(first + block, samples)))

    for _ in in_threads(run, range(0, samples, block)):
        pass
