"""One layer's moments against arc-cosine kernels, Wishart matrices, slow quadrature and explicit layers."""

import mpmath
import numpy as np
import pytest
from laws import SIGMAS, z_of_mean

from deeplim.activations import Elementwise
from deeplim.architecture import MLP
from deeplim.finite import chain
from deeplim.gaussian import mean_square, mean_square_difference
from deeplim.inputs import gram
from deeplim.limits.layer_moments import PAIRS, TRIPLES, LayerMoments, function_moments, slope_moments

GAPS = np.array([1e-20, 1e-6, 0.02, 0.3, 1.0, 1.7, 1.999])
WISHART_SECOND = [2, 0, 0, 1, 0, 2]
WISHART_THIRD = [8, 0, 0, 2, 0, 0, 0, 2, 0, 8]


def of_function(phi, gain: float, gap: np.ndarray, log_norm: float = 0.0) -> LayerMoments:
    """Moments for two inputs of one norm, whose difference is (-gap, sqrt(gap (2 - gap))) of it."""
    size, direction = np.sqrt(2 * gap), np.arctan2(np.sqrt(gap * (2 - gap)), -gap)
    return function_moments(phi, gain, np.full(len(gap), log_norm), size, direction)


def second_kernel(angle: np.ndarray) -> np.ndarray:
    """E max(a, 0)^2 max(b, 0)^2 of unit Gaussians: J_2 / (2 pi) of Cho & Saul 2009."""
    sine, cosine = np.sin(angle), np.cos(angle)
    return (3 * sine * cosine + (np.pi - angle) * (1 + 2 * cosine**2)) / (2 * np.pi)


@pytest.mark.parametrize("slopes", [(1.0, 0.0), (1.0, 0.3), (1.0, -0.5), (0.9, 1.1)])
def test_the_scatter_of_both_norms_is_the_kernel_of_order_two(slopes):
    plus, minus = slopes
    angle = 2 * np.arcsin(np.sqrt(GAPS / 2))
    gain = 2 / (plus**2 + minus**2)
    same, mixed = second_kernel(angle), second_kernel(np.pi - angle)
    product = gain**2 * ((plus**4 + minus**4) * same + 2 * plus**2 * minus**2 * mixed)
    found = slope_moments(slopes, GAPS)
    size = np.sqrt(2 * GAPS)
    cosine, sine = 1 + size * found.along, size * found.across
    # phi(b) / its scale is cosine w_1 + sine w_2
    by_moments = (
        cosine**2 * (found.second[:, 0] + 1)
        + 2 * cosine * sine * found.second[:, 1]
        + sine**2 * (found.second[:, 2] + 1)
    )
    assert np.allclose(by_moments, product, rtol=1e-12)


def test_mixed_moments_agree_with_slow_quadrature():
    plus, minus, angle = 1.0, -0.3, 1.1
    gap = np.array([1 - np.cos(angle)])
    found = slope_moments((plus, minus), gap)
    size = np.sqrt(2 * gap[0])
    cosine, sine = float(1 + size * found.along[0]), float(size * found.across[0])
    gain = 2 / (plus**2 + minus**2)

    def phi(x):
        return plus * x if x > 0 else minus * x

    def product(t, i, j):
        one = mpmath.sqrt(gain) * phi(mpmath.cos(t))
        two = (mpmath.sqrt(gain) * phi(mpmath.cos(t - angle)) - cosine * one) / sine
        return one**i * two**j

    half = mpmath.pi / 2
    edges = [-half, angle - half, half, angle + half, 3 * half]
    for radial, order in ((8, 4), (48, 6)):
        for i in range(order + 1):
            exact = radial * mpmath.quad(lambda t, i=i, order=order: product(t, i, order - i), edges) / (2 * mpmath.pi)
            if order == 4:
                a, b = {4: (0, 0), 3: (0, 1), 2: (1, 1), 1: (1, 2), 0: (2, 2)}[i]
                mean = (a != 1) * (b != 1)
                assert found.second[0, PAIRS.index((a, b))] + mean == pytest.approx(float(exact), abs=1e-11)
            elif i in (6, 0):
                k = 0 if i == 6 else 2
                fourth = found.second[0, PAIRS.index((k, k))] + 1
                raw = found.third[0, TRIPLES.index((k, k, k))] + 3 * fourth - 2
                assert raw == pytest.approx(float(exact), rel=1e-11)
            elif i == 3:
                raw = found.third[0, TRIPLES.index((1, 1, 1))]
                assert raw == pytest.approx(float(exact), abs=1e-10)


