"""The laws of correlation, norm and ratio: closed forms, a spectral twin, refined solutions, and sampled laws."""

import mpmath
import numpy as np
import pytest
from laws import SIGMAS, z_of_mean, z_of_std
from refusals import refused_as_input
from scipy.linalg import expm
from scipy.special import ndtr

from deeplim.activations import LeakyReLU, ShapedReLU
from deeplim.architecture import MLP
from deeplim.errors import LimitError
from deeplim.inputs import gram
from deeplim.limits.covariance_sde import CovarianceSDE
from deeplim.limits.density import Density
from deeplim.limits.flow import nuhat_flow
from deeplim.limits.laws import (
    GapDrift,
    centred_relu_drift,
    centred_smooth_drift,
    explosion_probability,
    pair_density,
    shaped_relu_drift,
    shaped_relu_norm_density,
    shaped_smooth_drift,
    shaped_smooth_norm_density,
    stationary_norm_density,
)
from deeplim.limits.ratio_law import ratio_density, ratio_moment, unshaped_correlation

SHAPED = CovarianceSDE(MLP(width=100, depth=100, activation=ShapedReLU(c_plus=0, c_minus=-1)))
LINEAR = CovarianceSDE(MLP(width=100, depth=100, activation=LeakyReLU(slope=1)))
STRONG = CovarianceSDE(MLP(width=100, depth=100, activation=ShapedReLU(c_plus=0, c_minus=-3.5)))


def correlation_density(limit: CovarianceSDE, correlation: float, time: float) -> Density:
    return pair_density(shaped_relu_drift(limit.parameters["gamma"]), 1 - correlation, time=time)


DRIFTS = {
    "shaped relu": shaped_relu_drift(0.6),
    "centred relu": centred_relu_drift(0.6),
    "shaped smooth": shaped_smooth_drift(0.7),
    "centred smooth": centred_smooth_drift(0.7),
    "linear": np.zeros_like,
}
RELU = {"kappa": 1 / np.pi, "a": 2.0}


def distance(density: Density, other: Density) -> float:
    return float(np.abs(density.density - other.at_points(density.x)).sum() * density.spacing)


def backward_moments(drift: GapDrift, rho: float, time: float, noise: float, degree: int) -> np.ndarray:
    """E rho_t and E rho_t^2 from the backward equation in rho itself, by Chebyshev collocation; no condition at +-1."""
    k = np.arange(degree + 1)
    x = np.cos(np.pi * k / degree)
    c = np.concatenate([[2], np.ones(degree - 1), [2]]) * (-1.0) ** k
    slope = np.outer(c, 1 / c) / (x[:, None] - x + np.eye(degree + 1))
    slope -= np.diag(slope.sum(axis=1))
    square = 1 - x**2
    speed = drift(1 - x) - noise * x * square / 2
    generator = speed[:, None] * slope + noise / 2 * (square**2)[:, None] * (slope @ slope)
    later = expm(time * generator) @ np.stack([x, x**2], axis=1)
    return np.polynomial.chebyshev.chebval(rho, np.polynomial.chebyshev.chebfit(x, later, degree))


@pytest.mark.parametrize("name", DRIFTS)
@pytest.mark.parametrize(("noise", "time"), [(1.0, 1.0), (0.3, 2.0)])
def test_the_moments_are_those_of_the_backward_equation_in_the_correlation(name: str, noise: float, time: float):
    density = pair_density(DRIFTS[name], 0.7, time=time, noise=noise)
    found = np.array([density.mean, density.moment(2)])
    rough, fine = (np.abs(backward_moments(DRIFTS[name], 0.3, time, noise, k) - found).max() for k in (40, 120))
    assert fine < 1e-5
    assert fine < rough / 10, "what is left is the collocation's error"


def test_another_noise_is_told_apart():
    density = pair_density(DRIFTS["shaped relu"], 0.7, time=1.0, noise=0.999)
    exact = backward_moments(DRIFTS["shaped relu"], 0.3, 1.0, 1.0, 120)
    assert abs(density.moment(2) - exact[1]) > 5e-5


