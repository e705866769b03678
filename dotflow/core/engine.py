"""The life of one task: restored or tried, completed or failed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from dotflow.core.attempt import Attempt, perform
from dotflow.core.failure import INTERRUPTED, Failure
from dotflow.core.types import UNFINISHED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dotflow.core.attempt import Outcome
    from dotflow.core.model import Task
    from dotflow.core.writer import TaskWriter


class Engine:
    """Runs the tasks of one run, one at a time as its driver says.

    Args:
        writer: What changes their state.
        resume: Whether tasks are restored.
        keep_going: Whether a chain goes on after a failed task.

    Attributes:
        keep_going: As above.
        resume: As above.
        perform: Runs an attempt.
        sleep: Waits for a number of seconds.
    """

    def __init__(self, writer: TaskWriter, *, resume: bool, keep_going: bool) -> None:
        self.keep_going = keep_going
        self.resume = resume
        self.perform: Callable[[Attempt], Outcome] = perform
        self.sleep: Callable[[float], None] = time.sleep
        self._writer = writer
        # A later run may need what a step was given, though this one tries the step once.
        self._repeatable = writer.keeps_checkpoints
        self._waiting: set[Task] = set()

    def restore(self, chain: Sequence[Task]) -> int:
        """Restore the first tasks of a chain, up to one that is to run.

        Returns:
            How many have ended so: the last one has failed where its checkpoint was unreadable.
        """
        for index, task in enumerate(chain):
            try:
                if not self._writer.restore(task):
                    # Before the task runs: were the run killed after that, a later one would
                    # take what followed from its former value for what follows from the new one.
                    self._writer.run_again(chain[index + 1 :])
                    return index
            except Exception as error:  # noqa: BLE001 - a storage error fails the task
                self._writer.start(task)
                self._writer.fail(task, Failure.of(error))
                return index + 1
        return len(chain)

    def run_here(self, task: Task, before: Task | None) -> None:
        """Run a task from beginning to end in this thread.

        Args:
            task: The task.
            before: The task before it, where that has a context for this one.

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
            outcome = self.perform(self.attempt(task))
            delay = self.settle(task, outcome)
            if delay is None:
                break
            self.sleep(delay)
            self.try_again(task)
        failure = outcome.failure
        if failure is None or failure.kind != INTERRUPTED:
            return
        if failure.exception is not None:
            raise failure.exception

    def begin(self, task: Task, before: Task | None) -> bool:
        """Start a task; return whether it is to be tried."""
        writer = self._writer
        problem: Exception | None = None
        if before is not None:
            try:
                writer.pass_context(before, task)
            except Exception as error:  # noqa: BLE001 - a storage error fails the task
                problem = error
        writer.start(task)
        if problem is not None:
            writer.fail(task, Failure.of(problem))
        return problem is None

    def attempt(self, task: Task) -> Attempt:
        """Return the next attempt of a task, to be performed in this process."""
        step = task.step
        policy = step.policy
        hooks = self._writer.providers(task).hooks
        return Attempt(
            step,
            task.name,
            task.task_id,
            # Also to a step that takes none: it may return an object whose methods do.
            task.initial_context if step.wants_initial else task._initial,
            task._previous,
            policy.timeout,
            hooks.scopes(task, task.attempt) if hooks.has_scopes else (),
            task.retry_count + 1,
            self._repeatable or policy.attempts > 1,
        )

    def remote_attempt(self, task: Task) -> Attempt:
        """Return the next attempt of a task, to be performed elsewhere."""
        step = task.step
        return Attempt(
            step,
            task.name,
            task.task_id,
            task.initial_context if step.sends_initial else None,
            task._previous if step.sends_previous else None,
            step.policy.timeout,
            (),
            task.attempt,
            self._repeatable or step.policy.attempts > 1,
            self._writer.providers(task).hooks.remote_scopes(task, task.attempt),
        )

    def note_ready(self, task: Task, ready: float) -> None:
        """Note since when a task could have begun, in time of the monotonic clock."""
        self._writer.note_ready(task, ready)

    def note_recorded(self, task: Task, recorded: Mapping[str, object]) -> None:
        """Notify of what an attempt that goes on elsewhere has recorded, by slot."""
        self._writer.providers(task).hooks.attempt_recorded(task, recorded)

    def settle(self, task: Task, outcome: Outcome, ready: float | None = None) -> float | None:
        """Process how an attempt ended.

        Args:
            task: Its task.
            outcome: How it ended.
            ready: Since when it had waited for a worker, in time of the monotonic clock; None:
                it did not wait.

        Returns:
            The seconds to wait before the next attempt; None where the task has ended.
        """
        writer = self._writer
        providers = writer.providers(task)
        hooks = providers.hooks
        if ready is not None:
            writer.note_queued(task, outcome.started - ready)
        if task.retry_count == 0:
            writer.note_start(task, outcome.started)
        if hooks.watches_attempts:
            hooks.attempt_finished(task, outcome)
        failure = outcome.failure
        if failure is None:
            writer.complete(task, outcome.value, outcome.ended, providers)
            return None
        writer.attempt_failed(task, failure)
        policy = task.step.policy
        if failure.kind == INTERRUPTED or task.attempt >= policy.attempts:
            writer.fail(task, failure, outcome.ended)
            return None
        self._waiting.add(task)
        writer.retry(task, failure)
        return policy.delay_after(task.retry_count)

    def try_again(self, task: Task) -> None:
        """Note that the wait between two attempts of a task is over, and the next one begins."""
        self._waiting.discard(task)
        self._writer.try_again(task)

    def abort(self, task: Task, error: BaseException) -> None:
        """Fail a task whose run is being interrupted, unless it has ended."""
        if task in self._waiting:
            self._waiting.discard(task)
            self._writer.undo_retry(task)
        if task.status in UNFINISHED:
            self._writer.fail(task, Failure.of(error, INTERRUPTED))
