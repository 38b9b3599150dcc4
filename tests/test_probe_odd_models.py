"""Models in odd states and with odd outputs: probed as others are, or refused in a sentence, and left as they were."""

import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from refusals import refusal
from torch import nn

import deeplim as dl
from deeplim.probe.factories import COTANGENT, stream
from deeplim.probe.torch_hooks import kept_as_it_was

VERBS = pytest.mark.parametrize("verb", [dl.probe.record, dl.probe.record_gradients])
X = torch.tensor(np.random.default_rng(0).standard_normal((3, 6)))


def chain(seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2)).double()


def same(ours: dl.Paths, other: dl.Paths) -> bool:
    return np.array_equal(ours.log_norm, other.log_norm) and np.array_equal(ours.log_gap, other.log_gap)


class Written(nn.Module):
    """Layers and a forward pass written down in a test."""

    def __init__(self, forward: Callable, **layers: nn.Module) -> None:
        super().__init__()
        self.written = forward
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x):
        return self.written(self, x)


@VERBS
def test_weights_on_the_meta_device_have_no_values(verb):
    told = "are on the meta device, without values; materialise them first"
    assert told in refusal(lambda: verb(chain().to("meta"), X))
    assert told in refusal(lambda: verb(lambda: chain().to("meta"), X))


@VERBS
@pytest.mark.parametrize("within", [torch.func.vmap, lambda f: lambda x: torch.func.vjp(f, x)[0]])
def test_a_module_inside_a_transformation_is_left_out(verb, within):
    model = Written(lambda self, x: self.outside(within(self.inside)(x)), inside=nn.Linear(6, 6), outside=chain())
    plain = Written(lambda self, x: self.outside(self.inside(x)), inside=model.inside, outside=model.outside)
    paths = verb(model.double(), X, repeats=2)
    assert paths.source.endswith("left out, running inside a transformation such as jit, scan or vmap: inside")
    seen = verb(plain, X, repeats=2)
    assert "inside" in (seen.layer_names or ())
    expected = seen.named([name for name in seen.layer_names or () if name != "inside"])
    np.testing.assert_allclose(paths.log_norm, expected.log_norm, rtol=1e-12)
    np.testing.assert_allclose(paths.log_gap, expected.log_gap, rtol=1e-12)


@VERBS
@pytest.mark.parametrize("made_there", [False, True])
def test_inference_mode_changes_nothing(verb, made_there: bool):
    with torch.inference_mode(made_there):
        model = chain()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.inference_mode():
        paths = verb(model, X, repeats=2)
        assert torch.is_inference_mode_enabled()
        assert same(verb(chain, X, repeats=2), verb(chain, X.clone(), repeats=2))
    assert same(paths, verb(chain(), X, repeats=2))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.training
    assert all(p.requires_grad and p.is_inference() == made_there for p in model.parameters())


def test_what_cannot_be_restored_does_not_keep_the_rest_from_it():
    model = chain()
    linear, norm = model[0], model[1]
    mean, variance = norm.running_mean.clone(), norm.running_var.clone()
    model.table = np.zeros(3)

    def disturbed() -> None:
        with kept_as_it_was(model):
            model.table.flags.writeable = False
            norm.running_mean.resize_(3)
            norm.running_var += 1
            linear.bias.requires_grad_(False)
            assert not linear.training

    assert "the model could not be put back to what it was (ValueError: assignment" in refusal(disturbed)
    assert torch.equal(norm.running_mean, mean)
    assert torch.equal(norm.running_var, variance)
    assert linear.bias.requires_grad
    assert linear.training


@VERBS
def test_scripted_models_are_asked_for_before_scripting(verb):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        scripted, traced = torch.jit.script(chain()), torch.jit.trace(chain()[0], X)
        inside = nn.Sequential(nn.Linear(6, 6).double(), torch.jit.script(nn.Linear(6, 6).double()))
    for model in (scripted, traced, lambda: scripted):
        told = "the model is scripted or traced and cannot be hooked; give the model before scripting it"
        assert told in refusal(lambda model=model: verb(model, X))
    assert "the module 1 is scripted" in refusal(lambda: verb(inside, X))


