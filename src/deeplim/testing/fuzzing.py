"""The long fuzz: cases of three kinds, run in processes of their own, so that a crash or a hang is a finding too.

``python -m deeplim.testing --cases 100000`` prints counts of each kind and outcome, and what reproduces each finding,
as JSON. A case ends in a ``result`` without NaN or infinity, or is ``refused`` in one sentence; all else is a finding.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy

from deeplim.architecture import read_network
from deeplim.checks import brief
from deeplim.errors import DeeplimError
from deeplim.inputs import read_inputs
from deeplim.paths import Paths
from deeplim.testing.announced import check_announced
from deeplim.testing.calls import calls
from deeplim.testing.files import files
from deeplim.testing.words import command_lines

SECONDS = 60.0
"""After so long a case is a hang."""
BATCH = 2000
"""Cases in a process, which takes seconds to start."""
_SENTENCE = re.compile(r"[^\n]{10,}[^.\n]\.")
_ENDS = {0, 1, 2, 3}


def outcome_of(run: Callable[[], object]) -> str:
    """Return how a call ended: 'result', 'refused', or what is wrong with its end."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            check_announced(run())
        return "result"
    except DeeplimError as error:
        return "refused" if _SENTENCE.fullmatch(str(error)) else f"no sentence: {error}"
    except Exception as error:
        import traceback

        place = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {brief(str(error), 200)} ({Path(place.filename).name}:{place.lineno})"


def _command(words: list[str]) -> str:
    """How a command line ended, in this process."""
    from deeplim.cli import main

    ended = CliRunner().invoke(main, words)
    if ended.exit_code not in _ENDS or (ended.exception and not isinstance(ended.exception, SystemExit)):
        return f"exit code {ended.exit_code}: {ended.exception!r}"
    if ended.exit_code in (1, 2):
        told = ended.stderr.strip().splitlines()
        if "Traceback" in ended.stderr or not told or not told[-1].startswith("Error: "):
            return f"no sentence: {brief(ended.stderr, 300)}"
        return "refused"
    if "--json" in words and words.index("--json") < [*words, "--"].index("--"):
        return outcome_of(lambda: json.loads(ended.stdout, parse_constant=_no_number))
    return "result"


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is in the JSON")


def _file(case: tuple[str, bytes]) -> str:
    """How reading a file ended."""
    name, content = case
    readers: dict[str, Callable[[], object]] = {
        ".npz": lambda: Paths.load(name),
        ".npy": lambda: read_inputs(name),
        ".csv": lambda: read_inputs(name),
        ".json": lambda: read_network(content.decode(errors="surrogateescape")),
    }
    Path(name).write_bytes(content)
    return outcome_of(readers[Path(name).suffix])


KINDS: dict[str, tuple[SearchStrategy[Any], Callable[[Any], str], Callable[[Any], str]]] = {
    "api": (calls(), outcome_of, str),
    "command": (command_lines(), _command, lambda words: json.dumps(["deeplim", *words])),
    "file": (files(), _file, lambda case: f"{case[0]}: {case[1]!r}"),
}
"""What is tried of each kind, how a case is run, and how it is written."""


def run_cases(kind: str, number: int, count: int, note: Callable[[dict[str, Any]], object], only: int = -1) -> None:
    """Run ``count`` cases of a seed one after the other; a note before each and after it. ``only``: that one alone."""
    strategy, run, write = KINDS[kind]
    place = -1

    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def case(drawn: Any) -> None:
        nonlocal place
        place += 1
        if only in (-1, place):
            note({"case": place, "what": write(drawn)})
            note({"case": place, "outcome": run(drawn)})

    case()


def work(kind: str, number: int, count: int, notes: Path, only: int = -1) -> None:
    """Run cases in a folder of their own, with notes in a file, which whoever watches reads."""
    with tempfile.TemporaryDirectory() as folder, open(notes, "a", encoding="utf-8", buffering=1) as file:
        os.chdir(folder)
        run_cases(kind, number, count, lambda one: file.write(json.dumps(one, ensure_ascii=True) + "\n"), only)
        os.chdir("/")


def watch(command: list[str], notes: Path, seconds: float = SECONDS) -> tuple[str | None, list[dict[str, Any]]]:
    """Run a command that takes notes; return how it ended where it was no good end, and the notes.

    It is ended where it takes no note for so many seconds.
    """
    notes.touch()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        seen, last, hung = 0, time.monotonic() + seconds, False  # it takes a while to start
        while process.poll() is None:
            time.sleep(0.05)
            size = notes.stat().st_size
            if size != seen:
                seen, last = size, time.monotonic()
            elif time.monotonic() - last > seconds:
                hung = True
                process.kill()
                break
        told = process.stderr.read() if process.stderr else ""
    taken = [json.loads(line) for line in notes.read_bytes().splitlines() if line.endswith(b"}")]
    if hung:
        return f"hangs: more than {seconds:g} seconds", taken
    return (None if process.returncode == 0 else f"exit code {process.returncode}: {brief(told[-600:], 600)}"), taken


def fuzz(kind: str, number: int, cases: int, seconds: float = SECONDS) -> Iterator[dict[str, Any]]:
    """Yield each case of one kind with its outcome, from processes that are started again after each crash."""
    while cases > 0:
        with tempfile.TemporaryDirectory() as folder:
            notes, count = Path(folder) / "notes", min(cases, BATCH)
            words = ["--work", kind, "--seed", str(number), "--cases", str(count), "--notes", str(notes)]
            end, taken = watch([sys.executable, "-m", "deeplim.testing", *words], notes, seconds)
        what: dict[str, Any] = {}
        for one in taken:
            if "what" in one:
                what = one
            else:
                yield {"kind": kind, "seed": number, **what, **one}
        done = sum("outcome" in one for one in taken)
        if end is not None:
            yield {"kind": kind, "seed": number, "case": -1, "what": "its start", **what, "outcome": end}
            done += 1
        cases, number = cases - max(done, 1) if end is not None else cases - count, number + 1


def counted(
    cases: int, number: int = 0, kinds: tuple[str, ...] = tuple(KINDS), seconds: float = SECONDS
) -> dict[str, Any]:
    """Return the counts of each kind's outcomes over so many cases in all, and the findings, each of them once."""
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in kinds}
    findings: dict[str, dict[str, Any]] = {}
    for place, kind in enumerate(kinds):
        for one in fuzz(kind, number, cases // len(kinds) + (place < cases % len(kinds)), seconds):
            outcome = one["outcome"]
            fine = outcome in ("result", "refused")
            counts[kind][outcome if fine else "finding"] += 1
            if not fine and findings.setdefault(f"{kind} {outcome}", one) is one:
                print(json.dumps(one), file=sys.stderr, flush=True)
    return {
        "cases": sum(sum(one.values()) for one in counts.values()),
        **{kind: dict(one) for kind, one in counts.items()},
        "findings": list(findings.values()),
    }
