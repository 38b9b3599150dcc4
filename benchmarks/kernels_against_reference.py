"""Infinite-width kernels of deeplim against those of neural-tangents: do they agree, and how far does each see?

neural-tangents needs an old JAX, so it runs in a Python of its own, named by --python (one in which, for example,
neural-tangents 0.6.5, jax 0.4.30, tf2jax 0.3.6 and numpy<2 are installed); it gets rows as JSON and answers with JSON.
The truth is in tests/reference/kernels.json, made by mpmath in many digits.
"""

import argparse
import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from measure import document

from deeplim import functions
from deeplim.gaussian import kernel_gaps, mean_product, mean_square

TABLE = Path(__file__).parent.parent / "tests" / "reference" / "kernels.json"
FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "relu": lambda x: np.maximum(x, 0),
    "leaky": lambda x: np.where(x > 0, x, 0.2 * x),
    **{name: getattr(functions, name) for name in ("erf", "gelu", "tanh", "silu")},
}
THERE = """
import json, sys
import jax
jax.config.update("jax_enable_x64", True)
import jax.numpy as jnp
import neural_tangents
from neural_tangents import stax

layers = {
    "relu": stax.Relu(), "leaky": stax.LeakyRelu(0.2), "erf": stax.Erf(), "gelu": stax.Gelu(),
    "tanh": stax.ElementwiseNumerical(jnp.tanh, deg=100), "silu": stax.ElementwiseNumerical(jax.nn.silu, deg=100),
}
answers = []
for row in json.load(sys.stdin):
    v, w, gap = (float(row[key]) for key in ("v", "w", "gap"))
    rho = 1 - gap
    # the inputs whose second moments are v, w and rho sqrt(v w)
    rest = max(0.0, gap * (2 - gap)) ** 0.5
    x = jnp.array([[(2 * v) ** 0.5, 0.0], [(2 * w) ** 0.5 * rho, (2 * w) ** 0.5 * rest]])
    kernel = stax.serial(stax.Dense(1), layers[row["function"]])[2]
    found = kernel(x, None, get="nngp")
    answers.append([float(found[0, 0]), float(found[0, 1]), float(found[1, 1])])
versions = {"neural-tangents": neural_tangents.__version__, "jax": jax.__version__}
print(json.dumps({"answers": answers, "versions": versions}))
"""


def worst(rows: list[dict[str, str]], answers: list[list[float]], gaps: list[float]) -> dict[str, dict[str, float]]:
    """By function, the largest errors: of the product relative to its scale, and of the gap relative to itself."""
    table = {(row["function"], row["v"], row["w"], row["gap"]): row for row in rows}
    found: dict[str, dict[str, float]] = {}
    for row, (_, product, _), gap in zip(rows, answers, gaps, strict=True):
        first, second = (float(table[row["function"], row[key], row[key], "1"]["square"]) for key in ("v", "w"))
        size = np.sqrt(first * second)
        errors = found.setdefault(row["function"], {"product": 0.0, "gap": 0.0})
        errors["product"] = max(errors["product"], abs(product - float(row["product"])) / size)
        if row["v"] == row["w"]:
            exact = float(row["difference"]) / (2 * first)
            errors["gap"] = max(errors["gap"], abs(gap / exact - 1))
    return {name: {key: float(f"{value:.1e}") for key, value in errors.items()} for name, errors in found.items()}


def deeplim_answers(rows: list[dict[str, str]]) -> tuple[list[list[float]], list[float]]:
    """The three second moments of each row, and the gap of their correlation."""
    answers, gaps = [], []
    for row in rows:
        function = FUNCTIONS[row["function"]]
        v, w, gap = (float(row[key]) for key in ("v", "w", "gap"))
        product = mean_product(function, (v, np.sqrt(v * w) * (1 - gap), w))
        answers.append([mean_square(function, v), product, mean_square(function, w)])
        gaps.append(float(kernel_gaps(function, np.sqrt([v]), np.sqrt([w]), np.array([gap]))[0]))
    return answers, gaps


def peer_answers(python: str, rows: list[dict[str, str]]) -> tuple[list[list[float]], list[float], dict[str, Any]]:
    """The same from neural-tangents, whose gap can only be one minus the correlation."""
    run = subprocess.run([python, "-c", THERE], input=json.dumps(rows), capture_output=True, text=True, check=True)
    found = json.loads(run.stdout.splitlines()[-1])
    gaps = [1 - both / np.sqrt(one * two) for one, both, two in found["answers"]]
    return found["answers"], gaps, found["versions"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", help="the Python that has neural-tangents")
    options = parser.parse_args()
    rows = json.loads(TABLE.read_text())
    begin = time.perf_counter()
    ours = deeplim_answers(rows)
    results: dict[str, Any] = {"rows": len(rows), "seconds": time.perf_counter() - begin, "deeplim": worst(rows, *ours)}
    if options.python:
        theirs, gaps, versions = peer_answers(options.python, rows)
        between = np.abs(np.array(ours[0]) - np.array(theirs)).max(axis=1)
        results |= {
            "neural_tangents": worst(rows, theirs, gaps),
            "versions": versions,
            "largest_difference": {
                name: float(f"{max(d for row, d in zip(rows, between, strict=True) if row['function'] == name):.1e}")
                for name in FUNCTIONS
            },
        }
    print(document(__doc__.splitlines()[0], results, ["deeplim", "numpy", "scipy"]))


if __name__ == "__main__":
    main()
