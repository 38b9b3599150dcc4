"""Which layers paths are recorded at, and the names and floors of gaps that they keep with them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import SIGMAS, z_of_means
from made_paths import random_paths
from refusals import refusal

from deeplim.activations import Shaped, parse_activation
from deeplim.architecture import MLP, ResNet
from deeplim.inputs import gram
from deeplim.limits.catalogue import find, named
from deeplim.modules import Modules
from deeplim.paths import Paths, check_layers, default_layers

fixed = settings(derandomize=True, deadline=None, database=None, max_examples=60)


@pytest.mark.parametrize("depth", [1, 2, 39, 40, 41, 59, 100, 1000, 10_000_000])
def test_the_layers_recorded_by_default(depth: int) -> None:
    layers = default_layers(depth)
    assert layers == check_layers(None, depth) == sorted(set(layers))
    assert (layers[0], layers[-1]) == (0, depth)
    assert len(layers) == min(depth, 40) + 1
    steps = np.diff(layers)
    assert steps.max() - steps.min() <= 1


@pytest.mark.parametrize(
    "layers",
    [
        [0, 5, 10],
        [10, 0, 5, 5],
        (5, 10, 0),
        [0.0, 5.0, 10],
        np.array([10, 5, 0]),
        np.array([0.0, 5.0, 10.0]),
        {0, 5, 10},
        range(0, 11, 5),
        [np.int8(0), np.float32(5), np.uint64(10)],
    ],
)
def test_layers_come_back_as_increasing_integers(layers: Any) -> None:
    found = check_layers(layers, 10)
    assert found == [0, 5, 10]
    assert {type(layer) for layer in found} == {int}


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        ([], "no layers were asked for"),
        (np.array([]), "no layers were asked for"),
        ([-1], "the layer -1 was asked for"),
        ([0, 11], "the layer 11 was asked for"),
        ([10**30], "the layer 1000000"),
        ([1.5], "the layer 1.5 was asked for"),
        ([np.float64(1.5)], "the layer 1.5 was asked for"),
        ([np.nan], "the layer nan was asked for"),
        ([np.inf], "the layer inf was asked for"),
        ([True], "the layer True was asked for"),
        (np.array([False, True]), "the layer False was asked for"),
        (["5"], "the layer '5' was asked for"),
        ("5", "layers='5' was given"),
        ([None], "the layer None was asked for"),
        ([1j], "the layer 1j was asked for"),
        ([[1, 2]], "the layer [1, 2] was asked for"),
        (np.ones((2, 2)), "the layer array([1., 1.]) was asked for"),
        (np.array(5), "layers=array(5) was given"),
        (5.5, "the layer 5.5 was asked for"),
    ],
)
def test_layers_that_are_none(layers: Any, said: str) -> None:
    message = refusal(lambda: check_layers(layers, 10))
    assert said in message
    assert message.endswith("give whole numbers from 0 to the depth, 10.")


@fixed
@given(st.integers(1, 500), st.data())
def test_any_layers_within_the_depth_are_recorded_once(depth: int, data: st.DataObject) -> None:
    layers: Sequence[int] = data.draw(st.lists(st.integers(0, depth), min_size=1))
    assert check_layers(layers, depth) == sorted(set(layers))


def with_names() -> Paths:
    floors = np.log([1e-12, 0.5, 1e-12, 2.0])
    return random_paths(modules=Modules(("input", "fc1", "fc2", "output"), floors))


def test_names_of_layers_are_kept_with_them(tmp_path: Path) -> None:
    paths = with_names()
    chosen = paths.at([7.0, 0.0])
    assert chosen.layer_names == ("fc2", "input")
    assert chosen.log_gap_floor is not None
    assert chosen.log_gap_floor.tolist() == [np.log(1e-12)] * 2
    for kept in (paths.pair(0, 2), paths.on_clock("layer/depth")):
        assert (kept.layer_names, kept.log_gap_floor) == (paths.layer_names, paths.log_gap_floor)
    paths.save(tmp_path / "paths.npz")
    back = Paths.load(tmp_path / "paths.npz")
    assert back.layer_names == paths.layer_names
    assert (back.log_gap_floor == paths.log_gap_floor).all()
    labelled = paths.to_xarray()
    assert labelled.layer_name.values.tolist() == ["input", "fc1", "fc2", "output"]
    assert labelled.log_gap_floor.dims == ("layer",)
    assert "layer_name" not in random_paths().to_xarray().coords


def test_layers_are_picked_by_name() -> None:
    paths = with_names()
    assert (paths.named(["fc2", "fc1"]).log_norm == paths.at([7.0, 3.0]).log_norm).all()
    assert paths.named("fc2").layer_names == ("fc2",)
    assert "the layer 'fc3' was not recorded; recorded are input, fc1, fc2, output" in refusal(
        lambda: paths.named(["fc1", "fc3"])
    )
    assert "no layers were asked for" in refusal(lambda: paths.named([]))
    assert "the layers of random numbers have no names" in refusal(lambda: random_paths().named(["fc1"]))
    assert "3 layer names were given for 4 layers" in refusal(lambda: random_paths(modules=Modules(("a", "b", "c"))))
    short = Modules(("a", "b", "c", "d"), np.zeros(1))
    assert "1 floors of gaps were given" in refusal(lambda: random_paths(modules=short))


def test_gaps_below_the_floor_are_marked_and_exactly_parallel_ones_are_not() -> None:
    paths = with_names()
    log_gap = paths.log_gap.copy()
    log_gap[0, 3] = -np.inf
    marked = replace(paths, log_gap=log_gap).rounding
    assert not marked[:, [0, 2]].any()
    assert (marked[:, 1] == (log_gap[:, 1] < np.log(0.5))).all()
    assert marked[1:, 3].all()
    assert not marked[0, 3].any()
    assert not random_paths().rounding.any()


def test_files_from_before_layers_had_names_still_load(tmp_path: Path) -> None:
    paths = random_paths()
    old = {name: np.asarray(value) for name, value in vars(paths).items() if value is not None}
    assert "modules" not in old
    np.savez(tmp_path / "old.npz", **old)
    back = Paths.load(tmp_path / "old.npz")
    assert (back.layer_names, back.log_gap_floor, back.width) == (None, None, 200)
    assert (back.log_norm == paths.log_norm).all()
    np.savez(tmp_path / "new.npz", **old, colour=np.array(1))
    assert "colour" in refusal(lambda: Paths.load(tmp_path / "new.npz"))


@pytest.mark.parametrize(
    "limit",
    [
        ("moments", MLP(width=40, depth=30)),
        ("moments", MLP(width=40, depth=30, activation=parse_activation("tanh"))),
        ("infinite-width", MLP(width=40, depth=30)),
        ("ode", ResNet(width=40, depth=30)),
    ],
    ids=str,
)
def test_paths_of_layers_do_not_depend_on_those_recorded(limit: tuple[str, MLP]) -> None:
    one = named(*limit)
    whole = one.sample(gram(correlation=0.3), samples=40, seed=3)
    for layers in ([30], [7, 30]):
        some = one.sample(gram(correlation=0.3), samples=40, seed=3, layers=layers)
        np.testing.assert_allclose(some.log_norm[:, -1], whole.log_norm[:, -1], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(some.log_gap[:, -1], whole.log_gap[:, -1], rtol=1e-9)


def test_paths_of_a_diffusion_have_the_same_law_whatever_is_recorded_and_however_many_are_asked_for() -> None:
    """They are stepped from one recorded layer to the next, which ``predict`` says: other numbers, and one law."""
    network = MLP(width=65, depth=30, activation=Shaped(function="silu", a=0.8))
    limit, inputs = find(network)[0], gram(correlation=0.3)
    whole = limit.sample(inputs, samples=8000, seed=3)
    some = limit.sample(inputs, samples=8000, seed=4, layers=[7, 30])
    few = limit.sample(inputs, samples=50, seed=3)
    np.testing.assert_array_equal(few.log_norm, whole.log_norm[:50])
    lost = [(~paths.alive[:, -1]).astype(float) for paths in (whole, some)]
    assert z_of_means(*lost) < SIGMAS
    gaps = [paths.log_gap[paths.alive[:, -1], -1, 0] for paths in (whole, some)]
    assert z_of_means(*gaps) < SIGMAS
    assert z_of_means(gaps[0], gaps[1] + 0.12 * gaps[1].std()) > SIGMAS, "0.12 standard deviations are told apart"
