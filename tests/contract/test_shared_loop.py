"""Coroutine steps of a chain share one event loop, which ends with the chain."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from dotflow import DotFlow, action

if TYPE_CHECKING:
    from collections.abc import Callable

    from dotflow import Config, Context

IN_THIS_PROCESS = ("sequential", "sequential_group", "background")


class Pool:
    """A pool of connections, as clients have: a task of its own, and good in one loop alone."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.queue: asyncio.Queue[tuple[asyncio.Future[int], int]] = asyncio.Queue()
        self.task = self.loop.create_task(self._serve())
        self.is_cancelled = False

    async def _serve(self) -> None:
        try:
            while True:
                answer, number = await self.queue.get()
                answer.set_result(number * 2)
        except asyncio.CancelledError:
            self.is_cancelled = True
            raise

    async def double(self, number: int) -> int:
        """Return twice the number, by way of the task."""
        answer = self.loop.create_future()
        await self.queue.put((answer, number))
        result: int = await asyncio.wait_for(answer, 10)
        return result


def run(flow: DotFlow, mode: Any = "sequential") -> list[Any]:
    """Run it to its end; return its results."""
    manager = flow.start(mode=mode)
    if mode == "background":
        manager.thread.join()
    assert [task.status for task in manager.tasks] == ["Completed"] * len(manager.tasks)
    return flow.result_storage()


@pytest.mark.parametrize("mode", IN_THIS_PROCESS)
@pytest.mark.parametrize("timeout", [0, 60])
def test_a_client_serves_the_next_step(quiet: Config, mode: str, timeout: float) -> None:
    """A pool that one step has opened works in the next ones, whose thread may be another."""
    pools: list[Pool] = []

    @action(timeout=timeout)
    async def opens() -> None:
        pools.append(Pool())

    @action
    def between() -> None:
        pass

    @action(timeout=timeout)
    async def uses() -> int:
        return await pools[0].double(21)

    flow = DotFlow(config=quiet)
    flow.task.add([opens, uses, between, uses])
    assert run(flow, mode) == [None, 42, None, 42]
    (pool,) = pools
    assert pool.is_cancelled
    assert pool.loop.is_closed()


def test_an_error_and_a_retry_keep_the_loop(quiet: Config) -> None:
    """A step that fails leaves the loop to its next attempt and to the step after it."""
    loops: list[asyncio.AbstractEventLoop] = []

    @action(retry=2, retry_delay=0)
    async def flaky() -> None:
        loops.append(asyncio.get_running_loop())
        if len(loops) == 1:
            raise ValueError("once")

    flow = DotFlow(config=quiet)
    flow.task.add([flaky, flaky])
    run(flow)
    assert len(loops) == 3
    assert len(set(map(id, loops))) == 1


def test_each_chain_has_its_own(quiet: Config) -> None:
    """Groups are chains: the loop of one is closed before the next begins, and runs share none."""
    loops: list[asyncio.AbstractEventLoop] = []
    closed: list[list[bool]] = []

    @action
    async def step() -> None:
        closed.append([loop.is_closed() for loop in loops])
        loops.append(asyncio.get_running_loop())

    flow = DotFlow(config=quiet)
    flow.task.add(step, group_name="a")
    flow.task.add(step, group_name="b")
    run(flow)
    other = DotFlow(config=quiet)
    other.task.add(step)
    run(other)
    assert closed == [[], [True], [True, True]]


def test_a_late_coroutine_that_goes_on(quiet: Config) -> None:
    """Where a coroutine takes no cancelling, the next step has a loop of its own, and both end."""
    go_on = threading.Event()
    loops: list[asyncio.AbstractEventLoop] = []
    ended = threading.Event()

    @action(timeout=0.05)
    async def stubborn() -> None:
        loops.append(asyncio.get_running_loop())
        while not go_on.is_set():
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                continue
        ended.set()

    @action
    async def after() -> int:
        loops.append(asyncio.get_running_loop())
        await asyncio.sleep(0)
        return 1

    flow = DotFlow(config=quiet)
    flow.task.add([stubborn, after, after])
    flow.start(keep_going=True)
    assert [task.status for task in flow.result_task()] == ["Failed", "Completed", "Completed"]
    late, one, other = loops
    assert late is not one
    assert one is other
    assert one.is_closed()
    assert not late.is_closed()
    go_on.set()
    assert ended.wait(10)
    for thread in threading.enumerate():
        if thread.name.startswith("dotflow-"):
            thread.join(10)
    assert late.is_closed()


def in_a_thread(call: Callable[[], Any]) -> Any:
    """Call it in a thread of its own."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(call()))
    thread.start()
    thread.join()
    return results.pop()


def in_a_loop(call: Callable[[], Any]) -> Any:
    """Call it in a running loop, as a notebook does, which still runs afterwards."""

    async def cell() -> Any:
        result = call()
        await asyncio.sleep(0)
        assert asyncio.get_running_loop().is_running()
        return result

    return asyncio.run(cell())


@pytest.mark.parametrize("where", [in_a_thread, in_a_loop])
def test_where_it_is_started(quiet: Config, where: Callable[..., Any]) -> None:
    """The steps share a loop also in another thread, and where the thread has a loop that runs."""
    pools: list[Pool] = []

    @action
    async def opens() -> None:
        pools.append(Pool())

    @action
    async def uses() -> int:
        return await pools[0].double(2)

    flow = DotFlow(config=quiet)
    flow.task.add([opens, uses])
    assert where(lambda: run(flow)) == [None, 4]
    assert pools[0].is_cancelled
    assert pools[0].loop.is_closed()


def test_a_run_inside_a_coroutine(quiet: Config) -> None:
    """A run that a coroutine step starts has a loop of its own, and leaves the outer one as is."""
    loops: list[asyncio.AbstractEventLoop] = []

    @action
    async def inner() -> None:
        loops.append(asyncio.get_running_loop())

    @action
    async def outer() -> None:
        loops.append(asyncio.get_running_loop())
        flow = DotFlow(config=quiet)
        flow.task.add([inner, inner])
        run(flow)
        await asyncio.sleep(0)
        assert asyncio.get_running_loop() is loops[0]

    flow = DotFlow(config=quiet)
    flow.task.add([outer, outer])
    run(flow)
    first, second, third, again, *rest = loops
    assert second is third
    assert first is again
    assert first is not second
    assert len(rest) == 2
    assert all(loop.is_closed() for loop in loops)


@pytest.mark.parametrize("mode", [*IN_THIS_PROCESS, "parallel"])
def test_methods_of_a_class_step(quiet: Config, mode: str) -> None:
    """The coroutine methods of a class step share a loop in every mode, in a worker too."""

    @action
    class Step:
        @action
        async def opens(self) -> None:
            self.loop = asyncio.get_running_loop()
            self.event = asyncio.Event()
            self.task = self.loop.create_task(self.event.wait())

        @action
        async def uses(self) -> bool:
            self.event.set()
            return await self.task and self.loop is asyncio.get_running_loop()

    flow = DotFlow(config=quiet)
    flow.task.add(Step)
    (contexts,) = run(flow, mode)
    values: list[Context] = contexts
    assert [context.storage for context in values] == [None, True]
