"""Every limit against closed forms, against its twin by another route, and against exact networks."""

import mpmath
import numpy as np
import pytest
from laws import SIGMAS, z_of_mean, z_of_means, z_of_std, z_of_variances
from refusals import refused_as_input

from deeplim import limits
from deeplim.activations import Elementwise, LeakyReLU, ReLU, Shaped, ShapedReLU
from deeplim.architecture import MLP, Network, ResNet
from deeplim.errors import InputError, LimitError
from deeplim.finite import chain
from deeplim.gaussian import nuhat
from deeplim.inputs import digits, gram
from deeplim.limits.covariance_ode import CovarianceODE
from deeplim.limits.covariance_sde import CovarianceSDE
from deeplim.limits.flow import flow_clock, gap_at, nuhat_flow
from deeplim.limits.infinite_width import InfiniteWidth
from deeplim.limits.sde import sample_correlation
from deeplim.limits.unshaped_sde import UnshapedSDE

PAIR = gram(correlation=0.3)
FOUR = np.random.default_rng(1).normal(size=(4, 6))
SHAPED = MLP(width=100, depth=100, activation=ShapedReLU(c_plus=0, c_minus=-1))
NETWORKS: list[Network] = [
    SHAPED,
    MLP(width=100, depth=100),
    MLP(width=100, depth=100, activation=LeakyReLU(slope=0.2)),
    MLP(width=100, depth=100, activation=LeakyReLU(slope=1)),
    MLP(width=400, depth=20, activation=ShapedReLU(rate="depth")),
    MLP(width=50, depth=10, activation=Elementwise(function="numpy:tanh")),
    ResNet(width=100, depth=50),
    ResNet(width=100, depth=50, branch="2/sqrt(depth)", activation=LeakyReLU(slope=0.5)),
    ResNet(width=50, depth=10, activation=Elementwise(function="numpy:tanh")),
    ResNet(width=100, depth=50, branch=0.5),
    ResNet(width=100, depth=50, activation=ShapedReLU()),
    MLP(width=100, depth=20, activation=Shaped(function="silu", a=0.8)),
    MLP(width=100, depth=20, activation=Shaped(function="silu", a=0.8, rate="depth")),
    MLP(width=100, depth=50, activation=Shaped(function="silu", a=0.8), normalization="rmsnorm"),
    MLP(width=100, depth=50, normalization="rmsnorm"),
    MLP(width=100, depth=50, normalization="layernorm"),
    MLP(width=100, depth=50, normalization="layernorm", placement="after-activation"),
    MLP(width=100, depth=50, normalization="batchnorm"),
    MLP(width=100, depth=50, activation=ShapedReLU(exponent=0.3)),
    MLP(width=8, depth=50),
    ResNet(width=100, depth=50, activation=ShapedReLU(), branch=0.5),
    ResNet(width=100, depth=50, activation=Shaped(function="tanh"), branch=0.5, skip="norm-preserving"),
    ResNet(width=100, depth=50, branch="1/depth^0.3"),
    ResNet(width=100, depth=50, normalization="layernorm", placement="after-sum"),
]


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_every_limit_applies_or_says_why_not(network: Network):
    found, others = limits.find(network), limits.explain(network)
    assert sorted([limit.name for limit in found] + list(others)) == sorted(limit.name for limit in limits.ALL)
    assert found, "the infinite-width recursion always applies"
    for limit in limits.ALL:
        if limit.name in others:
            assert others[limit.name].rstrip().endswith(".")
            with pytest.raises(LimitError, match="does not describe this network"):
                limits.named(limit.name, network)
        else:
            assert limits.named(limit.name, network) == limit(network)
    with pytest.raises(LimitError, match="there is no limit called 'sdf'"):
        limits.named("sdf", network)


