"""Remedies for PyTorch models mend what was found, and what begins at zero needs none."""

from dataclasses import replace
from math import sqrt

import numpy as np
import pytest
from diagnosed import linear, mlp, residual

import deeplim as dl
from deeplim.diagnosis.remedies import for_gradient, for_norm, for_spread, shape_command

torch = pytest.importorskip("torch")
X = np.random.default_rng(0).standard_normal((4, 24)).astype(np.float32)


pytestmark = pytest.mark.usefixtures("one_thread")


def zero_last(model):
    torch.nn.init.zeros_(model[-1].weight)
    return model


@pytest.mark.parametrize("make", [lambda: residual(8, 0.0), lambda: zero_last(mlp(64, 3))])
def test_branches_and_readouts_that_begin_at_zero_are_no_fault(make):
    found = dl.diagnose(make, X, repeats=8, gradients=False)
    assert found.named("dead-units") is None, str(found)
    assert {finding.severity for finding in found.findings} <= {"note"}, str(found)


def test_factors_of_weights_are_those_of_the_weights_there_are():
    # two maps between the first and the last of the recorded layers, and activations, which have no weights
    def funnel(factor=1.0):
        sizes = [(24, 64), (64, 48), (48, 32)]
        scales = [1.0, 0.02 * factor**2, 0.02 * factor**2]
        maps = [linear(*size, scale) for size, scale in zip(sizes, scales, strict=True)]
        return torch.nn.Sequential(maps[0], torch.nn.ReLU(), maps[1], torch.nn.ReLU(), maps[2])

    finding = dl.diagnose(funnel, X, gradients=False).named("norm-dies")
    together = float(finding.remedy.split("grow ")[1].split()[0])
    mended = dl.diagnose(lambda: funnel(sqrt(together)), X, gradients=False)
    assert mended.named("norm-dies") is None
    assert mended.named("norm-explodes") is None


def test_remedies_for_normalized_gradients_do_not_scale_what_is_divided_out():
    def normalized(factor):
        maps = [linear(64 if layer else 24, 64, 2 * factor**2) for layer in range(20)]
        hidden = [part for each in maps for part in (each, torch.nn.BatchNorm1d(64), torch.nn.ReLU())]
        return torch.nn.Sequential(*hidden, linear(64, 10))

    found = [dl.diagnose(lambda f=factor: normalized(f), X, repeats=8).named("gradient-explodes") for factor in (1, 4)]
    # nineteen layers whose gradients followed the factor of 4 would differ by 23 decades
    assert found[0].numbers["decades"] == pytest.approx(found[1].numbers["decades"], abs=1)
    assert "multiply" not in found[0].remedy


def test_branches_of_several_layers_are_told_to_be_scaled_by_their_number():
    class Deeper(torch.nn.Module):
        def __init__(self, scale):
            super().__init__()
            self.scale, self.first, self.second = scale, linear(64, 64), linear(64, 64)

        def forward(self, z):
            return z + self.scale * self.second(torch.relu(self.first(z)))

    def stack(scale):
        return torch.nn.Sequential(linear(24, 64, 1.0), *(Deeper(scale) for _ in range(24)), linear(64, 10))

    finding = dl.diagnose(lambda: stack(1.0), X, repeats=8, gradients=False).named("norm-explodes")
    assert "scale residual branches" in finding.remedy
    assert dl.diagnose(lambda: stack(24**-0.5), X, repeats=8, gradients=False).named("norm-explodes") is None


def test_the_remedy_of_collapse_mends_what_it_is_said_to_mend():
    def made(slope=0.0, variance=1 / 3):
        return mlp(128, 20, variance=variance, activation=lambda: torch.nn.LeakyReLU(slope))

    found = dl.diagnose(made, X, repeats=16)
    too = {
        one.name for one in found.findings if one.remedy.startswith("rank-collapse's remedy mends this too; alone: ")
    }
    assert too == {"norm-dies", "gradient-dies", "weight-variance"}
    words = found.named("rank-collapse").remedy.split()
    slope, variance = (float(words[words.index(of) + 1].split("/")[0]) for of in ("slope", "variance"))
    mended = dl.diagnose(lambda: made(slope, variance), X, repeats=16)
    assert mended.healthy, str(mended)
    assert not too & {one.name for one in mended.findings}
    alone = dl.diagnose(lambda: made(0.0, 2.0), X, repeats=16)  # the weights' own remedy leaves the inputs aligned
    assert alone.named("rank-collapse") is not None
    assert alone.named("weight-variance") is None


@pytest.mark.parametrize("branch", [0.9, 1.0, 1.5])
def test_a_skip_that_keeps_norms_is_named_where_there_is_one(branch):
    found = dl.diagnose(dl.ResNet(width=64, depth=40, branch=branch), dl.gram(correlation=0.3), networks=50)
    for told in (for_norm(found.evidence, 1.0, 40), for_gradient(found.evidence, 1.0, 40)):
        assert told.startswith("scale each residual branch by 1/sqrt(depth) = 0.158")
        assert ("skip = sqrt(1 - branch^2)" in told) == (branch < 1)


def test_the_remedy_of_fluctuations_is_held_against_exact_networks():
    """A spread measured over few initializations may be anything: shaping helps by what it makes of the exact one."""
    found = dl.diagnose(lambda: mlp(64, 32), X[:2], repeats=8, gradients=False)
    exact = found.evidence.predicted_spread(found.evidence.end)
    told = [for_spread(found.evidence, factor * exact) for factor in (0.2, 1.0)]
    shaped = [float(one.split("brings it to ")[2].split()[0]) for one in told]
    assert shaped[0] == shaped[1] < 0.9 * exact
    alone = replace(found.evidence, predicted=None)
    assert "LeakyReLU" not in for_spread(alone, 0.2 * exact)
    assert "LeakyReLU" in for_spread(alone, exact)


def tokens_and_places(depth, width):
    """Embeddings of tokens and of their places, and maps of one width."""

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.token, self.place = torch.nn.Embedding(50, width), torch.nn.Embedding(12, width)
            self.maps = torch.nn.ModuleList(linear(width, width) for _ in range(depth))

        def forward(self, ids):
            x = self.token(ids) + self.place(torch.arange(ids.shape[1]))
            for each in self.maps:
                x = torch.relu(each(x))
            return x

    return Model


def test_the_width_of_a_remedy_is_that_of_maps_rather_than_of_all_positions():
    ids = torch.randint(0, 50, (4, 12), generator=torch.Generator().manual_seed(0))
    found = dl.diagnose(tokens_and_places(16, 32), ids, repeats=8)
    assert found.evidence.network is None
    assert found.evidence.width == 32
    assert "--width 32 --depth 16" in shape_command(found.evidence)
    spread = 2 * found.evidence.thresholds.spread_warning
    assert for_spread(found.evidence, spread).startswith("a width of 130 at depth 16")


def test_convolutions_are_told_how_many_times_as_wide():
    def convolutional():
        maps = [torch.nn.Conv2d(6 if at else 1, 6, 3, padding=1) for at in range(8)]
        return torch.nn.Sequential(*(part for each in maps for part in (each, torch.nn.ReLU())))

    images = np.random.default_rng(0).standard_normal((3, 1, 8, 8)).astype(np.float32)
    found = dl.diagnose(convolutional, images, repeats=8, gradients=False)
    assert found.evidence.width == 6
    told = for_spread(found.evidence, 2 * found.evidence.thresholds.spread_warning)
    assert told == "make it 4 times as many channels wide, or as much less deep"
