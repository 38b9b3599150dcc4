"""A limit on address space is told in a sentence before a compiler aborts the process, and threads fit into it."""

import resource
import subprocess
import sys

import pytest

from deeplim import memory

MiB = 2**20
DRAW = """
import deeplim as dl
network = dl.MLP(width=8, depth=2, activation=dl.LeakyReLU(slope=0.123))
print(dl.simulate(network, dl.gram(correlation=0.3), networks=20, threads=2).samples)
"""


def limited(code: str, mib: int) -> subprocess.CompletedProcess:
    """Run code in a process that may take so much address space."""
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({mib * MiB}, {resource.RLIM_INFINITY}))\n"
    return subprocess.run([sys.executable, "-c", limit + code], capture_output=True, text=True, timeout=120)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems keep no such limit")
def test_too_little_address_space_is_told_and_enough_will_do() -> None:
    few = limited(DRAW, 400)
    assert few.returncode == 1
    assert "MachineError: the limit on this process's address space leaves" in few.stderr
    assert few.stderr.rstrip().endswith("raise the limit (ulimit -v).")
    enough = limited(DRAW, 1100 + 80 * memory._algebra_threads())
    assert (enough.returncode, enough.stdout.strip()) == (0, "20"), enough.stderr


def test_threads_fit_into_the_room_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for left, threads in ((None, 64), (600 * MiB, 1), (100 * MiB, 1), (1200 * MiB, 8), (2**40, 64)):
        monkeypatch.setattr(memory, "address_space_left", lambda left=left: left)
        assert memory.room_for_threads(64) == threads


def test_what_the_machine_has_left_is_a_positive_number() -> None:
    assert (memory.memory_left() or 1) > 0
    assert (memory.address_space_left() or 1) > 0
