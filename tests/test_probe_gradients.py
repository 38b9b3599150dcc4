"""Backward signals of PyTorch models: a linear network's closed form, finite differences, and what batches mix."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from probed import check, convolutional, mlp, residual, transformer
from torch import nn

import deeplim as dl
from deeplim.probe.factories import COTANGENT, stream

X = np.random.default_rng(0).standard_normal((5, 12))


def cotangent(shape: tuple[int, ...], seed: int = 0, repeat: int = 0) -> np.ndarray:
    """The direction that the probe draws: Gaussian, of unit mean square."""
    u = np.random.default_rng(stream(seed, repeat, COTANGENT)).standard_normal(shape)
    return u / np.sqrt(np.mean(u**2))


def test_a_linear_network_in_closed_form():
    # The gradient at layer l is u^T W_L ... W_{l+1}, whatever the input: parallel for all of them.
    widths = [12, 9, 20, 7]
    model = nn.Sequential(*[nn.Linear(a, b) for a, b in pairwise(widths)]).double()
    paths = dl.probe.record_gradients(model, X, repeats=1, seed=3)
    assert paths.layer_names == ("input", "0", "1", "2")
    expected = [cotangent((7,), 3)]
    for layer in reversed(model):
        expected.append(expected[-1] @ layer.weight.detach().numpy())
    for layer, u in enumerate(reversed(expected)):
        assert paths.log_norm[0, layer] == pytest.approx(np.full(5, np.log(np.mean(u**2))), abs=1e-12)
    assert paths.log_norm[0, -1] == pytest.approx(np.zeros(5), abs=1e-15)
    assert (paths.log_gap < np.log(1e-28)).all()  # rows of one product may differ in their last digit


def test_gradients_are_finite_differences_of_what_follows_a_layer():
    paths = dl.probe.record_gradients(lambda: mlp().double(), X, repeats=2, seed=1)
    for repeat in range(2):
        from deeplim.probe.factories import seeded

        with seeded(1, repeat):
            model = mlp().double().eval()
        u = torch.from_numpy(cotangent((5,), 1, repeat))
        # What follows each recorded layer; the activation in place must not stand for the linear layer before it.
        starts = {"input": 0, "0": 1, "1": 2, "3": 4, "4": 5}
        found, step = {}, 1e-6
        with torch.no_grad():
            for name, at in starts.items():
                state = model[:at](torch.from_numpy(X)) if at else torch.from_numpy(X)
                gradient = torch.empty_like(state)
                for i in range(state.shape[1]):
                    shift = step * torch.eye(state.shape[1], dtype=state.dtype)[i]
                    ends = [model[at:]((state + sign * shift).clone()) @ u for sign in (1, -1)]
                    gradient[:, i] = (ends[0] - ends[1]) / (2 * step)
                found[name] = gradient.numpy()
        for name, gradient in found.items():
            layer = paths.layer_names.index(name)
            norms = np.log(np.mean(gradient**2, axis=1))
            unit = gradient / np.linalg.norm(gradient, axis=1, keepdims=True)
            gap = np.sum((unit[0] - unit[1]) ** 2) / 2
            assert paths.log_norm[repeat, layer] == pytest.approx(norms, abs=1e-6)
            assert np.exp(paths.log_gap[repeat, layer, 0]) == pytest.approx(gap, rel=1e-5, abs=1e-12)


def test_layers_are_those_of_the_forward_signal():
    ids = {"input_ids": torch.randint(0, 50, (3, 16), generator=torch.Generator().manual_seed(1))}
    images = np.random.default_rng(1).standard_normal((4, 3, 8, 8))
    cases = [
        (mlp, X, "input"),
        (convolutional, images, "input"),
        (transformer, ids, "input"),
        (transformer, ids, "token"),
    ]
    for factory, x, per in [*cases, (residual, X[:, :10], "input")]:
        forward = dl.probe.record(factory, x, repeats=2, per=per)
        backward = dl.probe.record_gradients(factory, x, repeats=2, per=per)
        assert backward.layer_names == forward.layer_names
        assert backward.log_gap.shape == forward.log_gap.shape
        assert backward.alive.all()
        assert backward.source.startswith("gradients of a probed")


def test_batch_normalization_mixes_inputs():
    # With the statistics of the batch, adding the same to all inputs changes nothing: gradients sum to zero over them.
    x = np.random.default_rng(2).standard_normal((6, 4))
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3)).double()
    u = torch.from_numpy(cotangent((3,)))
    state = model[0](torch.from_numpy(x)).detach().requires_grad_()
    summed = (model[1:](state) @ u).sum()
    [gradient] = torch.autograd.grad(summed, state)
    assert gradient.sum(dim=0).abs().max() < 1e-12
    paths = dl.probe.record_gradients(model, x, repeats=1)
    check(paths, 0, {"0": gradient.numpy()})


def test_what_the_output_does_not_depend_on_has_no_gradient():
    class Aside(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused, self.cut = nn.Linear(12, 4), nn.Linear(12, 4), nn.Linear(12, 4)

        def forward(self, x):
            self.unused(x)
            return self.used(x) + self.cut(x).detach()

    paths = dl.probe.record_gradients(Aside, X, repeats=1)
    assert paths.layer_names == ("input", "unused", "used", "cut", "output")
    assert paths.alive[0].tolist() == [True, False, True, False, True]
    assert paths.dead.tolist() == [0, 1, 0, 1, 0]


def test_frozen_models_have_gradients_too_and_stay_frozen():
    ids = {"input_ids": torch.randint(0, 50, (3, 16), generator=torch.Generator().manual_seed(1))}
    model = transformer()
    free = dl.probe.record_gradients(model, ids, repeats=1)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    with torch.no_grad():
        frozen = dl.probe.record_gradients(model, ids, repeats=1)
    assert (free.log_norm == frozen.log_norm).all()
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in model.parameters())
