"""Normalized networks: the exact chain against explicit weights, symmetries, tiny gaps, and networks that die."""

from dataclasses import replace

import mpmath
import numpy as np
import pytest
from laws import SIGMAS, z_of_mean, z_of_means
from refusals import refused_as_input
from test_chain_against_weights import worst_difference

from deeplim.activations import LeakyReLU, ReLU, ShapedReLU, parse_activation
from deeplim.architecture import MLP, Network, ResNet
from deeplim.differences import Rows, activate, measure, normalize
from deeplim.finite import runners
from deeplim.finite.chain import sample
from deeplim.finite.weights import sample_weights
from deeplim.inputs import Inputs, gram
from deeplim.limits.infinite_width import InfiniteWidth
from deeplim.normalization import normalize as normalize_plainly
from deeplim.paths import Paths

PLACES = {MLP: ("before-activation", "after-activation")}
PLACES[ResNet] = (*PLACES[MLP], "before-sum", "after-sum")
KINDS = [
    (kind, normalization, place)
    for kind, places in PLACES.items()
    for normalization in ("rmsnorm", "layernorm", "batchnorm")
    for place in places
]
IDS = [f"{kind.__name__}-{normalization}-{place}" for kind, normalization, place in KINDS]
ACTIVATIONS = {"relu": ReLU(), "shaped": ShapedReLU(c_plus=0.5, c_minus=-1.5), "tanh": parse_activation("tanh")}
INPUTS = {
    2: gram(correlation=0.3),
    3: gram(np.random.default_rng(3).normal(size=(3, 5)) * np.array([[0.5], [1], [2]])),
}


def rounded(paths: Paths) -> Paths:
    """The same with logs to nine decimals, so that a norm that is always one has no variance of rounding errors."""
    return replace(paths, log_norm=np.round(paths.log_norm, 9) + 0.0, log_gap=np.round(paths.log_gap, 9) + 0.0)


def difference(network: Network, other: Network, inputs: Inputs, networks: int) -> float:
    fast = sample(other, inputs, networks=2 * networks, seed=41, layers=[1, 6])
    slow = sample_weights(network, inputs, networks=networks, seed=42, layers=[1, 6])
    return worst_difference(rounded(fast), rounded(slow))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("kind", "normalization", "place"), KINDS, ids=IDS)
def test_chain_has_the_law_of_networks_with_weights(kind: type, normalization: str, place: str, activation: str):
    sizes = [(8, 2, 800), (32, 3, 300)] + ([(8, 3, 800), (32, 2, 300)] if normalization == "batchnorm" else [])
    for width, count, networks in sizes:
        network = kind(
            width=width, depth=6, activation=ACTIVATIONS[activation], normalization=normalization, placement=place
        )
        assert difference(network, network, INPUTS[count], networks) < SIGMAS


