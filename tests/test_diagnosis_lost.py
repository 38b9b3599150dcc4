"""Diagnoses of signals that are lost: outputs that are no numbers or zero, inputs of zeros, given twice, or rounded."""

import numpy as np
import pytest
from diagnosed import linear

import deeplim as dl

torch = pytest.importorskip("torch")
X = torch.tensor(np.random.default_rng(0).standard_normal((4, 24)), dtype=torch.float32)
pytestmark = pytest.mark.usefixtures("repeatable")


class Head(torch.nn.Module):
    """Two layers and a narrow readout, of which something is made in code."""

    def __init__(self, made):
        super().__init__()
        self.body = torch.nn.Sequential(linear(24, 64), torch.nn.ReLU(), linear(64, 64), torch.nn.ReLU())
        self.head, self.made = linear(64, 5), made

    def forward(self, x):
        return self.made(self.head(self.body(x)))


def small(bias: bool = True):
    """Three layers 32 wide."""
    layers = [torch.nn.Linear(24 if at == 0 else 32, 32, bias=bias) for at in range(3)]
    return torch.nn.Sequential(layers[0], torch.nn.ReLU(), layers[1], torch.nn.ReLU(), layers[2])


def diagnosed(model, inputs=X, repeats: int = 8):
    return dl.diagnose(model, inputs, repeats=repeats)


NOT_FINITE = {"nan": lambda y: torch.log(-y.abs() - 1), "inf": lambda y: torch.exp(1e4 * y.abs() + 1e4)}


@pytest.mark.parametrize("kind", NOT_FINITE)
def test_a_narrow_output_that_is_not_finite_is_unhealthy(kind: str):
    found = diagnosed(lambda: Head(NOT_FINITE[kind]))
    lost = found.named("exploded-networks")
    assert (lost.severity, lost.where, lost.numbers["share"]) == ("unhealthy", "output", 1.0)
    assert "not finite (too large for a float, or no number)" in lost.measured
    assert "the log of a negative number" in lost.remedy
    assert diagnosed(lambda: Head(lambda y: y)).named("exploded-networks") is None


def test_a_loss_of_signal_is_told_where_it_begins_with_the_share_of_the_worst_layer():
    def network(seed, x):
        first = np.random.default_rng(seed).standard_normal((len(x), 16))
        later = first.copy()
        if seed % 4 == 0:
            first[0, 0] = np.inf
        return {"first": first, "fine": np.ones((len(x), 3)) * [[1], [2], [3]], "later": later * np.nan}

    lost = dl.diagnose(network, np.eye(3), repeats=8).named("exploded-networks")
    assert (lost.where, lost.numbers["share"], lost.numbers["count"]) == ("first", 1.0, 8.0)
    assert lost.measured.endswith(" at later; it begins at first.")


def test_a_function_that_gives_no_numbers_is_unhealthy():
    found = dl.diagnose(lambda seed, x: [np.full((3, 4), np.nan)], np.eye(3), repeats=4)
    assert [one.name for one in found.unhealthy] == ["exploded-networks"]


def test_layers_that_die_are_told_though_biases_go_on():
    def dying():
        model = small()
        torch.nn.init.constant_(model[0].bias, -20.0)
        return model

    dead = diagnosed(dying).named("dead-networks")
    assert (dead.severity, dead.where, dead.numbers["share"]) == ("unhealthy", "1", 1.0)
    assert diagnosed(small).named("dead-networks") is None


@pytest.mark.parametrize("width", [5, 64], ids=["narrow", "wide"])
def test_a_readout_that_begins_at_zero_is_a_note(width: int):
    def model():
        made = torch.nn.Sequential(*small(), torch.nn.ReLU(), linear(32, width))
        torch.nn.init.zeros_(made[-1].weight)
        return made

    found = diagnosed(model)
    assert found.named("dead-networks") is None
    assert (found.named("zero-output").severity, found.named("zero-output").where) == ("note", "6")
    assert found.evidence.layers[found.evidence.end] != "6"


