"""Probes leave the world as it was: random numbers, settings, and given models whatever they do in their forward."""

import contextlib
import random
import warnings
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from portraits import portrait, world
from torch import nn

import deeplim as dl
from deeplim.errors import InputError
from deeplim.probe import torch_states
from deeplim.probe.reading import read_architecture

X = torch.tensor(np.random.default_rng(0).standard_normal((3, 6)), dtype=torch.float32)
legacy: Any = np.random


class Writer(nn.Module):
    """A model with something of every kind, whose forward pass does what it is told to."""

    def __init__(self, does: Callable[["Writer", torch.Tensor], object]) -> None:
        super().__init__()
        self.does = does
        self.first = nn.Linear(6, 16)
        self.norm = nn.BatchNorm1d(16)
        self.last = nn.Linear(16, 4)
        self.free = nn.Parameter(torch.ones(4))
        self.spare = nn.Linear(2, 2)
        self.register_buffer("kept", torch.ones(3))
        self.plain, self.table = torch.ones(5), np.ones(5)
        self.count, self.seen, self.cache = 0, [1], {"a": [torch.ones(2)]}
        self.named, self.some, self.last_few = OrderedDict(b=1, a=2), {1, 2}, deque([1, 2], maxlen=2)
        self.first.weight.grad = torch.ones_like(self.first.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.relu(self.norm(self.first(x)))
        self.does(self, h)
        return self.last(h) * self.free.mean()


def _no_grad(change: Callable[[Writer], object]) -> Callable[[Writer, torch.Tensor], None]:
    def does(model: Writer, h: torch.Tensor) -> None:
        with torch.no_grad():
            change(model)

    return does


def _numbers_of_parameters_by_numpy(model: Writer, h: torch.Tensor) -> None:
    model.last.weight.detach().numpy()[:] = 7.0


def _trains(model: Writer, h: torch.Tensor) -> None:
    with torch.enable_grad():
        model.last(h.detach()).square().mean().backward()
        with torch.no_grad():
            for parameter in model.last.parameters():
                parameter.sub_(0.1 * parameter.grad)


def _deletes(model: Writer, h: torch.Tensor) -> None:
    del model.spare, model.kept, model.plain, model.cache, model.count


def _containers(model: Writer, h: torch.Tensor) -> None:
    model.seen.append(h)
    model.cache["a"].append(3)
    model.cache["a"][0].add_(1)
    model.cache["b"] = h
    model.named.move_to_end("b")
    model.some.add(3)
    model.last_few.append(3)


def _hooks(model: Writer, h: torch.Tensor) -> None:
    model.register_forward_hook(lambda *_: None)
    model.first.register_full_backward_hook(lambda *_: None)
    model.spare.register_forward_pre_hook(lambda *_: None)
    model.spare.weight.register_hook(lambda gradient: gradient)


def _swaps(model: Writer, h: torch.Tensor) -> None:
    model.spare.__class__ = nn.Identity
    model.first, model.extra = nn.Linear(6, 16), nn.Linear(1, 1)
    model.free = nn.Parameter(torch.zeros(4))
    model.register_buffer("kept", torch.zeros(9))
    model.register_parameter("another", nn.Parameter(torch.zeros(1)))


DISTURBANCES: dict[str, Callable[[Writer, torch.Tensor], object]] = {
    "numbers of parameters": _no_grad(lambda model: [p.mul_(1.5).add_(1) for p in model.parameters()]),
    "numbers of parameters, by data": lambda model, h: [p.data.mul_(1.5) for p in model.parameters()],
    "numbers of parameters, by NumPy": _numbers_of_parameters_by_numpy,
    "numbers of parameters, all at once": _no_grad(lambda model: torch._foreach_mul_(list(model.parameters()), 2.0)),
    "an initialization": lambda model, h: nn.init.orthogonal_(model.last.weight),
    "an output written into a parameter": _no_grad(lambda model: torch.add(model.free, 1, out=model.free.data)),
    "memory of parameters": lambda model, h: setattr(model.last.weight, "data", torch.zeros(4, 16)),
    "types of parameters": lambda model, h: model.spare.double(),
    "sizes": _no_grad(lambda model: (model.norm.running_mean.resize_(3), model.plain.resize_(2))),
    "training": _trains,
    "gradients": lambda model, h: model.zero_grad(),
    "numbers of gradients": lambda model, h: model.first.weight.grad.mul_(3),
    "tracking": lambda model, h: model.requires_grad_(False),
    "numbers of buffers": lambda model, h: (model.kept.add_(1), model.norm.running_var.zero_()),
    "attributes": lambda model, h: (setattr(model, "count", model.count + 1), setattr(model, "new", h)),
    "numbers of tensors": lambda model, h: (model.plain.mul_(2), model.table.fill(3)),
    "history of tensors": lambda model, h: model.plain.add_(model.free.mean()),
    "attributes of parameters": lambda model, h: setattr(model.free, "touched", True),
    "what is deleted": _deletes,
    "containers": _containers,
    "modes": lambda model, h: (model.train(), model.spare.eval()),
    "hooks": _hooks,
    "modules": _swaps,
}
VERBS: dict[str, Callable[[Any], object]] = {
    "record": lambda model: dl.probe.record(model, X, repeats=2),
    "record_gradients": lambda model: dl.probe.record_gradients(model, X, repeats=2),
    "read_architecture": lambda model: read_architecture(model, inputs=X),
    "observable": lambda model: dl.probe.observable(model, inputs=X),
    "diagnose": lambda model: dl.diagnose(model, X, repeats=2, networks=10),
}


def _made(does: Callable[..., object]) -> Writer:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Writer(does)


def _leaves_alone(model: Writer, probe: Callable[[], object], raised: type[BaseException] | None = None) -> None:
    before, around = portrait(model), world()
    try:
        probe()
    except InputError:
        assert raised is not KeyboardInterrupt
    except KeyboardInterrupt:
        assert raised is KeyboardInterrupt
    after = portrait(model)
    assert list(after) == list(before)
    assert [place for place in before if after[place] != before[place]] == []
    assert world() == around


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("disturbance", DISTURBANCES)
def test_a_given_model_is_left_as_it_was(disturbance: str, verb: str):
    model = _made(DISTURBANCES[disturbance])
    _leaves_alone(model, lambda: VERBS[verb](model))
    if verb == "record":
        model.eval()
        _leaves_alone(model, lambda: VERBS[verb](model))


@pytest.mark.parametrize("disturbance", DISTURBANCES)
@pytest.mark.parametrize("raised", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_also_when_it_raises(disturbance: str, raised: type[BaseException]):
    def does(model: Writer, h: torch.Tensor) -> None:
        DISTURBANCES[disturbance](model, h)
        raise raised

    model = _made(does)
    for verb in ("record", "record_gradients", "diagnose"):
        _leaves_alone(model, lambda verb=verb: VERBS[verb](model), raised)


@pytest.mark.parametrize("disturbance", [one for one in DISTURBANCES if not one.endswith("NumPy")])
def test_also_when_its_tensors_are_too_large_to_be_copied_beforehand(disturbance: str, monkeypatch):
    monkeypatch.setattr(torch_states, "SMALL", 0)
    monkeypatch.setattr(torch_states, "ROOM", 0)
    model = _made(DISTURBANCES[disturbance])
    for verb in ("record", "record_gradients", "diagnose"):
        _leaves_alone(model, lambda verb=verb: VERBS[verb](model))


@pytest.mark.parametrize("disturbance", ["numbers of parameters, by data", "modules", "containers", "training"])
def test_also_when_a_factory_returns_it(disturbance: str):
    model = _made(DISTURBANCES[disturbance])

    def again() -> nn.Module:
        model.last.reset_parameters()
        return model

    for verb in VERBS:
        _leaves_alone(model, lambda verb=verb: VERBS[verb](lambda: model))
        _leaves_alone(model, lambda verb=verb: VERBS[verb](again))
        _leaves_alone(model, lambda verb=verb: VERBS[verb](lambda: nn.Sequential(model)))


def test_the_comparison_of_portraits_sees_each_disturbance():
    blind = []
    for name, does in DISTURBANCES.items():
        model = _made(does)
        before = portrait(model)
        with contextlib.suppress(RuntimeError):  # what a change makes of the rest of the pass
            model(X)
        if portrait(model) == before:
            blind.append(name)
    assert blind == []


SETTINGS: dict[str, Callable[[], object]] = {
    "random numbers": lambda: (random.seed(1), legacy.seed(1), torch.manual_seed(1)),
    "another generator": lambda: legacy.set_bit_generator(np.random.PCG64(0)),
    "default type": lambda: torch.set_default_dtype(torch.float64),
    "gradient mode": lambda: torch._C._set_grad_enabled(False),
    "autocast": lambda: (
        torch.set_autocast_enabled("cpu", True),
        torch.set_autocast_dtype("cpu", torch.float16),
    ),
    "deterministic algorithms": lambda: torch.use_deterministic_algorithms(True, warn_only=True),
    "cuDNN": lambda: (
        setattr(torch.backends.cudnn, "deterministic", True),
        setattr(torch.backends.cudnn, "benchmark", True),
    ),
    "precision": lambda: torch.set_float32_matmul_precision("medium"),
    "threads": lambda: torch.set_num_threads(1 + torch.get_num_threads()),
    "anomalies": lambda: torch.autograd.set_detect_anomaly(True),
    "filters": lambda: (warnings.simplefilter("ignore"), warnings.filterwarnings("ignore", message="x")),
    "NumPy's errors": lambda: np.seterr(all="ignore"),
    "hooks on all modules": lambda: nn.modules.module.register_module_forward_hook(lambda *_: None),
}


@pytest.mark.filterwarnings("ignore:Anomaly Detection")
@pytest.mark.parametrize(
    ("verb", "raised"), [*((verb, None) for verb in VERBS), ("record", ValueError), ("diagnose", KeyboardInterrupt)]
)
@pytest.mark.parametrize("setting", SETTINGS)
def test_settings_are_left_as_they_were(setting: str, verb: str, raised: type[BaseException] | None):
    def does(*_: Any) -> None:
        SETTINGS[setting]()
        if raised is not None:
            raise raised

    def factory() -> nn.Module:
        does()
        return Writer(lambda *_: None)

    for subject in (_made(does), factory):
        around = world()
        try:
            VERBS[verb](subject)
        except (InputError, KeyboardInterrupt):
            assert raised is not None or verb == "record_gradients" or verb == "diagnose"
        assert world() == around


class Loader(torch.utils.data.Dataset[torch.Tensor]):
    """Inputs with noise from generators of its own."""

    def __init__(self) -> None:
        self.numpy, self.python = np.random.default_rng(3), random.Random(4)
        self.old, self.torch = legacy.RandomState(5), torch.Generator().manual_seed(6)

    def __len__(self) -> int:
        return 24

    def __getitem__(self, at: int) -> torch.Tensor:
        noise = self.numpy.normal() + self.python.random() + self.old.normal() + random.random() + legacy.normal()
        return X[at % 3] + at + noise + torch.randn((), generator=self.torch)


def _states(loader: torch.utils.data.DataLoader) -> list[Any]:
    data: Any = loader.dataset
    generators = [loader.generator, getattr(loader.sampler, "generator", None), data.torch]
    tensors = [None if one is None else one.get_state().tolist() for one in generators]
    return [*tensors, data.numpy.bit_generator.state, data.python.getstate(), data.old.get_state()[1].tolist()]


@pytest.mark.parametrize("own", ["none", "loader", "sampler"])
def test_generators_of_loaders_are_left_as_they_were(own: str):
    data, generator = Loader(), torch.Generator().manual_seed(2)
    given: dict[str, Any] = {"generator": generator} if own == "loader" else {}
    if own == "sampler":
        given["sampler"] = torch.utils.data.RandomSampler(data, generator=generator)
    else:
        given["shuffle"] = True
    loader = torch.utils.data.DataLoader(data, batch_size=4, **given)
    model = _made(lambda *_: None)
    before, around = _states(loader), world()
    found = [dl.probe.record(model, loader, repeats=2, most=8) for _ in range(2)]
    np.testing.assert_array_equal(found[0].log_norm, found[1].log_norm)
    dl.diagnose(model, loader, repeats=2, networks=10)
    assert _states(loader) == before
    assert world() == around


def test_generators_that_code_reaches_are_left_as_they_were():
    generator, numbers = torch.Generator().manual_seed(1), np.random.default_rng(1)

    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 6)
            self.own = torch.Generator().manual_seed(3)
            nn.init.normal_(self.layer.weight, generator=generator)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            noise = torch.randn((), generator=self.own) + torch.randn((), generator=generator)
            return self.layer(x) + noise + numbers.normal()

    model = Noisy()
    own = model.own.get_state()
    states = generator.get_state(), numbers.bit_generator.state
    for subject in (model, Noisy, lambda: Noisy().train()):
        found = [dl.probe.record(subject, X, repeats=3) for _ in range(2)]
        np.testing.assert_array_equal(found[0].log_norm, found[1].log_norm)
        assert torch.equal(generator.get_state(), states[0])
        assert numbers.bit_generator.state == states[1]
    assert torch.equal(model.own.get_state(), own)


def test_inputs_are_left_as_they_were():
    def writes(seed: int, x: Any) -> list[np.ndarray]:
        (x["0"] if isinstance(x, dict) else x)[:] = 0
        return [np.ones((3, 5))]

    class Appends(nn.Linear):
        def forward(self, x: torch.Tensor, options: list[int] | None = None) -> torch.Tensor:
            if options is not None:
                options.append(1)
            return super().forward(x.mul_(2))

    rows, options = X.numpy().copy(), [1]
    given: dict[str, Any] = {"0": rows.copy()}
    dl.probe.record(writes, rows, repeats=2)
    dl.probe.record(writes, given, repeats=2)
    for inputs in (rows, X, (rows,), {"x": rows, "options": options}):
        dl.probe.record(Appends(6, 8), inputs, repeats=2)
    assert np.array_equal(rows, X.numpy())
    assert np.array_equal(given["0"], X.numpy())
    assert options == [1]


class Counting(nnx.Module):
    """A Flax model that writes into all that it has."""

    def __init__(self, *, rngs: nnx.Rngs) -> None:
        self.layer, self.rngs, self.total = nnx.Linear(6, 6, rngs=rngs), rngs, nnx.Variable(jnp.zeros(()))
        self.count, self.table, self.seen, self.parts = 0, np.ones(3), nnx.static([]), nnx.List([])

    def __call__(self, x: jax.Array) -> jax.Array:
        self.count += 1
        self.table += 1
        self.total[...] += 1
        self.seen.append(1)
        self.parts.append(nnx.Variable(jnp.ones(())))
        legacy.normal()
        return self.layer(x) + jax.random.normal(self.rngs.params(), (6,))


def test_flax_models_are_left_as_they_were():
    model = Counting(rngs=nnx.Rngs(0))

    def state() -> Any:
        held = model.count, model.table.tolist(), model.seen[:], len(model.parts), float(model.total[...])
        return held, int(model.rngs.params.count[...]), world()

    before = state()
    found = [dl.probe.record(model, X.numpy(), repeats=2) for _ in range(2)]
    np.testing.assert_array_equal(found[0].log_norm, found[1].log_norm)
    dl.probe.record_gradients(model, X.numpy(), repeats=2)
    dl.diagnose(model, X.numpy(), repeats=2, networks=10)
    assert state() == before
