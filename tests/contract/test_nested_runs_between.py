"""Runs that wait for each other by way of threads that know nothing of it."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor, as_completed, wait
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import nested_runs
import pytest
from nested_runs import flow_on

from dotflow import Config, DotFlow, action
from dotflow.providers import ExecutorLocal, executor_futures
from dotflow.testing import RecordingLog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dotflow import Task

# Longer than any of these takes; what hangs is told by it, in seconds.
PATIENCE: Final = 90

within_bounds = partial(nested_runs.within_bounds, patience=PATIENCE)


def in_a_thread(call: Callable[[], object]) -> None:
    """Make a call in a thread, and wait for that."""
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join()


def in_a_thread_looked_at(call: Callable[[], object]) -> None:
    """Likewise, as programs do that want to hear of Ctrl-C."""
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.05)


def in_a_pool(call: Callable[[], object]) -> None:
    """Likewise, in one of an executor's."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(call).result()


def in_a_map(call: Callable[[], object]) -> None:
    """Likewise, as one of several."""
    with ThreadPoolExecutor(1) as pool:
        list(pool.map(lambda _: call(), [1]))


def by_wait(call: Callable[[], object]) -> None:
    """Likewise, by the function for several futures."""
    with ThreadPoolExecutor(1) as pool:
        wait([pool.submit(call)])


def as_it_completes(call: Callable[[], object]) -> None:
    """Likewise, by the other one."""
    with ThreadPoolExecutor(1) as pool:
        list(as_completed([pool.submit(call)]))


def run(call: Callable[[], object], *, timeout: float, mode: Any) -> None:
    """Make a call in a step of another workflow."""

    @action(timeout=timeout)
    def step() -> None:
        call()

    flow = DotFlow(config=Config(log=RecordingLog()))
    flow.task.add(step)
    manager = flow.start(mode=mode)
    if mode == "background":
        manager.thread.join()


def in_a_limit(call: Callable[[], object]) -> None:
    """Make a call under a timeout."""
    run(call, timeout=PATIENCE, mode="sequential")


def in_the_background(call: Callable[[], object]) -> None:
    """Make a call in a background run, and wait for that."""
    run(call, timeout=0, mode="background")


def in_all(call: Callable[[], object]) -> None:
    """Make a call in a background run with a timeout, begun in a thread."""
    in_a_thread(lambda: run(call, timeout=PATIENCE, mode="background"))


BETWEEN: Final = {
    each.__name__: each
    for each in (
        in_a_thread,
        in_a_thread_looked_at,
        in_a_pool,
        in_a_map,
        by_wait,
        as_it_completes,
        in_a_limit,
        in_the_background,
        in_all,
    )
}


def nested(pool: object, depth: int, between: Callable[[Callable[[], object]], None]) -> Any:
    """Return a step that starts a run of two steps like it, down to some depth."""

    @action
    def step() -> int:
        if not depth:
            return 1
        flow = flow_on(pool, *[nested(pool, depth - 1, between)] * 2)
        between(lambda: flow.start(mode="parallel"))
        return sum(flow.result_storage())

    return step


@pytest.fixture(params=[1, 2])
def pool(request: pytest.FixtureRequest) -> Iterator[ThreadPoolExecutor]:
    """Return a pool of so many threads, which is not waited for: they may hang."""
    made = ThreadPoolExecutor(request.param)
    yield made
    made.shutdown(wait=False, cancel_futures=True)


@pytest.mark.parametrize("depth", [2, 3])
@pytest.mark.parametrize("between", BETWEEN)
class TestOnOneThreadPool:
    """Its threads wait for what none of them is free to run."""

    def test_runs_of_steps(self, between: str, depth: int, pool: ThreadPoolExecutor) -> None:
        """The innermost ones run what is in line themselves."""
        flow = flow_on(pool, *[nested(pool, depth, BETWEEN[between])] * 2)
        within_bounds(lambda: flow.start(mode="parallel"))
        assert flow.result_storage() == [2**depth] * 2

    def test_a_run_that_was_given_to_the_pool(
        self, between: str, depth: int, pool: ThreadPoolExecutor
    ) -> None:
        """Nothing that the run begins tells that a thread of the pool waits for it."""
        flow = flow_on(pool, nested(pool, depth, BETWEEN[between]))
        pool.submit(BETWEEN[between], lambda: flow.start(mode="parallel")).result(PATIENCE)
        assert flow.result_storage() == [2**depth]


def test_two_pools_in_turn() -> None:
    """Neither has a thread that does not wait for the other one's."""
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:

        def steps(pool: object, beside: object, depth: int) -> Any:
            @action
            def step() -> int:
                if not depth:
                    return 1
                flow = flow_on(beside, *[steps(beside, pool, depth - 1)] * 2)
                in_a_thread(lambda: flow.start(mode="parallel"))
                return sum(flow.result_storage())

            return step

        flow = flow_on(one, steps(one, other, 4))
        within_bounds(lambda: flow.start(mode="parallel"))
    assert flow.result_storage() == [16]


