"""Several threads that probe at once get the numbers of one, and models that they share are left as they were."""

import concurrent.futures as futures
import contextlib
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from flax_networks import LinenNetwork, NNXNetwork
from portraits import portrait, world
from tiers import quick
from torch import nn

import deeplim as dl
from deeplim.diagnosis import branch_exponent, coordinate_check
from deeplim.probe import world as of_probes
from deeplim.probe.reading import read_architecture
from deeplim.torch import ScaledResidual, apply_, shape_

X = torch.tensor(np.random.default_rng(0).standard_normal((4, 8)), dtype=torch.float32)
THREADS, CALLS = 8, 12


def make(width: int = 16) -> nn.Module:
    return nn.Sequential(nn.Linear(8, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.5), nn.Linear(width, 4))


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4))


class Noisy(nn.Module):
    """A model whose forward pass draws random numbers of every global kind, and counts."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.calls = nn.Linear(8, 8), 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        legacy: Any = np.random
        return self.layer(x) + torch.randn(8) + legacy.normal() + self.calls


def residual(depth: int) -> nn.Module:
    blocks = [ScaledResidual(nn.Linear(8, 8), depth**-0.5) for _ in range(depth)]
    return nn.Sequential(nn.Linear(8, 8), *blocks)


def function(seed: int, x: Any) -> list[np.ndarray]:
    weights: Any = np.random.default_rng(seed).standard_normal((8, 6))
    legacy: Any = np.random
    return [np.asarray(x) @ weights * legacy.normal()]


def _numbers(paths: dl.Paths) -> list[np.ndarray]:
    return [paths.log_norm, paths.log_gap]


GIVEN, NOISY, READ = make().train(), Noisy().train(), mlp()
PROBES: dict[str, Callable[[], list[Any]]] = {
    "record a factory": lambda: _numbers(dl.probe.record(make, X, repeats=4)),
    "record a model": lambda: _numbers(dl.probe.record(GIVEN, X, repeats=4)),
    "record a model of chance": lambda: _numbers(dl.probe.record(NOISY, X, repeats=4)),
    "record_gradients": lambda: _numbers(dl.probe.record_gradients(GIVEN, X, repeats=4)),
    "diagnose a factory": lambda: _numbers(dl.diagnose(make, X, repeats=4, networks=10).evidence.measured),
    "diagnose a model": lambda: _numbers(dl.diagnose(GIVEN, X, repeats=4, networks=10).evidence.measured),
    "assert_healthy": lambda: _numbers(dl.assert_healthy(GIVEN, X, repeats=4, networks=10).evidence.measured),
    "coordinate_check": lambda: [
        c.absolute for c in coordinate_check(make, X, widths=[8, 16, 32], repeats=2, step=lambda m: m, steps=1).modules
    ],
    "branch_exponent": lambda: [branch_exponent(residual, X, depths=[2, 4, 8], repeats=2).scales],
    "read_architecture": lambda: [w.variance for w in read_architecture(mlp, inputs=X).weights],
    "read a model": lambda: [w.variance for w in read_architecture(READ, inputs=X).weights],
    "observable": lambda: [sorted(dict(dl.probe.observable(READ, inputs=X).named_modules()))],
    "a linen module": lambda: _numbers(dl.probe.record(LinenNetwork(), X.numpy(), repeats=2)),
    "an NNX factory": lambda: _numbers(dl.probe.record(NNXNetwork, X.numpy(), repeats=2)),
    "a function": lambda: _numbers(dl.probe.record(function, X.numpy(), repeats=4)),
}


def _at_once(probe: Callable[[], Any]) -> list[Any]:
    """What many calls on several threads return, that switch as often as they can."""
    pause = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    try:
        with futures.ThreadPoolExecutor(THREADS) as pool:
            return [one.result() for one in [pool.submit(probe) for _ in range(CALLS)]]
    finally:
        sys.setswitchinterval(pause)


@pytest.mark.parametrize("name", quick(*list(PROBES)[::3], of=PROBES))
def test_every_thread_gets_the_numbers_of_one(name: str):
    wanted = PROBES[name]()
    models = [portrait(model) for model in (GIVEN, NOISY, READ)]
    around = world()
    for found in _at_once(PROBES[name]):
        for ours, one in zip(found, wanted, strict=True):
            if isinstance(one, list):
                assert ours == one
            else:  # up to the rounding of sums that threads of a library share out
                np.testing.assert_allclose(ours, one, rtol=1e-4, atol=1e-4)
    assert world() == around
    assert [portrait(model) for model in (GIVEN, NOISY, READ)] == models


def test_the_same_calls_without_the_lock_differ(monkeypatch):
    """The control: what threads do to each other is seen."""
    model = Noisy()
    wanted = _numbers(dl.probe.record(model, X, repeats=4))
    monkeypatch.setattr(of_probes, "alone", contextlib.nullcontext)
    before = portrait(model)

    def probe() -> bool:
        try:
            return np.allclose(_numbers(dl.probe.record(model, X, repeats=4))[0], wanted[0], atol=1e-4)
        except Exception:  # of hooks, or modules, that another thread has removed
            return False

    assert not all(_at_once(probe)) or portrait(model) != before


def test_threads_that_shape_one_model_take_turns():
    target = dl.Target(correlation=0.9, quantile=0.5)
    model = mlp()
    alone_ = mlp()
    alone_.load_state_dict(model.state_dict())
    shape_(alone_, target, seed=0, networks=200)
    _at_once(lambda: shape_(model, target, seed=0, networks=200))
    shaped = read_architecture(model, inputs=X).network
    assert shaped == read_architecture(alone_, inputs=X).network
    network = dl.MLP(width=16, depth=2, activation=dl.LeakyReLU(slope=0.3))
    _at_once(lambda: apply_(model, network, seed=1))
    apply_(alone_, network, seed=1)
    for ours, one in zip(model.parameters(), alone_.parameters(), strict=True):
        assert torch.equal(ours, one)


def test_a_factory_may_probe():
    def factory() -> nn.Module:
        inner = dl.probe.record(mlp, X, repeats=1)
        assert read_architecture(mlp, inputs=X).network is not None
        model = mlp()
        with torch.no_grad():
            model[0].weight.mul_(float(np.exp(-inner.log_norm[0, 1].mean() / 2)))
        return model

    wanted = _numbers(dl.probe.record(factory, X, repeats=3))
    for found in _at_once(lambda: _numbers(dl.probe.record(factory, X, repeats=3))):
        np.testing.assert_allclose(found[0], wanted[0], rtol=1e-4, atol=1e-4)


def test_a_model_that_shows_its_functions_may_run_in_several_threads():
    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(8, 16), nn.Linear(16, 16)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(self.first(x)) + self.last(torch.tanh(self.first(x)))

    shown, plain = dl.probe.observable(Functional(), inputs=X), mlp()
    wanted = shown(X)
    stop = threading.Event()

    def runs_another() -> None:
        while not stop.is_set():
            plain(X)

    beside = threading.Thread(target=runs_another)
    beside.start()
    try:
        assert all(torch.allclose(found, wanted, atol=1e-5) for found in _at_once(lambda: shown(X)))
    finally:
        stop.set()
        beside.join()


@pytest.mark.skipif(sys.platform == "win32", reason="processes fork on Unix")
def test_a_process_that_is_forked_while_a_thread_probes_can_probe():
    code = """
import os, threading
from deeplim.probe.world import alone
holding, release = threading.Event(), threading.Event()
def hold():
    with alone():
        holding.set()
        release.wait(60)
holder = threading.Thread(target=hold)
holder.start()
holding.wait(60)
child = os.fork()
if child == 0:
    with alone():
        os._exit(3)
signal = threading.Timer(30, os.kill, (child, 9))
signal.start()
_, status = os.waitpid(child, 0)
signal.cancel()
release.set()
assert os.waitstatus_to_exitcode(status) == 3
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
