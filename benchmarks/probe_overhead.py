"""What does probing a real model add to its forward pass, in time and memory?

A randomly initialised GPT-2 (12 layers, 768 wide) on 8 sequences of 128 tokens, and an MLP of 100 layers, 1024 wide, on
64 inputs, in PyTorch: its forward pass alone, and with every module recorded, by input and by token, 64 tokens of each
sequence unless more are asked for. Each in a process of its own, the processes in turns; the ratio is of medians, its
range that of the ratios round by round. `--threads 1` compares the work, whatever else a machine does.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from measure import Spread, arguments, claim, document, peak_rss_mb, run_command, spread, table

WAYS = {
    "gpt2": {"forward": None, "input": {}, "token": {"per": "token"}, "every token": {"per": "token", "most": 128}},
    "mlp": {"forward": None, "input": {}},
}
NAMES = {"gpt2": "GPT-2, 8 x 128 tokens", "mlp": "MLP, 100 layers of 1024, 64 inputs"}


def model_and_inputs(network: str, seed: int) -> tuple[Any, dict[str, Any]]:
    """Return a model with random weights and what it is called with."""
    import torch

    torch.manual_seed(seed)
    if network == "gpt2":
        from transformers import GPT2Config, GPT2Model

        return GPT2Model(GPT2Config()).eval(), {"input_ids": torch.randint(0, 50257, (8, 128))}
    layers = [module for _ in range(100) for module in (torch.nn.Linear(1024, 1024), torch.nn.ReLU())]
    return torch.nn.Sequential(*layers).eval(), {"input": torch.randn(64, 1024)}


def task(network: str, way: str, seed: int) -> Callable[[], object]:
    """Return what is timed: a forward pass, or a probe of one."""
    import torch

    model, inputs = model_and_inputs(network, seed)
    options = WAYS[network][way]
    if options is None:
        return torch.no_grad()(lambda: model(**inputs))
    import deeplim as dl

    return lambda: dl.probe.record(model, inputs, repeats=1, **options)


def run(network: str, way: str, seed: int, repeats: int, threads: int | None) -> dict[str, Any]:
    """Time a way in this process, after one run that does not count."""
    import warnings

    import torch

    warnings.simplefilter("ignore")  # gaps of tokens at their rounding
    if threads is not None:
        torch.set_num_threads(threads)
    once = task(network, way, seed)
    times = []
    for turn in range(-1, repeats):
        begin = time.perf_counter()
        once()
        if turn >= 0:
            times.append(time.perf_counter() - begin)
    return {"seconds": times, "peak_rss_mb": peak_rss_mb()}


def in_turns(network: str, rounds: int, repeats: int, options: Any) -> dict[str, list[dict[str, Any]]]:
    """Return every way's runs, each in a process of its own, one round after another."""
    found: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS[network]}
    more = ["--seed", str(options.seed), "--repeats", str(repeats)]
    more += [] if options.threads is None else ["--threads", str(options.threads)]
    for turn in range(rounds):
        ways = list(found)
        for way in ways[turn % len(ways) :] + ways[: turn % len(ways)]:
            done = run_command([sys.executable, __file__, "--network", network, "--way", way, *more])
            found[way].append(json.loads(done.output))
    return found


def ratio(found: dict[str, list[dict[str, Any]]], way: str) -> Spread:
    """Return a way's time over that of the forward pass alone: of medians, and the range round by round."""
    medians = {name: [statistics.median(one["seconds"]) for one in found[name]] for name in (way, "forward")}
    rounds = [ours / alone for ours, alone in zip(medians[way], medians["forward"], strict=True)]
    every = {name: statistics.median(t for one in found[name] for t in one["seconds"]) for name in medians}
    middle = every[way] / every["forward"]
    return {"median": middle, "low": min(middle, *rounds), "high": max(middle, *rounds)}


def added(found: dict[str, list[dict[str, Any]]], way: str) -> Spread:
    """Return the peak memory of a way beyond that of the forward pass alone, in 2^20 bytes."""
    alone = statistics.median(one["peak_rss_mb"] for one in found["forward"])
    return spread([one["peak_rss_mb"] - alone for one in found[way]])


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--threads", type=int, help="threads of PyTorch; its own choice when not given")
    parser.add_argument("--network", choices=WAYS, help="one run in this process: of this network")
    parser.add_argument("--way", help="in this way")
    parser.add_argument("--repeats", type=int, default=3, help="and this many times")
    options = parser.parse_args()
    if options.network is not None:
        print(json.dumps(run(options.network, options.way, options.seed, options.repeats, options.threads)))
        return
    rounds, repeats = (1, 2) if options.quick else (5, 3)
    found = {network: in_turns(network, rounds, repeats, options) for network in WAYS}
    gpt2 = found["gpt2"]
    range_is = "range of the rounds"
    claims = [
        claim("probe-input-time", ratio(gpt2, "input"), spread_is=range_is),
        claim("probe-token-time", ratio(gpt2, "token"), spread_is=range_is),
        claim("probe-memory", max((added(gpt2, way) for way in ("input", "token")), key=lambda s: s["median"])),
    ]
    rows = [
        [
            NAMES[network],
            way,
            statistics.median(t for one in runs for t in one["seconds"]),
            ratio(found[network], way)["median"],
            added(found[network], way)["median"],
        ]
        for network, ways in found.items()
        for way, runs in ways.items()
    ]
    columns = ["network", "way", "s", "times the forward pass", "peak MB beyond it"]
    tables = [table("A forward pass alone, and with every module recorded", columns, rows)]
    packages = ["deeplim", "numpy", "torch", "transformers"]
    results = {"threads": options.threads, "runs": found}
    shown = {"seed": options.seed, "quick": options.quick, "claims": claims, "tables": tables}
    print(document(__doc__.splitlines()[0], results, packages, **shown))


if __name__ == "__main__":
    main()
