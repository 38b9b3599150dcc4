"""Weight and bias variances: the specification, and the exact chain against weights, closed forms and NumPy."""

from dataclasses import replace
from math import inf, log, nan

import numpy as np
import pytest
from laws import SIGMAS, z_of_mean
from refusals import refused_as_spec as refusal
from test_chain_against_weights import INPUTS, worst_difference
from test_normalized_kernel import agree
from tiers import quick

from deeplim.activations import Elementwise, LeakyReLU, ReLU, Shaped, ShapedReLU
from deeplim.architecture import MLP, Network, ResNet, read_network
from deeplim.finite.chain import sample
from deeplim.finite.weights import sample_weights
from deeplim.inputs import gram
from deeplim.paths import Paths

TANH = Elementwise(function="tanh")
LINEAR = LeakyReLU(slope=1)
SIZE = {"width": 12, "depth": 6}
BOTH = {"weight_variance": 1.4, "bias_variance": 0.3}
NORMALIZED = [
    (kind, normalization, place)
    for kind, places in ((MLP, ("before-activation", "after-activation")), (ResNet, ("before-sum", "after-sum")))
    for normalization in ("rmsnorm", "layernorm", "batchnorm")
    for place in places
]


def halved(x: np.ndarray) -> np.ndarray:
    """Neither named nor compiled by Numba: it asks what class it was given."""
    return np.tanh(x) / (1.0 + isinstance(x, np.ndarray))


def rounded(paths: Paths) -> Paths:
    """The same, norms that a normalization fixes being constants again."""
    return replace(paths, log_norm=np.round(paths.log_norm, 9))


def test_none_is_the_critical_variance() -> None:
    network = MLP(width=8, depth=3)
    assert (network.weight_variance, network.gain, network.critical_gain, network.critical) == (None, 2.0, 2.0, True)
    assert MLP(width=8, depth=3, weight_variance=2).critical
    given = MLP(width=8, depth=3, weight_variance=3, bias_variance=0.5)
    assert (given.gain, given.critical_gain, given.gain_ratio, given.critical) == (3.0, 2.0, 1.5, False)
    assert not MLP(width=8, depth=3, bias_variance=1e-300).critical


def test_a_variance_that_has_gone_through_text_is_still_critical() -> None:
    shaped = MLP(width=7, depth=3, activation=Shaped(function="silu"))
    same = shaped.model_copy(update={"weight_variance": float(f"{shaped.gain:.12g}")})
    assert same.critical
    assert same.gain_ratio == 1
    assert not shaped.model_copy(update={"weight_variance": 1.0001 * shaped.gain}).critical


def test_behind_a_normalization_one_is_critical() -> None:
    network = MLP(width=8, depth=3, normalization="rmsnorm", placement="after-activation")
    assert (network.gain, network.critical_gain) == (1.0, 1.0)
    assert network.model_copy(update={"weight_variance": 2}).gain_ratio == 2


def test_variances_are_named_only_where_they_are_given() -> None:
    assert str(MLP(width=8, depth=3)) == "MLP, relu, width 8, depth 3"
    assert (
        str(ResNet(width=8, depth=3, normalization="rmsnorm", weight_variance=1.5, bias_variance=0.25))
        == "ResNet, relu, branch 1/sqrt(depth), rmsnorm before the activation, weight variance 1.5, "
        "bias variance 0.25, width 8, depth 3"
    )


@pytest.mark.parametrize("kind", [MLP, ResNet])
def test_variances_are_read_back_and_checked(kind: type) -> None:
    network = kind(width=8, depth=3, weight_variance="1.5", bias_variance=0)
    assert network.weight_variance == 1.5
    assert read_network(network.to_json()) == network
    assert read_network(f'{{"kind": "{network.kind}", "width": 8, "depth": 3}}').weight_variance is None
    for value in (0, -1, inf, nan, "much", True):
        assert "must be a finite number above 0" in refusal(lambda: kind(width=8, depth=3, weight_variance=value))  # noqa: B023
    for value in (-1e-300, inf, nan, None):
        assert "must be a finite number, 0 or more" in refusal(lambda: kind(width=8, depth=3, bias_variance=value))  # noqa: B023


