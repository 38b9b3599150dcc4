"""Compiled kernels on disk: shared by processes at once, never stale, never in the way of a result."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numba import njit

from deeplim.simd import caching

SCRIPT = """
import sys
import deeplim as dl
from deeplim.finite import one_input
network = dl.MLP(width=40, depth=3, activation=dl.LeakyReLU(slope=float(sys.argv[1])))
paths = dl.simulate(network, dl.gram([[1.0, 2.0]]), networks=32, seed=3, layers=[3])
stats = one_input.one_input_mlp.stats
print(stats.cache_path, sum(stats.cache_hits.values()), sum(stats.cache_misses.values()), float(paths.log_norm.sum()))
"""


def _start(slope: float, **environment: str) -> subprocess.Popen:
    keep = {name: value for name, value in os.environ.items() if name not in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")}
    arguments = [sys.executable, "-c", SCRIPT, str(slope)]
    return subprocess.Popen(
        arguments, env=keep | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def _finish(process: subprocess.Popen) -> tuple[str, int, int, float]:
    """Where kernels are kept, hits, misses, and a number computed."""
    out, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    place, hits, misses, total = out.split()
    return place, int(hits), int(misses), float(total)


@pytest.mark.slow
def test_first_runs_at_once_leave_whole_kernels(tmp_path: Path):
    both = [_start(0.3, NUMBA_CACHE_DIR=str(tmp_path)) for _ in range(2)]
    found = [_finish(process) for process in both]
    assert found[0][3] == found[1][3]
    assert all(place == str(tmp_path / "deeplim") for place, *_ in found)
    later = _finish(_start(0.3, NUMBA_CACHE_DIR=str(tmp_path)))
    assert later[1:3] == (1, 0)
    assert later[3] == found[0][3]
    assert not list((tmp_path / "deeplim").glob(".deeplim-*"))


@pytest.mark.slow
def test_neither_a_home_that_cannot_be_written_nor_a_broken_file_is_in_the_way(tmp_path: Path):
    nowhere = {"HOME": "/proc/nobody", "XDG_CACHE_HOME": "/proc/nobody", "TMPDIR": str(tmp_path)}
    place, _, _, total = _finish(_start(0.3, **nowhere))
    assert Path(place).parent == tmp_path
    [file] = [file for file in Path(place).iterdir() if "one_input" in file.name]
    file.write_bytes(file.read_bytes()[:1000])
    assert _finish(_start(0.3, **nowhere)) == (place, 0, 1, total)
    assert _finish(_start(0.3, **nowhere)) == (place, 1, 0, total)


@pytest.fixture
def _own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    caching._place.cache_clear()
    yield
    caching._place.cache_clear()


def _doubling(by: object):
    @caching.kernel()
    def multiply(x):
        return x * by

    return multiply


def _hits(compiled) -> int:
    return sum(compiled.stats.cache_hits.values())


@pytest.mark.usefixtures("_own_place")
def test_a_kernel_is_found_again_by_its_types_and_closure_alone():
    first = _doubling(2)
    assert (first(3), _hits(first)) == (6, 0)
    again = _doubling(2)
    assert (again(3), _hits(again)) == (6, 1)
    assert (again(3.5), _hits(again)) == (7.0, 1)
    other = _doubling(5)
    assert (other(3), _hits(other)) == (15, 0)


@pytest.mark.usefixtures("_own_place")
@pytest.mark.parametrize("what", ["_sources", "_versions"])
def test_changed_code_and_another_numba_compile_anew(what: str, monkeypatch: pytest.MonkeyPatch):
    assert _doubling(2)(3) == 6
    monkeypatch.setattr(caching, what, lambda: "something else")
    changed = _doubling(2)
    assert (changed(3), _hits(changed)) == (6, 0)


def test_the_digest_covers_every_kernel():
    here = {file.relative_to(caching._PACKAGE).as_posix() for file in caching._files()}
    for file in caching._PACKAGE.rglob("*.py"):
        name = file.relative_to(caching._PACKAGE).as_posix()
        if any(word in file.read_text() for word in ("@njit", "@kernel(", "@inline", "@piece")):
            assert name in here, name


@pytest.mark.usefixtures("_own_place")
def test_functions_in_a_closure_are_never_confused():
    one, two = njit(lambda x: x + 1), njit(lambda x: x + 2)

    def calling(function):
        @caching.kernel()
        def call(x):
            return function(x)

        return call

    assert (calling(one)(1.0), calling(two)(1.0)) == (2.0, 3.0)
    assert _hits(calling(one)) == 0


@pytest.mark.usefixtures("_own_place")
def test_only_the_kernels_used_last_are_kept(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(caching, "_MOST_FILES", 2)
    for by in range(4):
        assert _doubling(by)(np.int64(3)) == 3 * by
    assert len(list(caching._place().iterdir())) == 2
