"""A short fuzz of the functions, the command line and files; that it finds what it should; and its strategies.

``make fuzz`` runs the long one.
"""

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import deeplim as dl
from deeplim import testing
from deeplim.errors import DeeplimError, InputError
from deeplim.paths import check_layers
from deeplim.testing.announced import Unannounced, check_announced
from deeplim.testing.calls import FUNCTIONS, Call, calls
from deeplim.testing.fuzzing import KINDS, counted, outcome_of, run_cases, watch
from deeplim.testing.words import OPTIONS, command_lines

CASES = {"api": 150, "command": 60, "file": 200}
few = settings(max_examples=40, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("kind", KINDS)
def test_every_case_ends_in_a_result_or_one_sentence(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    notes: list[dict[str, Any]] = []
    run_cases(kind, 0, CASES[kind], notes.append)
    outcomes = Counter(note["outcome"] for note in notes if "outcome" in note)
    asked = {note["case"]: note["what"] for note in notes if "what" in note}
    strange = [(asked[note["case"]], note["outcome"]) for note in notes if note.get("outcome") not in END | {None}]
    assert strange == []
    assert min(outcomes["result"], outcomes["refused"]) > CASES[kind] / 20  # both happen


END = {"result", "refused"}


def _raises(error: Exception) -> Any:
    def run() -> None:
        raise error

    return run


@pytest.mark.parametrize(
    "fault",
    [
        _raises(TypeError("'int' object is not iterable")),
        _raises(InputError("two\nlines, which is no sentence.")),
        _raises(InputError("no full stop at its end")),
        lambda: float("nan"),
        lambda: {"a": [1.0, np.array([np.inf])]},
        lambda: np.log(np.zeros(1)),
        lambda: np.array([1.0]) / np.array([0.0]),
    ],
)
def test_what_is_no_good_end_is_a_finding(fault: Any):
    assert outcome_of(fault) not in END


def test_a_bad_value_in_paths_is_found():
    paths = dl.simulate(dl.MLP(width=8, depth=2), dl.gram(correlation=0.3), networks=4)
    check_announced(paths)
    paths.log_gap[0, 0] = np.nan
    with pytest.raises(Unannounced, match="impossible gap"):
        check_announced(paths)
    paths.log_norm[1, 1] = np.inf
    with pytest.raises(Unannounced, match="not finite"):
        check_announced(paths)


def _command(*lines: str) -> list[str]:
    return [sys.executable, "-c", "\n".join(["import os, sys, time", "notes = open(sys.argv[1], 'a')", *lines])]


@pytest.mark.parametrize(
    ("line", "ended"), [("os.abort()", "exit code -6"), ("time.sleep(60)", "hangs"), ("sys.exit(0)", None)]
)
def test_a_crash_and_a_hang_are_findings_with_the_case_that_was_running(tmp_path: Path, line: str, ended: str | None):
    notes = tmp_path / "notes"
    told = 'notes.write(\'{"case": 0, "what": "f(1)"}\\n\'); notes.flush()'
    end, taken = watch([*_command(told, line), str(notes)], notes, seconds=2.0)
    assert (end is None and ended is None) or (end is not None and ended is not None and end.startswith(ended))
    assert taken == [{"case": 0, "what": "f(1)"}]


def test_the_long_fuzz_counts_each_kind_and_a_case_is_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    done = subprocess.run(
        [sys.executable, "-m", "deeplim.testing", "--kind", "file", "--cases", "30"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["cases"] == sum(found["file"].values()) == 30
    assert found["findings"] == []
    notes: list[dict[str, Any]] = []
    monkeypatch.chdir(tmp_path)
    run_cases("file", 0, 12, notes.append)
    again: list[dict[str, Any]] = []
    run_cases("file", 0, 12, again.append, 11)
    assert again == notes[-2:]


def test_a_case_that_fails_is_told_with_what_reproduces_it(monkeypatch: pytest.MonkeyPatch):
    from deeplim.testing import fuzzing

    bad = {"kind": "api", "seed": 3, "case": 4, "what": "f(1)", "outcome": "TypeError: no"}
    fine = bad | {"outcome": "refused"}
    monkeypatch.setattr(fuzzing, "fuzz", lambda *asked: iter([fine, bad, bad]))
    assert counted(3, kinds=("api",)) == {"cases": 3, "api": {"refused": 1, "finding": 2}, "findings": [bad]}


@few
@given(testing.networks(), testing.inputs(), st.data())
def test_networks_inputs_and_layers_are_right(network: Any, inputs: Any, data: st.DataObject):
    assert dl.read_network(network.to_json(), trust=True) == network
    assert 1 <= inputs.count <= 4
    layers = data.draw(testing.layers(network.depth))
    assert layers is None or check_layers(layers, network.depth)


@few
@given(testing.paths(), testing.summaries())
def test_paths_and_summaries_are_right(paths: Any, summary: Any):
    check_announced(paths)
    check_announced(summary)


@few
@given(testing.limits(), testing.wrong_values())
def test_limits_are_right_and_wrong_values_are_refused_for_inputs(limit: Any, wrong: Any):
    assert type(limit).why_not(limit.network) is None
    with pytest.raises(DeeplimError):
        dl.predict(limit, wrong)


@few
@given(testing.files(), testing.damaged(st.just(b"0123456789")), testing.archives(), command_lines())
def test_files_and_command_lines(file: Any, damaged: bytes, archive: bytes, words: list[str]):
    assert re.fullmatch(r"x\.(npz|npy|csv|json)", file[0])
    assert isinstance(damaged, bytes)
    assert archive.startswith(b"PK")
    assert set(OPTIONS) & set(words)


@few
@given(calls())
def test_calls_are_written_on_one_line(call: Call):
    assert call.name in FUNCTIONS
    assert "\n" not in str(call)


def test_without_hypothesis_the_extra_is_named():
    code = "import sys; sys.modules['hypothesis'] = None; import deeplim.testing"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert 'deeplim.testing needs Hypothesis; run pip install "deeplim[testing]".' in done.stderr
