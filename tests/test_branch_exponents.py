"""Exponents of residual branches in PyTorch models whose blocks keep the stream by any factor."""

from math import sqrt

import numpy as np
import pytest
from diagnosed import residual
from laws import SIGMAS
from refusals import refused_as_input
from tiers import slow

from deeplim.diagnosis import branch_exponent
from deeplim.diagnosis.powers import fit_power

torch = pytest.importorskip("torch")
X = np.random.default_rng(0).standard_normal((4, 24)).astype(np.float32)
DEPTHS = (4, 8, 16, 32)

pytestmark = pytest.mark.usefixtures("one_thread")


def norm_preserving(scale):
    return sqrt(1 - scale**2)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("skip", [lambda scale: 1.0, norm_preserving, lambda scale: 0.8])
def test_the_exponent_is_that_of_the_branch_beside_any_skip(alpha, skip):
    def make(depth):
        scale = 0.7 * depth**-alpha
        return residual(depth, scale, skip=skip(scale))

    found = branch_exponent(make, X, depths=DEPTHS, repeats=4)
    # the same seeds at every depth: blocks differ by their scales alone, and floats have seven digits
    assert found.alpha.value == pytest.approx(alpha, abs=1e-4)
    assert found.alpha.low < alpha < found.alpha.high
    # the mean square of W relu(z) is that of z, over 64 independent neurons at least
    allowed = SIGMAS * sqrt(2 / 64) / sqrt(4)
    assert found.scales == pytest.approx([0.7 * depth**-alpha for depth in DEPTHS], rel=allowed)


def test_differences_alone_would_take_a_skip_for_a_branch():
    # the control: |z_1 - z_0|^2 = (1 - skip)^2 |z_0|^2 + |branch|^2, which falls faster than the branch
    logs = []
    for depth in DEPTHS:
        torch.manual_seed(1)
        model = residual(depth, depth**-0.5, skip=norm_preserving(depth**-0.5))
        before = model[0](torch.as_tensor(X))
        logs.append(np.full(2, float(((model[1](before) - before).norm() / before.norm()).log().detach())))
    closed = [0.5 * np.log((1 - norm_preserving(depth**-0.5)) ** 2 + 1 / depth) for depth in DEPTHS]
    expected = -np.polyfit(np.log(DEPTHS), closed, 1)[0]
    assert expected > 0.51
    assert -fit_power(DEPTHS, logs).value == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("skip", [1.0, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_branches_that_begin_at_zero_are_refused_beside_any_skip(skip, dtype):
    def make(depth):
        return residual(depth, 0.0, skip=skip).to(dtype)

    assert "adds nothing" in refused_as_input(lambda: branch_exponent(make, X, depths=[2, 4], repeats=2))


class Loop(torch.nn.Module):
    """Residual blocks in a loop of the model's own forward: branches are modules, the sums none."""

    def __init__(self, depth, scale, add, width=48):
        super().__init__()
        self.stem, self.head, self.shared = torch.nn.Linear(24, width), torch.nn.Linear(width, 4), torch.nn.GELU()
        self.blocks = torch.nn.ModuleList(branch(width) for _ in range(depth))
        self.norms = torch.nn.ModuleList(torch.nn.LayerNorm(width) for _ in range(depth))
        self.scale, self.step = scale, add

    def forward(self, x):
        x = self.stem(x)
        for block, norm in zip(self.blocks, self.norms, strict=True):
            x = self.step(x, block, norm, self.scale, self.shared)
        return self.head(x)


def branch(width):
    return torch.nn.Sequential(torch.nn.Linear(width, width), torch.nn.GELU(), torch.nn.Linear(width, width))


def in_place(x, block, norm, scale, shared):
    x = x.clone()
    x += scale * block(norm(x))
    return x


LOOPS = {
    "plain": lambda x, block, norm, scale, shared: x + scale * block(x),
    "normalized before": lambda x, block, norm, scale, shared: x + scale * block(norm(x)),
    "branch first": lambda x, block, norm, scale, shared: scale * block(norm(x)) + x,
    "one activation for all": lambda x, block, norm, scale, shared: x + scale * block(shared(x)),
    "activation after the branch": lambda x, block, norm, scale, shared: x + scale * torch.tanh(block(x)),
    "two branches of one state": lambda x, block, norm, scale, shared: x + scale * block(x) + scale * shared(x),
    "a skip of its own": lambda x, block, norm, scale, shared: 0.8 * x + scale * block(x),
    "in place": in_place,
}


CASES = [(kind, 0.5) for kind in LOOPS] + [(kind, alpha) for kind in list(LOOPS)[:2] for alpha in (0.0, 1.0)]


@pytest.mark.parametrize(
    ("kind", "alpha"), [case if place % 3 == 0 else slow(*case) for place, case in enumerate(CASES)]
)
def test_a_loop_in_the_model_s_own_forward_has_the_exponent_of_its_branches(kind, alpha):
    found = branch_exponent(lambda depth: Loop(depth, depth**-alpha, LOOPS[kind]), X, depths=(4, 8, 16), repeats=2)
    # the first branch is the same at every depth but for its scale
    assert found.alpha.value == pytest.approx(alpha, abs=1e-3)
    assert found.streams == (("stem", "add"),) * 3


@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_a_normalization_after_the_sums_of_a_loop_is_in_the_stream(alpha):
    def make(depth):
        return Loop(depth, depth**-alpha, lambda x, block, norm, scale, shared: norm(x + scale * block(x)))

    found = branch_exponent(make, X, depths=DEPTHS, repeats=4)
    assert found.streams == (("norms.0", "norms.1"),) * 4
    assert found.alpha.low < alpha < found.alpha.high


def test_the_first_linears_of_two_branches_would_tell_nothing():
    # the control: what leaves them is of one size whatever the scale of the branches
    def make(depth):
        return Loop(depth, 1 / depth, LOOPS["normalized before"])

    found = branch_exponent(make, X, depths=DEPTHS, repeats=2, stream=lambda model: ["blocks.0.0", "blocks.1.0"])
    assert abs(found.alpha.value) < 0.1


def test_blocks_in_modules_are_the_stream_whatever_stands_before_and_after_them():
    def make(depth):
        blocks = residual(depth, depth**-0.5, width=24)[1:-1]
        ends = [torch.nn.Sequential(*(torch.nn.Linear(24, 24), torch.nn.ReLU()) * 2) for _ in range(2)]
        return torch.nn.Sequential(ends[0], *blocks, torch.nn.LayerNorm(24), ends[1])

    assert branch_exponent(make, X, depths=(2, 4), repeats=2).streams == (("1", "2"),) * 2


def test_where_no_stream_is_found_modules_are_to_be_named():
    def convolutions(depth):
        return torch.nn.Sequential(*(torch.nn.Conv1d(1, 1, 3, padding=1) for _ in range(depth)))

    told = refused_as_input(lambda: branch_exponent(convolutions, X[:, None], depths=[2, 4], repeats=2))
    assert "no sums of a signal" in told
    assert "by stream=" in told


def test_what_cannot_be_followed_is_to_be_named():
    class Numpy(Loop):
        def forward(self, x):
            return torch.from_numpy(super().forward(x).detach().numpy().copy())

    told = refused_as_input(
        lambda: branch_exponent(lambda depth: Numpy(depth, 1.0, LOOPS["plain"]), X, depths=[2, 4], repeats=2)
    )
    assert "can be followed; name the modules of the stream, by stream=" in told
