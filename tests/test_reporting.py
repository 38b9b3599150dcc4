"""Reports are one page that loads nothing, findings follow their thresholds, the numbers are valid JSON."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ladders import RESNET, SHAPED, UNSHAPED, made_ladder
from tiers import quick

from deeplim.errors import InputError
from deeplim.inputs import Inputs, gram
from deeplim.ladder import Ladder, climb
from deeplim.reporting import Finding, Report, findings, report

RANDOM = np.random.default_rng(3)
IMAGES = np.round(16 * RANDOM.random((10, 64)))
PLAIN = gram(IMAGES, names=[f"digit {i}" for i in range(10)])
DIGITS = Inputs(PLAIN.log_norm, PLAIN.gap, PLAIN.names, "handwritten digits", IMAGES)
ODD = gram(correlation=0.2, names=["<script>alert(1)</script>", "a & b"])
LADDERS: dict[str, Ladder] = {
    "stochastic": made_ladder(networks=2000, samples=2000),
    "aligning": made_ladder(UNSHAPED, gap=1e-5, norm=-8.0, spread=2.0, dead=12, aligned=30),
    "deterministic": made_ladder(RESNET),
    "predicted only": made_ladder(networks=0),
    "one input": made_ladder(inputs=gram([[1.0, 2.0]])),
    "one network": made_ladder(networks=1),
    "digits": made_ladder(inputs=DIGITS, pair=(2, 5)),
    "odd names": made_ladder(inputs=ODD),
    "all dead": made_ladder(UNSHAPED, dead=600),
    "no limit": replace(made_ladder(), limits={}, rungs={"exact": made_ladder().rungs["exact"]}),
}
REPORTS: dict[str, Report] = {}


def made_report(name: str) -> Report:
    if name not in REPORTS:
        several = [
            LADDERS["stochastic"],
            LADDERS["aligning"],
            LADDERS["predicted only"],
            LADDERS["one input"],
        ]
        REPORTS[name] = report(several if name == "several" else LADDERS[name], command=f"deeplim report '{name}'")
    return REPORTS[name]


class Page(HTMLParser):
    """A page's elements: that they are balanced, the headings in order, and whatever the page would load."""

    VOID = frozenset({"meta", "link", "img", "br", "wbr", "hr", "input"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.loads: list[str] = []
        self.headings: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        named = dict(attrs)
        self.ids += [named["id"] or ""] if "id" in named else []
        self.loads += [named[name] or "" for name in ("src", "href", "xlink:href", "data") if name in named]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


@pytest.mark.parametrize("name", quick(*list(LADDERS)[::2], "several", of=[*LADDERS, "several"]))
def test_the_page_is_whole_and_loads_nothing(name: str) -> None:
    html = made_report(name).html
    page = Page(html)
    assert html.startswith("<!DOCTYPE html>")
    assert page.open == []
    assert page.tags.count("h1") == 1
    assert len(page.ids) == len(set(page.ids))
    assert "script" not in page.tags
    assert "link" not in page.tags
    assert all(load.startswith("data:image/png;base64,") for load in page.loads)
    assert not re.search(r"@import|url\((?!#)", html)
    assert not re.search(r"\bNaN\b|\bundefined\b|\bnan\b|Infinity", html)
    order = ["What was asked", "What was found", "The limits", "Figures", "Exact networks against the limit"]
    assert page.headings == order
    assert f"deeplim report &#39;{name}&#39;" in html


@pytest.mark.parametrize("name", [*LADDERS, "several"])
def test_the_numbers_are_valid_json(name: str) -> None:
    data = json.loads(made_report(name).to_json(), parse_constant=refuse)
    assert set(data) == {"title", "command", "networks"}
    for network in data["networks"]:
        assert {"network", "rungs", "findings", "comparison"} <= set(network)
        assert all(f["level"] in {"fine", "warning", "problem"} for f in network["findings"])


def test_sample_sizes_seeds_and_equations_are_on_the_page() -> None:
    html = made_report("stochastic").html
    for words in (
        "2,000",
        "2,000 samples",
        "seed 7",
        "Verdict: agree",
        "once in 1,000 times",
        "standard deviation",
    ):
        assert words in html
    assert html.count("<math") >= 2
    assert "Why the others do not apply" in html


def test_both_colour_schemes_and_print_have_styles() -> None:
    html = made_report("stochastic").html
    assert "prefers-color-scheme: dark" in html
    assert "@media print" in html
    assert 'name="viewport"' in html


def test_what_is_missing_is_said() -> None:
    assert "none drawn" in made_report("predicted only").html
    assert "the prediction is not checked" in made_report("predicted only").html
    assert "No limit that deeplim knows describes this network" in made_report("no limit").html
    assert "correlation" not in made_report("one input").html.partition("<table")[2].partition("</table>")[0]


def test_several_networks_stand_side_by_side() -> None:
    page = made_report("several")
    assert "The networks side by side" in page.html
    assert "4 networks side by side" in page.html
    assert [network["network"]["activation"]["kind"] for network in page.data["networks"]] == [
        "shaped-relu",
        "relu",
        "shaped-relu",
        "shaped-relu",
    ]
    assert len(page.charts) == sum(len(made_report(name).charts) for name in ("stochastic", "aligning")) + 3 + 2


def test_digits_are_shown_with_their_names_and_their_credit() -> None:
    html = made_report("digits").html
    assert html.count("data:image/png;base64,") == 10
    assert "digit 9" in html
    assert "doi 10.24432/C50P49" in html
    assert "doi" not in made_report("stochastic").html


def test_names_are_escaped() -> None:
    html = made_report("odd names").html
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert "a &amp; b" in html


def test_the_page_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    made = made_report("stochastic")
    path = tmp_path / "report.html"
    path.write_text("old")
    made.save(path)
    assert path.read_text("utf-8") == made.html
    with pytest.raises(InputError, match="does not exist"):
        made.save(tmp_path / "missing" / "report.html")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="is not an ordinary file"):
        made.save(tmp_path / "folder")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["folder", "report.html"]


def test_figures_are_written_in_every_format_asked_for(tmp_path: Path) -> None:
    made = made_report("stochastic")
    files = made.save_figures(tmp_path / "new" / "figures", formats=("svg", ".pdf"))
    assert len(files) == 2 * len(made.charts)
    assert all(file.stat().st_size > 1000 for file in files)
    assert all(re.fullmatch(r"1-mlp-[a-z0-9-]+\.(svg|pdf)", file.name) for file in files)
    with pytest.raises(InputError, match="docx"):
        made.save_figures(tmp_path / "none", formats=("svg", "docx"))
    assert not (tmp_path / "none").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="could not be made"):
        made.save_figures(tmp_path / "file")
    (tmp_path / "kept").mkdir()
    last = tmp_path / "kept" / files[-1].name
    last.write_text("kept")
    last.chmod(0o444)
    with pytest.raises(InputError, match="is write-protected"):
        made.save_figures(tmp_path / "kept", formats=("svg", "pdf"))
    assert list((tmp_path / "kept").iterdir()) == [last]


