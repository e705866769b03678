"""Threads of background runs, and the exit that waits for them."""

from __future__ import annotations

import atexit
import logging
import os
import signal
import subprocess
import sys
import threading
from itertools import count
from time import monotonic
from typing import TYPE_CHECKING, Any, Self

import pytest
from interleaved import interleave
from interrupting import Interrupts

from dotflow import Config, DotFlow, action
from dotflow.core import background
from dotflow.testing import Recording

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FORKS = """
import os, signal, sys, threading
from dotflow import Config, DotFlow, action
from dotflow.testing import RecordingLog

begun, ended = threading.Event(), threading.Event()

@action
def step():
    begun.set()
    ended.wait(30)

flow = DotFlow(config=Config(log=RecordingLog()))
flow.task.add(step)
flow.start(mode="background")
begun.wait(30)
child = os.fork()
if not child:
    signal.alarm(20)  # the end of one that does not exit
    sys.exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
ended.set()
"""


@action
def step() -> None:
    """Do nothing."""


def test_a_forked_child_exits_while_a_run_goes_on() -> None:
    """A child that is forked while a run goes on waits at its exit for no run of its parent."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKS],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert (done.stdout, done.stderr) == ("7\n", "")


AT_EXIT = """
import atexit
from dotflow import Config, DotFlow, action
from dotflow.testing import RecordingLog

@action
def step():
    return 1

def begin():
    flow = DotFlow(config=Config(log=RecordingLog()))
    flow.task.add([step] * 2)
    manager = flow.start(mode="background", on_success=lambda tasks: print("succeeded"))
    manager.thread.join()
    print(flow.result_storage(), manager.thread.is_alive())

atexit.register(begin)
"""


def test_a_run_that_is_begun_at_the_exit() -> None:
    """It has ended when the call returns: nothing waits for a thread then, or even begins one."""
    done = subprocess.run(
        [sys.executable, "-c", AT_EXIT],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("succeeded\n[1, 1] False\n", "")


def test_the_exit_comes_while_a_run_is_begun() -> None:
    """The exit waits for a run that another thread begins at any moment, whatever it finds."""

    def prepare() -> Sequence[Callable[[], object]]:
        errors: list[Exception] = []

        def wait() -> None:
            try:
                background.join_pending()
            except Exception as error:  # noqa: BLE001 - looked at below
                errors.append(error)

        def check() -> None:
            background.join_pending()
            assert errors == []

        run = background.BackgroundRun(lambda: None, lambda _: None, "run")
        return run.start, wait, check

    interleave(prepare)


def test_no_thread_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run whose thread cannot be started has failed, and the exit does not wait for it."""
    recording = Recording()
    flow = DotFlow(config=Config(**recording.providers), name="etl")
    flow.task.add(step)

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            flow.start(mode="background")

    background.join_pending()
    assert recording.metrics.hooks == ["workflow_started", "task_skipped", "workflow_failed"]


@pytest.mark.skipif(sys.version_info[:2] == (3, 12), reason="Python 3.12 does not tell every step")
def test_interrupted_while_it_is_begun() -> None:
    """Whatever moment it is, the run ends: in its thread, or where the interrupt was."""
    for place in count():
        recording = Recording()
        flow = DotFlow(config=Config(**recording.providers))
        flow.task.add([step, step])
        modules = "dotflow.core.background", "dotflow.core.workflow"
        interrupts = Interrupts([place], modules=modules)
        interrupts.within(lambda flow=flow: flow.start(mode="background"))  # type: ignore[misc]
        if not interrupts.came:
            break
        waits = threading.Thread(target=background.join_pending, daemon=True)
        waits.start()
        waits.join(20)
        assert not waits.is_alive(), place
        hooks = recording.metrics.hooks
        ended = hooks.count("workflow_completed") + hooks.count("workflow_failed")
        assert hooks.count("workflow_started") == ended, place
        tasks = [each for each in hooks if each in {"task_completed", "task_failed"}]
        assert hooks.count("task_started") == len(tasks), place
    assert place


class Left(BaseException):
    """The process would have ended here."""


class Working:
    """A background run whose step goes on until it is let go on.

    Args:
        outside: Whether it is a step's work, in which the run can be taken over.
        give_up: Ends the run in its place; None: notes the reason.
    """

    def __init__(
        self, *, outside: bool = True, give_up: Callable[[BaseException], None] | None = None
    ) -> None:
        self.begun, self.goes_on = threading.Event(), threading.Event()
        self.given: list[BaseException] = []
        self.went_on = False
        self._outside = outside
        self.run = background.BackgroundRun(self._work, give_up or self.given.append, "work")

    def _work(self) -> None:
        if self._outside:
            self.run.outside(self._step, None)
        else:
            self._step(None)
        self.went_on = True

    def _step(self, _: None) -> None:
        self.begun.set()
        assert self.goes_on.wait(30)

    def __enter__(self) -> Self:
        self.run.start()
        assert self.begun.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self.goes_on.set()
        self.run.thread.join(30)
        assert not self.run.thread.is_alive()
        assert self.run not in background.pending


def test_taken_over_in_a_step(caplog: pytest.LogCaptureFixture) -> None:
    """The run is ended by the other thread, once; its own does nothing after the step."""
    reason = KeyboardInterrupt()
    with Working() as working:
        working.run.take_over(reason, monotonic() + 30)
    assert (working.given, working.went_on) == ([reason], False)
    assert caplog.records == []


