"""Every limit has its page, every page's figures exist, and the scripts that draw them run."""

import re
import runpy
import sys
from pathlib import Path

import pytest
from tiers import slow

from deeplim.limits import ALL

DOCS = Path(__file__).parent.parent / "docs"
FIGURES = DOCS / "figures"
PAGES = sorted(DOCS.rglob("*.md"))
SECTIONS = [
    "The theorem",
    "Assumptions",
    "Clock",
    "How deeplim computes it",
    "What it does not say",
    "Figure",
    "Example",
    "Sources",
]
SCRIPTS = [path for path in sorted(FIGURES.glob("*.py")) if re.search(r"^from marks import", path.read_text(), re.M)]

LONG = {"normalized_sde", "normalization_unshaped"}


@pytest.mark.parametrize("limit", ALL, ids=lambda limit: limit.name)
def test_every_limit_has_a_page_with_all_sections(limit):
    text = (DOCS / "limits" / f"{limit.name}.md").read_text()
    assert text.startswith(f"# {limit.title} (`{limit.name}`)\n")
    assert re.findall(r"^## (.*)$", text, flags=re.MULTILINE) == SECTIONS
    for section in re.split(r"^## .*$", text, flags=re.MULTILINE)[1:]:
        assert section.strip()
    for needed in (".svg)", ">>> ", "$$"):
        assert needed in text


def pictures(page: Path) -> list[str]:
    return re.findall(r"!\[[^\]]+\]\(([^)]+)\)", page.read_text())


@pytest.mark.parametrize("page", [page for page in PAGES if pictures(page)], ids=lambda page: page.name)
def test_figures_of_pages_exist(page: Path):
    for target in pictures(page):
        assert (page.parent / target).is_file(), target


def test_no_figure_is_left_over():
    shown = {(page.parent / target).resolve() for page in PAGES for target in pictures(page)}
    assert {path.resolve() for path in FIGURES.glob("*.svg")} <= shown


@pytest.mark.parametrize(
    "script", [slow(one) if one.stem in LONG else one for one in SCRIPTS], ids=lambda script: script.stem
)
def test_scripts_draw_the_figures_that_are_there(script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(FIGURES))
    monkeypatch.setattr(sys, "argv", [str(script), "--quick", "--output", str(tmp_path)])
    runpy.run_path(str(script), run_name="__main__")
    written = sorted(path.name for path in tmp_path.iterdir())
    assert written
    assert all(path.read_text().startswith("<svg") for path in tmp_path.iterdir())
    assert all((FIGURES / name).is_file() for name in written)


def test_there_are_scripts():
    assert len(SCRIPTS) >= len(ALL)
