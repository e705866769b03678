"""The interface of a tracer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from dotflow.abc.noop import noop

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from dotflow.abc.scheduler import Tick
    from dotflow.abc.scope import RemoteScope
    from dotflow.core.attempt import Outcome
    from dotflow.core.model import Task
    from dotflow.core.run import Run


class Tracer(ABC):
    """Told of every run, task and attempt, in the process that owns the run.

    The four abstract hooks are those of dotflow 1.x. The others have defaults that call
    them or do nothing. An error in a hook is logged and never reaches the run.
    """

    @abstractmethod
    def start_workflow(self, workflow_id: Any, **kwargs: Any) -> None:
        """A run begins. Keywords: `mode`, `tasks_count`."""

    @abstractmethod
    def end_workflow(self, workflow_id: Any, **kwargs: Any) -> None:
        """A run has ended. Keywords: `duration` in seconds, `failed`."""

    @abstractmethod
    def start_task(self, task: Task) -> None:
        """A task is ready to run; `task.ready_at` tells since when."""

    @abstractmethod
    def end_task(self, task: Task) -> None:
        """A task has ended: its status, times, errors and context are final."""

    def run_started(self, run: Run) -> None:
        """A run begins; by default as `start_workflow`."""
        self.start_workflow(workflow_id=run.workflow_id, mode=run.mode, tasks_count=run.task_count)

    def run_finished(self, run: Run) -> None:
        """A run has ended; by default as `end_workflow`."""
        self.end_workflow(workflow_id=run.workflow_id, duration=run.duration, failed=run.failed)

    @noop
    def task_restored(self, task: Task) -> None:
        """A task was taken from its checkpoint and did not run."""

    @noop
    def run_carrier(self, run: Run) -> Mapping[str, str] | None:
        """Return what identifies the run's span, to be kept with its checkpoints.

        A later run that resumes from them finds it as `run.resumed_from`.
        """
        return None

    @noop
    def run_scope(self, run: Run) -> AbstractContextManager[object] | None:
        """Return what is entered around what serves a run besides its steps.

        That is its storage, its callbacks and what starts before its end there.
        """
        return None

    @noop
    def task_scope(self, task: Task) -> AbstractContextManager[object] | None:
        """Return what is entered around what serves a task: `notify`, its storage and callback."""
        return None

    @noop
    def attempt_scope(self, task: Task, attempt: int) -> AbstractContextManager[object] | None:
        """Return what is entered around an attempt that runs in this process.

        Args:
            task: The task.
            attempt: The number of the attempt, from 1.
        """
        return None

    @noop
    def remote_scope(self, task: Task, attempt: int) -> RemoteScope | None:
        """Return what is sent along, and entered around an attempt in a worker."""
        return None

    @noop
    def attempt_recorded(self, task: Task, attempt: int, recorded: object) -> None:
        """An attempt goes on, and its remote scope has recorded something.

        Args:
            task: The task.
            attempt: The number of the attempt, from 1.
            recorded: What the remote scope's `drain` returned.
        """

    @noop
    def attempt_finished(
        self, task: Task, attempt: int, outcome: Outcome, recorded: object
    ) -> None:
        """An attempt has ended, or its worker died.

        Args:
            task: The task.
            attempt: The number of the attempt, from 1.
            outcome: How it ended, and when.
            recorded: What the remote scope's `collect` gave; None in this process, or
                where the worker died.
        """

    @noop
    def tick_scope(self, tick: Tick) -> AbstractContextManager[object] | None:
        """Return what is entered around the run of a tick of a schedule, in its thread."""
        return None

    @noop
    def tick_skipped(self, tick: Tick, reason: str) -> None:
        """A tick of a schedule has no run.

        Args:
            tick: The tick.
            reason: `overlap`, `missed`, `stopped` or `no_thread`.
        """
