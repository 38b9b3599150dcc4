"""Write docs/performance.md and its figures from the results in benchmarks/results: no number comes from elsewhere.

Any subset of the results will do; what was not measured is said to be so.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from targets import TARGETS

BENCHMARKS = Path(__file__).parent
DOCS = BENCHMARKS.parent / "docs"
HEAD = """<!-- Written by benchmarks/page.py (make bench). Rerun the benchmarks, do not edit this page. -->

# Performance

Every number here was measured by a script in `benchmarks/` that anyone can rerun: each asks one question, measures the
other libraries in the same run on the same cores, and leaves a JSON file in `benchmarks/results/`, from which this page
is written.

```sh
make bench                # all of them, with the libraries measured against in an environment of their own
make bench QUICK=--quick  # short runs, to see that all works; results and page go to .venv-bench/quick
make bench-tangents       # first, for neural-tangents, which needs an old JAX
```

Times are medians. A spread is the range over the repeats, from lowest to highest, unless another is named. Libraries
that are compared take turns, so that whatever else the machine did hit them alike; a ratio is that of the medians, and
its spread that of the turns.
"""
CHECKS = "<!-- written by benchmarks/page.py -->", "<!-- end -->"
"""What stands around the table of docs/initialization-checks.md."""
BOUNDS = {"at_least": "at least", "at_most": "at most"}


def read(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the results in a folder by the names of their scripts."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


def page(results: dict[str, dict[str, Any]]) -> str:
    """Return the page as Markdown."""
    parts = [HEAD, "## Targets", targets_table(results), *(section(name, one) for name, one in results.items())]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def targets_table(results: dict[str, dict[str, Any]]) -> str:
    """Return every target with what was measured."""
    found = {claim["name"]: (claim, name) for name, one in results.items() for claim in one["claims"]}
    rows = []
    for name, target in TARGETS.items():
        row = [target.statement, bounds(target.bounds, target.unit)]
        if name not in found:
            rows.append([*row, "not measured", "", "", ""])
            continue
        claim, script = found[name]
        ends = claim["spread"]
        spread = "" if ends is None else f"{number(ends[0])} to {number(ends[1])}"
        other = f" ({claim['spread_is']})" if ends is not None and claim["spread_is"] != "range of the repeats" else ""
        quick = ", quick run" if results[script]["quick"] else ""
        measured = f"{number(claim['measured'])} {claim['unit']}".strip()
        # Held against the target of today, should it have changed since the run.
        rows.append([*row, measured, spread + other, judged(name, claim) + quick, f"[{script}](#{anchor(script)})"])
    return markdown(["what", "target", "measured", "spread", "verdict", "script"], rows)


def judged(name: str, claim: dict[str, Any]) -> str:
    """Return the verdict of the run; a sentence when the target has changed since."""
    return claim["verdict"] if claim["target"] == TARGETS[name].bounds else "measured against another target: rerun"


def section(name: str, one: dict[str, Any]) -> str:
    """Return a script's question, machine, figures and tables."""
    parts = [f"## {name}", one["question"]]
    if one["quick"]:
        parts.append("**From a quick run, whose numbers mean little.**")
    parts.append(f"Rerun: `python benchmarks/{name}.py`. {machine(one)}")
    parts += [f"![{figure['title']}](figures/performance_{figure['name']}.svg)" for figure in one["figures"]]
    for table in one["tables"]:
        rows = [
            [number(cell) if isinstance(cell, int | float) else cell or "" for cell in row] for row in table["rows"]
        ]
        parts += [f"**{table['title']}**", markdown([column.strip() for column in table["columns"]], rows)]
    if not one["tables"]:
        parts.append("```json\n" + json.dumps(one["results"], indent=2) + "\n```")
    return "\n\n".join(parts)


def checks_page(text: str, one: dict[str, Any]) -> str:
    """Return docs/initialization-checks.md with the table, and what it was measured on, of a result."""
    [table], (begin, end) = one["tables"], CHECKS
    told = f"{begin}\n\n{machine(one)}\n\n{markdown(table['columns'], table['rows'])}\n\n"
    return text[: text.index(begin)] + told + text[text.index(end) :]


def machine(one: dict[str, Any]) -> str:
    """Return what a result was measured on, with which versions, when and from which seed."""
    on = one["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in on["versions"].items())
    seed = "" if one["seed"] is None else f", seed {one['seed']}"
    cores = f"{on['cores']} core{'s' if on['cores'] != 1 else ''}"
    computer = f"{on['processor']}, {cores}, {on['system']}, Python {on['python']}"
    return f"Measured {one['date']}{seed}, on {computer}, with {versions}."


def written(cell: float | str | None) -> str:
    """Return a cell: a number rounded, words as they are, nothing for None."""
    return number(cell) if isinstance(cell, int | float) else cell or ""


def bounds(named: dict[str, float], unit: str) -> str:
    """Return a target in words."""
    if len(named) == 2:
        return f"{number(named['at_least'])} to {number(named['at_most'])} {unit}".strip()
    return " ".join(f"{BOUNDS[name]} {number(bound)} {unit}".strip() for name, bound in named.items())


def number(value: float) -> str:
    """Return a number to four digits, a whole one below ten million to all of them.

    >>> [number(value) for value in (0, 2, 1_048_576, 0.95, 8111.2, 12345.6, 3.2939e9, 0.000012345)]
    ['0', '2', '1,048,576', '0.95', '8,111', '12,350', '3.294e9', '1.234e-5']
    """
    if isinstance(value, int) and abs(value) < 1e7:
        return f"{value:,}"
    short = f"{value:.4g}"
    if 1e3 <= abs(value) < 1e7:
        return f"{float(short):,.0f}"
    digits, _, power = short.partition("e")
    return f"{digits}e{int(power)}" if power else short


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def anchor(title: str) -> str:
    """Return where a heading can be linked to."""
    return title.lower().replace(" ", "-")


def draw(results: dict[str, dict[str, Any]], folder: Path) -> None:
    """Write the results' figures, and take away those of results that are no longer there."""
    sys.path.append(str(DOCS / "figures"))
    try:
        from performance import figures
    finally:
        sys.path.pop()
    from deeplim.drawing import save

    drawn = figures(list(results.values()))
    for path in folder.glob("performance_*.svg"):
        if path.stem not in drawn:
            path.unlink()
    for name, chart in drawn.items():
        save(chart, folder / f"{name}.svg")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=BENCHMARKS / "results", metavar="FOLDER")
    parser.add_argument("--docs", type=Path, default=DOCS, metavar="FOLDER")
    options = parser.parse_args()
    results = read(options.results)
    (options.docs / "figures").mkdir(parents=True, exist_ok=True)
    draw(results, options.docs / "figures")
    (options.docs / "performance.md").write_text(page(results))
    checks = options.docs / "initialization-checks.md"
    if checks.exists() and "initialization_checks" in results:
        checks.write_text(checks_page(checks.read_text(), results["initialization_checks"]))


if __name__ == "__main__":
    main()
