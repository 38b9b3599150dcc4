"""The fused chain of normalized networks: number by number against NumPy's, fed the same normals, and sixty digits."""

from collections.abc import Callable

import mpmath
import numpy as np
import pytest
from numba import njit
from test_normalization import ACTIVATIONS, IDS, KINDS, PLACES
from tiers import slow

from deeplim.activations import Elementwise, LeakyReLU, ReLU, parse_activation
from deeplim.architecture import MLP, Network, ResNet
from deeplim.differences import Rows, in_coordinates
from deeplim.finite import chain, runners
from deeplim.finite.rows import ROWS, draw
from deeplim.finite.start import scale_free
from deeplim.inputs import Inputs, gram
from deeplim.simd.lanes import COUNT, aligned
from deeplim.simd.streams import pause, resume, stream_states
from deeplim.walk import Walk

SEED = 7
VECTORS = np.random.default_rng(5).normal(size=(5, 7))
INPUTS = {
    1: gram(np.array([[1.0, 2.0, -0.5]])),
    2: gram(correlation=0.3),
    5: gram(VECTORS * np.array([[0.5], [1], [2], [1], [3]])),
}


@njit
def _draw_layer(m: int, n: int, bits: np.ndarray, tile: np.ndarray, normals: np.ndarray) -> None:
    s0, s1, s2, s3 = resume(bits)
    for i in range(0, n, ROWS):
        s0, s1, s2, s3 = draw(m, tile, s0, s1, s2, s3)
        for a in range(m):
            for row in range(min(ROWS, n - i)):
                for k in range(COUNT):
                    normals[k, a, i + row] = tile[(a * ROWS + row) * COUNT + k]
    pause(bits, s0, s1, s2, s3)


def normals_of(inputs: int, width: int) -> Callable[..., np.ndarray]:
    """A function that returns what sixteen networks draw for their next layer, (network, input, neuron)."""
    bits, tile = aligned(4, np.uint32), aligned(inputs * ROWS)
    bits[:] = stream_states(SEED, 0, COUNT).ravel()
    normals = np.empty((COUNT, inputs, width))

    def next_layer(_: Rows | None = None) -> np.ndarray:
        _draw_layer(inputs, width, bits, tile, normals)
        return normals

    return next_layer


def by_numpy(network: Network, inputs: Inputs, layers: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Log norms and log gaps of the first sixteen networks, walked by NumPy with the kernel's own normals."""
    norm = np.ones(inputs.count) if scale_free(network) else np.exp(inputs.log_norm / 2)
    walk = Walk(network, in_coordinates(norm, inputs.gap), COUNT, normals_of(inputs.count, network.width))
    found = []
    for layer in range(max(layers) + 1):
        if layer > 0:
            walk.step()
        if layer in layers:
            found.append(walk.norms_and_gaps())
    return np.stack([norms for norms, _ in found], axis=1), np.stack([gaps for _, gaps in found], axis=1)


def agree(network: Network, other: Network, inputs: Inputs, layers: list[int], tolerance: float = 1e-11) -> bool:
    """Whether the kernel gives ``network``, network by network, the numbers that NumPy gives ``other``."""
    found = chain.sample(network, inputs, networks=COUNT, seed=SEED, layers=layers)
    pairs = zip((found.log_norm, found.log_gap), by_numpy(other, inputs, layers), strict=True)
    return all(np.allclose(one, two, rtol=0, atol=tolerance, equal_nan=True) for one, two in pairs)


def tolerance_of(normalization: str, place: str) -> float:
    """After batchnorm the inputs sum to zero: the pivot that should be 0 is rounding, and its root up to 1e-7."""
    return 1e-6 if (normalization, place) == ("batchnorm", "after-activation") else 1e-11


def chain_of_its_own(network: Network) -> bool:
    """Whether the kernel is not asked: such networks are those without normalization, with norms of one."""
    return runners.only_norms_change(network)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("kind", "normalization", "place"), KINDS, ids=IDS)
