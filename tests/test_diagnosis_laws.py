"""When a model is held to the law of its architecture, and how often one that has it is named by chance."""

import copy
from dataclasses import replace
from functools import partial
from math import sqrt
from typing import Any

import numpy as np
import pytest
from diagnosed import linear, mlp
from refusals import refused_as_input

import deeplim as dl
from deeplim.diagnosis.evidence import Evidence
from deeplim.diagnosis.laws import Deviation, deviations, normal_scores

torch = pytest.importorskip("torch")
X = np.random.default_rng(0).standard_normal((3, 16)).astype(np.float32)
RATE = dl.diagnosis.Thresholds().false_alarm
pytestmark = pytest.mark.usefixtures("repeatable")


def default(activation: Any, width: int, depth: int):
    """PyTorch's own initialization: uniform weights and biases."""
    layers = [part for at in range(depth) for part in (torch.nn.Linear(width if at else 16, width), activation())]
    return torch.nn.Sequential(*layers, torch.nn.Linear(width, 5))


def smallest(tested: list[Deviation]) -> float:
    """The smallest p-value, times the number of tests."""
    return min(one.p_value for one in tested) * len(tested)


def drawn(activation: Any, width: int, depth: int, count: int) -> tuple[Evidence, list[float]]:
    """Evidence of default networks, drawn together, beside the exact networks of their variances; and 1/fan_in."""
    generator, fans = torch.Generator().manual_seed(0), [16] + [width] * (depth - 1)
    h, states = torch.tensor(X, dtype=torch.float64).expand(count, -1, -1), []
    for fan in fans:
        weights, biases = (
            (2 * torch.rand((count, rows, width), generator=generator, dtype=torch.float64) - 1) / sqrt(fan)
            for rows in (fan, 1)
        )
        h = getattr(torch, activation)(h @ weights + biases)
        states.append((h @ h.mT / 3 / width + 1 / (3 * width)).numpy())
    function = dl.LeakyReLU(slope=0) if activation == "relu" else dl.Elementwise(function=activation)
    network = dl.MLP(
        width=width, depth=depth, activation=function, weight_variance=1 / 3, bias_variance=1 / (3 * width)
    )
    given = dl.gram(covariance=X.astype(float) @ X.T.astype(float) / 48 + 1 / 48)
    chain = dl.simulate(network, given, networks=2000, seed=1, layers=range(depth + 1))
    first, second = np.triu_indices(3, 1)
    v = np.stack(states, axis=1)
    norm = np.log(np.diagonal(v, axis1=2, axis2=3))
    gap = np.log1p(-v[..., first, second] / np.exp((norm[..., first] + norm[..., second]) / 2))
    begun = {name: np.broadcast_to(getattr(chain, name)[0, :1], (count, 1, 3)) for name in ("log_norm", "log_gap")}
    measured = replace(
        chain,
        log_norm=np.concatenate([begun["log_norm"], norm], axis=1),
        log_gap=np.concatenate([begun["log_gap"], gap], axis=1),
        alive=np.ones((count, depth + 1), dtype=bool),
    )
    names = tuple(map(str, range(depth + 1)))
    seen = Evidence(measured, names, measured, names, predicted=chain, network=network, chain=True)
    return seen, [1 / fan for fan in fans]


@pytest.mark.parametrize(("activation", "width", "depth"), [("relu", 64, 8), ("tanh", 128, 3), ("tanh", 16, 5)])
def test_uniform_weights_and_biases_keep_the_rate_of_false_alarms(activation: str, width: int, depth: int):
    seen, fans = drawn(activation, width, depth, 1200)
    tested = deviations(replace(seen, non_gaussian=fans))
    assert {one.moment for one in tested} == {"mean"}
    assert smallest(tested) > RATE
    # the control: taken for Gaussian ones they are no exact networks, by spreads or, where fan-in is small, by means
    assert smallest(deviations(seen)) < RATE
    # and a mean that is farther away is still seen
    moved = replace(seen.measured, log_norm=seen.measured.log_norm + 1.2 * sum(fans) + 0.1)
    assert smallest(deviations(replace(seen, measured=moved, non_gaussian=fans))) < RATE


