"""How far means and standard deviations are from exact at the shipped step, known without sampling error.

One step maps functions of u = artanh(rho) to functions of u. Its noise is integrated by Gauss rules over the exact law
of the step, its drift by an accurate solver, on a spline; and the kernels are held against that at steps so long that
their error stands out of the sampling noise.
"""

from functools import lru_cache

import numpy as np
import pytest
from laws import SIGMAS, z_of_mean, z_of_std
from refusals import refused_as_input
from scipy.integrate import solve_ivp
from scipy.interpolate import BSpline, make_interp_spline

from deeplim.activations import LeakyReLU, ShapedReLU
from deeplim.architecture import MLP
from deeplim.gaussian import nuhat
from deeplim.inputs import gram
from deeplim.limits.covariance_sde import CovarianceSDE
from deeplim.limits.density import Density
from deeplim.limits.families import CENTRED_NUHAT, CENTRED_SQUARE, NUHAT, QUADRATIC
from deeplim.limits.laws import (
    centred_relu_drift,
    centred_smooth_drift,
    pair_density,
    shaped_relu_drift,
    shaped_smooth_drift,
)
from deeplim.limits.pairs import correlation_paths, pair_paths
from deeplim.limits.sde import sample_correlation
from deeplim.limits.stepping import LONGEST_STEP, Plan, split_plan
from deeplim.parallel import stop_flag

DRIFTS = {
    NUHAT: shaped_relu_drift,
    CENTRED_NUHAT: centred_relu_drift,
    QUADRATIC: shaped_smooth_drift,
    CENTRED_SQUARE: centred_smooth_drift,
}
SHAPED = CovarianceSDE(MLP(width=100, depth=100, activation=ShapedReLU(c_plus=0, c_minus=-1)))
LINEAR = CovarianceSDE(MLP(width=100, depth=100, activation=LeakyReLU(slope=1)))
GAMMA = SHAPED.dynamics.p
U = np.linspace(-5, 6, 181)
_KNOTS = make_interp_spline(U, U, k=5).t
_TO_SPLINE = np.linalg.inv(BSpline.design_matrix(U, _KNOTS, 5).toarray())


def _seen_at(u: np.ndarray) -> np.ndarray:
    """The matrix from values at U to values at u."""
    return BSpline.design_matrix(np.clip(u, U[0], U[-1]), _KNOTS, 5) @ _TO_SPLINE


@lru_cache
def _noise(time: float) -> np.ndarray:
    """Expectation over a step of noise: Hermite, Laguerre, Legendre and the trapezoidal rule over g, E, U and phi."""
    g, g_weight = np.polynomial.hermite_e.hermegauss(10)
    e, e_weight = np.polynomial.laguerre.laggauss(10)
    height, height_weight = np.polynomial.legendre.leggauss(6)
    phi = (np.arange(12) + 0.5) * np.pi / 12
    square = (np.sqrt(time) * g[:, None] + time / 2) ** 2 + 2 * time * e
    rise = (np.cosh(np.sqrt(square))[:, :, None] - 1) * (1 - ((1 + height) / 2) ** 2)
    weight = (g_weight / g_weight.sum())[:, None, None] * e_weight[:, None] * height_weight / 2
    kept = weight > 1e-11
    rise, weight = rise[kept], weight[kept]
    side = np.sqrt(rise * (rise + 2))[:, None] * np.cos(phi)
    rows = []
    for u in U:
        there = np.arcsinh(np.sinh(u) * (1 + rise)[:, None] + np.cosh(u) * side)
        points = BSpline.design_matrix(np.clip(there.ravel(), U[0], U[-1]), _KNOTS, 5)
        rows.append(points.T @ np.repeat(weight / 12, 12))
    return np.array(rows) @ _TO_SPLINE


@lru_cache
def _drift(law: int, amount: float) -> np.ndarray:
    speed = {
        NUHAT: lambda rho: nuhat(1 - rho),
        CENTRED_NUHAT: lambda rho: nuhat(1 - rho) - 1 + rho,
        QUADRATIC: lambda rho: (1 - rho) * (1 - 2 * rho),
        CENTRED_SQUARE: lambda rho: -2 * rho * (1 - rho),
    }[law]
    bounded = lambda rho: np.clip(rho, -1 + 1e-13, 1 - 1e-13)  # noqa: E731
    found = solve_ivp(lambda _, rho: speed(bounded(rho)), (0, amount), np.tanh(U), rtol=1e-9, atol=1e-11)
    return _seen_at(np.arctanh(bounded(found.y[:, -1])))


