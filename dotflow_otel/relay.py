"""The span of an attempt elsewhere: a carrier out, the recorded spans back.

The run gives the span's id out beforehand, so whoever the step calls finds its parent also
where the worker dies; the run makes the span itself then.
"""

from __future__ import annotations

import logging
import os
from time import monotonic_ns, time_ns
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from opentelemetry import baggage
from opentelemetry.context import attach, detach, get_current
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from dotflow_otel import conventions as names
from dotflow_otel import relay_provider as provider
from dotflow_otel.method_span import MethodSpan
from dotflow_otel.span_ids import SpanIds, current_ids
from dotflow_otel.span_values import SpanValues, context_from, context_values, span_from
from dotflow_otel.spans import description_of, exception_attributes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from contextvars import Token
    from logging import LogRecord
    from types import TracebackType

    from opentelemetry.context import Context
    from opentelemetry.trace import Span, Tracer

    from dotflow.abc.scope import Scope
    from dotflow.core.action import Action
    from dotflow.core.attempt import Outcome
    from dotflow.core.failure import Failure
    from dotflow_otel.span_values import Context as ContextValues

_logger: Final = logging.getLogger("dotflow_otel")

_PLAIN: Final = (str, int, float, bool)


class Carrier(NamedTuple):
    """What a worker is told of an attempt.

    Attributes:
        parent: The span context of the task's span.
        span_id: Of the attempt's span.
        number: Of the attempt.
        baggage: The caller's.
        pid: The process id of the run.
    """

    parent: ContextValues
    span_id: int
    number: int
    baggage: Mapping[str, Any]
    pid: int


class RemoteAttempt:
    """The span of one attempt in a worker. It travels as its carrier alone.

    Args:
        carrier: What the worker is told.
        tracer: The run's own, where this is its process.

    Attributes:
        sampled: Whether the trace is sampled.
        carrier: What the worker is told.
    """

    __slots__ = ("_kept", "_recording", "_span", "_tell", "_token", "_tracer", "carrier", "sampled")

    def __init__(self, carrier: Carrier, tracer: Tracer | None = None) -> None:
        self.carrier = carrier
        self.sampled = bool(carrier.parent[2] & TraceFlags.SAMPLED)
        self._tracer = tracer
        self._tell: Callable[[object], object] | None = None
        self._kept: list[SpanValues] = []
        self._recording = provider.Recording(self)
        self._span: Span | None = None
        self._token: Token[Context] | None = None

    @classmethod
    def of(cls, parent: SpanContext, context: Context, number: int, tracer: Tracer) -> Self:
        """Prepare an attempt below a task's span, in a context whose baggage it takes along."""
        ids = getattr(tracer, "id_generator", None) or provider.relay_provider().id_generator
        found = {
            name: value if type(value) in _PLAIN else str(value)
            for name, value in baggage.get_all(context).items()
        }
        span_id = ids.generate_span_id()
        return cls(Carrier(context_values(parent), span_id, number, found, os.getpid()), tracer)

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrived, tuple(self.carrier)

    # --- in the worker ----------------------------------------------------------------

    def telling(self, tell: Callable[[object], object]) -> None:
        """Take a way to tell the run of spans at once: this process is its worker."""
        self._tell = tell

    def __enter__(self) -> None:
        if self.carrier.pid != os.getpid():
            provider.install()
        parent = context_from(self.carrier.parent)
        context = set_span_in_context(NonRecordingSpan(parent), get_current())
        for name, value in self.carrier.baggage.items():
            context = baggage.set_baggage(name, value, context)
        self._recording.begin()
        self._span = provider.start_planned(
            names.ATTEMPT_SPAN,
            self.carrier.span_id,
            context,
            {names.ATTEMPT_NUMBER: self.carrier.number},
        )
        self._token = attach(set_span_in_context(self._span, context))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._token is not None:
            detach(self._token)
        if self._span is not None:
            # Without the failure: the run, which knows all of it, writes that.
            self._span.end()
        self._recording.end()

    def method_scope(self, method: Action) -> Scope:
        """Give what makes the span of a method of a class step the current one."""
        return MethodSpan(provider.relay_tracer(), method)

    def stamp(self, record: LogRecord) -> None:
        """Write the ids of the current span into a record that the step has made."""
        ids = current_ids() or SpanIds.of(self._context())
        if ids is not None:
            for name, value in ids.as_dict().items():
                if not hasattr(record, name):
                    setattr(record, name, value)

    def take(self, values: SpanValues) -> None:
        """Take a span that has ended."""
        if self._tell is None or values.context[1] == self.carrier.span_id:
            self._kept.append(values)
        else:
            # At once, so that it is not lost where the worker dies in what comes next.
            self._tell(values)

    def collect(self) -> list[SpanValues]:
        """Give the spans that the run was not told of yet."""
        kept, self._kept = self._kept, []
        return kept

    def _context(self) -> SpanContext:
        trace_id, _, flags, _, _ = self.carrier.parent
        return SpanContext(trace_id, self.carrier.span_id, False, TraceFlags(flags))

    # --- in the run's process ---------------------------------------------------------

    def ids(self) -> SpanIds | None:
        """Give the ids of the attempt's span."""
        return SpanIds.of(self._context())

    def told(self, values: object) -> None:
        """Export a span that the worker told of."""
        if isinstance(values, SpanValues) and self._tracer is not None:
            _export(self._tracer, (values,))

    def handling(self, record: LogRecord) -> Scope:
        """Give what makes the span that a record was made in the current one."""
        return _Within(self._context(), record)

    def finish(self, outcome: Outcome | None, failure: Failure | None, recorded: Any) -> None:
        """Export what the worker recorded, and the attempt's span however it ended.

        Args:
            outcome: How the attempt ended; None where the run was interrupted.
            failure: How it failed, if it did.
            recorded: What `collect` gave; None where it gave nothing, as of a dead worker.
        """
        if self._tracer is None or not self.sampled:
            return
        spans = [each for each in recorded or () if isinstance(each, SpanValues)]
        own = [each for each in spans if each.context[1] == self.carrier.span_id]
        others = [each for each in spans if each.context[1] != self.carrier.span_id]
        attempt = own[0] if own else self._made_here(outcome)
        _export(self._tracer, (*others, _told_of(attempt, outcome, failure)))

    def _made_here(self, outcome: Outcome | None) -> SpanValues:
        trace_id, _, flags, state, _ = self.carrier.parent
        end = time_ns()
        start = end
        if outcome is not None:
            now = monotonic_ns()
            start = end - max(0, now - int(outcome.started * 1e9))
            end -= max(0, now - int(outcome.ended * 1e9))
        return SpanValues(
            names.ATTEMPT_SPAN,
            (trace_id, self.carrier.span_id, flags, state, False),
            self.carrier.parent,
            SpanKind.INTERNAL.value,
            start,
            max(start, end),
            ({names.ATTEMPT_NUMBER: self.carrier.number}, 0),
            scope=(names.SCOPE, _version(), "", {}),
        )


