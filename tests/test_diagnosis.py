"""Each rule of the diagnosis on exact networks: one that it must find, one that it must not, beside closed forms."""

import json
import pickle
from dataclasses import replace
from math import log, log10, sqrt

import numpy as np
import pytest
from laws import SIGMAS
from refusals import refused_as_input
from scipy.special import digamma, polygamma
from scipy.stats import binom, norm

import deeplim as dl
from deeplim.diagnosis import Diagnosis, Finding, Thresholds, UnhealthyNetwork, coordinate_check
from deeplim.diagnosis.estimates import median, spread
from deeplim.diagnosis.evidence import Evidence, change_along, streams
from deeplim.diagnosis.laws import deviations, normal_scores
from deeplim.diagnosis.remedies import try_out
from deeplim.diagnosis.subjects import layer_names
from deeplim.errors import InputError

INPUTS = dl.gram(correlation=0.3)
SHALLOW = dl.MLP(width=256, depth=6)
DEEP = dl.MLP(width=100, depth=100)
CASES = {
    "rank-collapse": DEEP,
    "decorrelation": dl.MLP(width=100, depth=60, activation=dl.Elementwise(function="tanh")),
    "norm-explodes": dl.MLP(width=100, depth=30, weight_variance=4),
    "norm-dies": dl.MLP(width=100, depth=30, weight_variance=1),
    "fluctuations": DEEP,
    "weight-variance": dl.MLP(width=100, depth=30, weight_variance=1),
    "frozen-branch": dl.ResNet(width=100, depth=60, branch="1/depth^1"),
    "branch-explodes": dl.ResNet(width=100, depth=40, branch=1),
    "dead-networks": dl.MLP(width=4, depth=20),
    "parallel-inputs": dl.MLP(width=4, depth=20),
    "exploded-networks": dl.MLP(width=50, depth=40, activation=dl.Elementwise(function="silu"), weight_variance=1e12),
}
HEALTHY = [
    SHALLOW,
    dl.MLP(width=100, depth=100, activation=dl.LeakyReLU(slope=0.87)),
    dl.ResNet(width=100, depth=60),
    dl.ResNet(width=100, depth=60, branch=0.5, skip="norm-preserving", activation=dl.LeakyReLU(slope=0.9)),
]


def one_layer(width: int) -> tuple[float, float]:
    """The mean and variance of log V'/V = log((2/n) chi^2_K), K ~ Binomial(n, 1/2), given that the layer is alive."""
    k = np.arange(1, width + 1)
    weight = binom.pmf(k, width, 0.5)
    weight /= weight.sum()
    mean = digamma(k / 2) + np.log(2 * 2 / width)
    first = float(weight @ mean)
    return first, float(weight @ (polygamma(1, k / 2) + mean**2)) - first**2


@pytest.mark.parametrize("name", CASES)
def test_each_rule_finds_its_network(name: str):
    found = dl.diagnose(CASES[name], INPUTS, networks=400)
    assert found.named(name) is not None, str(found)
    assert not name.startswith(("rank", "norm", "weight", "dead", "exploded", "parallel")) or not found.healthy


def test_one_of_a_kind_is_told_in_the_singular():
    network = dl.MLP(width=8, depth=1, weight_variance=1e4)
    found = str(dl.diagnose(network, INPUTS, networks=1))
    assert found.startswith(f"{network}: unhealthy (1 initialization, 2 inputs)\n")
    assert "by +3.70 decades over 1 layer" in found
    assert "(2 initializations, 1 input)" in str(dl.diagnose(network, np.ones((1, 4)), networks=2))
    block = dl.ResNet(width=64, depth=1, branch=100)
    assert " decades over 1 block with branches of scale 100, " in str(dl.diagnose(block, INPUTS, networks=9))
    lost = dl.diagnose(dl.MLP(width=1, depth=60), INPUTS, networks=1).named("dead-networks")
    assert lost is not None
    assert lost.measured.startswith("in 1 of 1 initialization (100%) ")


@pytest.mark.parametrize("network", HEALTHY, ids=str)
def test_healthy_networks_are_healthy(network):
    found = dl.diagnose(network, INPUTS)
    assert found.healthy, str(found)
    assert {finding.name for finding in found.findings} <= {"fluctuations"}