def test_linear_layers_are_wishart():
    exact = slope_moments((1.0, 1.0), GAPS)
    integrated = of_function(lambda x: x, 1.0, GAPS)
    for found in (exact, integrated):
        assert np.allclose(found.second, WISHART_SECOND, atol=1e-8)
        assert np.allclose(found.third, WISHART_THIRD, atol=1e-7)
    size = np.sqrt(2 * GAPS)
    assert np.allclose(exact.across * size, np.sqrt(GAPS * (2 - GAPS)), rtol=1e-14)
    assert np.allclose(integrated.across, exact.across, rtol=1e-7)


@pytest.mark.parametrize("slopes", [(1.0, 0.0), (1.0, 0.3), (1.0, -0.5)])
def test_quadrature_costs_kinks_at_zero_nothing(slopes):
    plus, minus = slopes
    gap = GAPS[1:]  # below the difference that quadrature takes, slopes are not differenced at the same size
    by_slopes = slope_moments(slopes, gap)
    found = of_function(lambda x: np.where(x > 0, plus * x, minus * x), 2 / (plus**2 + minus**2), gap)
    for name in LayerMoments._fields:
        assert np.allclose(getattr(found, name), getattr(by_slopes, name), rtol=1e-6, atol=2e-5), name


@pytest.mark.parametrize(("variance", "tolerance"), [(0.1, 1e-8), (1.0, 1e-6), (5.0, 2e-4), (30.0, 1e-2)])
def test_the_mean_is_that_of_infinite_width(variance: float, tolerance: float):
    gain = 1 / mean_square(np.tanh)
    found = of_function(np.tanh, gain, GAPS, np.log(variance))
    first = gain * mean_square(np.tanh, variance)
    assert np.allclose(np.exp(found.log_first) * variance, first, rtol=tolerance)
    size = np.sqrt(2 * GAPS)
    # E (phi(a) - phi(b))^2, from the difference u, v of the mean
    apart = [gain * mean_square_difference(np.tanh, (variance**0.5,) * 2, gap) for gap in GAPS]
    assert np.allclose(first * size**2 * (found.along**2 + found.across**2), apart, rtol=tolerance)


def test_explicit_layers_have_these_moments():
    width, networks = 40, 20_000
    network = MLP(width=width, depth=1, activation=Elementwise(function="tanh"))
    inputs = gram(correlation=0.6)
    layer = chain.sample(network, inputs, networks=networks, seed=12, layers=[1])
    found = of_function(np.tanh, network.gain, np.array([0.4]))
    size = np.sqrt(0.8)
    place = np.array([1 + size * found.along[0], size * found.across[0]])
    mean = np.exp(found.log_first[0]) * np.array([1, place[0], place @ place])
    # (V^00, V^01, V^11) is linear in the whitened products
    map_ = np.array([[1, 0, 0], [place[0], place[1], 0], [place[0] ** 2, 2 * place[0] * place[1], place[1] ** 2]])
    second = np.empty((3, 3))
    for k, (a, b) in enumerate(PAIRS):
        second[a, b] = second[b, a] = found.second[0, k]
    covariance = map_ @ second @ map_.T * mean[0] ** 2 / width
    v = layer.covariance[:, 0]
    entries = np.stack([v[:, 0, 0], v[:, 0, 1], v[:, 1, 1]], axis=1)
    for k in range(3):
        assert z_of_mean(entries[:, k], mean[k]) < SIGMAS
    centred = entries - mean
    for a, b in PAIRS:
        assert z_of_mean(centred[:, a] * centred[:, b], covariance[a, b]) < SIGMAS, (a, b)
    assert z_of_mean(centred[:, 0] ** 2, covariance[0, 0] * 1.2) > SIGMAS  # a fifth too much would show
