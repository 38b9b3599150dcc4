"""The exact chain against networks with explicit weight matrices: means and variances within 5 sigma."""

import numpy as np
import pytest
from laws import SIGMAS, z_of_means, z_of_variances
from tiers import quick, slow

from deeplim.activations import Elementwise, LeakyReLU, ReLU, ShapedReLU
from deeplim.architecture import MLP, Network, ResNet
from deeplim.finite.chain import sample
from deeplim.finite.weights import sample_weights
from deeplim.inputs import Inputs, gram
from deeplim.paths import Paths

SHAPED = ShapedReLU(c_plus=0.5, c_minus=-1.5)
ACTIVATIONS = {"relu": ReLU(), "shaped": SHAPED}
INPUTS = {
    1: gram(np.array([[1.0, 2.0, -0.5]])),
    2: gram(correlation=0.3),
    5: gram(np.random.default_rng(5).normal(size=(5, 7)) * np.array([[0.5], [1], [2], [1], [3]])),
}


def worst_difference(a: Paths, b: Paths) -> float:
    """The largest difference of a mean or variance of rho, 1 - rho, log(1 - rho) and log V, in standard errors.

    Pairs closer than 1e-24, where the weights' own rounding begins, are left out of log(1 - rho), and their number is
    compared instead.
    """
    worst = [0.0]
    for layer in range(len(a.time)):
        kept = [paths.alive[:, layer] for paths in (a, b)]
        worst.append(_z_of_counts(*kept))
        norms = [paths.log_norm[keep, layer] for paths, keep in zip((a, b), kept, strict=True)]
        gaps = [paths.log_gap[keep, layer] for paths, keep in zip((a, b), kept, strict=True)]
        columns = [(norms[0][:, i], norms[1][:, i]) for i in range(a.inputs)]
        for pair in range(gaps[0].shape[1]):
            logs = [gap[:, pair] for gap in gaps]
            apart = [log > np.log(1e-24) for log in logs]
            worst.append(_z_of_counts(*apart))
            columns.append((logs[0][apart[0]], logs[1][apart[1]]))
            columns.append((np.exp(logs[0]), np.exp(logs[1])))
        for one, other in columns:
            worst += [z_of_means(one, other), z_of_variances(one, other)]
    return max(worst)


def _z_of_counts(a: np.ndarray, b: np.ndarray) -> float:
    pooled = (a.sum() + b.sum()) / (len(a) + len(b))
    error = np.sqrt(pooled * (1 - pooled) * (1 / len(a) + 1 / len(b)))
    return 0.0 if error == 0 else abs(float((a.mean() - b.mean()) / error))


def _networks(kind: str, width: int, depth: int, activation: str) -> Network:
    cls = MLP if kind == "mlp" else ResNet
    return cls(width=width, depth=depth, activation=ACTIVATIONS[activation])


@pytest.mark.parametrize("count", quick(2, 5, of=[1, 2, 5]))
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("depth", quick(1, 8, of=[1, 8, 64]))
@pytest.mark.parametrize("width", [8, 16, 64])
@pytest.mark.parametrize("kind", ["mlp", "resnet"])
def test_chain_has_the_law_of_networks_with_weights(kind: str, width: int, depth: int, activation: str, count: int):
    network = _networks(kind, width, depth, activation)
    inputs = INPUTS[count]
    slow = sample_weights(network, inputs, networks=300 if width * depth > 1000 else 2000, seed=11, layers=[depth])
    fast = sample(network, inputs, networks=20_000, seed=12, layers=[depth])
    assert worst_difference(fast, slow) < SIGMAS


WRONG: dict[str, tuple[Network, Network, Inputs]] = {
    "slope": (MLP(width=16, depth=8), MLP(width=16, depth=8, activation=LeakyReLU(slope=0.1)), INPUTS[2]),
    "width": (MLP(width=16, depth=8), MLP(width=19, depth=8), INPUTS[2]),
    "depth": (
        MLP(width=64, depth=8, activation=SHAPED),
        MLP(width=64, depth=7, activation=SHAPED),
        INPUTS[2],
    ),
    "branch": (ResNet(width=16, depth=8), ResNet(width=16, depth=8, branch="1.15/sqrt(depth)"), INPUTS[2]),
    "inputs": (ResNet(width=16, depth=8), ResNet(width=16, depth=8), gram(correlation=0.36)),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_network_fails_the_same_test(wrong: str):
    right, other, inputs = WRONG[wrong]
    slow = sample_weights(right, INPUTS[2], networks=6000, seed=11, layers=[right.depth])
    fast = sample(other, inputs, networks=20_000, seed=12, layers=[other.depth])
    assert worst_difference(fast, slow) > SIGMAS


def wavy(x: np.ndarray) -> np.ndarray:
    """Neither odd nor homogeneous, and zero nowhere near 0."""
    return np.sin(x) + 0.3 * x + 0.4


def erf_by_scipy(x: np.ndarray) -> np.ndarray:
    from scipy.special import erf

    return erf(x)


@pytest.mark.parametrize("function", ["numpy:tanh", slow(f"{__name__}:wavy"), f"{__name__}:erf_by_scipy"])
@pytest.mark.parametrize("kind", [MLP, ResNet])
@pytest.mark.parametrize("count", quick(1, 2, of=[1, 2, 5]))
def test_any_function_has_the_law_of_networks_with_weights(kind: type, function: str, count: int):
    network = kind(width=12, depth=6, activation=Elementwise(function=function))
    slow = sample_weights(network, INPUTS[count], networks=1500, seed=21, layers=[1, 6])
    fast = sample(network, INPUTS[count], networks=1500, seed=22, layers=[1, 6])
    assert worst_difference(fast, slow) < SIGMAS


@pytest.mark.parametrize("scales", [(0.8, 0.6), (0.0, 1.0), (1.0, 1.0), (-0.5, 2.0)])
def test_general_skip_and_branch_scales(scales: tuple[float, float]):
    network = ResNet(width=16, depth=24, skip=scales[0], branch=scales[1])
    slow = sample_weights(network, INPUTS[5], networks=1000, seed=31, layers=[0, 5, 24])
    fast = sample(network, INPUTS[5], networks=20_000, seed=32, layers=[0, 5, 24])
    assert worst_difference(fast, slow) < SIGMAS
