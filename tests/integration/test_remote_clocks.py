"""Attempts on other machines, whose clocks tell how long and not when."""

from __future__ import annotations

import logging
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from log_records import records_kept
from observed import is_child
from opentelemetry import trace
from remote.process import RemoteProcess, remote_process

from dotflow import action

if TYPE_CHECKING:
    from collections.abc import Iterator

    from observed import Observed
    from opentelemetry.sdk.trace import ReadableSpan

tracer = trace.get_tracer("steps")

_HOUR = 3600

# The other machine's name, and how many seconds its clocks are ahead of ours.
MACHINES = {
    "ahead": ("elsewhere", _HOUR, 5 * _HOUR),
    "behind": ("elsewhere", -_HOUR, -_HOUR // 60),
    "of the same name": (socket.gethostname(), _HOUR, 5 * _HOUR),
}


@pytest.fixture(scope="module", params=MACHINES.values(), ids=MACHINES)
def machine(request: pytest.FixtureRequest) -> Iterator[tuple[str, RemoteProcess]]:
    """Return the name of another machine, and a process there."""
    host, wall, monotonic = request.param
    setup = f"from remote import clocks; clocks.be_elsewhere({host!r}, {wall}, {monotonic})"
    for remote in remote_process(threads=2, setup=setup):
        yield host, remote


@pytest.fixture
def kept() -> Iterator[list[logging.LogRecord]]:
    """Keep what this application handles."""
    with records_kept() as records:
        yield records


@action
def measures() -> tuple[int, ...]:
    """Open spans and give the times of its machine's clock that they have, and a log's."""
    first = time.time_ns()
    span = tracer.start_span("first", start_time=first)
    sent = time.time_ns()
    span.add_event("sent", timestamp=sent)
    logging.getLogger("app").warning("sent")
    structlog.get_logger().warning("an event")
    between = time.time_ns()
    span.end(between)
    tracer.start_span("second", start_time=between).end(last := time.time_ns())
    return first, sent, between, last


@action
def writes() -> int:
    """Write into the attempt's own span."""
    trace.get_current_span().add_event("mine")
    return time.time_ns()


def times_of(span: ReadableSpan) -> tuple[int, int]:
    """Return when a span began and ended."""
    assert span.start_time is not None
    assert span.end_time is not None
    return span.start_time, span.end_time


def lies_within(inner: ReadableSpan, outer: ReadableSpan) -> bool:
    """Return whether a span began and ended while another one lasted."""
    (first, last), (began, ended) = times_of(outer), times_of(inner)
    return first <= began <= ended <= last


def attempt_of(observed: Observed, task: str) -> ReadableSpan:
    """Return the span of the only attempt of a task."""
    above = observed.ended(f"task {task}")
    (found,) = (span for span in observed.finished if is_child(span, above))
    return found


def test_all_spans_of_an_attempt_are_shifted_by_one_time(
    observed: Observed, machine: tuple[str, RemoteProcess]
) -> None:
    """Spans lie within their attempt, that within its task; durations and gaps are as measured."""
    observed.config.executor = machine[1].executor()
    manager = observed.run(measures, mode="parallel")
    first, second = observed.ended("first"), observed.ended("second")
    attempt = attempt_of(observed, "measures")
    assert lies_within(attempt, observed.ended("task measures"))
    assert lies_within(first, attempt)
    assert lies_within(second, attempt)
    (event,) = first.events
    shown = (times_of(first)[0], event.timestamp, *times_of(second))
    measured = manager.tasks[0].current_context.storage
    assert len({here - there for here, there in zip(shown, measured, strict=True)}) == 1
    assert times_of(first)[1] == times_of(second)[0]


def test_the_attempts_own_span_too(observed: Observed, machine: tuple[str, RemoteProcess]) -> None:
    """An attempt's span that the step wrote into is shifted with its events."""
    observed.config.executor = machine[1].executor()
    observed.run(writes, mode="parallel")
    attempt = attempt_of(observed, "writes")
    assert lies_within(attempt, observed.ended("task writes"))
    (event,) = attempt.events
    began, ended = times_of(attempt)
    assert began <= event.timestamp <= ended


def test_log_records_are_shifted_as_the_spans_are(
    observed: Observed, machine: tuple[str, RemoteProcess], kept: list[logging.LogRecord]
) -> None:
    """What the step logged lies within the span in which it was logged."""
    events: list[dict[str, Any]] = []

    def keep(logger: Any, method: str, event: dict[str, Any]) -> str:
        events.append(event)
        return ""

    observed.config.executor = machine[1].executor()
    structlog.configure(processors=[keep])
    try:
        observed.run(measures, mode="parallel")
    finally:
        structlog.reset_defaults()
    began, ended = times_of(observed.ended("first"))
    (record,) = (record for record in kept if record.name == "app")
    # These are floats: some hundred nanoseconds are lost.
    assert began - 1000 <= record.created * 1e9 <= ended + 1000
    assert record.msecs == record.created % 1 * 1000 // 1
    (event,) = (event for event in events if event["event"] == "an event")
    logged = _nanoseconds(event["logged_at"])
    assert began - 2000 <= logged <= ended + 2000


def _nanoseconds(text: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp() * 1e9


def test_what_an_attempt_tells_of_its_machine(
    observed: Observed, machine: tuple[str, RemoteProcess]
) -> None:
    """Its process and host are those of the other machine; its wait is reckoned on our clock."""
    host, remote = machine
    observed.config.executor = remote.executor()
    manager = observed.run(measures, mode="parallel")
    attempt, (task,) = attempt_of(observed, "measures"), manager.tasks
    told = dict(attempt.attributes or {})
    queued = task.queue_duration
    assert told == {
        "dotflow.attempt.number": 1,
        "dotflow.task.queue.duration": queued,
        "process.pid": remote.pid,
        "host.name": host,
    }
    assert queued == observed.metric(
        "dotflow_task_queue_seconds_sum", workflow="billing", task="measures"
    )
    began, ended = times_of(observed.ended("task measures"))
    assert 0 < queued < (ended - began) / 1e9
    assert task.duration + queued <= (ended - began) / 1e9


def test_the_machine_is_believed_that_shares_our_clock(observed: Observed) -> None:
    """On this machine times are as they were taken."""
    for remote in remote_process(threads=1):
        observed.config.executor = remote.executor()
        manager = observed.run(measures, mode="parallel")
        first, second = observed.ended("first"), observed.ended("second")
        shown = (times_of(first)[0], first.events[0].timestamp, *times_of(second))
        assert shown == manager.tasks[0].current_context.storage
