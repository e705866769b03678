"""Waits that are suspended, interrupted, or outrun by those that end them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from queue import Empty
from typing import TYPE_CHECKING

import pytest
from nested_runs import within_bounds

from dotflow.core import timing
from dotflow.core.timing import Latch, TimedQueue
from dotflow.providers import ExecutorFutures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def test_items_come_in_their_order() -> None:
    """Each once; what is there needs no time."""
    queue: TimedQueue[int] = TimedQueue()
    for number in range(3):
        queue.put(number)
    assert [queue.get(), queue.get(0), queue.get(1)] == [0, 1, 2]
    with pytest.raises(Empty):
        queue.get(0)


@pytest.mark.parametrize("late", [0.0, 1e-9, 1.0, 1e6])
def test_a_reader_that_was_suspended_is_late(monkeypatch: pytest.MonkeyPatch, late: float) -> None:
    """However long that was, it finds the queue empty and returns."""
    queue: TimedQueue[int] = TimedQueue()
    times = iter([0.0, 0.001, *[0.005 + late] * 10])
    monkeypatch.setattr(timing, "monotonic", lambda: next(times))

    def get() -> None:
        with pytest.raises(Empty):
            queue.get(0.005)

    within_bounds(get)


def test_a_reader_that_was_suspended_gets_what_came_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its time is over, but the item is there."""
    queue: TimedQueue[int] = TimedQueue()

    def suspended() -> float:
        queue.put(1)
        return 1e6

    clocks: Iterator[Callable[[], float]] = iter([lambda: 0.0, suspended, lambda: 1e6])

    def now() -> float:
        return next(clocks)()

    monkeypatch.setattr(timing, "monotonic", now)
    assert queue.get(0.005) == 1


def test_short_waits_end() -> None:
    """Those of a run on a thread pool, which looks every few milliseconds whether it is needed.

    As short as the system takes to begin one, a wait is late as one is that was suspended.
    """

    def wait_often() -> None:
        with ThreadPoolExecutor(1) as pool:
            executor = ExecutorFutures(pool)
            for _ in range(10_000):
                assert executor.session().wait(5e-6) == []

    within_bounds(wait_often)


def test_a_put_wakes_the_reader() -> None:
    """From any number of threads, none is lost."""
    queue: TimedQueue[int] = TimedQueue()
    threads = [
        threading.Thread(target=lambda: [queue.put(1) for _ in range(1000)], daemon=True)
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    total = within_bounds(lambda: sum(queue.get() for _ in range(4000)))
    assert total == 4000
    with pytest.raises(Empty):
        queue.get(0.001)


def test_a_latch_stays_open() -> None:
    """Whoever waits before or after it opens goes on, however often it is opened."""
    latch = Latch()
    assert (latch.wait(0), latch.is_open) == (False, False)
    with ThreadPoolExecutor(3) as threads:
        waiting_for_it = [threads.submit(latch.wait, 20) for _ in range(3)]
        latch.open()
        assert [each.result(20) for each in waiting_for_it] == [True] * 3
    latch.open()
    assert (latch.wait(), latch.wait(0), latch.is_open) == (True, True, True)
