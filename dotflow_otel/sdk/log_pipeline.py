"""Log records for OTLP: those of the standard library, and our events.

The SDK's interface to logs is not settled: all of it is met here.

Up to 1.37 the SDK's loggers take records of the SDK's own, which carry their resource; since then
they take those of the API, of which 1.38 makes its own. Processors are given what they process by
`emit`, later by `on_emit`.
"""

from __future__ import annotations

import logging
from inspect import signature
from threading import Lock
from time import time_ns
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

import opentelemetry._logs as api
from opentelemetry._logs import SeverityNumber
from opentelemetry.context import Context
from opentelemetry.sdk import _logs as sdk
from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    get_current_span,
    set_span_in_context,
)

from dotflow.core.user_objects import name_of, text_of
from dotflow_otel import conventions as names
from dotflow_otel._process import LOGS
from dotflow_otel.conventions import LOGGER
from dotflow_otel.log_context import run_context, stack_trace_of
from dotflow_otel.logs import events
from dotflow_otel.logs.log import LogStructlog
from dotflow_otel.plain import bounded, to_plain
from dotflow_otel.relay.intake import Intake
from dotflow_otel.sdk.batching import Account, Batching, RootHandler, add_to_root
from dotflow_otel.sdk.exports import exporting
from dotflow_otel.span_ids import SpanIds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from dotflow.core.run import Run

    Attributes = dict[str, str | bool | int | float]

# 1.38 has a record of its own yet, and warns the application of everyone who makes one.
_OWN_RECORD: Final[Any] = getattr(sdk, "LogRecord", None)
_MAKES_OWN: Final = _OWN_RECORD is not None and "body" in signature(sdk.Logger.emit).parameters
_Record: Final[Any] = api.LogRecord if _MAKES_OWN else _OWN_RECORD or api.LogRecord
_TAKES: Final = frozenset(signature(_Record.__init__).parameters)

# The severities of the standard library's levels, which others lie between.
_SEVERITIES: Final = (
    (50, SeverityNumber.FATAL, "FATAL"),
    (40, SeverityNumber.ERROR, "ERROR"),
    (30, SeverityNumber.WARN, "WARN"),
    (20, SeverityNumber.INFO, "INFO"),
    (10, SeverityNumber.DEBUG, "DEBUG"),
)
_LOWEST: Final = (SeverityNumber.TRACE, "TRACE")


def set_provider(
    resource: Resource, exporters: Iterable[Any]
) -> tuple[LoggerProvider | None, Sequence[LogPipeline]]:
    """Set a provider of loggers with a pipeline to each exporter; none where there is none."""
    pipelines = [LogPipeline(exporter) for exporter in exporters]
    if not pipelines:
        return None, ()
    provider = LoggerProvider(resource=resource, shutdown_on_exit=False)
    for pipeline in pipelines:
        provider.add_log_record_processor(pipeline)
    api.set_logger_provider(provider)
    return provider, pipelines


def is_unset() -> bool:
    """Return whether the application has set no provider of loggers."""
    from opentelemetry._logs._internal import ProxyLoggerProvider  # noqa: PLC0415 - private

    return isinstance(api.get_logger_provider(), ProxyLoggerProvider)


class LogWriter:
    """Writes records to a provider of loggers.

    Args:
        provider: The provider.
        resource: What it was made with.
    """

    def __init__(self, provider: Any, resource: Resource) -> None:
        self.provider = provider
        self._resource = resource
        # Kept, because a look-up takes a lock that a signal handler's look-up would wait for.
        self._loggers: dict[str, Any] = {}

    @classmethod
    def of_application(cls, resource: Resource) -> LogWriter:
        """Return one for the provider that the application has set.

        Args:
            resource: What counts where that provider has none.
        """
        provider = api.get_logger_provider()
        return cls(provider, getattr(provider, "resource", resource))

    def write(
        self,
        logger: str,
        level: int,
        body: str,
        attributes: Mapping[str, str | bool | int | float],
        *,
        time_ns: int,
        ids: SpanIds | None,
    ) -> None:
        """Write one record.

        Args:
            logger: The name of the logger.
            level: As in the standard library.
            body: The message.
            attributes: What else is known.
            time_ns: When it happened, in nanoseconds since the epoch.
            ids: Those of the span that it belongs to.
        """
        number, text = severity_of(level)
        fields: dict[str, Any] = {
            "timestamp": time_ns,
            "observed_timestamp": time_ns,
            "severity_number": number,
            "severity_text": text,
            "body": bounded(body),
            "attributes": {name: _printable(value) for name, value in attributes.items()},
        }
        if "resource" in _TAKES:
            fields["resource"] = self._resource
        if _MAKES_OWN:
            fields["context"] = _context_of(ids)
        record = _Record(**fields)
        # The context that the SDK would take them from is that of this call, not of the event.
        record.trace_id = 0 if ids is None else int(ids.trace_id, 16)
        record.span_id = 0 if ids is None else int(ids.span_id, 16)
        record.trace_flags = TraceFlags(int(ids is not None and ids.sampled))
        self._logger(logger).emit(record)

    def _logger(self, name: str) -> Any:
        found = self._loggers.get(name)
        if found is None:
            found = self._loggers[name] = self.provider.get_logger(name)
        return found


