"""The one writer of a task's state.

Values come first (duration, errors, context), then storage, then the status, then hooks, so
that no hook sees a task half-updated.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from dotflow.abc.noop import is_noop
from dotflow.core.context import Context, result_context, uuid_or_none
from dotflow.core.exception import TaskError
from dotflow.core.failure import INTERRUPTED, TIMEOUT, WORKER_LOST, Failure
from dotflow.core.guard import Deferred
from dotflow.core.hooks import Hooks
from dotflow.core.model import basic_callback
from dotflow.core.timing import monotonic
from dotflow.core.types import UNFINISHED, TypeStatus
from dotflow.core.user_objects import exc_info_of
from dotflow.providers.storage_default import StorageDefault, TaskEntries

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from dotflow.abc.storage import Storage
    from dotflow.core.checkpoint import Checkpoints
    from dotflow.core.config import Config
    from dotflow.core.guard import Calls
    from dotflow.core.model import Task
    from dotflow.core.run import Run

_logger = logging.getLogger("dotflow")


class Providers(NamedTuple):
    """What a task's calls go to."""

    storage: Storage
    hooks: Hooks


class TaskWriter:
    """Changes the state of the tasks of one run, and tells of each change.

    Args:
        run: The run.
        config: Its providers; None: each task's own.
        checkpoints: Where completed tasks are noted; None where nobody can resume.
        transient: Whether results are left in a `StorageDefault` no longer than the tasks live.

    Attributes:
        run: The run.
    """

    def __init__(
        self,
        run: Run,
        config: Config | None,
        checkpoints: Checkpoints | None,
        *,
        transient: bool = False,
    ) -> None:
        self.run = run
        self._config = config
        self._checkpoints = checkpoints
        self._context_id: UUID | None = uuid_or_none(run.workflow_id)
        self._offset = time.time() - monotonic()
        self._providers: dict[int, Providers] = {}
        self._own = None if config is None else self._providers_of(config)
        record_keys = () if checkpoints is None else checkpoints.keys
        self._entries = TaskEntries(run.workflow_id, record_keys) if transient else None

    @property
    def keeps_checkpoints(self) -> bool:
        """Whether a later run can resume this one."""
        return self._checkpoints is not None

    def adopt(self, tasks: Sequence[Task]) -> None:
        """Make tasks part of this run, each as fresh as when it was added."""
        run, config, entries = self.run, self._config, self._entries
        earlier: set[TaskEntries | None] = set()
        for task in tasks:
            if task.status != TypeStatus.NOT_STARTED or task.run is not None:
                earlier.add(task._entries)
                task.reset()
            if task._config is None:
                task._config = config
            task.workflow_id = run.workflow_id
            task.run = run
            task._entries = entries
        if entries is not None:
            self._take_over(tasks, entries)
        for each in earlier:
            if each is not None and each is not entries:
                ids = {task.task_id for task in tasks}
                each.release(run.workflow_id, ids, record=self.keeps_checkpoints)

    def _take_over(self, tasks: Sequence[Task], entries: TaskEntries) -> None:
        config, own = self._config, self._own
        if own is not None:
            task_ids = [task.task_id for task in tasks if task._config is config]
            entries.add(own.storage, task_ids)
            if len(task_ids) == len(tasks):
                return
        for task in tasks:
            if own is None or task._config is not config:
                entries.add(task.config.storage, [task.task_id])

    def providers(self, task: Task) -> Providers:
        """Return the providers that a task's calls go to."""
        if task._config is self._config and self._own is not None:
            return self._own
        return self._providers_of(task.config)

    def _providers_of(self, config: Config) -> Providers:
        found = self._providers.get(id(config))
        if found is None:
            found = self._providers[id(config)] = Providers(config.storage, Hooks(config))
        return found

    def note_ready(self, task: Task, ready: float) -> None:
        """Note since when a task could have begun, in time of the monotonic clock."""
        task.ready_at = ready + self._offset

    def note_queued(self, task: Task, seconds: float) -> None:
        """Note how long the last attempt of a task waited for a worker, in seconds."""
        task.queue_duration = max(0.0, seconds)

    def pass_context(self, before: Task, task: Task) -> None:
        """Pass the context of the task before on to the next one, as the storage has it."""
        if before.restored:
            task._previous = before.current_context
            return
        storage = self.providers(before).storage
        task._previous = Context.of(storage.get(key=storage.key(task=before)))

    def start(self, task: Task) -> None:
        """Say that a task begins."""
        hooks = self.providers(task).hooks
        if hooks.ready:
            hooks.fire(hooks.ready, task)
        task._started = time.time()
        task.status = TypeStatus.IN_PROGRESS
        if hooks.started:
            hooks.fire(hooks.started, task)

    def note_start(self, task: Task, started: float) -> None:
        """Note when the first attempt really started, in time of the monotonic clock."""
        task._started = started + self._offset

    def report_others(
        self, tasks: Sequence[Task], error: BaseException | None
    ) -> BaseException | None:
        """Report the tasks that the engine did not run or end, at the end of the run.

        Those that an override of a Manager's mode ran by itself have started and ended, and
        all others are skipped.

        Returns:
            The first interruption that came meanwhile; all were reported nevertheless.
        """
        deferred, rest = Deferred(), iter(tasks)
        while True:
            with deferred:
                for task in rest:  # goes on behind the task where an interruption came
                    if task._started is None and not task.restored:
                        self._report_other(task)
                    elif task.status in UNFINISHED:
                        self._fail_left_over(task, error)
                return deferred.first

    def _report_other(self, task: Task) -> None:
        hooks = self.providers(task).hooks
        if task.status == TypeStatus.COMPLETED:
            self._report_run(task, hooks, hooks.completed)
        elif task.status == TypeStatus.FAILED:
            self._report_run(task, hooks, hooks.failed)
        else:
            hooks.fire(hooks.skipped, task)

    def _fail_left_over(self, task: Task, error: BaseException | None) -> None:
        # A further interrupt came while the task was failed for a first one.
        if task.status == TypeStatus.RETRY:
            self.undo_retry(task)
        reason = KeyboardInterrupt() if error is None else error
        self.fail(task, Failure.of(reason, INTERRUPTED))

    def _report_run(self, task: Task, hooks: Hooks, ended: Calls) -> None:
        if task.status == TypeStatus.FAILED and task.failure is None:
            task.failure = Failure.recorded(task._errors[-1] if task._errors else TaskError())
        hooks.fire(hooks.ready, task)
        task._started = task._started or time.time()
        self._finish(task, monotonic())
        hooks.fire(hooks.started, task)
        hooks.fire(ended, task)

    def restore(self, task: Task) -> bool:
        """Complete a task from its checkpoint; tell whether there was one."""
        if self._checkpoints is None:
            return False
        providers = self.providers(task)
        context = self._checkpoints.restore(task, providers.storage)
        if context is None:
            return False
        task.restored = True
        task._current = context
        self._checkpoints.note_restored(task)
        task.status = TypeStatus.COMPLETED
        providers.hooks.fire(providers.hooks.restored, task)
        return True

    def run_again(self, tasks: Sequence[Task]) -> None:
        """Note that the checkpoints of tasks count no more."""
        if self._checkpoints is not None:
            self._checkpoints.run_again(tasks)

    def complete(self, task: Task, value: Any, ended: float, providers: Providers) -> None:
        """Complete a task whose last attempt ended, at a time of the monotonic clock."""
        storage, hooks = providers
        self._finish(task, ended)
        context = result_context(value, task.task_id, self._context_id, task._finished)
        task._current = context
        try:
            if self._checkpoints is None:
                storage.post(key=storage.key(task=task), context=context)
            else:
                self._checkpoints.complete(task, storage, context)
        except Exception as error:  # noqa: BLE001 - a storage error fails the task
            self.fail(task, Failure.of(error))
            return
        task.failure = None  # of an attempt before the last
        task.status = TypeStatus.COMPLETED
        if hooks.completed:
            hooks.fire(hooks.completed, task)
        if task.callback is not basic_callback:
            _call_back(task)

    def attempt_failed(self, task: Task, failure: Failure) -> None:
        """Note how an attempt failed, whether or not another is to follow."""
        task.failure = failure
        hooks = self.providers(task).hooks
        if failure.kind == TIMEOUT:
            hooks.fire(hooks.timed_out, task)
        elif failure.kind == WORKER_LOST:
            hooks.fire(hooks.worker_lost, task)

    def retry(self, task: Task, failure: Failure) -> None:
        """Note a failed attempt that another is to follow."""
        task.errors.append(failure.as_error(task.attempt))
        task.retry_count += 1
        task.status = TypeStatus.RETRY
        hooks = self.providers(task).hooks
        hooks.fire(hooks.retried, task)

    def try_again(self, task: Task) -> None:
        """Notify of an attempt that follows a failed one."""
        hooks = self.providers(task).hooks
        hooks.fire(hooks.tried_again, task)

    def undo_retry(self, task: Task) -> None:
        """Note that no attempt follows the failed one after all."""
        task.retry_count -= 1

    def fail(self, task: Task, failure: Failure, ended: float | None = None) -> None:
        """Fail a task for good; its last attempt ended then, or now."""
        storage, hooks = self.providers(task)
        self._finish(task, monotonic() if ended is None else ended)
        task.errors.append(failure.as_error())
        task.failure = failure
        task._current = None
        self._store_nothing(task, storage)
        task.status = TypeStatus.FAILED
        hooks.fire(hooks.failed, task)
        if task.callback is not basic_callback:
            _call_back(task)

    def _store_nothing(self, task: Task, storage: Storage) -> None:
        if self._checkpoints is not None and self._checkpoints.is_lost:
            return  # the place is another run's
        # The task has failed already: that its lack of a value cannot be stored is no news.
        try:
            context = Context(None, task.task_id, self._context_id)
            storage.post(key=storage.key(task=task), context=context)
        except Exception as error:
            text = "the failure of task %s could not be stored"
            _logger.exception(text, task.name, exc_info=exc_info_of(error))

    def _finish(self, task: Task, ended: float) -> None:
        task._finished = finished = ended + self._offset
        duration = finished - task._started
        task.duration = duration if duration > 0 else 0.0


