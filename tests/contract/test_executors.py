"""The same run on every executor: local workers, threads, processes, a Dask cluster."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import sys
import threading
import time
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from dotflow import Config, DotFlow, action
from dotflow.core.exception import InvalidOption, NotCallableObject
from dotflow.providers import ExecutorFutures


@action
def one() -> int:
    """Return 1."""
    return 1


@action
def doubled(previous_context: Any) -> int:
    """Return twice what came."""
    return int(previous_context.storage) * 2


@action
def broken() -> None:
    """Fail."""
    raise KeyError("no such thing")


@action(retry=3, retry_delay=0.1, backoff=True)
def always_broken() -> None:
    """Fail each time."""
    raise ValueError("again")


@action(timeout=0.2)
def slow() -> None:
    """Take longer than allowed."""
    time.sleep(20)


@action(timeout=0.2)
async def slow_coroutine(initial_context: Any) -> None:
    """Take longer than allowed, and note how that ends."""
    try:
        await asyncio.sleep(20)
    except asyncio.CancelledError:
        Path(initial_context.storage).write_text("cancelled", encoding="utf-8")  # noqa: ASYNC240
        raise


@action
def repeated(initial_context: Any) -> bytes:
    """Return what came, and as much again."""
    return bytes(initial_context.storage) * 2


@action
def unpicklable() -> Any:
    """Return what cannot travel."""
    return threading.Lock()


@action
def killed() -> None:
    """Kill the process that runs this."""
    os.kill(os.getpid(), signal.SIGKILL)


def _run(executor: Any, *steps: Any, keep_going: bool = False, group: bool = True) -> DotFlow:
    flow = DotFlow(config=Config(executor=executor), name="work")
    for index, step in enumerate(steps):
        # Two groups, so that a group is a chain.
        flow.task.add(step, group_name="first" if group else f"group {index}")
    flow.task.add(one, group_name="other")
    flow.start(mode="parallel", keep_going=keep_going)
    return flow


def test_results_and_contexts_go_from_task_to_task(executor: Any) -> None:
    """A chain hands its contexts on, wherever its attempts run."""
    flow = _run(executor, one, doubled, doubled)
    tasks = flow.task.queue
    assert [task.status for task in tasks] == ["Completed"] * 4
    assert [task.current_context.storage for task in tasks] == [1, 2, 4, 1]


def test_a_failed_step_tells_its_own_exception(executor: Any) -> None:
    """The failure is the step's, ends its chain, and touches no other."""
    tasks = _run(executor, broken, one).task.queue
    assert [task.status for task in tasks] == ["Failed", "Not started", "Completed"]
    assert isinstance(tasks[0].failure.exception, KeyError)
    assert tasks[0].failure.error_type == "KeyError"


def test_keep_going_runs_what_follows_a_failure(executor: Any) -> None:
    """With `keep_going` the successor of a failed task runs."""
    tasks = _run(executor, broken, one, keep_going=True).task.queue
    assert [task.status for task in tasks] == ["Failed", "Completed", "Completed"]


def test_a_failing_step_is_retried(executor: Any) -> None:
    """Each retry is an attempt of its own, and comes after its delay, which doubles."""
    task = _run(executor, always_broken).task.queue[0]
    assert [error.attempt for error in task.errors] == [1, 2, None]
    assert task.status == "Failed"
    assert task.duration >= 0.3


def test_a_timeout_lets_the_run_go_on(executor: Any) -> None:
    """Neither the run nor the next steps wait for steps that take too long."""
    began = time.monotonic()
    tasks = _run(executor, slow, slow, slow, group=False).task.queue
    assert time.monotonic() - began < 12
    assert [task.failure and task.failure.error_type for task in tasks] == ["timeout"] * 3 + [None]


def test_a_late_coroutine_is_cancelled(executor: Any, tmp_path: Path) -> None:
    """A coroutine is told of its timeout where it runs."""
    told = tmp_path / "told"
    flow = DotFlow(config=Config(executor=executor), name="work")
    flow.task.add(slow_coroutine, initial_context=str(told))
    flow.start(mode="parallel")
    assert flow.task.queue[0].failure.error_type == "timeout"
    assert told.read_text(encoding="utf-8") == "cancelled"


