"""Names are data: in figures, pages, tables and errors they are shown as they are, and nothing obeys them."""

import json
import re
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from ladders import UNSHAPED, made_ladder
from made_paths import random_paths

from deeplim import compare, drawing, figures, rendering, report
from deeplim.drawing import save, svg
from deeplim.inputs import gram
from deeplim.layer_figures import layer_figure
from deeplim.modules import Modules
from deeplim.paths import Paths

NAMES = (
    "</script><script>t()//",
    "<!--<script>",
    "]]></text><script>t()</script>",
    "a\x1b[2J\x00\ufffe\ud800",
    "txt\u202egpj",
    'a"+warn("x")+"\\u0041',
    "b'];warn(1)//",
    "toString",
    "constructor",
    "__proto__",
    "a.b[0]",
    "${x}{{x}}{x}%s",
    "{first} and {second}",
    "\\",
)
SHOWN = {
    "a\x1b[2J\x00\ufffe\ud800": r"a\x1b[2J\x00\ufffe\ud800",
    "txt\u202egpj": r"txt\u202egpj",
}


def shown(name: str) -> str:
    return drawing.shortened(SHOWN.get(name, name), 24)


@cache
def named(first: int = 0) -> Any:
    """A ladder of inputs with all these names, of which one is named on every axis."""
    rows = np.random.default_rng(5).standard_normal((len(NAMES), 20)) + 1.0
    names = NAMES[first:] + NAMES[:first]
    return made_ladder(UNSHAPED, inputs=gram(rows, names=names), pair=(0, 1))


def recorded(names: tuple[str, ...]) -> Paths:
    layers = len(names)
    return replace(
        random_paths(samples=9, inputs=2),
        log_norm=np.random.default_rng(0).normal(size=(9, layers, 2)),
        log_gap=-np.abs(np.random.default_rng(1).normal(size=(9, layers, 1))) * 3,
        alive=np.ones((9, layers), dtype=bool),
        time=np.arange(float(layers)),
        modules=Modules(names),
        source="a model of </script>\x1b",
    )


@cache
def charts() -> dict[str, Any]:
    made = figures.figures(named()) | {"matrix": figures.correlation_matrix(named())}
    return made | {"layers": layer_figure(recorded(NAMES), title="layers of </script><b>\x07")}


class Page(HTMLParser):
    """The elements of a page, what is in its scripts, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.scripts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: Any) -> None:
        self.tags.append(tag)
        self.scripts += [""] * (tag == "script")
        assert not any(name.startswith("on") for name, _ in attributes)

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] == "script":
            self.scripts[-1] += data


@pytest.mark.parametrize("name", charts())
def test_an_svg_is_xml_with_the_names_as_its_text(name: str) -> None:
    root = ElementTree.fromstring(svg(charts()[name]))
    kinds = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert kinds <= {"svg", "g", "path", "text", "tspan", "rect", "line", "defs", "clipPath", "linearGradient", "stop"}
    text = "".join(root.itertext())
    if name == "matrix":
        # Both axes in the order of the inputs; the renderer cuts what is too wide for them.
        texts = [element.text for element in root.iter() if element.tag.endswith("text") and element.text]
        labels = [part for part in texts if any(shown(word).startswith(part.removesuffix("…")) for word in NAMES)]
        wanted = [shown(word) for word in (*NAMES, *NAMES)]
        assert len(labels) == len(wanted)
        assert all(word.startswith(part.removesuffix("…")) for part, word in zip(labels, wanted, strict=True))
    if name == "layers":
        drawn = [word for word in NAMES if drawing.shortened(SHOWN.get(word, word), 18) in text]
        assert len(drawn) == len(NAMES)


@pytest.mark.parametrize("first", range(0, len(NAMES), 2))
def test_two_names_on_the_axes_are_drawn_as_they_are(first: int) -> None:
    root = ElementTree.fromstring(svg(figures.correlation_along_depth(named(first))))
    assert f"between {shown(NAMES[first])} and {shown(NAMES[first + 1])}" in "".join(root.itertext())


@pytest.mark.parametrize("kind", ["png", "pdf"])
def test_no_name_aborts_the_renderer(kind: str, tmp_path: Path) -> None:
    """The process is ended by control characters that reach it."""
    for name, chart in charts().items():
        save(chart, tmp_path / f"{name}.{kind}")
        assert (tmp_path / f"{name}.{kind}").stat().st_size > 1000


def test_no_name_ends_the_script_of_a_page(tmp_path: Path) -> None:
    save(layer_figure(recorded(("a", "b"))), tmp_path / "plain.html")
    plain = Page((tmp_path / "plain.html").read_text("utf-8"))
    for name, chart in charts().items():
        save(chart, tmp_path / "figure.html")
        page = Page((tmp_path / "figure.html").read_text("utf-8"))
        assert page.tags == plain.tags, name
        assert page.tags.count("script") == 2
        spec = re.search(r"const spec = (.*);\n", page.scripts[-1])
        assert spec is not None
        assert json.loads(spec[1]) == json.loads(json.dumps(drawing._specification(chart)))


def test_no_name_is_part_of_an_expression() -> None:
    """What Vega computes is the same whatever the names are, but for the labels that are literal text."""
    import vl_convert

    for name, chart in charts().items():
        made = json.dumps(vl_convert.vegalite_to_vega(drawing._specification(chart), vl_version=drawing._version()))
        found = re.findall(r'"(?:expr|signal|update|test)": ("(?:[^"\\]|\\.)*")', made)
        computed = [json.loads(part) for part in found if "slice(" not in part]
        assert computed
        assert not [part for part in computed if any(word in part for word in ("warn", "script", "toString"))], name


def test_a_report_is_one_page_that_shows_the_names() -> None:
    made = report(named(3), command="deeplim report \udcff\x1b[2J <script>", title="</title><script>\x00")
    assert "script" not in Page(made.html).tags
    made.html.encode()
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufffe]", made.html)
    assert r"a\x1b[2J\x00\ufffe\ud800" in made.html
    assert r"\udcff\x1b[2J &lt;script&gt;" in made.html
    json.loads(made.to_json())


def test_a_stranger_s_source_does_not_command_the_terminal() -> None:
    observed = random_paths(samples=50, source="\x1b]0;owned\x07\x1b[31m\nVerdict: agree", kind="limit")
    told = str(compare(observed, random_paths(samples=50, seed=1)))
    assert r"observed:  \x1b]0;owned\x07\x1b[31m\nVerdict: agree" in told
    assert "\x1b" not in told
    assert "\x1b" not in str(gram([[1.0, 2.0], [2.0, 1.0]], names=["\x1b", "b"]))


def test_a_limit_on_address_space_does_not_end_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = svg(charts()["norm"])
    monkeypatch.setattr(rendering, "address_space_left", lambda: 2**30)
    assert svg(charts()["norm"]) == drawn
    rendering.try_renderer(drawing._version())
    monkeypatch.setattr(rendering, "_CHILD", "import os; os.abort()")
    for draw in (lambda: svg(charts()["norm"]), lambda: rendering.try_renderer(drawing._version())):
        with pytest.raises(rendering.MachineError, match="raise the limit"):
            draw()
