"""The span of an attempt in a worker: sent along with it, and returned with its outcome."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from opentelemetry import baggage
from opentelemetry.context import attach, detach, get_current
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    TraceFlags,
    get_current_span,
    set_span_in_context,
)

from dotflow_otel import conventions as names
from dotflow_otel.given_span import GivenSpan
from dotflow_otel.method_scope import MethodScope
from dotflow_otel.process import this_process
from dotflow_otel.relay import relay_here, worker_limits
from dotflow_otel.span_record import PlainContext, SpanRecord, record_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextvars import Token
    from types import TracebackType

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan

    from dotflow.core.action import Action

_ids: Final = RandomIdGenerator()


class Sent(NamedTuple):
    """What goes along with an attempt.

    Attributes:
        context: Of the attempt's span, whose id the run has chosen.
        parent: Of the task's span.
        recording: Whether the attempt's span is recorded.
        attributes: What it begins with.
        baggage: The entries of the caller's baggage.
        owner: Tells the process that owns the run.
    """

    context: PlainContext
    parent: PlainContext
    recording: bool
    attributes: Mapping[str, Any]
    baggage: Mapping[str, Any]
    owner: tuple[int, bytes]


class Returned(NamedTuple):
    """What returns with an outcome.

    Attributes:
        spans: The finished ones, in the order of their ends; the attempt's is the last.
        dropped: How many more there were than the worker had room for.
    """

    spans: tuple[SpanRecord, ...]
    dropped: int


class RemoteSpan:
    """Makes the span of an attempt, and makes it the current one, where the attempt runs.

    Args:
        sent: What the run says of it.
    """

    def __init__(self, sent: Sent) -> None:
        self._sent = sent
        self._recorder = _Recorder()
        self._span: Span | None = None
        self._token: Token[Context] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return RemoteSpan, (self._sent,)

    @property
    def _is_away(self) -> bool:
        return self._sent.owner != this_process()

    def __enter__(self) -> None:
        sent = self._sent
        context = sent.context.restored()
        if self._is_away:
            relay_here().begin(sampled=context.trace_flags.sampled)
        if sent.recording:
            parent = sent.parent.restored()
            self._span = self._start(names.ATTEMPT_SPAN, context, parent, sent.attributes)
        current = get_current()
        for name, value in sent.baggage.items():
            current = baggage.set_baggage(name, value, current)
        self._token = attach(set_span_in_context(self._span or NonRecordingSpan(context), current))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._token is not None:
            detach(self._token)
        if self._span is not None:
            self._span.end()

    def method_scope(self, action: Action, attempt: int | None) -> MethodScope | None:
        """Give what makes a span of a method of a class step, or of a try of it."""
        return None if self._span is None else MethodScope(self._start_below, action, attempt)

    def _start_below(self, name: str, attributes: Mapping[str, Any]) -> Span:
        parent = get_current_span().get_span_context()
        context = SpanContext(
            parent.trace_id,
            _ids.generate_span_id(),
            is_remote=False,
            trace_flags=TraceFlags(parent.trace_flags),
            trace_state=parent.trace_state,
        )
        return self._start(name, context, parent, attributes)

    def _start(
        self,
        name: str,
        context: SpanContext,
        parent: SpanContext,
        attributes: Mapping[str, Any],
    ) -> Span:
        span = GivenSpan(
            name,
            context,
            parent,
            resource=_no_resource(),
            attributes=attributes,
            limits=worker_limits(),
            span_processor=self._recorder,
        )
        span.start()
        return span

    def collect(self) -> Returned | None:
        """Give what was recorded, called after the exit."""
        records, dropped = relay_here().take() if self._is_away else ((), 0)
        spans = sorted((*records, *self._recorder.records), key=lambda record: record.ended)
        return Returned(tuple(spans), dropped) if spans or dropped else None


class _Recorder(SpanProcessor):
    def __init__(self) -> None:
        self.records: list[SpanRecord] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.records.append(record_of(span, None))


@cache
def _no_resource() -> Resource:
    # Where the application runs, the application knows.
    return Resource.get_empty()
