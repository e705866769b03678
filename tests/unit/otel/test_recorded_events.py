"""Recorded log events, and the configuration that a recording gives."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from prometheus_client import CollectorRegistry

from dotflow import DotFlow, action
from dotflow.core.exception import NotCallableObject
from dotflow.providers import StorageDefault
from dotflow_otel import LogStructlog, RecordedTelemetry, record_telemetry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dotflow import Config


@pytest.fixture
def telemetry() -> Iterator[RecordedTelemetry]:
    """Return a recording that leaves the global tracer provider alone."""
    with record_telemetry(global_tracer=False) as recorded:
        yield recorded


@action
def load() -> int:
    """Succeed."""
    return 1


@action
def save() -> None:
    """Fail."""
    raise ValueError("disk full")


def run(config: Config, *steps: Any) -> None:
    """Run steps as the workflow `billing`."""
    flow = DotFlow(config=config, name="billing")
    flow.task.add(list(steps))
    flow.start()


def message(function: Any, *args: Any, **kwargs: Any) -> str:
    """Return the text of the AssertionError that a call raises."""
    with pytest.raises(AssertionError) as caught:
        function(*args, **kwargs)
    return str(caught.value)


def test_events(telemetry: RecordedTelemetry, capsys: pytest.CaptureFixture[str]) -> None:
    """Each event is a record, in order, with the fields of its line; nothing is written."""
    run(telemetry.config, load, save)
    assert [(event.event, event.level) for event in telemetry.events] == [
        ("workflow.started", "info"),
        ("task.started", "info"),
        ("task.completed", "info"),
        ("task.started", "info"),
        ("task.failed", "error"),
        ("workflow.failed", "error"),
    ]
    failed, span = telemetry.event("task.failed", task="save"), telemetry.span("task save")
    assert failed.timestamp.endswith("Z")
    assert failed["error_type"] == "ValueError"
    assert (failed["trace_id"], failed["span_id"]) == (span.trace_id, span.span_id)
    assert failed.get("nonsense", "absent") == "absent"
    assert set(failed.fields) == {
        "workflow_id", "workflow", "task_id", "task", "group", "attempt", "duration",
        "error_type", "error", "exception", "trace_id", "span_id",
    }  # fmt: skip
    assert capsys.readouterr() == ("", "")


def test_find_events(telemetry: RecordedTelemetry) -> None:
    """Events are found by name, level and fields, together or one by one."""
    run(telemetry.config, load, save)
    assert len(telemetry.find_events("task.started")) == 2
    assert len(telemetry.find_events(task="save")) == 2
    assert len(telemetry.find_events(level="error")) == 2
    assert len(telemetry.find_events()) == 6
    assert telemetry.find_events("task.started", task="nine") == []


def test_the_level_can_be_chosen() -> None:
    """A recording keeps what the level lets through."""
    with record_telemetry(level="ERROR", global_tracer=False) as telemetry:
        run(telemetry.config, load, save)
        assert [event.event for event in telemetry.events] == ["task.failed", "workflow.failed"]


def test_an_event_that_is_not_there(telemetry: RecordedTelemetry) -> None:
    """The message has near names, and what was logged."""
    run(telemetry.config, save)
    assert message(telemetry.event, "task.faild") == (
        "no event 'task.faild' was logged; "
        "did you mean 'task.failed', 'task.started' or 'task.skipped'?\n"
        "logged:\n"
        "  workflow.started workflow='billing'\n"
        "  task.started workflow='billing', task='save', group='default', attempt=1\n"
        "  task.failed workflow='billing', task='save', group='default', attempt=1, "
        "error_type='ValueError'\n"
        "  workflow.failed workflow='billing', error_type='ValueError'"
    )
    assert message(telemetry.event, "task.retried").splitlines()[0] == (
        "no event 'task.retried' was logged"
    )


def test_an_event_that_does_not_fit(telemetry: RecordedTelemetry) -> None:
    """The message shows the events of the name alone."""
    run(telemetry.config, load, save)
    assert message(telemetry.event, "task.failed", task="load", attempt=2) == (
        "no event 'task.failed' with task='load', attempt=2 was logged\n"
        "logged:\n"
        "  task.failed workflow='billing', task='save', group='default', attempt=1, "
        "error_type='ValueError'"
    )


def test_more_than_one_event(telemetry: RecordedTelemetry) -> None:
    """The message shows those that fit."""
    run(telemetry.config, load, load)
    assert message(telemetry.event, "task.completed") == (
        "2 events 'task.completed' were logged, not one; say which by its fields\n"
        "  task.completed workflow='billing', task='load', group='default', attempt=1\n"
        "  task.completed workflow='billing', task='load', group='default', attempt=1"
    )


def test_nothing_logged(telemetry: RecordedTelemetry) -> None:
    """Without any event the message tells what may be the reason."""
    assert message(telemetry.event, "task.failed") == (
        "no event 'task.failed' was logged\n"
        "nothing was logged: is `telemetry.config` the workflow's config?"
    )


def test_an_application_that_configured_structlog(telemetry: RecordedTelemetry) -> None:
    """Events are recorded, and also go where the application's structlog writes."""
    lines = io.StringIO()
    structlog.configure(
        processors=[structlog.processors.JSONRenderer()],
        logger_factory=structlog.PrintLoggerFactory(lines),
    )
    try:
        run(telemetry.config, load)
    finally:
        structlog.reset_defaults()
    written = [json.loads(line)["event"] for line in lines.getvalue().splitlines()]
    assert written == [event.event for event in telemetry.events]
    assert len(written) == 4


# --- configurations ---------------------------------------------------------------------


def test_observe_stands_in(telemetry: RecordedTelemetry) -> None:
    """`telemetry.observe` takes all that `dotflow_otel.observe` takes, and records."""
    storage = StorageDefault()
    config = telemetry.observe(
        "billing",
        registry=CollectorRegistry(),
        buckets=(1.0, 2.0),
        level="ERROR",
        timeout=1.0,
        storage=storage,
    )
    run(config, load, save)
    assert config.storage is storage
    telemetry.assert_balanced()
    assert telemetry.span("workflow billing").failed
    assert [event.level for event in telemetry.events] == ["error", "error"]
    assert telemetry.metric("dotflow_task_duration_seconds_bucket", le="3600.0", task="load") == 1


def test_own_providers_stand_over_ours(telemetry: RecordedTelemetry) -> None:
    """A provider that is passed is used, and what it is told is not recorded."""
    log = LogStructlog(stream=io.StringIO())
    config = telemetry.observe(log=log)
    run(config, load)
    assert config.log is log
    assert telemetry.events == []
    assert telemetry.span("task load").status == "unset"


def test_wrong_options(telemetry: RecordedTelemetry) -> None:
    """An option that nobody knows, and a provider of the wrong type, are errors."""
    with pytest.raises(TypeError, match="storge"):
        telemetry.observe(storge=StorageDefault())
    with pytest.raises(NotCallableObject, match="storage"):
        telemetry.observe(storage="files")