def _predicted(law: int, p: float, rho: float, plan: Plan) -> tuple[float, float]:
    """Mean and standard deviation of the correlation after the steps of a plan."""
    moments = []
    for power in (1, 2):
        values = np.tanh(U) ** power
        for drift, noise in list(zip(plan.drifts, plan.noises, strict=True))[::-1]:
            if noise > 0:
                values = _noise(round(float(noise), 12)) @ values
            values = _drift(law, round(float(p * drift), 12)) @ values
        moments.append(float((_seen_at(np.arctanh([rho])) @ values)[0]))
    return moments[0], float(np.sqrt(moments[1] - moments[0] ** 2))


def _steps(law: int, p: float, longest: float) -> Plan:
    return split_plan(np.array([1.0]), 3 * p, longest)


@lru_cache
def _exact(law: int, p: float, rho: float) -> Density:
    return pair_density(DRIFTS[law](p), 1 - rho, time=1.0)


@pytest.mark.parametrize("rho", [-0.6, 0.3, 0.9])
@pytest.mark.parametrize("p", [GAMMA, 0.6])
@pytest.mark.parametrize("law", DRIFTS)
def test_the_shipped_step_is_good_to_two_parts_in_ten_thousand(law: int, p: float, rho: float):
    exact = _exact(law, p, rho)
    errors = np.array(_predicted(law, p, rho, _steps(law, p, LONGEST_STEP))) - [exact.mean, exact.std]
    assert np.abs(errors).max() < 2e-4
    if (law, p) == (NUHAT, GAMMA) and rho > 0:
        assert np.abs(errors).max() < 2e-5, "the typical pair"
    coarse = np.array(_predicted(law, p, rho, Plan(np.array([0.5, 0.5]), np.array([1.0, 0.0]), np.array([2]))))
    assert np.abs(coarse - [exact.mean, exact.std]).max() > 2e-4, "the control, one step, must fail"


@pytest.mark.parametrize("law", DRIFTS)
def test_kernels_take_the_steps_they_are_said_to_take(law: int):
    p, samples = 0.6, 2_000_000
    plan = Plan(np.array([0.5, 0.5]), np.array([1.0, 0.0]), np.array([2]))
    mean, std = _predicted(law, p, 0.3, plan)
    gaps, norms, both = np.empty((samples, 1)), np.empty((samples, 1, 2)), np.empty((samples, 1, 1))
    dynamics = (law, p, 0.0, 1.0, False)
    correlation_paths(law, 0, 0.7, tuple(plan), dynamics, gaps, stop_flag())
    pair_paths(law + 10, 0, np.zeros(2), 0.7, tuple(plan), dynamics, None, norms, both, np.empty(samples), stop_flag())
    exact = _exact(law, p, 0.3)
    for rho in (1 - gaps[:, 0], 1 - both[:, 0, 0]):
        # Over a whole unit of time the layers of the drift, of length 0.3, are seen in the fourth digit.
        assert abs(rho.mean() - mean) < SIGMAS * std / np.sqrt(samples) + 5e-4
        assert abs(rho.std() - std) < SIGMAS * std / np.sqrt(samples) + 5e-4
        assert max(z_of_mean(rho, exact.mean), z_of_std(rho, exact.std)) > SIGMAS, "the exact law must fail"


def test_the_step_of_a_coarse_user_is_good_to_what_the_benchmark_says():
    exact = _exact(NUHAT, GAMMA, 0.3)
    errors = np.array(_predicted(NUHAT, GAMMA, 0.3, _steps(NUHAT, GAMMA, 1.0))) - [exact.mean, exact.std]
    assert np.abs(errors).max() < 1e-3
    rho = 1 - sample_correlation(SHAPED, 0.3, time=np.ones(1), samples=4_000_000, seed=1, longest_step=1.0)[:, 0]
    assert abs(rho.mean() - exact.mean) < 1e-3 + SIGMAS * exact.std / 2000
    assert abs(rho.std() - exact.std) < 1e-3 + SIGMAS * exact.std / 2000


# The noise of a pair alone has no error at any step


