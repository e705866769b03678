"""The interface of a metrics recorder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from dotflow.abc.noop import noop

if TYPE_CHECKING:
    from dotflow.abc.scheduler import Tick
    from dotflow.abc.scope import WorkerScope
    from dotflow.core.model import Task
    from dotflow.core.run import Run


class Metrics(ABC):
    """Told what happens, once each, in the process that owns the run.

    The six abstract hooks are those of dotflow 1.x. The others have defaults that call
    them or do nothing. An error in a hook is logged and never reaches the run.
    """

    @abstractmethod
    def workflow_started(self, workflow_id: Any, **kwargs: Any) -> None:
        """A run begins. Keyword: `mode`."""

    @abstractmethod
    def workflow_completed(self, workflow_id: Any, duration: float) -> None:
        """A run ended well after `duration` seconds."""

    @abstractmethod
    def workflow_failed(self, workflow_id: Any, duration: float) -> None:
        """A run failed after `duration` seconds."""

    @abstractmethod
    def task_completed(self, task: Task) -> None:
        """A task that ran has completed."""

    @abstractmethod
    def task_failed(self, task: Task) -> None:
        """A task that ran has failed for good; `task.failure` tells how."""

    @abstractmethod
    def task_retried(self, task: Task) -> None:
        """An attempt failed and another begins now; `task.failure` tells how."""

    def run_started(self, run: Run) -> None:
        """A run begins; by default as `workflow_started`."""
        self.workflow_started(workflow_id=run.workflow_id, mode=run.mode)

    def run_finished(self, run: Run) -> None:
        """A run has ended; by default as `workflow_failed` or `workflow_completed`."""
        ended = self.workflow_failed if run.failed else self.workflow_completed
        ended(run.workflow_id, run.duration or 0.0)

    @noop
    def task_started(self, task: Task) -> None:
        """A task's first attempt is about to start."""

    @noop
    def task_restored(self, task: Task) -> None:
        """A task was taken from its checkpoint and did not run."""

    @noop
    def task_skipped(self, task: Task) -> None:
        """A task will not run, because one before it in its chain failed."""

    @noop
    def task_timed_out(self, task: Task) -> None:
        """An attempt hit the task's timeout; its failure is told next."""

    @noop
    def worker_lost(self, task: Task) -> None:
        """The worker process died that ran an attempt; its failure is told next."""

    @noop
    def workers_changed(self, workers: int, busy: int) -> None:
        """The number of live workers of this process, or of those that run a step, has changed."""

    @noop
    def worker_scope(self, run: Run) -> WorkerScope | None:
        """Return what is set up in each worker of a run, to bring back what is counted there."""
        return None

    @noop
    def worker_recorded(self, recorded: object) -> None:
        """A worker scope has recorded something: what its `collect` or `drain` returned."""

    @noop
    def tick_fired(self, tick: Tick) -> None:
        """The run of a tick of a schedule begins; `tick.is_late` tells whether in time."""

    @noop
    def tick_skipped(self, tick: Tick, reason: str) -> None:
        """A tick of a schedule has no run.

        Args:
            tick: The tick.
            reason: `overlap`, `missed`, `stopped` or `no_thread`.
        """

    @noop
    def telemetry_error(self, provider: str, hook: str) -> None:
        """A hook of a provider raised. Called at every error, not only the logged one."""
