"""The steps of the covariance SDEs: structure kept at any step, second weak order, explosions, stationary laws."""

import numpy as np
import pytest
from laws import SIGMAS, z_of_mean, z_of_variances
from refusals import refusal
from scipy.special import gammainc
from tiers import quick

from deeplim import limits
from deeplim.activations import LeakyReLU, Shaped, ShapedReLU
from deeplim.architecture import MLP, ResNet
from deeplim.errors import LimitError
from deeplim.finite import chain
from deeplim.inputs import gram
from deeplim.limits.families import CENTRED_NUHAT, CENTRED_SQUARE, NUHAT, QUADRATIC, SMOOTH
from deeplim.limits.integrators import covariance_paths
from deeplim.limits.laws import (
    centred_relu_drift,
    centred_smooth_drift,
    pair_density,
    shaped_relu_drift,
    shaped_smooth_drift,
)
from deeplim.limits.normalized_sde import NormalizedSDE
from deeplim.limits.pairs import correlation_paths, pair_paths
from deeplim.limits.resnet_sde import ResNetSDE
from deeplim.limits.sde import sample_correlation
from deeplim.limits.smooth_sde import SmoothSDE
from deeplim.parallel import stop_flag

PAIR = gram(correlation=0.3)
ONE = gram(np.array([[1.0]]))
LAWS = {
    "nuhat": (NUHAT, 0.5, 0.0, 1.0, False),
    "nuhat, norms held": (NUHAT, 0.5, 0.0, 1.0, True),
    "centred nuhat": (CENTRED_NUHAT, 0.5, 0.0, 1.0, True),
    "quadratic": (QUADRATIC, 0.7, 0.0, 1.0, True),
    "centred square": (CENTRED_SQUARE, 0.7, 0.0, 1.0, True),
    "smooth, odd": (SMOOTH, 0.0, -1.5, 1.0, False),
    "smooth, explosive": (SMOOTH, 0.5, 0.2, 1.0, False),
    "smooth, bounded": (SMOOTH, 0.4, -1.2, 0.3, False),
}


