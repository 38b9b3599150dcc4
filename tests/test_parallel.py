"""Threads: results in order, bounded memory however many items, nothing left running after an error."""

import _thread
import os
import re
import signal
import threading
import time

import numpy as np
import pytest

from deeplim.errors import InputError
from deeplim.parallel import in_threads, stop_flag, thread_count


@pytest.mark.parametrize("threads", [1, 2, 7, None])
def test_results_come_in_the_order_of_the_items(threads):
    def task(item):
        time.sleep(0.002 * (item % 3))  # later items often finish first
        return item**2

    assert list(in_threads(task, range(40), threads)) == [item**2 for item in range(40)]


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_few_items_are_taken_ahead_of_the_result_awaited(threads):
    taken = []

    def items():
        for item in range(1000):
            taken.append(item)
            yield item

    for received in in_threads(lambda item: item, items(), threads):
        assert len(taken) <= received + 2 + 4 * threads


def test_the_main_thread_only_waits_and_another_task_s_thread_is_its_own():
    def who(_):
        return threading.get_ident()

    for threads in (1, 2):
        assert threading.get_ident() not in list(in_threads(who, range(3), threads))
    found = list(in_threads(lambda _: {threading.get_ident(), *in_threads(who, range(3), 1)}, range(3), 2))
    assert [len(who) for who in found] == [1, 1, 1]


@pytest.mark.parametrize("threads", [1, 2])
def test_tasks_have_the_settings_of_the_caller(threads):
    with np.errstate(divide="raise"), pytest.raises(FloatingPointError):
        list(in_threads(lambda x: np.log(np.zeros(x)), [3], threads))
    with np.errstate(divide="ignore"):
        assert list(in_threads(lambda x: np.log(np.zeros(x)).sum(), [3], threads)) == [-np.inf]


@pytest.mark.parametrize("threads", [1, 2])
def test_an_interrupt_is_heard_while_tasks_run_and_their_flag_is_raised(threads):
    begun, ended = threading.Event(), threading.Event()

    def task(_):
        begun.set()
        flag = stop_flag()
        while not flag[0]:
            time.sleep(0.001)
        ended.set()

    def interrupt():
        begun.wait()
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        list(in_threads(task, range(5), threads))
    assert ended.wait(60)
    assert stop_flag()[0] == 0


@pytest.mark.timeout(60)
@pytest.mark.parametrize("threads", [1, 2])
def test_so_is_one_that_does_not_wake_the_main_thread(threads):
    """As one that comes when it is about to wait: the signal has been noted, and no system call is cut short by it."""

    def task(_):
        flag = stop_flag()
        while not flag[0]:
            time.sleep(0.001)

    timer = threading.Timer(0.5, _thread.interrupt_main)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        list(in_threads(task, range(5), threads))
    timer.join()


def test_results_nobody_asks_for_any_more_are_not_computed():
    ended = threading.Event()

    def task(item):
        flag = stop_flag()
        while item and not flag[0]:
            time.sleep(0.001)
        if item:
            ended.set()
        return item

    results = in_threads(task, range(2), 2)
    assert next(results) == 0
    results.close()
    assert ended.wait(60)


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_is_raised_and_the_items_after_it_are_left_alone(threads):
    begun = []

    def task(item):
        begun.append(item)
        if item == 5:
            raise ArithmeticError("item 5")
        time.sleep(0.001)

    with pytest.raises(ArithmeticError, match="item 5"):
        list(in_threads(task, range(1000), threads))
    assert len(begun) < 50


@pytest.mark.parametrize("threads", [0, -1, 1025, 1.5, "2", True])
def test_impossible_numbers_of_threads_are_refused(threads):
    with pytest.raises(InputError, match=re.escape(f"{threads!r} threads were asked for")):
        list(in_threads(abs, [1], threads))
    assert thread_count(None) >= 1
