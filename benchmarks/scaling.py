"""Does the time of exact networks grow in proportion to width, depth and their number?

The slope of log time against log size over two decades of each, fitted to medians with its standard error; sizes take
turns. The ResNet and eight inputs go over one decade. The smallest run takes some hundredths of a second, so that the
fixed cost of a call (threads, arrays: about a millisecond) hardly shows. Widths begin at 1000: what a layer costs
beside its neurons (a factorisation, how many are active) is worth some sixty of them, and shows below.
"""

import sys
from typing import Any

import numpy as np
from measure import Spread, alternate, arguments, claim, curves, document, spread, table

import deeplim as dl
from deeplim.architecture import Network
from deeplim.inputs import Inputs

PAIR = dl.gram(correlation=0.3)
EIGHT = dl.gram(covariance=np.full((8, 8), 0.3) + 0.7 * np.eye(8))
KINDS: dict[str, tuple[type[dl.MLP] | type[dl.ResNet], Inputs, int]] = {
    "ReLU MLP, 2 inputs": (dl.MLP, PAIR, 4),
    "ReLU ResNet, 2 inputs": (dl.ResNet, PAIR, 2),
    "ReLU MLP, 8 inputs": (dl.MLP, EIGHT, 1),
}
"""Network, inputs, and what BASE's number of networks is multiplied by."""
CLAIMED = "ReLU MLP, 2 inputs"
WIDE, NARROW = {"width": 1000, "depth": 100, "networks": 256}, {"width": 100, "depth": 100, "networks": 2048}
BASE = {"width": WIDE, "depth": NARROW, "networks": NARROW}
"""The smallest sizes of each axis; the number of networks is multiplied by that of KINDS."""
TWO_DECADES, ONE_DECADE = (1, 3, 10, 30, 100), (1, 3, 10)
AXES = {"width": "width (neurons)", "depth": "depth (layers)", "networks": "number of networks"}


def fit(size: np.ndarray, time: np.ndarray) -> tuple[float, float]:
    """Return the slope of log time against log size by least squares, and its standard error from the residuals.

    ValueError for fewer than three sizes, which leave no residual.
    """
    if len(size) < 3:
        raise ValueError(f"{len(size)} sizes were given; a slope with its error needs three.")
    x, y = np.log(size), np.log(time)
    away = x - x.mean()
    slope = float(away @ y / (away @ away))
    left = y - y.mean() - slope * away
    return slope, float(np.sqrt(left @ left / (len(x) - 2) / (away @ away)))


def sized(kind: str, axis: str, step: int) -> tuple[Network, int, int]:
    """Return the network, the number of them, and the size on the axis, for a step of the ladder."""
    family, _, more = KINDS[kind]
    numbers = BASE[axis] | {"networks": BASE[axis]["networks"] * more}
    numbers[axis] *= step
    return family(width=numbers["width"], depth=numbers["depth"]), numbers["networks"], numbers[axis]


def measured(kind: str, axis: str, steps: tuple[int, ...], repeats: int, seed: int) -> dict[str, Any]:
    """Return the times of each size and the fitted slope."""
    inputs = KINDS[kind][1]
    sizes, tasks = {}, {}
    for step in steps:
        network, networks, sizes[step] = sized(kind, axis, step)
        tasks[step] = lambda network=network, networks=networks: dl.simulate(
            network, inputs, networks=networks, seed=seed, layers=[network.depth]
        )
    times = alternate(tasks, repeats=repeats)
    found = {sizes[step]: spread(times[step]) for step in steps}
    slope, error = fit(np.array(list(found), dtype=float), np.array([one["median"] for one in found.values()]))
    print(f"{kind}, {axis}: {slope:.3f} +- {error:.3f}", file=sys.stderr)
    return {"kind": kind, "axis": axis, "slope": slope, "standard_error": error, "seconds": found}


def interval(one: dict[str, Any]) -> Spread:
    """Return the slope, and two standard errors either way."""
    two = 2 * one["standard_error"]
    return {"median": one["slope"], "low": one["slope"] - two, "high": one["slope"] + two}


def main() -> None:
    options = arguments(__doc__).parse_args()
    repeats = 2 if options.quick else 5
    found = []
    for kind in KINDS:
        steps = TWO_DECADES if kind == CLAIMED and not options.quick else ONE_DECADE
        found += [measured(kind, axis, steps, repeats, options.seed) for axis in AXES]
    claimed = [one for one in found if one["kind"] == CLAIMED]
    rows = [
        [one["kind"], AXES[one["axis"]], min(one["seconds"]), max(one["seconds"]), one["slope"], one["standard_error"]]
        for one in found
    ]
    columns = ["network", "size", "from", "to", "slope", "standard error"]
    lines = {
        AXES[one["axis"]]: {size / min(one["seconds"]): time for size, time in one["seconds"].items()}
        for one in claimed
    }
    smallest = ", ".join(f"{name} {BASE[name][name]:,}" for name in ("width", "depth"))
    title = f"{CLAIMED}: time against size"
    note = (
        f"Each from its smallest size ({smallest}). Medians of {repeats} turns; bars, where they show, are their range."
    )
    print(
        document(
            str(__doc__).splitlines()[0],
            found,
            ["deeplim", "numba", "numpy"],
            seed=options.seed,
            quick=options.quick,
            claims=[
                claim(f"slope-{one['axis']}", interval(one), spread_is="two standard errors either way")
                for one in claimed
            ],
            tables=[table("Slope of log time against log size", columns, rows)],
            figures=[curves("scaling", title, note, ("size over the smallest", "time of a run (s)"), lines)],
        )
    )


if __name__ == "__main__":
    main()
