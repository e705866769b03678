"""What a step logs in a worker, as plain values, for the way back to its run."""

from __future__ import annotations

import logging
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import structlog

from dotflow_otel.log_context import run_context
from dotflow_otel.plain import plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# What of a record is not sent: the text stands for these.
_IN_THE_TEXT: Final = ("args", "exc_info", "msg", "message")
_format: Final = logging.Formatter().formatException


class RecordEntry(NamedTuple):
    """A record of the standard library.

    Attributes:
        fields: Of the record; its text is made already.
        span: The ids and flags of the span that was current, if any.
    """

    fields: dict[str, Any]
    span: tuple[int, int, int] | None

    @classmethod
    def of(cls, record: logging.LogRecord) -> RecordEntry:
        """Make one of a record."""
        fields = {
            name: plain(value)
            for name, value in record.__dict__.items()
            if name not in _IN_THE_TEXT
        }
        fields["msg"] = record.getMessage()
        for name, value in run_context().items():
            fields.setdefault(name, value)
        if record.exc_info and not record.exc_text:
            fields["exc_text"] = _format(record.exc_info)
        return cls(fields, _current_span())

    def replay(self) -> None:
        """Have the record handled as this process logs."""
        record = logging.makeLogRecord(self.fields)
        logger = logging.getLogger(record.name)
        if logger.isEnabledFor(record.levelno):
            with _within(self.span):
                logger.handle(record)


class EventEntry(NamedTuple):
    """An event of structlog.

    Attributes:
        logger: What `structlog.get_logger` was given.
        method: The method that was called.
        fields: The event, and what was bound.
        span: The ids and flags of the span that was current, if any.
    """

    logger: Sequence[Any]
    method: str
    fields: dict[str, Any]
    span: tuple[int, int, int] | None

    @classmethod
    def of(cls, logger: Sequence[Any], method: str, event: dict[str, Any]) -> EventEntry:
        """Make one of an event."""
        return cls(plain(logger), method, plain(event), _current_span())

    def replay(self) -> None:
        """Log the event as this process logs."""
        method = getattr(structlog.get_logger(*self.logger), self.method)
        with _within(self.span):
            method(**self.fields)


Entry = RecordEntry | EventEntry


def _current_span() -> tuple[int, int, int] | None:
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return None
    context = trace.get_current_span().get_span_context()
    return (
        (context.trace_id, context.span_id, int(context.trace_flags)) if context.is_valid else None
    )


@contextmanager
def _within(ids: tuple[int, int, int] | None) -> Iterator[None]:
    # So that handlers and processors that ask for the current span find the step's.
    if ids is None:
        yield
        return
    from opentelemetry import trace  # noqa: PLC0415 - where there is a span it is there

    trace_id, span_id, flags = ids
    context = trace.SpanContext(
        trace_id, span_id, is_remote=True, trace_flags=trace.TraceFlags(flags)
    )
    with trace.use_span(trace.NonRecordingSpan(context)):
        yield
