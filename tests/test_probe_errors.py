"""What the probe refuses, each in one sentence, and what it announces."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from probed import convolutional, mlp, transformer
from refusals import refusal
from torch import nn

import deeplim as dl
from deeplim.probe import RoundingWarning
from deeplim.probe.torch_hooks import Output, Recorder
from deeplim.probe.torch_inputs import read_arguments

X = np.random.default_rng(0).standard_normal((4, 12))


class Odd(nn.Module):
    """A model that does what it is told to in its forward pass."""

    def __init__(self, forward):
        super().__init__()
        self.linear, self.does = nn.Linear(12, 12), forward

    def forward(self, x):
        return self.does(self, x)


def fails(model, x):
    raise KeyError("no such\nthing" + 500 * "!")


def never(*_):
    raise ZeroDivisionError("by zero")


def poisoned(value: float) -> nn.Module:
    model = mlp()
    with torch.no_grad():
        model[3].weight[0, 1] = value
    return model


def exploding_batches():
    yield torch.ones(2, 12)
    raise OSError("disk gone")


CASES = {
    "a number for a model": (3, X, "an object of type int was given to probe; give a PyTorch or Flax module"),
    "a factory of something else": (lambda: 3, X, "the factory returned an object of type int"),
    "a factory that needs arguments": (lambda width: mlp(), X, "could not make a model (TypeError"),
    "a factory that raises": (never, X, "could not make a model (ZeroDivisionError: by zero)"),
    "a wrong shape": (mlp, X[:, :5], "of shape (4, 5) (in its module 0: RuntimeError: mat1 and mat2 shapes"),
    "a wrong name": (mlp, {"y": X}, "of shape (4, 12) (TypeError"),
    "a wrong number of arguments": (mlp, (X, X), "of shape (4, 12), (4, 12) (TypeError"),
    "a model that raises": (Odd(fails), X, 'KeyError: "no such'.replace('"', "'")),
    "a NaN weight": (poisoned(np.nan), X, "the parameter 3.weight contains a NaN or an infinity"),
    "an infinite weight": (poisoned(np.inf), X, "the parameter 3.weight contains a NaN or an infinity"),
    "a lazy module": (nn.LazyLinear(3), X, "the parameter weight has no values yet"),
    "whole numbers out": (Odd(lambda model, x: x.long()), X.astype(int), "no module gave floating numbers"),
    "no batch axis": (Odd(lambda model, x: x.sum()), X.astype(int), "no module gave floating numbers"),
    "no inputs": (mlp, X[:0], "0 inputs were given; give from 1 to 512"),
    "too many inputs": (mlp, np.ones((513, 12)), "513 inputs were given; give from 1 to 512"),
    "a NaN input": (mlp, np.full((2, 12), np.nan), "the inputs (0) contain a NaN or an infinity"),
    "an infinite input": (mlp, {"input": np.full((2, 12), np.inf)}, "the inputs (input) contain a NaN"),
    "words": (mlp, np.array([["a"]]), "an array of type <U1 was given as inputs"),
    "text": (mlp, "digits", "inputs of type str were given"),
    "a number": (mlp, 3.0, "inputs of type float were given"),
    "numbers in lists": (mlp, [[1.0, 2.0], [3.0]], "the inputs are lists of unequal lengths"),
    "nothing in a tuple": (mlp, (), "empty inputs hold no tensor with an axis"),
    "nothing in a dict": (mlp, {}, "empty inputs hold no tensor with an axis"),
    "nothing but a flag": (mlp, (True,), "the inputs (True,) hold no tensor with an axis"),
    "one number for each input": (
        nn.Linear(12, 1),
        X.astype(np.float32),
        "no module gave floating numbers for each of 4",
    ),
    "a sparse tensor": (mlp, torch.ones(4, 12).to_sparse(), "of layout torch.sparse_coo was given as inputs; give"),
    "sparse rows": (mlp, {"input": torch.ones(4, 12).to_sparse_coo()}, "give tensor.to_dense()"),
    "a tensor without values": (mlp, (torch.ones(4, 12, device="meta"),), "on the meta device, without values"),
    "a nested tensor": (mlp, torch.nested.as_nested_tensor([torch.ones(2)], layout=torch.jagged), "a nested tensor"),
    "a batch of sparse ones": (mlp, [torch.ones(4, 12).to_sparse()], "of layout torch.sparse_coo"),
    "eight bits": (mlp, torch.ones(4, 12).to(torch.float8_e5m2), "float8_e5m2 was given as inputs; give tensor.float"),
    "a scalar tensor": (mlp, torch.tensor(1.0), "hold no tensor with an axis"),
    "no batches": (mlp, [], "the iterable of batches that was given is empty"),
    "batches that raise": (mlp, exploding_batches(), "the batches of inputs could not be read (OSError: disk gone)"),
    "batches of many sizes": (mlp, [X[:2], X[:2, :3]], "the batches of inputs could not be read (RuntimeError: Sizes"),
    "one input for batch statistics": (nn.BatchNorm1d(12), X[:1], "Expected more than 1 value per channel"),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("verb", [dl.probe.record, dl.probe.record_gradients])
def test_each_refusal_is_one_sentence(case: str, verb):
    model, inputs, told = CASES[case]
    if case == "batches that raise":
        inputs = exploding_batches()
    if verb is dl.probe.record_gradients and told.startswith("no module gave"):
        told = "gradients need some"
    assert told in refusal(lambda: verb(model, inputs, repeats=2))


OPTIONS = {
    "repeats": (0, "0 repeats were asked for"),
    "seed": (-1, "the seed -1 was given"),
    "per": ("head", "per='head' was given; it must be 'input' or 'token'"),
    "most": (0, "most=0 was given; give a whole number from 1 to 512"),
    "modules": (["0", "fc1"], "the model has no module 'fc1'; it has 0, 1, 2"),
    "initialize": (lambda model: None, "initialize= draws the weights of a model's copies, and a factory was given"),
}


@pytest.mark.parametrize("option", OPTIONS)
def test_options_out_of_range(option: str):
    value, told = OPTIONS[option]
    assert told in refusal(lambda: dl.probe.record(mlp, X, **{option: value}))


@pytest.mark.skipif(np.dtype(np.longdouble).itemsize == 8, reason="long doubles are doubles on this machine")
@pytest.mark.parametrize(
    "inputs", [X.astype(np.longdouble), {"input": X.astype(np.longdouble)}, X.astype("clongdouble")]
)
def test_more_than_double_precision_is_refused(inputs):
    assert "give double precision, array.astype(" in refusal(lambda: dl.probe.record(mlp, inputs))


def test_numbers_in_another_order_of_bytes_are_numbers():
    swapped, plain = (dl.probe.record(mlp, x, repeats=1) for x in (X.astype(">f8"), X))
    assert (swapped.log_gap == plain.log_gap).all()


@pytest.mark.parametrize("verb", [dl.probe.record, dl.probe.record_gradients])
def test_some_module_must_be_chosen(verb):
    for none in ([], (), iter([])):
        assert "modules= names no module; give at least one" in refusal(lambda none=none: verb(mlp, X, modules=none))
    assert "chooses none of what there is" in refusal(lambda: verb(mlp, X, modules=lambda name, module: False))
    assert verb(mlp, X, repeats=2, modules=iter(["0"])).layer_names == ("input", "0")


def test_initializations_that_fail_or_draw_nothing():
    assert "changed no parameter" in refusal(lambda: dl.probe.record(mlp(), X, initialize=lambda model: None))
    assert "failed (ZeroDivisionError: by zero)" in refusal(lambda: dl.probe.record(mlp(), X, initialize=never))


def test_a_model_that_cannot_be_copied_can_still_be_looked_at():
    model = mlp()
    model.open = (i for i in range(3))
    assert dl.probe.record(model, X, repeats=1).samples == 1
    assert "the model cannot be copied (TypeError: cannot pickle" in refusal(lambda: dl.probe.record(model, X))


@pytest.mark.parametrize("verb", [dl.probe.record, dl.probe.record_gradients, dl.diagnose])
@pytest.mark.parametrize("model", [mlp, mlp()])
def test_an_initialization_that_cannot_be_called_is_refused_before_anything_runs(model, verb):
    assert refusal(lambda: verb(model, X, initialize=3)).startswith(
        "initialize=3 was given; give a function that draws"
    )


@pytest.mark.parametrize("place", ["input", "0", "3"])
def test_an_error_of_the_probe_itself_is_not_told_as_the_models(place: str):
    def take(output: Output) -> bool:
        return never() if output.name == place else True

    model = mlp().double()
    with pytest.raises(ZeroDivisionError, match=r"^by zero$"):
        Recorder(model, None, take).run(model, read_arguments(X, 4))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_what_a_model_raises_after_an_error_of_the_probe_is_its_own():
    def catches(model, x):
        try:
            return model.linear(x)
        except ZeroDivisionError:
            raise KeyError("mine") from None

    model = Odd(catches).double()
    recorder = Recorder(model, ["linear"], lambda output: output.name != "linear" or never())
    assert "KeyError: 'mine'" in refusal(lambda: recorder.run(model, read_arguments(X, 4)))


def test_networks_that_run_other_modules():
    count = iter(range(9))

    def sometimes(model, x):
        return x if next(count) else model.linear(x)

    assert "network 1 ran nothing more where network 0 ran linear" in refusal(
        lambda: dl.probe.record(lambda: Odd(sometimes), X, repeats=2)
    )


def test_no_gradient_without_an_output_that_depends_on_anything():
    def cut(model, x):
        return model.linear(x).detach()

    assert "gradients need some" in refusal(lambda: dl.probe.record_gradients(Odd(cut), X, repeats=1))


def test_sequences_are_needed_for_tokens():
    assert "for each of 4 sequences of tokens" in refusal(lambda: dl.probe.record(mlp, X, per="token"))
    assert "for each of 1 sequence of tokens" in refusal(lambda: dl.probe.record(mlp, X[:1], per="token"))


def test_one_number_an_input_has_no_correlation_and_is_left_out():
    paths = dl.probe.record(nn.Sequential(nn.Linear(12, 3), nn.Linear(3, 1)), X, repeats=1)
    assert paths.layer_names == ("input", "0")
    assert "left out, not being a row of floating numbers for each input: 1" in paths.source


def test_a_question_of_keys_stops_at_once():
    def interrupted(model, x):
        raise KeyboardInterrupt

    model = Odd(interrupted)
    with pytest.raises(KeyboardInterrupt):
        dl.probe.record(model, X)
    assert model.training
    assert not model._forward_hooks
    assert not model.linear._forward_pre_hooks


def nearly_parallel(places: int = 6) -> np.ndarray:
    """Inputs that differ in the last digit of single precision, each in another entry."""
    row = np.random.default_rng(1).standard_normal(64).astype(np.float32)
    rows = np.tile(row, (places, 1))
    for i in range(1, places):
        rows[i, i] = np.nextafter(row[i], np.float32(10))
    return rows


def deep(activation: type[nn.Module], width: int, depth: int, normalized: bool) -> nn.Module:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for layer in range(depth):
        linear = nn.Linear(width if layer else 64, width, bias=False)
        nn.init.kaiming_normal_(linear.weight)
        layers += [linear, *([nn.LayerNorm(width)] if normalized else []), activation()]
    return nn.Sequential(*layers)


@pytest.mark.parametrize("case", [(nn.ReLU, 400, 20, False), (nn.ReLU, 100, 30, True), (nn.GELU, 200, 20, False)])
def test_the_rounding_floor_is_where_single_precision_leaves_double(case):
    """What the double precision copy puts far below the floor, single precision puts below it too, and far above zero.

    Gaps a thousand times above the floor are the copy's to the tenth that rounding of their size may move them.
    """
    rows = nearly_parallel()
    model = deep(*case)
    with torch.random.fork_rng(), pytest.warns(RoundingWarning, match="the numbers are its rounding rather than"):
        single = dl.probe.record(model, rows, repeats=1)
    double = dl.probe.record(model.double(), rows.astype(float), repeats=1)
    floor = single.log_gap_floor[None, :, None] + np.zeros_like(single.log_gap)
    lost = np.isfinite(single.log_gap) & (double.log_gap < floor - np.log(1e3))
    assert lost[:, 1:].mean() > 0.3
    assert (single.log_gap[lost] < floor[lost]).all()
    assert (single.log_gap[lost] > double.log_gap[lost] + np.log(3)).mean() > 0.5
    assert single.rounding[lost].all()
    apart = rows + np.random.default_rng(2).normal(0, 1e-3, rows.shape).astype(np.float32)
    seen = dl.probe.record(model.float(), apart, repeats=1)
    exact = dl.probe.record(model.double(), apart.astype(float), repeats=1)
    above = exact.log_gap > floor + np.log(1e3)
    assert above.mean() > 0.9
    assert seen.log_gap[above] == pytest.approx(exact.log_gap[above], abs=0.1)


def test_one_gap_of_rounding_is_told_in_the_singular():
    model = deep(nn.Identity, 64, 1, False)
    with pytest.warns(RoundingWarning, match=r"does not resolve 1 of 2 gaps \(layer 0\), where the numbers are its"):
        dl.probe.record(model, nearly_parallel(2), repeats=1, modules=["0"])


def test_no_framework_is_imported_before_a_model_is_given():
    code = "import sys, deeplim; deeplim.probe.record; assert not {'torch', 'jax', 'flax'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    late = """
