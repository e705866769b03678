"""Performing an attempt away from its run: the same in our workers and in those of others."""

from __future__ import annotations

import logging
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Final

from dotflow.core.attempt import perform
from dotflow.core.failure import ERROR, INTERRUPTED, Failure
from dotflow.core.guard import Guard, GuardedScopes
from dotflow.core.run import note_reading
from dotflow.core.user_objects import exc_info_of, name_of
from dotflow.workers.pickling import dump_in_pieces, is_small, load_or_none

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dotflow.abc.scope import RemoteScope
    from dotflow.core.attempt import Attempt, Outcome

_logger = logging.getLogger("dotflow")


def _report(slot: str, hook: str, error: Exception) -> None:
    text = "%s of the %s failed in a worker; the step is not affected"
    _logger.error(text, hook, slot, exc_info=exc_info_of(error))


_guard: Final = Guard(_report)

# For an attempt without any. It has no state, so one does for all.
NO_SCOPES: Final = GuardedScopes((), _guard)


# The names of the attempts that run in this process now. A list, for threads need no lock to add
# to it or remove from it.
_running: Final[list[str]] = []


def running_attempts() -> int:
    """Return how many attempts run in this process now, with and without scopes."""
    return len(_running)


def scopes_read(remote: bytes | None) -> GuardedScopes:
    """Read the scopes that came along, and have them set up what the step may look for."""
    scopes: dict[str, RemoteScope] | None = load_or_none(remote)
    if scopes is None and remote is not None:
        _logger.warning("the scopes of an attempt cannot be read; the step runs without them")
    return scopes_prepared(scopes or {})


def scopes_prepared(scopes: Mapping[str, RemoteScope]) -> GuardedScopes:
    """Prepare scopes: what the step may look for, before that is read with its modules."""
    guarded = guarded_scopes(scopes)
    guarded.prepare()
    return guarded


def guarded_scopes(scopes: Mapping[str, RemoteScope]) -> GuardedScopes:
    """Return the scopes of an attempt as one, whose errors are logged here."""
    return GuardedScopes(list(scopes.items()), _guard)


def scopes_made(
    sent: Sequence[tuple[Any, ...]], shared: Mapping[int, Any]
) -> Mapping[str, RemoteScope]:
    """Make the scopes of an attempt, where it runs, of what was sent and the shared data."""
    scopes = {}
    for slot, key, given in sent:
        scope = _scope_of(shared.get(key), given) if key else load_or_none(given)
        if scope is None:
            _logger.warning("a scope of an attempt cannot be read; the step runs without it")
        else:
            scopes[slot] = scope
    return scopes


def _scope_of(shared: Any, given: Sequence[Any]) -> RemoteScope | None:
    if shared is None:
        return None
    try:
        scope: RemoteScope = shared.scope(*given)
    except Exception:
        _logger.exception("a scope of an attempt cannot be made; the step runs without it")
        return None
    return scope


def perform_separately(attempt: Attempt, scopes: GuardedScopes) -> Outcome:
    """Perform an attempt in a context of its own: what a step binds is not there in the next.

    The step may begin a run, wherever the attempt was read.
    """
    call = attempt._replace(scopes=(scopes,)) if scopes else attempt
    was_reading = note_reading(False)
    _running.append(attempt.name)
    try:
        return copy_context().run(perform, call)
    finally:
        _running.pop()
        note_reading(was_reading)


def dumped_value(
    outcome: Outcome, name: str, *, by_name: bool = True, has_main: bool = False
) -> tuple[Sequence[bytes] | None, Failure | None]:
    """Return the value of an outcome as it travels, or how the attempt failed, or that it cannot.

    Args:
        outcome: The outcome.
        name: The task's name.
        by_name: As of `dump_in_pieces`.
        has_main: Likewise.
    """
    if outcome.failure is not None:
        return None, not_interrupted(outcome.failure)
    if is_small(outcome.value):  # as most steps return
        return dump_in_pieces(outcome.value, ""), None
    try:
        what = f"the result of step {name} ({name_of(type(outcome.value))})"
        return dump_in_pieces(outcome.value, what, by_name=by_name, has_main=has_main), None
    except BaseException as error:  # noqa: BLE001 - of the value; it ends no worker
        return None, not_interrupted(Failure.of(error))


def not_interrupted(failure: Failure) -> Failure:
    """Return an interrupt as a failure like any other: nobody pressed Ctrl-C in a worker."""
    return failure._replace(kind=ERROR) if failure.kind == INTERRUPTED else failure


def failure_read(fields: Sequence[Any], exception: bytes | None) -> Failure:
    """Read how an attempt failed, with its exception where that could travel."""
    raised = load_or_none(exception)
    is_error = issubclass(type(raised), BaseException)
    return Failure(*fields)._replace(exception=raised if is_error else None)