def _context_of(ids: SpanIds | None) -> Context:
    # Where a record has no ids, the SDK looks into its context: an empty one would be false,
    # and the current one be taken for it.
    span = SpanContext(0, 0, is_remote=False)
    if ids is not None:
        flags = TraceFlags(int(ids.sampled))
        trace_id, span_id = int(ids.trace_id, 16), int(ids.span_id, 16)
        span = SpanContext(trace_id, span_id, is_remote=False, trace_flags=flags)
    return set_span_in_context(NonRecordingSpan(span), Context())


def _printable(value: str | bool | float) -> str | bool | int | float:
    return bounded(value) if isinstance(value, str) else value


def severity_of(level: int) -> tuple[SeverityNumber, str]:
    """Return the number and the name of a level's severity."""
    for least, number, text in _SEVERITIES:
        if level >= least:
            return number, text
    return _LOWEST


def current_span_ids() -> SpanIds | None:
    """Return the ids of the current span."""
    return SpanIds.of(get_current_span().get_span_context())


class LogPipeline(LogRecordProcessor):
    """The SDK's batch processor, with its variables, and an account of its records.

    Args:
        exporter: Where the records go.
    """

    def __init__(self, exporter: Any) -> None:
        batching = Batching.of("OTEL_BLRP", delay=1000)
        self.account = Account(LOGS, batching.queue)
        counting = _CountingLogExporter(exporter, self.account)
        batches: Any = BatchLogRecordProcessor(counting, **batching.arguments())  # type: ignore[arg-type]
        put = getattr(batches, "on_emit", None) or batches.emit
        self._intake = counting.intake = Intake(self.account, put)
        self._batches = batches
        self._lock = Lock()
        self._ended = False

    def on_emit(self, log_record: Any) -> None:
        """Queue a record."""
        self._intake.take(log_record, own=_is_own(log_record))

    emit = on_emit

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Export what is queued."""
        return self._ended or self._intake.flush(self._batches.force_flush, timeout_millis)

    def shutdown(self) -> None:
        """Export what is queued, and end; at the first call."""
        with self._lock:
            first, self._ended = not self._ended, True
        if first:
            self.account.close()
            if self._intake.keeps:
                self._intake.flush(self._batches.force_flush, 30_000)
            self._batches.shutdown()


class _CountingLogExporter:
    # Of no class of the SDK: its name changed, and the processor asks for the methods alone.
    def __init__(self, exporter: Any, account: Account) -> None:
        self._exporter = exporter
        self._account = account
        self.intake: Intake | None = None

    def export(self, batch: Sequence[Any]) -> Any:
        self._account.send(len(batch), own=sum(map(_is_own, batch)))
        if self.intake is not None:
            self.intake.refill()
        result = None
        delivered, rejected = False, 0
        try:
            with exporting() as export:
                result = self._exporter.export(batch)
            rejected = export.rejected
            # Two classes of results, one the other's successor, have this name.
            delivered = getattr(result, "name", None) != "FAILURE"
        finally:
            self._account.answered(len(batch), delivered=delivered, rejected=rejected)
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        flush = getattr(self._exporter, "force_flush", None)
        return True if flush is None else bool(flush(timeout_millis))


def _is_own(record: Any) -> bool:
    scope = getattr(record, "instrumentation_scope", None)
    return scope is not None and scope.name == LOGGER


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


class _Exported:
    """The events of `LogStructlog` on their way to one provider.

    Args:
        sink: Takes them.
    """

    def __init__(self, sink: events.Sink) -> None:
        self._sink = sink
        self._wanted_by = 0

    def begin(self) -> None:
        self._wanted_by += 1
        if self._wanted_by == 1:
            events.sinks.append(self._sink)

    def end(self) -> None:
        self._wanted_by -= 1
        if self._wanted_by == 0:
            events.sinks.remove(self._sink)


def export_events(writer: LogWriter) -> Callable[[], None]:
    """Export the events of `LogStructlog` to a provider of the application's, once.

    Returns:
        What ends that, unless another one has asked for it as well.
    """
    exported = _exported.get(writer.provider)
    if exported is None:
        exported = _exported[writer.provider] = _Exported(EventExporter(writer).export)
    exported.begin()
    return exported.end


_exported: Final[WeakKeyDictionary[Any, _Exported]] = WeakKeyDictionary()


class InstrumentedLog(LogStructlog):
    """The log of workflows that were instrumented: its events go to a provider as well.

    Args:
        provider: The provider; None: the one that the application has set when a run starts.
    """

    def __init__(self, provider: Any = None) -> None:
        super().__init__()
        self._provider = provider
        self._end: Callable[[], None] | None = None

    def run_started(self, run: Run) -> None:
        """Write `workflow.started`."""
        if self._end is None and (self._provider is not None or not is_unset()):
            provider = self._provider or api.get_logger_provider()
            writer = LogWriter(provider, getattr(provider, "resource", Resource.get_empty()))
            self._end = export_events(writer)
        super().run_started(run)

    def end(self) -> None:
        """Export no further events."""
        if self._end is not None:
            self._end()
            self._end = None


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
        name: to_plain(value) if issubclass(type(value), _ATTRIBUTES) else text_of(value)
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
    found: Attributes = {} if stack is None else {names.EXCEPTION_STACKTRACE: stack}
    error = record.exc_info[1] if record.exc_info else None
    if error is not None:
        found[names.EXCEPTION_TYPE] = name_of(type(error))
        found[names.EXCEPTION_MESSAGE] = text_of(error)
    return found
