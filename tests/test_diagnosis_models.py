"""The diagnosis of real PyTorch models, beside closed forms and beside the exact networks that they are read as."""

import copy
import json
import sys
from math import erf, log, log10, sqrt
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from diagnosed import linear, mlp, residual
from laws import SIGMAS
from refusals import refused_as_input
from scipy.stats import norm
from test_diagnosis import one_layer

import deeplim as dl
from deeplim.cli import main
from deeplim.cli.terminal import UNHEALTHY
from deeplim.diagnosis import UnhealthyNetwork, branch_exponent, coordinate_check

torch = pytest.importorskip("torch")
X = np.random.default_rng(0).standard_normal((4, 24)).astype(np.float32)


pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_deep_narrow_relu_network_collapses_and_fluctuates():
    found = dl.diagnose(lambda: mlp(100, 100), X[:2], gradients=False, networks=1000)
    assert not found.healthy
    assert found.named("law-mismatch") is None
    collapse, fluctuations = found.named("rank-collapse"), found.named("fluctuations")
    assert collapse.severity == "unhealthy"
    assert collapse.numbers["log10_gap"] < -2
    assert "deeplim shape --width 100 --depth 100" in collapse.remedy
    expected = sqrt(100 * one_layer(100)[1]) / log(10)
    assert fluctuations.numbers["spread_predicted"] == pytest.approx(expected, rel=SIGMAS / sqrt(2 * 999))
    assert fluctuations.numbers["spread"] == pytest.approx(expected, rel=SIGMAS / sqrt(2 * 31))
    assert fluctuations.numbers["spread_high"] > fluctuations.numbers["spread"] > 0.3


def test_a_healthy_model_is_healthy_and_has_the_law_it_seems_to_have():
    found = dl.assert_healthy(lambda: mlp(128, 5), X, networks=500)
    assert found.findings == ()
    assert found.evidence.network == dl.MLP(width=128, depth=5)
    assert found.to_dict()["reading"] == "read as MLP, relu, width 128, depth 5"
    assert [layer.layer for layer in found.layers] == ["input", "1", "3", "5", "7", "9"]