# Dask advises to have workers read large data themselves.
@pytest.mark.filterwarnings("ignore:Sending large graph:UserWarning")
def test_large_contexts_arrive(executor: Any) -> None:
    """20 MB go out whole, and 40 MB come back."""
    flow = DotFlow(config=Config(executor=executor), name="work")
    flow.task.add(repeated, initial_context=b"x" * 20_000_000)
    flow.start(mode="parallel")
    assert len(flow.task.queue[0].current_context.storage) == 40_000_000


def test_what_cannot_travel_is_an_error_of_other_processes(executor: Any) -> None:
    """Threads share their objects; for other processes the error names the step and the object."""
    result = _run(executor, unpicklable).task.queue[0]
    flow = DotFlow(config=Config(executor=executor), name="work")
    flow.task.add(repeated, initial_context=threading.Lock())
    flow.start(mode="parallel")
    given = flow.task.queue[0]
    if isinstance(executor, ThreadPoolExecutor):
        assert (result.status, given.failure.name) == ("Completed", "TypeError")
        return
    assert (result.failure.name, given.failure.name) == ("PicklingFailed", "PicklingFailed")
    assert "the result of step unpicklable (lock) cannot travel" in result.failure.message
    assert "the input of step repeated cannot travel" in given.failure.message


class _ExitsWhenRead:
    def __reduce__(self) -> tuple[Any, ...]:
        return sys.exit, (3,)


class _ExitsWhenPickled:
    def __reduce__(self) -> tuple[Any, ...]:
        raise SystemExit(4)


@action
def exits_when_pickled() -> Any:
    """Return what ends a program that pickles it."""
    return _ExitsWhenPickled()


def test_what_ends_a_program_on_its_way_ends_no_worker(executor: Any) -> None:
    """As a module of a step that exits when it is imported: it is an error of that attempt."""
    flow = DotFlow(config=Config(executor=executor), name="work")
    flow.task.add(repeated, initial_context=_ExitsWhenRead())
    flow.task.add(exits_when_pickled)
    flow.task.add(one)
    flow.start(mode="parallel")
    read, pickled, other = flow.task.queue
    assert other.status == "Completed"
    if isinstance(executor, ThreadPoolExecutor):
        assert (read.failure.name, pickled.status) == ("TypeError", "Completed")
        return
    told = [(it.failure.kind, it.failure.name, it.failure.message) for it in (read, pickled)]
    assert [each[:2] for each in told] == [("error", "PicklingFailed")] * 2
    assert "the input of step repeated cannot be read back" in told[0][2]
    assert "SystemExit: 3" in told[0][2]
    assert "SystemExit: 4" in told[1][2]


def test_a_broken_pool_is_a_lost_worker_and_no_hang() -> None:
    """Python's own pool fails everything once a process of it died; the run still ends."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as processes:
        task = _run(processes, killed).task.queue[0]
    assert task.status == "Failed"
    assert task.failure.error_type == "worker_lost"


class _Counting(Executor):
    def __init__(self) -> None:
        self.most = 0
        self._now = 0
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(4)

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        future = self._pool.submit(fn, *args, **kwargs)
        future.add_done_callback(self._left)
        return future

    def _left(self, _: Future[Any]) -> None:
        with self._lock:
            self._now -= 1

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._pool.shutdown(wait=wait, cancel_futures=cancel_futures)


def test_an_executor_never_has_more_attempts_than_it_may() -> None:
    """Of 500 chains at most 8 are with the executor at a time."""
    with _Counting() as counting:
        flow = DotFlow(config=Config(executor=ExecutorFutures(counting, in_flight=8)))
        for _ in range(500):
            flow.task.add(one)
        flow.start(mode="parallel")
    assert {task.status for task in flow.task.queue} == {"Completed"}
    assert 1 <= counting.most <= 8


def test_what_is_no_executor_is_refused() -> None:
    """The errors tell what may be given."""
    with pytest.raises(NotCallableObject, match=r"futures\.Executor \(with Dask Exec.*\), not 4\."):
        Config(executor=4)  # type: ignore[arg-type]
    with pytest.raises(InvalidOption, match="in_flight=0"):
        ExecutorFutures(ThreadPoolExecutor(1), in_flight=0)