import sys, numpy, deeplim as dl
def factory():
    import torch
    return torch.nn.Linear(3, 2)
paths = dl.probe.record(factory, numpy.eye(3), repeats=2)
assert paths.layer_names == ("input", "output")
again = dl.probe.record(factory, numpy.eye(3), repeats=2)
assert (paths.log_norm == again.log_norm).all()
try:
    dl.probe.record(lambda: 3, numpy.eye(3))
except dl.errors.InputError as error:
    print(error)
"""
    run = subprocess.run([sys.executable, "-W", "error", "-c", late], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_batch_statistics_and_images_are_named_when_the_model_does_not_take_them():
    message = refusal(lambda: dl.probe.record(convolutional, np.ones((2, 1, 8, 8))))
    assert "(2, 1, 8, 8) (in its module 0: RuntimeError: Given groups=1, weight of size [8, 3, 3, 3]" in message
    ids = torch.full((2, 30), 3)
    assert "of shape (2, 30) (in its module wpe: " in refusal(lambda: dl.probe.record(transformer, {"input_ids": ids}))


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak memory of a process where Linux keeps it")
def test_activations_are_dropped_as_soon_as_they_are_recorded():
    code = """
import numpy, torch, deeplim as dl
def peak():
    return max(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 1024
torch.set_num_threads(1)
class Add(torch.nn.Module):
    def forward(self, x):
        return x + 1
model, x = torch.nn.Sequential(*[Add() for _ in range(60)]), numpy.ones((4, 2**19), dtype=numpy.float32)
x[:, :4] = numpy.eye(4)
dl.probe.record(model, x, repeats=1, modules=["0"])
before = peak()
dl.probe.record(model, x, repeats=2)
print(peak() - before)
"""
    # Large blocks straight from the system: glibc otherwise keeps a fragmented heap, which is not the probe's to count.
    given = os.environ | {"MALLOC_MMAP_THRESHOLD_": "1000000"}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=given)
    assert run.returncode == 0, run.stderr
    assert float(run.stdout) < 60  # all 60 activations of 8 MB would be 480
