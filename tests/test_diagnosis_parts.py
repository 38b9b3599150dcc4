"""Diagnoses of models that no architecture is read of: their parts, their depth, and the rows that are printed."""

from dataclasses import replace

import numpy as np
import pytest
from diagnosed import linear

import deeplim as dl
from deeplim.diagnosis.evidence import Evidence, main_stream, streams
from deeplim.modules import Modules

torch = pytest.importorskip("torch")
X = np.random.default_rng(0).standard_normal((4, 24)).astype(np.float32)
pytestmark = pytest.mark.usefixtures("repeatable")


def plain(blocks: int):
    """Blocks of two linear maps with a ReLU between them."""
    inside = [torch.nn.Sequential(linear(64, 64), torch.nn.ReLU(), linear(64, 64, 1.0)) for _ in range(blocks)]
    return torch.nn.Sequential(linear(24, 64), *inside, linear(64, 3))


class ReZero(torch.nn.Module):
    """A block whose branch is multiplied by zero, or ends in a map of zeros."""

    def __init__(self, how: str):
        super().__init__()
        self.f = torch.nn.Sequential(linear(64, 64), torch.nn.ReLU(), linear(64, 64))
        self.scale = torch.nn.Parameter(torch.tensor(0.0 if how == "factor" else 1.0))
        if how == "last":
            torch.nn.init.zeros_(self.f[2].weight)

    def forward(self, z):
        return z + self.scale * self.f(z)


@pytest.mark.parametrize(
    ("names", "parts"),
    [
        (["stem", "h.0.fc", "h.0", "h.1.fc", "h.1", "head"], [[0], [1, 3], [2, 4], [5]]),
        (["0.0", "0.1", "0.2", "1.0", "1.1", "1.2"], [[0, 3], [1, 4], [2, 5]]),
        (["0", "1.0", "1", "2.0", "2", "3"], [[0], [1, 3], [2, 4], [5]]),
        (["layer1.0.conv1", "layer1.0.conv2", "layer2.1.conv1", "layer2.1.conv2"], [[0, 2], [1, 3]]),
        (["layers.0.mlp.0", "layers.0.mlp.2", "layers.1.mlp.0", "layers.1.mlp.2"], [[0, 2], [1, 3]]),
        (["Dense_0", "Dense_1", "Dense_2"], [[0, 1, 2]]),
        (["0", "1", "2"], [[0, 1, 2]]),
        (["stem", "b", "b#2", "b#3"], [[0], [1, 2, 3]]),
        (["b.fc", "b", "b.fc#2", "b#2"], [[0, 2], [1, 3]]),
        (["b.0", "b.1", "b.0#2", "b.1#2"], [[0, 2], [1, 3]]),
        (["g.0.fc", "g.0.norm", "g.0.fc#2", "g.0.norm#2"], [[0, 2], [1, 3]]),
        (["f.fc1", "f.relu", "f.fc2", "f.relu#2"], [[0, 2], [1, 3]]),
        (["h.0.relu", "h.0.relu#2", "h.1.relu", "h.1.relu#2"], [[0, 2], [1, 3]]),
        (["g.0.fc", "g.0", "g.0.fc#2", "g.0#2"], [[0], [1, 3], [2]]),
    ],
    ids=str,
)
def test_parts_along_depth_are_told_by_their_names(names: list[str], parts: list[list[int]]):
    assert streams(names) == parts
    assert streams(names, one=True) == [list(range(len(names)))]


def test_the_main_part_is_what_blocks_pass_on():
    assert main_stream(["stem", "h.0.fc", "h.0", "h.1.fc", "h.1", "head"]) == [2, 4]
    assert main_stream(["0.0", "0.1", "1.0", "1.1"]) == [1, 3]
    inline = ["stem", "m.0.0", "m.0.1", "m.1.0", "m.1.1", "head"]
    assert main_stream(inline) == [2, 4]
    assert main_stream(inline, ["m.0", "m.1"]) == [5]


class Inline(torch.nn.Module):
    """A residual network whose sums are in its own forward: branches are its only blocks."""

    def __init__(self, out: int | None):
        super().__init__()
        self.stem = linear(24, 64)
        self.branches = torch.nn.ModuleList(deep_branch() for _ in range(6))
        self.head = torch.nn.Identity() if out is None else linear(64, out)

    def forward(self, x):
        z = self.stem(x)
        for branch in self.branches:
            z = z + 0.3 * branch(z)
        return self.head(z)


def deep_branch():
    """A branch in which inputs align: positive biases, which are the same for all of them."""
    layers = [part for _ in range(4) for part in (linear(64, 64, bias=8.0), torch.nn.ReLU())]
    return torch.nn.Sequential(*layers, linear(64, 64, 1e-3))


@pytest.mark.parametrize(("out", "end"), [(5, "head"), (64, "head"), (None, "output"), (1, "stem")])
def test_what_branches_give_is_not_what_the_stream_is(out: int | None, end: str):
    found = dl.diagnose(lambda: Inline(out), X, repeats=16, gradients=False)
    seen = found.evidence
    assert len(seen.branches) == 6
    assert seen.layers[seen.end].partition("#")[0] in (end, "head" if out is None else end)
    assert found.named("rank-collapse") is None
    # inside a branch inputs do align
    assert seen.gap_at(seen.layers.index("branches.5.7")).value < np.log(0.05)
    assert not any(row.split()[0].startswith("branches") for row in found.table.splitlines()[1:])
    assert found.named("fluctuations") is None