def _arrived(*carrier: Any) -> RemoteAttempt:
    return RemoteAttempt(Carrier(*carrier))


class _Within:
    """Makes the span current that a log record tells of; the attempt's, if it tells of none."""

    __slots__ = ("_context", "_token")

    def __init__(self, context: SpanContext, record: LogRecord) -> None:
        trace_id = getattr(record, names.TRACE_ID, None)
        span_id = getattr(record, names.SPAN_ID, None)
        if isinstance(trace_id, str) and isinstance(span_id, str):
            context = SpanContext(
                int(trace_id, 16), int(span_id, 16), False, context.trace_flags
            )
        self._context = context
        self._token: Token[Context] | None = None

    def __enter__(self) -> None:
        self._token = attach(set_span_in_context(NonRecordingSpan(self._context)))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._token is not None:
            detach(self._token)


def _told_of(attempt: SpanValues, outcome: Outcome | None, failure: Failure | None) -> SpanValues:
    """Add what only the run knows."""
    attributes, dropped = attempt.attributes
    attributes = dict(attributes)
    if outcome is not None and outcome.pid is not None:
        attributes[names.PROCESS_PID] = outcome.pid
    if outcome is not None and outcome.host is not None:
        attributes[names.HOST_NAME] = outcome.host
    if outcome is not None and outcome.queue_duration is not None:
        attributes[names.TASK_QUEUE_DURATION] = float(outcome.queue_duration)
    if failure is None:
        return attempt._replace(attributes=(attributes, dropped))
    attributes[names.ERROR_TYPE] = failure.error_type
    event = (names.EXCEPTION_EVENT, attempt.end, (exception_attributes(failure), 0))
    # As the SDK has it: what the step itself called good stays so.
    is_ok = attempt.status[0] == StatusCode.OK.value
    status = attempt.status if is_ok else (StatusCode.ERROR.value, description_of(failure))
    return attempt._replace(
        attributes=(attributes, dropped), events=(*attempt.events, event), status=status
    )


def _export(tracer: Tracer, spans: Iterable[SpanValues]) -> None:
    """Hand finished spans to the processors that the application has configured.

    The SDK has no public way to do so: these two attributes of its tracer are not documented.
    """
    processor = getattr(tracer, "span_processor", None)
    resource = getattr(tracer, "resource", None)
    if processor is None or resource is None:
        _complain(type(tracer).__qualname__)
        return
    for values in spans:
        processor.on_end(span_from(values, resource))


_complained: Final[set[str]] = set()


def _complain(tracer: str) -> None:
    if tracer not in _complained:
        _complained.add(tracer)
        _logger.warning("spans of workers are lost: %s takes no finished spans", tracer)


def _version() -> str:
    from dotflow import __version__  # noqa: PLC0415 - the package imports its providers

    return __version__
