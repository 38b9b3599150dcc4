"""Plans: their arithmetic on costs that are known, and their memory against processes that really run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import deeplim as dl
from deeplim import planning
from deeplim.errors import InputError
from deeplim.planning import plan
from deeplim.tally import block_size

PAIR = dl.gram(correlation=0.3)
NETWORK = dl.MLP(width=20, depth=1000)


class KnownCost:
    """Runs that take what a formula says and nothing else; and what they were asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, each: float, saving: float = 0.0) -> None:
        self.asked: list[tuple[int, list[int]]] = []

        def take(_: object, networks: int, layers: list[int]) -> float:
            self.asked.append((networks, layers))
            return each * networks * layers[-1] / NETWORK.depth

        monkeypatch.setattr(planning._Run, "draw", take)
        monkeypatch.setattr(planning._Run, "save", lambda *_: saving)

    @property
    def layers(self) -> int:
        return sum(networks * layers[-1] for networks, layers in self.asked)


@pytest.mark.parametrize("each", [1e-8, 1e-6, 1e-4, 1e-2, 1.0, 100.0])
@pytest.mark.parametrize("networks", [1, 40, 10_000, 10_000_000])
@pytest.mark.parametrize("layers", [None, [1000], [3, 900]])
def test_a_linear_cost_is_predicted_exactly(monkeypatch, each, networks, layers):
    known = KnownCost(monkeypatch, each)
    found = plan(NETWORK, PAIR, networks=networks, threads=2, layers=layers)
    last = 900 if layers == [3, 900] else 1000
    assert found.seconds == pytest.approx(each * networks * last / 1000, rel=1e-9)
    assert found.fastest == pytest.approx(found.seconds) == found.slowest
    assert found.networks_per_second == pytest.approx(networks / found.seconds)
    trial, reached = known.asked[-1]
    assert trial <= networks
    # Well under a second, unless a single layer of the fewest networks takes long.
    assert each * known.layers / 1000 < 1.0 or reached[-1] <= 2
    assert ("linear in layers" in found.calibration) == (reached[-1] < last)


def test_networks_are_timed_to_the_last_layer_when_that_is_affordable(monkeypatch):
    known = KnownCost(monkeypatch, 1e-3)
    plan(NETWORK, PAIR, networks=100_000, threads=2)
    networks, layers = known.asked[-1]
    assert (networks >= 32, layers[-1]) == (True, 1000)
    known = KnownCost(monkeypatch, 1e-1)
    plan(NETWORK, PAIR, networks=100_000, threads=2)
    networks, layers = known.asked[-1]
    assert networks == 32
    assert 10 <= layers[-1] < 100


def test_cheap_networks_are_timed_in_whole_rounds_of_the_blocks_of_the_run(monkeypatch):
    known = KnownCost(monkeypatch, 1e-6)
    plan(NETWORK, PAIR, networks=10_000_000, threads=2)
    assert known.asked[-1][0] % (2 * block_size(10_000_000, 41, 2)) == 0


def test_saving_is_added(monkeypatch, tmp_path):
    for each in (1e-6, 1.0):
        KnownCost(monkeypatch, each, saving=5e-3)
        found = plan(NETWORK, PAIR, networks=1000, threads=2, output=tmp_path / "paths.npz")
        assert found.seconds == pytest.approx(1000 * (each + 5e-3), rel=1e-9)


def test_the_spread_is_that_of_the_trials(monkeypatch):
    times = iter([1e-9, 0.06, 0.07, 0.09, 0.05, 0.06, 0.08])  # loading, growing, and as many trials as take 0.3 s
    monkeypatch.setattr(planning._Run, "draw", lambda *_: next(times))
    network = dl.MLP(width=5, depth=1)
    found = plan(network, PAIR, networks=20, threads=2)
    assert (found.seconds, found.fastest, found.slowest) == pytest.approx((0.07, 0.05, 0.09))


@pytest.mark.parametrize(
    "network",
    [dl.MLP(width=10, depth=4), dl.ResNet(width=10, depth=4), dl.MLP(width=10, depth=4, normalization="layernorm")],
    ids=["mlp", "resnet", "row by row"],
)
def test_a_plan_runs_on_the_real_thing_and_leaves_nothing_behind(network, tmp_path):
    for output in (None, tmp_path / "paths.npz"):
        found = plan(network, dl.digits(), networks=100_000, threads=2, output=output)
        assert 0 < found.fastest <= found.seconds <= found.slowest
        assert found.threads == 2
        assert found.memory > 2**20
        json.dumps(found.to_dict(), allow_nan=False)
        assert "100,000 networks on 2 threads" in str(found)
    assert not list(tmp_path.iterdir())


SIZES = {"networks": 80_000, "threads": 2, "layers": list(range(1, 41))}
RUN = """
import deeplim as dl
from deeplim.planning import peak_memory, plan
network, pair = dl.MLP(width=16, depth=40), dl.gram(correlation=0.3)
dl.summarize(network, pair, networks=1)  # compiled now, so that neither process below does that
"""
SUMMARISE = "dl.summarize(network, pair, **sizes); print(peak_memory())"
SAVE = "paths = dl.simulate(network, pair, **sizes); paths.save('a.npz'); dl.Summary.of(paths); print(peak_memory())"
PLAN = "print(*(plan(network, pair, output=output, **sizes).memory for output in (None, 'a.npz')))"


def numbers_of(code: str, folder: Path) -> list[int]:
    """What a Python process of its own prints."""
    words = [sys.executable, "-c", f"sizes = {SIZES}{RUN}{code}"]
    return list(map(int, subprocess.run(words, capture_output=True, text=True, check=True, cwd=folder).stdout.split()))


@pytest.mark.skipif(not sys.platform.startswith(("linux", "darwin")), reason="the system does not tell the memory")
@pytest.mark.slow
def test_planned_memory_is_what_a_process_then_takes(tmp_path):
    numbers_of("", tmp_path)
    summary, paths = numbers_of(PLAN, tmp_path)
    [really] = numbers_of(SUMMARISE, tmp_path)
    assert summary == pytest.approx(really, rel=0.15)
    [really] = numbers_of(SAVE, tmp_path)
    assert paths == pytest.approx(really, rel=0.15)
    assert summary < 0.75 * really  # a plan that forgets the paths is not within 15%


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"networks": 0}, "0 networks were asked for"),
        ({"networks": 10, "layers": [2000]}, "the layer 2000"),
        ({"networks": 10, "threads": 0}, "0 threads"),
        ({"networks": 10**9, "output": "paths.npz"}, "simulate without --output"),
        ({"networks": 10, "output": "nowhere/paths.npz"}, "the folder of nowhere"),
    ],
)
def test_what_the_run_would_refuse_is_refused(options, sentence):
    with pytest.raises(InputError, match=sentence):
        plan(NETWORK, PAIR, **options)


def test_what_is_no_inputs_is_refused():
    for run in (plan, dl.summarize):
        with pytest.raises(InputError, match="gram"):
            run(NETWORK, [[1.0, 0.3], [0.3, 1.0]], networks=10)