def test_which_limits_describe_which_networks():
    names = [{limit.name for limit in limits.find(network)} - {"infinite-width"} for network in NETWORKS]
    assert names == [
        {"sde", "moments"}, {"unshaped", "moments"}, {"unshaped", "moments"}, {"sde", "moments"},
        {"sde", "moments", "ode"}, {"moments"}, {"ode"}, {"ode"}, {"ode"}, set(), set(),
        {"smooth-sde", "moments"}, {"smooth-sde", "moments", "ode"}, {"normalized-sde"}, {"unshaped"},
        set(), set(), set(),
        {"moments"}, {"unshaped"}, {"resnet-sde"}, {"resnet-sde"}, set(), {"ode"},
    ]  # fmt: skip


@pytest.mark.parametrize("network", NETWORKS, ids=str)
@pytest.mark.parametrize("inputs", [PAIR, gram(correlation=-1), gram(gap=1e-12), gram(FOUR), gram([[2.0]])], ids=str)
def test_every_limit_gives_finite_paths_that_start_at_the_inputs(network: Network, inputs):
    for limit in limits.find(network):
        seen = inputs.pair(1, 3) if limit.most_inputs == 2 and inputs.count > 2 else inputs
        if network.normalization == "batchnorm" and seen.count == 1:
            assert "batchnorm" in refused_as_input(lambda limit=limit, seen=seen: limit.sample(seen))
            continue
        paths = limit.sample(seen, samples=20, seed=1)
        assert paths.samples == (1 if limit.deterministic else 20)
        assert paths.clock == limit.clock
        explosive = "silu" in str(network) and network.normalization == "none"
        assert paths.alive.all() or (explosive and paths.exploded[-1] == (~paths.alive[:, -1]).sum())
        assert np.isfinite(paths.log_norm[paths.alive]).all()
        assert np.isfinite(paths.log_gap[paths.alive]).all()
        assert (paths.log_gap[paths.alive] <= np.log(2) + 1e-12).all()
        assert np.allclose(paths.log_norm[:, 0], seen.log_norm, atol=1e-12)
        assert np.allclose(paths.correlation_gap[:, 0], seen.gap[np.triu_indices(seen.count, 1)], rtol=1e-9)


def test_sampling_is_reproducible_and_independent_of_the_number_of_samples():
    for limit in (CovarianceSDE(SHAPED), UnshapedSDE(NETWORKS[1])):
        many = limit.sample(PAIR, samples=3000, seed=4)
        few = limit.sample(PAIR, samples=1100, seed=4)
        assert np.array_equal(many.log_gap[:1100], few.log_gap)
        assert not np.array_equal(limit.sample(PAIR, samples=1100, seed=5).log_gap, few.log_gap)
    with pytest.raises(InputError, match="2 inputs at a time and 10 were given"):
        UnshapedSDE(NETWORKS[1]).sample(digits())
    with pytest.raises(InputError, match="0 samples"):
        CovarianceSDE(SHAPED).sample(PAIR, samples=0)


# The flow of nuhat and the covariance ODE


@pytest.mark.parametrize("gap", [1e-200, 1e-12, 1e-3, 0.3, 0.7, 1.5, 1.99, 2.0])
def test_the_flow_clock_is_the_integral_it_says(gap: float):
    with mpmath.workdps(30):
        theta = 2 * mpmath.asin(mpmath.sqrt(mpmath.mpf(gap) / 2))
        if gap > 1e-6:
            points = [theta, (theta + mpmath.pi) / 2, mpmath.pi]
            exact = mpmath.quad(lambda t: mpmath.sin(t) / (mpmath.sin(t) - t * mpmath.cos(t)), points)
        else:
            exact = 3 / theta
        assert float(flow_clock(np.array([gap]))[0]) == pytest.approx(
            float(exact), rel=1e-9 if gap > 1e-6 else 1e-6, abs=1e-14
        )


def test_the_flow_solves_its_equation_and_composes():
    gaps = np.concatenate([10.0 ** np.arange(-250.0, -1, 7), np.linspace(0.05, 2, 40)])
    assert np.abs(gap_at(flow_clock(gaps)) / gaps - 1).max() < 1e-11
    assert np.allclose(nuhat_flow(nuhat_flow(gaps, 0.3), 0.9), nuhat_flow(gaps, 1.2), rtol=1e-10)
    h = 1e-5
    slope = (nuhat_flow(gaps, h) - nuhat_flow(gaps, 0.0)) / h
    assert np.allclose(slope[gaps > 1e-3], -nuhat(gaps[gaps > 1e-3]), rtol=1e-3, atol=1e-4)


