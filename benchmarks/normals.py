"""How many normals a second does the fused two-input kernel use on a core, against the same written by hand in C?

Both draw the same exact networks from the same random streams, to rounding, which is checked in the same run; the C
kernel (pair_kernel.c, gcc -O3 -march=native) has the machine's vector instructions under the compiler's own scheduling.
The runs alternate. Then the same networks on one thread and on two.
"""

import argparse
import ctypes
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from measure import document

import deeplim as dl
from deeplim.simd.streams import stream_states

SOURCE = Path(__file__).with_name("pair_kernel.c")
FLAGS = ["-O3", "-march=native", "-ffp-contract=fast", "-fno-math-errno", "-shared", "-fPIC"]
PAIR = dl.gram(correlation=0.3)
ACTIVATION = dl.ShapedReLU()


def c_kernel(folder: Path) -> Callable[..., None]:
    """pair_networks, compiled for this machine."""
    library = folder / "pair_kernel.so"
    subprocess.run(["gcc", *FLAGS, str(SOURCE), "-o", str(library), "-lm"], check=True)
    function = ctypes.CDLL(str(library)).pair_networks
    words, numbers = (np.ctypeslib.ndpointer(kind, flags="C") for kind in (np.uint32, np.float64))
    function.argtypes = [words, *[ctypes.c_int] * 3, ctypes.c_double, *[ctypes.c_float] * 2, ctypes.c_double, numbers]
    function.restype = None
    return function


def by_hand(kernel: Callable[..., None], network: dl.MLP, networks: int) -> np.ndarray:
    """log V of both inputs and log(1 - rho), shape (network, 3)."""
    found = np.empty((networks, 3))
    states = np.ascontiguousarray(stream_states(0, 0, networks))
    size, slopes = (networks, network.width, network.depth), network.slopes
    kernel(states, *size, network.gain / network.width, *slopes, 1 - 0.3, found)
    logs = np.log(found)
    logs[:, 2] = 2 * logs[:, 2] - np.log(2)
    return logs


def by_deeplim(network: dl.MLP, networks: int, threads: int = 1) -> np.ndarray:
    paths = dl.simulate(network, PAIR, networks=networks, layers=[network.depth], threads=threads)
    return np.concatenate([paths.log_norm[:, 0], paths.log_gap[:, 0]], axis=1)


def alternate(tasks: list[Callable[[], object]], repeats: int) -> list[list[float]]:
    """Seconds of each task, run in turn."""
    times: list[list[float]] = [[] for _ in tasks]
    for turn in range(repeats + 1):
        for task, taken in zip(tasks, times, strict=True):
            begin = time.perf_counter()
            task()
            if turn > 0:
                taken.append(time.perf_counter() - begin)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=1000)
    parser.add_argument("--depth", type=int, default=100)
    parser.add_argument("--networks", type=int, default=4096)
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    network = dl.MLP(width=options.width, depth=options.depth, activation=ACTIVATION)
    count = options.networks
    with tempfile.TemporaryDirectory() as folder:
        kernel = c_kernel(Path(folder))
        apart = np.abs(by_hand(kernel, network, 64) - by_deeplim(network, 64)).max()
        times = alternate(
            [lambda: by_hand(kernel, network, count), *(lambda t=t: by_deeplim(network, count, t) for t in (1, 2))],
            options.repeats,
        )
    normals = count * options.width * options.depth * 2
    hand, one, two = (statistics.median(taken) for taken in times)
    results = {
        "width": options.width,
        "depth": options.depth,
        "networks": count,
        "largest_difference_of_logs": float(apart),
        "c_normals_per_second": normals / hand,
        "deeplim_normals_per_second": normals / one,
        "two_threads_normals_per_second": normals / two,
        "seconds": dict(zip(("c", "deeplim, 1 thread", "deeplim, 2 threads"), times, strict=True)),
    }
    print(document(__doc__.splitlines()[0], results, ["deeplim", "numba", "numpy"]))


if __name__ == "__main__":
    main()