def test_the_spread_is_that_of_the_closed_law_of_the_norm():
    found = dl.diagnose(DEEP, INPUTS, networks=1000, seed=3)
    mean, variance = one_layer(100)
    expected = np.sqrt(100 * variance) / log(10)
    measured = found.named("fluctuations").numbers["spread"]
    # two inputs that align are nearly one, so a thousand networks have as many independent norms
    allowed = SIGMAS * expected / np.sqrt(2 * 999)
    assert abs(measured - expected) < allowed
    _, wider = one_layer(160)
    assert abs(measured - np.sqrt(100 * wider) / log(10)) > allowed
    centre = found.layers[-1].log10_norm - found.layers[0].log10_norm
    assert abs(centre - 100 * mean / log(10)) < SIGMAS * 1.2533 * expected / np.sqrt(1000)


def test_collapse_is_told_with_its_power_of_ten():
    # weights and biases of variance 1/2 and 1: the gap falls by more than sigma_w^2/2 = 1/4 a layer, to some 1e-36
    network = dl.MLP(width=200, depth=60, weight_variance=0.5, bias_variance=1.0)
    finding = dl.diagnose(network, INPUTS, networks=200).named("rank-collapse")
    assert finding.severity == "unhealthy"
    assert finding.numbers["log10_gap"] < 60 * log10(1 / 4) + 2
    assert "e-" in finding.measured


def test_remedies_name_this_width_and_depth_and_hold_on_exact_networks():
    finding = dl.diagnose(DEEP, INPUTS).named("rank-collapse")
    assert "deeplim shape --width 100 --depth 100" in finding.remedy
    slope = float(finding.remedy.split("slope ")[1].split()[0])
    shaped = dl.MLP(width=100, depth=100, activation=dl.LeakyReLU(slope=slope))
    fresh = dl.simulate(shaped, INPUTS, networks=2000, seed=11, layers=[100])
    assert np.median(fresh.log_gap[:, 0, 0]) > log(0.05)
    flatter = dl.MLP(width=100, depth=100, activation=dl.LeakyReLU(slope=slope - 0.3))
    assert try_out(flatter, log(0.7)).log_gap < log(0.05)


def test_the_width_of_the_spread_remedy_brings_it_down():
    finding = dl.diagnose(DEEP, INPUTS).named("fluctuations")
    width = int(finding.remedy.split("width of ")[1].split()[0])
    wide = dl.simulate(dl.MLP(width=width, depth=100), INPUTS, networks=1000, seed=5, layers=[100])
    assert spread(wide, 0).value == pytest.approx(0.3, rel=0.15)


def test_a_collapse_that_no_slope_prevents_says_how_wide_to_be():
    finding = dl.diagnose(dl.MLP(width=10, depth=60), INPUTS).named("rank-collapse")
    width = int(finding.remedy.split("make it ")[1].split()[0])
    assert width > 10
    assert f"--width {width} --depth 60" in finding.remedy


def test_chaos_is_told_by_chi_1_where_far_inputs_cannot_show_it():
    network = CASES["decorrelation"]
    finding = dl.diagnose(network, INPUTS).named("decorrelation")
    g = norm.ppf((np.arange(200_000) + 0.5) / 200_000)
    chi = np.mean((1 - np.tanh(g) ** 2) ** 2) / np.mean(np.tanh(g) ** 2)
    assert finding.numbers["chi_1"] == pytest.approx(chi, rel=1e-3)
    assert "sigma_w^2 = 1, the edge of chaos" in finding.remedy
    assert finding.severity == "unhealthy"
    near = dl.diagnose(network, dl.gram(gap=1e-6), networks=200).named("decorrelation")
    assert near.numbers["log10_growth"] > 3


def test_norms_that_grow_with_distances_are_no_chaos():
    # sigma_w^2 = 3 of ReLU: distances and norms grow by 3/2 a layer alike, and 1 - rho falls as in any ReLU network
    found = dl.diagnose(dl.MLP(width=128, depth=20, weight_variance=3), INPUTS, networks=200)
    assert found.named("norm-explodes") is not None
    assert found.named("decorrelation") is None


