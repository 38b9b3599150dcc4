"""The figure of a real model's layers holds the quantiles it claims, and never a number that is not finite."""

import json
import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from tiers import quick

from deeplim.drawing import caption, save, svg
from deeplim.errors import InputError
from deeplim.layer_figures import layer_figure
from deeplim.modules import Modules
from deeplim.paths import Paths

LAYERS = 30
NAMES = tuple(f"blocks.{i}.mlp.projection" for i in range(LAYERS))


@cache
def made(samples: int = 40, inputs: int = 3, gap: float = 0.3, layers: int = LAYERS, seed: int = 1) -> Paths:
    """Probed paths made by hand: gaps that fall to the one given, norms that wander."""
    random = np.random.default_rng(seed)
    part = np.linspace(0, 1, layers)[None, :, None]
    pairs = inputs * (inputs - 1) // 2
    log_gap = part * np.log(gap) + 0.1 * random.standard_normal((samples, layers, pairs)) * part
    return Paths(
        log_norm=1 + part * random.standard_normal((samples, layers, inputs)),
        log_gap=np.minimum(log_gap, np.log(2)),
        alive=np.ones((samples, layers), dtype=bool),
        time=np.arange(layers, dtype=float),
        clock="layer",
        names=tuple(f"input {i}" for i in range(inputs)),
        source="a probed Sequential, 40 made by a factory",
        modules=Modules(NAMES[:layers], np.full(layers, np.log(1e-13))),
    )


def lost(paths: Paths, samples: int, norm: float) -> Paths:
    """The paths with some samples lost from the middle on."""
    log_norm, log_gap, alive = (a.copy() for a in (paths.log_norm, paths.log_gap, paths.alive))
    log_norm[:samples, 15:], log_gap[:samples, 15:], alive[:samples, 15:] = norm, np.nan, False
    return replace(paths, log_norm=log_norm, log_gap=log_gap, alive=alive)


def rows(chart, panel: int, series: str = "model"):
    """The rows of quantiles of one panel, in the order of layers."""
    found = {}
    shown = chart.to_dict()["vconcat"][panel]
    for part in (shown, *shown["layer"]):  # data that all marks share stand with the panel
        for row in part.get("data", {"values": []})["values"]:
            if row["series"] == series:
                found[row["place"]] = row
    return [found[place] for place in sorted(found)]


def labels(chart) -> list[str]:
    panels = chart.to_dict()["vconcat"]
    return [" ".join(panel["layer"][0]["encoding"]["y"]["title"]) for panel in panels]


def check_quantiles(found, values: np.ndarray) -> None:
    low, median, high = np.quantile(values, [0.05, 0.5, 0.95], axis=0)
    np.testing.assert_allclose([row["low"] for row in found], low)
    np.testing.assert_allclose([row["median"] for row in found], median)
    np.testing.assert_allclose([row["high"] for row in found], high)


def test_panels_hold_the_quantiles_over_samples():
    paths = made(gap=1e-4)
    chart = layer_figure(paths, gradients=made(seed=2))
    assert labels(chart) == [
        "correlation ρ",
        "log10 of the gap 1 − ρ",
        "log10 of the mean square",
        "log10 of gradients' mean square",
    ]
    check_quantiles(rows(chart, 0), (1 - np.exp(paths.log_gap)).mean(axis=2))
    check_quantiles(rows(chart, 1), (paths.log_gap / np.log(10)).mean(axis=2))
    check_quantiles(rows(chart, 2), np.log10(np.exp(paths.log_norm).mean(axis=2)))
    check_quantiles(rows(chart, 3), np.log10(np.exp(made(seed=2).log_norm).mean(axis=2)))
    assert [row["layer"] for row in rows(chart, 0)] == list(NAMES)
    assert caption(chart)[1].startswith("40 samples, means over 3 inputs and their 3 pairs; lines are medians")


def test_a_pair_is_followed_alone():
    paths = made()
    chart = layer_figure(paths, pair=(2, 1))
    check_quantiles(rows(chart, 0), 1 - np.exp(paths.log_gap[:, :, 2]))
    check_quantiles(rows(chart, 1), paths.log_norm[:, :, 2] / np.log(10))
    assert "input 2 and input 1 of 3 inputs" in caption(chart)[1]


