"""How long does the law of a pair's correlation take, and how far is it from the law solved much more accurately?

Shaped ReLU, c = (0, -1), from rho_0 = 0.3 to t = 1, and the drift tanh, whose law is known in closed form. The L1 error
is that to a solution with a tolerance of 1e-10, or to the closed form; beside it stands the solver's own estimate.
"""

from typing import Any

import numpy as np
from measure import arguments, claim, document, seconds, spread, table

from deeplim.limits.density import Density
from deeplim.limits.fokker_planck import diffusion_density
from deeplim.limits.laws import pair_density, shaped_relu_drift

GAMMA, GAP, TIME, POINT = 1 / (2 * np.pi), 0.7, 1.0, 0.4
TOLERANCES = (1e-3, 1e-5, 1e-8)


def pair(tolerance: float) -> Density:
    """The law of the typical pair."""
    return pair_density(shaped_relu_drift(GAMMA), GAP, time=TIME, tolerance=tolerance)


def closed(tolerance: float) -> Density:
    """The law of dX = tanh(X) dt + dB."""
    return diffusion_density(np.tanh, noise=1.0, start=POINT, time=TIME, tolerance=tolerance)


def closed_form(x: np.ndarray) -> np.ndarray:
    """The same, exactly: cosh(x) / cosh(start) e^(-t/2) times the normal density (Benes)."""
    normal = np.exp(-((x - POINT) ** 2) / (2 * TIME)) / np.sqrt(2 * np.pi * TIME)
    return np.cosh(x) / np.cosh(POINT) * np.exp(-TIME / 2) * normal


def main() -> None:
    options = arguments(__doc__).parse_args()
    repeats, reference = 3 if options.quick else 15, pair(1e-10)
    results: dict[str, Any] = {}
    for name, solve, exact in (("shaped ReLU pair", pair, reference.at_points), ("drift tanh", closed, closed_form)):
        for tolerance in TOLERANCES:
            law = solve(tolerance)
            times = seconds(lambda solve=solve, tolerance=tolerance: solve(tolerance), repeats=repeats)
            results[f"{name}, tolerance {tolerance:g}"] = {
                "seconds": spread(times),
                "l1_error": float(np.abs(law.density - exact(law.x)).sum() * law.spacing),
                "estimated": law.error,
                "points": len(law.x),
            }
    typical = results["shaped ReLU pair, tolerance 1e-05"]
    if not typical["l1_error"] < 1e-5:
        raise SystemExit(f"the L1 error is {typical['l1_error']:.2g}, above the tolerance of 1e-5.")
    rows = [
        [name, found["l1_error"], found["estimated"], found["points"], *found["seconds"].values()]
        for name, found in results.items()
    ]
    head = ["law", "L1 error", "estimated", "points", "s", "lowest", "highest"]
    shown = {"quick": options.quick, "claims": [claim("fokker-planck", typical["seconds"])]}
    tables = [table(f"Densities at t = 1, {repeats} repeats", head, rows)]
    print(document(__doc__.splitlines()[0], results, ["deeplim", "numpy", "scipy"], tables=tables, **shown))


if __name__ == "__main__":
    main()
