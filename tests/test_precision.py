"""Rows in single precision against the same networks, with the same random bits, in double precision."""

import numpy as np
import pytest
from tiers import quick

from deeplim.activations import NAMED_FUNCTIONS, Elementwise, LeakyReLU, ReLU, Shaped, ShapedReLU
from deeplim.architecture import MLP, Network, ResNet
from deeplim.errors import InputError
from deeplim.finite import chain, runners
from deeplim.inputs import Inputs, gram
from deeplim.paths import Paths

PAIR = gram(correlation=0.3)
NAMES = sorted(NAMED_FUNCTIONS)
TANH, GELU = Elementwise(function="tanh"), Elementwise(function="gelu")
SHAPED = [Shaped(function=name, a=0.9) for name in ("tanh", "softplus")]
ACTIVATIONS = [Elementwise(function=name) for name in NAMES] + SHAPED


def _both(
    network: Network, inputs: Inputs, networks: int = 24, layers: tuple[int, ...] = (1, 6)
) -> tuple[Paths, Paths]:
    single, double = (
        chain.sample(network, inputs, networks=networks, seed=4, layers=list(layers), precision=precision)
        for precision in ("auto", "double")
    )
    return single, double


def _apart(single: Paths, double: Paths) -> float:
    """The largest difference of a log norm or of a log gap."""
    differences = [np.abs(single.log_norm - double.log_norm), np.abs(single.log_gap - double.log_gap)]
    return max(float(difference.max()) for difference in differences if difference.size)


@pytest.mark.parametrize("activation", quick(TANH, GELU, SHAPED[0], of=ACTIVATIONS), ids=str)
def test_smooth_networks_are_the_same_to_single_precision(activation):
    assert 0 < _apart(*_both(MLP(width=66, depth=6, activation=activation), PAIR)) < 1e-4


@pytest.mark.parametrize("activation", quick(TANH, of=[TANH, SHAPED[1]]), ids=str)
@pytest.mark.parametrize("count", [1, 2])
def test_so_are_smooth_resnets_and_one_input(activation, count: int):
    inputs = PAIR if count == 2 else gram(np.array([[1.0, 0.5]]))
    assert 0 < _apart(*_both(ResNet(width=66, depth=6, activation=activation), inputs)) < 1e-4


def test_another_activation_is_not():
    single, _ = _both(MLP(width=66, depth=6, activation=TANH), PAIR)
    _, other = _both(MLP(width=66, depth=6, activation=Shaped(function="tanh", a=100.0)), PAIR)
    assert _apart(single, other) > 1e-2


@pytest.mark.parametrize("gap", [1e-6, 1e-12, 1e-30])
@pytest.mark.parametrize("activation", quick(TANH, GELU, of=ACTIVATIONS[:7]), ids=str)
def test_the_smallest_gaps_keep_their_digits(activation, gap: float):
    single, double = _both(MLP(width=66, depth=6, activation=activation), gram(gap=gap))
    assert _apart(single, double) < 1e-4
    assert (single.log_gap < np.log(gap) + 30).all()


def test_gaps_hidden_by_different_norms_are_drawn_in_double_precision():
    # The distance of these inputs is almost all along them: the angle is a part in 10^9 of it.
    inputs = gram(covariance=np.array([[1.0, 2.0 * (1 - 1e-9)], [2.0 * (1 - 1e-9), 4.0]]))
    network = MLP(width=66, depth=2, activation=Shaped(function="tanh", a=30.0))
    single, double = _both(network, inputs, layers=(1, 2))
    hidden = (double.log_gap[:, :, 0] < np.log(1e-4)).any(axis=1)
    assert hidden.any()
    assert np.array_equal(single.log_gap[hidden], double.log_gap[hidden])
    assert _apart(single, double) < 1e-2


def test_norms_beyond_single_precision_are_drawn_in_double_precision():
    # Large preactivations make SiLU a ReLU whose gain is 1.4: norms grow like 1.4^layer.
    inputs = gram(covariance=1e30 * PAIR.covariance)
    network = MLP(width=66, depth=400, activation=Elementwise(function="silu"))
    single, double = _both(network, inputs, networks=40, layers=(1, 400))
    assert single.alive.all()
    assert np.median(single.log_norm[:, 1]) > np.log(1e77)
    assert np.array_equal(single.log_norm, double.log_norm)


@pytest.mark.parametrize("activation", [ReLU(), LeakyReLU(slope=0.3), ShapedReLU()], ids=str)
def test_resnets_of_slopes_are_the_same_to_single_precision(activation):
    single, double = _both(ResNet(width=66, depth=6, activation=activation), PAIR)
    assert 0 < _apart(single, double) < 1e-4


def test_narrow_networks_and_more_inputs_are_in_double_precision_anyway():
    three = gram(np.random.default_rng(0).normal(size=(3, 4)))
    for network, inputs in ((MLP(width=63, depth=6), PAIR), (MLP(width=66, depth=6), three)):
        assert _apart(*_both(network, inputs)) == 0


def test_a_precision_that_there_is_not_is_refused():
    with pytest.raises(InputError, match="'half' was asked for; choose 'auto' or 'double'"):
        runners.runner(MLP(width=66, depth=6), PAIR, np.array([6]), "half")
