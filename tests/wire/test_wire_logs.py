"""Log records as they come over the wire, read by two receivers over both protocols."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest
from wire.records import Entry, entries_of
from wire.spans import Node, double, integer, string

if TYPE_CHECKING:
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
    from wire.signals import Signals

SEVERITIES = {
    "started": (9, "INFO"),
    "completed": (9, "INFO"),
    "retried": (13, "WARN"),
    "skipped": (13, "WARN"),
    "failed": (17, "ERROR"),
}

EVENTS = [
    ("workflow.started", ""),
    ("task.started", "read"),
    ("task.completed", "read"),
    ("task.started", "unsteady"),
    ("task.retried", "unsteady"),
    ("task.completed", "unsteady"),
    ("task.started", "late"),
    ("task.retried", "late"),
    ("task.failed", "late"),
    ("task.started", "broken"),
    ("task.failed", "broken"),
    ("task.skipped", "never"),
    ("workflow.failed", ""),
]


class Story(NamedTuple):
    """What the program has sent of one run."""

    mode: str
    began: int
    ended: int
    root: Node
    requests: list[ExportLogsServiceRequest]
    entries: list[Entry]

    @property
    def events(self) -> list[Entry]:
        """The records that are events of ours."""
        return [entry for entry in self.entries if entry.event]

    def event(self, name: str, task: str | None = None) -> Entry:
        """Return the one record of an event."""
        (found,) = (entry for entry in self.events if (entry.event, entry.task) == (name, task))
        return found


@pytest.fixture(scope="module")
def story(signals: Signals) -> Story:
    """Return what a program has sent to each receiver, by each protocol, of each kind of run."""
    logs = signals.sent.logs
    entries = list(entries_of(logs))
    return Story(signals.mode, signals.began, signals.ended, signals.root, logs, entries)


def test_events(story: Story) -> None:
    """Each event is sent once; by their times they are in order."""
    events = sorted(story.events, key=lambda entry: int(entry.record.time_unix_nano))
    found = [(str(entry.event), entry.task or "") for entry in events]
    if story.mode == "sequential":
        assert found == EVENTS
    else:
        assert (found[0], found[-1]) == (EVENTS[0], EVENTS[-1])
        assert sorted(found) == sorted(EVENTS)


def test_severities(story: Story) -> None:
    """Each event has the severity of its kind, by number and by name."""
    for entry in story.events:
        expected = SEVERITIES[str(entry.event).partition(".")[2]]
        assert (entry.record.severity_number, entry.record.severity_text) == expected


def test_ids_of_spans(story: Story) -> None:
    """An event of a task carries the ids of its span, one of the run those of the workflow's."""
    for entry in story.events:
        if entry.event == "task.skipped":
            continue  # what did not run has no span
        node = story.root if entry.task is None else story.root.only(f"task {entry.task}")
        assert entry.record.trace_id == node.span.trace_id
        assert entry.record.span_id == node.span.span_id


def test_attributes(story: Story) -> None:
    """Events tell ids, names, attempt, duration and error, each with its type."""
    attributes = dict(story.event("task.failed", "late").attributes)
    attributes.pop("event.name", None)
    duration, exception = attributes.pop("duration"), attributes.pop("exception")
    of_task = story.root.only("task late").attributes
    assert attributes == {
        "workflow_id": of_task["dotflow.workflow.id"],
        "workflow": string("orders"),
        "task_id": of_task["dotflow.task.id"],
        "task": string("late"),
        "group": string("late"),
        "attempt": integer(2),
        "error_type": string("timeout"),
        "error": string("late did not end within its timeout of 0.2 s"),
    }
    assert duration == double(duration.value)
    assert 0.4 <= duration.value <= 10
    assert exception.kind == "string"


def test_attempt_that_failed(story: Story) -> None:
    """What is told of a retry is the attempt that failed."""
    attributes = story.event("task.retried", "unsteady").attributes
    assert attributes["attempt"] == integer(1)
    assert attributes["error_type"] == string("ConnectionError")
    assert attributes["error"] == string("busy")


def test_times(story: Story) -> None:
    """Times are nanoseconds since the epoch, inside those of the run."""
    for entry in story.entries:
        assert story.began <= entry.record.time_unix_nano <= story.ended
        assert entry.record.observed_time_unix_nano >= entry.record.time_unix_nano


def test_record_of_a_step(story: Story) -> None:
    """A record of the standard library is sent with the ids of the step that wrote it."""
    (entry,) = (entry for entry in story.entries if entry.scope == "shop")
    task = story.root.only("task read")
    # In a worker the attempt has a span, which is the current one there.
    span = (task.children[0] if story.mode == "parallel" else task).span
    record = entry.record
    assert record.body.string_value == "7 rows"
    assert (record.severity_number, record.severity_text) == (13, "WARN")
    assert (record.trace_id, record.span_id) == (span.trace_id, span.span_id)
    assert entry.attributes["task"] == string("read")
    assert entry.attributes["task_id"] == task.attributes["dotflow.task.id"]
    assert entry.event is None


def test_resource(story: Story) -> None:
    """Records carry the resource that spans carry."""
    assert all(entry.resource == story.root.resource for entry in story.entries)
    assert story.entries[0].resource["service.name"] == string("shop")


def test_no_secret_is_sent(story: Story) -> None:
    """Neither what a step was given nor what it returned is in a record."""
    assert b"secret" not in b"".join(request.SerializeToString() for request in story.requests)
