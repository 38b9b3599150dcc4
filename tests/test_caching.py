"""Compiled kernels on disk: shared by processes at once, never stale, never in the way of a result."""

import os
import pickle
import random
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


@pytest.mark.usefixtures("_own_place")
def test_no_changed_bit_is_run_and_the_file_goes():
    """Of 200 files with one bit changed none is understood: 11 in 110 crashed the process when they were."""
    assert _doubling(2)(3) == 6
    [file] = caching._place().iterdir()
    content, generator = file.read_bytes(), random.Random(7)
    with caching.private_folder(caching._place()) as folder:
        assert caching._kept(folder, file.name) == content[-len(caching._kept(folder, file.name)) :]
        for bit in [0, 8 * len(content) - 1, *(generator.randrange(8 * len(content)) for _ in range(198))]:
            changed = bytearray(content)
            changed[bit // 8] ^= 1 << bit % 8
            file.write_bytes(changed)
            assert caching._kept(folder, file.name) is None
            assert not file.exists()
    again = _doubling(2)
    assert (again(3), _hits(again)) == (6, 0)
    kept = _doubling(2)
    assert (kept(3), _hits(kept)) == (6, 1)


@pytest.mark.usefixtures("_own_place")
def test_what_another_program_wrote_is_not_unpickled(tmp_path: Path):
    assert _doubling(2)(3) == 6
    [file] = caching._place().iterdir()

    class Evil:
        def __reduce__(self):
            return Path.touch, (tmp_path / "run",)

    for content in (pickle.dumps(Evil()), caching._MARK + b"0" * 32 + pickle.dumps(Evil()), b""):
        file.write_bytes(content)
        assert _doubling(2)(3) == 6
        assert not (tmp_path / "run").exists()
    # A kernel under another kernel's name is not that kernel either.
    assert _doubling(5)(3) == 15
    other = next(one for one in caching._place().iterdir() if one != file)
    file.write_bytes(other.read_bytes())
    assert _doubling(2)(3) == 6


def test_a_folder_that_others_can_write_in_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "cache" / "deeplim").mkdir(parents=True)
    (tmp_path / "cache" / "deeplim").chmod(0o777)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    caching._place.cache_clear()
    try:
        assert caching._place().is_relative_to(tmp_path / "home")
        assert _doubling(2)(3) == 6
        assert not list((tmp_path / "cache" / "deeplim").iterdir())
    finally:
        caching._place.cache_clear()


@pytest.mark.usefixtures("_own_place")
def test_only_files_of_ours_are_ever_removed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(caching, "_MOST_FILES", 1)
    place = caching._place()
    digest = "0" * 64
    others = ["thesis.tex", f"data-{digest}", f"{digest}.kernel", f"a b-{digest}.kernel", f"mine-{digest}.kernel", ".x"]
    for name in others:
        (place / name).write_text("not a kernel")
        os.utime(place / name, (0, 0))
    for by in range(3):
        assert _doubling(by)(np.int64(3)) == 3 * by
    names = {file.name for file in place.iterdir()}
    assert set(others) <= names
    assert len(names) == len(others) + 1
