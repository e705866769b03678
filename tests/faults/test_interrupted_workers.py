"""Runs that are interrupted at any moment leave all of the pool's places to later runs."""

from __future__ import annotations

import linecache
import os
import signal
import sys
from typing import TYPE_CHECKING, Any, Final

import pytest
from interrupting import flow_on
from waiting import wait_for

from dotflow import action
from dotflow.workers.usage import worker_usage
from dotflow.workers.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from dotflow.providers import ExecutorLocal

# Where a worker passes from one hand to another.
PLACES: Final = ("acquire", "take", "discard", "release")


def counts_of(executor: ExecutorLocal) -> tuple[int, int]:
    """Return how many of its workers live, and how many are lent."""
    assert executor.pool is not None
    return executor.pool.counts()


@action
def one() -> int:
    """Return a number."""
    return 1


@action
def dying() -> None:
    """End the worker."""
    os._exit(3)


def gives_interrupting(owner: int) -> Any:
    """Return a step whose result interrupts the process that reads it, where that is `owner`."""

    class Interrupting:
        def __reduce__(self) -> tuple[Any, ...]:
            return _interrupt_in, (owner,)

    @action
    def step() -> object:
        return Interrupting()

    return step


def test_interrupted_while_a_result_is_read(executor: ExecutorLocal) -> None:
    """The worker whose result it was is no longer lent, and a later run gets one."""
    with pytest.raises(KeyboardInterrupt):
        flow_on(executor, gives_interrupting(os.getpid())).start(mode="parallel")

    assert counts_of(executor) == (0, 0)
    flow = flow_on(executor, one)
    flow.start(mode="parallel")
    assert flow.result_storage() == [1]


def test_interrupted_again_while_it_cleans_up(
    executor: ExecutorLocal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by who presses Ctrl-C until something happens: the place is there again all the same."""
    owner, end = os.getpid(), Worker.kill

    def interrupted(worker: Worker) -> str:
        os.kill(owner, signal.SIGINT)
        return end(worker)

    flow = flow_on(executor, gives_interrupting(owner))
    with monkeypatch.context() as patched:
        patched.setattr(Worker, "kill", interrupted)
        with pytest.raises(KeyboardInterrupt):
            flow.start(mode="parallel")

    wait_for(lambda: counts_of(executor) == (0, 0))
    flow = flow_on(executor, one)
    flow.start(mode="parallel")
    assert flow.result_storage() == [1]


def _interrupt_in(process: int) -> None:
    if os.getpid() == process:
        signal.raise_signal(signal.SIGINT)  # as Ctrl-C does: raised by itself it would be its error


class _Interrupt:
    """Raises a KeyboardInterrupt at one line of a function of the pool or of its users.

    Args:
        function: The name of the function.
        line: How many lines come before.
    """

    def __init__(self, function: str, line: int) -> None:
        self._function = function
        self._left = line
        self.came = False

    def within(self, call: Callable[[], object]) -> None:
        before = sys.gettrace()
        sys.settrace(self._trace)
        try:
            call()
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(before)

    def _trace(self, frame: FrameType, event: str, _: Any) -> Any:
        name = frame.f_globals.get("__name__", "")
        if not name.startswith("dotflow.workers") or frame.f_code.co_name != self._function:
            return None if event == "call" else self._trace
        # A signal is not heard between the end of a `with` and the exit that it calls.
        line = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
        if event == "line" and not self.came and not line.strip().startswith("with "):
            self._left -= 1
            if self._left < 0:
                self.came = True
                raise KeyboardInterrupt
        return self._trace


@pytest.mark.parametrize("function", PLACES)
def test_interrupted_anywhere(function: str, executor: ExecutorLocal) -> None:
    """Whichever line it was, nothing of the pool is leased afterwards or counts as busy."""
    line = 0
    came = True
    while came:
        interrupt = _Interrupt(function, line)
        interrupt.within(lambda: flow_on(executor, dying, one).start(mode="parallel"))
        came = interrupt.came
        assert counts_of(executor) in {(0, 0), (1, 0)}, line
        assert worker_usage.busy() == 0
        line += 1
    assert line > 1
