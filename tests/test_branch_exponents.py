"""Exponents of residual branches in PyTorch models whose blocks keep the stream by any factor."""

from math import sqrt

import numpy as np
import pytest
from diagnosed import residual
from laws import SIGMAS
from refusals import refused_as_input

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
