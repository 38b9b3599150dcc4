"""The design problem: closed forms, the promise kept by networks with no say, and controls that must fail."""

import json
from dataclasses import replace
from functools import lru_cache
from math import log, sqrt

import numpy as np
import pytest
from laws import SIGMAS
from scipy.stats import binomtest, norm
from tiers import slow

import deeplim as dl
from deeplim.activations import Elementwise, Transformed
from deeplim.architecture import NORM_PRESERVING, Network
from deeplim.errors import InputError, LimitError, SpecError
from deeplim.limits.laws import pair_density, shaped_relu_drift
from deeplim.shaping.design import _Draws, infinite_width
from deeplim.shaping.infinite_width import tat_slope
from deeplim.shaping.search import Share, largest_inside
from deeplim.shaping.shaping import Shaping
from deeplim.shaping.variation import variation

SQUARE = dl.MLP(width=100, depth=100)
TARGET = dl.Target(correlation=0.95, quantile=0.75)


def inside(network: Network, target: dl.Target, *, networks: int = 10_000, seed: int = 5_000) -> float:
    """The share of networks that keep a target, by the definition and not by margins."""
    paths = dl.simulate(network, target.inputs, networks=networks, seed=seed, layers=[0, network.depth])
    kept = paths.alive[:, -1] & (paths.correlation[:, -1, 0, 1] <= target.correlation)
    if target.norm_within is not None:
        moved = np.abs(paths.log_norm[:, -1] - paths.log_norm[:, 0]).max(axis=1)
        kept &= moved <= log(target.norm_within)
    return float(kept.mean())


def sigmas(share: float, expected: float, networks: int = 10_000) -> float:
    return (share - expected) / sqrt(expected * (1 - expected) / networks)


@lru_cache
def square() -> Shaping:
    return dl.shape(SQUARE, TARGET)


def test_the_promise_is_kept_by_fresh_networks_and_not_at_infinite_width():
    found = square()
    assert found.feasible
    # 5 sigma of 10,000 networks, and a standard error of the 20,000 that moved the root, which is to the safe side
    share = inside(found.network, TARGET)
    assert -SIGMAS < sigmas(share, 0.75) < SIGMAS + 2
    low, high = found.interval
    assert low < 0.75 < high
    # the control: TAT's condition at the same bound
    assert sigmas(inside(found.infinite_width_network, TARGET), 0.75) < -20
    assert found.infinite_width_law.probability.value < 0.5


def test_it_is_the_most_nonlinear_one():
    found = square()
    steeper = found.network.model_copy(update={"activation": dl.LeakyReLU(slope=found.value - 0.03)})
    assert sigmas(inside(steeper, TARGET), 0.75) < -SIGMAS


def test_the_laws_told_are_those_of_networks():
    found = square()
    paths = dl.simulate(found.network, TARGET.inputs, networks=10_000, seed=9, layers=[0, 100])
    for told, values in (
        (found.law.correlation, paths.correlation[:, -1, 0, 1]),
        (found.law.log10_norm, paths.log_norm[:, -1, 0] / log(10)),
    ):
        for level, quantile in zip((0.05, 0.5, 0.95), told, strict=True):
            assert abs(sigmas(float((values <= quantile).mean()), level)) < SIGMAS * sqrt(2)


def test_the_same_seed_is_the_same_answer_and_another_seed_agrees():
    network, target = dl.MLP(width=64, depth=32), dl.Target(quantile=0.6)
    found, again, other = (dl.shape(network, target, networks=1000, seed=seed) for seed in (0, 0, 1))
    assert replace(again, seconds=0.0) == replace(found, seconds=0.0)
    assert found.law != other.law
    # a standard error of the share, 0.011 of 2,000 networks, is 0.007 of the slope
    assert other.value == pytest.approx(found.value, abs=SIGMAS * sqrt(2) * 0.007)


def test_the_linear_network_has_the_law_of_its_sde():
    linear = SQUARE.model_copy(update={"width": 200, "depth": 100, "activation": dl.LeakyReLU(slope=1)})
    for bound in (0.5, 0.9):
        law = pair_density(shaped_relu_drift(0.0), 1.0, time=0.5)
        target = dl.Target(correlation=bound)
        assert abs(sigmas(inside(linear, target), law.cdf(bound))) < SIGMAS
        # the control: the SDE of twice the depth
        wrong = pair_density(shaped_relu_drift(0.0), 1.0, time=1.0)
        assert abs(sigmas(inside(linear, target), wrong.cdf(bound))) > SIGMAS