def _strang(h: float, steps: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Half a drift, the noise and half a drift, this many times."""
    drifts = np.full(steps + 1, h)
    drifts[[0, -1]] = h / 2
    return drifts, np.append(np.full(steps, h), 0.0), np.array([steps + 1])


def _follow(log_norm, gap, plan, dynamics, seed, samples=1):
    """Norms, gaps and explosion times at the end of a plan, from one covariance matrix; of a pair by its own kernel."""
    m = len(log_norm)
    into = np.empty((samples, 1, m)), np.empty((samples, 1, m * (m - 1) // 2)), np.empty(samples)
    smooth = dynamics[1:3] if dynamics[0] == SMOOTH else None
    if m <= 2:
        pair_paths(seed, 0, log_norm, gap[0, 1] if m == 2 else 1.0, plan, dynamics, smooth, *into, stop_flag())
    else:
        covariance_paths(seed, 0, log_norm, gap, plan, dynamics, smooth, *into, stop_flag())
    return into[0][:, 0], into[1][:, 0], into[2]


def _step(log_norm, gap, h, dynamics, seed, steps=1):
    norms, gaps, explosions = _follow(log_norm, gap, _strang(h, steps), dynamics, seed)
    return norms[0], gaps[0], explosions[0]


@pytest.mark.parametrize("count", quick(2, 5, of=[2, 3, 5, 16]))
def test_no_step_of_any_size_leaves_the_covariances(count: int):
    # 1,600 starts for each of four sizes, of any rank and closeness, and 16 paths from each: 100,000 steps up to 0.5.
    rng = np.random.default_rng(count)
    first, second = np.triu_indices(count, 1)
    exploded, least = 0, 0.0
    for trial in range(1600):
        rank = rng.integers(1, count + 1)
        x = rng.standard_normal((count, rank)) * 10.0 ** rng.integers(-6, 2, size=rank) + rng.standard_normal(rank)
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        gap = np.maximum(np.sum((x[:, None] - x[None]) ** 2, axis=2) / 2, 1e-300)
        law, p, q, noise, held = list(LAWS.values())[trial % len(LAWS)]
        strength = (0.0, 1.0, 10.0)[trial % 3]
        dynamics = (law, strength * p, strength * q, noise, held)
        plan = _strang(rng.uniform(0, 0.5))
        norms, gaps, explosions = _follow(rng.standard_normal(count), gap, plan, dynamics, trial, 16)
        gone = explosions < np.inf
        exploded += gone.sum()
        assert not gone.any() or (law == SMOOTH and p > 0)
        assert (np.isposinf(norms).sum(axis=1) == gone).all()
        assert np.isfinite(norms[~gone]).all()
        assert (gaps[~gone] > 0).all()
        assert (gaps[~gone] <= 2).all()
        rho = np.tile(np.eye(count), (16, 1, 1))
        rho[:, second, first] = 1 - gaps
        least = min(least, np.linalg.eigvalsh(rho[~gone], UPLO="L").min(initial=0.0))
    assert 0 < exploded < 5000
    assert least > -1e-12 * count


@pytest.mark.parametrize("name", LAWS)
def test_sixty_four_inputs_stay_a_covariance_along_many_long_steps(name: str):
    rng = np.random.default_rng(64)
    x = rng.standard_normal((64, 64)) + 1.0
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    gap = np.sum((x[:, None] - x[None]) ** 2, axis=2) / 2
    norms, gaps, explosion = _step(np.full(64, -1.0), gap, 0.5, LAWS[name], 64, steps=4)
    if explosion == np.inf:
        rho = np.eye(64)
        rho[np.triu_indices(64, 1)[::-1]] = 1 - gaps
        assert np.linalg.eigvalsh(rho, UPLO="L").min() > -1e-12
        assert np.isfinite(norms).all()


@pytest.mark.parametrize("start", [1e-300, 1e-8, 1.0, 1.999, 2.0])
@pytest.mark.parametrize("noise", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("strength", [0.0, 0.3, 50.0])
@pytest.mark.parametrize("law", [NUHAT, CENTRED_NUHAT, QUADRATIC, CENTRED_SQUARE])
def test_no_correlation_step_of_any_size_leaves_the_interval(law: int, start: float, noise: float, strength: float):
    gaps = np.empty((200, 2))
    plan = np.array([0.01, 0.5, 0.7, 3.0]), np.array([0.1, 1.0, 0.0, 0.3]), np.array([1, 4])
    correlation_paths(7, 0, start, plan, (law, strength, 0.0, noise, True), gaps, stop_flag())
    assert (gaps > 0).all()
    assert (gaps <= 2).all()
    if noise == 0 and law == NUHAT:
        assert (gaps <= start * (1 + 1e-9)).all()  # nuhat only ever brings inputs together


# Each drift alone, against a closed form or an accurate solver


@pytest.mark.parametrize("name", LAWS)
def test_without_noise_a_step_solves_the_drift_to_second_order(name: str):
    from scipy.integrate import solve_ivp

    law, p, q, _, held = LAWS[name]
    norm, gap = np.zeros(3) if held else np.array([0.2, -0.7, -0.7]), np.where(np.eye(3) == 1, 0.0, 0.9)

    def speed(_, state):
        x, y, rho = state
        nu = np.sqrt(max(1 - rho**2, 0)) - rho * np.arccos(min(rho, 1.0))
        if law == SMOOTH:
            s, beta = np.sqrt(x * y), 3 * p + 2 * q
            return beta * x * (x - 1), beta * y * (y - 1), p * (s * (1 + 2 * rho**2) - 1.5 * rho * (x + y))
        return 0, 0, p * {
            NUHAT: nu,
            CENTRED_NUHAT: nu - 1 + rho,
            QUADRATIC: (1 - rho) * (1 - 2 * rho),
            CENTRED_SQUARE: -2 * rho * (1 - rho),
        }[law]  # fmt: skip

    start = [*np.exp(norm[:2]), 0.1]
    exact = solve_ivp(speed, (0, 0.4), start, method="DOP853", rtol=1e-11, atol=1e-13).y[:, -1]
    errors = []
    for steps in (16, 32):
        plan = np.full(steps, 0.4 / steps), np.zeros(steps), np.array([steps])
        norms, gaps, _ = _follow(norm, gap, plan, (law, p, q, 0.0, held), 0)
        np.testing.assert_allclose(np.exp(norms[0, :2]), exact[:2], rtol=1e-10)
        errors.append(abs(1 - gaps[0, 0] - exact[2]))
        pair = _follow(norm[:2], gap[:2, :2], plan, (law, p, q, 0.0, held), 0)
        np.testing.assert_allclose(pair[0], norms[:, :2], rtol=1e-12)
        np.testing.assert_allclose(pair[1], gaps[:, :1], rtol=3e-6)
    assert errors[1] < 2e-5
    assert errors[1] < errors[0] / 3 or errors[0] < 1e-10


def _squared_correlations(name: str, count: int, steps: int, samples: int = 1_000_000) -> np.ndarray:
    """rho_1^2 of the first pair of several from rho_0 = 0.3, in this many equal steps."""
    gap = np.where(np.eye(count) == 1, 0.0, 0.7)
    gaps = _follow(np.zeros(count), gap, _strang(1 / steps, steps), LAWS[name], steps, samples)[1]
    return (1 - gaps[:, 0]) ** 2


DRIFTS = {
    "nuhat": shaped_relu_drift(0.5),
    "nuhat, norms held": shaped_relu_drift(0.5),
    "centred nuhat": centred_relu_drift(0.5),
    "quadratic": shaped_smooth_drift(0.7),
    "centred square": centred_smooth_drift(0.7),
}


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("name", DRIFTS)
def test_steps_are_of_second_weak_order(name: str, count: int):
    # The exact second moment comes from the Fokker-Planck equation, so that only the steps have errors.
    density = pair_density(DRIFTS[name], 0.7, time=1.0)
    exact = density.moment(2)
    errors, noises = {}, {}
    coarse, fine = (1, 2) if count == 2 else (2, 4)
    for steps in (coarse, fine):
        found = _squared_correlations(name, count, steps)
        errors[steps], noises[steps] = abs(found.mean() - exact), found.std() / np.sqrt(len(found))
    assert errors[coarse] > 2 * SIGMAS * noises[coarse], "the coarse step must show an error, or no order is measured"
    # Halving the step divides the error by about four, less at steps this long; first order would leave half of it.
    assert errors[fine] + 2 * noises[fine] < errors[coarse] / 2 - noises[coarse]


# Smooth shaping: explosion, death and the stationary law


def _smooth(function: str, a: float, depth: int = 1000, width: int = 100) -> SmoothSDE:
    return SmoothSDE(MLP(width=width, depth=depth, activation=Shaped(function=function, a=a)))


@pytest.mark.parametrize(("beta", "norm", "published"), [(1.0, 1.0, 0.264), (4.0, 0.7, 0.152)])
def test_norms_explode_with_the_closed_probability(beta: float, norm: float, published: float):
    # 2 SiLU has phi''(0) = 1 and phi'''(0) = 0, so beta = 3 / (4 a^2).
    limit = _smooth("silu", a=float(np.sqrt(0.75 / beta)), depth=1200)
    assert limit.beta == pytest.approx(beta, rel=1e-9)
    chance = limit.explosion_probability(norm)
    assert chance == pytest.approx(published, abs=5e-4)
    assert chance == pytest.approx(float(gammainc(beta + 1, beta * norm)), rel=1e-9)
    inputs = gram(covariance=np.array([[norm]]))
    times = limit.explosion_times(inputs, samples=10_000, seed=3)
    exploded = np.isfinite(times)
    error = np.sqrt(chance * (1 - chance) / len(times))
    assert abs(exploded.mean() - chance) < SIGMAS * error
    assert abs(exploded.mean() - 1.4 * chance) > SIGMAS * error, "the control must fail"
    paths = limit.sample(inputs, samples=10_000, seed=3, layers=[10, 100, 1200])
    assert (np.diff(paths.exploded) >= 0).all()
    assert abs(paths.exploded[-1] / 10_000 - chance) < SIGMAS * error
    assert not np.isnan(paths.log_norm).any()
    # those that have not exploded have died
    assert paths.log_norm[paths.alive[:, -1], -1].max() < 0


def test_odd_shaping_settles_at_its_gamma_law():
    limit = _smooth("tanh", a=float(np.sqrt(2 / 3)), depth=1000)
    assert limit.beta == pytest.approx(-3, rel=1e-9)
    assert limit.advice is None
    norm = np.exp(limit.sample(ONE, samples=20_000, seed=4, layers=[1000]).log_norm[:, 0, 0])
    assert z_of_mean(norm, 2 / 3) < SIGMAS
    assert z_of_mean(norm**2, 2 / 9 + 4 / 9) < SIGMAS
    assert z_of_mean(norm, 0.7) > SIGMAS


def test_the_design_rule_is_stated_when_it_is_broken():
    assert "choose a below 1.41" in (_smooth("tanh", a=1.5).advice or "")
    assert _smooth("tanh", a=1.4).advice is None
    assert "probability 0.264" in (_smooth("silu", a=float(np.sqrt(0.75))).advice or "")


def test_the_design_rule_is_in_the_network_s_own_scale_and_extremes_are_refused():
    deep = MLP(width=50, depth=200, activation=Shaped(function="tanh", a=1, rate="depth"))
    assert "choose a below 0.707" in (SmoothSDE(deep).advice or "")
    for activation in (Shaped(function="tanh", a=1e-6), ShapedReLU(c_plus=1e155)):
        assert "sde" not in {limit.name for limit in limits.find(MLP(width=100, depth=50, activation=activation))}
    resnets = {"width": 100, "depth": 50, "activation": ShapedReLU()}
    assert "nothing is added" in (ResNetSDE.why_not(ResNet(**resnets, branch=0)) or "")
    assert ResNetSDE(ResNet(**resnets, branch=1e200)).parameters["share"] == 1
    unshaped = limits.named("sde", MLP(width=100, depth=50, activation=ShapedReLU(c_minus=-10)))
    assert "far from one" in (unshaped.advice or "")
    steep = _smooth("silu", a=0.5)
    flat = gram(covariance=np.array([[1e10]]))
    assert steep.explosion_times(flat, samples=2).max() < 1e-6
    balanced = SmoothSDE(MLP(width=100, depth=100, activation=Shaped(function="test_sdes:balanced", a=1)))
    assert abs(balanced.beta) < 1e-9
    assert "too fast" in refusal(lambda: balanced.sample(flat, samples=2), kind=LimitError)


def balanced(x: np.ndarray) -> np.ndarray:
    """second derivative 1 and third -3/4 at 0, so that beta = 0."""
    return x + x**2 / 2 / (1 + x**2) - x**3 / 8 / (1 + x**4)


def test_exact_tanh_networks_have_the_smooth_law():
    network = MLP(width=150, depth=150, activation=Shaped(function="tanh", a=0.8))
    exact = chain.sample(network, PAIR, networks=3000, seed=11, layers=[150])
    limit = SmoothSDE(network).sample(PAIR, samples=30_000, seed=12, layers=[150])
    for a, b in (
        (exact.correlation[:, 0, 0, 1], limit.correlation[:, 0, 0, 1]),
        (exact.log_norm[:, 0, 0], limit.log_norm[:, 0, 0]),
    ):
        error = np.hypot(a.std() / np.sqrt(len(a)), b.std() / np.sqrt(len(b)))
        assert abs(a.mean() - b.mean()) < SIGMAS * error + 3 / 150
        assert abs(a.std() - b.std()) < SIGMAS * error + 3 / 150
    linear = SmoothSDE(network.model_copy(update={"activation": Shaped(function="tanh", a=50.0)}))
    free = linear.sample(PAIR, samples=30_000, seed=13, layers=[150]).log_norm[:, 0, 0]
    assert abs(free.mean() - exact.log_norm[:, 0, 0].mean()) > 0.1, "the control, a linear network, must fail"


# Normalization and residual connections


def test_layernorm_moves_what_attracts_from_one_to_zero():
    size = {"width": 300, "depth": 300, "activation": ShapedReLU(c_minus=-2)}
    network = MLP(**size, normalization="layernorm", placement="after-activation")
    with_norm = NormalizedSDE(network)
    assert with_norm.attracting == 0
    rho = 1 - sample_correlation(with_norm, 0.3, time=np.array([1.0]), samples=100_000, seed=1)[:, 0]
    joint = with_norm.sample(PAIR, samples=100_000, seed=2, layers=[300])
    assert z_of_mean(joint.correlation[:, 0, 0, 1], rho.mean()) < np.sqrt(2) * SIGMAS
    assert z_of_variances(joint.correlation[:, 0, 0, 1], rho) < SIGMAS
    assert (joint.log_norm == 0).all()


def test_a_resnet_is_the_diffusion_of_the_mlp_slowed_down():
    # A linear ResNet: the correlation diffuses as in the MLP at g^2 (2 - g^2) of its clock.
    network = ResNet(width=200, depth=100, branch=0.6, skip="norm-preserving", activation=LeakyReLU(slope=1))
    limit = ResNetSDE(network)
    share = 0.36
    assert limit.dynamics.noise == pytest.approx(share * (2 - share))
    paths = limit.sample(PAIR, samples=100_000, seed=5, layers=[100])
    expected = limit.dynamics.noise * 0.5
    assert z_of_mean(paths.log_norm[:, 0, 0], -expected) < SIGMAS
    assert z_of_mean((paths.log_norm[:, 0, 0] + expected) ** 2, 2 * expected) < SIGMAS
    exact = chain.sample(network, PAIR, networks=20_000, seed=6, layers=[0, 100])
    gained = exact.log_norm[:, 1, 0] - exact.log_norm[:, 0, 0]
    assert abs(gained.mean() + expected) < 5 * gained.std() / np.sqrt(20_000) + 1 / 200
    assert gained.var() == pytest.approx(2 * expected, rel=0.05 + 2 / 200)


def test_an_explosive_pair_cannot_be_sampled_by_its_correlation_alone():
    message = refusal(
        lambda: sample_correlation(_smooth("silu", 1.0), 0.3, time=np.ones(1), samples=2), kind=LimitError
    )
    assert "depends on its norms" in message
