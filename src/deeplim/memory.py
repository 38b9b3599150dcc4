"""How much memory the process may still take, and whether a limit on its address space would end it.

Compilers, linear algebra and the renderer of figures do not report that an allocation failed: they abort the process or
wait for ever. So the limit is looked at before they are called.
"""

import os
import sys
from functools import lru_cache
from pathlib import Path

from deeplim.errors import InputError, MachineError

MiB = 2**20
_PROGRAM = 1024 * MiB
"""Address space of NumPy, SciPy, Numba and what it compiles; 750 MiB were measured of many kernels compiled."""
_THREAD = 80 * MiB
"""And of each thread of linear algebra: buffers and stacks in the two libraries that NumPy and SciPy bring."""
_WORKER = 80 * MiB
"""And of each thread that draws networks: its stack and a heap of its own."""
_COMPILER = 512 * MiB
"""What the compiler is left when threads are started."""
_COMPILED = 0.4
"""The share of that which is still to come where Numba has been loaded."""
_SHARE = 0.8
"""Of the memory that is left, how much is planned with: it can be counted to some 20%, and others take some too."""


@lru_cache(maxsize=1)
def check_address_space() -> None:
    """Raise MachineError where a limit on address space leaves too little to load and compile what deeplim runs on.

    Looked at once, when the first of it is to be loaded.
    """
    left = address_space_left()
    needed = (_PROGRAM + _algebra_threads() * _THREAD) * (_COMPILED if "numba" in sys.modules else 1)
    if left is not None and left < needed:
        raise MachineError(
            f"the limit on this process's address space leaves {left / MiB:,.0f} MiB and deeplim needs "
            f"{needed / MiB:,.0f}; raise the limit (ulimit -v)."
        )


def room_for_threads(wanted: int) -> int:
    """Return how many of the threads wanted a limit on address space has room for, at least one."""
    left = address_space_left()
    return wanted if left is None else max(1, min(wanted, (left - _COMPILER) // _WORKER))


def check_room(needed: int, what: str, cure: str) -> None:
    """Raise InputError when ``what``, a plural, takes more bytes than are left to fill; the cure ends the sentence."""
    left = memory_left()
    if left is not None and needed > _SHARE * left:
        raise InputError(
            f"{what} take {needed / 2**30:.3g} GiB of memory and {_SHARE:.0%} of what is left to this process are "
            f"{_SHARE * left / 2**30:.3g}; {cure}."
        )


def threads_with_room(wanted: int, pieces: int, each: int, beside: int, what: str, cure: str) -> int:
    """Return the threads wanted for some pieces of work, or as many as the memory left has room for.

    each: the bytes that a thread takes; beside: those that are taken whatever the threads. InputError, with the words
    of ``check_room``, when there is not room for one.
    """
    check_room(beside + each, what, cure)
    left = memory_left()
    fitting = wanted if left is None else max(1, (int(_SHARE * left) - beside) // max(each, 1))
    return wanted if fitting >= min(wanted, pieces) else fitting


def address_space_left() -> int | None:
    """Return the bytes of address space that the process may still take, or None where there is no limit."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    # What counts against each limit, by its place in Linux's account of the process.
    counted = {resource.RLIMIT_AS: 0, resource.RLIMIT_DATA: 5}
    limits = {place: resource.getrlimit(which)[0] for which, place in counted.items()}
    left = [limit - _taken(place) for place, limit in limits.items() if limit != resource.RLIM_INFINITY]
    return max(min(left), 0) if left else None


def memory_left() -> int | None:
    """Return the bytes that the process may still fill: what the machine has free, or less where a limit says so."""
    known = [size for size in (_free(), _group_left(), address_space_left()) if size is not None]
    return min(known, default=None)


def _algebra_threads() -> int:
    """How many threads OpenBLAS starts when it is loaded: one a core, or fewer where the environment says so."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = [os.environ.get(name, "") for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")]
    return min([cores, *(int(number) for number in asked if number.isdecimal() and int(number) > 0)])


def _free() -> int | None:
    """The memory that the machine could give, from Linux's account of it, or all of it."""
    try:
        for line in Path("/proc/meminfo").read_text("ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else None


def _group_left() -> int | None:
    """The memory that the process's control group may still take (as in a container), or None where none is set."""
    root = Path("/sys/fs/cgroup")
    try:
        limit = int((root / "memory.max").read_text("ascii"))
        held = dict(line.split() for line in (root / "memory.stat").read_text("ascii").splitlines())
        return max(limit - int(held["anon"]), 0)
    except (OSError, ValueError, KeyError):  # another system, an older kernel, or "max"
        return None


def _taken(place: int) -> int:
    """A number of pages from Linux's account of the process, in bytes; 0 elsewhere."""
    try:
        return int(Path("/proc/self/statm").read_text("ascii").split()[place]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0
