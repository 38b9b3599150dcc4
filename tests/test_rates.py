"""Rates: fits that know what they do not know, errors with closed forms, and the powers of both routes to the ODE."""

import json
from functools import cache
from math import log, pi, sqrt

import numpy as np
import pytest
from laws import SIGMAS
from refusals import refusal
from scipy.optimize import curve_fit
from scipy.special import digamma, polygamma

from deeplim.activations import LeakyReLU, ReLU, ShapedReLU
from deeplim.architecture import MLP, ResNet
from deeplim.errors import InputError, LimitError
from deeplim.inputs import gram
from deeplim.limits.covariance_ode import CovarianceODE
from deeplim.rates import (
    Rate,
    along_both,
    along_depth,
    along_width,
    convergence,
    convergence_of_recursion,
    fit_rate,
)
from deeplim.routes import Routes, compare_routes, matching_c_minus, two_routes, why_no_common_limit

SIZES = np.array([64.0, 128.0, 256.0, 512.0, 1024.0])
LINEAR = LeakyReLU(slope=1)
PAIR = gram(correlation=0.3)


def away(rate: Rate, exponent: float) -> float:
    """The fitted exponent's distance from a value, in standard errors."""
    assert rate.exponent is not None
    assert rate.uncertainty is not None
    return abs(rate.exponent - exponent) / rate.uncertainty


@pytest.mark.parametrize("exponent", [-2.0, -0.5, 0.0, 0.5])
@pytest.mark.parametrize("prefactor", [1.5, -3e-4])
def test_a_power_is_found_with_and_without_errors(exponent: float, prefactor: float):
    errors = prefactor * SIZES**exponent
    for rate in (fit_rate(SIZES, errors, 0.01 * np.abs(errors)), fit_rate(SIZES, errors)):
        assert rate.exponent == pytest.approx(exponent, abs=1e-6)
        assert rate.prefactor == pytest.approx(prefactor, rel=1e-5)
        assert rate.at(300) == pytest.approx(prefactor * 300**exponent, rel=1e-5)
        assert (rate.low, rate.high, rate.degrees) == (64, 1024, 3)
        assert not rate.poor


def test_the_fit_is_that_of_nonlinear_least_squares():
    rng = np.random.default_rng(1)
    uncertainties = 0.02 * SIZES**-0.5
    errors = 0.7 * SIZES**-0.8 + uncertainties * rng.standard_normal(5)
    rate = fit_rate(SIZES, errors, uncertainties)
    twin, covariance = curve_fit(
        lambda n, c, p: c * n**p, SIZES, errors, p0=(0.7, -0.8), sigma=uncertainties, absolute_sigma=True
    )
    assert rate.exponent == pytest.approx(twin[1], abs=1e-5)
    assert rate.prefactor == pytest.approx(twin[0], rel=1e-4)
    # The twin's error is the curvature at the minimum; the profile's interval also sees the next order.
    assert rate.uncertainty == pytest.approx(sqrt(covariance[1, 1]), rel=0.1)


@cache
def fits(scale: float) -> np.ndarray:
    """How far 500 noisy fits are from the truth, in the standard errors that they state times the scale."""
    rng = np.random.default_rng(2)
    uncertainties = 0.05 * SIZES**-0.5
    noise = uncertainties * rng.standard_normal((500, 5))
    found = [fit_rate(SIZES, SIZES**-0.5 + one, scale * uncertainties) for one in noise]
    return np.array([(rate.exponent + 0.5) / rate.uncertainty for rate in found])


def test_the_stated_uncertainty_is_the_spread_of_the_fits():
    # Mean 0 and variance 1 of a normal z, at 5 sigma each; the bias of a fit at 5% errors is of relative order 0.05.
    z = fits(1.0)
    assert abs(z.mean()) < SIGMAS / sqrt(500) + 0.05
    assert abs(z.std() - 1) < SIGMAS / sqrt(2 * 500)


def test_uncertainties_half_as_large_are_caught():
    assert abs(fits(0.5).std() - 1) > SIGMAS / sqrt(2 * 500)


def test_noise_about_zero_has_no_exponent():
    rng = np.random.default_rng(3)
    found = [fit_rate(SIZES, rng.standard_normal(5), np.ones(5)) for _ in range(100)]
    given = sum(rate.exponent is not None for rate in found)
    assert given <= 10  # the best of all powers is beyond 3 sigma in about one set of five in a hundred
    silent = next(rate for rate in found if rate.exponent is None)
    assert str(silent).startswith("none: zero within")
    assert refusal(lambda: silent.at(100))


