"""Threads of background runs, and the exit that waits for them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from itertools import count
from typing import TYPE_CHECKING

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


def test_the_exit_comes_while_a_run_is_begun() -> None:
    """The exit waits for a run that another thread begins at any moment, whatever it finds."""

    def prepare() -> Sequence[Callable[[], object]]:
        errors: list[Exception] = []

        def wait() -> None:
            try:
                background._join_pending()
            except Exception as error:  # noqa: BLE001 - looked at below
                errors.append(error)

        def check() -> None:
            background._join_pending()
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

    background._join_pending()
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
        waits = threading.Thread(target=background._join_pending, daemon=True)
        waits.start()
        waits.join(20)
        assert not waits.is_alive(), place
        hooks = recording.metrics.hooks
        ended = hooks.count("workflow_completed") + hooks.count("workflow_failed")
        assert hooks.count("workflow_started") == ended, place
        tasks = [each for each in hooks if each in {"task_completed", "task_failed"}]
        assert hooks.count("task_started") == len(tasks), place
    assert place
