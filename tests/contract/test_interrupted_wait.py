"""A run that is interrupted while a task waits for its next attempt."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, NoReturn

import pytest

from dotflow import DotFlow, action
from dotflow.abc.notify import Notify
from dotflow.core.types.status import TypeStatus

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Recorder

    from dotflow import Task


@action(retry=2, retry_delay=60)
def fails() -> None:
    """Fail, and wait long before the next attempt."""
    raise KeyError("k")


class InterruptsTheWait(Notify):
    """Has this thread interrupted a moment after an attempt has failed."""

    def hook_status_task(self, task: Task) -> None:
        """Set the alarm."""
        if task.status == TypeStatus.RETRY:
            signal.setitimer(signal.ITIMER_REAL, 0.5)


@pytest.fixture(autouse=True)
def _alarm_interrupts() -> Iterator[None]:
    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("mode", ["sequential", "sequential_group", "parallel"])
def test_no_retry_is_counted_that_never_began(mode: str, recorder: Recorder) -> None:
    """The attempt that failed was the last: the task failed, and no retry is told to metrics."""
    flow = DotFlow(config=recorder.config(notify=InterruptsTheWait()))
    flow.task.add(fails)
    with pytest.raises(KeyboardInterrupt):
        flow.start(mode=mode)
    (task,) = flow.result_task()
    assert (task.status, task.retry_count, task.attempt) == ("Failed", 0, 1)
    assert [(error.exception, error.attempt) for error in task.errors] == [
        ("KeyError", 1),
        ("KeyboardInterrupt", None),
    ]
    assert recorder.count("log.warning", "Retry") == 1
    assert recorder.count("metrics.task_retried") == 0
    assert recorder.count("metrics.task_failed") == 1
    assert recorder.count("tracer.end_task") == 1
    assert recorder.count("metrics.workflow_failed") == 1
