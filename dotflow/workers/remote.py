"""One attempt in an executor that is not ours: packed, performed elsewhere, read back."""

from __future__ import annotations

import os
import socket
from time import time_ns
from typing import TYPE_CHECKING, Any, NamedTuple

from dotflow.core.attempt import Attempt, Outcome
from dotflow.core.exception import PicklingFailed
from dotflow.core.failure import Failure
from dotflow.core.run import note_reading
from dotflow.core.timing import monotonic, monotonic_ns
from dotflow.workers.payload import StepStore
from dotflow.workers.performing import (
    dumped_value,
    failure_read,
    not_interrupted,
    perform_separately,
    scopes_prepared,
    scopes_read,
)
from dotflow.workers.pickling import (
    dump,
    dump_contexts,
    dump_or_none,
    load,
    load_or_none,
    load_step,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dotflow.abc.scope import WorkerScope


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
        to_wall: Nanoseconds from its monotonic clock to its wall clock.
        shared: What the scopes of its process recorded, pickled; None for nothing.
    """

    value: bytes | None
    failure: tuple[Any, ...] | None
    started: float
    ended: float
    recorded: bytes | None
    pid: int
    host: str
    to_wall: int
    shared: bytes | None = None


class Packer:
    """Makes what travels of the attempts of one run. A step is pickled once, as it was then."""

    def __init__(self) -> None:
        self._steps = StepStore()
        self._shared: bytes | None = None

    def share(self, scopes: Mapping[str, WorkerScope]) -> None:
        """Register scopes that are set up where attempts run, for all of them."""
        self._shared = dump_or_none(scopes)

    def pack(self, attempt: Attempt) -> bytes:
        """Make what travels of an attempt.

        Raises:
            PicklingFailed: The step or a context of it cannot travel.
        """
        step, seeds = self._steps.seeded(attempt)
        contexts = attempt.initial, attempt.previous
        what = f"the input of step {attempt.name}"
        modules, by_name = self._steps.modules, self._steps.by_name
        given = b"".join(dump_contexts(contexts, what, modules, by_name=by_name))
        remote = dump_or_none(dict(attempt.remote)) if attempt.remote else None
        about = attempt.name, attempt.task_id, attempt.timeout, attempt.number, seeds, step.by_name
        sent = step.data, given, remote, self._shared, about
        return dump(sent, f"step {attempt.name}")


def perform_packed(payload: bytes) -> Parcel:
    """Perform an attempt in this process. Raises nothing, whatever the step does."""
    was_reading = note_reading(True)
    try:
        return _performed(payload)
    finally:
        note_reading(was_reading)


def _performed(payload: bytes) -> Parcel:
    began = monotonic()
    step, given, remote, shared, about = load(payload, "an attempt")
    name, task_id, timeout, number, seeds, by_name = about
    around = scopes_read(shared)
    scopes = scopes_read(remote)
    try:
        initial, previous = load(given, f"the input of step {name}")
        what = f"step {name}"
        action = load_step(step, what, seeds) if seeds else load(step, what)
    except BaseException as error:  # noqa: BLE001 - reading may import what exits; the run is told
        failed = Outcome.failed(Failure.of(error), began)
        return _parcel(failed, name, scopes.collect(), around.collect())
    call = Attempt(action, name, task_id, initial, previous, timeout, number=number)
    outcome = perform_separately(call, scopes)
    return _parcel(outcome, name, scopes.collect(), around.collect(), by_name=by_name)


def perform_shared(attempt: Attempt) -> Outcome:
    """Perform an attempt in a thread of the owner's process, with its objects as they are."""
    scopes = scopes_prepared(attempt.remote)
    outcome = perform_separately(attempt, scopes)
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


def _parcel(
    outcome: Outcome,
    name: str,
    recorded: dict[str, object],
    shared: dict[str, object],
    *,
    by_name: bool = True,
) -> Parcel:
    pieces, failure = dumped_value(outcome, name, by_name=by_name)
    value = None if pieces is None else b"".join(pieces)
    told = None
    if failure is not None:
        told = (*failure[:-1], dump_or_none(failure.exception, by_name=by_name))
    kept = dump_or_none(recorded) if recorded else None
    of_all = dump_or_none(shared) if shared else None
    host = socket.gethostname()
    to_wall = time_ns() - monotonic_ns()
    times = outcome.started, outcome.ended
    return Parcel(value, told, *times, kept, os.getpid(), host, to_wall, of_all)
