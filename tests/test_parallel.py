"""Threads: results in order, bounded memory however many items, nothing left running after an error."""

import threading
import time

import pytest

from deeplim.errors import InputError
from deeplim.parallel import in_threads, thread_count


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


def test_one_thread_is_the_callers_own():
    assert list(in_threads(lambda _: threading.get_ident(), range(3), 1)) == [threading.get_ident()] * 3
    assert threading.get_ident() not in list(in_threads(lambda _: threading.get_ident(), range(3), 2))


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


@pytest.mark.parametrize("threads", [0, -1, 1025])
def test_impossible_numbers_of_threads_are_refused(threads):
    with pytest.raises(InputError, match=f"{threads} threads were asked for"):
        list(in_threads(abs, [1], threads))
    assert thread_count(None) >= 1
