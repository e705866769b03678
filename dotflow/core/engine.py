"""The life of one task: restored or tried, completed or failed. The one writer of its state.

Values come first (duration, errors, context), then storage, then the status, then hooks, so
that no hook sees a task half-updated.
"""

from __future__ import annotations

import logging
import time
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

from dotflow.core.attempt import Attempt, perform
from dotflow.core.context import Context, uuid_or_none
from dotflow.core.failure import INTERRUPTED, TIMEOUT, WORKER_LOST, Failure
from dotflow.core.hooks import Hooks
from dotflow.core.task.model import basic_callback
from dotflow.core.types.status import TypeStatus

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from dotflow.abc.storage import Storage
    from dotflow.core.attempt import Outcome
    from dotflow.core.checkpoint import Checkpoints
    from dotflow.core.config import Config
    from dotflow.core.run import Run
    from dotflow.core.task.model import Task

_logger = logging.getLogger("dotflow")

_UNFINISHED = (TypeStatus.IN_PROGRESS, TypeStatus.RETRY)


class _Providers(NamedTuple):
    storage: Storage
    hooks: Hooks


class Engine:
    """Runs the tasks of one run, one at a time as its driver says.

    Args:
        run: The run.
        config: Its providers; None: each task's own.
        checkpoints: Where completed tasks are noted; None where nobody can resume.
        resume: Whether tasks are restored.
        keep_going: Whether a chain goes on after a failed task.
    """

    def __init__(
        self,
        run: Run,
        config: Config | None,
        checkpoints: Checkpoints | None,
        *,
        resume: bool,
        keep_going: bool,
    ) -> None:
        self.run = run
        self.keep_going = keep_going
        self._config = config
        self._checkpoints = checkpoints
        self._resume = resume
        self._context_id: UUID | None = uuid_or_none(run.workflow_id)
        self._offset = time.time() - monotonic()
        self._providers: dict[int, _Providers] = {}
        self._own = None if config is None else self._providers_of(config)
        self._hooks = self._own and self._own.hooks

    def adopt(self, task: Task) -> None:
        """Make a task part of this run, as fresh as when it was added."""
        if task.status != TypeStatus.NOT_STARTED or task.run is not None:
            task.reset()
        if task._config is None:
            task._config = self._config
        task.workflow_id = self.run.workflow_id
        task.run = self.run

    def providers(self, task: Task) -> _Providers:
        """Give the providers that a task's calls go to."""
        if task._config is self._config and self._own is not None:
            return self._own
        return self._providers_of(task.config)

    def _providers_of(self, config: Config) -> _Providers:
        found = self._providers.get(id(config))
        if found is None:
            found = self._providers[id(config)] = _Providers(config.storage, Hooks(config))
        return found

    def wall_time(self, clock: float) -> float:
        """Turn a time of the monotonic clock into seconds since the epoch."""
        return clock + self._offset

    # --- the run ----------------------------------------------------------------------

    def run_started(self) -> None:
        """Tell that the run begins."""
        if self._hooks:
            self._hooks.run_started(self.run)

    def run_finished(self, run: Run) -> None:
        """Tell that the run has ended."""
        if self._hooks:
            self._hooks.run_finished(run)

    def run_carrier(self) -> Mapping[str, str] | None:
        """Give what the tracer wants kept with the run's checkpoints."""
        return self._hooks.run_carrier(self.run) if self._hooks else None

    def workers_changed(self, workers: int, busy: int) -> None:
        """Tell how many workers live and how many of them are busy."""
        if self._hooks:
            self._hooks.workers_changed(workers, busy)

    # --- the whole life, here ---------------------------------------------------------

    def run_here(self, task: Task, before: Task | None) -> None:
        """Run a task from beginning to end in this thread.

        Args:
            task: The task.
            before: The task that hands its context on to this one, if any.

        Raises:
            KeyboardInterrupt, SystemExit: The step raised it; the task has failed by then.
        """
        try:
            if self.begin(task, before):
                self._try_here(task)
        except BaseException as error:
            self.abort(task, error)
            raise

    def _try_here(self, task: Task) -> None:
        while True:
            outcome = perform(self.attempt(task))
            delay = self.settle(task, outcome)
            if delay is None:
                break
            time.sleep(delay)
        failure = outcome.failure
        if failure is not None and failure.kind == INTERRUPTED and failure.exception:
            raise failure.exception

    # --- its phases -------------------------------------------------------------------

    def begin(self, task: Task, before: Task | None) -> bool:
        """Restore a task, or start it; tell whether it is to be tried."""
        providers = self.providers(task)
        problem: Exception | None = None
        try:
            if self._resume and self._restore(task, providers):
                return False
            if before is not None:
                task._previous = self._handed_on(before)
        except Exception as error:  # noqa: BLE001 - a storage error fails the task
            problem = error
        hooks = providers.hooks
        if hooks.ready:
            hooks.fire(hooks.ready, task)
        task._started = time.time()
        task.status = TypeStatus.IN_PROGRESS
        if hooks.started:
            hooks.fire(hooks.started, task)
        if problem is not None:
            self._fail(task, Failure.of(problem))
        return problem is None

    def attempt(self, task: Task) -> Attempt:
        """Give the next attempt of a task, to be performed in this process."""
        step = task.step
        hooks = self.providers(task).hooks
        return Attempt(
            step,
            task.name,
            task.task_id,
            task.initial_context if step.wants_initial else None,
            task._previous if step.wants_previous else None,
            step.timeout,
            hooks.scopes(task, task.attempt) if hooks.has_scopes else (),
            task.retry_count + 1,
        )

    def remote_attempt(self, task: Task) -> Attempt:
        """Give the next attempt of a task, to be performed elsewhere."""
        step = task.step
        return Attempt(
            step,
            task.name,
            task.task_id,
            task.initial_context if step.wants_initial else None,
            task._previous if step.wants_previous else None,
            step.timeout,
            number=task.attempt,
            remote=self.providers(task).hooks.remote_scopes(task, task.attempt),
        )

    def settle(self, task: Task, outcome: Outcome) -> float | None:
        """Take in how an attempt ended.

        Returns:
            The seconds to wait before the next attempt; None where the task has ended.
        """
        if task.retry_count == 0:
            task._started = outcome.started + self._offset
        providers = self.providers(task)
        hooks = providers.hooks
        if hooks.watches_attempts:
            hooks.attempt_finished(task, outcome)
        failure = outcome.failure
        if failure is None:
            self._finish(task, outcome.ended)
            self._complete(task, outcome.value, providers)
            return None
        task.failure = failure
        if failure.kind == TIMEOUT:
            hooks.fire(hooks.timed_out, task)
        elif failure.kind == WORKER_LOST:
            hooks.fire(hooks.worker_lost, task)
        policy = task.step.policy
        if failure.kind == INTERRUPTED or task.attempt >= policy.attempts:
            self._finish(task, outcome.ended)
            self._fail(task, failure)
            return None
        self._retry(task, failure)
        return policy.delay_after(task.retry_count)

    def abort(self, task: Task, error: BaseException) -> None:
        """Fail a task whose run is being interrupted, unless it has ended."""
        if task.status in _UNFINISHED:
            self._fail(task, Failure.of(error, INTERRUPTED))

    def skip(self, task: Task) -> None:
        """Tell of a task that will not run."""
        hooks = self.providers(task).hooks
        hooks.fire(hooks.skipped, task)

    # --- changes of state -------------------------------------------------------------

    def _restore(self, task: Task, providers: _Providers) -> bool:
        if self._checkpoints is None:
            return False
        context = self._checkpoints.restore(task, providers.storage)
        if context is None:
            return False
        task.restored = True
        task._current = context
        self._checkpoints.note(task)
        task.status = TypeStatus.COMPLETED
        providers.hooks.fire(providers.hooks.restored, task)
        return True

    def _handed_on(self, before: Task) -> Context:
        if before.restored:
            return before.current_context
        storage = self.providers(before).storage
        return Context.of(storage.get(key=storage.key(task=before)))

    def _complete(self, task: Task, value: Any, providers: _Providers) -> None:
        storage = providers.storage
        task._current = context = Context(value, task.task_id, self._context_id)
        context._time = task._finished
        try:
            storage.post(key=storage.key(task=task), context=context)
            if self._checkpoints is not None:
                self._checkpoints.note(task)
        except Exception as error:  # noqa: BLE001 - a storage error fails the task
            self._fail(task, Failure.of(error))
            return
        task.status = TypeStatus.COMPLETED
        hooks = providers.hooks
        if hooks.completed:
            hooks.fire(hooks.completed, task)
        if task.callback is not basic_callback:
            _call_back(task)

    def _retry(self, task: Task, failure: Failure) -> None:
        task.errors.append(failure.as_error(task.attempt))
        task.retry_count += 1
        task.status = TypeStatus.RETRY
        hooks = self.providers(task).hooks
        hooks.fire(hooks.retried, task)

    def _fail(self, task: Task, failure: Failure) -> None:
        providers = self.providers(task)
        if task._finished is None:
            self._finish(task, monotonic())
        task.errors.append(failure.as_error())
        task.failure = failure
        task._current = None
        self._store_nothing(task, providers.storage)
        task.status = TypeStatus.FAILED
        providers.hooks.fire(providers.hooks.failed, task)
        if task.callback is not basic_callback:
            _call_back(task)

    def _store_nothing(self, task: Task, storage: Storage) -> None:
        # The task has failed already: that its lack of a value cannot be stored is no news.
        try:
            context = Context(None, task.task_id, self._context_id)
            storage.post(key=storage.key(task=task), context=context)
        except Exception:
            _logger.exception("the failure of task %s could not be stored", task.name)

    def _finish(self, task: Task, ended: float) -> None:
        task._finished = finished = ended + self._offset
        duration = finished - task._started
        task.duration = duration if duration > 0 else 0.0


def _call_back(task: Task) -> None:
    try:
        task.callback(task=task)
    except Exception:
        _logger.exception("the callback of task %s raised; the run goes on", task.name)