@pytest.mark.parametrize("variances", [{"weight_variance": 1.4}, {"bias_variance": 0.3}, BOTH], ids=str)
@pytest.mark.parametrize("activation", [ReLU(), LeakyReLU(slope=-0.4), TANH], ids=str)
@pytest.mark.parametrize("kind", [MLP, ResNet])
@pytest.mark.parametrize("count", quick(2, of=[1, 2, 5]))
def test_chain_has_the_law_of_networks_with_weights(count: int, kind: type, activation, variances: dict) -> None:
    network = kind(**SIZE, activation=activation, **variances)
    slow = sample_weights(network, INPUTS[count], networks=1500, seed=11, layers=[1, 6])
    fast = sample(network, INPUTS[count], networks=10_000, seed=12, layers=[1, 6])
    assert worst_difference(fast, slow) < SIGMAS


@pytest.mark.parametrize(("kind", "normalization", "place"), NORMALIZED)
def test_normalized_chain_has_the_law_of_networks_with_weights(kind: type, normalization: str, place: str) -> None:
    network = kind(**SIZE, normalization=normalization, placement=place, **BOTH)
    slow = sample_weights(network, INPUTS[5], networks=1000, seed=11, layers=[1, 6])
    fast = sample(network, INPUTS[5], networks=4000, seed=12, layers=[1, 6])
    assert worst_difference(rounded(fast), rounded(slow)) < SIGMAS


