"""The time limit of a call, and what stops a call that is late."""

from __future__ import annotations

import asyncio
from threading import Event

import pytest
from interrupting import Interrupts

from dotflow.core.coroutine import run_coroutine
from dotflow.core.limit import Limit, current_limit, interruption_of, is_abandoned


def test_a_call_that_can_be_stopped_only_after_its_limit() -> None:
    """It counts as abandoned, and is stopped once it tells how."""
    over, stopped = Event(), Event()

    def begins_late() -> None:
        limit = current_limit()
        assert limit is not None
        over.wait(20)
        limit.on_timeout(stopped.set)

    with pytest.raises(TimeoutError) as raised:
        Limit(0.01, "late").call(begins_late)
    assert is_abandoned(raised.value)
    assert not stopped.is_set()
    over.set()
    assert stopped.wait(20)


def test_a_coroutine_whose_loop_begins_after_its_limit() -> None:
    """It is cancelled: a loop may take long to begin where nothing has used one yet."""
    over, ended = Event(), Event()
    ran: list[str] = []

    async def step() -> None:
        ran.append("begun")
        await asyncio.sleep(0)
        ran.append("ended")

    def begins_late() -> None:
        over.wait(20)
        try:
            run_coroutine(step())
        finally:
            ended.set()

    with pytest.raises(TimeoutError):
        Limit(0.01, "late").call(begins_late)
    over.set()
    assert ended.wait(20)
    assert "ended" not in ran


def test_a_call_in_time_is_not_stopped() -> None:
    """Its value is given, whatever it said could stop it."""
    stopped: list[int] = []

    def quick() -> int:
        limit = current_limit()
        assert limit is not None
        limit.on_timeout(lambda: stopped.append(1))
        return 3

    assert Limit(20, "quick").call(quick) == 3
    assert stopped == []


@pytest.mark.parametrize("gap", [0, 1, 2, 3, 5, 8])
def test_two_interrupts_are_never_another_error(gap: int) -> None:
    """The standard library's events make a RuntimeError of two, which a run would retry."""
    came = 0
    for first in range(90):
        interrupts = Interrupts([first, gap], modules=("dotflow.core.limit", "threading"))
        interrupts.within(lambda: Limit(None, "call").call(lambda: 1))
        came += interrupts.came
    assert came > 20


def test_what_an_error_of_a_thread_was_made_of() -> None:
    """An interrupt that it has lost, and nothing else."""
    refused = RuntimeError("can't start new thread")
    assert interruption_of(refused) is refused
    interrupt = KeyboardInterrupt()
    lost = RuntimeError("release unlocked lock")
    lost.__context__ = interrupt
    assert interruption_of(lost) is interrupt
    lost.__context__ = ValueError("no")
    assert interruption_of(lost) is lost
    assert interruption_of(interrupt) is interrupt
