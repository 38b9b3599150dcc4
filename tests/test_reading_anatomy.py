"""Which modules are linear maps, normalizations and branches, and that looking at them changes nothing."""

from typing import Any

import numpy as np
import pytest
import torch
from diagnosed import residual
from torch import nn
from torch.nn.utils import parametrizations

import deeplim as dl
from deeplim.probe import read_architecture
from deeplim.probe.description import scales
from deeplim.probe.torch_anatomy import anatomy

pytestmark = pytest.mark.usefixtures("one_thread", "repeatable")
X = np.random.default_rng(0).standard_normal((4, 32)).astype(np.float32)


def normed(norm: Any, depth: int = 3) -> nn.Sequential:
    maps = [part for _ in range(depth) for part in (norm(nn.Linear(32, 32)), nn.ReLU())]
    return nn.Sequential(*maps, nn.Linear(32, 8))


@pytest.mark.parametrize("norm", [parametrizations.weight_norm, parametrizations.spectral_norm, nn.utils.spectral_norm])
@pytest.mark.filterwarnings("ignore:.*spectral_norm.*:FutureWarning")
def test_what_makes_weights_is_no_part_of_the_model(norm: Any):
    found = anatomy(normed(norm), torch.tensor(X))
    assert found.linears == ("0", "2", "4", "6")
    assert found.normalizations == ()
    assert found.width == 32


@pytest.mark.parametrize("norm", [parametrizations.spectral_norm, nn.utils.spectral_norm])
@pytest.mark.filterwarnings("ignore:.*spectral_norm.*:FutureWarning")
def test_reading_and_diagnosing_leave_buffers_bit_for_bit(norm: Any):
    model = normed(norm)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    read_architecture(model)
    read_architecture(model, inputs=X)
    dl.diagnose(model, X, repeats=1)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    if norm is parametrizations.spectral_norm:  # the control: a look at the weight is a step of power iteration
        assert model[0].weight.shape == (32, 32)
        assert not all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_block_with_a_map_inside_is_counted_once():
    class DenseBlock(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(8, 8)
            self.weight = self.inner.weight

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(x)

    class DenseOwn(nn.Module):
        """A map of another library's, whose matrix is (in, out)."""

        def __init__(self) -> None:
            super().__init__()
            self.nf, self.weight = 5, nn.Parameter(torch.ones(8, 5))

    assert anatomy(nn.Sequential(DenseBlock(), DenseOwn())).linears == ("0.inner", "1")
    own = parametrizations.weight_norm(DenseOwn())
    assert anatomy(nn.Sequential(DenseOwn(), own)).linears == ("0", "1")
    assert anatomy(nn.Sequential(DenseOwn())).width == 5


def test_the_width_is_the_units_that_maps_make():
    assert anatomy(nn.Sequential(nn.Conv2d(1, 6, 3), nn.Conv2d(6, 6, 3), nn.Linear(600, 10))).width == 6
    assert anatomy(nn.Sequential(nn.Linear(8, 24), nn.Linear(24, 8))).width == 8
    assert anatomy(nn.ReLU()).width is None
    assert read_architecture(nn.Sequential(nn.Linear(8, 24), nn.ReLU(), nn.Linear(24, 3))).width == 24


class Shared(nn.Module):
    """A block of two branches with one dropout for both."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = (nn.Sequential(nn.Linear(32, 48), nn.GELU(), nn.Linear(48, 32)) for _ in range(2))
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.dropout(self.first(x))
        return x + self.dropout(self.second(x))


class Reused(nn.Module):
    """A block that adds one map twice."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Sequential(nn.Linear(32, 48), nn.GELU(), nn.Linear(48, 32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.map(x)
        return x + self.map(x)


def test_branches_are_told_apart_where_modules_run_twice():
    assert anatomy(nn.Sequential(Shared()), torch.tensor(X)).branches == ("0.first", "0.second")
    assert anatomy(nn.Sequential(Reused()), torch.tensor(X)).branches == ("0.map", "0.map#2")


def test_zero_branches_before_a_shared_dropout_are_found():
    def frozen() -> nn.Module:
        model = nn.Sequential(nn.Linear(32, 32), Shared(), Shared())
        nn.init.zeros_(model[1].second[2].weight)
        nn.init.zeros_(model[1].second[2].bias)
        return model

    note = dl.diagnose(frozen, X, repeats=4, gradients=False).named("frozen-branch")
    assert note.where == "1.second"
    assert "1 of 4 branches adds exactly zero" in note.measured


def test_a_vision_transformer_has_all_its_branches():
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 48}
    model = transformers.ViTModel(transformers.ViTConfig(**sizes, image_size=16, patch_size=4))
    found = anatomy(model, torch.randn(3, 3, 16, 16))
    # each is the block's attention or its two-layer map, whatever the library calls them
    assert len({name.partition("#")[0] for name in found.branches}) == len(found.branches) == 2 * 3
    assert found.width == 32


@pytest.mark.parametrize(
    ("skip", "branch", "written"),
    [(1.0, 1e-3, 1.0), (1.0, 1e-4, 1.0), (1 - 1e-8, 1e-3, 1 - 1e-8), (0.99**0.5, 0.1, "norm-preserving")],
)
def test_a_skip_of_one_beside_a_small_branch_is_one(skip: float, branch: float, written: float | str):
    assert scales(skip, branch, 10) == {"skip": written, "branch": branch}


def test_a_small_branch_beside_a_skip_of_one_is_read_as_it_is():
    assert read_architecture(residual(4, 1e-3)).network == dl.ResNet(width=64, depth=4, branch=1e-3)
