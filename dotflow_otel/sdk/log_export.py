"""Hands log records to OpenTelemetry: those of the standard library, and our events."""

from __future__ import annotations

import logging
from time import time_ns
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

from dotflow.core.user_objects import name_of, text_of
from dotflow_otel import conventions as names
from dotflow_otel.log_context import run_context, stack_trace_of
from dotflow_otel.logs import events
from dotflow_otel.plain import plain
from dotflow_otel.sdk.log_pipeline import current_span_ids
from dotflow_otel.sdk.root_handler import RootHandler, add_to_root
from dotflow_otel.span_ids import SpanIds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dotflow_otel.sdk.log_pipeline import LogWriter

    Attributes = dict[str, str | bool | int | float]

# The types that values of attributes have.
_ATTRIBUTES: Final = (str, bool, int, float)

# What every record has; the rest was given by `extra` or set by filters.
_STANDARD: Final = {*vars(logging.makeLogRecord({})), "message", "asctime"}


def export_records(writer: LogWriter) -> None:
    """Export the records that reach the root logger, and the events of `LogStructlog`.

    No logger's level changes, nor does what other handlers do.
    """
    add_to_root(RecordExporter(writer))
    events.sinks.append(EventExporter(writer).export)


def export_events(writer: LogWriter) -> None:
    """Export the events of `LogStructlog` to a provider of the application's, once."""
    if writer.provider not in _has_events:
        _has_events.add(writer.provider)
        events.sinks.append(EventExporter(writer).export)


_has_events: Final[WeakSet[Any]] = WeakSet()


class RecordExporter(RootHandler):
    """Exports records of the standard library, with the ids of the step that wrote them.

    Args:
        writer: Where the records go.
    """

    def __init__(self, writer: LogWriter) -> None:
        super().__init__()
        self._writer = writer

    def handle_record(self, record: logging.LogRecord) -> None:
        """Export a record."""
        bound = run_context()
        found = {name: getattr(record, name, None) or bound.get(name) for name in names.BOUND}
        own = _ids_of(found)
        current = current_span_ids()
        same = current is not None and own is not None and current.span_id == own.span_id
        self._writer.write(
            record.name,
            record.levelno,
            record.getMessage(),
            {**_extra(record), **_without_ids(found), **_origin(record), **_exception(record)},
            time_ns=int(record.created * 1e9),
            ids=current if same else own,
        )


class EventExporter:
    """Exports the events of `LogStructlog`: the name as the message, the fields as attributes.

    Args:
        writer: Where the records go.
    """

    def __init__(self, writer: LogWriter) -> None:
        self._writer = writer

    def export(
        self, level: int, event: str, fields: Mapping[str, Any], ids: SpanIds | None
    ) -> None:
        """Export an event that belongs to a span, if it does."""
        attributes: Attributes = {"event.name": event, **_without_ids(fields)}
        now = time_ns()
        self._writer.write(names.LOGGER, level, event, attributes, time_ns=now, ids=ids)


def _ids_of(fields: Mapping[str, Any]) -> SpanIds | None:
    trace_id, span_id = fields.get(names.TRACE_ID), fields.get(names.SPAN_ID)
    if not trace_id or not span_id:
        return None
    # Texts do not tell whether the span is sampled.
    return SpanIds(trace_id, span_id, sampled=False)


def _without_ids(fields: Mapping[str, Any]) -> Attributes:
    return {
        name: plain(value) if issubclass(type(value), _ATTRIBUTES) else text_of(value)
        for name, value in fields.items()
        if value is not None and name not in {names.TRACE_ID, names.SPAN_ID}
    }


def _extra(record: logging.LogRecord) -> Attributes:
    given = {name: value for name, value in vars(record).items() if name not in _STANDARD}
    return _without_ids({name: value for name, value in given.items() if name not in names.BOUND})


def _origin(record: logging.LogRecord) -> Attributes:
    return {
        names.CODE_FILE: record.pathname,
        names.CODE_FUNCTION: record.funcName,
        names.CODE_LINE: record.lineno,
    }


def _exception(record: logging.LogRecord) -> Attributes:
    stack = stack_trace_of(record)
    told: Attributes = {} if stack is None else {names.EXCEPTION_STACKTRACE: stack}
    error = record.exc_info[1] if record.exc_info else None
    if error is not None:
        told[names.EXCEPTION_TYPE] = name_of(type(error))
        told[names.EXCEPTION_MESSAGE] = text_of(error)
    return told
