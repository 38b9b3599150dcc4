"""Inputs whose norms part in a smooth network: none is lost beside another, and every number is a plain network's."""

from collections.abc import Callable

import numpy as np
import pytest
from laws import SIGMAS, z_of_means
from test_normalized_kernel import COUNT, SEED, normals_of
from tiers import quick

import deeplim as dl
from deeplim.architecture import Network, ResNet
from deeplim.differences import in_coordinates
from deeplim.finite import chain
from deeplim.finite.weights import sample_weights
from deeplim.inputs import Inputs
from deeplim.walk import Walk

VECTORS = np.random.default_rng(1).standard_normal((4, 6))
FAR = np.array([[1e-4], [1.0], [300.0], [0.9]])


def bent(x: float) -> float:
    return x / (1.0 + abs(x)) + 0.1 * x


def bent_by_numpy(x: np.ndarray) -> np.ndarray:
    return np.asarray(sorted({0: x / (1 + np.abs(x)) + 0.1 * x}.values(), key=len)[0])


ACTIVATIONS = {
    "silu": dl.Elementwise(function="silu"),
    "tanh": dl.Elementwise(function="tanh"),
    "softplus": dl.Elementwise(function="softplus"),
    "shaped": dl.Shaped(function="silu", a=0.5),
    "transformed": dl.Transformed(function="tanh", input_scale=0.5, input_shift=0.3, output_shift=-np.tanh(0.3)),
    "compiled": dl.Elementwise(function=f"{__name__}:bent"),
}
ORDERS = ([0, 1, 2, 3], [2, 1, 0, 3], [1, 0, 3, 2])