def test_no_network_is_no_report() -> None:
    with pytest.raises(InputError, match="at least one"):
        report([])


def test_the_title_is_the_network_unless_one_is_given() -> None:
    assert made_report("stochastic").data["title"] == str(SHAPED)
    assert report(LADDERS["one input"], title="a < b").html.count("a &lt; b") == 2


def topics(ladder: Ladder) -> dict[str, Finding]:
    found = findings(ladder)
    assert len({finding.topic for finding in found}) == len(found)
    return {finding.topic: finding for finding in found}


@pytest.mark.parametrize(
    ("start", "gap", "spread", "level", "words"),
    [
        (0.7, 0.001, 0.3, "problem", "The inputs align"),
        (0.7, 0.03, 0.3, "warning", "The inputs align"),
        (0.7, 0.5, 0.3, "fine", "The inputs stay apart"),
        (0.7, 0.5, 2.0, "fine", "depends on the initialization"),
        (0.002, 0.001, 0.3, "warning", "start nearly parallel"),
        (0.2, 1.0, 0.02, "warning", "The inputs decorrelate"),
        (1.0, 1.0, 0.02, "fine", "The inputs stay apart"),
    ],
)
def test_correlations(start: float, gap: float, spread: float, level: str, words: str) -> None:
    found = topics(made_ladder(inputs=gram(gap=start), gap=gap, spread=spread))["correlation"]
    assert words in found.sentence
    assert found.level == level
    assert found.numbers["gap_median"] == pytest.approx(gap, rel=0.1)
    assert found.numbers["gap_start"] == start