@pytest.mark.parametrize("time", [0.02, 0.3, 1.0])
def test_the_noise_of_a_pair_is_exact_in_one_step(time: float):
    samples = 1_000_000
    plan = split_plan(np.array([time]), 0.0, 2.0)
    assert len(plan.noises) == 2
    norms, gaps = np.empty((samples, 1, 2)), np.empty((samples, 1, 1))
    pair_paths(
        4,
        0,
        np.zeros(2),
        0.7,
        tuple(plan),
        (NUHAT, 0.0, 0.0, 1.0, False),
        None,
        norms,
        gaps,
        np.empty(samples),
        stop_flag(),
    )
    exact = pair_density(lambda gap: np.zeros_like(gap), 0.7, time=time)
    alone = np.empty((samples, 1))
    correlation_paths(5, 0, 0.7, tuple(plan), (NUHAT, 0.0, 0.0, 1.0, False), alone, stop_flag())
    for gap in (gaps[:, 0, 0], alone[:, 0]):
        u = np.log((2 - gap) / gap) / 2
        mean = float(exact.mass @ exact.x)
        assert z_of_mean(u, mean) < SIGMAS
        assert z_of_std(u, float(np.sqrt(exact.mass @ (exact.x - mean) ** 2))) < SIGMAS
        assert z_of_mean(u, mean + 0.01 * np.sqrt(time)) > SIGMAS, "the control must fail"
        # Kolmogorov-Smirnov: above 2.5 / sqrt(samples) with probability 7e-6
        at = np.sort(u)[:: samples // 1000]
        below = np.interp(at, exact.x, np.cumsum(exact.mass) - exact.mass / 2)
        assert np.abs(below - np.arange(0, samples, samples // 1000) / samples).max() < 2.5 / np.sqrt(samples) + 1e-4
    for norm in norms[:, 0].T:
        assert z_of_mean(norm, -time) < SIGMAS
        assert z_of_std(norm, np.sqrt(2 * time)) < SIGMAS


def test_the_covariance_of_a_pair_has_its_closed_second_moments():
    """d E V01^2 = E (V00 V11 + V01^2) dt and d E V00 V11 = 2 E V01^2 dt; E V01 stays."""
    time, rho, samples = 0.2, 0.3, 2_000_000
    paths = LINEAR.sample(gram(correlation=rho), samples=samples, seed=6, layers=[20])
    size = np.exp(paths.log_norm[:, 0].sum(axis=1) / 2)
    across = paths.correlation[:, 0, 0, 1] * size
    root, products = np.linalg.eig([[1.0, 1.0], [2.0, 0.0]])
    squared, mixed = products @ (np.exp(root * time) * np.linalg.solve(products, [rho**2, 1.0]))
    assert z_of_mean(across, rho) < SIGMAS
    assert z_of_mean(across**2, squared) < SIGMAS
    assert z_of_mean(size**2, mixed) < SIGMAS
    assert z_of_mean(across**2, rho**2 + time * (1 + rho**2)) > SIGMAS, "the control, one Euler step, must fail"


# Plans and streams


@pytest.mark.parametrize("time", [[0.0], [1.0], [0.0, 0.01, 0.5, 0.5, 2.0]])
@pytest.mark.parametrize("longest", [0.1, 1.0])
def test_a_plan_goes_through_every_recorded_time_in_both_clocks(time: list[float], longest: float):
    plan = split_plan(np.array(time), 0.2, longest)
    for lengths in (plan.drifts, plan.noises):
        reached = np.concatenate([[0.0], np.cumsum(lengths)])[plan.recorded]
        assert reached == pytest.approx(time, abs=1e-12)
    assert plan.noises.max(initial=0) <= longest / 2 + 1e-12


def test_a_path_is_the_same_whatever_the_batch():
    time = np.array([0.3, 1.0])
    many = sample_correlation(SHAPED, 0.3, time=time, samples=1000, seed=3)
    assert np.array_equal(sample_correlation(SHAPED, 0.3, time=time, samples=77, seed=3), many[:77])
    alone = np.empty((40, 2))
    correlation_paths(3, 555, 0.7, tuple(split_plan(time, SHAPED.dynamics.strength, LONGEST_STEP)),
                      tuple(SHAPED.dynamics)[:5], alone, stop_flag())  # fmt: skip
    assert np.array_equal(alone, many[555:595])
    assert not np.array_equal(sample_correlation(SHAPED, 0.3, time=time, samples=77, seed=4), many[:77])


def test_bad_steps_and_correlations_are_refused():
    for words in ({"longest_step": 0.0}, {"longest_step": 1.5}, {"samples": 0}, {"seed": -1}):
        given = {"time": np.ones(1), "samples": 2} | words
        refused_as_input(lambda given=given: sample_correlation(SHAPED, 0.3, **given))
    refused_as_input(lambda: sample_correlation(SHAPED, 1.1, time=np.ones(1), samples=2))
