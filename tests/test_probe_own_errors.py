"""Whatever a user's code raises is told as its own, in one sentence; a person's KeyboardInterrupt passes."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import pytest
import torch
from flax import linen, nnx
from portraits import portrait, world
from refusals import refusal
from torch import nn

import deeplim as dl
from deeplim.diagnosis import branch_exponent, coordinate_check
from deeplim.probe.reading import read_architecture
from deeplim.torch import shape_

X = np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32)


class Unspeakable(Exception):
    """An exception that cannot be told in words."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


class Own(BaseException):
    """An exception that is none of Python's."""


def _closed_generator() -> None:
    def parts() -> Iterator[int]:
        yield 1

    running = parts()
    next(running)
    running.throw(GeneratorExit)


RAISES: dict[str, tuple[Callable[[], object], str]] = {
    "KeyError": (lambda: {}["no such\nname"], "KeyError: 'no such\\nname'"),
    "SystemExit": (lambda: sys.exit("bye"), "SystemExit: bye"),
    "exit code": (lambda: sys.exit(2), "SystemExit: 2"),
    "GeneratorExit": (_closed_generator, "GeneratorExit"),
    "StopIteration": (lambda: next(iter(())), "StopIteration"),
    "no words": (lambda: (_ for _ in ()).throw(Unspeakable()), "Unspeakable"),
    "one of its own": (lambda: (_ for _ in ()).throw(Own("mine")), "Own: mine"),
    "control characters": (lambda: (_ for _ in ()).throw(ValueError("\x1b[31mred\x00\n.")), "ValueError: [31mred"),
    "recursion": (lambda: (_ for _ in ()).throw(RecursionError("too deep")), "RecursionError: too deep"),
    "an assertion": (lambda: (_ for _ in ()).throw(AssertionError()), "AssertionError"),
    "no memory": (lambda: (_ for _ in ()).throw(MemoryError()), "MemoryError"),
}
EACH = pytest.mark.parametrize("name", RAISES)


class Forward(nn.Module):
    """A model that does something in its forward pass."""

    def __init__(self, does: Callable[[], object]) -> None:
        super().__init__()
        self.does, self.layer, self.last = does, nn.Linear(8, 6), nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.layer(x)
        self.does()
        return self.last(h)


class _Back(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, does: Callable[[], object]) -> torch.Tensor:
        ctx.does = does
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        ctx.does()
        return gradient, None


class Backward(Forward):
    """A model that does something in its backward pass."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(_Back.apply(self.layer(x), self.does))


class Hooked(Forward):
    """A model whose backward hook does something."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.layer(x)
        if h.requires_grad:
            h.register_hook(lambda gradient: self.does())
        return self.last(h)