def test_more_nonlinear_networks_are_inside_less_often():
    # In law: dX = [gamma nuhat + ...] dt + noise, and nuhat >= 0, so paths are ordered in gamma (comparison theorem).
    shares = [pair_density(shaped_relu_drift(gamma), 1.0, time=1.0).cdf(0.9) for gamma in (0.0, 0.1, 0.3, 1.0, 3.0)]
    assert all(np.diff(shares) < 0)
    # In networks, with the same random numbers.
    draws = _Draws(variation(SQUARE), TARGET, 4000, 3)
    counts = np.array([draws.inside(x).value for x in np.linspace(0, 1, 9)])
    assert all(np.diff(counts) < SIGMAS * sqrt(0.5 / 4000))
    assert square().monotone


def test_the_quantile_is_continuous_in_the_slope():
    draws = _Draws(variation(SQUARE), TARGET, 1000, 3)
    near = draws.margin(0.3 + 1e-6) - draws.margin(0.3)
    assert 0 < near < 1e-4


@pytest.mark.parametrize("network", [dl.MLP(width=1, depth=60), dl.MLP(width=1, depth=150)], ids=str)
def test_infinite_width_is_tat(network):
    assert infinite_width(network, dl.Target()).activation.slope == pytest.approx(tat_slope(network), abs=1e-11)


def test_infinite_width_is_tat_in_a_resnet_and_from_other_starts():
    network = dl.ResNet(width=1, depth=60, skip=NORM_PRESERVING, branch=0.5)
    for target in (dl.Target(correlation=0.6), dl.Target(correlation=0.7, start=0.3)):
        found, exact = infinite_width(network, target), tat_slope(network, eta=target.correlation, start=target.start)
        assert found.activation.slope == pytest.approx(exact, abs=1e-11)
    # ReLU itself where nothing more is needed
    assert infinite_width(dl.MLP(width=1, depth=5), dl.Target()).activation.slope == 0


def test_wide_networks_tend_to_tat():
    target, exact = dl.Target(correlation=0.7), tat_slope(dl.MLP(width=1, depth=20), eta=0.7)
    apart = [dl.shape(dl.MLP(width=width, depth=20), target, networks=2000).value - exact for width in (200, 800, 3200)]
    # the fluctuation of rho, of which the quantile takes 1.28, falls like width^(-1/2)
    assert apart[0] > apart[1] > apart[2] > 0
    for near, far in zip(apart[1:], apart, strict=False):
        assert near / far == pytest.approx(1 / 2, abs=0.12)


def test_at_the_median_wide_networks_are_tat_within_the_sampling_error():
    target, width, networks = dl.Target(correlation=0.7, quantile=0.5), 3200, 2000
    network = dl.MLP(width=width, depth=20)
    found = dl.shape(network, target, networks=networks)
    exact = tat_slope(network, eta=0.7)
    step = 0.01
    steeper = infinite_width(network, dl.Target(correlation=0.7 + step)).activation.slope
    # rho at the end has a deviation s; the median of 2 networks has an error of 1.25 s / sqrt(2 networks)
    ends = dl.simulate(found.network, target.inputs, networks=1000, seed=8, layers=[20]).correlation[:, 0, 0, 1]
    error = 1.25 * ends.std() / sqrt(2 * networks) * (exact - steeper) / step
    assert abs(found.value - exact) < (SIGMAS + 1) * error
    assert abs(found.value - exact) > 0


