"""The probe of PyTorch models, held against activations captured by hand, and the model it leaves behind."""

import copy
import random
from collections import OrderedDict
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from probed import check, convolutional, mlp, residual, transformer
from torch import nn

import deeplim as dl
from deeplim.errors import InputError
from deeplim.probe.factories import seeded

X = np.random.default_rng(0).standard_normal((6, 12))


def built(factory, seed: int = 0, repeat: int = 0) -> nn.Module:
    """The network that the probe sees as this repeat of a factory, in double precision."""
    with seeded(seed, repeat):
        return factory().double().eval()


def test_an_mlp_layer_by_layer():
    paths = dl.probe.record(lambda: mlp().double(), X, repeats=3, seed=4)
    assert paths.layer_names == ("input", "0", "1", "3", "4", "6")
    assert (paths.clock, paths.samples, paths.inputs, paths.width, paths.depth) == ("layer", 3, 6, None, None)
    for repeat in range(3):
        model = built(mlp, 4, repeat)
        x = torch.from_numpy(X)
        with torch.no_grad():
            first = model[0](x)
            rectified = torch.relu(first)
            second = model[3](rectified)
            found = {
                "input": x,
                "0": first,
                "1": rectified,
                "3": second,
                "4": second.tanh(),
                "6": model[6](second.tanh()),
            }
        check(paths, repeat, {name: value.numpy() for name, value in found.items()})


def test_residual_blocks_are_recorded_once_and_runs_are_numbered():
    x = np.random.default_rng(1).standard_normal((4, 10))
    model = residual().double()
    paths = dl.probe.record(model, x, repeats=1)
    blocks = ["first", "second", "first#2"]
    inside = [[f"{b.split('#')[0]}.{m}{'#2' * b.endswith('#2')}" for m in ("norm", "branch")] for b in blocks]
    wanted = ("input", *(name for i, block in enumerate(blocks) for name in (*inside[i], block)), "output")
    assert paths.layer_names == wanted
    state, found = torch.from_numpy(x), {}
    with torch.no_grad():
        for name, block in zip(blocks, (model.first, model.second, model.first), strict=True):
            inner = block.norm(state)
            branch = block.branch(inner)
            state = state + 0.5 * torch.tanh(branch)
            found |= dict(zip((*inside[blocks.index(name)], name), (inner, branch, state), strict=True))
    found["output"] = 2 * state
    check(paths, 0, {name: value.numpy() for name, value in found.items()})


def test_images_are_inputs_of_channels_and_positions_and_batchnorm_uses_the_batch():
    x = np.random.default_rng(2).standard_normal((5, 3, 8, 8))
    paths = dl.probe.record(lambda: convolutional().double(), x, repeats=1)
    model = built(convolutional)
    with torch.no_grad():
        first = torch.nn.functional.conv2d(torch.from_numpy(x), model[0].weight, model[0].bias)
        mean, variance = first.mean((0, 2, 3), keepdim=True), first.var((0, 2, 3), keepdim=True, unbiased=False)
        normal = (first - mean) / (variance + model[1].eps).sqrt()
        pooled = torch.nn.functional.avg_pool2d(normal.relu(), 2)
        last = model[5](pooled.reshape(5, -1))
    assert paths.layer_names == ("input", "0", "1", "2", "3", "5")
    found = {"input": torch.from_numpy(x), "0": first, "1": normal, "2": normal.relu(), "3": pooled, "5": last}
    check(paths, 0, {name: value.numpy() for name, value in found.items()})