def test_one_significant_error_alone_fixes_no_power():
    rate = fit_rate(SIZES, [10.0, 0, 0, 0, 0], np.ones(5))
    assert rate.exponent is None
    assert "too uncertain" in str(rate)


def test_a_bent_curve_is_called_poor():
    errors = 1 + 100 / SIZES
    assert fit_rate(SIZES, errors, 0.01 * errors).poor
    assert not fit_rate(SIZES, errors, 0.3 * errors).poor


def test_a_known_error_says_how_far_its_power_still_moves():
    def bent(sizes: np.ndarray) -> Rate:
        return fit_rate(sizes, sizes**-0.5 * (1 + sizes**-0.5))

    near, far = bent(SIZES), bent(1000 * SIZES)
    assert near.uncertainty > far.uncertainty > 0
    assert abs(near.exponent + 0.5) > abs(far.exponent + 0.5)
    assert fit_rate(SIZES, np.zeros(5)).reason == "there is no error"
    assert "changes sign" in fit_rate(SIZES, [1.0, 0.5, 0.1, -0.1, -0.2]).reason


@pytest.mark.parametrize(
    ("sizes", "errors", "uncertainties"),
    [
        ([1, 2], [1, 2], None),
        ([1, 2, 3], [1, 2], None),
        ([1, 2, 3], [1, 2, np.nan], None),
        ([0, 2, 3], [1, 2, 3], None),
        ([1, 3, 2], [1, 2, 3], None),
        ([1, 2, 3], [1, 2, 3], [1, 1, 0]),
        ([1, 2, 3], [1, 2, 3], [1, 1, -1]),
    ],
)
def test_points_that_cannot_be_fitted_are_refused(sizes, errors, uncertainties):
    assert refusal(lambda: fit_rate(sizes, errors, uncertainties))


def test_a_linear_network_has_the_errors_of_a_product_of_chi_squares():
    """V_d = V_0 times d factors chi^2_n / n: log V has mean d (psi(n/2) - log(n/2)) and variance d psi'(n/2)."""
    depth, widths = 3, [8, 16, 32, 64]
    found = convergence(
        along_width(MLP(width=8, depth=depth, activation=LINEAR), widths),
        PAIR,
        limit="infinite-width",
        networks=20_000,
        seed=11,
    )
    assert (found.lost, found.networks) == ((0,) * 4, (20_000,) * 4)
    half = np.array(widths) / 2
    mean, spread = found.curve("mean", "log_norm"), found.curve("spread", "log_norm")
    z_mean = (mean.errors - depth * (digamma(half) - np.log(half))) / mean.uncertainties
    z_spread = (spread.errors - np.sqrt(depth * polygamma(1, half))) / spread.uncertainties
    assert np.abs([z_mean, z_spread]).max() < SIGMAS
    control = (mean.errors - depth / 2 * (digamma(half) - np.log(half))) / mean.uncertainties
    assert np.abs(control).max() > SIGMAS
    # psi(x) - log x = -1/(2x) - 1/(12 x^2): on these sizes its power is -1.01; that of psi' is -0.52.
    assert away(mean.rate, -1.01) < SIGMAS
    assert away(spread.rate, -0.52) < SIGMAS
    assert away(spread.rate, -1) > SIGMAS
    assert "spread of log_norm" in str(found)
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["sizes"] == widths


def test_at_fixed_aspect_a_linear_network_reaches_the_sde():
    """Against N(-T, 2T) of the SDE the exact law above is off by a power -1 of the width, in mean and spread."""
    family = along_both(MLP(width=4, depth=4, activation=LINEAR), [4, 8, 16, 32])
    assert [network.depth for network in family.values()] == [4, 8, 16, 32]
    found = convergence(family, PAIR, limit="sde", networks=20_000, samples=5_000, seed=12)
    for quantity, exact in (
        ("mean", lambda n: n * (digamma(n / 2) - log(n / 2)) + 1),
        ("spread", lambda n: sqrt(n * polygamma(1, n / 2)) - sqrt(2)),
    ):
        curve = found.curve(quantity, "log_norm")
        z = [(e - exact(n)) / u for n, e, u in zip(curve.sizes, curve.errors, curve.uncertainties, strict=True)]
        assert np.abs(z).max() < SIGMAS, quantity


