"""Laws from starts at the edge: antipodal inputs, and slopes of opposite signs, which bring those together."""

import warnings

import numpy as np
import pytest
from laws import SIGMAS, z_of_mean
from scipy.integrate import quad

import deeplim as dl
from deeplim.errors import LimitError
from deeplim.limits.laws import (
    centred_relu_drift,
    centred_smooth_drift,
    pair_density,
    shaped_relu_drift,
    shaped_smooth_drift,
)

ANTIPODAL = dl.gram(correlation=-1.0)
DRIFTS = {
    "shaped ReLU": shaped_relu_drift(1.0),
    "weakly shaped ReLU": shaped_relu_drift(0.01),
    "centred ReLU": centred_relu_drift(1.0),
    "smooth": shaped_smooth_drift(0.5),
    "centred smooth": centred_smooth_drift(0.5),
}


@pytest.mark.parametrize("name", DRIFTS)
@pytest.mark.parametrize("time", [1.0, 4.0])
def test_the_law_from_antipodal_inputs_is_that_from_a_point_next_to_them(name: str, time: float):
    """The mean of delta = 1 + rho is mu(0) t for the first part t of the time, by then 1e-4 of what it becomes."""
    drift = DRIFTS[name]
    away = float(drift(np.array([2.0]))[0])
    first = min(1e-4 * time, 1e-5 / away)
    near = pair_density(drift, 2 - away * first, time=time - first, tolerance=1e-7)
    law = pair_density(drift, 2.0, time=time, tolerance=1e-7)
    assert law.mean == pytest.approx(near.mean, abs=3e-7)
    assert law.std == pytest.approx(near.std, abs=3e-7)
    for q in (0.01, 0.5, 0.99):
        assert law.quantile(q) == pytest.approx(near.quantile(q), abs=3e-6)
    halved = pair_density(drift, 2 - away * first / 2, time=time - 0.9 * time, tolerance=1e-5)
    assert abs(law.mean - halved.mean) > 1e-3, "another time is told apart"


def test_for_little_time_the_mean_is_that_of_the_linear_equation():
    """d delta = (gamma pi + (1 - gamma pi) delta) dt + 2 delta dB, but for delta^(3/2) and smaller."""
    gamma, time = 0.2, 1e-3
    k = 1 - gamma * np.pi
    law = pair_density(shaped_relu_drift(gamma), 2.0, time=time)
    linear = gamma * np.pi * np.expm1(k * time) / k
    assert 1 + law.mean == pytest.approx(linear, rel=1e-5)
    missing = quad(lambda t: (gamma * np.pi * t) ** 1.5 * gamma * 2 * np.sqrt(2) / 3, 0, time)[0]
    assert missing < 1e-5 * linear


@pytest.mark.parametrize(
    "network",
    [
        dl.MLP(width=100, depth=100),
        dl.MLP(width=100, depth=100, activation=dl.ShapedReLU(c_minus=-2)),
        dl.MLP(width=100, depth=50, activation=dl.ShapedReLU(c_minus=-2), normalization="layernorm"),
        dl.MLP(width=100, depth=60, activation=dl.Shaped(function="silu", a=0.8), normalization="rmsnorm"),
        dl.ResNet(width=100, depth=100, activation=dl.ShapedReLU(c_minus=-2), branch=0.7),
    ],
    ids=str,
)
def test_sampled_paths_from_antipodal_inputs_have_this_law(network):
    limit = dl.limits.find(network)[0]
    law = dl.limits.law(limit, ANTIPODAL)
    rho = dl.predict(limit, ANTIPODAL, samples=40_000, seed=4, layers=[network.depth]).correlation[:, 0, 0, 1]
    assert z_of_mean(rho, law.mean) < SIGMAS
    assert z_of_mean((rho - law.mean) ** 2, law.std**2) < SIGMAS
    assert z_of_mean(rho, law.mean + 0.05 * law.std) > SIGMAS, "a twentieth of a standard deviation is told apart"


def test_inputs_that_stay_antipodal_have_no_law_and_a_sentence():
    for activation in (dl.LeakyReLU(slope=1.0), dl.Shaped(function="tanh", a=1.2)):
        limit = dl.limits.find(dl.MLP(width=100, depth=100, activation=activation))[0]
        with pytest.raises(LimitError, match="inputs of correlation -1 stay antipodal"):
            dl.limits.law(limit, ANTIPODAL)


@pytest.mark.parametrize(("width", "depth"), [(200, 200), (100, 100)])
@pytest.mark.parametrize("slope", [-1.0, -0.97, -0.9, -0.5])
@pytest.mark.parametrize("rho", [-0.9999, -0.99, -0.5])
def test_the_unshaped_law_starts_where_one_layer_leads(width: int, depth: int, slope: float, rho: float):
    """Within 0.2 standard deviations of exact networks: without the layer, up to 1.8 away."""
    network, inputs = dl.MLP(width=width, depth=depth, activation=dl.LeakyReLU(slope=slope)), dl.gram(correlation=rho)
    limit = dl.limits.named("unshaped", network)
    exact = -dl.simulate(network, inputs, networks=1500, seed=3, layers=[depth]).log_gap[:, 0, 0] / 2
    paths = -dl.predict(limit, inputs, samples=6000, seed=1, layers=[depth]).log_gap[:, 0, 0] / 2
    assert abs(paths.mean() - exact.mean()) < 0.2 * exact.std()
    assert dl.predict(limit, inputs, samples=1, layers=[0]).log_gap[0, 0, 0] == np.log(1 - rho)


def test_the_start_of_near_inputs_is_their_gap_s():
    limit = dl.limits.named("unshaped", dl.MLP(width=50, depth=50))
    for gap in (1e-3, 1e-10, 1e-200):
        assert limit.start_ratio(gap) == pytest.approx(gap**-0.5 / 50, rel=0.1 * gap)
    joint = [limit.start_ratio(gap) for gap in (1 - 1e-9, 1 + 1e-9)]
    assert joint[0] == pytest.approx(joint[1], rel=1e-8)


def test_the_absolute_value_makes_antipodal_inputs_parallel():
    network = dl.MLP(width=50, depth=20, activation=dl.LeakyReLU(slope=-1.0))
    limit = dl.limits.named("unshaped", network)
    assert limit.start_ratio(2.0) == np.inf
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for paths in (dl.predict(limit, ANTIPODAL, samples=16), dl.simulate(network, ANTIPODAL, networks=16)):
            assert paths.alive.all()
            assert np.isneginf(paths.log_gap[:, 1:]).all()
    with pytest.raises(LimitError, match="makes inputs of correlation -1 parallel"):
        dl.limits.law(limit, ANTIPODAL)


def test_a_narrow_relu_is_called_narrow_and_its_slopes_are_not_called_equal():
    narrow = dl.limits.explain(dl.MLP(width=4, depth=10))["unshaped"]
    assert narrow.startswith("it is too narrow: kappa x width = 1.3")
    alike = dl.limits.explain(dl.MLP(width=50, depth=10, activation=dl.LeakyReLU(slope=0.8)))["unshaped"]
    assert alike.startswith("its slopes are nearly equal")
