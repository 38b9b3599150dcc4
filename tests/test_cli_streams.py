"""The command line at its streams and files: no traceback, no lost findings, nothing half-written, its exit codes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from made_paths import random_paths

from deeplim.cli import main

COMMAND = [sys.executable, "-m", "deeplim"]
SMALL = ["--width", "8", "--depth", "3"]
DRAWN = ["--networks", "20", "--samples", "20"]
linux = pytest.mark.skipif(sys.platform != "linux", reason="/dev/full and limits on address space are Linux's")


def shell(command: str, folder: Path, **options: Any) -> subprocess.CompletedProcess:
    """Run a line of a shell in which ``deeplim`` is this package's command."""
    line = f'deeplim() {{ "{sys.executable}" -m deeplim "$@"; }}; set -o pipefail; {command}'
    return subprocess.run(["bash", "-c", line], cwd=folder, capture_output=True, timeout=120, **options)


def said(done: subprocess.CompletedProcess) -> str:
    """The words on stderr, which are one sentence and no traceback."""
    words = done.stderr.decode().strip()
    assert words.startswith("Error: ")
    assert words.count("\n") == 0
    assert words.endswith(".")
    return words


@linux
@pytest.mark.parametrize("words", ["--help", "--version", "limits --width 8 --depth 3"])
def test_a_full_standard_output_is_one_sentence(words: str, tmp_path: Path) -> None:
    done = shell(f"deeplim {words} > /dev/full", tmp_path)
    assert done.returncode == 1
    assert "could not be printed on standard output (No space left on device)" in said(done)


@pytest.mark.parametrize("words", ["--help", "limits --width 8 --depth 3 --json"])
def test_a_pipe_that_nobody_reads_is_silence(words: str, tmp_path: Path) -> None:
    done = shell(f"deeplim {words} | true", tmp_path)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_closed_standard_output_is_told_before_the_work(tmp_path: Path) -> None:
    done = shell("deeplim simulate --width 8 --depth 3 --networks 9 --output paths.npz >&-", tmp_path)
    assert done.returncode == 1
    assert "standard output is closed" in said(done)
    assert not list(tmp_path.iterdir())
    silent = shell("deeplim --version >&- 2>&- <&-", tmp_path)
    assert (silent.returncode, silent.stderr) == (1, b"")


def test_words_that_cannot_be_shown_stop_nothing(tmp_path: Path) -> None:
    done = shell("deeplim simulate --width 8 --depth 3 --networks 9 --json 2>/dev/full 0<&-", tmp_path)
    assert done.returncode == 0
    assert json.loads(done.stdout)
    assert shell("deeplim limits 2>&-", tmp_path).returncode == 2


def test_a_name_that_is_no_utf8_is_written_and_told(tmp_path: Path) -> None:
    name = b"caf\xe9.html"
    words = [*COMMAND, "report", *SMALL, *DRAWN, "--output", os.fsdecode(name)]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert rb"caf\udce9.html" in done.stdout
    assert os.listdir(os.fsencode(tmp_path)) == [name]
    assert rb"caf\udce9.html" in (tmp_path / os.fsdecode(name)).read_bytes()