def test_equal_families_of_another_seed_differ_and_sizes_share_no_numbers():
    family = along_width(MLP(width=8, depth=1, activation=LINEAR), [64, 65, 66])
    one, two = (convergence(family, PAIR, limit="infinite-width", networks=50, seed=seed) for seed in (1, 2))
    again = convergence(family, PAIR, limit="infinite-width", networks=50, seed=1)
    assert one == again
    assert one != two
    errors = one.curve("mean", "log_norm").errors
    assert np.ptp(errors) > 0.2 * one.curve("mean", "log_norm").uncertainties[0]


def test_infinite_width_approaches_the_ode_as_an_euler_scheme_or_by_its_asymmetry():
    depths = [128, 256, 512, 1024]

    def rate(network) -> Rate:
        return convergence_of_recursion(along_depth(network, depths), PAIR).curve("mean", "correlation").rate

    def shaped(c_plus: float) -> MLP:
        return MLP(width=8, depth=1, activation=ShapedReLU(c_plus=c_plus, c_minus=c_plus - sqrt(2), rate="depth"))

    assert rate(ResNet(width=8, depth=1)).exponent == pytest.approx(-1, abs=0.01)
    assert rate(shaped(0.0)).exponent == pytest.approx(-0.5, abs=0.02)
    assert rate(shaped(sqrt(0.5))).exponent == pytest.approx(-1, abs=0.01)


def test_the_resnets_norm_is_an_euler_scheme_of_the_exponential():
    depths = [4, 16, 64]
    curve = convergence_of_recursion(along_depth(ResNet(width=8, depth=1), depths), PAIR).curve("mean", "log_norm")
    assert curve.errors == pytest.approx([d * np.log1p(1 / d) - 1 for d in depths], abs=1e-12)


def test_what_cannot_be_measured_is_refused():
    shaped = MLP(width=8, depth=8, activation=ShapedReLU())
    family = along_width(shaped, [8, 16, 32])
    assert "random" in refusal(lambda: convergence_of_recursion(family, PAIR, limit="sde"))
    assert refusal(lambda: convergence(family, PAIR, limit="ode", networks=10), LimitError)
    assert refusal(lambda: convergence(family, PAIR, limit="sde", networks=[10, 10]))
    assert refusal(lambda: convergence(family, PAIR, limit="sde", networks=1))
    assert refusal(lambda: convergence(along_width(shaped, [8, 16]), PAIR, limit="sde", networks=10))
    measured = convergence(family, PAIR, limit="sde", networks=10, samples=10)
    with pytest.raises(InputError, match="there are mean of correlation"):
        measured.curve("mean", "angle")


@pytest.mark.parametrize(
    ("branch", "activation"), [(1.0, ReLU()), (0.7, LeakyReLU(slope=0.2)), (2.0, LeakyReLU(slope=-1))]
)
@pytest.mark.parametrize("above", [False, True])
def test_the_matching_shaping_has_the_resnets_ode(branch: float, activation, above: bool):
    resnet = ResNet(width=10, depth=10, branch=f"{branch}/sqrt(depth)", activation=activation)
    c_minus = matching_c_minus(resnet, c_plus=0.3, above=above)
    assert (c_minus > 0.3) == above
    mlp = MLP(width=10, depth=10, activation=ShapedReLU(c_plus=0.3, c_minus=c_minus, rate="depth"))
    assert CovarianceODE(mlp).parameters["gamma"] == pytest.approx(CovarianceODE(resnet).parameters["gamma"], rel=1e-12)
    assert why_no_common_limit(resnet, mlp) is None
    if isinstance(activation, ReLU):
        assert (0.3 - c_minus) ** 2 == pytest.approx(2 * branch**2)


def test_two_networks_without_a_common_limit_are_told_why():
    resnet, rate = ResNet(width=10, depth=10), "depth"
    for mlp, words in (
        (MLP(width=10, depth=10, activation=ShapedReLU(c_minus=-1, rate=rate)), "-1.41421"),
        (MLP(width=10, depth=10, activation=ShapedReLU(c_minus=2, rate=rate)), "would have to be 1.41421"),
        (MLP(width=10, depth=10), "only when its activation is shaped"),
        (MLP(width=10, depth=10, normalization="rmsnorm"), "without normalization"),
        (resnet, "one of each"),
    ):
        assert words in refusal(lambda mlp=mlp: compare_routes(resnet, mlp, PAIR), LimitError)
    unscaled = ResNet(width=10, depth=10, branch=0.5)
    assert "keeps the size 0.5" in refusal(lambda: matching_c_minus(unscaled), LimitError)


@cache
def routes() -> Routes:
    return two_routes(quick=True, seed=5)