def plainly(network: Network, inputs: Inputs, layers: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Log norms and log gaps of sixteen networks from their states as they are, on the kernels' own normals."""
    m, n, next_layer = inputs.count, network.width, normals_of(inputs.count, network.width)
    norm, rho = np.tile(np.exp(inputs.log_norm / 2), (COUNT, 1)), np.tile(1 - inputs.gap, (COUNT, 1, 1))
    found, a_b = [], np.triu_indices(m, 1)
    residual, z = isinstance(network, ResNet), np.zeros((COUNT, m, n))
    for layer in range(max(layers) + 1):
        if residual:
            skip, scale = (network.skip_scale, network.branch_scale) if layer else (0.0, 1.0)
            z = skip * z + scale * norm[:, :, None] * (np.linalg.cholesky(rho) @ next_layer())
            v = z @ z.transpose(0, 2, 1) / n
            root = np.sqrt(np.diagonal(v, axis1=1, axis2=2))
            found.append((2 * np.log(root), np.log(1 - (v / (root[:, :, None] * root[:, None]))[:, *a_b])))
        else:
            found.append((2 * np.log(norm), np.log(1 - rho[:, *a_b])))
            z = norm[:, :, None] * (np.linalg.cholesky(rho) @ next_layer())
        p = network.function(z)
        v = network.gain / n * (p @ p.transpose(0, 2, 1))
        norm = np.sqrt(np.diagonal(v, axis1=1, axis2=2))
        rho = v / (norm[:, :, None] * norm[:, None])
    return tuple(np.stack([found[layer][k] for layer in layers], axis=1) for k in (0, 1))


@pytest.mark.parametrize("order", ORDERS, ids=str)
@pytest.mark.parametrize("kind", [dl.MLP, dl.ResNet])
@pytest.mark.parametrize("name", quick(*list(ACTIVATIONS)[:2], of=ACTIVATIONS))
def test_every_number_is_that_of_a_plain_network(name: str, kind: Callable, order: list[int]):
    inputs = dl.gram((VECTORS * FAR)[order])
    network = kind(width=40, depth=6, activation=ACTIVATIONS[name])
    layers = [0, 1, 3, 6]
    paths = chain.sample(network, inputs, networks=COUNT, seed=SEED, layers=layers)
    norms, gaps = plainly(network, inputs, layers)
    assert paths.alive.all()
    np.testing.assert_allclose(paths.log_norm, norms, atol=1e-8)
    seen = gaps > np.log(1e-3)
    np.testing.assert_allclose(paths.log_gap[seen], gaps[seen], atol=1e-6 if name == "compiled" else 1e-8)


@pytest.mark.parametrize("order", [[0, 2], [2, 0]])
@pytest.mark.parametrize("name", ["silu", "shaped"])
def test_rows_in_single_precision_are_right_to_theirs(name: str, order: list[int]):
    inputs = dl.gram((VECTORS * FAR)[order])
    network = dl.MLP(width=80, depth=6, activation=ACTIVATIONS[name])
    found = [chain.sample(network, inputs, networks=64, seed=5, precision=how) for how in ("auto", "double")]
    np.testing.assert_allclose(found[0].log_norm, found[1].log_norm, atol=1e-4)
    np.testing.assert_allclose(found[0].log_gap, found[1].log_gap, atol=2e-4)


@pytest.mark.parametrize("kind", [dl.MLP, dl.ResNet])
def test_numpy_s_walk_is_the_same(kind: Callable):
    inputs = dl.gram((VECTORS * FAR)[ORDERS[1]])
    network = kind(width=40, depth=6, activation=dl.Elementwise(function=f"{__name__}:bent_by_numpy"))
    begin = in_coordinates(np.exp(inputs.log_norm / 2), inputs.gap, apart=True)
    walk = Walk(network, begin, COUNT, normals_of(inputs.count, network.width))
    norms, gaps = plainly(network, inputs, [0, 6])
    for at, steps in ((0, 0), (1, 6)):
        for _ in range(steps):
            walk.step()
        found = walk.norms_and_gaps()
        np.testing.assert_allclose(found[0], norms[:, at], atol=1e-9)
        np.testing.assert_allclose(found[1], gaps[:, at], atol=1e-6)


@pytest.mark.parametrize("order", [[0, 1, 2], [1, 0, 2], [2, 1, 0]], ids=str)
@pytest.mark.parametrize(("depth", "scale"), [(25, (0.2, 1, 3)), (150, (1e-3, 1, 100)), (60, (1, 1, 1))])
def test_no_network_of_silu_is_lost_by_the_order_of_its_inputs(depth, scale, order: list[int]):
    """Of norms 0.2, 1 and 3 up to 16 of 200,000 were counted dead at depth 25, and most when deep.

    What does die had a norm so large that silu of ten negative numbers is below every float.
    """
    x = (VECTORS[:3] * np.array(scale)[:, None])[order]
    network = dl.MLP(width=10, depth=depth, activation=dl.Elementwise(function="silu"))
    networks, layers = 20_000 if depth == 25 else 2000, list(range(depth + 1))
    paths = dl.simulate(network, dl.gram(x), networks=networks, seed=6, layers=layers)
    lost = paths.log_norm[~paths.alive[:, -1]]
    assert len(lost) < 0.05 * networks
    died = np.isneginf(lost[:, -1])
    largest = np.where(np.isfinite(lost), lost, -np.inf).max(axis=1)
    assert (died.any(axis=1) & (largest[died] > 10).all()).all()
    spread = np.ptp(paths.log_norm[paths.alive[:, -1], -1], axis=1)
    assert (spread > np.log(1e14)).sum() > {25: 0, 60: 10, 150: 100}[depth], "what was lost is among them"


def test_the_law_is_that_of_weights():
    inputs = dl.gram(VECTORS[:3] * np.array([[30.0], [0.01], [1.0]]))
    network = dl.MLP(width=12, depth=12, activation=dl.Elementwise(function="silu"))
    layers = [1, 6, 12]
    paths = dl.simulate(network, inputs, networks=12_000, seed=7, layers=layers)
    weights = sample_weights(network, inputs, networks=8000, seed=8, layers=layers)
    for one, other in ((paths.log_norm, weights.log_norm), (paths.log_gap, weights.log_gap)):
        for layer in range(3):
            for column in range(3):
                a, b = one[:, layer, column], other[:, layer, column]
                assert z_of_means(a, b) < SIGMAS
                assert z_of_means(a**2, b**2) < SIGMAS
                assert z_of_means(a, b + 0.15 * b.std()) > SIGMAS, "0.15 standard deviations are told apart"


def test_near_inputs_keep_their_gap_beside_one_that_has_parted():
    """A pair at 1 - rho = 1e-20 is followed as a difference whatever becomes of the third input."""
    near, other = VECTORS[0], 1e-5 * VECTORS[1]
    gap = np.zeros((3, 3))
    third = dl.gram(np.stack([near, other])).gap[0, 1]
    gap[0, 1] = gap[1, 0] = 1e-20
    gap[2, :2] = gap[:2, 2] = third
    inputs = Inputs(np.log(np.array([1.0, 1.0, 1e-10])), gap, ("a", "b", "c"))
    network = dl.MLP(width=30, depth=30, activation=dl.Elementwise(function="silu"))
    pair = dl.simulate(network, inputs.pair(0, 1), networks=4000, seed=3, layers=[30]).log_gap[:, 0, 0]
    three = dl.simulate(network, inputs, networks=4000, seed=4, layers=[30])
    assert three.alive.all()
    assert z_of_means(three.log_gap[:, 0, 0], pair) < SIGMAS
    assert np.isfinite(three.log_gap).all()


def test_a_norm_may_fall_to_the_end_of_doubles():
    """SiLU halves what is small: 200 layers take a norm of 1e-40 to 1e-90, and it is alive as it is beside another."""
    network = dl.MLP(width=100, depth=200, activation=dl.Elementwise(function="silu"))
    x = 1e-20 * VECTORS[:1]
    alone = dl.simulate(network, dl.gram(x), networks=64, seed=2, layers=[200])
    assert alone.alive.all()
    each = alone.log_norm[:, 0, 0] - np.log(np.mean(x**2))
    expected = 200 * (np.log(network.gain / 4) - 1 / 100)  # E log chi^2_n / n is -1/n
    assert abs(each.mean() - expected) < 5 * np.sqrt(200 * 2 / 100 / 64)
