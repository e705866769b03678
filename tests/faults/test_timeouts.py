"""Timeouts that end: the process of a late step, its children, and what never keeps a program."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from late_threads import needs_late_threads
from waiting import is_gone

from dotflow import Config, DotFlow, action
from dotflow.core.attempt import Attempt
from dotflow.providers import ExecutorLocal, LogDefault

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dotflow import Task

ROOT = Path(__file__).parents[2]
TIMEOUT = 0.6
# Long enough to begin a process even on a busy machine.
PATIENT_TIMEOUT = 2.0


@pytest.fixture
def executor() -> Iterator[ExecutorLocal]:
    """Return two workers of this test's own."""
    made = ExecutorLocal(workers=2)
    yield made
    made.close()


def run(executor: Any, *steps: Any) -> list[Task]:
    """Run steps at the same time."""
    log = LogDefault(output="file", path=os.devnull)
    flow = DotFlow(config=Config(log=log, executor=executor))
    flow.task.add(list(steps))
    flow.start(mode="parallel")
    return list(flow.result_task())


def noted(mark: Path, *processes: int) -> None:
    """Write down when a step began, and its processes."""
    beside = mark.with_suffix(".new")
    beside.write_text(" ".join(map(str, (time.time(), os.getpid(), *processes))), encoding="utf-8")
    beside.rename(mark)


def sleeps(mark: Path, timeout: float = TIMEOUT) -> Any:
    """Make a step with a child, both deaf to SIGTERM."""

    @action(timeout=timeout)
    def step() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen(["/bin/sh", "-c", "trap '' TERM; sleep 60; sleep 60"])
        noted(mark, child.pid)
        child.wait()

    return step


def waits_in_c(mark: Path) -> Any:
    """Make a step that lets no other thread of its process run."""

    @action(timeout=TIMEOUT)
    def step() -> None:
        import ctypes

        noted(mark)
        ctypes.PyDLL(None).sleep(60)

    return step


def has_a_pool(mark: Path) -> Any:
    """Make a step with processes of `multiprocessing`."""

    @action(timeout=TIMEOUT)
    def step() -> None:
        import multiprocessing

        with multiprocessing.get_context("fork").Pool(2) as pool:
            noted(mark, *pool.map(pid_after, [0.01] * 4))
            pool.map(pid_after, [60, 60])

    return step


def pid_after(seconds: float) -> int:
    """Notify the process, after some time."""
    time.sleep(seconds)
    return os.getpid()


def is_not_pickled(mark: Path) -> Any:
    """Make a step whose result takes for ever to pickle."""

    class Slow:
        def __reduce__(self) -> Any:
            time.sleep(60)

    @action(timeout=TIMEOUT)
    def step() -> Any:
        noted(mark)
        return Slow()

    return step


def blocks_its_loop(mark: Path) -> Any:
    """Make a coroutine that cannot be cancelled, because it awaits nothing."""

    @action(timeout=TIMEOUT)
    async def step() -> None:
        noted(mark)
        time.sleep(60)  # noqa: ASYNC251 - that is the point

    return step


def will_not_be_cancelled(mark: Path) -> Any:
    """Make a coroutine that goes on after it was cancelled, with a child."""

    @action(timeout=TIMEOUT)
    async def step() -> None:
        import asyncio

        child = await asyncio.create_subprocess_exec("sleep", "60")
        noted(mark, child.pid)
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                continue

    return step


LATE = [sleeps, waits_in_c, has_a_pool, is_not_pickled, blocks_its_loop, will_not_be_cancelled]


@pytest.mark.parametrize("late", LATE)
def test_a_late_step_is_gone_within_a_second(
    late: Any, executor: ExecutorLocal, tmp_path: Path
) -> None:
    """Its process and those that it started end, whatever it does; the run goes on."""
    mark = tmp_path / "mark"

    @action
    def quick() -> int:
        return 1

    run(executor, quick, quick)  # so no worker has yet to start
    failed, *others = run(executor, late(mark), quick, quick)
    began, *processes = mark.read_text(encoding="utf-8").split()
    while not all(is_gone(int(process)) for process in processes):
        assert time.time() - float(began) < TIMEOUT + 1
    assert time.time() - float(began) < TIMEOUT + 1
    assert (failed.status, failed.errors[0].exception) == ("Failed", "TimeoutError")
    assert failed.failure is not None
    assert failed.failure.kind == "timeout"
    assert failed.duration == pytest.approx(TIMEOUT, abs=0.9)
    assert [task.status for task in others] == ["Completed"] * 2


@pytest.mark.parametrize("seconds", [30 * 86_400, threading.TIMEOUT_MAX])
def test_a_time_too_long_for_the_system_to_wait(seconds: float, executor: ExecutorLocal) -> None:
    """A timeout, and a wait for a retry, may be longer than a system's call can wait for."""

    @action(timeout=seconds)
    def step() -> int:
        return 1

    assert [task.status for task in run(executor, step)] == ["Completed"]
    session = executor.session()
    session.submit(1, Attempt(step, "step", "id", None, None, 0))
    ((ticket, outcome),) = session.wait(seconds)
    session.close()
    assert (ticket, outcome.value) == (1, 1)