@pytest.mark.parametrize(
    ("network", "vary", "target"),
    [
        (dl.ResNet(width=64, depth=30), "branch", dl.Target(correlation=0.5, quantile=0.9, norm_within=3)),
        (dl.ResNet(width=64, depth=30, branch=0.5), "slope", dl.Target(correlation=0.85, quantile=0.8)),
        slow(
            dl.ResNet(width=64, depth=20, skip=NORM_PRESERVING, branch=0.5, activation=Elementwise(function="tanh")),
            "curvature",
            dl.Target(correlation=0.6, quantile=0.8),
        ),
        (dl.MLP(width=64, depth=20, activation=Elementwise(function="silu")), "scale", dl.Target(norm_within=8)),
        (
            dl.MLP(width=64, depth=30, activation=dl.ShapedReLU()),
            None,
            dl.Target(quantile=0.7, norm_within=20, start=0.5),
        ),
        (
            dl.MLP(width=64, depth=20, normalization="rmsnorm", placement="after-activation"),
            None,
            dl.Target(quantile=0.8),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_whatever_is_varied_the_promise_is_kept(network, vary, target):
    found = dl.shape(network, target, vary=vary, networks=3000)
    assert found.feasible
    assert not found.most_nonlinear
    q = target.quantile
    assert -SIGMAS < sigmas(inside(found.network, target), q) < SIGMAS + 6
    assert inside(found.infinite_width_network, target) < q
    x = {"branch": found.network.branch_scale} if vary == "branch" else {}
    assert str(found.network) in str(found)
    assert all(value == pytest.approx(found.dictionary[name]) for name, value in x.items())


def test_a_target_too_tight_is_infeasible_and_told_a_width_that_is_not():
    target = dl.Target(correlation=0.9, quantile=0.95)
    found = dl.shape(dl.MLP(width=64, depth=64), target, networks=4000)
    assert not found.feasible
    assert found.network.activation.slope == 1
    assert found.interval[1] < 0.95
    wide = found.least_width
    assert 64 < wide.width < 128
    assert wide.inside.interval[1] >= 0.95
    linear = found.network
    assert sigmas(inside(linear.model_copy(update={"width": wide.width}), target), 0.95) > -SIGMAS
    assert sigmas(inside(linear.model_copy(update={"width": round(wide.width * 0.7)}), target), 0.95) < -SIGMAS
    assert f"about {wide.width}" in str(found)
    assert dl.shape(dl.MLP(width=wide.width + 20, depth=64), target, networks=2000).feasible


def test_norms_alone_can_make_a_target_infeasible():
    found = dl.shape(
        dl.MLP(width=64, depth=64), dl.Target(correlation=0.999, quantile=0.9, norm_within=2), networks=1000
    )
    assert not found.feasible
    assert found.least_width.width > 200


def test_the_least_width_of_what_is_too_large_to_draw_is_the_limits():
    from deeplim.shaping.feasibility import least_width

    linear = dl.MLP(width=500, depth=2000, activation=dl.LeakyReLU(slope=1))
    wide = least_width(linear, dl.Target(), 1000, 1)
    assert wide.inside is None
    law = dl.limits.law(dl.limits.find(linear.model_copy(update={"width": wide.width}))[0], dl.gram(correlation=0.0))
    assert law.cdf(0.9) == pytest.approx(0.9, abs=1e-3)
    # branches that shrink with depth freeze, and no SDE speaks of them
    assert least_width(dl.ResNet(width=8, depth=8, activation=dl.LeakyReLU(slope=1)), dl.Target(), 100, 1) is None


def test_reports_are_json_without_nan():
    for found in (square(), dl.shape(dl.MLP(width=16, depth=40), dl.Target(quantile=0.95), networks=200)):
        again = json.loads(json.dumps(found.to_dict(), allow_nan=False))
        assert again["feasible"] == found.feasible
        assert again["finite_width"]["probability"] == found.probability
        assert dl.read_network(json.dumps(again["finite_width"]["network"])) == found.network


def test_the_dictionary_names_the_same_network():
    found = square()
    words = found.dictionary
    shaped = dl.ShapedReLU(c_plus=0, c_minus=words["c_minus"])
    assert shaped.slopes(100, 100) == pytest.approx((1, found.value))
    assert words["sigma_w^2"] == pytest.approx(2 / (1 + found.value**2))
    assert words["gamma T"] == pytest.approx(words["c_minus"] ** 2 / (2 * np.pi) * 100 / 100)


def test_margins_are_zero_at_the_bounds():
    paths = dl.simulate(SQUARE, dl.gram(correlation=0.0), networks=2, layers=[0, 100])
    gap = np.log(np.array([0.05, 0.3]))
    moved = np.zeros((2, 2, 2))
    moved[1, 1, 0] = log(3.0)
    made = replace(paths, log_gap=np.stack([gap, gap], axis=1)[..., None], log_norm=moved)
    alone = dl.Target(correlation=0.95).margins(made)
    assert alone[0] == pytest.approx(0, abs=1e-12)
    assert alone[1] == pytest.approx(np.arctanh(0.7) - np.arctanh(0.95))
    assert dl.Target(correlation=0.95, norm_within=3).margins(made)[1] == pytest.approx(0, abs=1e-12)
    assert dl.Target(correlation=0.95, norm_within=2).margins(made)[1] == pytest.approx(log(1.5) / 2)
    lost = replace(made, alive=np.zeros((2, 2), dtype=bool), log_gap=np.full_like(made.log_gap, np.nan))
    assert dl.Target().margins(lost).tolist() == [50, 50]
    parallel = replace(made, log_gap=np.full_like(made.log_gap, -np.inf))
    assert dl.Target().margins(parallel).tolist() == [50, 50]


def test_largest_inside_finds_roots():
    for root in (1e-3, 0.2, 0.97):
        for guess in (0.01, 0.5, 1.0):
            assert largest_inside(lambda x, r=root: x - r, guess, 1e-12) == pytest.approx(root, rel=1e-9)
    assert largest_inside(lambda x: -1.0, 0.5, 1e-9) == 1
    assert largest_inside(lambda x: 1.0, 0.5, 1e-9) is None
    assert largest_inside(lambda x: x, 0.5, 1e-9) == pytest.approx(0, abs=1e-4)
    # inside only between 0.3 and 0.6, and not at 0
    assert largest_inside(lambda x: (x - 0.3) * (x - 0.6), 0.5, 1e-9) == pytest.approx(0.6)


def test_intervals_are_clopper_and_pearsons():
    for count, total in ((0, 20), (7, 20), (20, 20), (7512, 10_000)):
        expected = binomtest(count, total).proportion_ci(0.99, method="exact")
        assert Share(count, total).interval == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_bad_targets_and_requests_are_refused():
    with pytest.raises(SpecError, match="start"):
        dl.Target(correlation=0.3, start=0.4)
    with pytest.raises(SpecError, match=r"0\.01 to 0\.999"):
        dl.Target(quantile=1.0)
    with pytest.raises(SpecError, match="norm_within"):
        dl.Target(norm_within=1.0)
    with pytest.raises(InputError, match="Target"):
        dl.shape(SQUARE, 0.9)
    with pytest.raises(InputError, match="MLP"):
        dl.shape("relu", TARGET)
    with pytest.raises(InputError, match="100 at least"):
        dl.shape(SQUARE, TARGET, networks=50)
    tanh = SQUARE.model_copy(update={"activation": Elementwise(function="tanh")})
    for network, vary, word in (
        (SQUARE, "depth", "must be one of"),
        (SQUARE, "branch", "ResNet"),
        (SQUARE, "scale", "slopes"),
        (tanh, "slope", "smooth"),
        (dl.ResNet(width=4, depth=4, skip=0), "branch", "no skip"),
    ):
        with pytest.raises(SpecError, match=word):
            dl.shape(network, TARGET, vary=vary)
    with pytest.raises(LimitError, match="norm-preserving"):
        dl.shape(dl.ResNet(width=4, depth=4, activation=Transformed(function="tanh")), TARGET)


def test_given_variances_are_set_anew():
    given = dl.MLP(width=64, depth=20, weight_variance=1.0, bias_variance=0.1)
    found = dl.shape(given, dl.Target(quantile=0.7), networks=400)
    assert found.network.critical
    assert found.network == dl.shape(dl.MLP(width=64, depth=20), dl.Target(quantile=0.7), networks=400).network


def test_a_share_below_the_quantile_is_told_as_not_told_apart_from_it():
    """85 of 100 may be of 0.87, and are said to be no more than that; 850 of 1000 may be, and 85,000 of 100,000 not."""
    found = dl.shape(dl.MLP(width=50, depth=60), dl.Target(quantile=0.87), networks=100)
    assert Share(850, 1000).interval[1] > 0.87 > Share(85_000, 100_000).interval[1]
    for kept, told in ((85, True), (87, False)):
        counted = replace(found, feasible=True, law=replace(found.law, probability=Share(kept, 100)))
        assert ("So many cannot tell that from 0.87." in str(counted)) == told


def test_a_chaotic_answer_is_called_so_and_a_shaped_one_is_not() -> None:
    chaotic = dl.shape(
        dl.MLP(width=50, depth=30, activation=dl.Elementwise(function="tanh")), dl.Target(), networks=200
    )
    g = norm.ppf((np.arange(200_000) + 0.5) / 200_000)
    chi = np.mean((1 - np.tanh(g) ** 2) ** 2) / np.mean(np.tanh(g) ** 2)
    assert chaotic.neighbours == pytest.approx(chi**30, rel=1e-3)
    assert "It is chaotic" in str(chaotic)
    assert chaotic.to_dict()["neighbours"] == chaotic.neighbours
    slopes = dl.shape(dl.MLP(width=50, depth=10), dl.Target(quantile=0.75), networks=200)
    assert slopes.neighbours is None
    assert "chaotic" not in str(slopes)