RIGHT = {"width": 8, "depth": 6, "activation": ShapedReLU(c_minus=-2.0)}
WRONG = {
    "rmsnorm ignored": (MLP(normalization="rmsnorm", **RIGHT), MLP(**RIGHT)),
    "layernorm ignored": (ResNet(normalization="layernorm", **RIGHT), ResNet(**RIGHT)),
    "batchnorm ignored": (ResNet(normalization="batchnorm", placement="before-sum", **RIGHT), ResNet(**RIGHT)),
    "mean left in": (
        MLP(normalization="layernorm", placement="after-activation", **RIGHT),
        MLP(normalization="rmsnorm", placement="after-activation", **RIGHT),
    ),
    "before for after": (
        MLP(normalization="layernorm", placement="after-activation", **RIGHT),
        MLP(normalization="layernorm", placement="before-activation", **RIGHT),
    ),
    "before the sum for after it": (
        ResNet(normalization="batchnorm", placement="after-sum", **RIGHT),
        ResNet(normalization="batchnorm", placement="before-sum", **RIGHT),
    ),
    "in the branch for before the sum": (
        ResNet(normalization="rmsnorm", placement="before-sum", branch=1.0, **RIGHT),
        ResNet(normalization="rmsnorm", placement="after-activation", branch=1.0, **RIGHT),
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_normalization_fails_the_same_test(wrong: str):
    network, other = WRONG[wrong]
    assert difference(network, other, INPUTS[3], 4000) > SIGMAS


@pytest.mark.parametrize("place", PLACES[MLP])
def test_rmsnorm_leaves_the_correlations_of_a_homogeneous_mlp_as_they_are(place: str):
    plain = MLP(width=20, depth=10)
    network = MLP(width=20, depth=10, normalization="rmsnorm", placement=place)
    inputs = INPUTS[3]
    one = sample(network, inputs, networks=4000, seed=51, layers=[10])
    other = sample(plain, inputs, networks=4000, seed=52, layers=[10])
    flat = [replace(paths, log_norm=np.where(np.isneginf(paths.log_norm), -np.inf, 0.0)) for paths in (one, other)]
    assert worst_difference(*flat) < SIGMAS
    if place == "after-activation":
        assert (one.log_norm[one.alive] == 0).all()


def test_layernorm_after_the_activation_has_the_correlation_of_its_sde():
    """0.256 at t = 1 in the limit, 0.536 without layernorm; at width 150 off by about one part in the width."""
    shape = {"width": 150, "depth": 150, "activation": ShapedReLU(c_plus=0.0, c_minus=-2.0)}
    network = MLP(normalization="layernorm", placement="after-activation", **shape)
    found = sample(network, gram(correlation=0.3), networks=600, seed=53, layers=[150]).correlation[:, 0, 0, 1]
    assert abs(found.mean() - 0.256) < SIGMAS * found.std() / np.sqrt(len(found)) + 3 / 150


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize(("kind", "normalization", "place"), KINDS, ids=IDS)
def test_a_network_is_the_same_whatever_is_asked_for(kind: type, normalization: str, place: str, activation: str):
    network = kind(width=5, depth=4, activation=ACTIVATIONS[activation], normalization=normalization, placement=place)
    inputs = INPUTS[3]
    whole = sample(network, inputs, networks=300, seed=61, layers=[0, 2, 4], threads=2)
    part = sample(network, inputs, networks=7, first=255, seed=61, layers=[2], threads=1)
    np.testing.assert_array_equal(part.log_norm[:, 0], whole.log_norm[255:262, 1])
    np.testing.assert_array_equal(part.log_gap[:, 0], whole.log_gap[255:262, 1])


@pytest.mark.parametrize("activation", ["linear", "relu", "tanh"])
@pytest.mark.parametrize(
    ("kind", "normalization", "place"),
    [case for case in KINDS if case[1] != "batchnorm"],
    ids=[i for i in IDS if "batch" not in i],
)
def test_tiny_gaps_change_in_proportion(kind: type, normalization: str, place: str, activation: str):
    """Between inputs this close every layer is linear, so the ratio of two gaps never changes.

    A ReLU layer with one active neuron makes them parallel: minus infinity in both.
    """
    phi = {"linear": LeakyReLU(slope=1.0), **ACTIVATIONS}[activation]
    network = kind(width=12, depth=5, activation=phi, normalization=normalization, placement=place)
    unequal = kind is MLP and (activation != "tanh" or place == "before-activation")
    # There each input is divided by its norm before anything else, so that unequal ones cost nothing.
    log_norm = np.array([0.0, 1.3]) if unequal else np.zeros(2)
    first, second = (
        sample(network, replace(gram(gap=gap), log_norm=log_norm), networks=40, seed=71, layers=[5]).log_gap
        for gap in (1e-14, 1e-24)
    )
    np.testing.assert_array_equal(np.isfinite(first), np.isfinite(second))
    apart = np.isfinite(first)
    assert apart.mean() > 0.8
    np.testing.assert_allclose(second[apart] - first[apart], np.log(1e-10), atol=1e-4)


def exact_gap(kind: str, place: str, z: np.ndarray, x: np.ndarray, size: float) -> mpmath.mpf:
    """1 - rho of the normalized relu of z and z + size x, in sixty digits."""
    with mpmath.workdps(60):
        rows = [
            [mpmath.mpf(float(a)) for a in z],
            [mpmath.mpf(float(a)) + size * mpmath.mpf(float(b)) for a, b in zip(z, x, strict=True)],
        ]
        if place == "after-activation":
            rows = [[max(a, mpmath.mpf(0)) for a in row] for row in rows]
        done = []
        for row in rows:
            mean = mpmath.fsum(row) / len(row) if kind == "layernorm" else 0
            row = [a - mean for a in row]
            norm = mpmath.sqrt(mpmath.fsum(a * a for a in row) / len(row))
            done.append([a / norm for a in row])
        if place == "before-activation":
            done = [[max(a, mpmath.mpf(0)) for a in row] for row in done]
        norms = [mpmath.sqrt(mpmath.fsum(a * a for a in row)) for row in done]
        return 1 - mpmath.fsum(a * b for a, b in zip(*done, strict=True)) / (norms[0] * norms[1])


@pytest.mark.parametrize("size", [1e-10, 1e-3, 1.0])
@pytest.mark.parametrize("place", PLACES[MLP])
@pytest.mark.parametrize("kind", ["rmsnorm", "layernorm"])
def test_one_layer_against_sixty_digits(kind: str, place: str, size: float):
    rng = np.random.default_rng(81)
    z, x = rng.normal(size=(2, 30))
    network = MLP(width=30, depth=1)
    rows = Rows(np.stack([z, x])[None], np.log(np.array([[1.0, size]])))
    if place == "before-activation":
        rows = activate(network, normalize(kind, rows)[0])
    else:
        rows = normalize(kind, activate(network, rows))[0]
    found = np.exp(measure(rows)[0].log_gaps()[0, 0])
    assert found == pytest.approx(float(exact_gap(kind, place, z, x, size)), rel=1e-11)


@pytest.mark.parametrize("scale", [1.0, 1e-12])
@pytest.mark.parametrize("kind", ["rmsnorm", "layernorm", "batchnorm"])
def test_normalization_of_differences_is_that_of_numbers(kind: str, scale: float):
    """At a scale of 1e-12 the plain numbers keep four digits of a difference, and batchnorm is all differences."""
    rng = np.random.default_rng(82)
    values, sizes = rng.normal(size=(6, 4, 9)), np.array([1.0, 1.0, 1e-3, 2.0]) * np.array([1.0, scale, scale, scale])
    rows, lost = normalize(kind, Rows(values, np.broadcast_to(np.log(sizes), (6, 4)).copy()))
    z = values[:, :1] + np.concatenate([np.zeros((6, 1, 9)), sizes[1:, None] * values[:, 1:]], axis=1)
    expected = normalize_plainly(kind, z.transpose(0, 2, 1)).transpose(0, 2, 1)
    steps = np.exp(rows.log_size)[:, 1:, None] * rows.values[:, 1:]
    found = rows.values[:, :1] + np.concatenate([np.zeros((6, 1, 9)), steps], axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-12 / scale**0.8, atol=1e-12 / scale**0.8)
    assert not lost.any()


@pytest.mark.parametrize("normalization", ["rmsnorm", "layernorm"])
@pytest.mark.parametrize("place", PLACES[MLP])
def test_dead_networks_are_counted(normalization: str, place: str):
    """One input of a ReLU layer of rmsnorm's dies with probability 2^-n; a layernorm before it leaves no way to die."""
    network = MLP(width=3, depth=4, normalization=normalization, placement=place)
    paths = sample(network, gram(np.ones((1, 3))), networks=8000, seed=91, layers=[1, 4])
    if (normalization, place) == ("layernorm", "before-activation"):
        assert paths.alive.all()
        return
    for layer, depth in enumerate((1, 4)):
        dead = (~paths.alive[:, layer]).astype(float)
        assert z_of_mean(dead, 1 - (1 - 2.0**-3) ** depth) < SIGMAS
    assert not np.isnan(paths.log_norm).any()
    assert np.isneginf(paths.log_norm[~paths.alive]).all()


@pytest.mark.parametrize("width", [4, 6])
@pytest.mark.parametrize("compiled", [True, False])
def test_batchnorm_revives_an_input_that_has_died(width: int, compiled: bool, monkeypatch):
    """Centring gives it the others' mean: it is alive in the next layer, as in a network with its weights."""
    if not compiled:
        monkeypatch.setattr(runners, "row_by_row", lambda network: True)
    network, layers = MLP(width=width, depth=6, normalization="batchnorm"), [1, 2, 3, 6]
    paths = sample(network, INPUTS[3], networks=12_000, seed=92, layers=layers)
    weights = sample_weights(network, INPUTS[3], networks=12_000, seed=93, layers=layers)
    dead = ~paths.alive
    assert np.isnan(paths.log_gap[dead]).all()
    assert (dead[:, 0] & ~dead[:, 1]).sum() > 0.5 * dead[:, 0].sum()
    for layer in range(4):
        assert z_of_means(1.0 * dead[:, layer], 1.0 * ~weights.alive[:, layer]) < SIGMAS
        alive = paths.alive[:, layer], weights.alive[:, layer]
        rho, other = (side.correlation[keep, layer, 0, 1] for side, keep in zip((paths, weights), alive, strict=True))
        assert z_of_means(rho, other) < SIGMAS
        assert z_of_means(rho, other + 0.15) > SIGMAS, "a shift of 0.15 is told apart"
    for_good = 1 - (1 - dead[:, 0].mean()) ** 6  # what was counted where the dead stayed dead
    assert z_of_mean(1.0 * dead[:, -1], for_good) > SIGMAS


def test_layernorm_over_two_neurons_leaves_a_sign():
    network = MLP(
        width=2, depth=3, activation=LeakyReLU(slope=0.5), normalization="layernorm", placement="after-activation"
    )
    paths = sample(network, INPUTS[2], networks=200, seed=93, layers=[3])
    gaps = paths.correlation_gap
    assert np.all((gaps == 0) | (np.abs(gaps - 2) < 1e-12))


@pytest.mark.parametrize("kind", [MLP, ResNet])
def test_batchnorm_over_one_input_is_refused(kind: type):
    network, one = kind(width=4, depth=2, normalization="batchnorm"), gram(np.ones((1, 3)))
    for run in (sample, sample_weights, lambda network, inputs: InfiniteWidth(network).sample(inputs)):
        assert "batchnorm was asked for with 1 input" in refused_as_input(lambda run=run: run(network, one))


def test_exploding_normalized_networks_are_counted():
    network = ResNet(width=4, depth=600, skip=2.0, normalization="rmsnorm")
    paths = sample(network, INPUTS[2], networks=3, seed=94, layers=[0, 500, 600])
    assert paths.exploded.tolist() == [0, 0, 3]