def test_a_late_result_is_late_also_for_a_busy_run(executor: ExecutorLocal) -> None:
    """A step that ended after its timeout has timed out, whenever the run looks."""

    @action
    def quick() -> int:
        return 1

    @action(timeout=TIMEOUT)
    def late() -> int:
        time.sleep(2 * TIMEOUT)
        return 1

    log = LogDefault(output="file", path=os.devnull)
    flow = DotFlow(config=Config(log=log, executor=executor))
    flow.task.add(late)
    flow.task.add(quick, callback=lambda task: time.sleep(3 * TIMEOUT))
    flow.start(mode="parallel")
    failed, completed = flow.result_task()
    assert (failed.status, completed.status) == ("Failed", "Completed")
    assert failed.failure is not None
    assert failed.failure.kind == "timeout"


def test_a_late_step_is_gone_though_the_run_is_busy(
    executor: ExecutorLocal, tmp_path: Path
) -> None:
    """Its worker ends itself with its children, while a callback keeps the run."""
    mark = tmp_path / "mark"
    gone_after: list[float] = []

    @action
    def quick() -> int:
        until = time.monotonic() + 30
        while not mark.exists():
            assert time.monotonic() < until
            time.sleep(0.01)
        return 1

    def keep(task: Task) -> None:
        began, *processes = mark.read_text(encoding="utf-8").split()
        while not all(is_gone(int(process)) for process in processes):
            assert time.time() - float(began) < 10
            time.sleep(0.01)
        gone_after.append(time.time() - float(began))

    log = LogDefault(output="file", path=os.devnull)
    flow = DotFlow(config=Config(log=log, executor=executor))
    flow.task.add(sleeps(mark, PATIENT_TIMEOUT))
    flow.task.add(quick, callback=keep)
    flow.start(mode="parallel")
    failed, completed = flow.result_task()
    assert (failed.status, completed.status) == ("Failed", "Completed")
    assert failed.failure is not None
    assert (failed.failure.kind, failed.errors[0].exception) == ("timeout", "TimeoutError")
    assert gone_after[0] < PATIENT_TIMEOUT + 1


def test_a_result_on_its_way_is_not_late(executor: ExecutorLocal) -> None:
    """However long the run lets a large one wait, the step has ended in time."""

    @action
    def quick() -> int:
        time.sleep(0.1)
        return 1

    @action(timeout=TIMEOUT)
    def large() -> bytes:
        return bytes(30_000_000)

    log = LogDefault(output="file", path=os.devnull)
    flow = DotFlow(config=Config(log=log, executor=executor))
    flow.task.add(large)
    flow.task.add(quick, callback=lambda task: time.sleep(4 * TIMEOUT))
    flow.start(mode="parallel")
    assert [task.status for task in flow.result_task()] == ["Completed"] * 2


PROGRAM = """
import asyncio, os, sys, time
from concurrent.futures import ThreadPoolExecutor
from threading import Thread
from dotflow import Config, DotFlow, action
from dotflow.providers import LogDefault

@action(timeout=0.1)
def slow():
    time.sleep(60)

@action(timeout=0.1)
async def slow_async():
    await asyncio.sleep(60)

@action(timeout=0.1)
async def deaf():
    time.sleep(60)

def start(executor=None, mode="parallel"):
    log = LogDefault(output="file", path=os.devnull)
    flow = DotFlow(config=Config(log=log, executor=executor))
    flow.task.add([slow, slow_async, deaf])
    flow.start(mode=mode, keep_going=True)
    print(*[task.errors[-1].exception for task in flow.result_task()], flush=True)

async def within_a_loop():
    start(mode="sequential")
"""

ENDINGS = {
    "sequential": "start(mode='sequential')",
    "within a loop": "asyncio.run(within_a_loop())",
    "threads": "start(ThreadPoolExecutor(2))",
    "threads of a context manager": "with ThreadPoolExecutor(2) as pool: start(pool)",
    "a thread": "Thread(target=start, args=(None, 'sequential')).start()",
}


def program(source: str, folder: Path) -> tuple[str, float]:
    """Run a program; give what it printed, and how long it took to end after that."""
    path = folder / "program.py"
    path.write_text(PROGRAM + source, encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, path],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with process.stdout:
        printed = process.stdout.readline()
        began = time.monotonic()
        assert process.wait(20) == 0
    return printed, time.monotonic() - began


@needs_late_threads
@pytest.mark.parametrize("source", ENDINGS.values(), ids=ENDINGS.keys())
def test_an_abandoned_step_keeps_no_program(source: str, tmp_path: Path) -> None:
    """A program ends at once, though steps in threads of it are late and sleep on."""
    printed, seconds = program(source, tmp_path)
    assert printed.split() == ["TimeoutError"] * 3
    assert seconds < 10


def test_what_a_step_gave_to_a_pool_is_waited_for(tmp_path: Path) -> None:
    """Python joins the threads of pools that steps made themselves, as the README says."""
    source = """
@action(timeout=0.1)
def pooled():
    ThreadPoolExecutor(1).submit(time.sleep, 3).result()

slow = slow_async = deaf = pooled
start(mode="sequential")
"""
    printed, seconds = program(source, tmp_path)
    assert printed.split() == ["TimeoutError"] * 3
    assert 0.5 < seconds < 15
