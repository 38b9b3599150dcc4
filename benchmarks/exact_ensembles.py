"""How many exact networks a second, against PyTorch, NumPy and JAX multiplying the same networks' weight matrices?

Each library runs in a process of its own, in its best settings (benchmarks/peers/ says which are tried), warm and
compiled, in single precision, on all cores. They take turns. What they drew while they were timed is held against
deeplim's networks: mean and standard deviation of the log norm of input 0 at the last layer. A different law ends the
run, for its speed would mean nothing.
"""

import itertools
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
from measure import Spread, alternate, arguments, claim, curves, document, each, rate, speedup, table
from peers.child import Child

import deeplim as dl
from deeplim.architecture import Network
from deeplim.inputs import Inputs

OURS, TORCH = "deeplim", "PyTorch"
PEERS = {OURS: "deeplim_networks", TORCH: "torch_networks", "NumPy": "numpy_networks", "JAX": "jax_networks"}
PAIR = dl.gram(correlation=0.3)
EIGHT = dl.gram(covariance=np.full((8, 8), 0.3) + 0.7 * np.eye(8))
CASES: dict[str, tuple[Network, Inputs]] = {
    "relu-pair-100": (dl.MLP(width=100, depth=100), PAIR),
    "relu-pair-1000": (dl.MLP(width=1000, depth=100), PAIR),
    "relu-eight-100": (dl.MLP(width=100, depth=100), EIGHT),
    "resnet-pair-100": (dl.ResNet(width=100, depth=100), PAIR),
    "tanh-pair-100": (dl.MLP(width=100, depth=100, activation=dl.Elementwise(function="tanh")), PAIR),
}
"""By the name of their target."""
WIDTHS, QUICK_WIDTHS = (32, 64, 128, 256, 512, 1024), (64, 256)
STANDARD_ERRORS = 5.0
"""How far a mean or a standard deviation may be from ours: false alarms in fewer than one run in 1,000."""


@dataclass(frozen=True)
class Effort:
    """How long a timed run lasts at least, how many turns, and of every how many settings one is tried."""

    least: float
    repeats: int
    every: int


FULL, QUICK = Effort(least=0.5, repeats=7, every=1), Effort(least=0.05, repeats=2, every=5)


def described(network: Network, inputs: Inputs) -> dict[str, Any]:
    """What a peer needs to know of a network and its inputs."""
    residual = isinstance(network, dl.ResNet)
    return {
        "architecture": "resnet" if residual else "mlp",
        "activation": "relu" if network.homogeneous else "tanh",
        "width": network.width,
        "depth": network.depth,
        "gain": network.gain,
        "skip": network.skip_scale if residual else 0.0,
        "branch": network.branch_scale if residual else 1.0,
        "covariance": inputs.covariance.tolist(),
    }


def best_setting(child: Child, case: dict[str, Any], effort: Effort, seeds: Iterator[int]) -> dict[str, Any]:
    """Return a peer's fastest setting, how many calls fill a timed run, and the rate of every setting tried."""
    tried: list[dict[str, Any]] = []
    for setting in child.ask("settings", case=case)[:: effort.every]:
        child.ask("draw", case=case, setting=setting, seeds=[next(seeds)])
        found = child.ask("draw", case=case, setting=setting, seeds=[next(seeds)])
        calls, speed = max(1, round(effort.least / found["seconds"])), found["networks"] / found["seconds"]
        # One call is enough to see that a setting is far from the best.
        if calls > 1 and all(2 * speed > one["networks_per_second"] for one in tried):
            found = child.ask("draw", case=case, setting=setting, seeds=list(itertools.islice(seeds, calls)))
            speed = found["networks"] / found["seconds"]
        tried.append({"setting": setting, "calls": calls, "networks_per_second": speed})
    best = max(tried, key=lambda one: one["networks_per_second"])
    return best | {"tried": {in_words(one["setting"]): round(one["networks_per_second"], 1) for one in tried}}


def in_words(setting: dict[str, Any]) -> str:
    """Return a setting as text."""
    return ", ".join(f"{key} {value}" for key, value in setting.items())


def measured(children: dict[str, Child], network: Network, inputs: Inputs, effort: Effort, seed: int) -> dict[str, Any]:
    """Every peer's rate on one network, in turns, its ratio to ours, and the moments of what it drew."""
    case, seeds = described(network, inputs), itertools.count(seed)
    chosen = {name: best_setting(child, case, effort, seeds) for name, child in children.items()}
    done: dict[str, int] = {}

    def run(name: str) -> None:
        calls = list(itertools.islice(seeds, chosen[name]["calls"]))
        done[name] = children[name].ask("draw", case=case, setting=chosen[name]["setting"], seeds=calls)["networks"]

    times = alternate({name: lambda name=name: run(name) for name in children}, repeats=effort.repeats)
    law = {name: child.ask("moments", case=case) for name, child in children.items()}
    check_same_law(law)
    found = {
        name: {
            "setting": in_words(chosen[name]["setting"]),
            "networks_per_second": rate(done[name], times[name]),
            "seconds_per_network": each(done[name], times[name]),
            "speedup": speedup(times[OURS], times[name], work=(done[OURS], done[name])),
            "log_norm": told(law[name]),
            "tried": chosen[name]["tried"],
        }
        for name in children
    }
    print(f"{network}, {inputs.count} inputs: {found[TORCH]['speedup']['median']:.0f} times PyTorch", file=sys.stderr)
    return {"network": str(network), "inputs": inputs.count, "peers": found}


