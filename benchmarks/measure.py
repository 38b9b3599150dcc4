"""What every benchmark needs: repeated timing, claims against targets, and a JSON document that says on what.

A script answers one question. It prints ``document(question, results, packages, ...)``, in which ``claims`` are numbers
held against benchmarks/targets.py, ``tables`` are for people and ``curves`` are drawn; benchmarks/page.py needs no more
than these to put it on the page.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from targets import TARGETS

Spread = dict[str, float]
"""A median with its range: median, low, high."""


def seconds(task: Callable[[], object], *, repeats: int = 5) -> list[float]:
    """Return the wall time of each of ``repeats`` runs, after one that does not count."""
    return alternate({"task": task}, repeats=repeats)["task"]


def alternate(tasks: Mapping[str, Callable[[], object]], *, repeats: int = 5) -> dict[str, list[float]]:
    """Return the wall times of several tasks, run in turns, after one round that does not count.

    What else a machine does then hits them all alike. Each round begins one task later than the one before.
    """
    names = list(tasks)
    times: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(-1, repeats):
        for at in range(len(names)):
            name = names[(max(turn, 0) + at) % len(names)]
            begin = time.perf_counter()
            tasks[name]()
            if turn >= 0:
                times[name].append(time.perf_counter() - begin)
    return times


def spread(values: Sequence[float]) -> Spread:
    """Return the median of some numbers, and their range."""
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def rate(work: float, times: Sequence[float]) -> Spread:
    """Return the median rate, ``work`` over time, and its range."""
    return {"median": work / statistics.median(times), "low": work / max(times), "high": work / min(times)}


def each(work: float, times: Sequence[float]) -> Spread:
    """Return the median time for one of ``work`` things done at once, and its range."""
    return spread([value / work for value in times])


def speedup(ours: Sequence[float], peer: Sequence[float], *, work: tuple[float, float] = (1.0, 1.0)) -> Spread:
    """Return how many times faster ours is: the ratio of the median rates, and the range of the ratios turn by turn.

    ``ours`` and ``peer`` are times of ``alternate``, ``work`` what one run of each gets done.
    """
    more = work[0] / work[1]
    turns = [more * theirs / mine for mine, theirs in zip(ours, peer, strict=True)]
    middle = more * statistics.median(peer) / statistics.median(ours)
    return {"median": middle, "low": min(middle, *turns), "high": max(middle, *turns)}


def claim(name: str, found: Spread | float, *, spread_is: str = "range of the repeats") -> dict[str, Any]:
    """Return a measured number beside its target, ``targets.TARGETS[name]``: what page.py puts in its first table.

    ``found`` is a number or a median with its range; ``spread_is`` says what the range is when it is another one. The
    verdict is of the median, and says so when an end of the range would be judged otherwise.
    """
    target = TARGETS[name]
    ends = [found["low"], found["high"]] if isinstance(found, dict) else None
    measured = found["median"] if isinstance(found, dict) else found
    verdict = "met" if target.met(measured) else "missed"
    if ends is not None and any(target.met(end) != target.met(measured) for end in ends):
        verdict += ", but not throughout the spread"
    return {
        "name": name,
        "statement": target.statement,
        "unit": target.unit,
        "target": target.bounds,
        "measured": measured,
        "spread": ends,
        "spread_is": spread_is if ends is not None else None,
        "verdict": verdict,
    }


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> dict[str, Any]:
    """Return a table for people: numbers as measured (page.py rounds them), words as they are."""
    for row in rows:
        if len(row) != len(columns):
            raise ValueError(f"a row of {len(row)} cells under {len(columns)} columns: {row}")
    return {"title": title, "columns": list(columns), "rows": [list(row) for row in rows]}


def curves(
    name: str, title: str, note: str, axes: tuple[str, str], lines: Mapping[str, Mapping[float, Spread]]
) -> dict[str, Any]:
    """Return a figure of cost against size, docs/figures/performance_NAME.svg, both axes logarithmic.

    ``axes`` are their titles with units, ``lines`` for each series the median and its range by size, and ``note`` says
    how many repeats or samples that is.
    """
    series = [
        {"name": line, "points": [{"x": at, **point} for at, point in sorted(points.items())]}
        for line, points in lines.items()
    ]
    return {"name": name, "title": title, "note": note, "x": axes[0], "y": axes[1], "series": series}


def document(
    question: str,
    results: Any,
    packages: Sequence[str],
    *,
    seed: int | None = None,
    quick: bool = False,
    claims: Sequence[dict[str, Any]] = (),
    tables: Sequence[dict[str, Any]] = (),
    figures: Sequence[dict[str, Any]] = (),
    versions: Mapping[str, str] | None = None,
) -> str:
    """Return the benchmark's JSON: the question, what was found, and what it was measured on.

    ``packages`` are those of this process, ``versions`` those that ran in another. ValueError when a number is not
    finite.
    """
    machine = {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages} | dict(versions or {}),
        "peak_rss_mb": round(peak_rss_mb()),
    }
    found = {
        "question": question,
        "seed": seed,
        "quick": quick,
        "date": datetime.now(UTC).date().isoformat(),
        "claims": list(claims),
        "tables": list(tables),
        "figures": list(figures),
        "results": results,
        "machine": machine,
    }
    return json.dumps(found, indent=2, allow_nan=False)


def arguments(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options of every script: --quick and --seed."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="short runs, to see that the script works")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def peak_rss_mb() -> float:
    """Return the most memory this process has held, in units of 2^20 bytes.

    From VmHWM where there is one: ru_maxrss of a child process begins at what its parent held.
    """
    status = Path("/proc/self/status")
    for line in status.read_text().splitlines() if status.exists() else []:
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


@dataclass(frozen=True)
class Run:
    """A command that has run: its wall time, the most memory it held (in 2^20 bytes), and what it printed."""

    seconds: float
    peak_rss_mb: float
    output: str


# Runs the command from a small process of its own, so that the memory of the one that asks is not counted as its.
_LAUNCHER = """
import json, os, subprocess, sys, tempfile, time
words = tempfile.TemporaryFile("w+")
begin = time.perf_counter()
child = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, stderr=words, text=True)
output = child.stdout.read()
_, status, usage = os.wait4(child.pid, 0)
elapsed = time.perf_counter() - begin
unit = 2**20 if sys.platform == "darwin" else 2**10
words.seek(0)
print(json.dumps([elapsed, usage.ru_maxrss / unit, os.waitstatus_to_exitcode(status), output, words.read()]))
"""


def run_command(command: Sequence[str], *, environment: Mapping[str, str] | None = None) -> Run:
    """Run a command in a process of its own; RuntimeError with what it wrote on stderr when it fails.

    ``environment`` holds what differs from this process's.
    """
    given = os.environ | dict(environment or {})
    launched = subprocess.run(
        [sys.executable, "-S", "-c", _LAUNCHER, *command], stdout=subprocess.PIPE, text=True, check=True, env=given
    )
    elapsed, peak, code, output, words = json.loads(launched.stdout)
    if code != 0:
        raise RuntimeError(f"{' '.join(command)} ended with status {code}: {words}")
    return Run(elapsed, peak, output)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()
