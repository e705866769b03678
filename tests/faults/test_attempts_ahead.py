"""Attempts that wait in a worker behind another one: nothing is lost, and nobody waits for long."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from waiting import wait_for

from dotflow import Config, Context, DotFlow, Task, action
from dotflow.providers import ExecutorLocal, LogDefault
from dotflow.workers.ahead import MOST

if TYPE_CHECKING:
    from collections.abc import Iterator

    from figures import Figures

BEFORE = 40  # brief ones, so that the next ones are sent ahead


@pytest.fixture
def two() -> Iterator[ExecutorLocal]:
    """Return two workers of this test's own."""
    made = ExecutorLocal(workers=2)
    yield made
    made.close()


def flow_on(executor: ExecutorLocal) -> DotFlow:
    """Return a workflow that logs nowhere."""
    log = LogDefault(output="file", path=os.devnull)
    return DotFlow(config=Config(log=log, executor=executor))


def note(initial_context: Context, what: object = "ran") -> None:
    """Write down that a step ran."""
    folder, name = initial_context.storage
    with Path(folder, "ran").open("a") as file:
        file.write(f"{name} {what}\n")


def noted(folder: Path) -> list[str]:
    """Return the lines that steps wrote."""
    return (folder / "ran").read_text().splitlines()


@action
def brief(initial_context: Context) -> None:
    """End at once."""
    note(initial_context)


@action
def waits(initial_context: Context) -> None:
    """Wait for a file."""
    note(initial_context, os.getpid())
    wait_for((Path(initial_context.storage[0]) / "go").exists)


@action
def dies(initial_context: Context) -> None:
    """Be killed."""
    note(initial_context)
    os.kill(os.getpid(), signal.SIGKILL)


@action(timeout=0.2)
def late(initial_context: Context) -> None:
    """Take too long."""
    note(initial_context)
    time.sleep(60)


def test_no_one_waits_behind_a_long_one(two: ExecutorLocal, tmp_path: Path) -> None:
    """What was sent ahead to a worker whose step turns out to be long runs in the other one."""
    flow = flow_on(two)
    ended = threading.Event()

    def count(task: Task) -> None:
        tasks = flow.result_task()
        if sum(each.status == "Completed" for each in tasks) == len(tasks) - 1:
            ended.set()
            (tmp_path / "go").touch()

    steps = [brief] * BEFORE + [waits] + [brief] * 60
    for number, step in enumerate(steps):
        flow.task.add(step, initial_context=(str(tmp_path), number), callback=count)
    flow.start(mode="parallel")
    assert ended.is_set()
    assert {task.status for task in flow.result_task()} == {"Completed"}
    assert sorted(int(line.split()[0]) for line in noted(tmp_path)) == list(range(len(steps)))


def test_only_the_one_that_ran_is_lost(
    two: ExecutorLocal, tmp_path: Path, figures: Figures
) -> None:
    """Of a worker that is killed the attempt that it ran fails; those that waited run elsewhere."""
    flow = flow_on(two)
    steps = [brief] * BEFORE + [dies, *[brief] * 30] * 5
    for number, step in enumerate(steps):
        flow.task.add(step, initial_context=(str(tmp_path), number))
    flow.start(mode="parallel")
    tasks = flow.result_task()
    assert Counter(task.status for task in tasks) == {"Completed": len(steps) - 5, "Failed": 5}
    assert [task.name for task in tasks if task.status == "Failed"] == ["dies"] * 5
    for task in tasks:
        if task.name == "dies":
            assert "was killed by SIGKILL while it ran dies" in task.errors[0].message
    ran = Counter(line.split()[0] for line in noted(tmp_path))
    assert ran == dict.fromkeys(map(str, range(len(steps))), 1)
    figures.add("kills survived", 5)
    figures.add("double runs", sum(ran.values()) - len(steps))


def test_killed_from_outside(two: ExecutorLocal, tmp_path: Path, figures: Figures) -> None:
    """Whenever a worker is killed that has some waiting, each step runs once, or fails once begun.

    A step that was begun is never begun again.
    """
    flow = flow_on(two)
    count, kills = 1_500, 0

    def kill(task: Task) -> None:
        # Now and then, whichever it is, whatever it does; and all that has been sent ahead to it.
        nonlocal kills
        if int(task.initial_context.storage[1]) % 70 == 69 and two.pool is not None:
            worker = next(iter(two.pool.leased))
            with suppress(ProcessLookupError):
                os.kill(worker.pid, signal.SIGKILL)
                kills += 1

    for number in range(count):
        flow.task.add(brief, initial_context=(str(tmp_path), number), callback=kill)
    flow.start(mode="parallel")
    statuses = Counter(task.status for task in flow.result_task())
    assert statuses["Completed"] + statuses["Failed"] == count
    ran = Counter(int(line.split()[0]) for line in noted(tmp_path))
    assert max(ran.values()) == 1
    for number, task in enumerate(flow.result_task()):
        if task.status == "Completed":
            assert ran[number] == 1
        else:
            assert task.errors[0].exception == "WorkerLost"
    assert kills > 10
    figures.add("kills survived", kills)
    figures.add("double runs", sum(each - 1 for each in ran.values()))


def test_a_late_one_costs_no_other(two: ExecutorLocal, tmp_path: Path) -> None:
    """A step that is too late is ended with its worker; what waited behind it runs elsewhere."""
    flow = flow_on(two)
    steps = [brief] * BEFORE + [late] + [brief] * 40 + [late] + [brief] * 40
    for number, step in enumerate(steps):
        flow.task.add(step, initial_context=(str(tmp_path), number))
    flow.start(mode="parallel")
    failed = [task for task in flow.result_task() if task.status == "Failed"]
    assert [(task.name, task.errors[0].exception) for task in failed] == [
        ("late", "TimeoutError")
    ] * 2
    ran = Counter(line.split()[0] for line in noted(tmp_path))
    assert ran == dict.fromkeys(map(str, range(len(steps))), 1)


def test_another_run_gets_its_turn(tmp_path: Path) -> None:
    """A run that comes while one has all workers, with many ahead, waits for one attempt or two."""
    executor = ExecutorLocal(workers=1)
    begun, most = threading.Event(), 0
    long = flow_on(executor)
    for number in range(2_000):
        long.task.add(
            brief, initial_context=(str(tmp_path), number), callback=lambda task: begun.set()
        )
    thread = threading.Thread(target=lambda: long.start(mode="parallel"))
    thread.start()
    assert begun.wait(10)
    for _ in range(5):
        short = flow_on(executor)
        short.task.add(brief, initial_context=(str(tmp_path), "short"))
        before = sum(task.status == "Completed" for task in long.result_task())
        short.start(mode="parallel")
        between = sum(task.status == "Completed" for task in long.result_task()) - before
        most = max(most, between)
    assert thread.is_alive()
    thread.join()
    executor.close()
    assert {task.status for task in long.result_task()} == {"Completed"}
    assert most < 200
    assert len(noted(tmp_path)) == 2_005


def test_no_more_than_that_many_wait(two: ExecutorLocal, tmp_path: Path) -> None:
    """Tasks in progress are those that run, wait behind them, or have just ended; no more."""
    flow = flow_on(two)
    most = 0

    def count(task: Task) -> None:
        nonlocal most
        most = max(most, sum(each.status == "In progress" for each in flow.result_task()))

    for number in range(300):
        flow.task.add(brief, initial_context=(str(tmp_path), number), callback=count)
    flow.start(mode="parallel")
    assert 2 <= most <= 2 * 2 * (1 + MOST)
