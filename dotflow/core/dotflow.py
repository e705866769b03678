"""The facade: a queue of tasks, and the run of it."""

from __future__ import annotations

import logging
import os
from threading import Lock
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from dotflow.core.checkpoint import Checkpoints
from dotflow.core.config import Config
from dotflow.core.exception import InvalidOption
from dotflow.core.hooks import call
from dotflow.core.nesting import check_may_run
from dotflow.core.task import TaskBuilder
from dotflow.core.workflow import Manager

if TYPE_CHECKING:
    from dotflow.core.context import Context
    from dotflow.core.task import Task

_logger = logging.getLogger("dotflow")


class DotFlow:
    """A workflow: add steps to `task`, then `start` it.

    Args:
        config: The providers; None: the default ones.
        workflow_id: Any text or UUID that names the workflow, so that a later run can
            resume this one; by default the environment's `WORKFLOW_ID`, else a fresh UUID4.
        name: What it is called in logs, traces and metrics.

    Attributes:
        task: The `TaskBuilder` with the queue.

    Raises:
        InvalidOption: `config` is no `Config`.
    """

    def __init__(
        self, config: Config | None = None, workflow_id: Any = None, name: str | None = None
    ) -> None:
        if config is not None and not isinstance(config, Config):
            hint = "give a Config, or what dotflow_otel.observe() returns"
            raise InvalidOption("config", config, hint)
        given = workflow_id or os.environ.get("WORKFLOW_ID")
        self.config = Config() if config is None else config
        self.workflow_id: Any = given or uuid4()
        self.name = name or "workflow"
        self.task = TaskBuilder(self.config, self.workflow_id, self.name, stable_ids=bool(given))
        self._is_named = bool(given)
        self._manager: Manager | None = None
        self._schedule_lock = Lock()
        self._ticking = 0
        if not given:
            call(self.config, "server", "create_workflow", workflow=self)

    def start(self, **kwargs: Any) -> Manager:
        """Run the queue; keywords are those of `Manager`.

        A queue that ran already is not run again: the first `Manager` is given, with a
        warning. With `resume=True` one that failed runs again, from its checkpoints.
        """
        if self._manager is not None and not self._may_run(kwargs):
            _logger.warning(
                "workflow %s ran already, and its queue is unchanged: nothing is run. "
                "Add tasks, or start a new DotFlow.",
                self.name,
            )
            return self._manager
        self._manager = self._run(self.task.queue, **kwargs)
        return self._manager

    def _may_run(self, kwargs: dict[str, Any]) -> bool:
        assert self._manager is not None  # noqa: S101 - asked only after a run
        changed = self._manager.tasks != self.task.queue
        return changed or (bool(kwargs.get("resume")) and self._manager.failed)

    def schedule(self, **kwargs: Any) -> Any:
        """Give the workflow to the scheduler, which runs the queue anew at each tick.

        Keywords are passed to `start` at each tick. With `resume=True` a tick goes on from
        the checkpoints of a run that failed, and starts anew after one that completed.
        """
        check_may_run()
        return self.config.scheduler.start(workflow=self._tick, **kwargs)

    def _tick(self, **kwargs: Any) -> Manager:
        with self._schedule_lock:
            alone = self._ticking == 0
            self._ticking += 1
        try:
            if not alone:
                # Another tick runs these very tasks: this one gets its own, which share
                # neither state nor checkpoints with them.
                apart = {"keep_checkpoints": False, "resume": False}
                return self._run(self.task.copies(), **{**kwargs, **apart})
            if kwargs.get("resume") and self._completed_before():
                kwargs["resume"] = False
            self._manager = self._run(self.task.queue, **kwargs)
            return self._manager
        finally:
            with self._schedule_lock:
                self._ticking -= 1

    def _completed_before(self) -> bool:
        return Checkpoints.read(self.config.storage, self.workflow_id).finished

    def _run(self, tasks: list[Task], **kwargs: Any) -> Manager:
        kwargs.setdefault("workflow_name", self.name)
        kwargs.setdefault("keep_checkpoints", self._is_named)
        return Manager(tasks=tasks, workflow_id=self.workflow_id, config=self.config, **kwargs)

    def result_task(self) -> list[Task]:
        """Give the tasks."""
        return list(self.task.queue)

    def result_context(self) -> list[Context]:
        """Give the context that each task returned."""
        return [task.current_context for task in self.task.queue]

    def result_storage(self) -> list[Any]:
        """Give the value that each task returned; None where it did not run."""
        return [task.current_context.storage for task in self.task.queue]

    def result(self) -> dict[str, Any]:
        """Give the workflow as a dictionary."""
        return self.task.result()