@pytest.mark.filterwarnings("ignore:Complex modules are a new feature")
def test_complex_numbers_are_two_real_ones_forward_and_backward():
    """The twin: a real network on twice as many numbers, each complex weight the rotation and scale that it is."""

    def as_real(layer: nn.Linear) -> nn.Linear:
        weight = layer.weight.detach()
        real = nn.Linear(2 * layer.in_features, 2 * layer.out_features, bias=False).double()
        with torch.no_grad():
            real.weight.copy_(
                torch.cat([torch.cat([weight.real, -weight.imag], 1), torch.cat([weight.imag, weight.real], 1)])
            )
        return real

    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = nn.Sequential(*[nn.Linear(n, m, bias=False).to(torch.complex128) for n, m in ((6, 9), (9, 1))])
    twin = nn.Sequential(*map(as_real, model))
    x = torch.complex(X, X.flip(0))
    apart = torch.cat([x.real, x.imag], 1)
    paths, real = (dl.probe.record(*given, repeats=1) for given in ((model, x), (twin, apart)))
    assert paths.layer_names == ("input", "0")
    assert "numbers for each input: 1" in paths.source
    assert paths.modules.features.tolist() == [12, 18]
    assert paths.log_norm == pytest.approx(real.log_norm[:, :2], abs=1e-12)
    assert paths.log_gap == pytest.approx(real.log_gap[:, :2], abs=1e-12)
    backward = dl.probe.record_gradients(model[0], x, repeats=1)
    pull = np.random.default_rng(stream(0, 0, COTANGENT)).standard_normal((9, 2))
    pull = torch.tensor(pull / np.sqrt(np.mean(pull**2))).T.reshape(-1)  # real parts, then imaginary ones
    expected = (pull @ twin[0].weight.detach()).square().mean()
    assert backward.layer_names == ("input", "output")
    assert np.exp(backward.log_norm[0, 0]) == pytest.approx(float(expected), rel=1e-12)
    with torch.no_grad():
        model[1].weight[0, 2] = complex(0, np.nan)
    assert "the parameter 1.weight contains a NaN" in refusal(lambda: dl.probe.record(model, x))


def names_left_out(model: nn.Module, x: torch.Tensor, per: str = "input") -> str:
    return dl.probe.record(model.double(), x, repeats=1, per=per).source.partition("not being a row of floating ")[2]


def test_every_module_left_out_is_named():
    sequences = torch.tensor(np.random.default_rng(2).standard_normal((3, 4, 6)))
    second = Written(
        lambda self, x: self.head(self.lstm(x.transpose(0, 1))[0][-1]), lstm=nn.LSTM(6, 7), head=nn.Linear(7, 2)
    )
    assert names_left_out(second, sequences) == "numbers for each input: lstm"
    turned = Written(lambda self, x: self.linear(x).T, linear=nn.Linear(6, 7))
    assert names_left_out(turned, X) == "numbers for each input: output"
    within = Written(lambda self, x: self.head(self.turned(x).T), turned=turned, head=nn.Linear(7, 2))
    assert names_left_out(within, X) == "numbers for each input: turned"
    whole = Written(lambda self, x: (self.linear(x), self.choice(x))[0], linear=nn.Linear(6, 7))
    whole.choice = Written(lambda self, x: x.argmax(1))
    assert names_left_out(whole, X) == "numbers for each input: choice"
    views = nn.Sequential(nn.Linear(6, 8), nn.Identity(), nn.Unflatten(1, (2, 4)), nn.Flatten())
    assert names_left_out(views, X) == ""  # recorded, once


@VERBS
@pytest.mark.parametrize("predicate", [lambda name: True, lambda: True, lambda name, module: name.nothing])
def test_a_function_that_cannot_choose_modules(verb, predicate):
    message = refusal(lambda: verb(chain, X, modules=predicate))
    assert "modules=<function <lambda>> failed for the module output (" in message
    assert "give names, or a function of a name and a module" in message
    assert "modules=3 was given; give names" in refusal(lambda: verb(chain, X, modules=3))


@VERBS
def test_lists_of_numbers_are_arrays(verb):
    wanted = verb(chain, X, repeats=1)
    rows = X.tolist()
    for inputs in (rows, [tuple(row) for row in rows], (rows,), {"input": rows}, [X[:2], X[2:]]):
        assert same(verb(chain, inputs, repeats=1), wanted)
    ids = [[1, 2, 3], [3, 2, 0]]
    embedding = nn.Embedding(4, 5)
    assert same(verb(embedding, ids, repeats=1), verb(embedding, torch.tensor(ids), repeats=1))
    assert "lists of unequal lengths" in refusal(lambda: verb(chain, [[1.0, 2.0], [3.0]]))


def test_functions_take_lists_of_numbers_as_arrays():
    def model(seed: int, x: np.ndarray) -> list[np.ndarray]:
        return [x @ np.random.default_rng(seed).standard_normal((6, 5))]

    assert same(dl.probe.record(model, X.tolist(), repeats=2), dl.probe.record(model, X.numpy(), repeats=2))


def test_what_is_not_a_number_has_exploded():
    paths = dl.probe.record(Written(lambda self, x: torch.where(x == x[0], torch.nan, x)), X, repeats=2)
    norms = np.log(np.mean(X.numpy() ** 2, axis=1))
    assert paths.log_norm[:, 1] == pytest.approx(np.tile([np.inf, *norms[1:]], (2, 1)))
    assert paths.exploded.tolist() == [0, 2]
    assert paths.dead.tolist() == [0, 0]
    assert np.isnan(paths.log_gap[:, 1]).all()


def test_refusals_show_no_address():
    message = refusal(lambda: dl.probe.record(chain(), X, initialize=lambda model: None))
    assert "<lambda>> changed no parameter" in message
    assert "0x" not in message
