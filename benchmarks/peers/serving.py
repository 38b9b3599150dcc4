"""How a peer answers: one request a line on stdin, one answer a line on stdout, both JSON.

A peer draws networks with its own library, in a process of its own, and keeps what it drew, so that speed and law are
measured on the same networks.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Protocol

from measure import peak_rss_mb

Case = dict[str, Any]
"""A network and its inputs: architecture, activation, width, depth, gain, skip, branch, covariance."""
Setting = dict[str, Any]
Run = Callable[[int], Any]
"""From a seed to an array of log norms, input 0 at the last layer, one a network."""
CORES = os.cpu_count() or 1


class Peer(Protocol):
    """What a library has to say for itself."""

    def describe(self) -> dict[str, Any]:
        """Return the versions, and what else decides the speed."""

    def settings(self, case: Case) -> list[Setting]:
        """Return the settings worth trying on a case."""

    def prepare(self, case: Case, setting: Setting) -> Run:
        """Return the function that draws a batch of networks."""


def batches(width: int) -> list[int]:
    """Return batch sizes, from one whose weights of a layer fit a core's cache to one far beyond it."""
    return sorted({max(1, round(entries / width**2)) for entries in (40_000, 160_000, 640_000)})


def on_every_core(task: Callable[[tuple[int, int]], Any]) -> Callable[[int], list[float]]:
    """Return a run that has each core do the task at once, with (seed, core) as the seed of its random numbers."""
    pool = ThreadPoolExecutor(CORES)

    def run(seed: int) -> list[float]:
        parts = list(pool.map(task, [(seed, core) for core in range(CORES)]))
        return [value for part in parts for value in part]

    return run


def moments(found: list[Any]) -> dict[str, float]:
    """Return count, mean, variance and fourth central moment of the log norms that are finite, and how many are not."""
    import numpy as np

    values = np.concatenate([np.asarray(values, dtype=float) for values in found])
    finite = values[np.isfinite(values)]
    away = finite - finite.mean()
    return {
        "count": len(finite),
        "dead": len(values) - len(finite),
        "mean": float(finite.mean()),
        "variance": float(finite.var(ddof=1)),
        "fourth": float(np.mean(away**4)),
    }


def serve(peer: Peer) -> None:
    """Answer requests until there are no more."""
    prepared: dict[str, Run] = {}
    drawn: dict[str, list[Any]] = {}
    with _answers() as answer:
        for line in sys.stdin:
            request = json.loads(line)
            what, case = request["do"], request.get("case")
            if what == "draw":
                key = json.dumps([case, request["setting"]])
                if key not in prepared:
                    prepared[key] = peer.prepare(case, request["setting"])
                begin = time.perf_counter()
                found = [prepared[key](seed) for seed in request["seeds"]]
                elapsed = time.perf_counter() - begin
                drawn.setdefault(json.dumps(case), []).extend(found)
                answer({"seconds": elapsed, "networks": sum(map(len, found))})
            elif what == "settings":
                answer(peer.settings(case))
            elif what == "moments":
                answer(moments(drawn.pop(json.dumps(case))))
                prepared.clear()
            else:
                answer(peer.describe() | {"peak_rss_mb": round(peak_rss_mb())})


@contextmanager
def _answers() -> Iterator[Callable[[Any], None]]:
    """Write answers on the true stdout; what a library prints goes to stderr."""
    with os.fdopen(os.dup(1), "w") as out:
        os.dup2(2, 1)

        def answer(value: Any) -> None:
            out.write(json.dumps(value) + "\n")
            out.flush()

        yield answer