def test_means_of_log_norms_between_two_slopes_have_no_allowance():
    seen, fans = drawn("relu", 64, 8, 300)
    seen = replace(seen, non_gaussian=fans)
    moved = replace(seen, measured=replace(seen.measured, log_norm=seen.measured.log_norm + 0.05))
    worst = min(deviations(moved), key=lambda one: one.p_value)
    assert (worst.observable, worst.moment) == ("log_norm", "mean")
    assert worst.p_value < RATE / len(deviations(moved))
    scores = normal_scores(*(np.mean(p.log_norm[:, worst.layer], axis=1) for p in (moved.measured, seen.predicted)))
    assert abs(scores.mean()) > 4 * sqrt(1 / 300 + 1 / 2000)


@pytest.mark.parametrize("activation", [torch.nn.ReLU, torch.nn.Tanh])
def test_default_models_are_what_they_seem(activation: Any):
    found = dl.diagnose(partial(default, activation, 48, 4), X, repeats=100, gradients=False)
    assert found.evidence.non_gaussian == [1 / 16] + [1 / 48] * 3
    assert {one.moment for one in deviations(found.evidence)} == {"mean"}
    assert found.named("law-mismatch") is None


def test_gaussian_models_are_held_to_spreads_too():
    found = dl.diagnose(lambda: mlp(48, 4, n_in=16), X, gradients=False)
    assert found.evidence.non_gaussian == [0.0] * 4
    assert {one.moment for one in deviations(found.evidence)} == {"mean", "standard deviation"}


def test_copies_of_one_model_are_no_independent_initializations():
    def cloned():
        hidden = linear(48, 48)
        layers = [module for _ in range(20) for module in (copy.deepcopy(hidden), torch.nn.ReLU())]
        return torch.nn.Sequential(linear(16, 48), torch.nn.ReLU(), *layers, linear(48, 10))

    def again(model):
        model.load_state_dict(cloned().state_dict())

    model = cloned()
    copies = dl.diagnose(model, X, gradients=False)
    assert copies.evidence.predicted is not None
    assert not copies.evidence.independent
    assert deviations(copies.evidence) == []
    for subject, options in ((cloned, {}), (model, {"initialize": again})):
        found = dl.diagnose(subject, X, gradients=False, **options)
        assert found.evidence.independent
        assert found.named("law-mismatch") is not None


def test_rows_that_share_weights_have_no_exact_networks():
    """64 rows of 16 numbers each: an input's mean square is a mean over rows, whose law is another."""
    tokens = np.random.default_rng(3).standard_normal((3, 6, 16)).astype(np.float32)
    found = dl.diagnose(lambda: mlp(48, 4, n_in=16), tokens, repeats=8, gradients=False)
    assert found.evidence.predicted is None
    assert found.evidence.network is None
    assert found.evidence.width == 48
    assert "width 48, depth 4, but each input is 6 rows of 16 numbers, and no exact networks" in str(found)
    flat = dl.diagnose(
        lambda: torch.nn.Sequential(torch.nn.Flatten(), *mlp(48, 4, n_in=96)), tokens, repeats=8, gradients=False
    )
    assert flat.evidence.network == dl.MLP(width=48, depth=4)


def test_inputs_that_are_zero_are_told_as_such():
    zero = X * np.array([[1], [0], [1]], dtype=np.float32)
    found = dl.diagnose(lambda: mlp(48, 4, n_in=16), zero, repeats=8, gradients=False)
    assert found.evidence.predicted is None
    assert found.reading.endswith("(an input is zero, or too large for its precision)")


def test_no_backward_signal_is_told_with_its_reason():
    class Chosen(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = mlp(48, 4, n_in=16)

        def forward(self, x):
            return self.inner(x).argmax(1)

    found = dl.diagnose(Chosen, X, repeats=8)
    assert found.evidence.backward is None
    assert "; no backward signal: the model's output has no floating numbers for each input" in str(found)
    hidden = {"modules": ["0", "2"], "repeats": 8}
    frozen = dl.diagnose(lambda: torch.nn.Sequential(*mlp(48, 4, n_in=16), Times(0.0)), X, **hidden)
    assert "no backward signal: every gradient is zero" in str(frozen)
    assert "no backward signal" not in str(dl.diagnose(Chosen, X, repeats=8, gradients=False))


class Times(torch.nn.Module):
    def __init__(self, factor: float):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return x * self.factor


def test_options_are_checked_before_a_model_is_run():
    told = refused_as_input(lambda: dl.diagnose(lambda: mlp(48, 4, n_in=16), X, networks=0))
    assert told.startswith("0 networks were asked for")