@pytest.mark.parametrize("name", DRIFTS)
@pytest.mark.parametrize(("gap", "time"), [(0.7, 1.0), (1.999, 0.3), (1e-6, 3.0)])
def test_the_law_and_its_tails_are_those_of_a_finer_solution(name: str, gap: float, time: float):
    density = pair_density(DRIFTS[name], gap, time=time)
    early = pair_density(DRIFTS[name], gap, time=1e-3 * time)  # A start this narrow asks for other, finer grids.
    finer = pair_density(DRIFTS[name], early, time=time - 1e-3 * time)
    assert density.density.min() >= 0
    assert density.mass.sum() == pytest.approx(1, abs=1e-12)
    assert distance(density, finer) < 1e-6
    for level in (-0.9, 0.0, 0.5, 0.99):
        assert density.tail(level) == pytest.approx(finer.tail(level), abs=1e-8)


def test_the_published_moments_are_met():
    density = correlation_density(SHAPED, 0.3, 1.0)
    assert density.mean == pytest.approx(0.34155, abs=5e-6)
    assert density.std == pytest.approx(0.59120, abs=5e-6)


def test_a_linear_network_does_not_know_the_sign_of_a_correlation():
    density = correlation_density(LINEAR, 0.0, 2.0)
    assert density.mean == pytest.approx(0, abs=1e-9)
    assert density.tail(0.4) == pytest.approx(density.cdf(-0.4), abs=1e-10)


@pytest.mark.parametrize("gap", [1e-9, 1e-200])
def test_a_tiny_gap_of_a_linear_network_is_log_normal(gap: float):
    """du = dt / 2 + dB at rho = 1: the gap is gap_0 e^(-t - 2 B), which no 1 - rho could follow."""
    density = pair_density(np.zeros_like, gap, time=0.5)
    assert density.mean_gap == pytest.approx(gap * np.exp(0.5), rel=1e-8)
    for z in (-3.0, 0.0, 2.0):
        assert density.tail_gap(gap * np.exp(-0.5 - 2 * np.sqrt(0.5) * z)) == pytest.approx(ndtr(-z), abs=1e-8)
    assert density.gap_quantile(0.5) == pytest.approx(gap * np.exp(-0.5), rel=1e-7)


def test_a_short_time_is_a_normal_about_the_flow():
    time = 1e-4
    density = correlation_density(STRONG, 0.2, time)
    gamma = STRONG.parameters["gamma"]
    moved = 1 - nuhat_flow(np.array([0.8]), gamma * time)[0] - 0.2 * (1 - 0.04) / 2 * time
    assert density.mean == pytest.approx(moved, abs=1e-7)
    assert density.std == pytest.approx((1 - 0.04) * np.sqrt(time), rel=1e-3)


@pytest.mark.parametrize(("limit", "start", "time"), [(SHAPED, 0.3, 1.0), (STRONG, -0.9, 0.5), (LINEAR, 0.8, 2.0)])
def test_the_covariance_s_sampler_has_this_law(limit: CovarianceSDE, start: float, time: float):
    density = correlation_density(limit, start, time)
    layer = round(100 * time)
    network = limit.network.model_copy(update={"depth": max(layer, 1)})
    paths = type(limit)(network).sample(gram(correlation=start), samples=40_000, seed=2, layers=[layer])
    rho = paths.correlation[:, 0, 0, 1]
    assert z_of_mean(rho, density.mean) < SIGMAS
    assert z_of_std(rho, density.std) < SIGMAS
    for level in (-0.5, 0.0, 0.5, 0.9, 0.99):
        expected = density.tail(level)
        # The sampler's own bias at its longest step is below 1e-4.
        error = np.sqrt(expected * (1 - expected) / len(rho))
        assert abs(np.mean(rho > level) - expected) < SIGMAS * error + 1e-4
    wrong = correlation_density(limit, start + 0.05, time)
    assert z_of_mean(rho, wrong.mean) > SIGMAS, "a start 0.05 off is told apart"


def test_the_norm_of_shaped_relu_is_log_normal():
    density = shaped_relu_norm_density(3.0, time=0.7, noise=0.5)
    assert density.mean == pytest.approx(np.log(3) - 0.35, abs=1e-13)
    assert density.std**2 == pytest.approx(0.7, rel=1e-12)
    assert density.expect(np.exp) == pytest.approx(3.0, rel=1e-10), "E V stays"


