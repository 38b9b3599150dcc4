"""The memory of every thread is counted before it is taken, and what a process then takes is what was planned."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import deeplim as dl
from deeplim import memory
from deeplim.errors import InputError
from deeplim.finite import kernel
from deeplim.finite.chain import prepare
from deeplim.finite.weights import sample_weights

MiB = 2**20
MANY = dl.gram(np.random.default_rng(0).standard_normal((30, 60)))
WIDE = dl.ResNet(width=10**6, depth=1)
OWN = """
import numpy as np
def phi(x): return np.asarray(sorted({0: np.tanh(x)}.values(), key=len)[0])  # nothing that Numba compiles
"""


def left(monkeypatch: pytest.MonkeyPatch, size: float) -> None:
    """Pretend that the process may still fill so many bytes."""
    monkeypatch.setattr(memory, "memory_left", lambda: int(size))


def test_a_thread_has_room_for_the_rows_of_sixteen_networks():
    for network, rows in (
        (WIDE, 1),
        (dl.ResNet(width=10**6, depth=1, normalization="rmsnorm", placement="before-activation"), 1),
        (dl.ResNet(width=10**6, depth=1, normalization="rmsnorm", placement="after-sum"), 2),
        (dl.MLP(width=10**6, depth=1, normalization="layernorm"), 1),
        (dl.MLP(width=10**6, depth=1), 0),
        (dl.ResNet(width=10**6, depth=1, normalization="batchnorm"), 1),
    ):
        found = prepare(network, MANY, None, "auto", "cpu", 100).memory
        assert found == pytest.approx(rows * 16 * 10**6 * 30 * 8, rel=1e-3, abs=MiB), str(network)


RUNS = {
    "summarize": lambda: dl.summarize(WIDE, MANY, networks=300, threads=2),
    "simulate": lambda: dl.simulate(WIDE, MANY, networks=300, threads=2),
    "plan": lambda: dl.plan(WIDE, MANY, networks=300, threads=2),
    "plan with output": lambda: dl.plan(WIDE, MANY, networks=300, threads=2, output="paths.npz"),
    "climb": lambda: dl.climb(WIDE, MANY, networks=300),
}


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_what_does_not_fit_is_refused_before_it_is_taken(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(kernel, "aligned", lambda *_: pytest.fail("memory was taken"))
    left(monkeypatch, 4e9)
    with pytest.raises(InputError) as refused:
        run()
    said = "GiB of memory and 80% of what is left to this process are 2.98; make the network narrower, or ask for fewer"
    assert "width 1000000" in str(refused.value)
    assert said in str(refused.value)
    assert not list(tmp_path.iterdir())


def test_paths_that_do_not_fit_are_refused(monkeypatch):
    left(monkeypatch, 1e6)
    for run in (dl.simulate, dl.plan):
        options = {} if run is dl.simulate else {"output": "paths.npz"}
        with pytest.raises(InputError, match=r"10,000 samples of 2 inputs at 41 layers take .* dl.summarize"):
            run(dl.MLP(width=20, depth=40), dl.gram(correlation=0.3), networks=10_000, **options)
    with pytest.raises(InputError, match=r"weights and states of .* make the network narrower"):
        sample_weights(dl.MLP(width=2000, depth=2), dl.gram(correlation=0.3), networks=1)


def test_fewer_threads_run_where_memory_has_no_room_for_all(monkeypatch):
    network = dl.ResNet(width=2000, depth=2)
    options = {"networks": 600, "threads": 3}
    everywhere = dl.summarize(network, MANY, **options).to_dict()
    each = prepare(network, MANY, None, "auto", "cpu", 600).memory
    for room, fitting in ((2.2, "1 thread"), (3.4, "2 threads")):  # of which four fifths are planned with
        left(monkeypatch, room * each)
        found = dl.plan(network, MANY, **options)
        assert (found.threads, found.wanted) == (int(fitting[0]), 3)
        assert f"on {fitting} (memory has no room for 3) will take" in str(found)
        assert dl.summarize(network, MANY, **options).to_dict() == everywhere
    left(monkeypatch, 1e11)
    found = dl.plan(network, MANY, **options)
    assert (found.threads, found.wanted) == (3, 3)
    assert "no room" not in str(found)


NUMPY = "activation=dl.Elementwise(function='own:phi')"
MEASURED = {
    "resnet, 1 thread": ("dl.ResNet(width=40_000, depth=1)", 30, 1),
    "resnet, 2 threads": ("dl.ResNet(width=40_000, depth=1)", 30, 2),
    "layernorm": ("dl.MLP(width=60_000, depth=1, normalization='layernorm')", 20, 2),
    "layernorm, resnet": ("dl.ResNet(width=60_000, depth=1, normalization='layernorm', placement='after-sum')", 10, 2),
    # Arrays of more than 32 MiB without input 0, which C's library gives back to the system as they are freed.
    "numpy": (f"dl.MLP(width=500_000, depth=1, {NUMPY})", 10, 1),
    "numpy, resnet": (f"dl.ResNet(width=500_000, depth=1, {NUMPY})", 10, 1),
    "500 inputs": ("dl.MLP(width=20, depth=2)", 500, 2),
}
RUN = """
import deeplim as dl, numpy as np
from deeplim.planning import peak_memory, plan, resident_memory
inputs = dl.gram(np.random.default_rng(0).standard_normal(({inputs}, 600)))
dl.summarize({small}, inputs, networks=1, threads=1, layers=[1])  # kernels are loaded now
before = resident_memory()
"""


def numbers_of(code: str, folder: Path) -> list[int]:
    """What a Python process of its own prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=folder)
    return list(map(int, done.stdout.split()))


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith(("linux", "darwin")), reason="the system does not tell the memory")
@pytest.mark.parametrize("network", MEASURED.values(), ids=MEASURED)
def test_planned_memory_is_what_a_run_takes_in_every_thread(network, tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    words, inputs, threads = network
    small = words.replace("000,", ",").replace("_,", ",")
    options = f"networks={40 if threads > 1 else 1}, threads={threads}"
    code = RUN.format(inputs=inputs, small=small)
    [planned] = numbers_of(f"{code}print(plan({words}, inputs, {options}).memory - before)", tmp_path)
    [really] = numbers_of(f"{code}dl.summarize({words}, inputs, {options}); print(peak_memory() - before)", tmp_path)
    assert planned == pytest.approx(really, rel=0.2)
    assert really > 60 * MiB  # so much that it is no noise
