"""Ctrl-C inside long compiled calls: heard while they run, and they end; each would else take minutes to hours."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable

import numpy as np
import pytest

import deeplim as dl

PAIR, FIVE = dl.gram(correlation=0.3), dl.gram(np.random.default_rng(0).standard_normal((5, 9)))


def numpy_alone(x: np.ndarray) -> np.ndarray:
    return np.asarray(sorted({0: np.tanh(x)}.values(), key=len)[0])


def shaped(width: int, depth: int) -> dl.MLP:
    return dl.MLP(width=width, depth=depth, activation=dl.ShapedReLU())


def sde(inputs, samples: int, **sizes) -> Callable[[], object]:
    return lambda: dl.predict(dl.limits.find(shaped(**sizes))[0], inputs, samples=samples, layers=[sizes["depth"]])


SHORT, LONG = {"width": 8, "depth": 2}, {"width": 3_000_000, "depth": 10_000}
CALLS = {
    "pair of slopes": lambda size, n: dl.simulate(dl.MLP(**size), PAIR, networks=n, layers=[size["depth"]]),
    "five inputs": lambda size, n: dl.simulate(dl.MLP(**size), FIVE, networks=n, layers=[size["depth"]], threads=1),
    "tanh": lambda size, n: dl.summarize(
        dl.MLP(**size, activation=dl.Elementwise(function="tanh")), PAIR, networks=n, layers=[size["depth"]]
    ),
    "resnet": lambda size, n: dl.simulate(
        dl.ResNet(width=min(size["width"], 100_000), depth=size["depth"]), PAIR, networks=n, layers=[size["depth"]]
    ),
    "layernorm": lambda size, n: dl.simulate(
        dl.MLP(width=min(size["width"], 100_000), depth=size["depth"], normalization="layernorm"),
        PAIR,
        networks=n,
        layers=[size["depth"]],
    ),
    "numpy": lambda size, n: dl.simulate(
        dl.MLP(
            width=min(size["width"], 100_000),
            depth=size["depth"],
            activation=dl.Elementwise(function=f"{__name__}:numpy_alone"),
        ),
        PAIR,
        networks=n,
        layers=[size["depth"]],
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_exact_networks_are_interrupted(name: str):
    CALLS[name](SHORT, 4)  # so that everything is compiled
    before = threading.active_count()
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        CALLS[name](LONG, 64)
    for thread in threading.enumerate():
        if (
            thread.daemon
            and thread is not threading.current_thread()
            and "_Crew" in repr(getattr(thread, "_target", ""))
        ):
            thread.join(60)
    assert threading.active_count() <= before


@pytest.mark.parametrize("inputs", [PAIR, FIVE], ids=["pair", "five"])
def test_diffusions_are_interrupted(inputs):
    sde(inputs, 4, width=10, depth=10)()
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        sde(inputs, 20_000_000, width=10, depth=10_000)()


def test_a_process_ends_at_the_first_interrupt():
    """Not after a batch of networks of its own, nor at Python's end, which waits for no kernel."""
    code = """
import deeplim as dl
inputs = dl.gram(correlation=0.3)
dl.simulate(dl.ResNet(width=8, depth=2), inputs, networks=4)
print("compiled", flush=True)
dl.simulate(dl.ResNet(width=100_000, depth=100_000), inputs, networks=100, layers=[100_000], threads=1)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"compiled\n"
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGINT
    assert said.rstrip().endswith(b"KeyboardInterrupt")
