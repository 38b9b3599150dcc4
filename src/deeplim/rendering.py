"""The renderer of figures, vl-convert, called so that it cannot end the process.

It runs JavaScript in V8, which reserves some 64 GiB of address space without using them and aborts the process where it
may not. Under a limit on address space it therefore runs in a process of its own, as far as that may go.
"""

import json
import subprocess
import sys
from functools import lru_cache
from typing import Any

from deeplim.errors import MachineError
from deeplim.memory import address_space_left

_CHILD = """
import json, resource, sys
job = json.load(sys.stdin)
sys.path[:] = job.pop("path")
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
for which in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
    resource.setrlimit(which, 2 * resource.getrlimit(which)[1:])
from deeplim.rendering import render
sys.stdout.buffer.write(render(**job))
"""
_LONGEST = 120.0
"""Seconds that a process may take to start and to render one figure, of which some tenths are usual."""
_SMALLEST = '{"mark": "point", "data": {"values": [{}]}}'


def rendered(kind: str, spec: dict[str, Any], version: str) -> bytes:
    """Return a Vega-Lite specification as 'svg', 'png' or 'pdf'; MachineError where a limit leaves V8 no room."""
    return _run(kind, json.dumps(spec, allow_nan=False), version)


@lru_cache(maxsize=1)
def bundle(version: str) -> str:
    """Return the JavaScript that draws a specification in a browser; MachineError as above."""
    return _run("bundle", "", version).decode()


def try_renderer(version: str) -> None:
    """Draw next to nothing; MachineError where that cannot be, before the work that a figure is to show."""
    _run("svg", _SMALLEST, version)


def render(kind: str, spec: str, version: str) -> bytes:
    """Render in this process, whatever happens to it."""
    import vl_convert

    name, given = ("javascript_bundle", ()) if kind == "bundle" else (f"vegalite_to_{kind}", (spec,))
    options: dict[str, dict[str, float]] = {"png": {"scale": 2, "ppi": 72}}
    made = getattr(vl_convert, name)(*given, vl_version=version, **options.get(kind, {}))
    return made.encode() if isinstance(made, str) else bytes(made)


def _run(kind: str, spec: str, version: str) -> bytes:
    if address_space_left() is None:
        return render(kind, spec, version)
    job = json.dumps({"path": sys.path, "kind": kind, "spec": spec, "version": version})
    try:
        done = subprocess.run(
            [sys.executable, "-c", _CHILD], input=job.encode(), capture_output=True, timeout=_LONGEST, check=True
        )
    except (OSError, subprocess.SubprocessError):
        raise MachineError(
            "figures cannot be drawn under this limit on address space, of which V8 reserves 64 GiB unused; "
            "raise the limit (ulimit -v)."
        ) from None
    return done.stdout