class LeNet(torch.nn.Module):
    """Two convolutions and three linear maps (LeCun et al. 1998), each with a name of its own."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = torch.nn.Conv2d(1, 6, 5, padding=2), torch.nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = torch.nn.Linear(400, 120), torch.nn.Linear(120, 84), torch.nn.Linear(84, 10)
        self.relu, self.pool = torch.nn.ReLU(), torch.nn.MaxPool2d(2)

    def forward(self, x):
        x = self.pool(self.relu(self.conv1(x)))
        x = self.pool(self.relu(self.conv2(x))).flatten(1)
        return self.fc3(self.relu(self.fc2(self.relu(self.fc1(x)))))


class UNet(torch.nn.Module):
    """Down, across and up again, beside a skip."""

    def __init__(self):
        super().__init__()
        self.d1, self.d2 = torch.nn.Conv2d(1, 8, 3, padding=1), torch.nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.mid, self.up = torch.nn.Conv2d(8, 8, 3, padding=1), torch.nn.ConvTranspose2d(8, 8, 2, stride=2)
        self.out = torch.nn.Conv2d(16, 1, 3, padding=1)

    def forward(self, x):
        first = torch.relu(self.d1(x))
        across = torch.relu(self.mid(torch.relu(self.d2(first))))
        return self.out(torch.cat([first, torch.relu(self.up(across))], dim=1))


@pytest.mark.parametrize("model", [LeNet, UNet])
def test_the_depth_of_a_small_model_is_the_number_of_its_maps(model):
    images = torch.tensor(np.random.default_rng(2).standard_normal((3, 1, 28, 28)), dtype=torch.float32)
    assert dl.diagnose(model, images, repeats=4, gradients=False).evidence.depth == 5


def test_the_depth_of_a_module_that_runs_again_is_how_often_it_runs():
    class Again(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.block = linear(24, 64), torch.nn.Sequential(linear(64, 64), torch.nn.Tanh())

        def forward(self, x):
            z = self.stem(x)
            for _ in range(7):
                z = self.block(z)
            return z

    assert dl.diagnose(Again, X, repeats=4, gradients=False).evidence.depth == 7


@pytest.mark.parametrize("halves", [("encoder",), ("encoder", "decoder")])
def test_blocks_in_which_most_layers_are_count_as_they_did(halves: tuple[str, ...]):
    inside = ("q", "k", "v", "attention", "fc", "mlp")
    names = ["embed"]
    for half in halves:
        for at in range(12):
            names += [f"{half}.{at}.{name}" for name in inside] + [f"{half}.{at}"]
    paths = dl.simulate(
        dl.MLP(width=16, depth=len(names)), dl.gram(correlation=0.3), networks=4, layers=range(1, len(names) + 1)
    )
    paths = replace(paths, modules=Modules(tuple(names)))
    assert Evidence(paths, tuple(names), paths, tuple(names), linears=73 * len(halves)).depth == 12


def test_the_depth_of_blocks_is_their_number_and_rows_are_of_one_part():
    found = dl.diagnose(lambda: plain(24), X, repeats=8, gradients=False)
    assert found.evidence.network is None
    assert found.evidence.depth == 24
    rows = [line.split()[0] for line in found.table.splitlines()[1:]]
    assert (rows[0], rows[-1]) == ("input", "25")
    assert len(rows) == 14
    assert all(row.endswith(".2") for row in rows[1:-1])
    assert "14 of 75 layers; to_dict() and --json have all." in str(found)
    assert "--depth 24" in found.named("rank-collapse").remedy
    assert "layers; to_dict()" not in str(dl.diagnose(lambda: plain(2), X, repeats=8, gradients=False))


@pytest.mark.parametrize("how", ["factor", "last"])
def test_zero_branches_of_two_maps_are_noted(how: str):
    found = dl.diagnose(
        lambda: torch.nn.Sequential(linear(24, 64), *(ReZero(how) for _ in range(5))), X, repeats=8, gradients=False
    )
    note = found.named("frozen-branch")
    assert (note.severity, note.where) == ("note", "1.f")
    assert "5 of 5 branches add exactly zero" in note.measured
    moving = dl.diagnose(
        lambda: torch.nn.Sequential(linear(24, 64), *(ReZero("neither") for _ in range(5))), X, repeats=8
    )
    assert moving.named("frozen-branch") is None


def test_a_transformers_branches_and_normalizations_are_known():
    from probed import transformer

    def frozen():
        model = transformer("float32")
        torch.nn.init.zeros_(model.h[0].attn.c_proj.weight)
        return model

    ids = torch.randint(0, 50, (4, 12))
    found = dl.diagnose(frozen, {"input_ids": ids, "attention_mask": torch.ones_like(ids)}, repeats=8)
    assert "1 of 4 branches adds exactly zero" in found.named("frozen-branch").measured
    assert found.named("frozen-branch").where == "h.0.attn"
    assert found.evidence.normalized
    assert found.evidence.depth == 2
