"""Run independent pieces of work on threads; compiled kernels release the interpreter lock, so threads suffice."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from deeplim.errors import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")
MOST_THREADS = 1024
_AHEAD = 4
"""Results a thread may be ahead of the one awaited; what waits in memory does not grow with the number of items."""


def in_threads(task: Callable[[Item], Result], items: Iterable[Item], threads: int | None = None) -> Iterator[Result]:
    """Yield the task's result for every item, in order, on ``threads`` threads (the machine's cores when None).

    One thread is the caller's own. A kernel that is not compiled yet is compiled once: Numba holds a lock. InputError
    when threads is not 1 to 1024.
    """
    workers = thread_count(threads)
    if workers == 1:
        yield from map(task, items)
        return
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(task, item))
                if len(waiting) > _AHEAD * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def thread_count(threads: int | None) -> int:
    """Return the number of threads asked for, the machine's cores for None; InputError when it is not 1 to 1024."""
    workers = os.cpu_count() or 1 if threads is None else threads
    if not 1 <= workers <= MOST_THREADS:
        raise InputError(f"{threads} threads were asked for; give a number from 1 to {MOST_THREADS}.")
    return workers