def test_a_figure_is_whole_or_not_there(tmp_path: Path) -> None:
    code = """
import resource, deeplim as dl
from deeplim.errors import OutputError
from deeplim.drawing import save
from deeplim.figures import figures
chart = figures(dl.climb(dl.MLP(width=8, depth=4), dl.gram(correlation=0.3), networks=9, samples=9))["correlation"]
kinds = (".svg", ".png", ".pdf", ".html")
for kind in kinds:
    save(chart, "whole" + kind)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
for kind in kinds:
    try:
        save(chart, "cut" + kind)
    except OutputError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    kinds = [".svg", ".png", ".pdf", ".html"]
    told = done.stdout.decode().splitlines()
    assert [line.partition(" (")[0] for line in told] == [f"cut{kind} could not be written" for kind in kinds]
    assert all("(File too large)" in line for line in told)
    assert set(os.listdir(tmp_path)) == {f"whole{kind}" for kind in kinds}
    assert all((tmp_path / f"whole{kind}").stat().st_size > 4096 for kind in kinds)


def test_findings_are_printed_where_their_file_is_too_large(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("old")
    words = " ".join(["report", *SMALL, *DRAWN, "--output page.html --json"])
    done = shell(f"ulimit -S -f 4; deeplim {words}", tmp_path)
    assert done.returncode == 1
    assert "page.html could not be written (File too large)" in said(done)
    assert json.loads(done.stdout)["networks"]
    assert (tmp_path / "page.html").read_text() == "old"
    assert os.listdir(tmp_path) == ["page.html"]


def test_interrupted_is_130(tmp_path: Path) -> None:
    code = "import os, signal, deeplim.ensemble\n"
    code += "deeplim.ensemble.simulate = lambda *given, **chosen: os.kill(os.getpid(), signal.SIGINT)\n"
    code += "from deeplim.cli import main\nmain()"
    words = [sys.executable, "-c", code, "simulate", *SMALL, "--networks", "9", "--output", "paths.npz"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, timeout=120)
    assert (done.returncode, done.stdout) == (130, b"")
    assert done.stderr.strip() == b"Error: interrupted."
    assert not list(tmp_path.iterdir())


@linux
def test_a_limit_on_address_space_is_one_sentence(tmp_path: Path) -> None:
    few = shell("ulimit -v 600000; deeplim limits --width 8 --depth 3", tmp_path)
    assert (few.returncode, few.stdout) == (1, b"")
    assert "raise the limit (ulimit -v)" in said(few)
    some = shell("ulimit -v 8000000; deeplim report --width 8 --depth 3 --output page.html", tmp_path)
    assert (some.returncode, some.stdout) == (1, b"")
    assert "figures cannot be drawn under this limit" in said(some)
    assert not list(tmp_path.iterdir())


def run(*words: str) -> Any:
    return CliRunner().invoke(main, list(words))


BEFORE_THE_WORK = {
    "end its name in .svg": ["probe", "os:getcwd", "--inputs", "digits", "--figure", "layers.tiff"],
    "was named for two outputs": ["probe", "os:x", "--inputs", "digits", "--figure", "a.svg", "--output", "./a.svg"],
    "kept.html is write-protected": ["report", *SMALL, "--output", "kept.html"],
    "page.npz is write-protected": ["simulate", *SMALL, "--output", "page.npz"],
    "layers.svg is write-protected": ["probe", "os:getcwd", "--inputs", "digits", "--figure", "layers.svg"],
    "is not a folder": ["report", *SMALL, "--figures", "kept.html/figures"],
    "the folder kept.html could not be made": ["demo", "--output", "kept.html/page.html"],
    "claims.json is write-protected": ["reproduce", "--output", "claims"],
    "'page.npz' is a file": ["reproduce", "--output", "page.npz"],
}


@pytest.mark.parametrize("expected", BEFORE_THE_WORK)
def test_what_is_wrong_with_an_output_is_told_before_the_work(expected: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for place in (
        "laws.progress",
        "pages.progress",
        "pages.climb_ladder",
        "probe.read_model_inputs",
        "reproduce.progress",
    ):
        module, name = place.split(".")
        begun = sys.modules[f"deeplim.cli.{module}"]
        monkeypatch.setattr(begun, name, lambda *given, **chosen: pytest.fail("the work was begun"))
    Path("claims").mkdir()
    for name in ("kept.html", "page.npz", "layers.svg", "claims/claims.json"):
        Path(name).write_text("kept")
        Path(name).chmod(0o444)
    result = run(*BEFORE_THE_WORK[expected])
    assert result.exit_code == 2, result.output
    assert expected in result.stderr
    assert sorted(os.listdir()) == ["claims", "kept.html", "layers.svg", "page.npz"]
    assert os.listdir("claims") == ["claims.json"]


def test_a_stranger_s_file_does_not_command_the_terminal(tmp_path: Path) -> None:
    """Sources of saved paths, names of files: escape sequences are shown as such."""
    for seed, name in enumerate(("a", "b")):
        random_paths(samples=50, seed=seed, source="\x1b]0;owned\x07\x1b[2J").save(tmp_path / name)
    result = run("compare", str(tmp_path / "a"), str(tmp_path / "b"))
    assert result.exit_code in (0, 3)
    assert r"observed:  \x1b]0;owned\x07\x1b[2J" in result.stdout
    assert "\x1b" not in run("compare", "\x1b[2J", "b").output
    assert "\x1b" not in run("predict", *SMALL, "--inputs", "\x1b[2J.npy").output


EVIL = '{"kind": "mlp", "width": 8, "depth": 3, "activation": {"kind": "KIND", "function": "PLACE"}}'


@pytest.mark.parametrize("kind", ["function", "shaped", "transformed"])
def test_a_network_s_file_names_no_code_unless_it_is_trusted(kind: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    place = f"stranger_{kind}:curve"
    text = "import numpy, pathlib\npathlib.Path('ran').touch()\ncurve = lambda x: numpy.sin(x)\n"
    Path(f"stranger_{kind}.py").write_text(text)
    Path("network.json").write_text(EVIL.replace("KIND", kind).replace("PLACE", place))
    refused = run("limits", "--network", "network.json")
    assert refused.exit_code == 2
    assert "trust=True (--trust)" in refused.stderr
    assert not Path("ran").exists()
    assert run("limits", "--network", "network.json", "--trust").exit_code == 0
    assert Path("ran").exists()
    assert run("limits", *SMALL, "--activation", place if kind == "function" else "tanh").exit_code == 0


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "large", "bytes"])
def test_what_is_no_network_s_file_neither_hangs_nor_fills_the_memory(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "network.json"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.write_bytes(b" " * 2**21 if kind == "large" else b"\xff\xfe{}")
    result = run("limits", "--network", str(path))
    assert result.exit_code == 2
    assert "could not be read (" in result.stderr
