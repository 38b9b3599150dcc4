"""Limits found numerically, against every closed form there is, and one that no other limit of the library has."""

from dataclasses import replace

import numpy as np
import pytest
from laws import SIGMAS, z_of_mean, z_of_means, z_of_variances
from refusals import refusal
from tiers import quick

from deeplim.activations import Elementwise, LeakyReLU, ReLU, Shaped, ShapedReLU
from deeplim.architecture import MLP, ResNet
from deeplim.errors import LimitError
from deeplim.gaussian import mean_product
from deeplim.inputs import gram
from deeplim.limits.covariance_ode import CovarianceODE
from deeplim.limits.covariance_sde import CovarianceSDE
from deeplim.limits.derivation import derive
from deeplim.limits.derived import DerivedODE, DerivedSDE
from deeplim.limits.growing import SIZES, growth_exponent, limit_of
from deeplim.limits.normalized_sde import NormalizedSDE
from deeplim.limits.resnet_sde import ResNetSDE
from deeplim.limits.smooth_sde import SmoothSDE

PAIR = gram(correlation=0.3)
SIZE = {"width": 100, "depth": 60}


def bump(x):
    """phi''(0) = 0.6 and phi'''(0) = 0."""
    return x + 0.3 * x**2 / (1 + x**2)


def clipped(x):
    """x - x^5 / 4 + ...: neither a second, a third nor a fourth derivative at 0."""
    return x / (1 + x**4) ** 0.25


def bent(x):
    return np.abs(x - 0.3) + 0.2 * x


