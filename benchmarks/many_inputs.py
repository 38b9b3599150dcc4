"""From how many inputs on would a batched matrix product draw exact networks faster than the fused kernel?

ReLU MLPs of width 100 with 4 to 256 inputs, on one thread: the fused kernel, in which sixteen networks go side by side
and a layer's matrices are triangles; the same chain by NumPy and its BLAS; and of that the two matrix products alone,
factor times normals and rows times rows, which no chain built on them can beat.
"""

import os

for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(name, None)
os.environ["OPENBLAS_NUM_THREADS"] = "1"

from collections.abc import Callable  # noqa: E402

import numpy as np  # noqa: E402
from measure import alternate, arguments, curves, document, each, table  # noqa: E402

import deeplim as dl  # noqa: E402
from deeplim.finite.rowwise import run_rows  # noqa: E402
from deeplim.finite.runners import runner  # noqa: E402

WIDTH, DEPTH = 100, 10
INPUTS, QUICK = (4, 8, 16, 32, 64, 128, 256), (4, 32)
KERNEL, NUMPY, PRODUCTS = "fused kernel", "NumPy", "its matrix products alone"


def tasks(inputs: int, networks: int, seed: int) -> dict[str, Callable[[], object]]:
    """The three ways to ``networks`` networks."""
    rng = np.random.default_rng(seed)
    network, given = dl.MLP(width=WIDTH, depth=DEPTH), dl.gram(rng.standard_normal((inputs, 400)))
    layers = np.array([DEPTH])
    norms, gaps = np.empty((networks, 1, inputs)), np.empty((networks, 1, inputs * (inputs - 1) // 2))
    run = runner(network, given, layers, "auto").run
    normals = rng.standard_normal((networks, inputs, WIDTH))
    factor = np.tril(rng.standard_normal((networks, inputs, inputs)))

    def products() -> None:
        for _ in range(DEPTH):
            rows = factor @ normals
            rows @ rows.transpose(0, 2, 1)

    return {
        KERNEL: lambda: run(seed, 0, norms, gaps),
        NUMPY: lambda: run_rows(network, given, layers, seed, 0, norms, gaps),
        PRODUCTS: products,
    }


def main() -> None:
    options = arguments(__doc__).parse_args()
    sizes, repeats = (QUICK, 2) if options.quick else (INPUTS, 7)
    found: dict[str, dict[float, dict[str, float]]] = {KERNEL: {}, NUMPY: {}, PRODUCTS: {}}
    for inputs in sizes:
        networks = 64 if inputs <= 64 else 16
        for name, times in alternate(tasks(inputs, networks, options.seed), repeats=repeats).items():
            found[name][inputs] = each(networks * DEPTH, times)
    rows = [[m, *(1e6 * found[name][m]["median"] for name in found)] for m in sizes]
    title = f"Microseconds a network and layer, width {WIDTH}, one thread, median of {repeats}"
    note = f"median and range of {repeats} repeats"
    figure = curves("many_inputs", "ReLU MLP, width 100", note, ("inputs", "seconds a network and layer"), found)
    shown = {"seed": options.seed, "quick": options.quick, "tables": [table(title, ["inputs", *found], rows)]}
    print(document(__doc__.splitlines()[0], found, ["deeplim", "numba", "numpy"], figures=[figure], **shown))


if __name__ == "__main__":
    main()
