"""Hands spans that were recorded elsewhere to the processors that the application configured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from opentelemetry.sdk.trace import Event
from opentelemetry.sdk.trace import Tracer as SdkTracer
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanKind,
    Status,
    StatusCode,
    set_span_in_context,
)

from dotflow_otel.each import for_each
from dotflow_otel.relay.relaying import relaying
from dotflow_otel.spans.given import GivenSpan
from dotflow_otel.spans.sdk_access import FastMaker
from dotflow_otel.spans.sdk_tracer import instrumentation_of, limits_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opentelemetry.context import Context
    from opentelemetry.trace import Span, SpanContext, Tracer

    from dotflow_otel.spans.maker import SpanMaker
    from dotflow_otel.spans.record import PlainSpan, ScopeRecord, SpanRecord


class Handover(Protocol):
    """Takes finished spans in.

    Attributes:
        takes_parts: Whether it keeps the ids of the spans, so that some can be handed over before
            those above them.
    """

    takes_parts: bool

    def hand_over(self, records: Iterable[SpanRecord], context: Context) -> None:
        """Give spans to the application's processors, each once.

        Args:
            records: The spans, in the order of their ends.
            context: The run's; processors are told it as the context of each span's start.
        """

    def hand_over_plain(self, span: PlainSpan) -> bool:
        """Give a span that says little, if that can be done at less cost; tell whether it was."""


def handover_of(maker: SpanMaker) -> Handover:
    """Give what hands spans to where a run's own spans go."""
    tracer = maker.tracer
    if not isinstance(tracer, SdkTracer):
        return _ByReplay(tracer)
    return _ToProcessors(tracer, maker if isinstance(maker, FastMaker) else None)


class _ToProcessors:
    """Makes spans of the SDK, whose processors see their start and their end.

    Args:
        tracer: Whose processors, resource and limits are used.
        maker: Makes simple ones at less cost.
    """

    takes_parts = True

    def __init__(self, tracer: SdkTracer, maker: FastMaker | None) -> None:
        self._tracer = tracer
        self._maker = maker
        self._limits = limits_of(tracer)
        self._own_scope = instrumentation_of(tracer)
        self._scopes: dict[ScopeRecord, InstrumentationScope] = {}

    def hand_over_plain(self, span: PlainSpan) -> bool:
        return self._maker is not None and self._maker.hand_over(span)

    def hand_over(self, records: Iterable[SpanRecord], context: Context) -> None:
        with relaying():
            for_each(lambda record: self._hand_over_one(record, context), records)

    def _hand_over_one(self, record: SpanRecord, context: Context) -> None:
        parent = None if record.parent is None else record.parent.restored()
        if parent is not None:
            context = set_span_in_context(NonRecordingSpan(parent), context)
        span = self._started_fast(record, parent, context) or self._started(record, parent, context)
        _set_status(span, record)
        span.end(record.ended)

    def _started_fast(
        self, record: SpanRecord, parent: SpanContext | None, context: Context
    ) -> Span | None:
        # That is all attempts that went well, and most spans come from these.
        if self._maker is None or parent is None or not _is_simple(record):
            return None
        own = record.context.restored()
        return self._maker.given(
            record.name, own, parent, context, record.attributes, record.started
        )

    def _started(
        self, record: SpanRecord, parent: SpanContext | None, context: Context
    ) -> GivenSpan:
        span = GivenSpan(
            record.name,
            record.context.restored(),
            parent,
            self._tracer.sampler,
            resource=self._tracer.resource,
            attributes=record.attributes,
            events=[Event(each.name, each.attributes, each.timestamp) for each in record.events],
            links=_links(record),
            kind=SpanKind(record.kind),
            span_processor=self._tracer.span_processor,
            limits=self._limits,
            instrumentation_scope=self._scope(record.scope),
        )
        span.start(record.started, context)
        return span

    def _scope(self, record: ScopeRecord | None) -> InstrumentationScope | None:
        if record is None:
            return self._own_scope
        found = self._scopes.get(record)
        if found is None:
            about: list[Any] = [record.name, record.version, record.schema_url]
            if record.attributes:
                about.append(dict(record.attributes))
            found = self._scopes[record] = InstrumentationScope(*about)
        return found


class _ByReplay:
    """Makes the spans anew through the API, where what makes them is not the SDK.

    They get ids of their own then, and keep names, times, order and parents.

    Args:
        tracer: Makes them.
    """

    takes_parts = False

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def hand_over_plain(self, span: PlainSpan) -> bool:  # noqa: ARG002 - there is no such way
        return False

    def hand_over(self, records: Iterable[SpanRecord], context: Context) -> None:
        made: dict[int, Span] = {}
        # Parents first: they began first.
        ordered = sorted(records, key=lambda record: record.started)
        for record in ordered:
            made[record.context.span_id] = self._start(record, made, context)
        for record in sorted(ordered, key=lambda record: record.ended):
            span = made[record.context.span_id]
            _set_status(span, record)
            span.end(record.ended)

    def _start(self, record: SpanRecord, made: dict[int, Span], context: Context) -> Span:
        parent = record.parent
        if parent is not None:
            span = made.get(parent.span_id) or NonRecordingSpan(parent.restored())
            context = set_span_in_context(span, context)
        span = self._tracer.start_span(
            record.name,
            context,
            SpanKind(record.kind),
            record.attributes,
            _links(record),
            record.started,
        )
        for event in record.events:
            span.add_event(event.name, event.attributes, event.timestamp)
        return span


def _is_simple(record: SpanRecord) -> bool:
    is_internal = record.kind == SpanKind.INTERNAL.value
    return is_internal and record.scope is None and not (record.events or record.links)


def _links(record: SpanRecord) -> list[Link]:
    return [Link(link.context.restored(), link.attributes) for link in record.links]


def _set_status(span: Span, record: SpanRecord) -> None:
    code, description = record.status
    if code != StatusCode.UNSET.value:
        span.set_status(Status(StatusCode(code), description))
