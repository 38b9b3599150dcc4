"""What counts as parallel at the resolution of the arithmetic, whatever the processor rounds."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from tiers import slow
from torch import nn

import deeplim as dl
from deeplim.errors import InputError
from deeplim.probe import RoundingWarning
from deeplim.resolution import FLOOR, parallel, proportional, rounding_square, rounding_unit

RANDOM = np.random.default_rng(0)
FLOORS = np.append(
    -np.inf, np.log(FLOOR * 2.0**-48 * np.arange(1, 5))
)  # layers of single precision, after inputs that are given


def gaps(*values: float) -> np.ndarray:
    """One pair of one sample, layer by layer."""
    with np.errstate(divide="ignore"):
        return np.log(np.array(values, dtype=float))[None, :, None]


def made_parallel(*values: float) -> list[bool]:
    return parallel(gaps(*values), FLOORS[: len(values)])[0, :, 0].tolist()


def test_what_is_equal_stays_so_up_to_rounding_and_no_further():
    assert made_parallel(0, 3e-15, 9e-15, 0, 2e-14) == [True] * 5
    assert made_parallel(0, 3e-15, 9e-13, 2e-14, 2e-14) == [True] * 5
    assert made_parallel(0, 3e-15, 1e-3, 2e-14, 0.5) == [True, True, False, True, False]


def test_a_layer_that_makes_one_direction_of_two_makes_them_parallel():
    assert made_parallel(0.7, 0.4, 3e-15, 8e-15, 1e-14) == [False, False, True, True, True]
    assert made_parallel(np.nan, 0.4, 3e-15) == [False, False, True]


def test_a_gap_that_comes_down_little_by_little_is_rounding_and_not_parallel():
    assert made_parallel(1e-3, 1e-5, 1e-9, 2e-14, 2e-14) == [False] * 5
    assert made_parallel(1e-14, 2e-14, 2e-14) == [False] * 3  # inputs a digit apart


def test_signals_far_above_the_floor_are_never_parallel():
    values = np.exp(RANDOM.uniform(np.log(1e-11), 0, (50, 5, 3)))
    assert not parallel(np.log(values), FLOORS).any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_are_proportional_to_the_rounding_of_their_own_precision(dtype):
    unit = rounding_unit(np.dtype(dtype))
    row = RANDOM.standard_normal(200).astype(dtype)
    times = (dtype(3.7) * row).astype(float)
    assert proportional(row.astype(float), times, unit)
    assert not proportional(row.astype(float), times * (1 + 40 * unit * RANDOM.standard_normal(200)), unit)
    next_to = row.copy()
    next_to[7] = np.nextafter(next_to[7], dtype(9))
    assert not proportional(row.astype(float), next_to.astype(float), unit)
    found = dl.probe.norms_and_gaps(np.stack([row, dtype(3.7) * row, next_to]))[1]
    assert found[0] == -np.inf
    assert np.isfinite(found[1])
    assert dl.gram(np.stack([row, 2 * next_to])).gap[0, 1] > 0
    with pytest.raises(InputError, match="correlation 1"):
        dl.gram(np.stack([row, dtype(3.7) * row]))


def test_the_floor_grows_with_the_products_that_a_number_is_the_sum_of():
    assert rounding_square(2.0**-24) == rounding_square(2.0**-24, 100) == FLOOR * 2.0**-48
    assert rounding_square(2.0**-24, 1280) == 10 * FLOOR * 2.0**-48


def wide(features: int, depth: int, dtype: torch.dtype) -> nn.Module:
    """At the edge of chaos, where neither signals nor rounding grow or die quickly."""
    linears = [nn.Linear(features, features, bias=False, dtype=dtype) for _ in range(depth)]
    for linear in linears:
        nn.init.normal_(linear.weight, std=features**-0.5)
    return nn.Sequential(*[part for linear in linears for part in (linear, nn.Tanh())])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("features", "depth"), [(16, 40), slow(400, 12), (2048, 3)])
def test_an_input_given_more_than_once_is_parallel_in_every_layer(repeatable, dtype, features, depth):
    """Without a warning, for batches of sizes that leave rows to other kernels than their likes."""
    one, two = torch.randn(2, features, dtype=dtype)
    for batch in ([0, 1, 0], [0, 0, 1, 0, 0, 1, 0], [1] * 16 + [0, 1]):
        x = torch.stack([(one, two)[which] for which in batch])
        for verb in (dl.probe.record, dl.probe.record_gradients):
            paths = verb(wide(features, depth, dtype), x, repeats=1)
            same = np.array([batch[a] == batch[b] for a, b in paths.pairs])
            assert np.isneginf(paths.log_gap[:, :, same]).all()
            if verb is dl.probe.record:
                assert np.isfinite(paths.log_gap[:, :, ~same]).all()


def test_inputs_behind_one_direction_are_parallel(repeatable):
    sizes = [300, 1, 500, 700, 300]
    model = nn.Sequential(*[nn.Linear(a, b, bias=False) for a, b in pairwise(sizes)])
    paths = dl.probe.record(model, torch.randn(7, 300), repeats=2)
    assert np.isfinite(paths.log_gap[:, 0]).all()
    agree = paths.log_gap[:, 1] < np.log(0.5)  # the others point the other way
    assert 10 < agree.sum() < 32
    for layer in range(1, len(paths.time)):
        assert np.isneginf(paths.log_gap[:, layer][agree]).all()
        np.testing.assert_allclose(paths.log_gap[:, layer][~agree], np.log(2), atol=1e-6)


def test_nearly_equal_inputs_are_still_announced(repeatable):
    """The control: a digit apart they are not one input, and single precision loses what parts them."""
    x = torch.randn(1, 64).repeat(3, 1)
    x[1, 5] = torch.nextafter(x[1, 5], torch.tensor(9.0))
    with pytest.warns(RoundingWarning):
        paths = dl.probe.record(wide(64, 6, torch.float32), x, repeats=1)
    assert np.isneginf(paths.log_gap[0, :, 1]).all()
    assert np.isfinite(paths.log_gap[0, 0, 0])
