"""The wheel installs into a clean virtual environment, with its data, and runs; its code is in short pieces."""

import ast
import os
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("src", "tests", "examples", "benchmarks")


@pytest.mark.network
@pytest.mark.slow
def test_the_wheel_installs_into_a_clean_environment_and_runs(tmp_path: Path):
    environment = {**os.environ, "PIP_CONSTRAINT": str(ROOT / "constraints.txt"), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}

    def run(*command: str | Path) -> str:
        words = [str(word) for word in command]
        done = subprocess.run(words, env=environment, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", tmp_path, ROOT)
    [wheel] = tmp_path.glob("*.whl")
    packed = {Path(name).name for name in zipfile.ZipFile(wheel).namelist()}
    assert {"digits.csv", "py.typed", "LICENSE", "template.html.j2", "style.css"} <= packed

    run(sys.executable, "-m", "venv", "clean")
    run(tmp_path / "clean/bin/pip", "install", "--quiet", wheel)
    assert run(tmp_path / "clean/bin/deeplim", "--version").startswith("deeplim, version ")
    words = ["--width", "8", "--depth", "4", "--inputs", "digits", "--networks", "9"]
    run(tmp_path / "clean/bin/deeplim", "report", *words)
    assert "<html" in (tmp_path / "deeplim-report.html").read_text()


def test_no_test_reaches_the_network_or_leaves_files_behind():
    outside = ("192.0.2.1", 80)  # an address that documents may use, and nobody has
    with pytest.raises(AssertionError, match="the network"):
        socket.create_connection(outside, timeout=0.1)
    ours = subprocess.run(
        [sys.executable, "-c", "import tempfile, urllib.request as u; print(tempfile.gettempdir(), u.getproxies())"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "temporary" in ours.stdout
    assert "127.0.0.1:9" in ours.stdout


def test_no_file_is_longer_than_400_lines():
    files = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    lengths = {str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines()) for path in files}
    assert len(lengths) > 200
    assert {name: length for name, length in lengths.items() if length > 400} == {}


def test_no_function_is_longer_than_45_lines_but_in_kernels():
    lengths = {}
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
                fused = path.name.endswith("kernel.py") or any("kernel(" in ast.unparse(d) for d in node.decorator_list)
                lengths[path.name, node.name, fused] = node.end_lineno - node.lineno + 1
    long = {place for place, length in lengths.items() if length > 45}
    assert long
    assert {place for place in long if not place[2]} == set()
