"""One run of a workflow, from its checks to its end."""

from __future__ import annotations

from datetime import datetime
from time import monotonic
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from dotflow.core.background import start_in_background
from dotflow.core.checkpoint import Checkpoints, open_checkpoints
from dotflow.core.config import default_config
from dotflow.core.engine import Engine
from dotflow.core.exception import InvalidOnInputChange
from dotflow.core.hooks import RunHooks
from dotflow.core.ids import fresh_id
from dotflow.core.modes import check_mode, grouper, plan, run_chains_here
from dotflow.core.nesting import check_may_run
from dotflow.core.run import Run
from dotflow.core.task.model import basic_callback
from dotflow.core.types.execution import TypeExecution
from dotflow.core.types.input_change import VALID_POLICIES, TypeInputChange
from dotflow.core.types.status import TypeStatus
from dotflow.core.writer import TaskWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from threading import Thread

    from dotflow.core.config import Config
    from dotflow.core.task.model import Task

__all__ = ["Manager", "grouper"]


class Manager:
    """Runs tasks as one workflow. Making it runs them.

    Args:
        tasks: The tasks.
        on_success: Called as `on_success(tasks=[...])` if no task failed.
        on_failure: Called as `on_failure(tasks=[...])` if one did.
        mode: `sequential`, `sequential_group`, `background` or `parallel`.
        keep_going: Whether a chain of tasks goes on after a failed one.
        workflow_id: The id of the workflow; a fresh UUID4 unless given.
        resume: Whether tasks that completed in an earlier run are restored, not run.
        on_input_change: What a resumed run does when the input changed: `reuse` the
            checkpoints, `reset` them, or `raise`.
        fingerprint: Stands for the input, in place of one made from the initial contexts.
        config: The providers; None: each task's own, and no events of the workflow.
        workflow_name: What the workflow is called in logs, traces and metrics.
        keep_checkpoints: Whether a later run can resume this one; by default where
            `workflow_id` is given or `resume` is set.

    Attributes:
        started: When the run began: naive local time.
        thread: The thread of a background run.

    Raises:
        ExecutionModeNotExist: There is no such mode.
        InvalidOnInputChange: There is no such policy.
        InputChangedError: The input changed and the policy is `raise`.
        UnstableInput: The input of a resumed run has no fingerprint, and none was given.
        RunWhileReading: A worker is still reading the step that it shall run.
    """

    thread: Thread

    def __init__(
        self,
        tasks: Sequence[Task],
        on_success: Callable[..., Any] = basic_callback,
        on_failure: Callable[..., Any] = basic_callback,
        mode: str = TypeExecution.SEQUENTIAL,
        keep_going: bool = False,
        workflow_id: Any = None,
        resume: bool = False,
        on_input_change: str = TypeInputChange.REUSE,
        fingerprint: str | None = None,
        config: Config | None = None,
        workflow_name: str | None = None,
        keep_checkpoints: bool | None = None,
    ) -> None:
        check_may_run()
        check_mode(mode)
        _check_policy(on_input_change)
        self.tasks = list(tasks)
        self.on_success = on_success
        self.on_failure = on_failure
        self.workflow_id = uuid4() if workflow_id is None else workflow_id
        self.config = config
        self.on_input_change = on_input_change
        self.fingerprint = fingerprint
        self.started = datetime.now()

        self._plan = plan(mode, self.tasks)
        self._checkpoints = self._open_checkpoints(
            resume=resume,
            keep=config is not None and workflow_id is not None
            if keep_checkpoints is None
            else keep_checkpoints,
        )
        self._run = self._new_run(workflow_name or "workflow")
        self._hooks = RunHooks(config)
        self._writer = TaskWriter(self._run, config, self._checkpoints)
        self._engine = Engine(self._writer, resume=resume, keep_going=keep_going)
        self._begin()
        if self._plan.in_thread:
            self.thread = self._started_thread()
        else:
            self._execute()

    @property
    def failed(self) -> bool:
        """Whether the run has ended and failed."""
        return self._run.failed

    def _open_checkpoints(self, *, resume: bool, keep: bool) -> Checkpoints | None:
        if not (resume or keep):
            return None
        config = self.config or (self.tasks[0].config if self.tasks else default_config())
        return open_checkpoints(
            config.storage,
            self.workflow_id,
            self.tasks,
            resume=resume,
            on_input_change=self.on_input_change,
            fingerprint=self.fingerprint,
        )

    def _new_run(self, name: str) -> Run:
        return Run(
            id=fresh_id(),
            workflow_id=self.workflow_id,
            name=name,
            mode=self._plan.mode,
            task_count=len(self.tasks),
            started_at=self.started.timestamp(),
            resumed_from=self._checkpoints.carrier if self._checkpoints else None,
        )

    def _begin(self) -> None:
        self._clock = monotonic()
        for task in self.tasks:
            self._writer.adopt(task)
        try:
            self._hooks.run_started(self._run)
        except BaseException as error:
            self._finish(error)
            raise

    def _started_thread(self) -> Thread:
        try:
            return start_in_background(self._execute, self._run.name)
        except RuntimeError as error:
            self._finish(error)
            raise

    def _execute(self) -> None:
        try:
            self._drive()
            if self._checkpoints:
                self._checkpoints.finish(completed=not self._has_failed_task())
        except BaseException as error:
            self._finish(error)
            raise
        self._finish(None)

    def _drive(self) -> None:
        if self._checkpoints:
            self._checkpoints.begin(self._hooks.run_carrier(self._run))
        chains = self._plan.chains
        if not self._plan.in_workers:
            run_chains_here(self._engine, chains)
        elif self.tasks:
            from dotflow.core.parallel import run_chains_in_workers  # noqa: PLC0415

            executor = (self.config or self.tasks[0].config).executor
            run_chains_in_workers(self._engine, chains, executor, self._hooks.workers_changed)

    def _finish(self, error: BaseException | None) -> None:
        interruption = self._tell_of_skipped()
        error = error or interruption
        failed = error is not None or self._has_failed_task()
        duration = monotonic() - self._clock
        self._run = self._run.finished(duration, failed=failed, error=error)
        self._hooks.run_finished(self._run)
        (self.on_failure if failed else self.on_success)(tasks=list(self.tasks))
        if interruption is not None:
            raise interruption

    def _tell_of_skipped(self) -> BaseException | None:
        # An interruption here ends nothing any more: all are told, and then it is raised.
        interruption: BaseException | None = None
        for task in self.tasks if self._hooks.counts else ():
            if task.status == TypeStatus.NOT_STARTED:
                try:
                    self._writer.skip(task)
                except BaseException as error:  # noqa: BLE001 - raised by the caller
                    interruption = interruption or error
        return interruption

    def _has_failed_task(self) -> bool:
        return any(task.status == TypeStatus.FAILED for task in self.tasks)


def _check_policy(policy: str) -> None:
    if policy not in VALID_POLICIES:
        raise InvalidOnInputChange(policy)
