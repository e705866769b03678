"""The caller's context variables, which a step finds wherever it runs in this process."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import pytest

from dotflow import Config, DotFlow, action
from dotflow.abc.scheduler import Tick
from dotflow.providers import ExecutorFutures, SchedulerCron
from dotflow.providers.scheduled_runs import Jobs, Overlap

if TYPE_CHECKING:
    from collections.abc import Iterator

tenant: ContextVar[str] = ContextVar("tenant", default="nobody")


@pytest.fixture(autouse=True)
def _tenant() -> Iterator[None]:
    token = tenant.set("caller")
    yield
    tenant.reset(token)


def step_of(kind: str, timeout: float) -> Any:
    """Return a step that returns the tenant and then sets another."""

    def change() -> str:
        found = tenant.get()
        tenant.set("step")
        return found

    async def change_later() -> str:
        await asyncio.sleep(0)
        return change()

    return action(timeout=timeout)(change if kind == "function" else change_later)


@pytest.mark.parametrize("timeout", [0, 60])
@pytest.mark.parametrize("kind", ["function", "coroutine"])
def test_in_a_thread_pool(kind: str, timeout: float, quiet: Config) -> None:
    """Each step has the caller's, and what one sets there neither the next one nor the caller."""
    with ThreadPoolExecutor(1) as pool:
        quiet.executor = ExecutorFutures(pool)
        flow = DotFlow(config=quiet)
        flow.task.add([step_of(kind, timeout)] * 3)
        flow.start(mode="parallel")
        flow.task.add(step_of(kind, timeout))
        tenant.set("a later caller")
        flow.start(mode="parallel")
    assert flow.result_storage() == ["a later caller"] * 4
    assert tenant.get() == "a later caller"


def test_each_run_has_its_callers(quiet: Config) -> None:
    """Of two callers of one thread pool each has its own, whichever thread is free."""
    results: dict[str, list[Any]] = {}

    with ThreadPoolExecutor(2) as pool:
        quiet.executor = ExecutorFutures(pool)

        def run(name: str) -> None:
            tenant.set(name)
            flow = DotFlow(config=quiet)
            flow.task.add([step_of("function", 0)] * 5)
            flow.start(mode="parallel")
            results[name] = flow.result_storage()

        callers = [threading.Thread(target=run, args=(name,)) for name in ("one", "other")]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join(60)
    assert results == {"one": ["one"] * 5, "other": ["other"] * 5}


def test_in_the_background(quiet: Config) -> None:
    """A run in the background has those of its caller at the start."""
    flow = DotFlow(config=quiet)
    flow.task.add(step_of("function", 0))
    thread = flow.start(mode="background").thread
    tenant.set("later")
    thread.join(60)
    assert flow.result_storage() == ["caller"]


def test_at_the_ticks_of_a_schedule() -> None:
    """Each tick has those of whoever started the schedule."""
    pytest.importorskip("croniter")
    scheduler = SchedulerCron("* * * * * *")
    found: list[str] = []

    def workflow() -> None:
        found.append(tenant.get())
        tenant.set("tick")
        if len(found) == 2:
            threading.Thread(target=scheduler.stop).start()

    scheduler.start(workflow)
    assert found == ["caller", "caller"]


def test_a_tick_that_waited() -> None:
    """It runs in the same thread, right after the one before, and has the context of the first."""
    found: list[str] = []
    first, second = threading.Event(), threading.Event()

    def workflow() -> None:
        found.append(tenant.get())
        tenant.set("tick")
        first.set()
        second.wait(60)

    jobs = Jobs(Overlap(at_once=1, waiting=1), workflow)
    assert jobs.offer(Tick(1.0))
    assert first.wait(60)
    assert jobs.offer(Tick(1.0))
    second.set()
    jobs.join(60)
    assert found == ["caller", "caller"]
