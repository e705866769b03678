"""One call of one step: the same in this thread, in a worker process, on another machine."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from dotflow.core.action import methods_of
from dotflow.core.clock import monotonic
from dotflow.core.failure import Failure
from dotflow.core.limit import Limit
from dotflow.core.scopes import within
from dotflow.core.user_objects import PLAIN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dotflow.abc.scope import RemoteScope, Scope
    from dotflow.core.action import Action
    from dotflow.core.context import Context

_NO_SCOPES: Mapping[str, RemoteScope] = {}
_NOTHING: Mapping[str, object] = {}


class Attempt(NamedTuple):
    """What is to be run: a value that pickles if its step and contexts do.

    Attributes:
        step: The step.
        name: The task's name, for messages.
        task_id: The task's id.
        initial: The task's initial context; to a worker only where the step takes it.
        previous: What the task before handed on; likewise.
        timeout: Seconds, 0 for no limit.
        scopes: What is entered around the step, in this process.
        number: Which attempt of the task this is, from 1.
        copies: Whether the step gets copies of the contexts, because the values are needed again
            as they are; what travels to a worker is a copy as it is.
        remote: What is entered around the step in a worker, by slot.
    """

    step: Action
    name: str
    task_id: str
    initial: Context | None
    previous: Context | None
    timeout: float
    scopes: Sequence[Scope] = ()
    number: int = 1
    copies: bool = False
    remote: Mapping[str, RemoteScope] = _NO_SCOPES


class Outcome(NamedTuple):
    """How an attempt ended.

    Attributes:
        value: What the step returned.
        failure: How it failed; None where it did not.
        started: When the step started, in seconds of the run's monotonic clock.
        ended: When it ended, likewise.
        recorded: What the remote scopes recorded, by slot; empty in this process.
        pid: The worker's process id; None in this process.
        host: The worker's host name; None in this process.
        shift: Nanoseconds by which this process's wall clock was ahead of the worker's, where
            that is another machine.
    """

    value: Any
    failure: Failure | None
    started: float
    ended: float
    recorded: Mapping[str, object] = _NOTHING
    pid: int | None = None
    host: str | None = None
    shift: int = 0

    @classmethod
    def failed(cls, failure: Failure, started: float | None = None) -> Outcome:
        """Return the outcome of an attempt that has failed just now.

        Args:
            failure: How.
            started: When it started; None: it never did.
        """
        ended = monotonic()
        return cls(None, failure, ended if started is None else started, ended)


def perform(attempt: Attempt) -> Outcome:
    """Run an attempt here and tell how it ended. Raises nothing, whatever the step does."""
    started = monotonic()
    try:
        run = _limited if attempt.timeout else _run
        scopes = attempt.scopes
        value = within(scopes, partial(run, attempt)) if scopes else run(attempt)
    except BaseException as error:  # noqa: BLE001 - the outcome tells; the engine decides
        return Outcome.failed(Failure.of(error), started)
    return Outcome(value, None, started, monotonic())


def _limited(attempt: Attempt) -> Any:
    return Limit(attempt.timeout, attempt.name).call(partial(_run, attempt))


def _run(attempt: Attempt) -> Any:
    step, initial, previous = attempt.step, attempt.initial, attempt.previous
    if attempt.copies:
        from dotflow.core.copies import own_context  # noqa: PLC0415 - for steps that are repeated

        if step.wants_initial:
            initial = own_context(initial)
        if step.wants_previous:
            previous = own_context(previous)
    value = step.call(initial, previous)
    kind = type(value)
    # As `is_plain` has it, which most values are: nothing is left to be run.
    if type(kind) is type and kind in PLAIN:
        return value

    from dotflow.core.steps import actions_of, run_methods  # noqa: PLC0415 - few values need it
    from dotflow.core.unfinished import finished  # noqa: PLC0415 - likewise

    value = finished(value, methods_of)
    actions = actions_of(value)
    if not actions:
        return value
    if attempt.copies:
        from dotflow.core.copies import own_context  # noqa: PLC0415 - likewise

        initial, previous = own_context(attempt.initial), own_context(attempt.previous)
    return run_methods(actions, initial, previous, attempt.scopes)
