"""Flip a bit of a file at a time and read it: is the change noticed, or are other numbers believed?

``python tests/bit_flips.py 1000`` does so for a cached kernel, saved paths and a saved summary, and prints what came of
each; the suite does it for fewer. A file is refused, or what is read is what was written, to the last bit.
"""

import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from made_paths import random_paths, with_losses

from deeplim.errors import InputError
from deeplim.paths import Paths
from deeplim.simd import caching
from deeplim.summary import Summary
from deeplim.summary_files import MOMENTS

Outcomes = Counter[str]


def flipped(path: Path, flips: int, read: Callable[[], Any], same: Callable[[Any], bool], seed: int = 0) -> Outcomes:
    """Flip a random bit of a file, read it, and put it back, so many times; count what came of it."""
    content, outcomes = path.read_bytes(), Outcomes()
    generator = random.Random(seed)
    for _ in range(flips):
        bit, changed = generator.randrange(8 * len(content)), bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        try:
            outcomes["the same" if same(read()) else "OTHER NUMBERS"] += 1
        except InputError:
            outcomes["refused"] += 1
        except Exception as error:
            outcomes[f"CRASHED: {type(error).__name__}"] += 1
    path.write_bytes(content)
    return outcomes


def of_paths(folder: Path, flips: int) -> Outcomes:
    """Flips in saved paths with dead and exploded samples."""
    written, path = with_losses(), folder / "paths.npz"
    written.save(path)

    def same(read: Paths) -> bool:
        arrays = [(vars(read)[name], value) for name, value in vars(written).items()]
        return all(np.array_equal(a, b, equal_nan=True) if isinstance(b, np.ndarray) else a == b for a, b in arrays)

    assert same(Paths.load(path))
    return flipped(path, flips, lambda: Paths.load(path), same)


def of_summary(folder: Path, flips: int) -> Outcomes:
    """Flips in a saved summary."""
    written, path = Summary.of(random_paths()), folder / "summary.npz"
    written.save(path)

    def arrays(summary: Summary) -> list[Any]:
        moments = [getattr(one, name) for one in summary.moments.values() for name in MOMENTS]
        counts = [summary.dead, summary.exploded, summary.aligned, *summary.histograms.values()]
        return [summary.time, summary.samples, summary.names, summary.sources, summary.clock, *moments, *counts]

    def same(read: Summary) -> bool:
        pairs = zip(arrays(read), arrays(written), strict=True)
        return list(read.moments) == list(written.moments) and all(np.array_equal(a, b) for a, b in pairs)

    assert same(Summary.load(path))
    return flipped(path, flips, lambda: Summary.load(path), same)


def of_kernel(folder: Path, flips: int) -> Outcomes:
    """Flips in a file of a compiled kernel; one that is refused is removed, and nothing of it is unpickled or run."""
    name, content = "a.kernel", random.Random(1).randbytes(20_000)
    folder.chmod(0o700)
    with caching.private_folder(folder) as private:
        private.write(name, caching._sealed(name, content))

        def read() -> bytes:
            found = caching._kept(private, name)
            if found is None and not (folder / name).exists():
                raise InputError("refused and removed")
            return found or b""

        assert read() == content
        (folder / name).chmod(0o600)

        def rewritten() -> bytes:
            (folder / name).chmod(0o600)
            return read()

        return flipped(folder / name, flips, rewritten, content.__eq__)


KINDS = {"kernel": of_kernel, "paths": of_paths, "summary": of_summary}


def main() -> None:
    flips = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    for kind, run in KINDS.items():
        with tempfile.TemporaryDirectory() as folder:
            print(f"{kind}: {flips} flips of a bit, {dict(run(Path(folder), flips))}", flush=True)


if __name__ == "__main__":
    main()
