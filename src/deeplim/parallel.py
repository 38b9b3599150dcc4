"""Run independent pieces of work on threads; compiled kernels release the interpreter lock, so threads suffice."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from deeplim.errors import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")
MOST_THREADS = 1024


def in_threads(task: Callable[[Item], Result], items: Iterable[Item], threads: int | None = None) -> Iterator[Result]:
    """Yield the task's result for every item, in order, on ``threads`` threads (the machine's cores when None).

    A kernel that is not compiled yet is compiled once: Numba holds a lock. InputError when threads is not 1 to 1024.
    """
    workers = os.cpu_count() or 1 if threads is None else threads
    if not 1 <= workers <= MOST_THREADS:
        raise InputError(f"{threads} threads were asked for; give a number from 1 to {MOST_THREADS}.")
    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(task, items)