def test_gaps_and_their_floor_are_drawn_where_they_matter():
    assert "gap" not in " ".join(labels(layer_figure(made(gap=0.3))))
    rounding = "rounding of the model's arithmetic"
    assert not rows(layer_figure(made(gap=1e-6)), 1, rounding)
    floor = rows(layer_figure(made(gap=1e-13)), 1, rounding)
    np.testing.assert_allclose([row["median"] for row in floor], -13)


def test_a_prediction_lies_over_the_model():
    predicted = replace(made(seed=3), modules=None, source="exact networks: by hand").at([0, 10, 29])
    chart = layer_figure(made(), predicted=predicted)
    found = rows(chart, 0, "prediction")
    assert [row["place"] for row in found] == [0, 10, 29]
    check_quantiles(found, (1 - np.exp(predicted.log_gap)).mean(axis=2))
    assert "Prediction: exact networks: by hand, 40 samples." in caption(chart)[1]


def test_gradients_find_their_layers_by_name():
    gradients = made(seed=2)
    some = replace(gradients.at([3, 7, 20]), time=np.arange(3.0))
    found = rows(layer_figure(made(), gradients=some), 2)
    assert [row["place"] for row in found] == [3, 7, 20]
    other = replace(some, modules=Modules(("a", "b", "c")))
    with pytest.raises(InputError, match="has none of the layers"):
        layer_figure(made(), gradients=other)


CASES = {
    "plain": made(),
    "one sample": made(samples=1),
    "one input": made(inputs=1),
    "two inputs": made(inputs=2),
    "one layer": made(layers=1),
    "no names": replace(made(), modules=None),
    "dead": lost(made(), 5, -np.inf),
    "all dead": lost(made(), 40, -np.inf),
    "exploded": lost(made(), 5, np.inf),
    "parallel": replace(made(gap=1e-9), log_gap=np.where(np.arange(40)[:, None, None] < 4, -np.inf, made().log_gap)),
    "all parallel": replace(made(), log_gap=np.full((40, LAYERS, 3), -np.inf)),
    "odd names": replace(made(), modules=Modules(tuple(f"<b>\"a\" & 'b{{{i}}}'</b>\\" for i in range(LAYERS)))),
}


@pytest.mark.parametrize("name", quick(*list(CASES)[::2], of=CASES))
def test_no_figure_holds_a_number_that_is_not_finite(name: str):
    chart = layer_figure(CASES[name], gradients=CASES[name], predicted=made(inputs=CASES[name].inputs))
    json.dumps(chart.to_dict(), allow_nan=False)


@pytest.mark.parametrize("name", ["dead", "all parallel", "odd names"])
def test_what_is_drawn_is_finite_and_in_the_colours_of_the_page(name: str):
    drawn = svg(layer_figure(CASES[name]))
    assert not re.search(r"NaN|undefined|Infinity|null", drawn)
    assert "var(--ink" in drawn


def test_what_was_left_out_is_counted():
    assert "Left out, at the layer where most are lost: 5 dead." in caption(layer_figure(CASES["dead"]))[1]
    assert "5 exploded." in caption(layer_figure(CASES["exploded"]))[1]
    assert "4 with parallel inputs." in caption(layer_figure(CASES["parallel"]))[1]


def test_some_layers_are_named_on_the_axis():
    drawn = svg(layer_figure(made()))
    shown = [i for i, name in enumerate(NAMES) if f">{name[:17]}…<" in drawn]
    assert shown == [0, 3, 6, 9, 12, 15, 18, 21, 24, 27, 29]
    assert ">blocks.0.mlp.proj…<" in drawn


@pytest.mark.parametrize("kind", [".svg", ".png"])
def test_it_is_written_as_a_file(kind: str, tmp_path: Path):
    save(layer_figure(made(layers=3)), tmp_path / f"layers{kind}")
    assert (tmp_path / f"layers{kind}").stat().st_size > 2000


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda: layer_figure(made(), predicted=made(inputs=2)), "has 2 inputs and"),
        (lambda: layer_figure(made(), gradients=made(inputs=2)), "has 2 inputs and"),
        (lambda: layer_figure(made(), pair=(0, 3)), "does not name two different inputs"),
        (
            lambda: layer_figure(replace(made(), log_norm=made().log_norm - np.inf, alive=made().alive & False)),
            "no sample is alive at any layer",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused(wrong, told):
    with pytest.raises(InputError, match=told):
        wrong()
