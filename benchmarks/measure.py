"""What every benchmark needs: repeated timing, and a JSON document with the machine, versions and memory."""

import json
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any


def seconds(task: Callable[[], object], *, repeats: int = 5) -> list[float]:
    """Return the wall time of each of ``repeats`` runs, after one that does not count."""
    task()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        task()
        times.append(time.perf_counter() - begin)
    return times


def rate(work: float, times: list[float]) -> dict[str, float]:
    """Return the median rate and its range."""
    return {"median": work / statistics.median(times), "low": work / max(times), "high": work / min(times)}


def document(question: str, results: dict[str, Any], packages: list[str]) -> str:
    """Return the benchmark's JSON: the question, the results, and what they were measured on."""
    machine = {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages},
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }
    return json.dumps({"question": question, "results": results, "machine": machine}, indent=2)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()