def test_activations_in_code_have_exact_networks_beside_them_too():
    class Functional(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.maps = torch.nn.ModuleList([linear(64 if layer else 24, 64) for layer in range(6)])
            self.readout = linear(64, 10, 1.0)

        def forward(self, x):
            for each in self.maps:
                x = torch.relu(each(x))
            return self.readout(x)

    for subject in (Functional, Functional()):
        found = dl.diagnose(subject, X, networks=200)
        assert found.evidence.network == dl.MLP(width=64, depth=6)
        assert found.evidence.predicted is not None
        assert found.named("law-mismatch") is None
        assert [layer.layer for layer in found.layers][:3] == ["input", "relu", "relu#2"]


def test_wrong_weights_are_named_with_gradients_and_their_factor():
    found = dl.diagnose(lambda: mlp(64, 24, variance=1.0), X)
    weights, gradient = found.named("weight-variance"), found.named("gradient-dies")
    error = weights.numbers["variance_error"]
    assert weights.numbers["variance"] == pytest.approx(1.0, abs=SIGMAS * error)
    assert weights.numbers["factor"] == pytest.approx(sqrt(2), abs=SIGMAS * error)
    assert weights.measured.endswith(f"; of the Linear layers module {weights.where} is farthest from critical.")
    assert gradient.numbers["decades_predicted"] == pytest.approx(23 * log10(1 / 2))
    # the median falls behind the mean by the fluctuations, -5/2 depth/width
    allowed = 0.4 * 23 * 5 / 2 / 64 / log(10) + SIGMAS * 1.2533 * sqrt(5 * 23 / 64 / 32) / log(10)
    expected = 23 * (log10(1 / 2) - 5 / 2 / 64 / log(10))
    assert gradient.numbers["decades"] == pytest.approx(expected, abs=allowed)
    assert dl.diagnose(lambda: mlp(64, 24), X).named("gradient-dies") is None


@pytest.mark.slow
def test_gradients_at_the_edge_of_chaos_are_predicted_by_norms_that_have_not_settled():
    """tanh at sigma_w^2 = 1: chi_1 = 1, and yet gradients die, for norms are on their way to 0 and E phi'^2 < 1."""
    thresholds = dl.diagnosis.Thresholds(gradient_warning=0.5)
    found = dl.diagnose(lambda: mlp(128, 40, 1.0, torch.nn.Tanh), X, repeats=24, networks=100, thresholds=thresholds)
    gradient, evidence = found.named("gradient-dies"), found.evidence
    g = norm.ppf((np.arange(100_000) + 0.5) / 100_000)
    # from the last activation back to the first one, which comes after the first of these preactivations
    q, expected = np.mean(np.tanh(10 ** (evidence.norm_at(0).value / 2) * g) ** 2), 0.0
    for _ in range(39):
        z = np.tanh(np.sqrt(q) * g)
        q, expected = np.mean(z**2), expected + log10(np.mean((1 - z**2) ** 2))
    assert gradient.numbers["decades_predicted"] == pytest.approx(expected, abs=1e-3)
    # as for ReLU, whose fluctuations are larger: half their variance and their error
    allowed = 39 * 5 / 2 / 128 / log(10) + SIGMAS * 1.2533 * sqrt(5 * 39 / 128 / 24) / log(10)
    assert gradient.numbers["decades"] == pytest.approx(expected, abs=allowed)
    assert expected < -0.8


def test_the_law_of_cloned_layers_is_not_that_of_their_architecture():
    # copy.deepcopy of one layer, again and again: each looks right, and together they are a power of one matrix
    def cloned():
        hidden = linear(48, 48)
        layers = [module for _ in range(20) for module in (copy.deepcopy(hidden), torch.nn.ReLU())]
        return torch.nn.Sequential(linear(24, 48), torch.nn.ReLU(), *layers, linear(48, 10))

    finding = dl.diagnose(cloned, X, gradients=False).named("law-mismatch")
    assert finding is not None
    assert finding.numbers["p_value"] < finding.numbers["false_alarm"] / finding.numbers["tests"]
    assert dl.diagnose(lambda: mlp(48, 21), X, gradients=False).named("law-mismatch") is None


def test_dead_units_are_as_many_as_a_negative_bias_makes():
    def biased(bias):
        return torch.nn.Sequential(linear(24, 400, 1.0, bias), torch.nn.ReLU(), linear(400, 10))

    one = X[:1] / np.sqrt(np.mean(X[:1] ** 2))
    finding = dl.diagnose(lambda: biased(-1.5), one, gradients=False).named("dead-units")
    share = (1 + erf(1.5 / sqrt(2))) / 2
    assert finding.severity == "unhealthy"
    assert finding.where == "1"
    assert finding.numbers["share"] == pytest.approx(share, abs=SIGMAS * 1.2533 * sqrt(share * (1 - share) / 400 / 32))
    assert dl.diagnose(lambda: biased(0.0), X, gradients=False).named("dead-units") is None


def test_rounding_is_announced_and_goes_away_in_double_precision():
    def collapsing():
        layers = [module for _ in range(40) for module in (linear(64, 64, 0.5, 1.0), torch.nn.ReLU())]
        return torch.nn.Sequential(linear(24, 64), *layers)

    found = dl.diagnose(collapsing, X, repeats=8, gradients=False)
    assert found.named("rounding") is not None
    assert found.named("rank-collapse").severity == "unhealthy"
    double = dl.diagnose(lambda: collapsing().double(), X, repeats=8, gradients=False)
    assert double.named("rounding") is None
    assert double.named("rank-collapse").numbers["log10_gap"] < -15


@pytest.mark.parametrize(
    ("scale", "name"),
    [(1.0, "branch-explodes"), (1 / 30, "frozen-branch"), (30**-0.5, None), (0.0, "frozen-branch")],
)
def test_residual_branches(scale, name):
    found = dl.diagnose(lambda: residual(30, scale), X, repeats=12, gradients=False)
    names = {finding.name for finding in found.findings} & {"branch-explodes", "frozen-branch"}
    assert names == ({name} if name else set()), str(found)
    assert found.healthy == (name != "branch-explodes")


def test_layers_that_are_not_a_chain_are_followed_part_by_part():
    encoder = torch.nn.TransformerEncoderLayer(32, 2, 64, batch_first=True, norm_first=True)
    tokens = np.random.default_rng(3).standard_normal((3, 5, 32)).astype(np.float32)
    found = dl.diagnose(lambda: torch.nn.TransformerEncoder(copy.deepcopy(encoder), 3), tokens, repeats=4, per="token")
    assert found.evidence.network is None
    assert found.to_dict()["reading"].startswith("no known architecture")
    assert found.healthy, str(found)


def test_a_failing_test_suite_reads_what_is_wrong():
    with pytest.raises(UnhealthyNetwork, match="norm-dies"):
        dl.assert_healthy(lambda: mlp(64, 24, variance=1.0), X, repeats=8)


def scaled(power):
    """An MLP whose readout's weights have the standard deviation width^power."""

    def of_width(width):
        model = mlp(width, 2)
        torch.nn.init.normal_(model[-1].weight, std=float(width) ** power)
        return model

    return of_width


def test_the_coordinate_check_finds_the_power_of_the_width():
    found = coordinate_check(scaled(0.0), X, widths=[32, 64, 128, 256], repeats=8)
    *hidden, last = found.modules
    assert last.module == "4"
    assert last.verdict == "grows with width"
    assert abs(last.power.value - 0.5) < SIGMAS * last.power.error
    assert abs(last.rms_power.value - 0.5) < SIGMAS * last.rms_power.error
    assert all(abs(one.power.value) < SIGMAS * one.power.error + 0.05 for one in hidden)
    assert found.failing == (last,)
    gaussian = hidden[0]
    ratio = np.array(gaussian.absolute) / np.array(gaussian.root_mean_square)
    assert ratio == pytest.approx(sqrt(2 / np.pi), rel=0.1)
    small = coordinate_check(scaled(-1.0), X, widths=[32, 64, 128, 256], repeats=8).modules[-1]
    assert small.verdict == "shrinks with width"


def test_steps_of_training_are_the_users_and_show_what_initialization_does_not():
    def step(model):
        loss = (model(torch.as_tensor(X)) - 1).square().mean()
        model.zero_grad()
        loss.backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 0.5 * parameter.grad

    widths = [32, 64, 128, 256]
    found = coordinate_check(scaled(-0.5), X, widths=widths, repeats=4, step=step, steps=1, modules=["4"])
    before, after = found.modules
    assert (before.step, after.step) == (0, 1)
    assert before.verdict != "grows with width"
    assert after.verdict == "grows with width"  # standard parametrization: the update of the readout is of order width
    assert "at initialization and after 1 step, " in str(found)
    assert "step= and steps=" in refused_as_input(lambda: coordinate_check(scaled(0), X, widths=widths, step=step))
    for steps in (-1, "one", 1.5, True):
        assert "a whole number" in refused_as_input(
            lambda steps=steps: coordinate_check(scaled(0), X, widths=widths, step=step, steps=steps)
        )
    for untold in (3, "sgd"):
        assert f"step={untold!r} was given; give a function" in refused_as_input(
            lambda untold=untold: coordinate_check(scaled(0), X, widths=widths, step=untold, steps=1)
        )


def test_a_step_that_raises_is_told_with_its_width():
    def step(model):
        if model[0].out_features == 32:
            raise KeyError("no labels")

    told = refused_as_input(lambda: coordinate_check(scaled(0), X, widths=[16, 32, 64], repeats=2, step=step, steps=1))
    assert "failed at width 32 (KeyError: 'no labels')" in told
    assert "two or more different" in refused_as_input(lambda: coordinate_check(scaled(0), X, widths=[8]))


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_the_exponent_of_branches_is_measured(alpha):
    found = branch_exponent(lambda depth: residual(depth, depth**-alpha), X, depths=[4, 8, 16, 32])
    assert abs(found.alpha.value - alpha) < SIGMAS * found.alpha.error
    assert found.alpha.error < 0.02
    assert found.verdict.startswith({0.0: "below", 0.5: "1/2", 1.0: "above"}[alpha])


def test_what_has_no_branches_has_no_exponent():
    assert "no residual branches" in refused_as_input(lambda: branch_exponent(lambda d: mlp(32, d), X, depths=[2, 4]))
    zero = refused_as_input(lambda: branch_exponent(lambda d: residual(d, 0.0), X, depths=[2, 4]))
    assert "adds nothing" in zero
    short = refused_as_input(
        lambda: branch_exponent(lambda d: residual(d, 1.0), X, depths=[2, 4], stream=lambda model: ["0"])
    )
    assert "at depth 2 the stream leaves 1 module; name two or more" in short


SOURCE = """
import torch

def make():
    layers = []
    for _ in range(40):
        layers.append(torch.nn.Linear(64, 64))
        torch.nn.init.kaiming_normal_(layers[-1].weight, nonlinearity="relu")
        torch.nn.init.zeros_(layers[-1].bias)
        layers.append(torch.nn.ReLU())
    return torch.nn.Sequential(*layers)

def shallow():
    return torch.nn.Sequential(*make()[:6])

def images():
    return torch.nn.Sequential(torch.nn.Conv2d(1, 16, 3), torch.nn.ReLU())

def tokens():
    return torch.nn.Embedding(16, 8)
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch):
    name = f"model_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    yield name
    sys.modules.pop(name, None)


def probe(*words: str):
    return CliRunner().invoke(main, ["probe", *words])


def test_the_command_probes_and_exits_by_what_it_finds(here, tmp_path: Path):
    sick = probe(f"{here}:make", "--inputs", "digits", "--repeats", "12", "--output", "paths.npz", "--json")
    assert sick.exit_code == UNHEALTHY
    found = json.loads(sick.stdout)
    assert not found["healthy"]
    assert found["network"]["depth"] == 40
    saved = dl.Paths.load(tmp_path / "paths.npz")
    assert saved.layer_names[0] == "input"
    assert saved.modules.features.tolist() == [64] * 81
    assert saved.modules.silent.shape == saved.modules.absolute.shape == (12, 81)
    assert saved.named(["0", "1"]).modules.silent[:, 0].max() == 0 < saved.named(["0", "1"]).modules.silent[:, 1].min()
    well = probe(f"{here}:shallow", "--inputs", "digits", "--repeats", "8", "--no-gradients")
    assert well.exit_code == 0, well.output
    assert "healthy (8 initializations, 10 inputs)" in well.stdout
    assert "exact: 1 - rho" in well.stdout
    flipped = [f"--threshold={one}" for one in ("nearly_aligned_gap=1.5", "aligned_gap=1.5", "shrunk=1.01")]
    assert probe(f"{here}:shallow", "--inputs", "digits", "--repeats", "8", *flipped).exit_code == UNHEALTHY


def test_the_command_reshapes_images_and_keeps_tokens(here):
    images = probe(f"{here}:images", "--inputs", "digits", "--shape", "1,8,8", "--repeats", "8", "--no-gradients")
    assert images.exit_code == 0, images.output
    np.save("tokens.npy", np.arange(12).reshape(3, 4))
    drawn = ("--figure", "layers.svg")
    assert probe(f"{here}:images", "--inputs", "digits", "--shape", "1,8,8", "--repeats", "4", *drawn).exit_code == 0
    assert "<svg" in Path("layers.svg").read_text()
    words = ("--inputs", "tokens.npy", "--tokens", "--per", "token", "--repeats", "8", "--no-gradients")
    tokens = probe(f"{here}:tokens", *words)
    assert tokens.exit_code == 0, tokens.output


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("{}:nothing", "--inputs", "digits"), "has no attribute"),
        (("{}", "--inputs", "digits"), "names no function of a module; give PACKAGE.MODULE:FUNCTION"),
        (("{}:images", "--inputs", "digits"), "could not run the inputs"),
        (("{}:images", "--inputs", "digits", "--shape", "1,8,9"), "whose product is that"),
        (("{}:images", "--inputs", "missing.npy"), "could not be read"),
        (("{}:make", "--inputs", "digits", "--threshold", "gap=1"), "there is no threshold"),
        (("{}:make", "--inputs", "digits", "--output", "no/where.npz"), "does not exist"),
        (("{}:tokens", "--inputs", "halves.npy", "--tokens"), "no tokens"),
    ],
)
def test_the_command_refuses_in_one_sentence(here, words, told):
    np.save("halves.npy", np.full((2, 2), 0.5))
    result = probe(*(word.format(here) for word in words))
    assert result.exit_code == 2, result.output
    assert told in " ".join(result.output.split())
    assert "Traceback" not in result.output


def test_sequences_that_share_weights_are_one_initialization():
    tokens = np.random.default_rng(5).standard_normal((6, 4, 24)).astype(np.float32)

    def make():
        return mlp(64, 3)

    found = dl.diagnose(make, tokens, repeats=8, per="token", gradients=False)
    assert found.evidence.measured.samples == 48
    assert found.evidence.initializations == 8
    assert found.to_dict()["initializations"] == 8
    one = found.evidence.gap_at(2)
    each = np.median(found.evidence.measured.log_gap[:, 2].reshape(8, -1), axis=1)
    assert min(each) - 0.2 < one.low <= one.value <= one.high < max(each) + 0.2


def test_batches_of_an_iterator_are_gone_through_again():
    batches = (X[i : i + 2] for i in range(0, 4, 2))
    found = dl.diagnose(lambda: mlp(64, 3), batches, repeats=8)
    assert found.evidence.measured.inputs == 4
    assert found.evidence.backward is not None
    assert found.evidence.network == dl.MLP(width=64, depth=3)


def test_rounding_is_no_mismatch_of_laws():
    # weights and biases of PyTorch's own making: the gap falls sixfold a layer, past what single precision resolves
    def collapsing():
        layers = [module for _ in range(18) for module in (torch.nn.Linear(96, 96), torch.nn.ReLU())]
        return torch.nn.Sequential(torch.nn.Linear(24, 96), torch.nn.ReLU(), *layers, torch.nn.Linear(96, 10))

    found = dl.diagnose(collapsing, X, gradients=False)
    assert found.named("rounding") is not None
    assert found.named("law-mismatch") is None, str(found)
    assert found.evidence.network.gain == pytest.approx(1 / 3)