@pytest.mark.parametrize("most", [64, 8])
def test_a_transformer_by_sequences_and_by_tokens(most: int):
    ids = torch.randint(0, 50, (3, 16), generator=torch.Generator().manual_seed(1))
    paths = dl.probe.record(transformer, {"input_ids": ids}, repeats=2, most=most)
    tokens = dl.probe.record(transformer, {"input_ids": ids}, repeats=2, per="token", most=most)
    assert paths.layer_names == tokens.layer_names
    assert (paths.samples, paths.inputs) == (2, 3)
    assert (tokens.samples, tokens.inputs) == (6, min(most, 16))
    assert tokens.names[-1] == ("token 15" if most == 64 else "token 14")
    assert "left out, not being a row of floating numbers for each input: wpe" in paths.source
    model = built(transformer, 0, 1)
    with torch.no_grad():
        hidden = model(ids, output_hidden_states=True).hidden_states
        inside = model.h[0].mlp.act(model.h[0].mlp.c_fc(model.h[0].ln_2(hidden[1] * 0 + hidden[0])))
    assert inside.shape == (3, 16, 128)
    named = {"drop": hidden[0], "h.0": hidden[1], "ln_f": hidden[2], "wte": model.wte(ids).detach()}
    check(paths, 1, {name: value.numpy() for name, value in named.items()})
    for sequence in range(3):
        check(tokens, 3 + sequence, {n: value[sequence, :: 16 // tokens.inputs].numpy() for n, value in named.items()})


def test_sequences_of_vectors_and_images_cut_into_tokens():
    class Patches(nn.Module):
        def __init__(self):
            super().__init__()
            self.cut, self.view, self.mix = nn.Conv2d(3, 8, 4, stride=4), nn.Identity(), nn.Linear(8, 8)

        def forward(self, x):
            return self.mix(self.view(self.cut(x).flatten(2).transpose(1, 2)))

    images = np.random.default_rng(3).standard_normal((2, 3, 8, 8))
    model = Patches().double()
    paths = dl.probe.record(model, images, repeats=1, per="token")
    assert (paths.layer_names, paths.samples, paths.inputs) == (("view", "mix"), 2, 4)
    assert "left out, not being a row of floating numbers for each token: cut" in paths.source
    with torch.no_grad():
        check(paths, 1, {"mix": model(torch.from_numpy(images))[1].numpy()})
    vectors = np.random.default_rng(4).standard_normal((2, 5, 8))
    paths = dl.probe.record(nn.Linear(8, 4).double(), vectors, repeats=1, per="token")
    assert (paths.layer_names, paths.inputs) == (("input", "output"), 5)
    check(paths, 0, {"input": vectors[0]})


def test_modules_are_chosen_by_name_or_by_a_function():
    named = dl.probe.record(mlp, X, repeats=1, modules=["3", "2"])
    assert named.layer_names == ("input", "2", "3")  # dropout by name, although it hands on what it was given
    linear = dl.probe.record(mlp, X, repeats=1, modules=lambda name, module: isinstance(module, nn.Linear))
    assert linear.layer_names == ("input", "0", "3", "6")
    containers = dl.probe.record(lambda: nn.Sequential(mlp(), nn.Linear(5, 2)), X, modules=lambda name, _: name == "0")
    assert containers.layer_names == ("input", "0")  # the same tensor as its last module's, which was not asked for
    every = dl.probe.record(mlp, X, repeats=1)
    assert (every.named(linear.layer_names).log_norm == linear.log_norm).all()


@pytest.mark.parametrize("per", ["input", "token"])
def test_inputs_come_in_many_forms(per: str):
    x = np.random.default_rng(5).standard_normal((8, 4, 12)).astype(np.float32)
    tensor, labels = torch.from_numpy(x), torch.arange(8)
    loaders = [
        torch.utils.data.DataLoader(torch.utils.data.TensorDataset(tensor, labels), batch_size=3),
        torch.utils.data.DataLoader(torch.utils.data.TensorDataset(tensor), batch_size=8),
        [tensor[:5], tensor[5:]],
        ((x[i : i + 2], i) for i in range(0, 8, 2)),
        [{"input": tensor[:4]}, {"input": tensor[4:]}],
    ]
    forms = [x, tensor, (tensor,), {"input": x}, OrderedDict(input=tensor), *loaders]
    model = nn.Sequential(nn.Linear(12, 5), nn.ReLU())
    found = [dl.probe.record(model, form, repeats=2, per=per, modules=["0"]) for form in forms]
    for paths in found[1:]:
        assert (paths.log_gap == found[0].log_gap).all()
    assert "first 8 inputs of 3 batches" in found[5].source


def test_of_a_loader_the_first_inputs_are_taken_and_no_more_batches_than_needed():
    asked = []

    def batches() -> Iterator[torch.Tensor]:
        for i in range(100):
            asked.append(i)
            yield torch.full((3, 12), float(i)) + torch.eye(3, 12)

    paths = dl.probe.record(mlp, batches(), repeats=1, most=7)
    assert paths.inputs == 7
    assert len(asked) == 3
    assert "first 7 inputs of 3 batches" in paths.source


def everything(model: nn.Module) -> list:
    """What a user could find changed in a model, and the global random numbers."""
    return [
        {name: value.clone() for name, value in model.state_dict().items()},
        [(name, id(value)) for name, value in model.named_buffers()],
        [module.training for module in model.modules()],
        [(p.requires_grad, None if p.grad is None else p.grad.clone()) for p in model.parameters()],
        [(len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks)) for m in model.modules()],
        torch.get_rng_state(),
        random.getstate(),
        np.random.get_state()[1].copy(),  # noqa: NPY002
    ]


def same(a: object, b: object) -> bool:
    """Whether two of these are equal bit by bit."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else bool(np.all(a == b))


class Breaks(nn.Module):
    """Raises after its inner model, batch statistics and all, has run."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.broken = convolutional(), nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.broken(self.inner(x))


@pytest.mark.parametrize("verb", [dl.probe.record, dl.probe.record_gradients])
@pytest.mark.parametrize("kind", [convolutional, Breaks])
@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was(verb, kind, training: bool):
    model = kind().train(training)
    next(model.parameters()).requires_grad_(False)
    list(model.parameters())[1].grad = torch.ones_like(list(model.parameters())[1])
    next(iter(model.modules())).register_forward_hook(lambda *_: None)
    x = torch.randn(4, 3, 8, 8)
    given, before = x.clone(), everything(model)
    if kind is Breaks:
        with pytest.raises(InputError, match=r"in its module broken: RuntimeError: mat1 and mat2 shapes"):
            verb(model, x, repeats=2)
    else:
        verb(model, x, repeats=2)
    assert same(before, everything(model))
    assert torch.equal(x, given)
    assert not x.requires_grad
    model.train()(x) if kind is not Breaks else None  # the control: a forward pass of one's own changes the statistics
    assert kind is Breaks or not same(before, everything(model))


def test_a_repeat_is_the_same_network_whatever_is_asked_for_besides():
    for model in (mlp, mlp()):
        five, two = (dl.probe.record(model, X, repeats=repeats, seed=7) for repeats in (5, 2))
        assert (five.log_gap[:2] == two.log_gap).all()
        other = dl.probe.record(model, X, repeats=5, seed=8)
        changed = (other.log_gap != five.log_gap).any(axis=(1, 2))
        assert changed[1:].all()
        assert bool(changed[0]) is (model is mlp)  # a model's own weights come first


def test_factories_may_use_any_random_numbers():
    def factory() -> nn.Module:
        model = mlp()
        with torch.no_grad():
            model[0].weight.mul_(1 + random.random())
            model[3].weight.mul_(1 + np.random.rand())  # noqa: NPY002
        return model

    first, second = (dl.probe.record(factory, X, repeats=3) for _ in range(2))
    assert (first.log_norm == second.log_norm).all()
    assert len(np.unique(first.log_norm[:, 1, 0])) == 3


def test_copies_are_initialized_as_asked():
    def initialize(model: nn.Module) -> None:
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=2.0 ** float(torch.randint(0, 9, ())))

    model = mlp()
    paths = dl.probe.record(model, X, repeats=4, initialize=initialize)
    own = dl.probe.record(model, X, repeats=1)
    assert (paths.log_norm[0] == own.log_norm[0]).all()
    assert len(np.unique(paths.log_norm[:, -1, 0])) == 4
    assert "its own weights and 3 copies initialized anew" in paths.source


def test_one_of_a_kind_is_told_in_the_singular():
    one = dl.probe.record(mlp(), [X[:1]], repeats=2)
    assert one.source == "a probed Sequential, its own weights and 1 redrawn copy, first 1 input of 1 batch"
    anew = dl.probe.record(mlp(), X, repeats=2, initialize=lambda model: model[0].reset_parameters())
    assert anew.source == "a probed Sequential, its own weights and 1 copy initialized anew"
    assert dl.probe.record(mlp(), X, repeats=1).source == "a probed Sequential, its own weights"


def test_half_precision_and_autocast():
    ids = torch.randint(0, 50, (3, 16), generator=torch.Generator().manual_seed(1))
    model = transformer("float32")
    exact = dl.probe.record(model, {"input_ids": ids}, repeats=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = dl.probe.record(model, {"input_ids": ids}, repeats=1)
    half = dl.probe.record(copy.deepcopy(model).bfloat16(), {"input_ids": ids}, repeats=1)
    for paths in (cast, half):
        assert paths.log_norm.dtype == paths.log_gap.dtype == np.float64
        assert paths.log_norm == pytest.approx(exact.log_norm, abs=0.05)
        assert (paths.log_norm != exact.log_norm).any()
        assert (paths.log_gap_floor[3:] > exact.log_gap_floor[3:] + 10).all()


def test_activations_that_overflow_are_counted_as_exploded():
    model = nn.Sequential(*[nn.Linear(12, 12) for _ in range(4)])
    with torch.no_grad():
        for layer in model:
            layer.weight.fill_(1e15)
    paths = dl.probe.record(model, np.abs(X), repeats=1)
    assert paths.exploded.tolist() == [0, 0, 0, 1, 1]
    assert np.isfinite(paths.log_norm[:, :3]).all()


def test_wrappers_are_looked_through():
    model = mlp()
    wrapped = nn.DataParallel(model)
    assert dl.probe.record(wrapped, X, repeats=1).layer_names == dl.probe.record(model, X, repeats=1).layer_names


def test_parametrizations_make_weights_and_are_no_layers():
    model = nn.Sequential(nn.Linear(12, 6), nn.Linear(6, 6))
    nn.utils.parametrizations.weight_norm(model[0])
    nn.utils.parametrizations.spectral_norm(model[1])
    assert dl.probe.record(model, X, repeats=1).layer_names == ("input", "0", "1")


def test_attention_and_recurrent_modules():
    x = np.random.default_rng(6).standard_normal((4, 7, 8)).astype(np.float32)
    encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    names = dl.probe.record(encoder, x, repeats=1, per="token").layer_names
    assert names == ("input", "self_attn", "norm1", "linear1", "dropout", "linear2", "norm2")
    assert dl.probe.record(nn.LSTM(8, 5, batch_first=True), x, repeats=1).layer_names == ("input", "output")