def test_inputs_that_the_network_aligned_are_not_said_to_have_come_so():
    found = dl.diagnose(dl.MLP(width=128, depth=20), INPUTS, networks=200, thresholds=Thresholds(shrunk=1000))
    finding = found.named("rank-collapse")
    assert finding.severity == "note"
    assert "nearly parallel" not in finding.measured
    assert "inputs that differ more" not in finding.remedy
    near = dl.diagnose(dl.MLP(width=128, depth=20), dl.gram(gap=0.01), networks=200).named("rank-collapse")
    assert "nearly parallel" in near.measured


@pytest.mark.parametrize("size", [1.0, 1e3])
def test_layers_that_forget_the_size_of_their_inputs_are_not_blamed_for_it(size):
    inputs = dl.gram(size * np.array([[10.0, 0.0], [5.0, 9.0]]))
    normalized = dl.diagnose(dl.MLP(width=64, depth=6, normalization="layernorm"), inputs, networks=200)
    assert not {finding.name for finding in normalized.findings} & {"norm-dies", "norm-explodes"}, str(normalized)
    # at the edge of chaos tanh's mean square falls as 1/(2 depth): by 1.1 decades, however large the inputs were
    critical = dl.MLP(width=256, depth=6, activation=dl.Elementwise(function="tanh"), weight_variance=1)
    found = dl.diagnose(critical, inputs, networks=200, thresholds=Thresholds(norm_warning=0.1))
    assert found.healthy
    assert found.named("norm-dies").numbers["decades"] == pytest.approx(-log10(12), abs=0.15)


def test_remedies_for_a_smooth_network_name_one_variance_and_a_network_that_is_healthy():
    chaotic = dl.MLP(width=100, depth=20, activation=dl.Elementwise(function="tanh"), weight_variance=6)
    found = dl.diagnose(chaotic, INPUTS, networks=200)
    factors = {f.remedy.split("weights by ")[1].split(",")[0].split(":")[0] for f in found.findings}
    assert factors == {f"{sqrt(1 / 6):.3g}"}, str(found)
    assert "--activation shaped:tanh,a=1.2`" in found.named("decorrelation").remedy
    for remedy in (
        dl.MLP(width=100, depth=20, activation=dl.Elementwise(function="tanh"), weight_variance=1),
        dl.MLP(width=100, depth=20, activation=dl.Shaped(function="tanh", a=1.2)),
    ):
        assert dl.diagnose(remedy, INPUTS, networks=200).healthy


def test_weight_variance_tells_its_consequence():
    finding = dl.diagnose(CASES["weight-variance"], INPUTS).named("weight-variance")
    assert finding.numbers["decades"] == pytest.approx(30 * log10(1 / 2))
    assert finding.numbers["factor"] == pytest.approx(2**0.5)
    assert "-9.03 decades" in finding.predicted


def test_smooth_activations_are_held_to_the_edge_of_chaos():
    tanh = dl.Elementwise(function="tanh")
    at_edge = dl.diagnose(dl.MLP(width=100, depth=60, activation=tanh, weight_variance=1), INPUTS, networks=200)
    assert at_edge.named("weight-variance") is None  # tanh's edge without biases is (1, 0)
    ordered = dl.diagnose(dl.MLP(width=100, depth=60, activation=tanh, weight_variance=0.5), INPUTS, networks=200)
    finding = ordered.named("weight-variance")
    # q* = 0, so chi_1 = sigma_w^2 once norms have died; before, E phi'^2 < 1 takes more
    assert 60 * log10(0.5) - 1 < finding.numbers["decades"] < 60 * log10(0.5) - 0.1
    assert finding.numbers["factor"] == pytest.approx(sqrt(2))
    assert finding.severity == "unhealthy"


