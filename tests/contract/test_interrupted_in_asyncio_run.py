"""Ctrl-C under `asyncio.run`, whose handler has the first one cancel the main coroutine alone."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from dotflow import DotFlow, action

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dotflow import Config
    from dotflow.core.workflow import Manager

# How long the end of an interrupted run may take on a busy machine, in seconds.
SOON = 20


@pytest.fixture(autouse=True)
def _alarm_is_ctrl_c() -> Iterator[None]:
    handlers = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGALRM: lambda *_: signal.raise_signal(signal.SIGINT),
    }
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    for number, handler in before.items():
        signal.signal(number, handler)


def press_soon() -> None:
    """Press Ctrl-C in a moment."""
    signal.setitimer(signal.ITIMER_REAL, 0.3)


def sleeping(kind: str, timeout: float) -> Any:
    """Return a step that takes a minute."""

    @action(timeout=timeout)
    def plain() -> None:
        time.sleep(60)

    @action(timeout=timeout)
    async def coroutine() -> None:
        await asyncio.sleep(60)

    return {"plain": plain, "coroutine": coroutine}[kind]


def started(start: Callable[[], Manager]) -> list[str]:
    """Start a run in a coroutine under `asyncio.run`; return what was seen of its end."""
    seen: list[str] = []

    async def main() -> None:
        handler = signal.getsignal(signal.SIGINT)
        press_soon()
        try:
            start()
        except KeyboardInterrupt:
            seen.append("interrupted")
        assert signal.getsignal(signal.SIGINT) is handler
        await asyncio.sleep(0)
        seen.append("goes on")

    began = time.monotonic()
    asyncio.run(main())
    assert time.monotonic() - began < SOON
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    return seen


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
@pytest.mark.parametrize("timeout", [0, 60])
@pytest.mark.parametrize("mode", ["sequential", "sequential_group", "parallel"])
def test_the_first_one_interrupts_the_run(
    mode: str, timeout: float, kind: str, quiet: Config
) -> None:
    """As it does elsewhere; the coroutine that called it is not cancelled beside."""
    first = DotFlow(config=quiet)
    first.task.add(action(lambda: None))
    first.start(mode=mode)  # so that no worker is to be started later
    flow = DotFlow(config=quiet)
    flow.task.add(sleeping(kind, timeout))
    assert started(lambda: flow.start(mode=mode)) == ["interrupted", "goes on"]
    (task,) = flow.result_task()
    assert task.failure is not None
    assert (task.status, task.failure.kind) == ("Failed", "interrupted")


def test_it_interrupts_a_wait_between_attempts(quiet: Config) -> None:
    """The step need not run."""

    @action(retry=2, retry_delay=60)
    def fails() -> None:
        raise ValueError("no")

    flow = DotFlow(config=quiet)
    flow.task.add(fails)
    assert started(flow.start) == ["interrupted", "goes on"]
    assert flow.result_task()[0].status == "Failed"


def test_it_interrupts_a_callback_of_the_workflow(quiet: Config) -> None:
    """Whatever runs as a part of the run can be interrupted."""
    flow = DotFlow(config=quiet)
    flow.task.add(action(lambda: None))

    def callback(tasks: list[Any]) -> None:
        time.sleep(60)

    assert started(lambda: flow.start(on_success=callback)) == ["interrupted", "goes on"]


def test_a_mode_that_is_called_by_itself(quiet: Config) -> None:
    """It is a run like any other."""
    flow = DotFlow(config=quiet)
    flow.task.add(action(lambda: None))
    manager = flow.start()
    other = DotFlow(config=quiet)
    other.task.add(sleeping("plain", 0))

    def start() -> Manager:
        manager.sequential(tasks=other.result_task())
        return manager

    assert started(start) == ["interrupted", "goes on"]
    assert other.result_task()[0].status == "Failed"


def test_an_interrupt_ends_the_program(quiet: Config) -> None:
    """Where the coroutine does not catch it, it comes out of `asyncio.run`."""
    flow = DotFlow(config=quiet)
    flow.task.add(sleeping("plain", 0))

    async def main() -> None:
        press_soon()
        flow.start()

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())
    assert flow.result_task()[0].status == "Failed"


def test_a_handler_that_a_step_sets_stays(quiet: Config) -> None:
    """It is the program's own."""

    def own(*_: object) -> None:
        """Do nothing."""

    @action
    def step() -> None:
        signal.signal(signal.SIGINT, own)

    flow = DotFlow(config=quiet)
    flow.task.add(step)

    async def main() -> Any:
        flow.start()
        return signal.getsignal(signal.SIGINT)

    assert asyncio.run(main()) is own


def test_other_handlers_are_left_alone(quiet: Config) -> None:
    """As those of servers, which end when they want to; and no other thread changes any."""
    seen: list[Any] = []

    @action
    def step() -> None:
        seen.append(signal.getsignal(signal.SIGINT))

    def run() -> None:
        flow = DotFlow(config=quiet)
        flow.task.add(step)
        flow.start()

    async def main() -> Any:
        await asyncio.to_thread(run)
        seen.append(signal.getsignal(signal.SIGINT))

    def own(*_: object) -> None:
        """Do nothing."""

    asyncio.run(main())
    assert seen[0] is seen[1]
    signal.signal(signal.SIGINT, own)

    async def with_own() -> None:
        run()

    asyncio.run(with_own())
    assert seen[2] is own
    assert threading.current_thread() is threading.main_thread()