def test_a_share_of_aligned_networks_is_a_warning() -> None:
    found = topics(made_ladder(gap=0.1, spread=6.0))["correlation"]
    assert found.level == "warning"
    assert "beyond 0.99" in found.sentence


@pytest.mark.parametrize(
    ("decades", "level", "words"),
    [
        (0.0, "fine", "The norm holds"),
        (-2.0, "warning", "The norm shrinks"),
        (-5.0, "problem", "The norm dies"),
        (2.0, "warning", "The norm grows"),
        (5.0, "problem", "The norm explodes"),
        (-400.0, "problem", "400.0 orders of magnitude"),
    ],
)
def test_norms(decades: float, level: str, words: str) -> None:
    found = topics(made_ladder(norm=decades * np.log(10), spread=0.1))["norm"]
    assert words in found.sentence
    assert found.level == level
    assert found.numbers["median"] == pytest.approx(decades, abs=0.05)


@pytest.mark.parametrize(("spread", "level"), [(0.2, "fine"), (1.0, "warning"), (3.0, "problem")])
def test_the_spread_of_norms(spread: float, level: str) -> None:
    found = topics(made_ladder(spread=spread))
    assert found["spread of the norm"].level == level
    # 5 to 95% of a normal law is 3.29 standard deviations.
    assert found["spread of the norm"].numbers["spread"] == pytest.approx(3.29 * spread / np.log(10), rel=0.15)
    assert found["depth/width"].numbers["variance"] == pytest.approx(spread**2, rel=0.2)
    assert found["depth/width"].level == ("fine" if spread < 0.5 else "warning")


def test_dead_and_aligned_networks_are_counted() -> None:
    found = topics(made_ladder(UNSHAPED, dead=30, aligned=2))
    assert found["dead networks"].level == "problem"
    assert "30 of 600 networks (5.00%)" in found["dead networks"].sentence
    assert found["exactly parallel"].level == "warning"
    assert "2 of the 570 living networks" in found["exactly parallel"].sentence
    assert topics(made_ladder(UNSHAPED, dead=1))["dead networks"].level == "warning"
    assert "dead networks" not in topics(made_ladder(UNSHAPED))


def test_networks_that_are_all_dead_leave_nothing_else_to_find() -> None:
    assert set(topics(LADDERS["all dead"])) == {"dead networks", "limit", "description"}


def test_agreement_is_told_with_the_size_of_a_difference() -> None:
    agree = topics(made_ladder(networks=3000, samples=3000))["limit"]
    assert agree.level == "fine"
    assert "No difference found" in agree.sentence
    small = topics(made_ladder(networks=20_000, samples=20_000, shift=0.1))["limit"]
    assert small.level == "warning"
    assert small.numbers["largest_effect"] == pytest.approx(0.1, abs=0.05)
    large = topics(made_ladder(networks=3000, samples=3000, shift=1.0))["limit"]
    assert large.level == "warning"
    assert "What is known of its accuracy" in large.sentence


def test_an_unchecked_prediction_is_a_warning() -> None:
    found = topics(LADDERS["predicted only"])
    assert found["limit"].level == "warning"
    assert "not checked" in found["limit"].sentence
    assert "correlation" in found


def test_a_deterministic_prediction_has_no_spread() -> None:
    found = topics(made_ladder(RESNET, networks=0))
    assert set(found) == {"correlation", "norm", "limit", "description"}
    assert "5–95%" not in found["correlation"].sentence


def test_a_ladder_without_any_rung_has_nothing_to_find() -> None:
    bare = replace(made_ladder(), limits={}, rungs={})
    assert [finding.level for finding in findings(bare)] == ["warning"]


def test_a_real_network_makes_a_report() -> None:
    ladder = climb(UNSHAPED.model_copy(update={"depth": 10}), gram(correlation=0.3), networks=64, samples=64)
    made: dict[str, Any] = json.loads(report(ladder).to_json(), parse_constant=refuse)
    assert made["networks"][0]["network"]["depth"] == 10
