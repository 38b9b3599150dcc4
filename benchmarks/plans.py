"""How near are plans to what runs of ten seconds and more then take, in time and in memory?

MLPs and ResNets of several activations, widths, depths and numbers of inputs, summarised, and with their paths saved. A
first plan finds how many networks take the time asked for; then the plan, the run and the plan again follow
each other, each in a process of its own. Ratios of what was planned to what was measured. Leave the machine alone
meanwhile: where the two plans differ, it was not.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path

from measure import arguments, claim, document, run_command, table

import deeplim as dl
from deeplim.planning import peak_memory

PAIR = dl.gram(correlation=0.3)
CASES = {
    "mlp": (dl.MLP(width=100, depth=100), PAIR, False),
    "mlp, paths saved": (dl.MLP(width=100, depth=100), PAIR, True),
    "wide and deep mlp": (dl.MLP(width=2000, depth=1000), PAIR, False),
    "mlp, ten inputs": (dl.MLP(width=64, depth=50), dl.digits(), False),
    "shaped tanh": (dl.MLP(width=100, depth=50, activation=dl.Shaped(function="tanh", a=1.0)), PAIR, False),
    "resnet": (dl.ResNet(width=200, depth=100), PAIR, False),
    "resnet, ten inputs, paths saved": (dl.ResNet(width=100, depth=20), dl.digits(), True),
    "layernorm": (dl.MLP(width=100, depth=20, normalization="layernorm"), PAIR, False),
}


def planned(case: str, networks: int, folder: str) -> dict[str, float]:
    network, inputs, saved = CASES[case]
    return dl.plan(network, inputs, networks=networks, output=Path(folder) / "paths.npz" if saved else None).to_dict()


def measured(case: str, networks: int, folder: str) -> dict[str, float]:
    """Run it here, with its kernels loaded first."""
    network, inputs, saved = CASES[case]
    dl.summarize(network, inputs, networks=1, layers=[1])
    begin = time.perf_counter()
    if saved:
        paths = dl.simulate(network, inputs, networks=networks)
        paths.save(Path(folder) / "paths.npz")
        dl.Summary.of(paths)
    else:
        dl.summarize(network, inputs, networks=networks)
    return {"seconds": time.perf_counter() - begin, "memory": peak_memory()}


def accuracy(case: str, target: float) -> dict[str, float]:
    """Plan and run one case for about ``target`` seconds."""
    with tempfile.TemporaryDirectory() as folder:

        def elsewhere(do: str, networks: int) -> dict[str, float]:
            words = [sys.executable, __file__, "--do", do, "--case", case, "--folder", folder]
            return json.loads(run_command([*words, "--networks", str(networks)]).output)

        networks = max(1, round(target * elsewhere("plan", 1_000_000)["networks_per_second"]))
        plan, run, again = (elsewhere(do, networks) for do in ("plan", "run", "plan"))
    found = {
        "networks": networks,
        "planned_seconds": round(plan["seconds"], 2),
        "measured_seconds": round(run["seconds"], 2),
        "seconds_ratio": round(plan["seconds"] / run["seconds"], 3),
        "seconds_ratio_if_planned_afterwards": round(again["seconds"] / run["seconds"], 3),
        "planned_mb": round(plan["memory"] / 2**20),
        "measured_mb": round(run["memory"] / 2**20),
        "memory_ratio": round(plan["memory"] / run["memory"], 3),
        "load": round(os.getloadavg()[0], 1),
    }
    print(f"{case}: {found}", file=sys.stderr)
    return found


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--seconds", type=float, help="how long each run should take")
    parser.add_argument("--case", choices=CASES, help="only this one")
    parser.add_argument("--do", choices=["plan", "run"], help="one of the two in this process")
    parser.add_argument("--networks", type=int, help="of this many networks")
    parser.add_argument("--folder", default=".", help="where paths are saved")
    options = parser.parse_args()
    if options.do is not None:
        found = (planned if options.do == "plan" else measured)(options.case, options.networks, options.folder)
        print(json.dumps(found))
        return
    chosen = [options.case] if options.case else list(CASES)
    target = options.seconds or (1.0 if options.quick else 10.0)
    results = {case: accuracy(case, target) for case in chosen}
    ratios = {name: [found[f"{name}_ratio"] for found in results.values()] for name in ("seconds", "memory")}
    claims = [
        claim(f"plan-{name}", {"median": _farthest(of), "low": min(of), "high": max(of)}, spread_is="range of the runs")
        for name, of in ratios.items()
    ]
    columns = ["networks", "planned_seconds", "measured_seconds", "seconds_ratio", "planned_mb", "measured_mb"]
    rows = [[case, *(found[column] for column in columns), found["memory_ratio"]] for case, found in results.items()]
    head = ["run", "networks", "planned s", "measured s", "ratio", "planned MB", "measured MB", "ratio of memory"]
    shown = {"seed": 0, "quick": options.quick, "claims": claims, "tables": [table("Plans and runs", head, rows)]}
    print(document(__doc__.splitlines()[0], results, ["deeplim", "numba", "numpy"], **shown))


def _farthest(ratios: list[float]) -> float:
    """The ratio that is farthest from one."""
    return max(ratios, key=lambda ratio: max(ratio, 1 / ratio))


if __name__ == "__main__":
    main()