@pytest.mark.slow
def test_both_routes_arrive_at_the_ode_at_the_powers_of_the_theorem():
    """At 5 sigma, about thirty tests; 0.02 is allowed for the next term of each power on the sizes gone along."""
    found = routes()
    assert len(found.approaches) == 15
    for approach in found.approaches:
        rate = approach.curve.rate
        assert rate.exponent is not None, approach
        allowed = 0.02 if approach.exact else SIGMAS * rate.uncertainty + 0.02
        assert abs(rate.exponent - approach.expected) < allowed, approach
        assert not rate.poor, approach


@pytest.mark.slow
def test_the_fluctuations_differ_as_the_theorem_does_not_say():
    resnet, mlp = (routes().approach(route, "spread", "depth").curve.rate for route in ("resnet", "mlp"))
    assert away(resnet, 0.5) > SIGMAS
    assert away(mlp, 0.0) > SIGMAS


@pytest.mark.slow
def test_the_two_networks_are_where_they_were_found_to_be():
    """rho(1) = 0.4517; width 800, depth 100: 0.4510, std 0.043, n Var 1.5; width 4000, depth 40: 0.485 ± 0.007."""
    found = routes()
    assert found.gamma == pytest.approx(1 / pi, rel=1e-12)
    resnet, mlp = (
        next(a for a in found.arrivals if (a.route, a.observable) == (r, "correlation")) for r in ("resnet", "mlp")
    )
    assert resnet.ode == pytest.approx(0.4517, abs=5e-5)
    assert resnet.ode == pytest.approx(mlp.ode, rel=1e-12)
    # The ResNet's mean is off by 0.001 for its depth and 0.6/n for its width; the numbers are rounded to 0.0005.
    assert abs(resnet.mean.value - resnet.ode) < SIGMAS * resnet.mean.error + 0.002
    assert abs(resnet.spread.value - 0.043) < SIGMAS * resnet.spread.error + 0.0005
    assert abs(800 * resnet.spread.value**2 - 1.5) < 2 * 800 * 0.043 * SIGMAS * resnet.spread.error + 0.05
    assert abs(mlp.mean.value - 0.485) < SIGMAS * np.hypot(mlp.mean.error, 0.007)
    assert abs(mlp.mean.value - mlp.ode) > SIGMAS * mlp.mean.error  # d^(-1/2) at d = 40 is seen
    # At infinite width and depth 40 it is nothing but that; what is left at this width is of order d/n = 0.01.
    assert abs(mlp.mean.value - mlp.infinite_width) < SIGMAS * mlp.mean.error + 0.01


def test_even_shaping_is_expected_to_be_off_by_the_inverse_depth():
    mlp = MLP(width=64, depth=8, activation=ShapedReLU(c_plus=0.5**0.5, c_minus=-(0.5**0.5), rate="depth"))
    found = compare_routes(ResNet(width=64, depth=8), mlp, PAIR, work=1).approach("mlp", "mean", "depth")
    assert found.expected == -1
    assert found.curve.rate.exponent == pytest.approx(-1, abs=0.1)  # on depths 2 to 32


def test_routes_are_printed_and_written():
    text, plain = str(routes()), json.loads(json.dumps(routes().to_dict(), allow_nan=False))
    assert "spread of correlation  depth 32 to 512" in text
    assert plain["approaches"][0]["curve"]["rate"]["exponent"] == routes().approaches[0].curve.rate.exponent
    assert refusal(lambda: routes().approach("resnet", "spread", "depth", "angle"))


def test_two_networks_of_ones_own_in_either_order():
    resnet = ResNet(width=64, depth=16)
    mlp = MLP(width=256, depth=8, activation=ShapedReLU(c_minus=-1.414, rate="depth"))
    inputs = gram(covariance=np.array([[1, 0.2, 0.3], [0.2, 1, 0.1], [0.3, 0.1, 1]]))
    found = compare_routes(resnet, mlp, inputs, pair=(0, 2), work=1e6, seed=3)
    assert compare_routes(mlp, resnet, PAIR, work=1e6, seed=3).approaches == found.approaches
    assert found.approach("mlp", "spread", "width").curve.sizes == (64, 128, 256, 512, 1024)
    assert found.approach("resnet", "mean", "depth").exact
    rate = found.approach("resnet", "spread", "width").curve.rate
    assert abs(rate.exponent + 0.5) < SIGMAS * rate.uncertainty + 0.05  # width 16 is not large
    assert refusal(lambda: compare_routes(resnet, mlp, PAIR, work=0))
