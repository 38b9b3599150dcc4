"""The code in README and pages runs, generated pages are current, links lead somewhere, and the house rules hold."""

import ast
import doctest
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
SOURCES = sorted((ROOT / "src").rglob("*.py"))


def test_readme_code_runs():
    code = "\n".join(re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL))
    result = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("Covariance SDE\n")


@pytest.mark.parametrize("page", [page for page in PAGES if ">>> " in page.read_text()], ids=lambda page: page.name)
def test_examples_give_what_they_say(page: Path):
    code = "\n".join(re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL))
    example = doctest.DocTestParser().get_doctest(code, {}, page.name, str(page), 0)
    assert example.examples
    told: list[str] = []
    doctest.DocTestRunner(verbose=False).run(example, out=told.append)
    assert not told, "".join(told)


def test_readme_commands_exist():
    import click

    from deeplim.cli import main

    root = click.Context(main, info_name="deeplim", **main.context_settings)
    lines = re.findall(r"^deeplim (\S+)(.*)$", (ROOT / "README.md").read_text(), flags=re.MULTILINE)
    assert len(lines) >= 4
    for name, words in lines:
        main.commands[name].make_context(name, words.split(), parent=root)


@pytest.mark.parametrize("page", ["limits.md", "command-line.md", "normalization.md"])
def test_generated_pages_are_current(page: str):
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        import generate
    finally:
        sys.path.pop(0)
    assert (ROOT / "docs" / page).read_text() == generate.PAGES[page](), "run make docs"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def _compiled(function: ast.FunctionDef) -> bool:
    """Whether a function is a kernel of its own, as one with @kernel(...) is."""
    made = [one.func for one in function.decorator_list if isinstance(one, ast.Call)]
    return any(isinstance(one, ast.Name) and one.id == "kernel" for one in made)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: str(source.relative_to(ROOT / "src")))
def test_files_and_functions_stay_small(source: Path):
    text = source.read_text()
    assert len(text.splitlines()) <= 400
    for node in ast.walk(ast.parse(text)):
        # The kernels are loops within loops over one block of networks; cut up, they would not stay in registers.
        if isinstance(node, ast.FunctionDef) and not source.stem.endswith("kernel") and not _compiled(node):
            assert node.end_lineno - node.lineno < 45, node.name


def test_every_limit_is_in_the_readme_table():
    from deeplim.limits import ALL

    table = (ROOT / "README.md").read_text().lower()
    for limit in ALL:
        assert limit.title.lower() in table