def test_resnet_ode_has_the_published_values():
    paths = CovarianceODE(ResNet(width=800, depth=100)).sample(PAIR, layers=[0, 100])
    assert paths.correlation[0, -1, 0, 1] == pytest.approx(0.4517, abs=5e-5)
    assert np.exp(paths.log_norm[0, -1]) == pytest.approx(np.e, rel=1e-12)


def test_resnet_and_shaped_mlp_are_one_ode():
    resnet = CovarianceODE(ResNet(width=800, depth=40)).sample(PAIR)
    mlp = CovarianceODE(
        MLP(width=800, depth=40, activation=ShapedReLU(c_plus=0, c_minus=-np.sqrt(2), rate="depth"))
    ).sample(PAIR)
    assert np.allclose(resnet.log_gap, mlp.log_gap, rtol=1e-12)
    assert np.allclose(mlp.log_norm, 0)


def test_ode_by_quadrature_agrees_with_the_closed_form():
    by_slopes = CovarianceODE(ResNet(width=10, depth=8, activation=LeakyReLU(slope=0.5))).sample(PAIR)
    function = Elementwise(function=f"{__name__}:leaky_half")
    by_function = CovarianceODE(ResNet(width=10, depth=8, activation=function)).sample(PAIR)
    assert np.allclose(by_slopes.log_gap, by_function.log_gap, atol=1e-5)
    assert np.allclose(by_slopes.log_norm, by_function.log_norm, atol=1e-8)


@pytest.mark.parametrize("gap", [1e-6, 1e-12, 1e-20])
def test_ode_by_quadrature_keeps_gaps_of_any_size(gap: float):
    network = ResNet(width=10, depth=20, branch="2/sqrt(depth)", activation=Elementwise(function="numpy:tanh"))
    paths = CovarianceODE(network).sample(gram(gap=gap), layers=[20])
    near = CovarianceODE(network).sample(gram(gap=1e-5), layers=[20])
    # small angles are followed linearly: the ratio to the start is the same for all of them
    assert paths.log_gap[0, 0, 0] - np.log(gap) == pytest.approx(near.log_gap[0, 0, 0] - np.log(1e-5), abs=1e-3)


@pytest.mark.slow
def test_a_limit_that_explodes_leaves_the_other_rungs():
    from deeplim.ladder import climb

    network = MLP(width=8, depth=30, activation=Elementwise(function=f"{__name__}:cubed"))
    ladder = climb(network, gram(covariance=2 * PAIR.covariance), networks=20)
    assert "leave every float" in ladder.failed["infinite-width"]
    assert "infinite-width failed for these inputs" in str(ladder)
    assert list(ladder.rungs) == ["exact"]


def cubed(x: np.ndarray) -> np.ndarray:
    return x**3


def leaky_half(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, 0.5 * x)


@pytest.mark.parametrize("activation", [ReLU(), Elementwise(function="numpy:tanh")], ids=str)
def test_infinite_width_resnet_approaches_the_ode_like_one_over_depth(activation):
    errors = []
    for depth in (10, 20, 40):
        network = ResNet(width=10, depth=depth, activation=activation)
        found = [cls(network).sample(PAIR, layers=[depth]) for cls in (CovarianceODE, InfiniteWidth)]
        errors.append(abs(found[0].correlation[0, 0, 0, 1] - found[1].correlation[0, 0, 0, 1]))
    assert 1.7 < errors[0] / errors[1] < 2.3
    assert 1.7 < errors[1] / errors[2] < 2.3


def test_infinite_width_gap_falls_like_the_inverse_square_of_depth():
    depth = 10_000
    paths = InfiniteWidth(MLP(width=10, depth=depth)).sample(PAIR, layers=[depth])
    # 1 - rho ~ 9 pi^2 / (2 l^2), up to a relative correction of order log(l) / l
    assert paths.correlation_gap[0, 0, 0] * depth**2 == pytest.approx(9 * np.pi**2 / 2, rel=5e-3)


