"""Write tat.json: constants of activations by DeepMind's own TAT and DKS, the package dks 0.1.2 (Martens et al.
2021-22).

In an environment with `pip install dks==0.1.2 absl-py`: python tests/reference/make_tat.py. It solves conditions to
1e-8 by bisection, and finds constants by a root finder with derivatives from autograd and quadrature at many points;
nothing in it comes from this library. Its own 100,000 quadrature points are cut to 2,000 (they take minutes to make,
and twice as many change no digit of what is kept). Largest subnetworks of a residual network are those of its
ModifiedResNet: the whole network, or a branch alone.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

DEPTHS = 10, 30, 100, 300, 1000
SHARES = 1.0, 0.2, 0.5
"""The weight 1 - w^2 of the branch in C = w^2 c + (1 - w^2) C_branch; without a skip it is 1."""
FUNCTIONS = {
    "tanh": "tanh",
    "softplus": "softplus",
    "swish": "silu",
    "sigmoid": "logistic",
    "erf": "erf",
    "gelu_exact": "gelu",
}
"""Names there, and here."""
Map = Callable[[float], float]


def largest(depth: int, share: float) -> Callable[[float, Map], float]:
    """The subnetwork maximizing function."""

    def subnetwork_maximum(x: float, r: Map) -> float:
        alone = r(x)
        for _ in range(depth):
            x = (1 - share) * x + share * r(x)
        return max(x, alone)

    return subnetwork_maximum


def constants(name: str, method: str, depth: int, share: float) -> dict[str, float] | None:
    """Return what dks finds, or None where it says that there is nothing to be found."""
    from dks.base import activation_transform as dks

    dks._estimate_gaussian_mean.__defaults__ = (2000,)
    try:
        found: dict[str, dict[str, Any]] = dks._get_activations_params(
            [name], method=method, subnet_max_func=largest(depth, share)
        )
    except ValueError:
        return None
    return {key: float(value) for key, value in sorted(found[name].items())}


def main() -> None:
    """Write every row beside this file."""
    rows = []
    for depth, share in ((depth, share) for share in SHARES for depth in DEPTHS):
        # Smooth functions with a skip at one depth: their conditions on a layer are all that it changes.
        names = ("leaky_relu", *FUNCTIONS) if share == 1 or depth == 100 else ("leaky_relu",)
        for name, method in ((name, method) for name in names for method in ("TAT", "DKS")):
            if (name, method) != ("leaky_relu", "DKS"):
                row = {"function": FUNCTIONS.get(name, name), "method": method, "depth": depth, "share": share}
                rows.append(row | {"constants": constants(name, method, depth, share)})
    Path(__file__).with_name("tat.json").write_text("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n")


if __name__ == "__main__":
    main()