class ServingTaskWriter(TaskWriter):
    """Has what the tracer says entered around the storage and the callback of a task."""

    def complete(self, task: Task, value: Any, ended: float, providers: Providers) -> None:
        """Complete a task: see `TaskWriter`."""
        if task.callback is basic_callback and type(providers.storage) is StorageDefault:
            super().complete(task, value, ended, providers)
            return
        with providers.hooks.task_scope(task):
            super().complete(task, value, ended, providers)

    def fail(self, task: Task, failure: Failure, ended: float | None = None) -> None:
        """Fail a task for good: see `TaskWriter`."""
        with self.providers(task).hooks.task_scope(task):
            super().fail(task, failure, ended)


def writer_for(config: Config | None) -> type[TaskWriter]:
    """Return what writes the tasks of a run with such providers."""
    serves = config is not None and not is_noop(config.tracer.task_scope)
    return ServingTaskWriter if serves else TaskWriter


def _call_back(task: Task) -> None:
    try:
        task.callback(task=task)
    except Exception as error:
        text = "the callback of task %s raised; the run goes on"
        _logger.exception(text, task.name, exc_info=exc_info_of(error))


def release_entries(tasks: Sequence[Task], successors: Sequence[Task], *, record: bool) -> None:
    """Leave what tasks have in a storage to later tasks with the same ids.

    Args:
        tasks: Those that ran.
        successors: Those that run next.
        record: Whether these write the record of the workflow.
    """
    ids = {task.task_id for task in successors}
    for entries in {task._entries for task in tasks}:
        if entries is not None:
            entries.release(successors[0].workflow_id, ids, record=record)
