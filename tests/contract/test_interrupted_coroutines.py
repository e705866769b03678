"""Coroutines whose run is interrupted, and the event loop that a program has of its own."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from dotflow import DotFlow, action

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Recorder

    from dotflow import Config

# How long an interrupted coroutine may be waited for, and more for a busy machine, in seconds.
SOON = 5


def interrupt_soon() -> None:
    """Have this thread interrupted in a moment."""
    signal.setitimer(signal.ITIMER_REAL, 0.1)


@pytest.fixture(autouse=True)
def _alarm_interrupts() -> Iterator[None]:
    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def in_no_loop(call: Callable[[], Any]) -> Any:
    """Call it as a program does."""
    return call()


def in_a_loop(call: Callable[[], Any]) -> Any:
    """Call it in the thread of an event loop that runs, as a notebook does."""

    async def cell() -> Any:
        return call()

    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(cell())
    finally:
        loop.close()


def start(flow: DotFlow) -> str:
    """Run it; return how that ended."""
    try:
        flow.start()
    except KeyboardInterrupt:
        return "interrupted"
    return "ended"


@pytest.mark.parametrize("timeout", [0, 60])
@pytest.mark.parametrize("where", [in_no_loop, in_a_loop])
class TestInterrupted:
    """A coroutine is cancelled, and has a moment to clean up: in a thread or not."""

    def test_it_is_cancelled(
        self, where: Callable[..., Any], timeout: float, recorder: Recorder
    ) -> None:
        """It ends where it waits, before the interrupt is raised, and the task has failed."""
        seen: list[str] = []

        @action(timeout=timeout, retry=2, retry_delay=0)
        async def step() -> None:
            interrupt_soon()
            try:
                await asyncio.sleep(60)
            except BaseException as error:
                seen.append(type(error).__name__)
                await asyncio.sleep(0.01)
                seen.append("cleaned up")
                raise

        flow = DotFlow(config=recorder.config())
        flow.task.add([step, step])
        assert where(lambda: start(flow)) == "interrupted"
        assert seen == ["CancelledError", "cleaned up"]
        task, skipped = flow.result_task()
        assert (task.status, skipped.status) == ("Failed", "Not started")
        assert task.failure is not None
        assert (task.failure.kind, task.failure.name) == ("interrupted", "KeyboardInterrupt")
        assert recorder.count("metrics.task_failed") == 1
        assert recorder.count("metrics.workflow_failed") == 1

    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    def test_it_cannot_hold_up_the_run(
        self, where: Callable[..., Any], timeout: float, quiet: Config
    ) -> None:
        """One that takes no cancelling is waited for a bounded time."""
        ended = threading.Event()

        @action(timeout=timeout)
        async def stubborn() -> None:
            interrupt_soon()
            while not ended.is_set():
                try:
                    await asyncio.sleep(0.01)
                except asyncio.CancelledError:
                    continue

        flow = DotFlow(config=quiet)
        flow.task.add(stubborn)
        began = time.monotonic()
        assert where(lambda: start(flow)) == "interrupted"
        assert time.monotonic() - began < SOON
        assert flow.result_task()[0].status == "Failed"
        ended.set()

    def test_its_threads_are_not_waited_for(
        self, where: Callable[..., Any], timeout: float, quiet: Config
    ) -> None:
        """What it has given to a thread goes on, and holds up nobody."""
        ended = threading.Event()

        @action(timeout=timeout)
        async def step() -> None:
            interrupt_soon()
            await asyncio.to_thread(ended.wait, 60)

        flow = DotFlow(config=quiet)
        flow.task.add(step)
        began = time.monotonic()
        assert where(lambda: start(flow)) == "interrupted"
        assert time.monotonic() - began < SOON
        ended.set()


def test_methods_of_a_class_step(quiet: Config) -> None:
    """A coroutine under a limit of its own is cancelled also where the attempt has another."""
    seen: list[str] = []

    @action(timeout=60)
    class Step:
        @action(timeout=50)
        async def method(self) -> None:
            interrupt_soon()
            try:
                await asyncio.sleep(40)
            finally:
                seen.append("cleaned up")

    flow = DotFlow(config=quiet)
    flow.task.add(Step)
    assert start(flow) == "interrupted"
    assert seen == ["cleaned up"]


def test_a_coroutine_that_computes_is_interrupted_there(quiet: Config) -> None:
    """It need not wait for anything to be interrupted."""

    @action
    async def step() -> None:
        interrupt_soon()
        time.sleep(60)  # noqa: ASYNC251 - that is the point

    flow = DotFlow(config=quiet)
    flow.task.add(step)
    began = time.monotonic()
    assert start(flow) == "interrupted"
    assert time.monotonic() - began < SOON


def grouped(*errors: BaseException) -> BaseExceptionGroup:
    """Return errors as a task group raises them."""
    return BaseExceptionGroup("unhandled errors in a TaskGroup", [ValueError("no"), *errors])


@pytest.mark.parametrize("mode", ["sequential", "sequential_group"])
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("depth", [1, 2])
def test_an_interrupt_in_a_group(
    mode: str, kind: type[BaseException], depth: int, recorder: Recorder
) -> None:
    """It is never retried; the run ends whatever `keep_going` says, and it is raised as it was."""
    raised = grouped(kind())
    if depth == 2:
        raised = grouped(raised)

    @action(retry=3, retry_delay=0)
    async def step() -> None:
        raise raised

    flow = DotFlow(config=recorder.config())
    flow.task.add([step, step])
    with pytest.raises(BaseExceptionGroup) as caught:
        flow.start(mode=mode, keep_going=True)
    assert caught.value is raised
    task, skipped = flow.result_task()
    assert (task.status, task.attempt, skipped.status) == ("Failed", 1, "Not started")
    assert task.failure is not None
    assert (task.failure.kind, task.failure.error_type) == ("interrupted", "BaseExceptionGroup")
    assert recorder.count("metrics.task_retried") == 0
    assert recorder.count("metrics.workflow_failed") == 1


def test_a_group_without_an_interrupt(quiet: Config) -> None:
    """It is an error like any other: it is retried, and the run goes on."""

    @action(retry=2, retry_delay=0)
    async def step() -> None:
        raise BaseExceptionGroup("odd", [ValueError("no"), GeneratorExit()])

    flow = DotFlow(config=quiet)
    flow.task.add(step)
    flow.start()
    (task,) = flow.result_task()
    assert task.failure is not None
    assert (task.status, task.attempt, task.failure.kind) == ("Failed", 2, "error")


@pytest.mark.parametrize("timeout", [0, 60])
@pytest.mark.parametrize("mode", ["sequential", "sequential_group", "background"])
def test_the_programs_own_loop_stays_the_current_one(
    mode: str, timeout: float, quiet: Config
) -> None:
    """Whatever a step's coroutine does, and however it ends."""

    @action(timeout=timeout)
    async def works() -> bool:
        return asyncio.get_event_loop() is own

    @action(timeout=timeout)
    async def fails() -> None:
        raise ValueError("no")

    own = asyncio.new_event_loop()
    asyncio.set_event_loop(own)
    try:
        flow = DotFlow(config=quiet)
        flow.task.add([works, fails])
        manager = flow.start(mode=mode)
        if mode == "background":
            manager.thread.join(60)
        assert [task.status for task in flow.result_task()] == ["Completed", "Failed"]
        assert flow.result_storage()[0] is False
        assert asyncio.get_event_loop() is own
    finally:
        asyncio.set_event_loop(None)
        own.close()


def test_the_loop_stays_after_an_interrupt(quiet: Config) -> None:
    """Also then the program's own one is the current one."""

    @action
    async def step() -> None:
        interrupt_soon()
        await asyncio.sleep(60)

    own = asyncio.new_event_loop()
    asyncio.set_event_loop(own)
    try:
        flow = DotFlow(config=quiet)
        flow.task.add(step)
        assert start(flow) == "interrupted"
        assert asyncio.get_event_loop() is own
    finally:
        asyncio.set_event_loop(None)
        own.close()