def test_the_kernel_computes_what_numpy_does(kind: type, normalization: str, place: str, activation: str):
    """Widths that fill no tile, more neurons than are drawn together, one input to five, norms that differ."""
    for width, count in [(13, 2), (150, 5), (6, 1)]:
        network = kind(
            width=width, depth=4, activation=ACTIVATIONS[activation], normalization=normalization, placement=place
        )
        if not chain_of_its_own(network) and (count > 1 or normalization != "batchnorm"):
            assert agree(network, network, INPUTS[count], [1, 2, 4], tolerance_of(normalization, place))


@pytest.mark.parametrize("scales", [(-0.8, 0.6), (0.0, 1.0), (1.0, 0.0), (0.5, -2.0), (1e-3, 30.0)])
@pytest.mark.parametrize("normalization", ["rmsnorm", "layernorm", "batchnorm"])
def test_any_skip_and_branch(normalization: str, scales: tuple[float, float]):
    for place in ("before-activation", "after-activation", "before-sum", "after-sum"):
        size = {"width": 18, "depth": 3, "skip": scales[0], "branch": scales[1]}
        network = ResNet(normalization=normalization, placement=place, **size)
        assert agree(network, network, INPUTS[5], [0, 1, 3], tolerance_of(normalization, place))


WRONG = {
    "kind": ResNet(width=12, depth=3, normalization="rmsnorm", placement="after-sum"),
    "place": ResNet(width=12, depth=3, normalization="layernorm", placement="before-sum"),
    "slope": ResNet(
        width=12, depth=3, activation=LeakyReLU(slope=1e-9), normalization="layernorm", placement="after-sum"
    ),
    "skip": ResNet(width=12, depth=3, skip=1 + 1e-9, normalization="layernorm", placement="after-sum"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_network_fails_the_same_test(wrong: str):
    network = ResNet(width=12, depth=3, normalization="layernorm", placement="after-sum")
    assert agree(network, network, INPUTS[5], [1, 3])
    assert not agree(WRONG[wrong], network, INPUTS[5], [1, 3])


@pytest.mark.parametrize("gap", [1e-6, 1e-12, 1e-100, 1e-280])
@pytest.mark.parametrize(("kind", "normalization", "place"), KINDS, ids=IDS)
def test_the_smallest_gaps_are_numpy_s(kind: type, normalization: str, place: str, gap: float):
    """Batchnorm takes them to order one in a single layer; elsewhere they stay small."""
    close = type(INPUTS[5])(np.zeros(5), gap * INPUTS[5].gap / INPUTS[5].gap.max(), INPUTS[5].names)
    network = kind(width=24, depth=3, normalization=normalization, placement=place)
    if chain_of_its_own(network):
        return
    assert agree(network, network, close, [1, 3], max(1e-9, tolerance_of(normalization, place)))
    found = chain.sample(network, close, networks=COUNT, seed=SEED, layers=[1]).log_gap
    if normalization != "batchnorm":
        assert np.abs(found - np.log(gap)).max() < 12
    elif place in ("before-sum", "after-sum"):
        assert np.exp(np.median(found)) > 0.01


def in_high_precision(network: MLP, gap: mpmath.mpf, layers: list[int]) -> list[mpmath.mpf]:
    """1 - rho of network 0, two inputs of norm one, from plain rows and the subtraction 1 - rho."""
    next_layer, found = normals_of(2, network.width), []
    phi = {"relu": lambda x: max(x, mpmath.mpf(0)), "softplus": lambda x: mpmath.log(1 + mpmath.exp(x))}
    first, both, other = mpmath.mpf(1), 1 - gap, mpmath.mpf(1)
    for layer in range(1, max(layers) + 1):
        g, h = ([mpmath.mpf(float(x)) for x in row] for row in next_layer()[0])
        # The rows of the chain: z, and its difference to the other input.
        root, lean = mpmath.sqrt(first), (both - first) / mpmath.sqrt(first)
        height = mpmath.sqrt(first - 2 * both + other - lean**2)
        rows = [[root * a for a in g], [root * a + lean * a + height * b for a, b in zip(g, h, strict=True)]]
        if network.placement == "before-activation":
            rows = [normalized(network.normalization, row) for row in rows]
        rows = [[phi[str(network.activation)](a) for a in row] for row in rows]
        if network.placement == "after-activation":
            rows = [normalized(network.normalization, row) for row in rows]
        scale = mpmath.mpf(network.gain) / network.width
        first, both, other = (scale * mpmath.fdot(rows[a], rows[b]) for a, b in ((0, 0), (0, 1), (1, 1)))
        if layer in layers:
            found.append(1 - both / mpmath.sqrt(first * other))
    return found


def normalized(kind: str, row: list[mpmath.mpf]) -> list[mpmath.mpf]:
    mean = mpmath.fsum(row) / len(row) if kind == "layernorm" else 0
    sigma = mpmath.sqrt(mpmath.fsum((a - mean) ** 2 for a in row) / len(row))
    return [(a - mean) / sigma for a in row]


@pytest.mark.parametrize("gap", ["1.2", "1e-4", "1e-12", "1e-100", "1e-280"])
@pytest.mark.parametrize("place", ["before-activation", "after-activation"])
@pytest.mark.parametrize("normalization", ["rmsnorm", "layernorm"])
@pytest.mark.parametrize("activation", [ReLU(), slow(parse_activation("softplus"))], ids=str)
def test_gaps_keep_their_digits_however_small(activation, normalization: str, place: str, gap: str):
    """Softplus's mean over the neurons is nearly its root mean square; differences below 1e-5 of a function's arguments
    are derivatives to 1e-10.
    """
    network = MLP(width=20, depth=6, activation=activation, normalization=normalization, placement=place)
    if chain_of_its_own(network):
        return
    with mpmath.workdps(60 - round(2.2 * np.log10(float(gap)))):
        exact = [float(mpmath.log(value)) for value in in_high_precision(network, mpmath.mpf(gap), [1, 6])]
    found = chain.sample(network, gram(gap=float(gap)), networks=1, seed=SEED, layers=[1, 6]).log_gap[0, :, 0]
    assert np.abs(np.expm1(found - exact)).max() < (1e-11 if network.homogeneous else 1e-9)


@pytest.mark.parametrize(
    ("kind", "normalization", "place"), [case for case in KINDS if case[0] is MLP], ids=[i for i in IDS if "MLP" in i]
)
def test_networks_are_lost_where_numpy_loses_them(kind: type, normalization: str, place: str):
    network = kind(width=3, depth=6, normalization=normalization, placement=place)
    if chain_of_its_own(network):
        return
    layers = [1, 2, 4, 6]
    assert agree(network, network, INPUTS[2], layers, 1e-6)
    lost = ~chain.sample(network, INPUTS[2], networks=COUNT, seed=SEED, layers=layers).alive
    # Layernorm leaves some neuron positive; two inputs that batchnorm has made opposite are not both inactive.
    if (normalization, place) not in (("layernorm", "before-activation"), ("batchnorm", "after-activation")):
        assert 0 < lost[:, -1].sum() < COUNT


@pytest.mark.parametrize("place", PLACES[ResNet][:3])
@pytest.mark.parametrize("normalization", ["rmsnorm", "layernorm", "batchnorm"])
def test_networks_explode_where_numpy_has_them_explode(normalization: str, place: str):
    """In a layer or two about 2^512 the squares overflow here or there; before and after, nothing is open."""
    network = ResNet(width=12, depth=600, skip=2.0, normalization=normalization, placement=place)
    assert agree(network, network, INPUTS[2], [500, 520, 600])
    found = chain.sample(network, INPUTS[2], networks=COUNT, seed=SEED, layers=[500, 520, 600])
    assert found.exploded.tolist() == [0, COUNT, COUNT]


def not_for_numba(x: np.ndarray) -> np.ndarray:
    return np.asarray(sorted({0: np.tanh(x)}.values(), key=len)[0])


def test_what_computes_a_normalized_network_is_said():
    said = {}
    for name, activation in (*ACTIVATIONS.items(), ("own", Elementwise(function=f"{__name__}:not_for_numba"))):
        network = MLP(width=9, depth=2, activation=activation, normalization="layernorm")
        said[name] = runners.how_computed(network)
        assert chain.sample(network, INPUTS[5], networks=3).alive.all()
    assert said == {
        "relu": "slopes",
        "shaped": "slopes",
        "tanh": "vector code",
        "own": "vectorised NumPy",
    }