def test_exact_resnet_agrees_with_the_ode():
    network = ResNet(width=800, depth=100)
    networks = chain.sample(network, PAIR, networks=2000, seed=1, layers=[100])
    rho = networks.correlation[:, 0, 0, 1]
    expected = CovarianceODE(network).sample(PAIR, layers=[100]).correlation[0, 0, 0, 1]
    # The limit is off by O(1/n) + O(1/d), here a few thousandths; the spread is n^(-1/2), n Var(rho) = 1.5.
    assert abs(rho.mean() - expected) < 4e-3
    assert 800 * rho.var() == pytest.approx(1.5, abs=0.2)


# The covariance SDE


def test_correlation_and_norms_have_the_published_moments():
    limit = CovarianceSDE(SHAPED)
    paths = limit.sample(PAIR, samples=100_000, seed=7, layers=[50, 100])
    rho = paths.correlation[:, -1, 0, 1]
    # Published to three digits from a simulation of its own, hence the last digit's leeway.
    assert rho.mean() == pytest.approx(0.344, abs=0.5e-3 + SIGMAS * 0.593 / np.sqrt(100_000))
    assert rho.std() == pytest.approx(0.593, abs=0.5e-3 + SIGMAS * 0.593 / np.sqrt(100_000))
    for k, t in enumerate((0.5, 1.0)):
        for i in range(2):
            assert z_of_mean(paths.log_norm[:, k, i], -t) < SIGMAS
            assert z_of_std(paths.log_norm[:, k, i], np.sqrt(2 * t)) < SIGMAS
            assert z_of_mean(np.exp(paths.log_norm[:, k, i] / 2), np.exp(-t / 4)) < SIGMAS


def test_correlation_alone_has_the_law_it_has_in_the_covariance():
    limit = CovarianceSDE(SHAPED)
    rho = limit.sample(PAIR, samples=100_000, seed=8, layers=[100]).correlation[:, 0, 0, 1]
    alone = 1 - sample_correlation(limit, 0.3, time=np.array([1.0]), samples=100_000, seed=9)[:, 0]
    assert z_of_means(rho, alone) < SIGMAS
    assert z_of_variances(rho, alone) < SIGMAS
    assert z_of_means(rho**3, alone**3) < SIGMAS


def test_linear_network_has_closed_second_moments():
    # dV = Sigma^(1/2) dB: E V is constant, and the second moments solve d M / dt = E Sigma, which is linear.
    inputs = gram(covariance=np.array([[1.0, 0.4, 0.1], [0.4, 2.0, -0.5], [0.1, -0.5, 1.5]]))
    limit = CovarianceSDE(MLP(width=100, depth=50, activation=LeakyReLU(slope=1)))
    v = limit.sample(inputs, samples=200_000, seed=10, layers=[50]).covariance[:, 0]
    start, t = inputs.covariance, 0.5
    m = np.einsum("ab,cd->abcd", start, start)
    step = t / 4000
    for _ in range(4000):
        # Heun's method on dM^{abcd} = M^{acbd} + M^{adbc}
        speed = m.transpose(0, 2, 1, 3) + m.transpose(0, 2, 3, 1)
        ahead = m + step * speed
        m = m + step / 2 * (speed + ahead.transpose(0, 2, 1, 3) + ahead.transpose(0, 2, 3, 1))
    for a in range(3):
        for b in range(3):
            assert z_of_mean(v[:, a, b], start[a, b]) < SIGMAS
            for c in range(3):
                assert z_of_mean(v[:, a, b] * v[:, c, a], m[a, b, c, a]) < SIGMAS


