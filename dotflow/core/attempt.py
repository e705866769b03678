"""One call of one step: the same in this thread, in a worker process, on another machine.

Of a class step the actions among the instance's methods are run, one after another.
"""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from dotflow.core.action import Action, methods_of
from dotflow.core.context import Context, own_context
from dotflow.core.failure import Failure
from dotflow.core.guard import method_scopes, within
from dotflow.core.ids import fresh_id
from dotflow.core.limit import Limit, SharedLoop, shared_loop
from dotflow.core.timing import monotonic
from dotflow.core.user_objects import (
    PLAIN,
    attribute_of,
    is_written_in_c,
    mro_of,
    namespace_of,
    repr_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager

    from dotflow.abc.scope import RemoteScope


_logger = logging.getLogger("dotflow")


def actions_of(value: object) -> Sequence[Action]:
    """Return the actions of an instance's class, bound to it, in the order of definition.

    Looks at the classes alone: no property is evaluated and no source is read. Those of a
    base class come first; an override keeps the place of what it overrides.
    """
    found: dict[str, Action | None] = {}
    for owner in reversed(mro_of(type(value))):
        namespace = namespace_of(owner)
        if is_written_in_c(owner):  # it has no actions, but may hide some
            found.update(dict.fromkeys(found.keys() & namespace.keys()))
            continue
        for name, attribute in sorted(namespace.items(), key=_number):
            if name in found or _action_in(attribute) is not None:
                found[name] = _bound(attribute, value)
    return [action for action in found.values() if action is not None]


def _number(item: tuple[str, object]) -> int:
    action = _action_in(item[1])
    return -1 if action is None else action.number


def _action_in(attribute: object) -> Action | None:
    # By its type alone: a lazy attribute of a class stays unevaluated.
    kind = type(attribute)
    inner: Any = attribute
    if issubclass(kind, (staticmethod, classmethod)):
        inner = attribute_of(attribute, "__func__")
    return inner if issubclass(type(inner), Action) and inner.func is not None else None


def _bound(attribute: object, value: object) -> Action | None:
    action = _action_in(attribute)
    kind = type(attribute)
    if action is None or issubclass(kind, staticmethod):
        return action
    return action.__get__(type(value) if issubclass(kind, classmethod) else value)


def run_methods(
    actions: Sequence[Action],
    initial: Context | None,
    previous: Context | None,
    scopes: Sequence[AbstractContextManager[object]] = (),
) -> list[Context]:
    """Run the actions of a class step; each gets what the one before returned.

    One that may be repeated gets copies, so that each of its attempts finds the same.

    Args:
        actions: The methods.
        initial: The task's initial context.
        previous: What the first one gets.
        scopes: What is entered around the attempt, asked for what goes around each method.
    """
    contexts: list[Context] = []
    for action in actions:
        around = method_scopes(scopes, action, None)
        value = within(around, partial(_tried, action, initial, previous, scopes))
        previous = Context(value, task_id=fresh_id())
        contexts.append(previous)
    return contexts


def _tried(
    action: Action,
    initial: Context | None,
    previous: Context | None,
    scopes: Sequence[AbstractContextManager[object]],
) -> Any:
    policy = action.policy
    if policy.attempts == 1:
        return _run_limited(action, initial, previous)
    attempt = 1
    while True:
        try:
            around = method_scopes(scopes, action, attempt)
            return within(around, partial(_run_limited, action, *_own(action, initial, previous)))
        except Exception as error:
            if attempt == policy.attempts:
                raise
            _logger.warning(
                "%s failed in attempt %d of %d: %s",
                action.name,
                attempt,
                policy.attempts,
                repr_of(error),
            )
        time.sleep(policy.delay_after(attempt))
        attempt += 1


def _own(
    action: Action, initial: Context | None, previous: Context | None
) -> tuple[Context | None, Context | None]:
    return (
        own_context(initial) if action.wants_initial else None,
        own_context(previous) if action.wants_previous else None,
    )


def _run_limited(action: Action, initial: Context | None, previous: Context | None) -> Any:
    if not action.policy.timeout:
        return action.run(initial, previous)
    limit = Limit(action.policy.timeout, action.name)
    return limit.call(partial(action.run, initial, previous))


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
    scopes: Sequence[AbstractContextManager[object]] = ()
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
        if step.wants_initial:
            initial = own_context(initial)
        if step.wants_previous:
            previous = own_context(previous)
    value = step.call(initial, previous)
    kind = type(value)
    # As `is_plain` has it, which most values are: nothing is left to be run.
    if type(kind) is type and kind in PLAIN:
        return value

    from dotflow.core.unfinished import finished  # noqa: PLC0415 - few values need it

    value = finished(value, methods_of)
    actions = actions_of(value)
    if not actions:
        return value
    if attempt.copies:
        initial, previous = own_context(attempt.initial), own_context(attempt.previous)
    if shared_loop() is not None:
        return run_methods(actions, initial, previous, attempt.scopes)
    with SharedLoop():  # in a worker, where it belongs to no chain
        return run_methods(actions, initial, previous, attempt.scopes)
