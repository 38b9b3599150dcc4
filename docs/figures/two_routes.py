"""Measure the rates of the two routes; write their figures beside this file and the tables of docs/two-routes.md.

python docs/figures/two_routes.py, about a minute on two cores.
"""

import re
from pathlib import Path
from typing import Any

import altair as alt

from deeplim.drawing import Chart, finished, save
from deeplim.routes import Approach, Routes, approach_cells, arrival_cells, two_routes

HERE = Path(__file__).parent
PAGE = HERE.parent / "two-routes.md"
COLOURS = {"resnet": "#2f7fc1", "mlp": "#8a4fbf"}
NAMES = {"resnet": "ResNet", "mlp": "shaped MLP"}


def figure(routes: Routes, quantity: str, varied: str, title: str, subtitle: str) -> Chart:
    """Return both routes' errors of the correlation along one size: points, standard errors and fitted powers."""
    found = [routes.approach(route, quantity, varied) for route in ("resnet", "mlp")]
    names = [_name(approach) for approach in found]
    points = [point for name, approach in zip(names, found, strict=True) for point in _points(name, approach)]
    data = alt.Data(values=points)
    sizes = sorted({point["size"] for point in points})
    x_axis = alt.Axis(values=sizes[:: 1 if len(sizes) < 6 else 2], format="d", labelOverlap=True)
    x = alt.X("size:Q", title=f"{varied} ({'layers' if varied == 'depth' else 'neurons'})", axis=x_axis)
    x.scale = alt.Scale(type="log", base=2, nice=False, padding=12)
    label = {"spread": "standard deviation of ρ", "mean": "|mean of ρ − ODE's ρ(1)|"}[quantity]
    ends = min(point["low"] for point in points) / 1.3, max(point["high"] for point in points) * 1.3
    ticks = [digit * 10.0**power for power in range(-7, 1) for digit in ((1, 2, 5) if ends[1] < 30 * ends[0] else (1,))]
    axis = alt.Axis(values=[tick for tick in ticks if ends[0] <= tick <= ends[1]], format="~g")
    y = alt.Y("error:Q", title=label, scale=alt.Scale(type="log", domain=ends, nice=False), axis=axis)
    scale = alt.Scale(domain=names, range=[COLOURS[approach.route] for approach in found])
    legend = alt.Legend(title=None, orient="bottom", direction="vertical", symbolOpacity=1, labelLimit=0)
    colour = alt.Color("name:N", scale=scale, legend=legend)
    base = alt.Chart(data)
    line = base.mark_line(strokeWidth=1.5).encode(x, alt.Y("fit:Q", title=label), colour)
    bars = base.mark_rule(strokeWidth=1.5).encode(x, alt.Y("low:Q", title=label), alt.Y2("high:Q"), colour)
    marks = alt.Shape("name:N", scale=alt.Scale(domain=names, range=["circle", "square"]), legend=legend)
    dots = base.mark_point(filled=True, size=55, opacity=1).encode(x, y, colour, marks)
    counts = " and ".join(f"{approach.networks[0]:,} ({NAMES[approach.route]})" for approach in found)
    return finished(line + bars + dots, title, [subtitle.format(counts=counts)])


def _name(approach: Approach) -> str:
    other = {"width": "depth", "depth": "width"}[approach.varied]
    where = "infinite width" if approach.exact else f"{other} {approach.fixed:,}"
    return f"{NAMES[approach.route]}, {where}: exponent {approach.curve.rate}".replace("-", "−")


def _points(name: str, approach: Approach) -> list[dict[str, Any]]:
    curve = approach.curve
    return [
        {
            "name": name,
            "size": size,
            "error": abs(error),
            "low": abs(error) - uncertainty,
            "high": abs(error) + uncertainty,
            "fit": abs(curve.rate.at(size)),
        }
        for size, error, uncertainty in zip(curve.sizes, curve.errors, curve.uncertainties, strict=True)
    ]


def tables(routes: Routes) -> dict[str, str]:
    """Return the page's two tables in Markdown, by the word in their markers."""
    arrived = ["observable", "route", "networks", "mean", "ODE", "infinite width", "standard deviation"]
    rates = ["route", "error of the", "along", "at", "exponent", "theory", "chi²/dof"]
    return {
        "arrivals": _markdown(arrived, [arrival_cells(found) for found in routes.arrivals]),
        "rates": _markdown(rates, [approach_cells(found) for found in routes.approaches]),
    }


def _markdown(head: list[str], lines: list[list[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(row)} |".replace("_", " ") for row in rows)


def main() -> None:
    """Measure, draw and write."""
    write(two_routes(progress=print))


def write(routes: Routes) -> None:
    """Write the figures and the page's tables."""
    page = PAGE.read_text()
    for word, table in tables(routes).items():
        begin, end = f"<!-- {word}: written by docs/figures/two_routes.py -->", f"<!-- end of {word} -->"
        page = re.sub(f"{re.escape(begin)}.*?{re.escape(end)}", f"{begin}\n\n{table}\n\n{end}", page, flags=re.DOTALL)
    PAGE.write_text(page)
    start = "Correlation 0.3 at the input, last layer. "
    drawn = "Exact networks, {counts} a point; bars, mostly within the points: ±1 standard error; lines: fitted powers."
    for quantity, varied, title, subtitle in (
        ("spread", "depth", "The fluctuation along depth: flat for the ResNet, d^(1/2) for the MLP", start + drawn),
        ("spread", "width", "The fluctuation along width: n^(−1/2) on both routes", start + drawn),
        (
            "mean",
            "depth",
            "What is left at infinite width: d^(−1) and d^(−1/2)",
            start + "No sampling; lines: fitted powers.",
        ),
    ):
        save(figure(routes, quantity, varied, title, subtitle), HERE / f"two_routes_{quantity}_{varied}.svg")


if __name__ == "__main__":
    main()
