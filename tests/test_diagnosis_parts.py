"""Diagnoses of models that no architecture is read of: their parts, their depth, and the rows that are printed."""

import numpy as np
import pytest
from diagnosed import linear

import deeplim as dl
from deeplim.diagnosis.evidence import main_stream, streams

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
    ],
    ids=str,
)
def test_parts_along_depth_are_told_by_their_names(names: list[str], parts: list[list[int]]):
    assert streams(names) == parts
    assert streams(names, one=True) == [list(range(len(names)))]


def test_the_main_part_is_what_blocks_pass_on():
    assert main_stream(["stem", "h.0.fc", "h.0", "h.1.fc", "h.1", "head"]) == [2, 4]
    assert main_stream(["0.0", "0.1", "1.0", "1.1"]) == [1, 3]


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
