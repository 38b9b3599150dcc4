"""Plans: how long a large run will take and how much memory, from a short calibration on the machine it will run on."""

import math
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deeplim.architecture import Network
from deeplim.checks import memory_of_paths
from deeplim.ensemble import memory_of_summary, threads_to_summarize
from deeplim.files import check_writable, draft_name
from deeplim.finite.chain import Drawing, prepare, threads_to_sample
from deeplim.finite.runners import Precision
from deeplim.inputs import Inputs
from deeplim.parallel import in_threads, thread_count
from deeplim.paths import Paths
from deeplim.tally import LANES, Tally, block_size, memory_of_counting

_TRIAL, _LONGEST, _ALL_TRIALS, _FEWEST = 0.06, 0.2, 0.3, 3
"""Seconds a trial should take, may take to reach the last layer, and all trials take together; and how many at least.

A trial should be long beside a block of networks and the start of a thread."""
_MOST = 9
_STEP = 16.0
"""How many times larger the next trial may be, on the way to one that is long enough."""
_SAVED = 4 * 2**20
"""Bytes of paths saved to time that."""
_TO_COMPRESS = 48 * 2**20
"""Bytes that NumPy and zlib hold of an array while they write it."""


@dataclass(frozen=True)
class Plan:
    """What a run of ``summarize``, or of ``simulate`` with its paths saved, will take.

    threads: those that will be used; wanted: those asked for, which are more where memory has no room for them.
    seconds: wall time from the first network on, once Python has started and the kernels are compiled; fastest and
    slowest are what it would be at the speed of the fastest and the slowest trial. networks_per_second: the same as a
    rate. memory: the process's peak resident memory, in bytes; right after kernels were compiled it includes some 50 MB
    of the compiler's. loading: seconds that compiling the kernels took here, or loading them when a run before had
    compiled them. calibration: what was timed, in words.
    """

    networks: int
    threads: int
    wanted: int
    seconds: float
    fastest: float
    slowest: float
    networks_per_second: float
    memory: int
    loading: float
    calibration: str

    def to_dict(self) -> dict[str, Any]:
        """Return the plan ready for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        rate = self.networks_per_second
        fewer = f" (memory has no room for {self.wanted})" if self.threads < self.wanted else ""
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}{fewer}"
        return (
            f"{self.networks:,} networks on {threads} will take about "
            f"{_duration(self.seconds)} ({_duration(self.fastest)} to {_duration(self.slowest)}), "
            f"{format(rate, ',.0f' if rate >= 100 else '.3g')} networks a second,\n"
            f"and {self.memory / 2**20:,.0f} MiB of memory at the peak.\n"
            f"Timed: {self.calibration}. Kernels compiled or loaded in {self.loading:.1f} s, which is not included."
        )


def plan(
    network: Network,
    inputs: Inputs,
    *,
    networks: int,
    layers: Sequence[int] | None = None,
    threads: int | None = None,
    precision: Precision = "auto",
    output: str | Path | None = None,
) -> Plan:
    """Return how long ``summarize`` would take and how much memory, from trials of under a second in all.

    output: where the paths would be saved, for ``simulate`` with ``Paths.save`` and a summary instead; a draft is
    written beside it and removed. Trials draw, count and save as the run will, with its threads and blocks, and the
    cost is linear in networks. Networks of which even sixteen a thread take long are timed on their first layers only,
    and the cost is taken to be linear in layers. InputError for what the run itself would refuse.
    """
    wanted = thread_count(threads)
    drawing = prepare(network, inputs, layers, precision, "cpu", networks)
    if output is not None:
        check_writable(output)
    run = _Run(drawing, precision, networks, wanted, paths=output is not None)
    before, begin = resident_memory(), time.perf_counter()
    run.draw(1, [min(1, run.layers[-1])])
    loading = time.perf_counter() - begin
    # What the system has not been given back of the room of a thread is no part of what was loaded.
    loaded = max(before, resident_memory() - drawing.memory)
    memory = loaded + run.memory(networks, paths=output is not None)
    each, calibration = _seconds_each(run, networks, None if output is None else check_writable(output).parent)
    median, fastest, slowest = (networks * choose(each) for choose in (statistics.median, min, max))
    return Plan(
        networks=networks,
        threads=run.chosen,
        wanted=wanted,
        seconds=median,
        fastest=fastest,
        slowest=slowest,
        networks_per_second=networks / median,
        memory=max(memory, peak_memory()),
        loading=loading,
        calibration=calibration,
    )


def _seconds_each(run: "_Run", networks: int, folder: Path | None) -> tuple[list[float], str]:
    """Seconds a network took in each trial, saved in the folder if there is one; and what was timed, in words."""
    count, layers, times = _trials(run, networks)
    last = run.layers[-1]
    each = [seconds / count * (max(last, 1) / max(layers[-1], 1)) for seconds in times]
    words = f"{len(times)} times {count:,} network{'s' if count > 1 else ''}"
    if layers[-1] < last:
        words += f" to layer {layers[-1]} of {last}, taken as linear in layers"
    if folder is None:
        return each, words
    saving = run.save(folder)
    return [drawing + saving for drawing in each], f"{words}, and saving paths as large"


class _Run:
    """The parts of a run of some number of networks, and what they cost."""

    def __init__(self, drawing: Drawing, precision: Precision, networks: int, wanted: int, *, paths: bool) -> None:
        self._drawing, self._precision = drawing, precision
        self.inputs, self.layers = drawing.inputs, drawing.layers.tolist()
        self.block = block_size(networks, len(self.layers), self.inputs.count)
        self.chosen = (threads_to_sample if paths else threads_to_summarize)(drawing, networks, wanted)
        self.threads = min(self.chosen, -(-networks // (drawing.at_a_time if paths else self.block)))
        self._tallies: dict[int, Tally] = {}  # kept, as touching new histograms is no part of the cost of a network

    def draw(self, networks: int, layers: list[int]) -> float:
        """Draw networks and count them; return the seconds that a thread was at it, on average.

        That leaves out how long one waits for another to end, of which a long run has next to nothing.
        """
        block = min(self.block, -(-networks // self.threads))
        tally = self._tallies.setdefault(len(layers), Tally(len(layers), self.inputs.count, (0, 1)))
        some = prepare(self._drawing.network, self.inputs, layers, self._precision, "cpu", networks)

        def count(first: int) -> float:
            begin = time.perf_counter()
            tally.add(some.paths(min(block, networks - first), first, 0))
            return time.perf_counter() - begin

        return sum(in_threads(count, range(0, networks, block), self.threads)) / self.threads

    def save(self, folder: Path) -> float:
        """Save paths of normal numbers, whose digits compress no better than those of networks; seconds a network."""
        layers, inputs = len(self.layers), self.inputs.count
        some = max(1, _SAVED // memory_of_paths(1, layers, inputs))
        pairs, draw = inputs * (inputs - 1) // 2, np.random.default_rng(0).normal
        norms, gaps = draw(size=(some, layers, inputs)), -np.abs(draw(size=(some, layers, pairs)))
        times, names = np.arange(float(layers)), self.inputs.names
        paths = Paths(norms, gaps, np.ones((some, layers), dtype=bool), times, "layer", names, "calibration")
        draft, begin = folder / draft_name(), time.perf_counter()
        try:
            paths.save(draft)
            return (time.perf_counter() - begin) / some
        finally:
            draft.unlink(missing_ok=True)

    def memory(self, networks: int, *, paths: bool) -> int:
        """Bytes of the blocks that the threads work on and of their histograms; or of all paths, and saving them."""
        layers, inputs = len(self.layers), self.inputs.count
        if paths:
            each, beside = memory_of_counting(self.block, layers)
            then = max(_TO_COMPRESS, self.threads * each + beside, self.threads * self._drawing.memory)
            return memory_of_paths(networks, layers, inputs) + then
        each, beside = memory_of_summary(self._drawing, networks)
        return self.threads * each + beside


def _trials(run: _Run, networks: int) -> tuple[int, list[int], list[float]]:
    """Time the drawing; return how many networks, on which layers, took how long in each trial.

    The trial grows in layers until it reaches the last, and then in networks, whole rounds of blocks when there are so
    many, until it takes long enough.
    """
    last, few, whole = run.layers[-1], LANES * run.threads, run.block * run.threads
    count, depth = min(networks, few), min(1, last)
    while True:
        layers = [*(layer for layer in run.layers if layer < depth), depth]
        seconds = run.draw(count, layers)
        if depth < last and (seconds < _TRIAL or seconds * last / depth < _LONGEST):
            depth = min(last, math.ceil(depth * _growth(seconds)))
        elif depth == last and seconds < _TRIAL and count < networks:
            count = math.ceil(count * _growth(seconds))
            rounds = whole if count > whole / 2 else few
            count = min(networks, math.ceil(count / rounds) * rounds)
        else:
            break
    times: list[float] = []
    while len(times) < _FEWEST or (sum(times) < _ALL_TRIALS and len(times) < _MOST):
        times.append(run.draw(count, layers))
    return count, layers, times


def _growth(seconds: float) -> float:
    """How many times larger the next trial should be."""
    return _STEP if seconds * _STEP < _TRIAL else max(1.2 * _TRIAL / seconds, 2.0)


def _duration(seconds: float) -> str:
    for size, unit in ((86_400.0, "days"), (3600.0, "hours"), (60.0, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.3g} s"


def resident_memory() -> int:
    """Return the bytes of memory that the process has now, or where the system does not say so, has had at most."""
    return _kernel_says("VmRSS") or peak_memory()


def peak_memory() -> int:
    """Return the most bytes of memory that the process has had; 0 where the system does not say."""
    # Linux counts what the parent held in ru_maxrss.
    if found := _kernel_says("VmHWM"):
        return found
    try:
        from resource import RUSAGE_SELF, getrusage
    except ImportError:  # Windows
        return 0
    return getrusage(RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _kernel_says(name: str) -> int:
    """A number of bytes from Linux's account of the process; 0 elsewhere."""
    status = Path("/proc/self/status")
    for line in status.read_text().splitlines() if status.exists() else []:
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 0