WRONG = {
    "weight variance": {"weight_variance": 1.7, "bias_variance": 0.3},
    "bias variance": {"weight_variance": 1.4, "bias_variance": 0.45},
    "no bias": {"weight_variance": 1.4},
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("kind", [MLP, ResNet])
def test_a_wrong_variance_fails_the_same_test(kind: type, wrong: str) -> None:
    slow = sample_weights(kind(**SIZE, **BOTH), INPUTS[2], networks=6000, seed=11, layers=[6])
    fast = sample(kind(**SIZE, **WRONG[wrong]), INPUTS[2], networks=10_000, seed=12, layers=[6])
    assert worst_difference(fast, slow) > SIGMAS


@pytest.mark.parametrize("activation", [ReLU(), ShapedReLU(), TANH, Shaped(function="silu")], ids=str)
@pytest.mark.parametrize("kind", [MLP, ResNet])
def test_the_kernel_computes_what_numpy_does(kind: type, activation) -> None:
    for variances in ({"weight_variance": 0.7}, {"bias_variance": 0.2}, BOTH):
        for width, count in ((13, 2), (30, 5)):
            network = kind(width=width, depth=4, activation=activation, **variances)
            assert agree(network, network, INPUTS[count], [1, 2, 4])
    other = kind(width=30, depth=4, activation=activation, weight_variance=1.4, bias_variance=0.3 + 1e-9)
    assert not agree(other, network, INPUTS[5], [1, 2, 4])


@pytest.mark.parametrize(("kind", "normalization", "place"), NORMALIZED)
def test_the_normalized_kernel_computes_what_numpy_does(kind: type, normalization: str, place: str) -> None:
    network = kind(width=13, depth=4, normalization=normalization, placement=place, **BOTH)
    tolerance = 1e-6 if (normalization, place) == ("batchnorm", "after-activation") else 1e-11
    assert agree(network, network, INPUTS[5], [1, 2, 4], tolerance)


def test_functions_that_numba_does_not_compile_take_biases() -> None:
    network = MLP(**SIZE, activation=Elementwise(function=f"{__name__}:halved"), **BOTH)
    slow = sample_weights(network, INPUTS[2], networks=1500, seed=21, layers=[1, 6])
    fast = sample(network, INPUTS[2], networks=3000, seed=22, layers=[1, 6])
    assert worst_difference(fast, slow) < SIGMAS


@pytest.mark.parametrize("activation", [ReLU(), LINEAR, LeakyReLU(slope=0.3)], ids=str)
@pytest.mark.parametrize("width", [9, 80])
def test_the_mean_of_a_norm_is_a_geometric_sum(activation, width: int) -> None:
    """E V_{l+1} given V_l is r V_l + sigma_b^2, r = sigma_w^2 / c: exactly, at any width, for slopes."""
    for ratio in (0.8, 1.1):
        network = MLP(width=width, depth=5, activation=activation, bias_variance=0.5)
        network = network.model_copy(update={"weight_variance": ratio * network.critical_gain})
        norms = np.exp(sample(network, gram(covariance=[[2.0]]), networks=40_000, seed=4).log_norm[:, :, 0])
        for layer in range(1, 6):
            mean = 2 * ratio**layer + 0.5 * (ratio**layer - 1) / (ratio - 1)
            assert z_of_mean(norms[:, layer], mean) < SIGMAS
        assert z_of_mean(norms[:, 1], 1.05 * (2 * ratio + 0.5)) > SIGMAS


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("width", [10, 80])
def test_slopes_without_biases_are_the_critical_networks_grown(count: int, width: int) -> None:
    inputs = INPUTS[5].pair(0, 1) if count == 2 else INPUTS[1] if count == 1 else gram(np.eye(3) + 0.2)
    critical = sample(MLP(width=width, depth=7), inputs, networks=20, seed=3)
    for variance in (1e-3, 1.5, 1e40):
        grown = sample(MLP(width=width, depth=7, weight_variance=variance), inputs, networks=20, seed=3)
        shift = np.arange(8)[:, None] * log(variance / 2)
        np.testing.assert_allclose(grown.log_norm, critical.log_norm + shift, rtol=1e-12, atol=1e-10)
        np.testing.assert_array_equal(grown.log_gap, critical.log_gap)


@pytest.mark.parametrize("width", [20, 80])
def test_no_depth_overflows_without_biases(width: int) -> None:
    for network in (MLP(width=width, depth=1500, weight_variance=8), ResNet(width=width, depth=1500, branch=2.0)):
        paths = sample(network, INPUTS[2], networks=4, seed=1, layers=[1500])
        assert paths.alive.all()
        assert (paths.log_norm > 800).all()


@pytest.mark.parametrize("kind", quick(MLP, of=[MLP, ResNet]))
def test_a_norm_that_no_float_holds_is_exploded_for_good_beside_biases(kind: type) -> None:
    network = kind(width=66, depth=600, weight_variance=8, bias_variance=0.1)
    network = network.model_copy(update={"branch": 1}) if kind is ResNet else network
    for count in (1, 2, 5):
        paths = sample(network, INPUTS[count], networks=3, seed=1)
        assert paths.alive[:, 0].all()
        assert not paths.alive[:, -1].any()
        assert (np.diff(paths.alive.astype(int), axis=1) <= 0).all()
        assert np.isposinf(paths.log_norm[~paths.alive].max(axis=1)).all()


def test_biases_keep_narrow_networks_alive() -> None:
    without, biased = (MLP(width=2, depth=30, bias_variance=b) for b in (0.0, 0.2))
    assert sample(without, INPUTS[2], networks=200, seed=1).alive[:, -1].mean() < 0.1
    assert sample(biased, INPUTS[2], networks=200, seed=1).alive.all()


@pytest.mark.parametrize("gap", [1e-6, 1e-12, 1e-100])
def test_small_gaps_keep_their_digits_beside_biases(gap: float) -> None:
    """One layer of a linear network divides sin^2 by V_00 V_11 / det: a bias adds to the norms and to no difference."""
    network = MLP(width=30, depth=1, activation=LINEAR, weight_variance=1, bias_variance=3)
    plain = sample(network.model_copy(update={"bias_variance": 0}), gram(gap=gap), networks=50, seed=6)
    paths = sample(network, gram(gap=gap), networks=50, seed=6)
    if gap < 1e-20:  # the law of a gap over the inputs' has no scale
        near = sample(network, gram(gap=1e-12), networks=50, seed=6)
        np.testing.assert_allclose(paths.log_gap[:, 1] - log(gap), near.log_gap[:, 1] - log(1e-12), rtol=0, atol=1e-5)
        return
    squares = np.exp(plain.log_norm[:, 1])
    # |z - z'|^2 = (|z| - |z'|)^2 + 2 |z| |z'| (1 - rho), and V + 3 keeps |z - z'|^2
    apart = 2 * np.exp(plain.log_gap[:, 1, 0] - log(gap)) * np.sqrt(squares.prod(axis=1))
    turned = np.exp(paths.log_gap[:, 1, 0] - log(gap)) * 2 * np.sqrt((squares + 3).prod(axis=1))
    radial = [np.diff(np.sqrt(s), axis=1)[:, 0] ** 2 / gap for s in (squares, squares + 3)]
    np.testing.assert_allclose(turned + radial[1], apart + radial[0], rtol=1e-6)


def kinds() -> list[Network]:
    return [MLP(width=12, depth=3), ResNet(width=12, depth=3)]


@pytest.mark.parametrize("network", kinds(), ids=str)
def test_the_covariance_of_the_inputs_is_kept_beside_biases(network: Network) -> None:
    """Layer 0 holds what was handed in: its bias is the caller's."""
    biased = network.model_copy(update={"bias_variance": 5.0})
    one, other = (sample(n, INPUTS[5], networks=4, seed=1, layers=[0]) for n in (network, biased))
    np.testing.assert_allclose(one.log_norm, other.log_norm, atol=1e-10)
    np.testing.assert_allclose(one.log_gap, other.log_gap, atol=1e-10)