def test_branches_grow_by_their_closed_form():
    finding = dl.diagnose(CASES["branch-explodes"], INPUTS).named("branch-explodes")
    assert finding.numbers["decades_predicted"] == pytest.approx(40 * log10(2))
    assert finding.severity == "unhealthy"
    mild = dl.diagnose(dl.ResNet(width=400, depth=40, branch="1/depth^0.3"), INPUTS, networks=200)
    grown = 40 * log10(1 + 40**-0.6)
    assert mild.named("branch-explodes").numbers["decades_predicted"] == pytest.approx(grown)
    assert mild.named("branch-explodes").severity == "warning"


def test_dead_networks_are_counted_as_they_must_die():
    found = dl.diagnose(CASES["dead-networks"], INPUTS, networks=4000, seed=2).named("dead-networks")
    # one input dies in a layer with probability 2^-n; either of two does no less often
    least = 1 - (1 - 2.0**-4) ** 20
    error = np.sqrt(least * (1 - least) / 4000)
    assert found.numbers["share"] > least - SIGMAS * error
    assert found.numbers["share"] < 2 * least + SIGMAS * error


@pytest.mark.parametrize(
    ("name", "network", "threshold"),
    [
        ("rank-collapse", SHALLOW, "nearly_aligned_gap=0.5"),
        ("norm-dies", DEEP, "norm_warning=0.01"),
        ("fluctuations", SHALLOW, "spread_warning=0.05"),
    ],
)
def test_thresholds_flip_a_verdict(name: str, network, threshold: str):
    lenient = Thresholds(nearly_aligned_gap=0.0101, spread_warning=5, spread_unhealthy=9, norm_warning=3)
    lenient = replace(lenient, aligned_gap=1e-9, nearly_aligned_gap=1e-8)
    assert dl.diagnose(network, INPUTS, networks=200, thresholds=lenient).named(name) is None
    strict = Thresholds(shrunk=1.01).changed([threshold])
    assert dl.diagnose(network, INPUTS, networks=200, thresholds=strict).named(name) is not None


def test_thresholds_refuse_what_they_cannot_be():
    assert "aligned_gap=0.001" in refused_as_input(lambda: Thresholds().changed(["aligned_gap"]))
    with pytest.raises(InputError, match="there are aligned_gap"):
        Thresholds().changed(["gap=1"])
    assert "finite number above 0" in refused_as_input(lambda: Thresholds(aligned_gap=float("nan")))
    assert "at most 1" in refused_as_input(lambda: Thresholds(false_alarm=2))
    assert "must not be below" in refused_as_input(lambda: Thresholds(norm_warning=4))


@pytest.mark.parametrize("given", [3, {"aligned_gap": 0.001}, None])
def test_what_are_no_thresholds_is_refused(given):
    for refused in (
        lambda: dl.diagnose(DEEP, INPUTS, thresholds=given),
        lambda: coordinate_check(lambda width: None, INPUTS, widths=[8, 16], thresholds=given),
    ):
        told = refused_as_input(refused)
        assert told.startswith(f"thresholds={given} was given; give deeplim.diagnosis.Thresholds(aligned_gap=0.001)")


def test_a_diagnosis_is_json_and_its_findings_come_back():
    found = dl.diagnose(CASES["dead-networks"], INPUTS, networks=200)
    plain = json.loads(found.to_json())
    assert plain == found.to_dict()
    assert tuple(Finding.from_dict(one) for one in plain["findings"]) == found.findings
    assert not plain["healthy"]
    assert dl.read_network(json.dumps(plain["network"])) == CASES["dead-networks"]
    assert all(np.isfinite(value) for one in found.findings for value in one.numbers.values())
    assert "nan" not in str(found)
    assert "inf " not in str(found)


def test_every_finding_is_told_in_sentences():
    for network in CASES.values():
        for finding in dl.diagnose(network, INPUTS, networks=60).findings:
            for sentence in filter(None, (finding.measured, finding.predicted, finding.remedy)):
                assert sentence.endswith("."), sentence
                assert "\n" not in sentence
                assert "  " not in sentence