def test_not_taken_over_beside_a_step(caplog: pytest.LogCaptureFixture) -> None:
    """Where the run itself is at work it goes on, and a warning names its thread."""
    with Working(outside=False) as working:
        working.run.take_over(KeyboardInterrupt(), monotonic() - 1)
    assert (working.given, working.went_on) == ([], True)
    assert [(each.levelname, each.getMessage()) for each in caplog.records] == [
        ("WARNING", "the background run in dotflow-work did not end in time")
    ]


@pytest.mark.skipif(sys.version_info[:2] == (3, 12), reason="Python 3.12 does not tell every step")
def test_interrupted_again_while_it_is_taken_over() -> None:
    """Whatever moment Ctrl-C comes at again, the run is ended in the thread's place."""
    reason = KeyboardInterrupt()
    for place in count(3):  # from where the runs are known
        interrupts = Interrupts([place], modules=("dotflow.core.background",))
        with Working() as working:
            interrupts.within(lambda: background.end_pending(reason))
            assert set(working.given) == {reason}, place
        assert not working.went_on, place
        if not interrupts.came:
            break
    assert place > 3


def test_the_end_of_one_run_fails(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the others have their ends."""
    fails = raising(ValueError("no end"))
    with Working(give_up=fails) as one, Working(give_up=fails) as other:
        background.end_pending(KeyboardInterrupt())
    assert [each.getMessage() for each in caplog.records] == [
        "the end of a background run failed"
    ] * 2
    assert not one.went_on
    assert not other.went_on


def test_an_end_that_is_interrupted_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given up after a moment, whatever raises the interrupts."""
    monkeypatch.setattr(background, "PATIENCE", 0.05)
    with Working(give_up=raising(KeyboardInterrupt())) as working:
        background.end_pending(KeyboardInterrupt())
    assert not working.went_on


def raising(error: BaseException) -> Callable[[object], None]:
    """Return what raises an error."""

    def give_up(_: object) -> None:
        raise error

    return give_up


@pytest.mark.parametrize("outside", [True, False])
def test_called_off_too_late(outside: bool) -> None:
    """A run that has begun is not called off, in a step or beside one."""
    with Working(outside=outside) as working:
        assert not working.run.call_off()
    assert working.went_on


def test_called_off_in_time() -> None:
    """A run that has not begun does nothing when its thread runs after all."""
    ran: list[int] = []
    run = background.BackgroundRun(lambda: ran.append(1), ran.append, "run")  # type: ignore[arg-type]
    assert run.call_off()
    assert run.call_off()
    run.start()
    run.thread.join(30)
    assert ran == []
    assert run not in background.pending


def test_an_error_of_the_run_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """An error that no caller can get is logged, and its traceback holds no values on."""
    error = ValueError("no caller")

    def fail() -> None:
        raise error

    run = background.BackgroundRun(fail, lambda _: None, "run")
    run.start()
    run.wait()
    run.thread.join(30)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage() == "a background run ended with an error"
    assert record.exc_info is not None
    assert record.exc_info[1] is error


@pytest.fixture
def leaving(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the end of the process would have called, which stays."""
    called: list[Any] = []

    def leave(code: int) -> None:
        called.append(("exit", code))
        raise Left

    monkeypatch.setattr(atexit, "_run_exitfuncs", lambda: called.append("exit functions"))
    monkeypatch.setattr(os, "_exit", leave)
    monkeypatch.setattr(os, "kill", lambda *args: called.append(("kill", *args)))
    monkeypatch.setattr(signal, "signal", lambda *args: called.append(("signal", *args)))
    return called


@pytest.mark.parametrize(
    ("code", "expected"), [(None, 0), (0, 0), (3, 3), (-1, 255), (256, 0), ("text", 1)]
)
def test_an_exit_while_runs_are_waited_for(
    leaving: list[Any], monkeypatch: pytest.MonkeyPatch, code: Any, expected: int
) -> None:
    """The runs are ended where they are, then the process, with the code of the exit."""
    reason = SystemExit(code)
    with Working() as working:
        _interrupt(working, reason, monkeypatch, Left)
    assert (working.given, working.went_on) == ([reason], False)
    assert leaving == ["exit functions", ("exit", expected)]


def test_an_interrupt_while_runs_are_waited_for(
    leaving: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process ends by the signal itself, or with its code where that does not end it."""
    reason = KeyboardInterrupt()
    with Working() as working:
        _interrupt(working, reason, monkeypatch, Left)
    assert working.given == [reason]
    assert leaving == [
        "exit functions",
        ("signal", signal.SIGINT, signal.SIG_DFL),
        ("kill", os.getpid(), signal.SIGINT),
        ("exit", 130),
    ]


def test_another_error_while_runs_are_waited_for(
    leaving: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runs are ended, and Python deals with the error."""
    reason = MemoryError()
    with Working() as working:
        _interrupt(working, reason, monkeypatch, MemoryError)
    assert (working.given, leaving) == ([reason], [])


def _interrupt(
    working: Working,
    reason: BaseException,
    monkeypatch: pytest.MonkeyPatch,
    raises: type[BaseException],
) -> None:
    def wait() -> None:
        raise reason

    with monkeypatch.context() as patched:
        # The wait for this run alone, whatever else there is in this process.
        patched.setattr(background, "pending", {working.run})
        patched.setattr(working.run, "wait", wait)
        with pytest.raises(raises):
            background.join_pending()
