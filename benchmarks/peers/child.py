"""The asking side of a peer: its process, and what it answers."""

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

BENCHMARKS = Path(__file__).parent.parent


class Child:
    """The process of one peer, ``peers.NAME``; it ends when the ``with`` block does."""

    def __init__(self, name: str, python: str = sys.executable) -> None:
        path = os.pathsep.join(filter(None, [str(BENCHMARKS), os.environ.get("PYTHONPATH")]))
        self._name = name
        self._process = subprocess.Popen(
            [python, "-m", f"peers.{name}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": path},
        )

    def ask(self, what: str, **more: Any) -> Any:
        """Return the answer to one request; RuntimeError when the process has ended instead."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps({"do": what, **more}) + "\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"peers/{self._name}.py ended with status {self._process.wait()}; its words are above.")
        return json.loads(line)

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
