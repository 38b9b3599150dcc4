"""A user's function that is two slopes is known as such, and has the networks and the limits of slopes."""

import numpy as np
import pytest
from laws import SIGMAS, z_of_means

import deeplim as dl
from deeplim.finite.weights import sample_weights
from deeplim.loading import two_slopes

SLOPES = {
    "numpy:abs": (1.0, -1.0),
    "numpy:positive": (1.0, 1.0),
    "slope_functions:prelu": (1.0, 0.25),
    "slope_functions:hard_leaky": (1.0, 0.1),
    "slope_functions:falling": (2.0, -0.5),
    "slope_functions:identity": (1.0, 1.0),
    "slope_functions:only_below": (0.0, 1.0),
}
OTHERS = ("hard_tanh", "relu_6", "late_kink", "dead_zone", "shifted", "bent", "coarse", "leaves_its_range")
PAIR = dl.gram(correlation=0.3)


def network(function: str, **more) -> dl.MLP:
    return dl.MLP(width=100, depth=20, activation=dl.Elementwise(function=function), **more)


@pytest.mark.parametrize("function", SLOPES)
def test_slopes_are_found(function: str):
    assert two_slopes(function) == pytest.approx(SLOPES[function], rel=1e-15)
    one = network(function)
    assert one.homogeneous
    assert one.slopes == pytest.approx(SLOPES[function], rel=1e-15)
    assert one.gain == pytest.approx(2 / sum(s * s for s in SLOPES[function]), rel=1e-14)
    assert dl.MLP.from_json(one.to_json()) == one


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_nearly_two_slopes_is_none(name: str):
    assert two_slopes(f"slope_functions:{name}") is None
    assert not network(f"slope_functions:{name}").homogeneous


def test_named_functions_are_never_slopes():
    for name in ("tanh", "softplus", "gelu", "erf"):
        assert not network(name).homogeneous


@pytest.mark.parametrize(("function", "slope"), [("numpy:abs", -1.0), ("slope_functions:hard_leaky", 0.1)])
def test_the_networks_and_limits_are_those_of_the_slopes(function: str, slope: float):
    own, leaky = network(function), dl.MLP(width=100, depth=20, activation=dl.LeakyReLU(slope=slope))
    assert [limit.name for limit in dl.limits.find(own)] == [limit.name for limit in dl.limits.find(leaky)]
    for limit, other in zip(dl.limits.find(own), dl.limits.find(leaky), strict=True):
        assert limit.parameters == other.parameters
    a, b = (dl.simulate(one, PAIR, networks=64, seed=3) for one in (own, leaky))
    np.testing.assert_allclose(a.log_gap, b.log_gap, rtol=1e-12)
    np.testing.assert_allclose(a.log_norm, b.log_norm, rtol=1e-12, atol=1e-12)


def test_the_identity_of_a_user_is_linear():
    assert "sde" in [limit.name for limit in dl.limits.find(network("numpy:positive"))]
    assert "unshaped" in dl.limits.explain(network("slope_functions:identity"))


@pytest.mark.parametrize("function", ["slope_functions:falling", "slope_functions:only_below"])
@pytest.mark.parametrize("normalization", ["none", "batchnorm"])
def test_networks_of_any_two_slopes_have_the_law_of_their_weights(function: str, normalization: str):
    one = dl.MLP(width=20, depth=4, activation=dl.Elementwise(function=function), normalization=normalization)
    inputs = dl.gram(np.random.default_rng(0).standard_normal((3, 5)))
    exact = dl.simulate(one, inputs, networks=8000, seed=1, layers=[4])
    weights = sample_weights(one, inputs, networks=8000, seed=2, layers=[4])
    for a, b in ((exact.log_norm, weights.log_norm), (exact.log_gap, weights.log_gap)):
        for column in range(a.shape[2]):
            x, y = (side[:, 0, column][np.isfinite(side[:, 0, column])] for side in (a, b))
            assert z_of_means(x, y) < SIGMAS
            assert z_of_means(x, y + 0.15 * y.std()) > SIGMAS, "0.15 of a standard deviation is told apart"


def test_remedies_and_shaping_take_them_for_slopes():
    found = dl.diagnose(dl.MLP(width=32, depth=60, activation=dl.Elementwise(function="numpy:abs")), PAIR, networks=200)
    assert not found.healthy
    shaped = dl.shape(network("numpy:abs"), dl.Target(correlation=0.9, quantile=0.5))
    assert isinstance(shaped.network.activation, dl.LeakyReLU)
