"""The angle after one ReLU layer against exact layers, the quoted asymptotics and the law at vanishing angles."""

import numpy as np
import pytest
from laws import SIGMAS, z_of_mean
from refusals import refused_as_input

from deeplim.architecture import MLP
from deeplim.finite import chain
from deeplim.inputs import gram
from deeplim.limits.angle_law import one_layer_angle, vanishing_angle


def drawn(angle: float, width: int, seed: int) -> np.ndarray:
    """log sin^2 theta' of exact layers."""
    gap = 2 * np.sin(angle / 2) ** 2
    layer = chain.sample(MLP(width=width, depth=1), gram(gap=gap), networks=10_000, seed=seed, layers=[1])
    after = np.exp(layer.log_gap[:, 0, 0])
    return np.log(after * (2 - after))


@pytest.mark.parametrize("angle", [1e-6, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("width", [64, 256, 1024])
def test_exact_layers_have_this_mean_and_variance(angle: float, width: int):
    sample = drawn(angle, width, seed=40)
    mean, variance = one_layer_angle(angle, width)
    assert z_of_mean(sample, mean) < SIGMAS
    assert z_of_mean((sample - mean) ** 2, variance) < SIGMAS
    # the infinite-width angle alone misses the 2/width, which 10,000 layers of width 64 show
    if width == 64 and angle < 0.2:
        assert z_of_mean(sample, mean + 2 / width) > SIGMAS


@pytest.mark.parametrize("angle", [1.5, 2.0, 2.5])
def test_beyond_a_right_angle_the_variance_is_right_to_order_one_over_width(angle: float):
    errors = []
    for width in (256, 1024):
        sample = drawn(angle, width, seed=41)
        mean, variance = one_layer_angle(angle, width)
        assert z_of_mean(sample, mean) < SIGMAS
        noise = np.std((sample - mean) ** 2) / variance / np.sqrt(len(sample))
        errors.append(max(abs(sample.var() / variance - 1) - SIGMAS * noise, 0.0) * width)
    assert max(errors) < 20, "a relative error beyond 20 / width"


def test_the_quoted_asymptotics():
    for width in (1000, 10_000):
        mean, variance = vanishing_angle(width)
        assert mean == pytest.approx(-2 / width, rel=10 / width)
        assert variance == pytest.approx(8 * width / (width + 5) ** 2, rel=30 / width**1.0)
    angle = 1e-3
    mean, _ = one_layer_angle(angle, 10**6)
    assert mean - 2 * np.log(np.sin(angle)) == pytest.approx(-2 / (3 * np.pi) * angle - 2e-6, rel=2e-3)


def test_two_neurons_in_closed_form():
    # N = 2: log(chi^2_1 / chi^2_2) has mean psi(1/2) - psi(1) = -2 log 2 and variance pi^2/2 + pi^2/6
    mean, variance = vanishing_angle(2)
    assert mean == pytest.approx(-2 * np.log(2), rel=1e-13)
    assert variance == pytest.approx(2 * np.pi**2 / 3, rel=1e-13)


def test_opposite_inputs_come_out_orthogonal():
    mean, variance = one_layer_angle(np.pi, 100)
    assert mean == pytest.approx(0, abs=1e-12)
    assert variance == pytest.approx(0, abs=1e-12)


def test_refusals():
    assert "radians" in refused_as_input(lambda: one_layer_angle(0.0, 100))
    assert "radians" in refused_as_input(lambda: one_layer_angle(4.0, 100))
    assert "width 16" in refused_as_input(lambda: one_layer_angle(1.0, 4))
    assert "two neurons" in refused_as_input(lambda: vanishing_angle(1))
