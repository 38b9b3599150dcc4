"""How long until deeplim answers: import, --help, a warm predict, and the first compilation of what the demo uses?

Each a fresh process, in turns, beside a bare interpreter and `import numpy`. For the first compilation the demo runs
with an empty Numba cache, then again with the one it has filled: the difference is what compiling took.
"""

import sys
import tempfile
from pathlib import Path

from measure import Spread, alternate, arguments, claim, document, run_command, spread, table

DEEPLIM = [sys.executable, "-m", "deeplim"]
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import numpy": [sys.executable, "-c", "import numpy"],
    "import deeplim": [sys.executable, "-c", "import deeplim"],
    "deeplim --help": [*DEEPLIM, "--help"],
    "deeplim predict": [*DEEPLIM, "predict", "--width", "200", "--depth", "200", "--correlation", "0.3"],
}
TARGETS = {"import deeplim": "import", "deeplim --help": "help", "deeplim predict": "predict-warm"}


def demo(cache: str) -> float:
    """Return the wall time of the demo with this Numba cache."""
    with tempfile.TemporaryDirectory() as folder:
        command = [*DEEPLIM, "demo", "--output", str(Path(folder) / "report.html")]
        return run_command(command, environment={"NUMBA_CACHE_DIR": cache}).seconds


def compilation(repeats: int) -> dict[str, Spread]:
    """Return the demo's time with an empty cache, with a full one, and the difference, over fresh caches."""
    cold, warm = [], []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as cache:
            cold.append(demo(cache))
            warm.append(demo(cache))
    taken = [one - other for one, other in zip(cold, warm, strict=True)]
    return {"demo, cold": spread(cold), "demo, warm": spread(warm), "first compilation": spread(taken)}


def main() -> None:
    options = arguments(__doc__).parse_args()
    repeats = 3 if options.quick else 11
    times = alternate(
        {name: lambda command=command: run_command(command) for name, command in COMMANDS.items()}, repeats=repeats
    )
    memory = {name: run_command(command).peak_rss_mb for name, command in COMMANDS.items()}
    found = {name: spread(taken) for name, taken in times.items()}
    compiled = compilation(1 if options.quick else 3)
    rows = [
        [name, *(one[key] for key in ("median", "low", "high")), memory.get(name)]
        for name, one in (found | compiled).items()
    ]
    print(
        document(
            str(__doc__).splitlines()[0],
            {"commands": found, "peak_rss_mb": memory, "demo": compiled},
            ["deeplim", "numba", "numpy"],
            seed=options.seed,
            quick=options.quick,
            claims=[
                *(claim(target, found[name]) for name, target in TARGETS.items()),
                claim("first-compilation", compiled["first compilation"]),
            ],
            tables=[table("Fresh processes", ["command", "median (s)", "lowest", "highest", "peak memory (MB)"], rows)],
        )
    )


if __name__ == "__main__":
    main()
