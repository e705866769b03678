"""One attempt in an executor that is not ours: packed, performed elsewhere, read back."""

from __future__ import annotations

import os
import socket
import sys
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

from dotflow.core.attempt import Attempt, Outcome
from dotflow.core.exception import PicklingFailed
from dotflow.core.failure import Failure
from dotflow.workers.performing import (
    dumped_value,
    failure_read,
    not_interrupted,
    perform_apart,
    scopes_prepared,
    scopes_read,
)
from dotflow.workers.pickling import dump, dump_or_none, is_found_elsewhere, load, load_or_none

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    from dotflow.core.action import Action


class Parcel(NamedTuple):
    """What comes back from another process, as plain values.

    Attributes:
        value: The result, pickled; None where the attempt failed.
        failure: The fields of the failure, the exception pickled or None.
        started: Seconds of the other process's monotonic clock.
        ended: Likewise.
        recorded: What the scopes recorded, pickled; None for nothing.
        pid: The other process.
        host: Its host.
    """

    value: bytes | None
    failure: tuple[Any, ...] | None
    started: float
    ended: float
    recorded: bytes | None
    pid: int
    host: str


class Packer:
    """Makes what travels of the attempts of one run.

    A step is pickled once. What it refers to is part of it, as it was then.
    """

    def __init__(self) -> None:
        # The step is kept, so that no other one gets its id.
        self._steps: dict[int, tuple[Action, bytes, Sequence[ModuleType]]] = {}

    def pack(self, attempt: Attempt) -> bytes:
        """Make what travels of an attempt.

        Raises:
            PicklingFailed: The step or a context of it cannot travel.
        """
        _, step, by_value = self._steps.get(id(attempt.step)) or self._packed_step(attempt)
        contexts = attempt.initial, attempt.previous
        given = dump(contexts, f"the input of step {attempt.name}", by_value)
        remote = dump_or_none(dict(attempt.remote)) if attempt.remote else None
        about = attempt.name, attempt.task_id, attempt.timeout, attempt.number
        return dump((step, given, remote, about), f"step {attempt.name}")

    def _packed_step(self, attempt: Attempt) -> tuple[Action, bytes, Sequence[ModuleType]]:
        by_value = _by_value(attempt)
        data = dump(attempt.step, f"step {attempt.name}", by_value)
        made = self._steps[id(attempt.step)] = attempt.step, data, by_value
        return made


def perform_packed(payload: bytes) -> Parcel:
    """Perform an attempt in this process. Raises nothing, whatever the step does."""
    began = monotonic()
    step, given, remote, about = load(payload, "an attempt")
    name, task_id, timeout, number = about
    scopes = scopes_read(remote)
    try:
        initial, previous = load(given, f"the input of step {name}")
        action = load(step, f"step {name}")
    except PicklingFailed as error:
        return _parcel(Outcome(None, Failure.of(error), began, monotonic()), name, {})
    call = Attempt(action, name, task_id, initial, previous, timeout, number=number)
    outcome = perform_apart(call, scopes)
    return _parcel(outcome, name, scopes.collect())


def perform_shared(attempt: Attempt) -> Outcome:
    """Perform an attempt in a thread of the owner's process, with its objects as they are."""
    scopes = scopes_prepared(attempt.remote)
    outcome = perform_apart(attempt, scopes)
    failure = None if outcome.failure is None else not_interrupted(outcome.failure)
    return outcome._replace(failure=failure, recorded=scopes.collect())


def unpacked(parcel: Parcel, name: str) -> Outcome:
    """Read what came back of an attempt."""
    value, failure = None, None
    if parcel.failure is not None:
        failure = failure_read(parcel.failure, parcel.failure[-1])
    elif parcel.value is not None:
        try:
            value = load(parcel.value, f"the result of step {name}")
        except PicklingFailed as error:
            failure = Failure.of(error)
    recorded = load_or_none(parcel.recorded) or {}
    return Outcome(value, failure, parcel.started, parcel.ended, recorded, parcel.pid, parcel.host)


def _parcel(outcome: Outcome, name: str, recorded: dict[str, object]) -> Parcel:
    value, failure = dumped_value(outcome, name)
    told = None
    if failure is not None:
        told = (*failure[:-1], dump_or_none(failure.exception))
    kept = dump_or_none(recorded) if recorded else None
    host = socket.gethostname()
    return Parcel(value, told, outcome.started, outcome.ended, kept, os.getpid(), host)


def _by_value(attempt: Attempt) -> Sequence[ModuleType]:
    module = getattr(attempt.step.func, "__module__", None) or "__main__"
    return () if is_found_elsewhere(module) else (sys.modules[module],)