def told(law: dict[str, float]) -> dict[str, float]:
    """Return mean and standard deviation with their standard errors: Var s^2 = (m4 - s^4)/n, that of s over 2 s."""
    std = law["variance"] ** 0.5
    error = max(law["fourth"] - law["variance"] ** 2, 0.0) ** 0.5 / (2 * std)
    root = law["count"] ** 0.5
    return {
        "mean": law["mean"],
        "mean_error": std / root,
        "std": std,
        "std_error": error / root,
        "networks": law["count"],
        "dead": law["dead"],
    }


def check_same_law(law: dict[str, dict[str, float]]) -> None:
    """Raise RuntimeError when a peer's mean or standard deviation is not ours, given how many networks each drew.

    A peer has drawn few: its standard errors are those that our networks' moments give for its number.
    """
    ours = told(law[OURS])
    for name, found in law.items():
        theirs = told(found)
        more = (1 + law[OURS]["count"] / found["count"]) ** 0.5
        for moment in ("mean", "std"):
            away = abs(theirs[moment] - ours[moment]) / (ours[f"{moment}_error"] * more)
            if name != OURS and away > STANDARD_ERRORS:
                raise RuntimeError(
                    f"the {moment} of the log norm is {theirs[moment]:.4f} in {name} and {ours[moment]:.4f} in "
                    f"deeplim, {away:.1f} standard errors apart: they draw different networks."
                )


def in_ms(found: Spread) -> Spread:
    """Return seconds as milliseconds."""
    return {name: 1e3 * value for name, value in found.items()}


def settings_table(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Who was measured with which setting, and how it came out."""
    columns = ["network", "inputs", "library", "setting", "networks/s", "lowest", "highest", "deeplim is faster by"]
    rows = []
    for one in found.values():
        for name, peer in one["peers"].items():
            speed = [peer["networks_per_second"][key] for key in ("median", "low", "high")]
            faster = "" if name == OURS else peer["speedup"]["median"]
            rows.append([one["network"], one["inputs"], name, peer["setting"], *speed, faster])
    return table("Exact networks a second, each library in its best setting", columns, rows)


def law_table(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The moments of the log norms that each library drew."""
    columns = ["network", "inputs", "library", "networks", "mean of log norm", "±", "standard deviation", "± "]
    rows = []
    for one in found.values():
        for name, peer in one["peers"].items():
            moments = [peer["log_norm"][key] for key in ("mean", "mean_error", "std", "std_error")]
            rows.append([one["network"], one["inputs"], name, peer["log_norm"]["networks"], *moments])
    return table("The same law: log norm of input 0 at the last layer, with standard errors", columns, rows)


def process_table(described_peers: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What each library's process ran on, and the most memory it held."""
    rows = []
    for name, found in described_peers.items():
        words = ", ".join(f"{key} {value}" for key, value in found.items() if key != "peak_rss_mb")
        rows.append([name, words.replace("_", " "), found["peak_rss_mb"]])
    return table("The libraries' processes", ["library", "found", "peak memory (MB)"], rows)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--case", choices=list(CASES), action="append", help="only this case, and no sweep of widths")
    options = parser.parse_args()
    effort = QUICK if options.quick else FULL
    cases = {name: CASES[name] for name in options.case or CASES}
    widths = () if options.case else QUICK_WIDTHS if options.quick else WIDTHS
    with ExitStack() as stack:
        children = {name: stack.enter_context(Child(module)) for name, module in PEERS.items()}
        found = {name: measured(children, *case, effort, options.seed) for name, case in cases.items()}
        sweep = {
            width: measured(children, dl.MLP(width=width, depth=100), PAIR, effort, options.seed) for width in widths
        }
        described_peers = {name: child.ask("describe") for name, child in children.items()}
    lines = {name: {n: in_ms(one["peers"][name]["seconds_per_network"]) for n, one in sweep.items()} for name in PEERS}
    title = "ReLU MLPs, 2 inputs, depth 100: time against width"
    note = f"Medians of {effort.repeats} turns on all cores; bars, where they show, are their range."
    figure = curves("exact_ensembles", title, note, ("width n (neurons)", "time for one network (ms)"), lines)
    versions = {name: text for peer in described_peers.values() for name, text in peer.pop("versions").items()}
    print(
        document(
            str(__doc__).splitlines()[0],
            {"cases": found, "widths": sweep, "peers": described_peers},
            [],
            seed=options.seed,
            quick=options.quick,
            claims=[claim(name, one["peers"][TORCH]["speedup"]) for name, one in found.items()],
            tables=[settings_table(found), law_table(found), process_table(described_peers)],
            figures=[figure] if widths else [],
            versions=versions,
        )
    )


if __name__ == "__main__":
    main()