def test_one_at_a_time_in_a_pool_of_one() -> None:
    """Also where three runs wait for its only thread, which waits for all of them."""
    at_work: list[int] = []
    most: list[int] = []

    @action
    def works() -> None:
        at_work.append(1)
        most.append(len(at_work))
        time.sleep(0.05)
        at_work.pop()

    with ThreadPoolExecutor(1) as pool:

        @action
        def outer() -> None:
            flows = [flow_on(pool, works, works) for _ in range(3)]
            starts = [lambda flow=flow: flow.start(mode="parallel") for flow in flows]
            threads = [threading.Thread(target=start, daemon=True) for start in starts]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        flow = flow_on(pool, outer)
        within_bounds(lambda: flow.start(mode="parallel"))
    assert most == [1] * 6


@pytest.mark.parametrize("between", ["in_a_thread", "in_a_limit", "in_the_background"])
def test_one_at_a_time_beside_another_run(between: str) -> None:
    """A run of another thread does not take the place of one that runs its steps itself."""
    at_work: list[int] = []
    most: list[int] = []

    @action
    def works() -> None:
        at_work.append(1)
        most.append(len(at_work))
        time.sleep(0.02)
        at_work.pop()

    with ThreadPoolExecutor(1) as pool:

        @action
        def outer() -> None:
            flow = flow_on(pool, *[works] * 10)
            BETWEEN[between](lambda: flow.start(mode="parallel"))

        flows = flow_on(pool, outer), flow_on(pool, *[works] * 10)
        threads = [
            threading.Thread(target=flow.start, kwargs={"mode": "parallel"}, daemon=True)
            for flow in flows
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
    assert most == [1] * 20


def sleeps(over: threading.Event) -> None:
    """Do something that is no wait for a thread."""
    while not over.is_set():
        time.sleep(0.01)


def in_a_thread_that_sleeps(over: threading.Event) -> None:
    """Wait for a thread that goes on."""
    in_a_thread(lambda: sleeps(over))


def in_a_pool_that_sleeps(over: threading.Event) -> None:
    """Wait for threads that go on, one of which has not begun."""
    with ThreadPoolExecutor(1) as pool:
        list(pool.map(lambda _: sleeps(over), range(2)))


def in_a_limit_that_sleeps(over: threading.Event) -> None:
    """Wait for a step under a timeout."""
    in_a_limit(lambda: sleeps(over))


def for_an_event(over: threading.Event) -> None:
    """Wait for whoever sets it."""
    over.wait()


def for_a_process(over: threading.Event) -> None:
    """Wait for a future that no thread runs."""
    future: Future[None] = Future()
    future.set_running_or_notify_cancel()
    threading.Thread(target=lambda: (sleeps(over), future.set_result(None)), daemon=True).start()
    future.result()


@pytest.mark.parametrize(
    "busy",
    [
        sleeps,
        in_a_thread_that_sleeps,
        in_a_pool_that_sleeps,
        in_a_limit_that_sleeps,
        for_an_event,
        for_a_process,
    ],
)
def test_a_busy_pool_is_waited_for(busy: Callable[[threading.Event], None]) -> None:
    """A step that does not wait for the run is left to end, however long it takes."""
    began, over = threading.Event(), threading.Event()
    ran_in: list[threading.Thread] = []

    @action
    def first() -> None:
        began.set()
        busy(over)

    @action
    def second() -> None:
        ran_in.append(threading.current_thread())

    # Goes on, as threads of a server do; what waits for an event may wait for it.
    threading.Thread(target=sleeps, args=(over,), daemon=True).start()
    with ThreadPoolExecutor(1) as pool:
        flows = flow_on(pool, first), flow_on(pool, second)
        threads = [
            threading.Thread(target=flow.start, kwargs={"mode": "parallel"}, daemon=True)
            for flow in flows
        ]
        threads[0].start()
        assert began.wait(PATIENCE)
        threads[1].start()
        threads[1].join(executor_futures.DOUBT + 1)
        assert ran_in == []
        over.set()
        for thread in threads:
            thread.join(PATIENCE)
        assert ran_in == [pool.submit(threading.current_thread).result()]


def test_a_run_within_that_waits_for_a_retry_goes_on() -> None:
    """Its thread of the pool is not free, though it has nothing in the pool at that time."""
    failed = threading.Event()
    ran_in: list[threading.Thread] = []

    @action(retry=2, retry_delay=1.5)
    def flaky() -> None:
        if not failed.is_set():
            failed.set()
            raise ValueError

    @action
    def second() -> None:
        ran_in.append(threading.current_thread())

    with ThreadPoolExecutor(1) as pool:

        @action
        def first() -> None:
            flow_on(pool, flaky).start(mode="parallel")

        flows = flow_on(pool, first), flow_on(pool, second)
        threads = [
            threading.Thread(target=flow.start, kwargs={"mode": "parallel"}, daemon=True)
            for flow in flows
        ]
        threads[0].start()
        assert failed.wait(PATIENCE)
        threads[1].start()
        for thread in threads:
            thread.join(PATIENCE)
        assert ran_in == [pool.submit(threading.current_thread).result()]


def test_a_run_that_waits_very_long_warns(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Once; what keeps it waiting cannot be known."""
    monkeypatch.setattr(executor_futures, "LONG", 0.3)
    over = threading.Event()

    @action
    def second() -> None:
        """Come after the first."""

    with ThreadPoolExecutor(1) as pool, caplog.at_level(logging.WARNING, "dotflow"):
        pool.submit(sleeps, over)
        flow = flow_on(pool, second)
        thread = threading.Thread(target=lambda: flow.start(mode="parallel"), daemon=True)
        thread.start()
        thread.join(1.5)
        assert thread.is_alive()
        over.set()
        thread.join(PATIENCE)
    (record,) = caplog.records
    assert record.getMessage() == (
        "step second has waited 0 s for a thread of its ThreadPoolExecutor. If a step in one of "
        "these threads waits for this run, neither ever ends: give one of the workflows a pool of "
        "its own, Config(executor=ThreadPoolExecutor()), or have the step wait in Thread.join or "
        "Future.result"
    )


UNKNOWN: Final = """
import asyncio, sys, threading
from concurrent.futures import ThreadPoolExecutor
from dotflow import Config, DotFlow, action
from dotflow.testing import RecordingLog

def by_event(call):
    ended = threading.Event()
    threading.Thread(target=lambda: (call(), ended.set()), daemon=True).start()
    ended.wait()

def by_loop(call):
    async def wait():
        await asyncio.get_running_loop().run_in_executor(None, call)
    asyncio.run(wait())

between = {"event": by_event, "loop": by_loop}[sys.argv[1]]

def nested(pool, depth):
    @action
    def step():
        if not depth:
            return 1
        flow = DotFlow(config=Config(log=RecordingLog(), executor=pool))
        flow.task.add([nested(pool, depth - 1)] * 2)
        between(lambda: flow.start(mode="parallel"))
        return sum(flow.result_storage())
    return step

pool = ThreadPoolExecutor(1)
flow = DotFlow(config=Config(log=RecordingLog(), executor=pool))
flow.task.add(nested(pool, 2))
flow.start(mode="parallel")
print(flow.result_storage())
"""


@pytest.mark.parametrize("between", ["event", "loop"])
def test_a_wait_for_anything(between: str) -> None:
    """Where no thread of the process goes on, nothing will end it but the run."""
    program = [sys.executable, "-c", UNKNOWN, between]
    done = subprocess.run(program, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.stdout, done.stderr) == ("[4]\n", "")


@action
def one() -> int:
    """Return 1."""
    return 1


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("between", ["in_a_thread", "in_a_pool", "in_all"])
@pytest.mark.parametrize("of", ["task", "workflow"])
def test_a_run_in_a_callback_in_processes(of: str, between: str, workers: int) -> None:
    """What stands still with the run around it does not count, whoever asks for a worker."""
    results: list[Any] = []
    executor = ExecutorLocal(workers=workers)

    def start(callback: Any, **options: Any) -> DotFlow:
        flow = flow_on(executor)
        flow.task.add([one] * 3) if callback is None else flow.task.add([one] * 3, callback)
        flow.start(mode="parallel", **options)
        return flow

    def inner(task: Task) -> None:
        assert task.status == "Completed"
        BETWEEN[between](lambda: results.append(start(None).result_storage()))

    def outer(**_: object) -> None:
        BETWEEN[between](lambda: results.append(start(inner).result_storage()))

    try:
        if of == "task":
            within_bounds(lambda: start(inner))
        else:
            within_bounds(lambda: start(None, on_success=outer))
        assert executor.pool is not None
        live, lent = executor.pool.counts()
    finally:
        executor.close()
    assert results == [[1, 1, 1]] * (3 if of == "task" else 4)
    assert live <= workers
    assert lent == 0


@action
def times() -> tuple[float, float]:
    """Return when it began and when it ended."""
    began = time.monotonic()
    time.sleep(0.2)
    return began, time.monotonic()


@pytest.mark.parametrize("workers", [1, 2])
def test_no_more_attempts_run_at_a_time(workers: int) -> None:
    """A run that gets a worker beside those of one in a callback has the place of one of them."""
    executor = ExecutorLocal(workers=workers)
    in_callback = threading.Event()

    def callback(task: Task) -> None:
        assert task.status == "Completed"
        in_callback.set()
        time.sleep(0.7)

    flows = flow_on(executor), flow_on(executor, *[times] * 6)
    flows[0].task.add([times] * 4, callback)
    try:
        threads = [
            threading.Thread(target=flow.start, kwargs={"mode": "parallel"}, daemon=True)
            for flow in flows
        ]
        threads[0].start()
        assert in_callback.wait(PATIENCE)
        threads[1].start()
        for thread in threads:
            thread.join(PATIENCE)
        assert executor.pool is not None
        live, lent = executor.pool.counts()
    finally:
        executor.close()
    spans = [span for flow in flows for span in flow.result_storage()]
    assert len(spans) == 10
    running = [sum(one <= began < end for one, end in spans) for began, _ in spans]
    assert max(running) <= workers
    assert (live <= workers, lent) == (True, 0)
