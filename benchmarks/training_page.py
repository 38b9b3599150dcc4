"""Write what docs/training.md has from benchmarks/results/training.json, between its markers, and nothing else."""

import argparse
import itertools
import json
from pathlib import Path
from typing import Any

from measure import table
from page import DOCS, markdown, written
from training_evidence import HEALTH, RESULTS, accuracies, diverged, mean_interval, training_losses

Cell = dict[str, Any]
RESULT = Path(__file__).parent / "results" / "training.json"


def plus_minus(cell: Cell) -> str:
    """Return the mean test accuracy of a cell in percent, with its 95% interval over seeds."""
    found = mean_interval(accuracies(cell))
    return f"{found['mean']:.1f} ± {found['high'] - found['mean']:.1f}"


def tables(cells: list[Cell], told: dict[str, Any], arms: list[str]) -> list[dict[str, Any]]:
    """Return the tables of the results: accuracies, how health orders them, and the finite-width rule against TAT."""
    return [accuracy_table(cells, arms), ranks_table(told), order_table(told), paired_table(cells, told)]


def accuracy_table(cells: list[Cell], arms: list[str]) -> dict[str, Any]:
    """Return the test accuracy of every arm at every size."""
    place = {(cell["arm"], cell["width"], cell["depth"]): cell for cell in cells}
    widths, depths = (sorted({cell[name] for cell in cells}) for name in ("width", "depth"))
    rows = [
        [arm, width, *(plus_minus(place[at]) if (at := (arm, width, depth)) in place else None for depth in depths)]
        for width, arm in itertools.product(widths, arms)
    ]
    columns = ["arm", "width", *(f"depth {depth}" for depth in depths)]
    return table("Test accuracy (%): mean over seeds with its 95% interval", columns, rows)


def ranks_table(told: dict[str, Any]) -> dict[str, Any]:
    """Return the rank correlations of every health with every result."""
    rows = [
        [one["health"], one["result"], *one["overall"].values(), one["within"]["mean"], one["within"]["p"]]
        for one in told["ranks"]
    ]
    columns = ["predicted health", "result", "all arms and sizes", "lowest", "highest", "within sizes", "p"]
    return table("Rank correlation of predicted health with results", columns, rows)


def order_table(told: dict[str, Any]) -> dict[str, Any]:
    """Return how many pairs of arms of one size each health puts in the order of their accuracies."""
    keys = ("pairs", "right", "sure", "sure_and_right")
    rows = [[name, *(one[key] for key in keys)] for name, one in told["ordered"].items()]
    columns = ["predicted health", "pairs of arms", "in order", "apart at 95%", "of these in order"]
    return table("Pairs of arms of one size: is the healthier one better?", columns, rows)


def paired_table(cells: list[Cell], told: dict[str, Any]) -> dict[str, Any]:
    """Return the differences of the finite-width rule and TAT, with both slopes."""
    slopes = {
        (cell["arm"], cell["width"], cell["depth"]): cell["network"]["activation"].get("slope", 0.0) for cell in cells
    }
    rows = []
    for one in told["paired"]:
        size = one["width"], one["depth"]
        every = one["width"] is None
        both = ["", ""] if every else [slopes[arm, *size] for arm in ("TAT", "finite width")]
        rows.append(["all" if every else f"{size[0]} x {size[1]}", *both, one["mean"], one["low"], one["high"]])
    columns = ["width x depth", "slope by TAT", "for the finite width", "difference", "lowest", "highest"]
    return table("Test accuracy (%) at the finite-width slope less that at TAT's, paired by seed", columns, rows)


def cells_table(cells: list[Cell]) -> dict[str, Any]:
    """Return everything that was measured, one arm and size a row."""
    rows = [
        [
            cell["arm"],
            cell["width"],
            cell["depth"],
            *(cell["health"][name] for name in HEALTH),
            cell["rate"],
            "yes" if cell["at_an_edge"] else "",
            plus_minus(cell),
            RESULTS["training loss"](cell) * -1,
            min(training_losses(cell)),
            max(training_losses(cell)),
            f"{100 * diverged(cell):.0f}%",
        ]
        for cell in cells
    ]
    columns = ["arm", "width", "depth", "gap", "norm deviation", "gradient drift", "rate", "edge", "test accuracy (%)"]
    return table("All cells", [*columns, "training loss", "lowest", "highest", "diverged"], rows)


def answer(told: dict[str, Any], linear: float) -> str:
    """Return the numbers that answer the question, in sentences."""
    lines = []
    for one in told["ranks"]:
        if one["result"] != "test accuracy":
            continue
        name, within, ordered = one["health"], one["within"], told["ordered"][one["health"]]
        found, low, high = (_two_places(one["overall"][end]) for end in ("mean", "low", "high"))
        lines.append(
            f"- **{name}**: its rank correlation with test accuracy is {found} over all arms and sizes (95% interval "
            f"{low} to {high}), and {_two_places(within['mean'])} on average within a size (p = {within['p']:.2g}).\n"
            f"  Of {ordered['sure']} pairs of arms of one size that are apart, {ordered['sure_and_right']} are in the "
            "order predicted."
        )
    last = told["paired"][-1]
    lines.append(
        f"- **The finite-width rule less TAT**: {last['mean']:+.1f} points of test accuracy on average over the sizes, "
        f"95% interval {last['low']:+.1f} to {last['high']:+.1f}."
    )
    lines.append(f"- **A linear classifier** gets {100 * linear:.1f}% of the same test images right.")
    return "\n".join(lines)


def _two_places(value: float) -> str:
    return f"{round(value, 2) + 0.0:.2f}"


def blocks(document: dict[str, Any]) -> dict[str, str]:
    """Return what stands between the markers of the page, by their words."""
    cells, told = document["results"]["cells"], document["results"]["evidence"]
    shown = dict(zip(("accuracy", "ranks", "order", "paired"), document["tables"], strict=True))
    shown["cells"] = cells_table(cells)
    return {"answer": answer(told, document["results"]["linear_accuracy"])} | {
        word: markdown(one["columns"], [[written(cell) for cell in row] for row in one["rows"]])
        for word, one in shown.items()
    }


def page(text: str, document: dict[str, Any]) -> str:
    """Return a page with what stands between its markers written anew; ValueError for a marker that is not there."""
    for word, block in blocks(document).items():
        begin, end = f"<!-- {word}: written by benchmarks/training_page.py -->", f"<!-- end of {word} -->"
        text = f"{text[: text.index(begin)]}{begin}\n\n{block}\n\n{text[text.index(end) :]}"
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--result", type=Path, default=RESULT, metavar="FILE")
    parser.add_argument("--page", type=Path, default=DOCS / "training.md", metavar="FILE")
    options = parser.parse_args()
    options.page.write_text(page(options.page.read_text(), json.loads(options.result.read_text())))


if __name__ == "__main__":
    main()
