"""How far is each rung from exact networks, in standard deviations of the exact ensemble, at full depth?

For MLPs of each width and depth and three activations, from a pair at correlation 0.3: the mean of the correlation, of
log(1 - rho) and of the log norm on each rung, less that of exact networks, over the exact standard deviation, with its
standard error. JSON on stdout; `--table docs/finite-size.md` also writes the table between that page's two markers.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from measure import document

import deeplim as dl
from deeplim import limits, observables
from deeplim.activations import Elementwise
from deeplim.limits.moment_chain import MomentChain

PAIR = dl.gram(correlation=0.3)
SIZES, QUICK = (32, 128, 512, 1024), (32, 128)
ACTIVATIONS = {"relu": dl.ReLU(), "shaped-relu, rate width": dl.ShapedReLU(), "tanh": Elementwise(function="tanh")}
NETWORKS = {"relu": 4_000, "shaped-relu, rate width": 4_000, "tanh": 1_000}
SAMPLES = 10_000
OBSERVED = {
    "correlation": observables.correlation,
    "log gap": observables.log_correlation_gap,
    "log norm": observables.log_norm,
}
BEGIN, END = "<!-- Begin: written by benchmarks/rungs.py -->", "<!-- End: written by benchmarks/rungs.py -->"


def errors(exact: dl.Paths, rung: dl.Paths) -> dict[str, dict[str, float]]:
    """The difference of means over the exact standard deviation, and its standard error, for each observable."""
    found = {}
    for name, values in OBSERVED.items():
        ours, theirs = (values(paths)[:, -1] for paths in (rung, exact))
        ours, theirs = ours[np.isfinite(ours)], theirs[np.isfinite(theirs)]
        spread = theirs.std(ddof=1)
        error = np.sqrt(1 / len(theirs) + (0.0 if len(ours) == 1 else ours.var() / spread**2 / len(ours)))
        found[name] = {
            "error": round(float((ours.mean() - theirs.mean()) / spread), 4),
            "standard_error": round(float(error), 4),
        }
    return found


def measure(kind: str, width: int, depth: int) -> dict[str, Any]:
    """Every rung of one network against its exact ensemble."""
    network = dl.MLP(width=width, depth=depth, activation=ACTIVATIONS[kind])
    begin = time.perf_counter()
    exact = dl.simulate(network, PAIR, networks=NETWORKS[kind], seed=0, layers=[depth])
    seconds = {"exact": round(time.perf_counter() - begin, 2)}
    found = {MomentChain.name: MomentChain(network)} | {limit.name: limit for limit in limits.find(network)}
    rungs = {}
    for name, limit in found.items():
        begin = time.perf_counter()
        rungs[name] = errors(exact, limit.sample(PAIR, samples=SAMPLES, seed=1, layers=[depth]))
        seconds[name] = round(time.perf_counter() - begin, 2)
    print(f"{network}: {seconds}", file=sys.stderr)
    return {"activation": kind, "width": width, "depth": depth, "rungs": rungs, "seconds": seconds}


def table(results: list[dict[str, Any]]) -> str:
    """Markdown: for each network the largest of the three errors of each rung, with its standard error."""
    lines = []
    for kind in ACTIVATIONS:
        rows = [row for row in results if row["activation"] == kind]
        names = list(dict.fromkeys(name for row in rows for name in row["rungs"]))
        lines += [f"### {kind}", "", f"| width | depth | {' | '.join(names)} |", "|---" * (2 + len(names)) + "|"]
        for row in rows:
            cells = [_worst(row["rungs"][name]) if name in row["rungs"] else "" for name in names]
            lines.append(f"| {row['width']} | {row['depth']} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def _worst(found: dict[str, dict[str, float]]) -> str:
    name = max(found, key=lambda name: abs(found[name]["error"]))
    return f"{abs(found[name]['error']):.2f} ± {found[name]['standard_error']:.2f} ({name})"


def write_between(page: Path, text: str) -> None:
    """Replace what stands between the two markers of a page."""
    before, rest = page.read_text().split(BEGIN)
    page.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{rest.split(END)[1]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="widths and depths 32 and 128 only")
    parser.add_argument("--table", type=Path, help="a page to write the table into")
    options = parser.parse_args()
    sizes = QUICK if options.quick else SIZES
    results = [measure(kind, width, depth) for kind in ACTIVATIONS for width in sizes for depth in sizes]
    if options.table:
        write_between(options.table, table(results))
    print(document(__doc__.splitlines()[0], json.loads(json.dumps(results)), ["deeplim", "numba", "numpy"]))


if __name__ == "__main__":
    main()
