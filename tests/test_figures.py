"""Figures hold the quantiles and counts that they claim, and never a number that is not finite."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ladders import LAYERS, RESNET, SHAPED, UNSHAPED, made_ladder
from tiers import quick

from deeplim import figures, observables
from deeplim.drawing import FORMATS, GRID, INK, plus_minus, shortened
from deeplim.errors import InputError
from deeplim.inputs import gram
from deeplim.ladder import Ladder

RANDOM = np.random.default_rng(5)
SIX = gram(RANDOM.standard_normal((6, 20)) + 1.0, names=[f"digit {i}" for i in range(6)])
ODD = gram(
    correlation=0.2,
    names=["<b>\"a\" & 'b'</b>", "{first} with a name much too long for any axis of a figure"],
)
CASES: dict[str, Ladder] = {
    "stochastic": made_ladder(),
    "aligning": made_ladder(UNSHAPED, gap=1e-5),
    "vanishing gap": made_ladder(UNSHAPED, gap=1e-300),
    "deterministic": made_ladder(RESNET),
    "predicted only": made_ladder(networks=0),
    "deterministic only": made_ladder(RESNET, networks=0),
    "one input": made_ladder(inputs=gram([[1.0, 2.0]])),
    "six inputs": made_ladder(inputs=SIX, pair=(4, 2)),
    "dead": made_ladder(UNSHAPED, dead=50),
    "all dead": made_ladder(UNSHAPED, dead=600),
    "all but one dead": made_ladder(UNSHAPED, dead=599),
    "aligned": made_ladder(UNSHAPED, gap=1e-5, aligned=40),
    "all aligned": made_ladder(UNSHAPED, gap=1e-5, aligned=600),
    "odd names": made_ladder(inputs=ODD),
    "no spread": made_ladder(spread=0.0),
    "one network": made_ladder(networks=1, samples=1),
    "one layer": made_ladder(layers=(100,)),
}


@cache
def all_of(name: str) -> dict[str, Any]:
    return figures.figures(CASES[name])


@pytest.mark.parametrize("name", quick(*list(CASES)[::2], of=CASES))
def test_no_figure_holds_a_number_that_is_not_finite(name: str) -> None:
    made = all_of(name)
    assert "law" in made
    for chart in made.values():
        json.dumps(chart.to_dict(), allow_nan=False)
        drawn = figures.svg(chart)
        assert not re.search(r"NaN|undefined|Infinity|null", drawn)
        assert 'role="img"' in drawn
        assert "viewBox" in drawn


def test_which_figures_there_are() -> None:
    names = {name: set(all_of(name)) for name in CASES}
    assert names["stochastic"] == {"correlation", "law", "norm"}
    assert names["aligning"] == {"correlation", "gap", "law", "norm"}
    assert names["one input"] == {"law", "norm"}
    assert names["six inputs"] == {"correlation", "law", "norm", "matrix"}
    assert names["one layer"] == {"law"}


def test_a_ladder_with_nothing_alive_and_no_limit_has_no_figures() -> None:
    dead = made_ladder(dead=600, layers=(100,))
    alone = Ladder(**{**_fields(dead), "limits": {}, "rungs": {"exact": dead.rungs["exact"]}})
    assert figures.figures(alone) == {}
    for draw in (figures.correlation_along_depth, figures.law_at_last_layer, figures.correlation_matrix):
        with pytest.raises(InputError):
            draw(alone)


def _fields(ladder: Ladder) -> dict[str, Any]:
    return {name: getattr(ladder, name) for name in Ladder.__dataclass_fields__}


def _rows(chart: Any, series: str) -> list[dict[str, Any]]:
    """The data rows of one series, from the first layer of the chart that draws it."""
    spec = chart.to_dict()
    found = [layer["data"]["values"] for layer in spec["layer"] if "values" in layer.get("data", {})]
    return next(rows for rows in found if rows and rows[0]["series"].startswith(series))


def test_bands_are_the_quantiles_of_the_networks() -> None:
    ladder = CASES["stochastic"]
    rho = observables.correlation(ladder.rungs["exact"])
    rows = _rows(figures.correlation_along_depth(ladder), "exact")
    assert [row["layer"] for row in rows] == list(LAYERS)
    levels = [[row[name] for name in ("low", "lower", "median", "upper", "high")] for row in rows]
    np.testing.assert_allclose(np.transpose(levels), np.quantile(rho, [0.05, 0.25, 0.5, 0.75, 0.95], axis=0))


def test_a_limit_is_drawn_at_the_layers_of_the_network_whatever_its_clock() -> None:
    rows = _rows(figures.norm_along_depth(CASES["deterministic"]), "limit")
    assert [row["layer"] for row in rows] == pytest.approx(LAYERS)


@pytest.mark.parametrize(("name", "whole"), [("stochastic", 1.0), ("aligned", 560 / 600), ("dead", 1.0)])
def test_a_histogram_integrates_to_the_share_it_can_show(name: str, whole: float) -> None:
    rows = _rows(figures.law_at_last_layer(CASES[name]), "exact")
    area = sum(row["density"] * (row["right"] - row["left"]) for row in rows)
    assert area == pytest.approx(whole)


def test_a_deterministic_limit_is_one_rule() -> None:
    ladder = CASES["deterministic"]
    (row,) = _rows(figures.law_at_last_layer(ladder), "limit")
    assert row["left"] == pytest.approx(0.5)
    assert "one line" in figures.caption(figures.law_at_last_layer(ladder))[1]


def test_a_concentrated_correlation_is_drawn_as_its_gap() -> None:
    assert not figures.concentrated(CASES["stochastic"])
    assert figures.concentrated(CASES["aligning"])
    rows = _rows(figures.gap_along_depth(CASES["vanishing gap"]), "exact")
    assert rows[-1]["median"] == pytest.approx(-300, abs=0.1)


def test_captions_state_the_sample_sizes_and_the_uncertainty() -> None:
    title, told = figures.caption(figures.correlation_along_depth(CASES["stochastic"]))
    assert str(SHAPED) in title
    for words in ("600 exact networks", "800 samples", "bands 5–95% and 25–75%", "dashed", " ± "):
        assert words in told
    assert "50 dead" in figures.caption(figures.norm_along_depth(CASES["dead"]))[1]
    assert "40 with the two exactly parallel" in figures.caption(figures.law_at_last_layer(CASES["aligned"]))[1]
    told = figures.caption(figures.law_at_last_layer(CASES["all aligned"]))[1]
    assert "600 exact networks: not drawn" in told


def test_axes_name_the_pair_and_the_unit() -> None:
    spec = json.dumps(figures.correlation_along_depth(CASES["six inputs"]).to_dict(), ensure_ascii=False)
    assert "between digit 4 and digit 2" in spec
    spec = json.dumps(figures.norm_along_depth(CASES["six inputs"]).to_dict(), ensure_ascii=False)
    assert "log V of digit 4" in spec
    assert "natural log of the mean square" in spec


def test_the_matrix_holds_the_mean_correlations() -> None:
    ladder = CASES["six inputs"]
    paths = ladder.rungs["exact"]
    cells = figures.correlation_matrix(ladder).to_dict()["layer"][0]
    spec = figures.correlation_matrix(paths).to_dict()
    rows = (cells.get("data") or spec["data"])["values"]
    mean = paths.correlation[:, -1].mean(axis=0)
    assert len(rows) == 36
    for row in rows:
        i, j = (int(row[side].removeprefix("digit ")) for side in ("first", "second"))
        assert row["rho"] == pytest.approx(mean[i, j])


def test_correlations_of_one_input_are_refused() -> None:
    for draw in (figures.correlation_along_depth, figures.gap_along_depth, figures.correlation_matrix):
        with pytest.raises(InputError, match="input"):
            draw(CASES["one input"])


def test_two_figures_on_one_page_share_no_names() -> None:
    drawn = [figures.svg(figures.correlation_matrix(CASES[name])) for name in ("six inputs", "stochastic")]
    names = [set(re.findall(r'id="([^"]+)"', text)) for text in drawn]
    assert names[0]
    assert not names[0] & names[1]
    used = [set(re.findall(r"url\(#([^)]+)\)", text)) for text in drawn]
    assert used == names


def test_svg_takes_its_ink_from_the_page_and_its_label_is_escaped() -> None:
    chart = figures.correlation_along_depth(CASES["odd names"])
    drawn = figures.svg(chart)
    assert f'"var(--ink, {INK})"' in drawn
    assert f'"var(--grid, {GRID})"' in drawn
    assert not re.search(r'(fill|stroke)="(#000|black|white)"', drawn)
    assert 'width="100%"' in drawn
    assert "<b>" not in drawn
    assert "600 exact networks" in drawn.split(">", 1)[0]
    body = figures.svg(chart, title=False).split(">", 1)[1]
    assert "600 exact networks" not in body


@pytest.mark.parametrize("suffix", FORMATS)
def test_files_begin_as_their_format_does(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"figure{suffix}"
    figures.save(figures.norm_along_depth(CASES["stochastic"]), path)
    begin = {".svg": b"<svg", ".png": b"\x89PNG\r\n\x1a\n", ".pdf": b"%PDF-", ".html": b"<!DOCTYPE html>"}
    content = path.read_bytes()
    assert content.lstrip().startswith(begin[suffix])
    assert not re.search(rb"<(script|link)[^>]*(src|href)=", content[:2000])


def test_bad_file_names_are_refused_in_one_sentence(tmp_path: Path) -> None:
    chart = figures.norm_along_depth(CASES["stochastic"])
    with pytest.raises(InputError, match=r"end its name in \.svg"):
        figures.save(chart, tmp_path / "figure.jpeg")
    with pytest.raises(InputError, match="does not exist; make it first"):
        figures.save(chart, tmp_path / "missing" / "figure.svg")
    assert not list(tmp_path.iterdir())


def test_numbers_keep_two_digits_of_their_error() -> None:
    assert plus_minus(0.51234, 0.0123) == "0.512 ± 0.012"
    assert plus_minus(-3.0, 0.0) == "-3"
    assert plus_minus(1234.5, 120.0) == "1234 ± 1.2e+02"
    assert shortened("a" * 30) == "a" * 23 + "…"
