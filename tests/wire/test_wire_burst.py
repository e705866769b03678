"""A step that records much, and a receiver that takes its time: nothing is lost."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from wire.records import entries_of
from wire.sender import Wire

if TYPE_CHECKING:
    from wire.receivers import OwnReceiver

MANY = 5000
EXPORTERS = {"OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "otlp"}
EVENTS = ["task.completed", "task.started", "workflow.completed", "workflow.started"]


@pytest.mark.parametrize(
    ("mode", "seconds"),
    [
        ("sequential", 5),
        ("sequential_group", 5),
        ("background", 5),
        ("parallel", 5),
        # What a worker has recorded does not come faster than the receiver takes it.
        ("parallel", 0),
    ],
)
def test_a_burst(own_receiver: OwnReceiver, mode: str, seconds: int) -> None:
    """All that a step records arrives once, and so do the run's own spans and events."""
    own_receiver.conduct("http/protobuf").be_slow(0.3)
    try:
        wire = Wire(own_receiver, "http/protobuf")
        done = wire.run("burst.py", mode, MANY, seconds, **EXPORTERS)
    finally:
        own_receiver.conduct("http/protobuf").heal()
        own_receiver.take()
    spans = Counter(
        span.name
        for request in done.sent.traces
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    )
    own = ["attempt"] if mode == "parallel" else []
    expected = [*own, "task step", "workflow burst", *(f"query {each}" for each in range(MANY))]
    assert spans == Counter(expected)
    entries = list(entries_of(done.sent.logs))
    rows = [entry.record.body.string_value for entry in entries if entry.scope == "app"]
    assert Counter(rows) == Counter(f"row {each}" for each in range(MANY))
    assert sorted(str(entry.event) for entry in entries if entry.event) == EVENTS
