"""How many exact networks a second on the CPU and on a GPU, and do both draw one law? Says so where there is no GPU."""

import time
from typing import Any

import numpy as np
from measure import arguments, document, rate, seconds, table

import deeplim as dl
from deeplim.finite.device import missing

PAIR, TRIPLE = dl.gram(correlation=0.3), dl.gram(np.eye(3) + 1)


def networks(width: int, depth: int) -> dict[str, tuple[Any, Any]]:
    size = {"width": width, "depth": depth}
    return {
        "MLP, two inputs, single precision": (dl.MLP(**size), PAIR),
        "MLP, three inputs, double precision": (dl.MLP(**size), TRIPLE),
        "MLP, tanh, double precision": (dl.MLP(**size, activation=dl.Elementwise(function="tanh")), PAIR),
        "ResNet, two inputs, single precision": (dl.ResNet(**size), PAIR),
    }


def compare(network: Any, inputs: Any, counts: dict[str, int], repeats: int) -> dict[str, Any]:
    """Rates on each device, the time of the GPU's first run, and how far apart the means of the final log norms are."""
    found: dict[str, Any] = {}
    norms = {}
    for seed, (device, count) in enumerate(counts.items()):  # the seeds differ: one seed gives one stream on both
        options = {"networks": count, "layers": [network.depth], "device": device}
        begin = time.perf_counter()
        norms[device] = dl.simulate(network, inputs, seed=seed, **options).log_norm[:, 0, 0]
        first = time.perf_counter() - begin
        times = seconds(lambda options=options: dl.simulate(network, inputs, **options), repeats=repeats)
        found[device] = {"networks": count, "networks_per_second": rate(count, times), "first_run_seconds": first}
    if len(norms) == 2:
        alive = [norm[np.isfinite(norm)] for norm in norms.values()]
        error = np.sqrt(sum(norm.var() / len(norm) for norm in alive))
        found["difference_in_standard_errors"] = float((alive[0].mean() - alive[1].mean()) / error)
        medians = [found[device]["networks_per_second"]["median"] for device in counts]
        found["ratio"] = medians[1] / medians[0]
    return found


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--depth", type=int, default=128)
    parser.add_argument("--networks", type=int, default=4096, help="on the CPU")
    parser.add_argument("--on-gpu", type=int, default=262_144, help="networks on the GPU")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    if options.quick:
        options.networks, options.on_gpu = 256, 4096
    counts = {"cpu": options.networks}
    results: dict[str, Any] = {"width": options.width, "depth": options.depth, "gpu": missing()}
    packages = ["deeplim", "numba", "numpy"]
    if results["gpu"] is None:
        from numba import cuda

        counts["cuda"] = options.on_gpu
        name = cuda.get_current_device().name
        results["gpu"] = name.decode() if isinstance(name, bytes) else name
        packages.append("numba-cuda")
    for name, (network, inputs) in networks(options.width, options.depth).items():
        results[name] = compare(network, inputs, counts, options.repeats)
    rows = [
        [name, device, found[device]["networks_per_second"]["median"]]
        for name, found in results.items()
        if isinstance(found, dict)
        for device in counts
    ]
    tables = [table(f"Exact networks a second; GPU: {results['gpu']}", ["network", "device", "networks/s"], rows)]
    print(document(__doc__.splitlines()[0], results, packages, quick=options.quick, tables=tables))


if __name__ == "__main__":
    main()
