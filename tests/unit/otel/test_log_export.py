"""How records of the standard library and our events become records of OpenTelemetry."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry._logs import SeverityNumber
from opentelemetry.sdk.trace import TracerProvider

from dotflow_otel.logs import events
from dotflow_otel.sdk.log_pipeline import EventExporter, RecordExporter, severity_of
from dotflow_otel.span_ids import SpanIds

if TYPE_CHECKING:
    from collections.abc import Iterator

TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Writer:
    """Keeps what it is to write."""

    def __init__(self) -> None:
        self.written: list[dict[str, Any]] = []

    def write(self, logger: str, level: int, body: str, attributes: Any, **more: Any) -> None:
        """Keep it."""
        facts = {"logger": logger, "level": level, "body": body, "attributes": attributes}
        self.written.append({**facts, **more})


@pytest.fixture
def writer() -> Writer:
    """Return a writer that keeps."""
    return Writer()


@pytest.fixture
def logger(writer: Writer) -> Iterator[logging.Logger]:
    """Return a logger whose records go to the writer, and nowhere else."""
    made = logging.getLogger("dotflow_test.export")
    handlers = [RecordExporter(writer), logging.NullHandler()]  # type: ignore[arg-type]
    for handler in handlers:
        made.addHandler(handler)
    made.setLevel("DEBUG")
    made.propagate = False
    yield made
    for handler in handlers:
        made.removeHandler(handler)
    made.propagate = True


def only(writer: Writer) -> dict[str, Any]:
    """Return the only record."""
    (found,) = writer.written
    return found


def test_a_record_of_a_worker(logger: logging.Logger, writer: Writer) -> None:
    """A record that carries ids of its own, and its exception as text, keeps them."""
    ids = {"trace_id": TRACE_ID, "span_id": SPAN_ID, "task": "load", "workflow_id": "w1"}
    made = {"name": logger.name, "msg": "row %d", "args": (3,), "exc_text": "Traceback ..."}
    logger.handle(logging.makeLogRecord({**made, **ids, "levelno": logging.ERROR}))
    written = only(writer)
    assert (written["body"], written["level"]) == ("row 3", logging.ERROR)
    assert (written["ids"].trace_id, written["ids"].span_id) == (TRACE_ID, SPAN_ID)
    told = written["attributes"]
    assert (told["task"], told["workflow_id"]) == ("load", "w1")
    assert told["exception.stacktrace"] == "Traceback ..."
    assert not {"trace_id", "span_id", "exc_text", "args"} & told.keys()


def test_the_current_span(logger: logging.Logger, writer: Writer) -> None:
    """Outside of a step a record belongs to the current span, sampled as that is."""
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("t")
    with tracer.start_as_current_span("one") as span:
        logger.info("hello")
    ids = only(writer)["ids"]
    assert ids.span_id == format(span.get_span_context().span_id, "016x")
    assert ids.sampled


def test_no_span(logger: logging.Logger, writer: Writer) -> None:
    """Without a span a record has no ids."""
    logger.info("hello")
    assert only(writer)["ids"] is None


def test_extra(logger: logging.Logger, writer: Writer) -> None:
    """What is given as `extra` becomes attributes; what is no plain value, its text."""
    logger.info("hello", extra={"rows": 3, "ratio": 0.5, "where": ("a", "b"), "nothing": None})
    told = only(writer)["attributes"]
    names = {"rows", "ratio", "where", "code.file.path", "code.function.name", "code.line.number"}
    assert told.keys() == names
    assert (told["rows"], told["ratio"], told["where"]) == (3, 0.5, "('a', 'b')")


@pytest.mark.parametrize("name", ["opentelemetry.exporter.otlp", "grpc._channel"])
def test_what_the_export_itself_logs(writer: Writer, name: str) -> None:
    """Records that tell of exports are not exported: that would never end."""
    record = logging.makeLogRecord({"name": name, "levelno": logging.INFO})
    RecordExporter(writer).emit(record)  # type: ignore[arg-type]
    assert writer.written == []


def test_lines_of_events(logger: logging.Logger, writer: Writer) -> None:
    """What is the line of an event is not exported a second time."""
    with events.as_line():
        logger.info("task.started")
    assert writer.written == []


def test_a_writer_that_raises(
    logger: logging.Logger, writer: Writer, capsys: pytest.CaptureFixture[str]
) -> None:
    """An error of the export is shown as logging shows its own, and raised to nobody."""
    writer.written = None  # type: ignore[assignment]
    logger.error("hello")
    assert "--- Logging error ---" in capsys.readouterr().err


def test_events(writer: Writer) -> None:
    """An event's name is the message; its fields are attributes, its ids those of the record."""
    ids = {"trace_id": TRACE_ID, "span_id": SPAN_ID}
    fields = {"task": "load", "duration": 0.5, "error": None, **ids}
    sampled = SpanIds(TRACE_ID, SPAN_ID, sampled=True)
    exporter = EventExporter(writer)  # type: ignore[arg-type]
    exporter.export(logging.INFO, "task.completed", fields, sampled)
    written = only(writer)
    assert (written["logger"], written["body"]) == ("dotflow", "task.completed")
    expected = {"event.name": "task.completed", "task": "load", "duration": 0.5}
    assert written["attributes"] == expected
    assert written["ids"] is sampled


@pytest.mark.parametrize(
    ("level", "number", "text"),
    [
        (logging.CRITICAL, SeverityNumber.FATAL, "FATAL"),
        (logging.ERROR + 5, SeverityNumber.ERROR, "ERROR"),
        (logging.WARNING, SeverityNumber.WARN, "WARN"),
        (logging.INFO, SeverityNumber.INFO, "INFO"),
        (logging.DEBUG, SeverityNumber.DEBUG, "DEBUG"),
        (5, SeverityNumber.TRACE, "TRACE"),
    ],
)
def test_severity(level: int, number: SeverityNumber, text: str) -> None:
    """Levels become the severities of OpenTelemetry; one between two is the lower."""
    assert severity_of(level) == (number, text)