class InPlace(nn.Module):
    """A model that spoils what its backward pass needs."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(8, 16), nn.Linear(16, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.first(x)
        h.relu_()
        h.add_(1)
        return self.last(h)


VERBS: dict[str, Callable[[Any], object]] = {
    "record": lambda model: dl.probe.record(model, X, repeats=2),
    "record_gradients": lambda model: dl.probe.record_gradients(model, X, repeats=2),
    "diagnose": lambda model: dl.diagnose(model, X, repeats=2, networks=5),
    "assert_healthy": lambda model: dl.assert_healthy(model, X, repeats=2, networks=5),
    "observable": lambda model: dl.probe.record(dl.probe.observable(model, inputs=X), X, repeats=2),
    "coordinate_check": lambda model: coordinate_check(
        lambda width: model() if callable(model) and not isinstance(model, nn.Module) else model,
        X,
        widths=[2, 4],
        repeats=2,
    ),
    "branch_exponent": lambda model: branch_exponent(
        lambda depth: model, X, depths=[2, 4], stream=lambda m: ["layer", "last"]
    ),
    "shape_": lambda model: shape_(model, dl.Target(), networks=100),
}


@EACH
@pytest.mark.parametrize("verb", VERBS)
def test_in_the_forward_pass(name: str, verb: str):
    does, told = RAISES[name]
    model = Forward(does)
    before, around = portrait(model), world()
    message = refusal(lambda: VERBS[verb](model))
    assert told in message
    assert "\x1b" not in message
    assert portrait(model) == before
    assert world() == around
    assert "could not be run" in (read_architecture(model, inputs=X).why_not or "")


@EACH
@pytest.mark.parametrize("verb", [one for one in VERBS if one not in ("shape_", "branch_exponent")])
def test_in_a_factory(name: str, verb: str):
    does, told = RAISES[name]
    around = world()
    message = refusal(lambda: VERBS[verb](lambda: does() and nn.Linear(8, 4)))
    assert "could not make a model" in message
    assert told in message
    assert world() == around


@EACH
@pytest.mark.parametrize("kind", [Backward, Hooked])
@pytest.mark.parametrize("verb", ["record_gradients", "diagnose", "assert_healthy"])
def test_in_the_backward_pass(name: str, kind: type[Forward], verb: str):
    does, told = RAISES[name]
    model = kind(does)
    before, around = portrait(model), world()
    message = refusal(lambda: VERBS[verb](model))
    assert message.startswith("the model's gradients could not be computed (")
    assert told in message
    assert portrait(model) == before
    assert world() == around
    assert dl.probe.record(model, X, repeats=2).samples == 2
    assert dl.diagnose(model, X, repeats=2, networks=5, gradients=False).evidence.backward is None


@pytest.mark.parametrize("verb", ["record_gradients", "diagnose", "assert_healthy"])
@pytest.mark.parametrize("model", [InPlace, InPlace()])
def test_what_is_changed_in_place(model: Any, verb: str):
    message = refusal(lambda: VERBS[verb](model))
    assert message.startswith("the model's gradients could not be computed (RuntimeError: one of the variables needed")
    assert message.endswith("or look at signals alone, by record or gradients=False.")


@EACH
def test_in_what_else_is_called(name: str):
    does, told = RAISES[name]

    def batches() -> Iterator[np.ndarray]:
        yield X
        does()

    class Odd(torch.utils.data.Dataset[Any]):
        def __len__(self) -> int:
            return 3

        def __getitem__(self, at: int) -> Any:
            return does()

    class NoCopy(nn.Linear):
        def __deepcopy__(self, memo: Any) -> Any:
            return does()

    class NoArray:
        def __array__(self, *args: Any, **options: Any) -> Any:
            return does()

    def raises(*_: Any) -> Any:
        return does()

    def linear() -> nn.Module:
        return nn.Linear(8, 4)

    loader = torch.utils.data.DataLoader(Odd(), batch_size=1)
    calls: dict[str, Callable[[], object]] = {
        "batches of inputs could not be read": lambda: dl.probe.record(linear, batches(), repeats=1),
        "inputs could not be read": lambda: dl.diagnose(linear, batches(), repeats=1),
        "of inputs could not be": lambda: dl.probe.record(linear, loader, repeats=1),
        "initialize=": lambda: dl.probe.record(linear(), X, initialize=raises),
        "modules=": lambda: dl.probe.record(linear, X, modules=raises),
        "cannot be copied": lambda: dl.probe.record(NoCopy(8, 4), X, repeats=2),
        "model cannot be copied": lambda: dl.probe.observable(NoCopy(8, 4), inputs=X),
        "step=": lambda: coordinate_check(lambda n: linear(), X, widths=[2, 4], step=raises, steps=1),
        "stream=": lambda: branch_exponent(lambda n: linear(), X, depths=[2, 4], stream=raises),
        "could not be called with a seed": lambda: dl.probe.record(lambda seed, x: does(), X),
        "failed": lambda: dl.probe.record(lambda seed, x: (does() for _ in range(2)), X),
        "returned 0 as no array": lambda: dl.probe.record(lambda seed, x: [NoArray()], X),
    }
    for words, call in calls.items():
        message = refusal(call)
        if name != "StopIteration":  # which a generator makes a RuntimeError, and which ends an iteration
            assert words in message
            assert told in message


@EACH
def test_in_flax_modules(name: str):
    does, told = RAISES[name]

    class Linen(linen.Module):
        @linen.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            h = linen.Dense(6)(x)
            does()
            return linen.Dense(4)(h)

    class NNX(nnx.Module):
        def __init__(self, *, rngs: nnx.Rngs, at_once: bool = False) -> None:
            self.layer = nnx.Linear(8, 6, rngs=rngs)
            if at_once:
                does()

        def __call__(self, x: jax.Array) -> jax.Array:
            h = self.layer(x)
            does()
            return h

    around = world()
    sound = linen.Dense(4)
    for verb in (dl.probe.record, dl.probe.record_gradients, dl.diagnose):
        assert told in refusal(lambda verb=verb: verb(Linen(), X, repeats=2))
        assert told in refusal(lambda verb=verb: verb(NNX(rngs=nnx.Rngs(0)), X, repeats=2))
        assert told in refusal(lambda verb=verb: verb(NNX, X, repeats=2))
        assert told in refusal(lambda verb=verb: verb(lambda rngs: NNX(rngs=rngs, at_once=True), X, repeats=2))
        assert told in refusal(lambda verb=verb: verb(sound, X, repeats=2, initialize=lambda variables: does()))
    assert world() == around


@jax.custom_vjp
def _broken(x: jax.Array) -> jax.Array:
    return x


def _no_backward(residual: Any, gradient: jax.Array) -> Any:
    raise SystemExit("no way back")


_broken.defvjp(lambda x: (x, None), _no_backward)


@pytest.mark.parametrize("verb", [dl.probe.record_gradients, dl.diagnose])
def test_in_the_backward_pass_of_flax_modules(verb: Callable[..., object]):
    class Linen(linen.Module):
        @linen.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            return _broken(linen.Dense(6)(x))

    message = refusal(lambda: verb(Linen(), X, repeats=2))
    assert message.startswith("the model's gradients could not be computed (SystemExit: no way back)")


def _probing(probe: Callable[..., object], *args: Any, **options: Any) -> Callable[[], object]:
    return lambda: probe(*args, **options)


INTERRUPTED: dict[str, Callable[[Callable[[], object]], Callable[[], object]]] = {
    "forward": lambda does: _probing(dl.probe.record, Forward(does), X),
    "backward": lambda does: _probing(dl.probe.record_gradients, Backward(does), X),
    "diagnosis": lambda does: _probing(dl.diagnose, Backward(does), X, repeats=2),
    "reading": lambda does: _probing(read_architecture, Forward(does), inputs=X),
    "factory": lambda does: _probing(dl.probe.record, lambda: does() and nn.Linear(8, 4), X),
    "initialization": lambda does: _probing(dl.probe.record, nn.Linear(8, 4), X, initialize=lambda model: does()),
    "choice": lambda does: _probing(dl.probe.record, nn.Linear(8, 4), X, modules=lambda name, module: does()),
    "batches": lambda does: _probing(dl.probe.record, nn.Linear(8, 4), (does() for _ in range(3))),
    "a function": lambda does: _probing(dl.probe.record, lambda seed, x: does(), X),
    "linen": lambda does: _probing(dl.probe.record, linen.Dense(4), X, initialize=lambda variables: does()),
}
"""Probes in which something is done, by where; what makes their models has drawn its random numbers before."""


@pytest.mark.parametrize("where", INTERRUPTED)
def test_an_interrupt_passes(where: str):
    def interrupts() -> object:
        raise KeyboardInterrupt

    probe = INTERRUPTED[where](interrupts)
    around = world()
    with pytest.raises(KeyboardInterrupt):
        probe()
    assert world() == around


@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal to itself")
@pytest.mark.parametrize("where", ["forward", "backward", "factory"])
def test_the_keys_of_a_person_interrupt_what_takes_long(where: str):
    def takes_long() -> object:
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
        torch.manual_seed(0)
        for _ in range(600):
            time.sleep(0.1)
        return None

    probe = INTERRUPTED[where](takes_long)
    around = world()
    with pytest.raises(KeyboardInterrupt):
        probe()
    assert world() == around