def test_assert_healthy_names_each_finding():
    assert isinstance(dl.assert_healthy(SHALLOW, INPUTS, networks=100), Diagnosis)
    with pytest.raises(AssertionError) as caught:
        dl.assert_healthy(DEEP, INPUTS)
    assert isinstance(caught.value, UnhealthyNetwork)
    assert [finding.name for finding in caught.value.findings] == ["rank-collapse", "fluctuations"]
    assert "rank-collapse" in str(caught.value)
    assert "fluctuations" in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_paths_alone_are_diagnosed_and_deterministic_ones_have_no_spread():
    paths = dl.simulate(DEEP, INPUTS, networks=200, seed=1)
    assert dl.diagnose(paths).named("rank-collapse") is not None
    infinite = dl.limits.named("infinite-width", DEEP).sample(INPUTS, samples=1)
    found = dl.diagnose(infinite)
    assert found.named("rank-collapse") is not None
    assert found.named("fluctuations") is None
    assert "beside paths" in refused_as_input(lambda: dl.diagnose(paths, INPUTS))
    assert "no inputs" in refused_as_input(lambda: dl.diagnose(DEEP))


def test_one_input_has_norms_and_no_correlations():
    found = dl.diagnose(DEEP, dl.gram(np.ones((1, 5))), networks=200)
    assert found.named("fluctuations") is not None
    assert found.named("rank-collapse") is None
    assert found.layers[-1].gap is None


def test_inputs_that_came_parallel_are_a_note():
    found = dl.diagnose(SHALLOW, dl.gram(gap=1e-5), networks=100)
    assert found.named("rank-collapse").severity == "note"
    assert found.healthy


def test_the_interval_of_a_median_holds_it_as_often_as_it_says():
    draws = np.random.default_rng(8).standard_exponential((4000, 15))
    held = np.mean([one.low <= log(2) <= one.high for one in map(median, draws)])
    exact = 1 - 2 * binom.cdf(3, 15, 0.5)  # the fourth to the twelfth of fifteen
    assert exact > 0.95
    assert abs(held - exact) < SIGMAS * np.sqrt(exact * (1 - exact) / 4000)
    assert median(draws[0, :5]).certain


def test_streams_follow_one_part_and_change_ignores_an_odd_layer():
    names = ["stem", "h.0.fc", "h.0", "h.1.fc", "h.1", "head"]
    assert streams(names) == [[0], [1, 3], [2, 4], [5]]
    values = np.array([[0.0, -0.3, 1.0, 0.7, 2.0, 1.7, 3.0, -5.0]])
    assert change_along(values, range(8))[0] == pytest.approx(3.5, abs=0.2)
    assert change_along(values, [0, 2, 4])[0] == 2


def evidence(measured: dl.Paths, predicted: dl.Paths) -> Evidence:
    names = layer_names(measured)
    return Evidence(measured, names, measured, names, predicted=predicted)


@pytest.mark.parametrize("network", [dl.MLP(width=16, depth=30), dl.ResNet(width=32, depth=12)], ids=str)
def test_the_law_test_keeps_its_false_alarm_rate_and_sees_half_the_width(network):
    few, runs, rate = 12, 150, 0.05
    chain = dl.simulate(network, INPUTS, networks=1000, seed=21)
    drawn = {n.width: dl.simulate(n, INPUTS, networks=few * runs, seed=22) for n in (network, halved(network))}

    def alarms(paths: dl.Paths) -> float:
        parts = [slice(i * few, (i + 1) * few) for i in range(runs)]
        fields = ("log_norm", "log_gap", "alive")
        some = (replace(paths, **{name: getattr(paths, name)[part] for name in fields}) for part in parts)
        tested = [deviations(evidence(one, chain)) for one in some]
        return float(np.mean([min(one.p_value for one in found) < rate / len(found) for found in tested if found]))

    right, wrong = drawn.values()
    assert alarms(right) < rate + SIGMAS * np.sqrt(rate * (1 - rate) / runs)
    assert alarms(wrong) > 0.2


def halved(network):
    return network.model_copy(update={"width": network.width // 2})


def test_normal_scores_are_those_of_a_normal_sample():
    chain = np.random.default_rng(1).standard_normal(20_000)
    assert normal_scores(np.array([-1.0, 0.0, 1.0]), chain) == pytest.approx([-1, 0, 1], abs=0.05)
    assert np.isfinite(normal_scores(np.array([-99.0, 99.0]), chain)).all()
