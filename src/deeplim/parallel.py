"""Run independent pieces of work on threads; compiled kernels release the interpreter lock, so threads suffice.

An interrupt is heard at once, however long a kernel runs: the main thread only waits, and what is compiled looks at a
flag (``stop_flag``) after bounded work and returns when it is raised.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from contextvars import copy_context
from queue import SimpleQueue
from typing import TypeVar

import numpy as np

from deeplim.checks import brief
from deeplim.errors import InputError
from deeplim.memory import room_for_threads

Item = TypeVar("Item")
Result = TypeVar("Result")
MOST_THREADS = 1024
_AHEAD = 4
"""Results a thread may be ahead of the one awaited; what waits in memory does not grow with the number of items."""
_HEARD = 0.2
"""Seconds after which an interrupt is heard that came when the main thread was about to wait, and did not wake it."""
_OF_THREAD = threading.local()


def in_threads(task: Callable[[Item], Result], items: Iterable[Item], threads: int | None = None) -> Iterator[Result]:
    """Yield the task's result for every item, in order, on ``threads`` threads (the machine's cores when None).

    Within another such task one thread is the caller's own; they are fewer where a limit on address space has no room
    for all. A kernel that is not compiled yet is compiled once: Numba holds a lock. When the caller is interrupted, or
    stops asking for results, the flag of its tasks is raised. InputError when threads is not a whole number from 1 to
    1024.
    """
    workers = room_for_threads(thread_count(threads))
    if workers == 1 and threading.current_thread() is not threading.main_thread():
        yield from map(task, items)
        return
    crew = _Crew(workers)
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(crew.submit(task, item))
            if len(waiting) > _AHEAD * workers:
                yield _awaited(waiting.popleft())
        while waiting:
            yield _awaited(waiting.popleft())
    except Exception:  # a task's own: the others are not left running, as they are where one does not wait for them
        crew.dismiss()
        crew.join()
        raise
    finally:
        crew.dismiss()


def _awaited(future: "Future[Result]") -> Result:
    while not future.done():
        with suppress(TimeoutError):
            future.exception(timeout=_HEARD)
    return future.result()


class _Crew:
    """Threads that work off tasks; those of an interrupted crew are no longer waited for, not even by Python's end."""

    def __init__(self, workers: int) -> None:
        self._workers, self._threads = workers, list[threading.Thread]()
        self._tasks: SimpleQueue[tuple[Future, Callable[[], None]] | None] = SimpleQueue()
        self._stop = np.zeros(1, dtype=np.int64)

    def submit(self, task: Callable[[Item], Result], item: Item) -> "Future[Result]":
        future: Future[Result] = Future()
        context = copy_context()  # the caller's own settings, such as np.errstate, hold in its tasks
        self._tasks.put((future, lambda: future.set_result(context.run(task, item))))
        if len(self._threads) < self._workers:
            self._threads.append(threading.Thread(target=self._work, daemon=True))
            self._threads[-1].start()
        return future

    def dismiss(self) -> None:
        """End the threads, and what is left for them to do."""
        self._stop[0] = 1
        for _ in self._threads:
            self._tasks.put(None)

    def join(self) -> None:
        """Wait for the threads to end."""
        for thread in self._threads:
            while thread.is_alive():
                thread.join(_HEARD)

    def _work(self) -> None:
        _OF_THREAD.stop = self._stop
        while (work := self._tasks.get()) is not None and not self._stop[0]:
            future, run = work
            try:
                run()
            except BaseException as error:
                future.set_exception(error)


def stop_flag() -> np.ndarray:
    """Return the flag, an array of one number, that is 1 once nobody waits any more for what this thread computes."""
    flag: np.ndarray | None = getattr(_OF_THREAD, "stop", None)
    return np.zeros(1, dtype=np.int64) if flag is None else flag


def thread_count(threads: int | None) -> int:
    """Return the number of threads asked for, the machine's cores for None; InputError when it is not 1 to 1024."""
    workers = os.cpu_count() or 1 if threads is None else threads
    whole = isinstance(workers, int | np.integer) and not isinstance(workers, bool)
    if not whole or not 1 <= workers <= MOST_THREADS:
        raise InputError(f"{brief(threads)} threads were asked for; give a whole number from 1 to {MOST_THREADS}.")
    return int(workers)
