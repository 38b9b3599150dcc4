"""How many samples of a finite-width NNGP kernel a second, against neural-tangents' Monte Carlo kernel?

Both estimate E of c phi(z)^T phi(z) / n at the last layer of a ReLU MLP on two inputs at correlation 0.3, at the same
width and depth; the means of entry (0, 1) are held against each other. neural-tangents needs an old JAX, so it runs in
an environment of its own, built by `make bench-tangents`; without it the result says "not built".
"""

import itertools
import sys
from pathlib import Path
from typing import Any

import numpy as np
from measure import alternate, arguments, document, rate, speedup, table
from peers.child import Child

import deeplim as dl

ROOT = Path(__file__).parent.parent
CORRELATION = 0.3
PAIR = dl.gram(correlation=CORRELATION)
NOT_BUILT = "not built"
STANDARD_ERRORS = 5.0
"""How far the two means may be apart: a false alarm once in a million runs."""
PACKAGES = ["deeplim", "numba", "numpy"]


def kernels(network: dl.MLP, networks: int, seed: int) -> np.ndarray:
    """Return entry (0, 1) of every network's kernel at the last layer."""
    paths = dl.simulate(network, PAIR, networks=networks, seed=seed, layers=[network.depth])
    return paths.covariance[:, 0, 0, 1]


def described(network: dl.MLP) -> dict[str, Any]:
    """What neural-tangents needs to know: inputs x whose Gram matrix over n_in = 2 is PAIR's."""
    x = np.sqrt(2) * np.linalg.cholesky(PAIR.covariance)
    return {"width": network.width, "depth": network.depth, "gain": network.gain, "inputs": x.tolist()}


def compared(child: Child, network: dl.MLP, least: float, repeats: int, seed: int) -> dict[str, Any]:
    """Return both rates, in turns, and both means."""
    case, seeds = described(network), itertools.count(seed)
    ours: list[np.ndarray] = []
    networks = 512 * max(1, round(2e9 * least / (network.width * network.depth * 2) / 512))
    settings, calls, drawn = child.ask("settings", case=case), {}, {}
    for at, setting in enumerate(settings):
        for _ in range(2):
            found = child.ask("draw", case=case, setting=setting, seeds=[next(seeds)])
        calls[at] = max(1, round(least / found["seconds"]))

    def theirs(at: int) -> None:
        chosen = list(itertools.islice(seeds, calls[at]))
        drawn[at] = child.ask("draw", case=case, setting=settings[at], seeds=chosen)["networks"]

    tasks = {"ours": lambda: ours.append(kernels(network, networks, next(seeds)))}
    times = alternate(tasks | {str(at): lambda at=at: theirs(at) for at in calls}, repeats=repeats)
    best = max(calls, key=lambda at: rate(drawn[at], times[str(at)])["median"])
    law = {"deeplim": mean_of(np.concatenate(ours)), "neural-tangents": moments_of(child.ask("moments", case=case))}
    check_same_mean(law)
    return {
        "network": str(network),
        "deeplim": rate(networks, times["ours"]),
        "neural-tangents": [
            {"setting": setting, "samples_per_second": rate(drawn[at], times[str(at)])}
            for at, setting in enumerate(settings)
        ],
        "best": settings[best],
        "speedup": speedup(times["ours"], times[str(best)], work=(networks, drawn[best])),
        "kernel": law,
    }


def mean_of(values: np.ndarray) -> dict[str, float]:
    """Return the mean, the standard deviation and the number of values."""
    return {"mean": float(values.mean()), "std": float(values.std(ddof=1)), "samples": len(values)}


def moments_of(found: dict[str, float]) -> dict[str, float]:
    """Return the same from a peer's answer."""
    return {"mean": found["mean"], "std": found["variance"] ** 0.5, "samples": found["count"]}


def check_same_mean(law: dict[str, dict[str, float]]) -> None:
    """Raise RuntimeError when the means are further apart than our standard deviation and both numbers allow."""
    ours, theirs = law["deeplim"], law["neural-tangents"]
    error = ours["std"] * (1 / ours["samples"] + 1 / theirs["samples"]) ** 0.5
    if abs(ours["mean"] - theirs["mean"]) > STANDARD_ERRORS * error:
        raise RuntimeError(
            f"the kernel's mean is {theirs['mean']:.4f} in neural-tangents and {ours['mean']:.4f} in deeplim, more "
            f"than {STANDARD_ERRORS:g} standard errors of {error:.4f} apart: they estimate different kernels."
        )


def tables(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rates and the means as tables."""
    law, columns = found["kernel"], ["library", "setting", "samples/s", "lowest", "highest"]
    rows = [["deeplim", "", *(found["deeplim"][key] for key in ("median", "low", "high"))]]
    for one in found["neural-tangents"]:
        setting = ", ".join(f"{key} {value}" for key, value in one["setting"].items())
        rows.append(
            ["neural-tangents", setting, *(one["samples_per_second"][key] for key in ("median", "low", "high"))]
        )
    means = [
        [name, one["samples"], one["mean"], one["std"] / one["samples"] ** 0.5, one["std"]] for name, one in law.items()
    ]
    ratio = found["speedup"]
    title = (
        f"{found['network']}: deeplim is faster by {ratio['median']:.3g} ({ratio['low']:.3g} to {ratio['high']:.3g})"
    )
    return [
        table(title, columns, rows),
        table("The same kernel: its entry (0, 1)", ["library", "samples", "mean", "±", "standard deviation"], means),
    ]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--python", type=Path, default=ROOT / ".venv-tangents" / "bin" / "python", metavar="FILE")
    parser.add_argument("--width", type=int, default=100)
    parser.add_argument("--depth", type=int, help="20 by default, 5 for a quick run")
    options = parser.parse_args()
    question, run = str(__doc__).splitlines()[0], {"seed": options.seed, "quick": options.quick}
    if not options.python.exists():
        print("neural-tangents has no environment here: run make bench-tangents", file=sys.stderr)
        print(document(question, {"neural-tangents": NOT_BUILT}, PACKAGES, **run))
        return
    network = dl.MLP(width=options.width, depth=options.depth or (5 if options.quick else 20))
    least, repeats = (0.1, 2) if options.quick else (0.5, 7)
    with Child("tangents_kernels", python=str(options.python)) as child:
        found = compared(child, network, least, repeats, options.seed)
        versions = child.ask("describe")["versions"]
    versions = {"neural-tangents": versions["neural-tangents"], "jax (old)": versions["jax"]}
    print(document(question, found, PACKAGES, tables=tables(found), versions=versions, **run))


if __name__ == "__main__":
    main()
