"""The interface of what shows a run while it goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dotflow.abc.noop import noop

if TYPE_CHECKING:
    from dotflow.core.model import Task
    from dotflow.core.run import Run


class Progress:
    """Is notified of what a run does, in the process that owns it, for whoever looks on.

    Each hook does nothing unless overridden. They are called in the thread of the run, so what
    takes long belongs in another one. An error in a hook is logged and never reaches the run.
    """

    @noop
    def run_started(self, run: Run) -> None:
        """A run begins; each of its tasks has it as `task.run`."""

    @noop
    def run_finished(self, run: Run) -> None:
        """A run has ended. Tasks that did not run until now never will."""

    @noop
    def task_started(self, task: Task) -> None:
        """A task's first attempt is about to start."""

    @noop
    def attempt_failed(self, task: Task) -> None:
        """An attempt failed, and another is to follow when the task's delay is over."""

    @noop
    def task_retried(self, task: Task) -> None:
        """That delay is over, and the next attempt begins now."""

    @noop
    def task_completed(self, task: Task) -> None:
        """A task that ran has completed."""

    @noop
    def task_failed(self, task: Task) -> None:
        """A task that ran has failed for good."""

    @noop
    def task_restored(self, task: Task) -> None:
        """A task was taken from its checkpoint and did not run."""

    @noop
    def workers_changed(self, workers: int, busy: int) -> None:
        """The number of live workers of this process, or of those that run a step, has changed."""