@pytest.mark.parametrize("beta", [-0.5, -1.0, -3.0])
def test_the_inverse_norm_has_the_moments_of_a_linear_equation(beta: float):
    """W = 1/V obeys dW = [-beta + (beta + 2) W] dt - sqrt(2) W dB, whose moments are closed."""
    time, norm = 0.4, 1.5
    density = shaped_smooth_norm_density(beta, norm, time=time)
    system = np.array([[0, 0, 0], [-beta, beta + 2, 0], [0, -2 * beta, 2 * beta + 6]])
    exact = expm(system * time) @ norm ** -np.arange(3.0)
    assert density.lost == 0
    assert density.expect(lambda x: np.exp(-x)) == pytest.approx(exact[1], rel=1e-7)
    assert density.expect(lambda x: np.exp(-2 * x)) == pytest.approx(exact[2], rel=1e-5)


def test_without_beta_the_norm_is_that_of_shaped_relu():
    assert distance(shaped_smooth_norm_density(0.0, 2.0, time=0.6), shaped_relu_norm_density(2.0, time=0.6)) < 1e-8


@pytest.mark.parametrize("beta", [-1.3, -3.0, -20.0])
def test_the_gamma_law_is_reached_and_kept(beta: float):
    stationary = stationary_norm_density(beta)
    assert distance(shaped_smooth_norm_density(beta, stationary, time=0.3), stationary) < 1e-7
    if beta < -2:
        assert distance(shaped_smooth_norm_density(beta, 2.0, time=30.0), stationary) < 1e-7


@pytest.mark.parametrize(("beta", "norm", "published"), [(1.0, 1.0, 0.264), (4.0, 0.7, 0.152)])
def test_the_probability_of_explosion_is_the_published_one(beta: float, norm: float, published: float):
    assert explosion_probability(beta, norm) == pytest.approx(published, abs=5e-4)
    lost = [shaped_smooth_norm_density(beta, norm, time=time).lost for time in (0.3, 1.0, 60 / (1 + beta))]
    assert lost[0] < lost[1] < lost[2]
    assert lost[2] == pytest.approx(explosion_probability(beta, norm), abs=1e-8)


def test_a_norm_that_never_explodes_has_probability_0():
    for beta in (0.0, -0.7, -5.0):
        assert explosion_probability(beta, 3.0) == 0
        assert shaped_smooth_norm_density(beta, 3.0, time=2.0).lost == 0


@pytest.mark.parametrize("time", [0.02, 1.0, 4.0])
def test_the_ratio_s_moments_are_the_closed_ones(time: float):
    density = ratio_density(**RELU, time=time)
    # At time 4 the second moment comes from 5.7 standard deviations out, where 1e-8 of the mass is all there is.
    for power, within in ((-2, 1e-7), (-1, 1e-7), (1, 1e-7), (2, 1e-6)):
        assert density.moment(power) == pytest.approx(ratio_moment(power, **RELU, time=time), rel=within)
    assert density.lost == 0
    assert density.mass.sum() == pytest.approx(1, abs=1e-12)


def test_the_ratio_at_time_1_is_the_published_one():
    density = ratio_density(**RELU, time=1.0)
    assert density.mean == pytest.approx(0.4793, abs=5e-5)
    assert density.mean == pytest.approx(RELU["kappa"] * np.sqrt(2) / 3 * np.expm1(2) / 2, rel=1e-9)
    assert np.sqrt(density.expect(lambda r: np.log(r) ** 2) - density.expect(np.log) ** 2) == pytest.approx(
        0.911, abs=5e-4
    )


@pytest.mark.parametrize("start", [1e-5, 0.1, 5.0])
def test_a_start_with_a_correlation_has_its_moments(start: float):
    density = ratio_density(**RELU, time=1.0, start=start)
    for power in (1, 2):
        exact = ratio_moment(power, **RELU, time=1.0, start=start)
        assert density.moment(power) == pytest.approx(exact, rel=1e-7)


def test_a_ratio_started_halfway_gets_to_the_same_law():
    """The two starts take their first part as log-normal at times a factor 3 apart."""
    from deeplim.limits.density import RATIO
    from deeplim.limits.fokker_planck import diffusion_density

    third = ratio_density(**RELU, time=0.3)
    drift = RELU["kappa"] * np.sqrt(2) / 3
    later = diffusion_density(lambda x: drift * np.exp(-x) + 1, noise=2.0, time=0.7, start=third, variable=RATIO)
    assert distance(later, ratio_density(**RELU, time=1.0)) < 1e-7


def test_without_drift_the_ratio_is_log_normal():
    density = ratio_density(kappa=0.0, a=1.0, time=0.8, start=0.3)
    exact = np.exp(-((density.x - np.log(0.3) - 0.4) ** 2) / 1.6) / np.sqrt(1.6 * np.pi)
    assert np.abs(density.density - exact).sum() * density.spacing < 1e-8