def test_an_input_that_dies_in_a_narrow_gate_and_arrives_beside_it_is_not_lost():
    class Gated(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.gate = linear(24, 64), torch.nn.Sequential(linear(64, 2), torch.nn.ReLU(), linear(2, 64))

        def forward(self, x):
            z = self.stem(x)
            return z * torch.sigmoid(self.gate(z))

    found = diagnosed(Gated, repeats=32)
    assert found.evidence.recorded.dead.max() > 8  # an input is zero in both units with probability 1/4
    assert found.named("dead-networks") is None


def test_an_input_of_zeros_is_told_as_such():
    inputs = X.clone()
    inputs[1] = 0
    found = diagnosed(small, inputs)
    note = found.named("zero-inputs")
    assert (note.severity, note.where, found.healthy) == ("note", "input", True)
    assert note.measured.startswith("input 1 is all zero: it has no direction")
    assert found.evidence.layers[found.evidence.begin] == "0"  # where biases give it one
    without = diagnosed(lambda: small(bias=False), inputs)
    assert [one.name for one in without.unhealthy] == ["zero-inputs"]
    assert "drop it" in without.named("zero-inputs").remedy
    inputs[2] = 0
    assert diagnosed(small, inputs).named("parallel-inputs") is None
    every = diagnosed(small, torch.zeros(3, 24))
    assert [one.name for one in every.unhealthy] == ["zero-inputs"]
    assert every.to_json()
    assert diagnosed(small).named("zero-inputs") is None


def test_an_input_given_twice_is_a_note_that_says_to_drop_it():
    found = diagnosed(small, torch.cat([X, X[:1]]))
    note = found.named("parallel-inputs")
    assert (note.severity, note.where, note.numbers) == ("note", "input", {"pairs": 1.0})
    assert note.measured.startswith("input 0 and input 4 are exactly parallel")
    assert note.remedy.startswith("drop the repeated input")
    alike = diagnosed(small, X[:1].repeat(3, 1))
    assert alike.named("parallel-inputs").numbers == {"pairs": 3.0}
    assert alike.named("rank-collapse") is None


def test_a_gap_that_fell_to_rounding_before_it_was_zero_is_rank_collapse():
    def deep():
        layers = [part for _ in range(100) for part in (torch.nn.Linear(24, 24, dtype=X.dtype), torch.nn.ReLU())]
        return torch.nn.Sequential(*layers)

    found = diagnosed(deep)
    parallel = found.named("parallel-inputs")
    assert parallel.severity == "unhealthy"
    assert "after their 1 - rho had fallen to the rounding" in parallel.measured
    assert parallel.remedy == found.named("rank-collapse").remedy
    exact = dl.diagnose(dl.MLP(width=4, depth=20), dl.gram(correlation=0.3), networks=400).named("parallel-inputs")
    assert "rounding" not in exact.measured


class Positioned(torch.nn.Module):
    """Tokens and their positions, of which those that run first are positions; then layers that align inputs."""

    def __init__(self, layers: int = 40):
        super().__init__()
        self.positions, self.tokens = torch.nn.Embedding(12, 32), torch.nn.Embedding(100, 32)
        self.body = torch.nn.ModuleList(torch.nn.Linear(32, 32) for _ in range(layers))

    def forward(self, ids):
        z = self.positions(torch.arange(ids.shape[1]).expand(*ids.shape))
        z = self.tokens(ids) + z
        for layer in self.body:
            z = torch.relu(layer(z))
        return z


def test_a_layer_that_is_the_same_for_all_inputs_is_no_start():
    ids = torch.tensor(np.random.default_rng(1).integers(0, 100, (4, 12)))
    found = diagnosed(Positioned, ids)
    assert found.evidence.layers[0] == "positions"
    assert found.evidence.layers[found.evidence.begin] == "tokens"
    collapse = found.named("rank-collapse")
    assert collapse.severity == "unhealthy"
    # tokens of their own directions: 1 - rho is about 1
    assert abs(collapse.numbers["log10_gap_start"]) < 0.2
    rounding = found.named("rounding")
    assert rounding is None or rounding.where.startswith("body.")
    assert diagnosed(lambda: Positioned(1), ids).findings == ()


def test_rounding_says_on_only_where_it_goes_on():
    def network(seed, x):
        random = np.random.default_rng(seed)
        one = random.standard_normal((1, 64))
        close, near = (
            (one + apart * random.standard_normal((len(x), 64))).astype(np.float32) for apart in (3e-5, 3e-8)
        )
        far = random.standard_normal((len(x), 64)).astype(np.float32)
        same = np.repeat(one, len(x), axis=0).astype(np.float32)
        return {"same": same, "far": far, "close": close, "near": near, "after": far}

    found = dl.diagnose(network, np.eye(3, dtype=np.float32), repeats=8)
    assert found.named("rounding").where == "near"
    assert found.named("rounding").measured.startswith("at near the median 1 - rho")


def test_one_input_is_diagnosed_without_warnings():
    with np.errstate(all="raise"):
        assert diagnosed(small, X[:1]).evidence.begin == 0
        assert dl.diagnose(dl.MLP(width=32, depth=3), np.ones((1, 4)), networks=50).healthy