def _states(held: bool, count: int):
    """Norms up to 9 and gaps of all sizes."""
    rng = np.random.default_rng(5)
    v_a, v_b = np.ones((2, count)) if held else rng.uniform(0.01, 9, (2, count))
    gap = np.concatenate([10 ** rng.uniform(-8, 0, count // 2), rng.uniform(0, 2, count - count // 2)])
    return v_a, v_b, gap


def _nuhat(gap):
    rho = 1 - gap
    return np.sqrt(gap * (2 - gap)) - rho * np.arccos(rho)


def _smooth(v_a, v_b, gap, p, q):
    across = (1 - gap) * np.sqrt(v_a * v_b)
    beta = 3 * p + 2 * q
    b = p * (v_a * v_b + across * (2 * across - 3)) + q * across * (v_a + v_b - 2)
    return beta * v_a * (v_a - 1), b, beta * v_b * (v_b - 1)


def _correlation_drift(drift):
    return lambda v_a, v_b, gap: (0 * v_a, np.sqrt(v_a * v_b) * drift(1 - gap, gap), 0 * v_b)


def _check(limit, closed, held=False, count=200):
    """The drift against its closed form: true error within ten times its estimate, and both below 1e-4."""
    states = _states(held, count)
    assert limit.exponent == 0
    worst = 0.0
    for found, exact in zip(limit.drift(*states), closed(*states), strict=True):
        worst = max(worst, np.abs((found - exact) / np.maximum(1, np.abs(exact))).max())
    # drifts of covariances are those of log norms times norms, of which 9 is the largest
    assert worst <= 10 * limit.error * 9
    assert worst < 1e-4
    assert limit.error < 1e-4


RELU = (
    ("none", "before-activation", False),
    ("rmsnorm", "before-activation", False),
    ("rmsnorm", "after-activation", False),
    ("layernorm", "before-activation", False),
    ("layernorm", "after-activation", True),
)


@pytest.mark.parametrize("c_minus", [-1.0, -3.0, 0.4])
@pytest.mark.parametrize(("kind", "place", "centred"), RELU)
def test_shaped_relu_has_the_drift_nuhat(kind: str, place: str, centred: bool, c_minus: float):
    limit = derive(MLP(**SIZE, activation=ShapedReLU(c_minus=c_minus), normalization=kind, placement=place))
    gamma = c_minus**2 / (2 * np.pi)
    _check(limit, _correlation_drift(lambda rho, gap: gamma * (_nuhat(gap) - centred * gap)), kind != "none")
    name = "gamma (nuhat(rho) - 1 + rho)" if centred else "gamma nuhat(rho)"
    assert limit.recognised == (name, {"gamma": pytest.approx(gamma, abs=1e-6)})
    assert limit.noise == pytest.approx(1, abs=1e-6)
    assert name in limit.finding


@pytest.mark.parametrize(
    ("function", "a"),
    [("tanh", 0.3), ("tanh", 1), ("silu", 3), ("gelu", 0.3), ("softplus", 1), ("sin", 1), ("test_derive:bump", 0.5)],
)
def test_smooth_shaping_has_the_drift_of_p_and_q(function: str, a: float):
    # phi''(0) and phi'''(0) after phi(0) = 0, phi'(0) = 1
    second, third = {
        "tanh": (0, -2),
        "silu": (1, 0),
        "gelu": (4 / np.sqrt(2 * np.pi), 0),
        "softplus": (0.5, 0),
        "sin": (0, -1),
        "test_derive:bump": (0.6, 0),
    }[function]
    limit = derive(MLP(**SIZE, activation=Shaped(function=function, a=a)))
    p, q = second**2 / (4 * a**2), third / (2 * a**2)
    _check(limit, lambda *state: _smooth(*state, p, q))
    name, found = limit.recognised
    assert name == "the drift of smooth shaping"
    strengths = {"p": p, "q": q, "beta": 3 * p + 2 * q}
    assert found == {key: pytest.approx(value, abs=1e-5) for key, value in strengths.items()}
    assert limit.parameters["T"] == pytest.approx(0.6)


@pytest.mark.parametrize(("kind", "place", "centred"), RELU[1:])
def test_normalization_leaves_a_drift_of_the_correlation(kind: str, place: str, centred: bool):
    network = MLP(**SIZE, activation=Shaped(function="silu", a=0.6), normalization=kind, placement=place)
    limit, p = derive(network), 1 / (4 * 0.36)
    drift = (lambda rho, gap: -2 * p * rho * gap) if centred else (lambda rho, gap: p * gap * (1 - 2 * rho))
    _check(limit, _correlation_drift(drift), held=True)
    assert limit.recognised[1] == {"p": pytest.approx(p, rel=1e-6)}


@pytest.mark.parametrize("rate", ["width", "depth"])
def test_a_branch_of_fixed_size_slows_the_drift_down(rate: str):
    network = ResNet(**SIZE, branch=0.6, skip="norm-preserving", activation=Shaped(function="tanh", a=1.2, rate=rate))
    limit = derive(network)
    _check(limit, lambda *state: _smooth(*state, 0.0, -0.36 / 1.44))
    assert isinstance(limit, DerivedODE if rate == "depth" else DerivedSDE)
    if rate == "width":
        assert limit.noise == pytest.approx(0.36 * (2 - 0.36), rel=1e-6)


def test_norms_that_all_grow_alike_are_no_part_of_the_drift():
    limit = derive(ResNet(**SIZE, branch=0.5, skip=1, activation=ShapedReLU()))
    share = 0.25 / 1.25
    assert limit.parameters["gamma"] == pytest.approx(share / (2 * np.pi), rel=1e-6)
    assert limit.growth == pytest.approx(100 * np.log(1.25), rel=1e-12)
    assert limit.noise == pytest.approx(share * (2 - share), rel=1e-6)


@pytest.mark.parametrize(
    ("function", "skip"), [("tanh", 1), ("tanh", "norm-preserving"), ("test_derive:bent", "norm-preserving")]
)
def test_a_resnet_follows_its_kernel(function: str, skip: int | str):
    network = ResNet(**SIZE, branch="1.5/sqrt(depth)", skip=skip, activation=Elementwise(function=function))
    limit = derive(network)

    def closed(v_a, v_b, gap):
        across = (1 - gap) * np.sqrt(v_a * v_b)
        less = 1.0 if skip == "norm-preserving" else 0.0
        kernel = [
            network.gain * np.array([mean_product(network.function, state) for state in zip(*three, strict=True)])
            for three in ((v_a, v_a, v_a), (v_a, across, v_b), (v_b, v_b, v_b))
        ]
        return [2.25 * (k - less * v) for k, v in zip(kernel, (v_a, across, v_b), strict=True)]

    _check(limit, closed, count=8)
    assert limit.recognised == (None, {})


def test_other_orders_of_shaping_have_limits_too():
    # phi_s = x - x^5 / (4 s^4) + ..., s = 2 n^(1/4): by Isserlis, E g_a g_b^5 = 15 V^{ab} (V^{bb})^2.
    limit = derive(MLP(**SIZE, activation=Shaped(function="test_derive:clipped", a=2, exponent=0.25)))
    strength = -15 / (4 * 2**4)

    def closed(v_a, v_b, gap):
        across = (1 - gap) * np.sqrt(v_a * v_b)
        return [strength * v * (x**2 + y**2 - 2) for v, x, y in ((v_a, v_a, v_a), (across, v_a, v_b), (v_b, v_b, v_b))]

    _check(limit, closed)
    assert limit.recognised == (None, {})
    assert "none of the known drifts" in limit.finding


# Whether there is a limit


@pytest.mark.parametrize(("exponent", "power"), [(0.3, 0.4), (0.45, 0.1), (0.49, 0.02)])
def test_shaping_too_weak_grows_without_bound(exponent: float, power: float):
    relu = MLP(**SIZE, activation=ShapedReLU(exponent=exponent))
    smooth = MLP(**SIZE, activation=Shaped(function="silu", exponent=exponent))
    residual = ResNet(**SIZE, branch=f"1/depth^{exponent}")
    for network in (relu, smooth, residual):
        message = refusal(lambda network=network: derive(network), LimitError)
        assert f"^{power:g}; at the exponent 0.5, not {exponent:g}" in message


@pytest.mark.parametrize("exponent", quick(0.8, of=[0.51, 0.8]))
def test_shaping_too_strong_leaves_the_linear_law(exponent: float):
    for activation in (ShapedReLU(exponent=exponent), Shaped(function="tanh", exponent=exponent)):
        limit = derive(MLP(**SIZE, activation=activation))
        assert limit.exponent == pytest.approx(1 - 2 * exponent, abs=2e-3)
        assert limit.vanishes
        assert "at the exponent 0.5" in (limit.advice or "")
        assert not any(np.any(b) for b in limit.drift(*_states(False, 200)))
    gone = derive(MLP(**SIZE, activation=ShapedReLU(exponent=1.5)))
    assert gone.vanishes
    assert "zero, to rounding" in gone.finding
    norm = derive(MLP(**SIZE, activation=LeakyReLU(slope=1))).sample(PAIR, samples=20_000, layers=[60])
    assert z_of_mean(norm.log_norm[:, 0, 0], -0.6) < SIGMAS
    assert z_of_mean((norm.log_norm[:, 0, 0] + 0.6) ** 2, 1.2) < SIGMAS


@pytest.mark.parametrize("skip", [1, "norm-preserving"])
def test_a_branch_that_shrinks_too_fast_freezes(skip: int | str):
    limit = derive(ResNet(**SIZE, branch="1/depth^0.8", skip=skip))
    assert limit.exponent == pytest.approx(-0.6, abs=1e-3)
    assert "frozen" in limit.finding
    np.testing.assert_allclose(limit.sample(PAIR).correlation[0, :, 0, 1], 0.3, rtol=1e-12)
    both = derive(ResNet(**SIZE, branch="1/sqrt(depth)", skip=skip, activation=ShapedReLU()))
    assert "not both" in both.finding


def test_what_has_no_limit_is_refused_with_the_cure():
    cases = {
        "width^1; shape the activation at the rate of the width, or see the limit 'unshaped'": MLP(**SIZE),
        "width^1; shape the activation at the rate of the width.": MLP(**SIZE, activation=Elementwise(function="tanh")),
        "scale the branch by 1/sqrt(depth)": ResNet(**SIZE, branch=0.5),
        "batchnorm": MLP(**SIZE, normalization="batchnorm"),
        "the noise of a ResNet with rmsnorm": ResNet(
            **SIZE, branch=0.5, skip="norm-preserving", normalization="rmsnorm", activation=ShapedReLU()
        ),
        "choose a weaker one": MLP(**SIZE, activation=Shaped(function="silu", a=0.02)),
        "choose an exponent above 0.1": MLP(**SIZE, activation=ShapedReLU(exponent=0.1)),
        "grow like the exponential of depth^0.4": ResNet(**SIZE, branch="1/depth^0.3", activation=LeakyReLU(slope=1)),
    }
    for words, network in cases.items():
        assert words in refusal(lambda network=network: derive(network), LimitError)


@pytest.mark.parametrize("power", [-0.8, -0.2, 0.0, 0.3, 1.0])
def test_exponents_of_known_sequences_are_found(power: float):
    n = SIZES.astype(float)[:, None]
    values = n**power * (3 + 2 * n**-0.5 - 5 / n)
    found, doubt = growth_exponent(tuple(SIZES), values)
    assert found == pytest.approx(power, abs=1e-3)
    assert abs(found - power) <= 10 * doubt + 1e-9


@pytest.mark.parametrize("step", [0.5, 1.0, 1 / 3, 0.25])
def test_limits_of_known_sequences_are_found_with_honest_errors(step: float):
    n, limits = SIZES.astype(float)[:, None], np.repeat([3.0, -0.2, 40.0], 8)
    values = limits + sum(c * n ** (-step * (k + 1)) for k, c in enumerate((5.0, -4.0, 3.0, 7.0, 1.0)))
    noise = np.random.default_rng(0).standard_normal(values.shape)
    for size in (0.0, 1e-6, 1e-3):
        found, rule = limit_of(tuple(SIZES), values + size * noise)
        true = (np.abs(found - limits) / np.maximum(1, np.abs(limits))).max()
        assert true <= 3 * rule.error
        # without noise 1e-4 is enough for every step; noise of four deviations is multiplied by the weights
        assert rule.error < 1e-4 + 8 * size * np.abs(rule.weights).sum()


# Paths


@pytest.mark.parametrize(
    "network",
    [
        MLP(**SIZE, activation=ShapedReLU(rate="depth", c_minus=-2)),
        MLP(**SIZE, activation=Shaped(function="silu", a=1, rate="depth")),
        MLP(**SIZE, activation=ShapedReLU(rate="depth"), normalization="layernorm", placement="after-activation"),
        ResNet(**SIZE, activation=ReLU()),
        ResNet(**SIZE, activation=Elementwise(function="tanh"), skip="norm-preserving"),
        ResNet(**SIZE, activation=ReLU(), normalization="rmsnorm"),
    ],
    ids=str,
)
def test_the_ode_is_the_closed_one_for_three_inputs(network):
    inputs = gram(covariance=np.array([[1.0, 0.3, 0.2], [0.3, 0.8, -0.4], [0.2, -0.4, 0.9]]))
    found, exact = derive(network).sample(inputs), CovarianceODE(network).sample(inputs)
    np.testing.assert_allclose(found.log_norm, exact.log_norm, atol=1e-6)
    np.testing.assert_allclose(found.log_gap, exact.log_gap, atol=1e-6)


def test_the_ode_keeps_small_gaps_and_tells_explosions():
    near = gram(gap=1e-12)
    network = ResNet(**SIZE, activation=Elementwise(function="tanh"), skip="norm-preserving")
    found, exact = (limit.sample(near).log_gap for limit in (derive(network), CovarianceODE(network)))
    np.testing.assert_allclose(found, exact, atol=1e-6)
    # beta = 0.75 / 0.04 from V_0 = 1.5: infinite at -log(1 - 1/1.5) / beta = 0.0586, that is by layer 4 of 60
    explosive = MLP(**SIZE, activation=Shaped(function="silu", a=0.2, rate="depth"))
    paths = derive(explosive).sample(gram(covariance=np.array([[1.5]])), layers=range(61))
    np.testing.assert_array_equal(paths.alive[0], np.arange(61) / 60 < -np.log(1 - 1 / 1.5) / 18.75)
    assert paths.exploded[-1] == 1


SDES = {
    "relu": (CovarianceSDE, MLP(width=100, depth=100, activation=ShapedReLU(c_minus=-2))),
    "silu": (SmoothSDE, MLP(width=100, depth=60, activation=Shaped(function="silu", a=0.7))),
    "tanh": (SmoothSDE, MLP(width=100, depth=100, activation=Shaped(function="tanh", a=0.8))),
    "layernorm": (
        NormalizedSDE,
        MLP(**SIZE, activation=ShapedReLU(c_minus=-3), normalization="layernorm", placement="after-activation"),
    ),
    "rmsnorm": (NormalizedSDE, MLP(**SIZE, activation=Shaped(function="silu", a=0.4), normalization="rmsnorm")),
    "resnet": (
        ResNetSDE,
        ResNet(**SIZE, branch=0.8, skip="norm-preserving", activation=Shaped(function="gelu", a=0.9)),
    ),
}


def _apart(a, b):
    """Means and variances of the last correlation and norm, in standard errors of their difference."""
    for values in (lambda paths: paths.correlation[:, -1, 0, 1], lambda paths: paths.log_norm[:, -1, 1]):
        one, two = (values(paths)[paths.alive[:, -1]] for paths in (a, b))
        yield z_of_means(one, two)
        yield z_of_variances(one, two)


@pytest.mark.parametrize("name", SDES)
def test_the_sde_has_the_law_of_the_closed_one(name: str):
    # Four comparisons a network at 5 sigma, and one of explosions: a false alarm in one run of 50,000.
    kind, network = SDES[name]
    limit = derive(network)
    inputs = gram(covariance=np.array([[1.0, 0.3], [0.3, 0.9]]))
    found = limit.sample(inputs, samples=20_000, seed=1, layers=[network.depth])
    closed = kind(network).sample(inputs, samples=20_000, seed=2, layers=[network.depth])
    assert abs(int(found.exploded[0]) - int(closed.exploded[0])) <= SIGMAS * np.sqrt(2 * (closed.exploded[0] + 1))
    assert max(_apart(found, closed)) < SIGMAS
    linear = derive(network.model_copy(update={"activation": LeakyReLU(slope=1)}))
    free = linear.sample(inputs, samples=20_000, seed=3, layers=[network.depth])
    assert max(_apart(found, free)) > SIGMAS, "the control, without a drift, must fail"
    assert (found.correlation_gap[found.alive] > 0).all()
    assert (found.correlation_gap[found.alive] <= 2).all()


def test_paths_of_one_input_and_of_close_ones():
    one = gram(np.array([[1.0]]))
    network = MLP(width=100, depth=100, activation=Shaped(function="tanh", a=0.8))
    a, b = (
        limit.sample(one, samples=20_000, seed=seed, layers=[100]).log_norm[:, 0, 0]
        for limit, seed in ((derive(network), 1), (SmoothSDE(network), 2))
    )
    assert z_of_means(a, b) < SIGMAS
    assert z_of_variances(a, b) < SIGMAS
    near = gram(gap=1e-40)
    network = MLP(**SIZE, activation=Shaped(function="silu", a=1.5))
    paths = [
        limit.sample(near, samples=20_000, seed=seed, layers=[60])
        for limit, seed in ((derive(network), 1), (SmoothSDE(network), 2))
    ]
    a, b = (one.log_gap[one.alive[:, 0], 0, 0] for one in paths)
    assert a.max() < -80
    assert z_of_means(a, b) < SIGMAS
    assert z_of_variances(a, b) < SIGMAS


def test_a_limit_that_no_formula_of_the_library_gives_is_that_of_networks():
    # Norms of 2000 networks, layer by layer; they scatter less than those of a linear network, log V of variance 2.
    n, scale = 100, 2 * 100**0.25
    network = MLP(width=n, depth=n, activation=Shaped(function="test_derive:clipped", a=2, exponent=0.25))
    rng, norm = np.random.default_rng(4), np.ones((2000, 1))
    for _ in range(n):
        g = rng.standard_normal((2000, n)) * np.sqrt(norm)
        norm = network.gain * np.mean((scale * clipped(g / scale)) ** 2, axis=1, keepdims=True)
    exact = np.log(norm[:, 0])
    found = derive(network).sample(PAIR, samples=20_000, seed=5, layers=[n]).log_norm[:, 0, 0]
    error = np.hypot(exact.std() / np.sqrt(len(exact)), found.std() / np.sqrt(len(found)))
    # besides the error of sampling a few 1/n
    assert abs(exact.mean() - found.mean()) < SIGMAS * error + 3 / n
    assert abs(exact.std() - found.std()) < SIGMAS * error + 3 / n
    assert abs(np.sqrt(2) - exact.std()) > SIGMAS * error + 3 / n, "the control, a linear network, must fail"


@pytest.mark.parametrize("norm", [-1500.0, 0.0, 1500.0])
def test_norms_of_any_size_where_all_grow_alike(norm: float):
    inputs = replace(PAIR, log_norm=np.array([norm, norm - 2]))
    for network in (MLP(**SIZE, activation=ShapedReLU()), ResNet(**SIZE, branch=0.5, activation=ShapedReLU())):
        limit = derive(network)
        paths, unit = (limit.sample(one, samples=500, layers=[0, 60]) for one in (inputs, PAIR))
        np.testing.assert_allclose(paths.log_norm - inputs.log_norm, unit.log_norm, atol=1e-9)
        np.testing.assert_array_equal(paths.log_gap, unit.log_gap)
    smooth = derive(MLP(**SIZE, activation=Shaped(function="tanh")))
    if norm > 0:
        assert "norms near one" in refusal(lambda: smooth.sample(inputs), LimitError)
    else:
        assert smooth.sample(inputs, samples=100).alive.all()


def test_more_inputs_than_a_pair_are_refused():
    three = gram(covariance=np.eye(3))
    limit = derive(MLP(**SIZE, activation=ShapedReLU()))
    assert "2 inputs at a time" in refusal(lambda: limit.sample(three))
