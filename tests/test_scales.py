"""Inputs of every size, through every kind of network: each limit gives finite numbers, or a sentence."""

from contextlib import suppress

import numpy as np
import pytest
from slope_functions import root_of_size
from tiers import quick

import deeplim as dl
from deeplim.errors import DeeplimError, LimitError
from deeplim.hermite import expand
from deeplim.ladder import climb
from deeplim.limits.covariance_ode import CovarianceODE

FUNCTIONS = ["tanh", "gelu", "sin"]
SCALES = [1e-300, 1e-160, 1e-9, 5e3, 1e154, 1e300]
ROWS = np.random.default_rng(0).standard_normal((2, 4))


def _network(function: str, kind: str) -> dl.MLP | dl.ResNet:
    phi = dl.Elementwise(function=function)
    if kind == "resnet":
        return dl.ResNet(width=20, depth=4, activation=phi)
    if kind == "biased":
        return dl.MLP(width=20, depth=4, activation=phi, weight_variance=1.5, bias_variance=0.2)
    return dl.MLP(width=20, depth=4, activation=phi)


@pytest.mark.parametrize("kind", ["mlp", "biased", "resnet"])
@pytest.mark.parametrize("function", quick("tanh", "gelu", of=FUNCTIONS))
def test_limits_from_inputs_of_any_size(function: str, kind: str) -> None:
    network = _network(function, kind)
    told = 0
    for scale in SCALES:
        inputs = dl.gram(scale * ROWS)
        for limit in dl.limits.find(network):
            try:
                paths = dl.predict(limit, inputs, samples=20, seed=1)
            except LimitError:
                told += 1
                continue
            assert not np.isnan(paths.log_norm[paths.alive]).any()
            assert not np.isnan(paths.log_gap[paths.alive]).any()
    assert told < len(SCALES)


@pytest.mark.parametrize("function", ["tanh", "erf"])
def test_raw_features_are_described_or_told(function: str) -> None:
    """Rows of features of different units are followed where a law can be, and the others are named."""
    rows = np.array([[52000, 41, 3, 1.8e5], [48000, 39, 1, 2.1e5]])
    network = dl.MLP(width=64, depth=10, activation=dl.Elementwise(function=function))
    ladder = climb(network, dl.gram(rows), networks=50, samples=50, seed=1)
    assert {"exact", "infinite-width"} <= set(ladder.rungs)
    for name in ladder.rungs:
        assert np.isfinite(ladder.rungs[name].log_norm).all()
    assert set(ladder.failed) <= {"moments"}
    if "moments" in ladder.rungs:
        exact, moments = (ladder.rungs[name].log_norm[:, -1, 0] for name in ("exact", "moments"))
        assert abs(exact.mean() - moments.mean()) < 5 * np.hypot(exact.std(), moments.std()) / np.sqrt(50)


@pytest.mark.parametrize("scale", [1e-9, 1e-20, 1e-160])
def test_an_ode_from_tiny_inputs_is_that_of_the_slope_at_zero(scale: float) -> None:
    """tanh is the identity there: the covariance grows by exp(1), and no correlation moves."""
    network = dl.ResNet(width=20, depth=10, activation=dl.Elementwise(function="tanh"))
    start = dl.gram(scale * ROWS)
    paths = CovarianceODE(network).sample(start, layers=[10])
    speed = paths.log_norm[0, 0] - start.log_norm
    assert speed == pytest.approx(np.full(2, speed[0]), rel=1e-6)
    assert paths.log_gap[0, 0, 0] == pytest.approx(np.log(start.gap[0, 1]), abs=1e-6)


def test_a_quadrature_of_a_rough_function_is_bounded() -> None:
    """sqrt|x| at infinite width took 4.5 GB for one pair."""
    import tracemalloc

    tracemalloc.start()
    try:
        network = dl.MLP(width=10, depth=3, activation=dl.Elementwise(function="slope_functions:root_of_size"))
        paths = dl.predict(dl.limits.named("infinite-width", network), dl.gram(correlation=0.3))
        peak = tracemalloc.get_traced_memory()[1]
    except DeeplimError as error:
        pytest.fail(str(error))
    finally:
        tracemalloc.stop()
    assert peak < 200 * 2**20
    g = np.random.default_rng(1).standard_normal((2, 4_000_000))
    z = np.stack([g[0], 0.3 * g[0] + np.sqrt(1 - 0.09) * g[1]])
    h = root_of_size(z)
    drawn = (h[0] * h[1]).mean() / (h**2).mean()
    assert paths.correlation[0, 1, 0, 1] == pytest.approx(drawn, abs=1e-3)


def test_a_limit_of_a_step_is_refused_or_found() -> None:
    """It took for ever; what is found is deterministic at infinite width, in a clock that there is."""
    network = dl.MLP(width=100, depth=10, activation=dl.Elementwise(function="numpy:sign"))
    with suppress(DeeplimError):
        assert dl.limits.derive(network).clock in ("layer", "layer/width", "layer/depth")


def test_a_series_is_not_taken_of_a_function_that_turns_too_fast() -> None:
    """On a grid of 1/16 sin(95 x) looks like sin(5.5 x), whose series converges."""
    _, converged = expand(np.sin, np.array([10.0, 95.0]))
    assert converged.tolist() == [True, False]
