"""How many normals a second does the fused two-input kernel use on a core, against the same written by hand in C?

Both draw the same exact networks from the same random streams, which is checked in the same run; the C kernel is
pair_kernel.c, compiled by gcc -O3 -march=native. The runs alternate. Then the same networks on one thread and on two,
and the ReLU network, whose inactive neurons take no random numbers: counted as if they did.
"""

import ctypes
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from measure import alternate, arguments, claim, document, rate, speedup, table

import deeplim as dl
from deeplim.simd.streams import stream_states

SOURCE = Path(__file__).with_name("pair_kernel.c")
FLAGS = ["-O3", "-march=native", "-ffp-contract=fast", "-fno-math-errno", "-shared", "-fPIC", "-Wno-psabi"]
CORRELATION, WIDTH, DEPTH = 0.3, 1000, 100
PAIR = dl.gram(correlation=CORRELATION)
SHAPED, RELU = (dl.MLP(width=WIDTH, depth=DEPTH, activation=phi) for phi in (dl.ShapedReLU(), dl.ReLU()))
LARGEST_DIFFERENCE = 1e-6
"""Of logarithms, between the two kernels: they round sums of 32 single-precision numbers alike."""


def c_kernel(folder: Path) -> Callable[..., None]:
    """pair_networks, compiled for this machine."""
    library = folder / "pair_kernel.so"
    subprocess.run(["gcc", *FLAGS, str(SOURCE), "-o", str(library), "-lm"], check=True)
    function = ctypes.CDLL(str(library)).pair_networks
    words, numbers = (np.ctypeslib.ndpointer(kind, flags="C") for kind in (np.uint32, np.float64))
    function.argtypes = [words, *[ctypes.c_int] * 3, ctypes.c_double, *[ctypes.c_float] * 2, ctypes.c_double, numbers]
    function.restype = None
    return function


def by_hand(kernel: Callable[..., None], network: dl.MLP, networks: int, seed: int) -> np.ndarray:
    """log V of both inputs and log(1 - rho), shape (network, 3)."""
    found = np.empty((networks, 3))
    states = np.ascontiguousarray(stream_states(seed, 0, networks))
    scale = network.gain / network.width
    kernel(states, networks, network.width, network.depth, scale, *network.slopes, 1 - CORRELATION, found)
    logs = np.log(found)
    logs[:, 2] = 2 * logs[:, 2] - np.log(2)
    return logs


def by_deeplim(network: dl.MLP, networks: int, seed: int, threads: int = 1) -> np.ndarray:
    """The same from deeplim."""
    paths = dl.simulate(network, PAIR, networks=networks, seed=seed, layers=[network.depth], threads=threads)
    return np.concatenate([paths.log_norm[:, 0], paths.log_gap[:, 0]], axis=1)


def main() -> None:
    options = arguments(__doc__).parse_args()
    networks, repeats, seed = (512, 3, options.seed) if options.quick else (4096, 15, options.seed)
    with tempfile.TemporaryDirectory() as folder:
        kernel = c_kernel(Path(folder))
        apart = float(np.abs(by_hand(kernel, SHAPED, 64, seed) - by_deeplim(SHAPED, 64, seed)).max())
        if not apart < LARGEST_DIFFERENCE:
            raise SystemExit(f"the two kernels differ by {apart:.3g}; they must draw the same networks.")
        times = alternate(
            {
                "C, 1 thread": lambda: by_hand(kernel, SHAPED, networks, seed),
                "deeplim, 1 thread": lambda: by_deeplim(SHAPED, networks, seed),
                "deeplim, 2 threads": lambda: by_deeplim(SHAPED, networks, seed, threads=2),
                "deeplim, ReLU, 1 thread": lambda: by_deeplim(RELU, networks, seed),
            },
            repeats=repeats,
        )
    normals = 2.0 * networks * WIDTH * DEPTH
    rates = {name: rate(normals, taken) for name, taken in times.items()}
    one = times["deeplim, 1 thread"]
    claims = [
        claim("normals-per-core", rates["deeplim, 1 thread"]),
        claim("normals-against-c", speedup(one, times["C, 1 thread"])),
        claim("two-threads", speedup(times["deeplim, 2 threads"], one)),
    ]
    rows = [[name, found["median"], found["low"], found["high"]] for name, found in rates.items()]
    title = f"Normals a second, width {WIDTH}, depth {DEPTH}, {networks:,} networks, {repeats} repeats"
    tables = [table(title, ["kernel", "median", "lowest", "highest"], rows)]
    results = {"networks": networks, "largest_difference_of_logs": apart, "seconds": times}
    given = {"seed": seed, "quick": options.quick, "claims": claims, "tables": tables}
    print(document(__doc__.splitlines()[0], results, ["deeplim", "numba", "numpy"], **given))


if __name__ == "__main__":
    main()
