"""Runs that a step or a callback starts, on the very executor of the run around them."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from nested_runs import PATIENCE, flow_on, within_bounds

from dotflow import DotFlow, action
from dotflow.providers import ExecutorFutures, ExecutorLocal

if TYPE_CHECKING:
    from collections.abc import Callable

    from dotflow import Task


def nested(pool: object, depth: int, timeout: float = 0) -> Any:
    """Return a step that starts a run of three steps like it, down to some depth."""

    @action(timeout=timeout)
    def step() -> int:
        if not depth:
            return 1
        flow = flow_on(pool, *[nested(pool, depth - 1, timeout)] * 3)
        flow.start(mode="parallel")
        return sum(flow.result_storage())

    return step


@pytest.mark.parametrize("timeout", [0, PATIENCE])
@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_nested_runs_end(threads: int, depth: int, timeout: float) -> None:
    """However few threads there are, and though a timeout has each step in one of its own."""
    with ThreadPoolExecutor(threads) as pool:
        flow = flow_on(pool, *[nested(pool, depth, timeout)] * 2)
        within_bounds(lambda: flow.start(mode="parallel"))
    assert flow.result_storage() == [3**depth] * 2


def test_another_wrapper_of_the_same_pool() -> None:
    """It is the pool that counts."""
    with ThreadPoolExecutor(1) as pool:
        inner = nested(ExecutorFutures(pool, in_flight=1), 2)
        flow = flow_on(ExecutorFutures(pool), inner)
        within_bounds(lambda: flow.start(mode="parallel"))
    assert flow.result_storage() == [9]


def test_pools_in_turn() -> None:
    """A pool whose thread waits for another one's, whose thread needs the first."""
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:

        @action
        def on_other() -> int:
            flow = flow_on(other, nested(one, 1))
            flow.start(mode="parallel")
            return int(flow.result_storage()[0])

        flow = flow_on(one, on_other)
        within_bounds(lambda: flow.start(mode="parallel"))
    assert flow.result_storage() == [3]


def test_a_run_that_was_given_to_the_pool() -> None:
    """The run itself has the only thread, and runs its steps there."""
    with ThreadPoolExecutor(1) as pool:
        flow = flow_on(pool, *[nested(pool, 1)] * 2)
        pool.submit(flow.start, mode="parallel").result(PATIENCE)
    assert flow.result_storage() == [3, 3]


def test_threads_that_are_free_are_used() -> None:
    """Where there are enough of them, the steps of a nested run run at the same time."""
    together = threading.Barrier(3)

    @action
    def meets() -> int:
        together.wait(PATIENCE)
        return 1

    with ThreadPoolExecutor(4) as pool:

        @action
        def outer() -> int:
            flow = flow_on(pool, meets, meets, meets)
            flow.start(mode="parallel")
            return sum(flow.result_storage())

        flow = flow_on(pool, outer)
        within_bounds(lambda: flow.start(mode="parallel"))
    assert flow.result_storage() == [3]


def test_all_else_is_as_in_other_runs() -> None:
    """Failures, retries, delays, timeouts and results of steps that ran in the waiting thread."""
    calls: list[float] = []
    over = threading.Event()

    @action(retry=2, retry_delay=0.2)
    def flaky() -> str:
        calls.append(time.monotonic())
        if len(calls) == 1:
            raise ValueError("no")
        return "done"

    @action(timeout=0.1)
    def late() -> None:
        over.wait(PATIENCE)

    @action
    def exits() -> None:
        raise SystemExit(3)

    seen: list[Task] = []

    with ThreadPoolExecutor(1) as pool:

        @action
        def outer() -> None:
            flow = flow_on(pool, flaky, late, exits)
            flow.start(mode="parallel", keep_going=True)
            seen.extend(flow.result_task())

        within_bounds(lambda: flow_on(pool, outer).start(mode="parallel"))
        over.set()
    assert [task.status for task in seen] == ["Completed", "Failed", "Failed"]
    kinds = [task.failure and task.failure.kind for task in seen]
    assert kinds == [None, "timeout", "error"]
    assert seen[0].current_context.storage == "done"
    assert calls[1] - calls[0] >= 0.2


@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_in_a_callback_in_processes(workers: int) -> None:
    """Its workers are lent beyond the size of the pool: those of the run around it wait."""
    results: list[Any] = []

    @action
    def one() -> int:
        return 1

    def again(depth: int) -> Callable[..., None]:
        def callback(task: Task) -> None:
            flow = DotFlow(config=task.config)
            for _ in range(3):
                if depth:
                    flow.task.add(one, callback=again(depth - 1))
                else:
                    flow.task.add(one)
            flow.start(mode="parallel")
            results.append(sum(flow.result_storage()))

        return callback

    executor = ExecutorLocal(workers=workers)
    try:
        flow = flow_on(executor)
        flow.task.add(one, callback=again(1))
        flow.task.add(one)
        flow.task.add(one)
        within_bounds(lambda: flow.start(mode="parallel"))
        assert executor.pool is not None
        live, lent = executor.pool.counts()
    finally:
        executor.close()
    assert flow.result_storage() == [1, 1, 1]
    assert results == [3, 3, 3, 3]
    assert live <= workers
    assert lent == 0