@pytest.mark.parametrize(("a", "time"), [(2.0, 0.01), (2.0, 1.0), (1.1, 5.0)])
def test_the_moments_are_those_of_the_exponential_functional(a: float, time: float):
    """E 1/R by its mean given the path's end, E[1/A_tau | B_tau = x] = x e^(-x) / (tau sinh x) (Matsumoto & Yor)."""
    c = RELU["kappa"] * np.sqrt(2) / 3
    with mpmath.workdps(30):
        tau = mpmath.mpf(a) * time / 4
        inverse = mpmath.quad(
            lambda x: mpmath.npdf(x, tau, mpmath.sqrt(tau)) * (x * mpmath.exp(-x) / mpmath.sinh(x) if x else 1) / tau,
            [-12 * mpmath.sqrt(tau), 0, tau + 12 * mpmath.sqrt(tau)],
        )
    law = {"kappa": RELU["kappa"], "a": a, "time": time}
    assert ratio_moment(0, **law) == 1
    assert ratio_moment(1, **law) == pytest.approx(c * np.expm1(a * time) / a, rel=1e-12)
    assert ratio_moment(2, **law) == pytest.approx(float(ordered_square(c, a, time)), rel=1e-12)
    assert ratio_moment(-1, **law) == pytest.approx(float(inverse) * a / (4 * c), rel=1e-9)
    step = 1e-4 * time
    ahead, behind = (ratio_moment(-1, **(law | {"time": time + sign * step})) for sign in (1, -1))
    assert ratio_moment(-2, **law) == pytest.approx((behind - ahead) / (2 * step * c), rel=1e-6)


def ordered_square(c: float, a: float, time: float) -> mpmath.mpf:
    """2 c^2 int_0^t int_0^s E e^(X_r + X_s) dr ds, X_s = a s / 2 - sqrt(a) B_s: E e^(X_r + X_s) = e^(a s + 2 a r)."""
    with mpmath.workdps(30):
        return 2 * c**2 * mpmath.quad(lambda s: mpmath.exp(a * s) * mpmath.expm1(2 * a * s) / (2 * a), [0, time])


def test_the_mean_gap_of_an_unshaped_network_is_the_closed_one():
    """At width 10^9 every gap is that of a small angle, so that E (1 - rho) = E R^-2 / width^2."""
    density = ratio_density(**RELU, time=1.0).read_as(unshaped_correlation(10**9))
    assert density.mean_gap == pytest.approx(ratio_moment(-2, **RELU, time=1.0) * 1e-18, rel=1e-7)
    assert density.tail_gap(density.gap_quantile(0.25)) == pytest.approx(0.75, abs=1e-10)


def test_a_law_too_narrow_for_its_drift_says_so_and_can_be_had_to_a_larger_tolerance():
    with pytest.raises(LimitError, match="allow a larger tolerance"):
        ratio_density(**RELU, time=1e-3)
    density = ratio_density(**RELU, time=1e-3, tolerance=1e-6)
    assert density.mean == pytest.approx(ratio_moment(1, **RELU, time=1e-3), rel=1e-8)


def test_what_cannot_be_is_refused():
    for refused in (
        lambda: pair_density(np.zeros_like, 0.0, time=1.0),
        lambda: correlation_density(SHAPED, 1.0, 1.0),
        lambda: correlation_density(SHAPED, 0.3, 0.0),
        lambda: shaped_relu_norm_density(0.0, time=1.0),
        lambda: shaped_smooth_norm_density(np.nan, time=1.0),
        lambda: shaped_smooth_norm_density(1.0, -1.0, time=1.0),
        lambda: explosion_probability(1.0, 0.0),
        lambda: ratio_density(kappa=0.0, a=1.0, time=1.0),
        lambda: ratio_density(kappa=-1.0, a=1.0, time=1.0, start=1.0),
        lambda: ratio_density(**RELU, time=0.0),
        lambda: ratio_moment(-3, **RELU, time=1.0),
        lambda: ratio_moment(-1, **RELU, time=1.0, start=0.1),
    ):
        refused_as_input(refused)


def test_antipodal_inputs_that_nothing_drives_have_no_density():
    with pytest.raises(LimitError, match="antipodal"):
        pair_density(np.zeros_like, 2.0, time=1.0)
