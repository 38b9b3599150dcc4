"""Real PyTorch networks, probed over their initializations, have the law of the exact chain that is read off them.

Means and variances of log norms and of log gaps, at 5 sigma: a comparison fails by chance in one of 1.7 million. The
twelve kinds of network at three layers each are 216 comparisons, and with the others there are about 700: one set of
seeds in 2,500 has a failure by chance.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import sqrt
from typing import Any

import numpy as np
import pytest
import torch
from diagnosed import mlp
from laws import SIGMAS, z_of_means, z_of_std, z_of_variances
from scipy.stats import f as f_distribution
from tiers import quick, slow
from torch import nn
from torch.nn import functional as F
from torch_zoo import (
    N_IN,
    AfterSum,
    Functional,
    FunctionalResNet,
    Scaled,
    Slopes,
    draw,
    linear,
    resnet,
    stack,
)

import deeplim as dl
from deeplim.finite.weights import sample_weights
from deeplim.paths import Paths
from deeplim.probe import Reading, observable, read_architecture, record

DEPTH, INITIALIZATIONS, NETWORKS = 10, 1000, 20_000
FEW = 150
X = np.random.default_rng(3).normal(size=(2, N_IN)) @ np.diag([1.0, 1, 1, 1, 1, 1, 1, 0.3]) * np.array([[1.0], [1.5]])
ACTIVATIONS: dict[str, tuple[Callable[[], nn.Module], float, float]] = {
    "relu": (nn.ReLU, 2.0, 0.0),
    "tanh": (nn.Tanh, 1.5, 0.1),
    "shaped": (partial(Slopes, 1.1, 0.7), 2 / (1.1**2 + 0.7**2), 0.0),
}
"""Each with the variances of weights and biases; those of tanh are not critical."""


pytestmark = pytest.mark.usefixtures("one_thread")


def redrawn(model: Any, weight: float, bias: float) -> Callable[[], Any]:
    """A factory that draws the weights of one model again, which takes a third of the time of making one."""
    return partial(draw, model, weight, bias)


def factory(kind: str, width: int, activation: str, *, times: float = 1.0, scale: float = 1.0) -> Callable[[], Any]:
    make, weight, bias = ACTIVATIONS[activation]
    if kind == "mlp":
        model: nn.Module = stack(width, DEPTH, make)
    else:
        model = resnet(width, DEPTH, make, partial(linear, width), scale=scale / sqrt(DEPTH))
    return redrawn(model, times * weight, bias)


def read_exactly(make: Callable[[], Any], weight: float, bias: float) -> Reading:
    """What is read, with the variances that parameters were drawn with: these, where they are no textbook's.

    Those that are measured agree with them, but not as closely as a thousand initializations resolve.
    """
    reading = read_architecture(make)
    assert reading.network is not None, reading.why_not
    if reading.network.weight_variance is None:
        return reading
    assert reading.network.weight_variance == pytest.approx(weight, rel=0.05)
    assert reading.network.bias_variance == pytest.approx(bias, rel=0.2)
    network = reading.network.model_copy(update={"weight_variance": weight, "bias_variance": bias})
    return replace(reading, network=network, first_weight_variance=weight, first_bias_variance=bias)


def worst(observed: Paths, chain: Paths) -> float:
    """The largest difference of a mean or variance, in standard errors; all but a few networks must be alive."""
    assert observed.time.tolist() == chain.time.tolist()
    assert observed.alive.mean() > 0.999 < chain.alive.mean()
    found = [0.0]
    for layer in range(len(chain.time)):
        for name in ("log_norm", "log_gap"):
            a, b = (getattr(paths, name)[paths.alive[:, layer], layer] for paths in (observed, chain))
            for column in range(a.shape[1]):
                if a[:, column].std() < 1e-4 > b[:, column].std():  # a norm that has been normalized
                    assert np.isclose(a[:, column].mean(), b[:, column].mean(), rtol=0, atol=1e-4)
                    continue
                found += [z_of_means(a[:, column], b[:, column]), z_of_variances(a[:, column], b[:, column])]
    return max(found)


def probed(make: Callable[[], Any], reading: Reading, layers: list[int], count: int, seed: int, x: Any = X) -> Paths:
    """The states of the chain at these layers in ``count`` initializations."""
    modules = {state.modules[0][0].partition("#")[0] for state in reading.states if state.layer in layers}
    paths = record(make, x, repeats=count, seed=seed, modules=sorted(modules))
    return reading.overlay(paths).at(layers)


def difference(make: Callable[[], Any], reading: Reading, layers: list[int], count: int = INITIALIZATIONS) -> float:
    assert reading.network is not None, reading.why_not
    chain = dl.simulate(reading.network, reading.inputs(X), networks=NETWORKS, seed=7, layers=layers)
    return worst(probed(make, reading, layers, count, seed=5), chain)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("width", quick(32, of=[32, 128]))
@pytest.mark.parametrize("kind", ["mlp", "resnet"])
@pytest.mark.parametrize("count", quick(FEW, of=[FEW, INITIALIZATIONS]))
def test_a_probed_network_has_the_law_of_the_chain_read_off_it(count: int, kind: str, width: int, activation: str):
    make = factory(kind, width, activation)
    assert difference(make, read_exactly(make, *ACTIVATIONS[activation][1:]), [1, 5, DEPTH], count) < SIGMAS


def test_controls_weights_of_more_variance_are_seen():
    """By 10%, in an MLP."""
    right = factory("mlp", 128, "relu")
    assert difference(factory("mlp", 128, "relu", times=1.1), read_architecture(right), [5, DEPTH], FEW) > SIGMAS


@pytest.mark.slow
def test_controls_branches_that_are_too_large_are_seen():
    """By 10%."""
    right = read_exactly(factory("resnet", 128, "tanh"), 1.5, 0.1)
    assert difference(factory("resnet", 128, "tanh", scale=1.1), right, [5, DEPTH]) > SIGMAS


@pytest.mark.slow
def test_default_initialization_agrees_with_its_textbook_variances_in_the_mean():
    """Uniform weights and biases of nn.Linear; the chain's are Gaussian, which for biases shows in the spread.

    Far down V = V/6 + sigma_b^2, so that biases have 5/6 of a preactivation's variance, whose kurtosis is then
    3 - 1.2 (5/6)^2. Var phi(z)^2 = V^2 (kurtosis / 2 - 1/4) for ReLU: two thirds of the Gaussian one.
    """

    def make() -> Any:
        for module in model:
            if isinstance(module, nn.Linear):
                module.reset_parameters()
        return model

    model = stack(64, DEPTH, nn.ReLU)
    reading = read_architecture(make)
    assert reading.network == dl.MLP(width=64, depth=DEPTH, weight_variance=1 / 3, bias_variance=1 / (3 * 64))
    assert (reading.first_weight_variance, reading.first_bias_variance) == (1 / 3, 1 / (3 * N_IN))
    layers = [2, 5, DEPTH]
    chain = dl.simulate(reading.network, reading.inputs(X), networks=NETWORKS, seed=7, layers=layers)
    found = probed(make, reading, layers, INITIALIZATIONS, seed=5)
    for layer in range(len(layers)):
        for name in ("log_norm", "log_gap"):
            a, b = (getattr(paths, name)[:, layer, 0] for paths in (found, chain))
            assert z_of_means(a, b) < SIGMAS, (name, layer)
    last = found.log_norm[:, -1, 0]
    kurtosis = 3 - 1.2 * (5 / 6) ** 2
    assert z_of_std(last, chain.log_norm[:, -1, 0].std() * sqrt((kurtosis / 2 - 1 / 4) / 1.25)) < SIGMAS
    assert z_of_std(last, chain.log_norm[:, -1, 0].std()) > SIGMAS


W = 16
PLACES: dict[str, Any] = {
    "layernorm before": stack(W, 4, partial(nn.LayerNorm, W), nn.ReLU),
    "layernorm after": stack(W, 4, nn.ReLU, partial(nn.LayerNorm, W)),
    "rmsnorm after": stack(W, 4, nn.Softplus, partial(nn.RMSNorm, W)),
    "batchnorm before": stack(W, 4, partial(nn.BatchNorm1d, W), nn.ReLU),
    "batchnorm after": stack(W, 4, nn.Tanh, partial(nn.BatchNorm1d, W)),
    "linear": stack(W, 4),
    "functions": Functional(W, 4, lambda z: 1.3 * F.gelu(0.9 * z)),
    "shaped": stack(W, 4, partial(Scaled, "silu", 3.0)),
    "residual layernorm before": resnet(
        W, 4, partial(nn.LayerNorm, W), nn.ReLU, partial(linear, W), skip=0.8, scale=0.6
    ),
    "residual layernorm after": resnet(W, 4, nn.ReLU, partial(nn.LayerNorm, W), partial(linear, W)),
    "residual rmsnorm before the sum": resnet(W, 4, nn.Tanh, partial(linear, W), partial(nn.RMSNorm, W), scale=0.5),
    "residual batchnorm before": resnet(W, 4, partial(nn.BatchNorm1d, W), nn.ReLU, partial(linear, W)),
    "residual layernorm after the sum": nn.Sequential(
        nn.Linear(N_IN, W), *(AfterSum(W, nn.LayerNorm) for _ in range(4)), nn.Linear(W, 2)
    ),
    "residual functions": FunctionalResNet(W, 4, 0.7),
}


@pytest.mark.parametrize("name", quick(*list(PLACES)[::2], of=PLACES))
def test_every_place_and_python_code_have_the_law_of_the_chain_read_off_them(name: str):
    """Against NumPy networks with weights: fewer of small ones, at which most wrong places and factors show."""
    model = observable(PLACES[name])
    make = redrawn(model, 1.7, 0.1)
    make()
    reading = read_architecture(make)
    x = np.random.default_rng(8).normal(size=(3, N_IN))  # three, so that batchnorm leaves something
    assert reading.network is not None, reading.why_not
    chain = sample_weights(reading.network, reading.inputs(x), networks=5000, seed=7, layers=[1, 4])
    assert worst(probed(make, reading, [1, 4], 150, seed=6, x=x), chain) < SIGMAS


@pytest.mark.parametrize(
    ("name", "wrong", "count"),
    [
        ("layernorm before", "after-activation", 150),
        ("layernorm after", "before-activation", 150),
        ("batchnorm before", "after-activation", 150),
        ("residual layernorm after the sum", "before-sum", 150),
        ("residual layernorm before", "after-activation", 150),
        slow("residual rmsnorm before the sum", "before-activation", 1000),
    ],
)
def test_controls_normalizations_in_wrong_places_are_seen(name: str, wrong: str, count: int):
    """The last moves the law by little, and takes more networks to show."""
    make = redrawn(observable(PLACES[name]), 1.7, 0.1)
    make()
    reading = read_architecture(make)
    assert reading.network is not None, reading.why_not
    x = np.random.default_rng(8).normal(size=(3, N_IN))
    elsewhere = reading.network.model_copy(update={"placement": wrong})
    chain = sample_weights(elsewhere, reading.inputs(x), networks=5000, seed=7, layers=[1, 4])
    assert worst(probed(make, reading, [1, 4], count, seed=6, x=x), chain) > SIGMAS


def _between_over_within(models: int, copies: int, width: int, depth: int) -> float:
    """Fisher's F of mean log norms over models, of copies each: what all copies of a model share makes it large.

    The sizes of a layer's N weights are shared, which moves the log norm of a ReLU layer with variance 2/N; that is
    taken out.
    """
    x = np.random.default_rng(0).standard_normal((2, 24)).astype(np.float32)
    means, within = [], []
    for model in range(models):
        with torch.random.fork_rng():
            torch.manual_seed(model)
            network = mlp(width, depth)
        paths = record(network, x, repeats=copies + 1, seed=model)
        norms = paths.log_norm[1:, -2].mean(axis=1)
        means.append(norms.mean())
        within.append(norms.var(ddof=1))
    shared = sum(2 / (width * (width if layer else 24)) for layer in range(depth))
    return float(copies * np.var(means, ddof=1) / (np.mean(within) + copies * shared))


@pytest.mark.slow
def test_copies_of_a_model_differ_as_initializations_do(monkeypatch: pytest.MonkeyPatch):
    models, copies = 40, 15
    limit = f_distribution.isf(1e-5, models - 1, models * (copies - 1))
    assert _between_over_within(models, copies, 32, 6) < limit
    monkeypatch.setattr("deeplim.probe.initializations.signs_of", lambda *_: None)
    assert _between_over_within(models, copies, 32, 6) > limit  # shuffled only, they share the sums of their weights
