"""The facade: a queue of tasks, and the run of it."""

from __future__ import annotations

import logging
import os
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from dotflow.core.arguments import check_text, parameters_of, refuse_unknown, strict_arguments
from dotflow.core.config import Config, check_config
from dotflow.core.exception import MissingScheduler, RunInProgress
from dotflow.core.hooks import ScheduleHooks, call
from dotflow.core.modes import RUN_OPTIONS, check_run_options, check_workflow_id
from dotflow.core.process import fork_safe_lock
from dotflow.core.run import check_may_run
from dotflow.core.task import TaskBuilder
from dotflow.core.workflow import Manager
from dotflow.core.writer import release_entries
from dotflow.providers.scheduler_default import SchedulerDefault

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Never, Unpack
    from uuid import UUID

    from dotflow.core.awaited import AwaitedRun
    from dotflow.core.context import Context
    from dotflow.core.model import Task
    from dotflow.core.options import RunOptions

# Arguments of `Manager` and of others that belong elsewhere here.
_SET_ELSEWHERE: Final = {
    "config": "DotFlow(config=...)",
    "executor": "Config(executor=...)",
    "name": "DotFlow(name=...)",
    "retry": "@action(retry=...)",
    "tasks": "DotFlow.task.add(...)",
    "timeout": "@action(timeout=...)",
    "workers": "Config(executor=ExecutorLocal(workers=...))",
    "workflow_id": "DotFlow(workflow_id=...)",
    "workflow_name": "DotFlow(name=...)",
}

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
        InvalidOption: `config` is no `Config`, `workflow_id` neither text nor UUID, or `name`
            no text.
        TypeError: There is no such argument.
    """

    @strict_arguments
    def __init__(
        self,
        config: Config | None = None,
        workflow_id: str | UUID | None = None,
        name: str | None = None,
    ) -> None:
        check_config(config)
        check_workflow_id(workflow_id or None)  # an empty text: as if none were given
        check_text("name", name, optional=True, blank=True)
        given = workflow_id or os.environ.get("WORKFLOW_ID")
        self.config = Config() if config is None else config
        self.workflow_id: Any = given or uuid4()
        self.name = name or "workflow"
        self.task = TaskBuilder(self.config, self.workflow_id, self.name, stable_ids=bool(given))
        self._is_named = bool(given)
        self._manager: Manager | None = None
        # The tasks of the last tick of a schedule, once there was one.
        self._ticked: list[Task] | None = None
        self._ticking = 0  # how many ticks run that have the queue's ids: none or one
        self._lock = fork_safe_lock()
        if not given:
            call(self.config, "server", "create_workflow", workflow=self)

    def start(self, *positional: Never, **options: Unpack[RunOptions]) -> Manager:
        """Run the queue.

        A queue that ran already is not run again: the first `Manager` is returned, with a
        warning, also while it still runs in the background. A run that was interrupted is
        started again, and with `resume=True` one that failed, from its checkpoints.

        Args:
            *positional: Refused.
            **options: See `dotflow.core.options.RunOptions`.

        Raises:
            ExecutionModeNotExist: There is no such mode.
            InputChangedError: The input of a resumed run changed and the policy is `raise`.
            InvalidOnInputChange: There is no such policy.
            InvalidOption: Another option has a value that it cannot have.
            NotCallableObject: A callback cannot be called with `tasks=`.
            RunInProgress: Another call, or a tick of a schedule, is running at this moment.
            TypeError: There is no such option.
            UnstableInput: The input of a resumed run has no fingerprint, and none was given.
            WorkflowInUse: Another run with the same `workflow_id` and storage goes on.
        """
        _check_names("start", positional, options)
        check_run_options(options)
        return self._start(options)

    async def start_async(self, *positional: Never, **options: Unpack[RunOptions]) -> Manager:
        """Run the queue in a thread, and await its end; the event loop is never blocked.

        All of it runs there: steps, providers, callbacks. It sees the context variables of this
        task, as the current span. In the mode `background` it is awaited until it has begun.

        Where this is cancelled, as for a client that went away, the run ends first: its steps have
        failed as interrupted, its workers have ended, its events have been sent. A coroutine step
        is cancelled; what another one does in the thread is abandoned. A second cancellation
        does not wait for that.

        Args:
            *positional: Refused.
            **options: See `dotflow.core.options.RunOptions`.

        Raises:
            CancelledError: It was cancelled.
            Exception: As `start`.
        """
        _check_names("start_async", positional, options)
        check_run_options(options)
        from dotflow.core.awaited import AwaitedRun  # noqa: PLC0415 - imports asyncio

        run: AwaitedRun[Manager] = AwaitedRun(partial(self._start, options), self.name)
        return await run.result()

    def _start(self, options: RunOptions, awaited: AwaitedRun[Manager] | None = None) -> Manager:
        manager: Manager | None = None
        try:
            with self._lock:
                ran = self._ran_already(options)
                if ran is not None:
                    _logger.warning(
                        "workflow %s ran already, and its queue is unchanged: nothing is run. "
                        "Add tasks, or start a new DotFlow.",
                        self.name,
                    )
                    return ran
                manager = self._manager = self._prepared(self.task.queue, options)
                self._ticked = None
            if awaited is not None:
                awaited.give_up = manager.end_elsewhere
            manager.execute(awaited)
        except BaseException as error:
            while manager is not None:
                try:
                    manager.abandon(error)
                    break
                except KeyboardInterrupt:  # Ctrl-C again: each call goes on where one was cut short
                    continue
            raise
        return manager

    def _ran_already(self, options: RunOptions) -> Manager | None:
        """Return the Manager of the run that is not to be run again, if there was one."""
        ran = self._manager
        is_changed = ran is None or ran.tasks != self.task.queue
        is_running = ran is not None and ran.is_running
        if self._ticking or (is_running and (is_changed or not hasattr(ran, "thread"))):
            raise RunInProgress(self.name)
        if ran is None or is_changed or ran.interrupted:
            return None
        return None if options.get("resume") and ran.failed else ran

    def schedule(self, *positional: Never, **options: Unpack[RunOptions]) -> Any:
        """Pass the workflow to the scheduler, which runs the queue again at each tick.

        Each tick runs tasks of its own, made from the queue as it is then, and takes as long as
        its run, also in the background. `result()` and the like are those of the last tick.

        Args:
            *positional: Refused.
            **options: Those of `start`, at each tick, and those of the scheduler's own. With
                `resume=True` a tick resumes from the checkpoints of a run that failed, and starts
                again after one that completed.

        Returns:
            What the scheduler's `start` returns.

        Raises:
            MissingScheduler: `Config(scheduler=...)` was not set.
            TypeError: There is no such option. Values are checked as by `start`, before the
                first tick.
        """
        check_may_run()
        scheduler = self.config.scheduler
        if type(scheduler).start is SchedulerDefault.start:
            raise MissingScheduler
        _check_names("schedule", positional, options, parameters_of(scheduler.start))
        check_run_options(options)
        call(self.config, "scheduler", "observe", ScheduleHooks(self.config, self.name))
        return scheduler.start(workflow=self._tick, **options)

    def _tick(self, **options: Unpack[RunOptions]) -> Manager:
        # Beside another run, whose ids and checkpoints these are, a tick has ids of its own.
        with self._lock:
            alone = not self._ticking and (self._manager is None or not self._manager.is_running)
            self._ticking += alone
        try:
            if not alone or (options.get("resume") and self._completed_before()):
                options["resume"] = False
            tasks = self.task.copies(same_ids=alone)
            manager = self._prepared(tasks, options, keep=self._is_named and alone)
            if alone:
                self._ticked = tasks
            manager.execute()
            if hasattr(manager, "thread"):
                # A scheduler allows or forbids runs at the same time by when a tick ends.
                manager.thread.join()
            return manager
        finally:
            with self._lock:
                self._ticking -= alone

    def _completed_before(self) -> bool:
        from dotflow.core.checkpoint import Checkpoints  # noqa: PLC0415 - few flows have some

        return Checkpoints.read(self.config.storage, self.workflow_id).finished

    def _prepared(
        self, tasks: list[Task], options: RunOptions, *, keep: bool | None = None
    ) -> Manager:
        manager = Manager(
            tasks=tasks,
            workflow_id=self.workflow_id,
            config=self.config,
            workflow_name=self.name,
            keep_checkpoints=self._is_named if keep is None else keep,
            start=False,
            **options,
        )
        before = self._ticked if tasks is self.task.queue else self.result_task()
        if before and tasks:
            release_entries(before, tasks, record=bool(options.get("resume")))
        return manager

    def result_task(self) -> list[Task]:
        """Return the tasks."""
        return list(self.task.queue if self._ticked is None else self._ticked)

    def result_context(self) -> list[Context]:
        """Return the context that each task returned."""
        return [task.current_context for task in self.result_task()]

    def result_storage(self) -> list[Any]:
        """Return the value that each task returned; None where it did not run."""
        return [task.current_context.storage for task in self.result_task()]

    def result(self) -> dict[str, Any]:
        """Return the workflow as a dictionary."""
        return self.task.result() if self._ticked is None else self.task.result(self._ticked)


def _check_names(
    method: str, positional: Sequence[Any], options: RunOptions, further: Iterable[str] = ()
) -> None:
    if positional:
        raise TypeError(
            f"DotFlow.{method}() takes no positional argument, but got {len(positional)}: pass "
            f"options by name, as in {method}(mode='parallel')"
        )
    known = [*RUN_OPTIONS, *further]
    for name in options:
        if name in _SET_ELSEWHERE and name not in known:
            where = _SET_ELSEWHERE[name]
            raise TypeError(f"DotFlow.{method}() takes no argument {name!r}: it is set by {where}")
    refuse_unknown(f"DotFlow.{method}", options, known)
