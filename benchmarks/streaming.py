"""How long does a summary of a million exact networks take, and does its memory grow with their number?

For MLPs of width 100 and two inputs: a million at depth 100 with 50 recorded layers, ten million at depth 20 beside one
million, each in a process of its own, timed from the start of Python to its end with its peak resident memory; and, on
one thread, what counting a recorded layer of a network takes beside NumPy's passes. `--quick` runs a tenth of it.
"""

import json
import statistics
import sys
import time
from typing import Any

import numpy as np
from measure import arguments, claim, document, peak_rss_mb, run_command, seconds, table

import deeplim as dl
from deeplim.bins import BINS, OF
from deeplim.observables import OBSERVABLES
from deeplim.summary import Moments
from deeplim.tally import Tally, block_size

PAIR = dl.gram(correlation=0.3)
DEEP, SHALLOW = dl.MLP(width=100, depth=100), dl.MLP(width=100, depth=20)
LAYERS = {DEEP.depth: list(range(2, 101, 2)), SHALLOW.depth: None}


def run(network: dl.MLP, networks: int) -> dict[str, float]:
    """Summarise in this process; start is what it took to import, and to load kernels that are compiled already."""
    begin = time.perf_counter()
    dl.summarize(network, PAIR, networks=1, layers=LAYERS[network.depth])
    start, used = time.perf_counter(), time.process_time()
    dl.summarize(network, PAIR, networks=networks, layers=LAYERS[network.depth])
    taken, used = time.perf_counter() - start, time.process_time() - used
    return {
        "depth": network.depth,
        "networks": networks,
        "seconds": round(taken, 2),
        "processor_seconds": round(used, 2),
        "loading": round(start - begin, 2),
        "microseconds_per_network": round(taken / networks * 1e6, 2),
        "peak_rss_mb": round(peak_rss_mb()),
    }


def in_a_process_of_its_own(depth: int, networks: int) -> dict[str, Any]:
    found = run_command([sys.executable, __file__, "--depth", str(depth), "--networks", str(networks)])
    return json.loads(found.output) | {"process_seconds": round(found.seconds, 2)}


def counting() -> dict[str, float]:
    """Nanoseconds that counting a recorded layer of a network takes, fused and in NumPy's passes, on one thread."""
    layers = LAYERS[DEEP.depth]
    assert layers is not None
    paths = dl.simulate(DEEP, PAIR, networks=block_size(10**6, len(layers), 2), layers=layers)
    tally, entries = Tally(len(layers), 2, (0, 1)), paths.samples * len(layers)

    def in_passes() -> None:
        for observable in OBSERVABLES.values():
            values = observable.values(paths, (0, 1))
            Moments.of(values)
            place = np.searchsorted(OF[observable.name].smallest, values, side="right") - 1
            np.bincount((place + np.arange(len(layers)) * (BINS + 2)).ravel(), minlength=len(layers) * (BINS + 2))

    fused, passes = (seconds(task, repeats=9) for task in (lambda: tally.add(paths), in_passes))
    found = {"fused": statistics.median(fused), "numpy": statistics.median(passes)}
    return {name: round(taken / entries * 1e9, 1) for name, taken in found.items()}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--depth", type=int, help="one run in this process: of this depth")
    parser.add_argument("--networks", type=int, help="and this many networks")
    options = parser.parse_args()
    if options.depth is not None:
        print(json.dumps(run(DEEP if options.depth == DEEP.depth else SHALLOW, options.networks)))
        return
    million = 100_000 if options.quick else 1_000_000
    sizes = [(DEEP.depth, million), (SHALLOW.depth, million), (SHALLOW.depth, 10 * million)]
    in_a_process_of_its_own(DEEP.depth, 1)  # compiles, where that has not been done
    runs, costs = [in_a_process_of_its_own(*size) for size in sizes], counting()
    claims = [
        claim("million-networks-seconds", runs[0]["process_seconds"]),
        claim("million-networks-memory", runs[0]["peak_rss_mb"]),
        claim("ten-million-networks-memory", runs[2]["peak_rss_mb"] / runs[1]["peak_rss_mb"]),
    ]
    columns = ["depth", "networks", "process_seconds", "seconds", "processor_seconds", "peak_rss_mb"]
    words = ["depth", "networks", "s, with the start", "s", "processor s", "peak MB"]
    tables = [
        table("Summaries of networks of width 100, each in a process", words, [[r[c] for c in columns] for r in runs]),
        table(
            "Counting a recorded layer of a network, one thread",
            ["how", "nanoseconds"],
            [["fused", costs["fused"]], ["NumPy's passes", costs["numpy"]]],
        ),
    ]
    results = {"nanoseconds_per_entry": costs, "runs": runs}
    shown = {"seed": 0, "quick": options.quick, "claims": claims, "tables": tables}
    print(document(__doc__.splitlines()[0], results, ["deeplim", "numba", "numpy"], **shown))


if __name__ == "__main__":
    main()