def test_exact_shaped_networks_agree_with_the_sde():
    network = MLP(width=400, depth=400, activation=ShapedReLU(c_plus=0, c_minus=-1))
    exact = chain.sample(network, PAIR, networks=8000, seed=3, layers=[400])
    rho = exact.correlation[:, 0, 0, 1]
    predicted = CovarianceSDE(network).sample(PAIR, samples=8000, seed=4, layers=[400])
    # The network is off by O(n^(-1/2)) = 0.05 times a constant below one half.
    assert abs(rho.mean() - predicted.correlation[:, 0, 0, 1].mean()) < 0.025
    assert abs(rho.std() - predicted.correlation[:, 0, 0, 1].std()) < 0.02
    joint = [np.corrcoef(p.log_norm[:, 0, 0], p.log_norm[:, 0, 1])[0, 1] for p in (exact, predicted)]
    assert joint[0] == pytest.approx(joint[1], abs=0.06)


# The unshaped SDE


def test_ratio_has_its_closed_form_mean_and_published_spread():
    limit = UnshapedSDE(MLP(width=100, depth=100))
    assert limit.mean_ratio(1.0) == pytest.approx(0.4793, abs=5e-5)
    assert limit.parameters["A"] == 2
    assert limit.parameters["kappa"] == pytest.approx(1 / np.pi)
    ratio = limit.sample_ratio(np.array([0.5, 1.0]), samples=100_000, seed=1)
    assert z_of_mean(ratio[:, 0], limit.mean_ratio(0.5)) < SIGMAS
    assert z_of_mean(ratio[:, 1], limit.mean_ratio(1.0)) < SIGMAS
    assert np.log(ratio[:, 1]).std() == pytest.approx(0.911, abs=0.5e-3 + SIGMAS * 0.911 / np.sqrt(2e5))
    # Over a shorter time the second moment is finite enough to sample: A = 2, m_2' = 2 k m_1 + 6 m_2 from 0.
    k, t = np.sqrt(2) / (3 * np.pi), 0.5
    second = k**2 * ((np.exp(6 * t) - np.exp(2 * t)) / 4 - (np.exp(6 * t) - 1) / 6)
    assert z_of_mean(ratio[:, 0] ** 2, second) < SIGMAS


@pytest.mark.parametrize(("n", "published"), [(100, 0.611), (200, 0.541), (400, 0.502)])
def test_exact_unshaped_networks_approach_the_limit_slowly(n: int, published: float):
    network = MLP(width=n, depth=n)
    exact = chain.sample(network, PAIR, networks=20_000, seed=5, layers=[n])
    ratio = np.exp(-exact.log_gap[:, 0, 0] / 2) / n
    # R has a heavy tail, so the mean is compared at the accuracy of the published three digits and its own error.
    assert ratio.mean() == pytest.approx(published, abs=0.005 + SIGMAS * ratio.std() / np.sqrt(20_000))
    limit = UnshapedSDE(network)
    assert limit.mean_ratio(1.0) < limit.mean_ratio(1.0, 1 / (n * np.sqrt(0.7))) < ratio.mean()
    assert "slowly" in limit.accuracy


def test_norm_and_gap_move_together_as_the_limit_says():
    network = MLP(width=400, depth=400)
    exact = chain.sample(network, PAIR, networks=8000, seed=6, layers=[400])
    predicted = UnshapedSDE(network).sample(PAIR, samples=8000, seed=7, layers=[400])
    joint = [np.corrcoef(p.log_norm[:, 0, 0], p.log_gap[:, 0, 0])[0, 1] for p in (exact, predicted)]
    assert joint[0] == pytest.approx(joint[1], abs=0.06)
    assert z_of_mean(predicted.log_norm[:, 0, 0], -2.5) < SIGMAS
    assert z_of_std(predicted.log_norm[:, 0, 0], np.sqrt(5)) < SIGMAS


def test_leaky_networks_have_their_own_constants():
    slope = 0.2
    limit = UnshapedSDE(MLP(width=300, depth=150, activation=LeakyReLU(slope=slope)))
    a = 2 * (1 + slope**4) / (1 + slope**2) ** 2
    assert limit.parameters["A"] == pytest.approx(a)
    exact = chain.sample(limit.network, PAIR, networks=8000, seed=8, layers=[150])
    log_norm = exact.log_norm[:, 0, 0]
    assert log_norm.mean() == pytest.approx(-(3 * a - 1) * 0.25, abs=0.05)
    assert log_norm.var() == pytest.approx((3 * a - 1) * 0.5, rel=0.08)
