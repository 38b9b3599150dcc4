"""The law of a limit without sampling: the same as its samples have, for every limit that has one."""

import numpy as np
import pytest
from laws import SIGMAS, z_of_mean, z_of_std
from refusals import refusal

from deeplim import limits
from deeplim.activations import LeakyReLU, ReLU, Shaped, ShapedReLU
from deeplim.architecture import MLP, Network, ResNet
from deeplim.errors import LimitError
from deeplim.inputs import gram

SIZE = {"width": 100, "depth": 60}
NETWORKS: dict[str, Network] = {
    "shaped relu": MLP(**SIZE, activation=ShapedReLU()),
    "linear": MLP(**SIZE, activation=LeakyReLU(slope=1)),
    "unshaped": MLP(**SIZE, activation=ReLU()),
    "tanh": MLP(**SIZE, activation=Shaped(function="tanh", a=0.8)),
    "relu, layernorm": MLP(
        **SIZE, activation=ShapedReLU(c_minus=-2), normalization="layernorm", placement="after-activation"
    ),
    "silu, rmsnorm": MLP(**SIZE, activation=Shaped(function="silu", a=0.6), normalization="rmsnorm"),
    "silu, layernorm": MLP(
        **SIZE, activation=Shaped(function="silu", a=0.6), normalization="layernorm", placement="after-activation"
    ),
    "resnet": ResNet(**SIZE, activation=ShapedReLU(c_minus=-2), branch=0.7, skip="norm-preserving"),
    "growing resnet": ResNet(**SIZE, activation=ShapedReLU(c_minus=-2), branch=0.3),
    "tanh resnet": ResNet(**SIZE, activation=Shaped(function="tanh", a=0.5), branch=0.7, skip="norm-preserving"),
}
INPUTS = gram(covariance=np.array([[1.5, 0.4], [0.4, 0.8]]))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_samples_of_a_limit_have_its_law(name: str):
    limit = limits.find(NETWORKS[name])[0]
    paths = limit.sample(INPUTS, samples=40_000, seed=1, layers=[30, 60])
    for k, layer in enumerate((30, 60)):
        density = limits.law(limit, INPUTS, layer=layer)
        rho = paths.correlation[:, k, 0, 1]
        assert z_of_mean(rho, density.mean) < SIGMAS
        assert z_of_std(rho, density.std) < SIGMAS
        if NETWORKS[name].normalization == "none":
            norm = limits.law(limit, INPUTS, layer=layer, observable="log_norm")
            assert z_of_mean(paths.log_norm[:, k, 0], norm.mean) < SIGMAS
            assert z_of_std(paths.log_norm[:, k, 0], norm.std) < SIGMAS
    start = float(INPUTS.gap[0, 1])
    nearer = gram(correlation=1 - start + 0.05)
    controls = limits.law(limit, nearer, layer=60), limits.law(limit, INPUTS, layer=50)  # the unshaped forget the start
    assert max(z_of_mean(rho, wrong.mean) for wrong in controls) > SIGMAS, "a control must fail"


def test_an_explosive_norm_loses_the_mass_that_explodes():
    limit = limits.named("smooth-sde", MLP(width=100, depth=200, activation=Shaped(function="silu", a=0.5)))
    lost = limits.law(limit, gram(correlation=0.3), observable="log_norm").lost
    times = limit.explosion_times(gram(np.ones((1, 1))), samples=40_000, seed=2)
    share = np.isfinite(times).mean()
    assert abs(share - lost) < SIGMAS * np.sqrt(lost * (1 - lost) / 40_000)
    assert 0 < lost < limit.explosion_probability()


def test_what_has_no_law_says_so():
    pair = gram(correlation=0.3)
    silu = limits.find(MLP(**SIZE, activation=Shaped(function="silu", a=0.6)))[0]
    assert "depends on its norms" in refusal(lambda: limits.law(silu, pair), kind=LimitError)
    wide = limits.named("infinite-width", NETWORKS["unshaped"])
    assert "not known in closed form" in refusal(lambda: limits.law(wide, pair), kind=LimitError)
    held = limits.find(NETWORKS["silu, rmsnorm"])[0]
    assert "hold" in refusal(lambda: limits.law(held, pair, observable="log_norm"), kind=LimitError)
    limit = limits.find(NETWORKS["shaped relu"])[0]
    assert "layer 0 is the inputs" in refusal(lambda: limits.law(limit, pair, layer=0))
    assert "0 to the depth" in refusal(lambda: limits.law(limit, pair, layer=61))
    assert "'norm'" in refusal(lambda: limits.law(limit, pair, observable="norm"))  # type: ignore[arg-type]
