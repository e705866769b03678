"""Hands spans that were recorded elsewhere to the processors that the application configured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from opentelemetry import baggage
from opentelemetry.sdk.trace import Tracer as SdkTracer
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import INVALID_SPAN_CONTEXT as INVALID
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from dotflow_otel._process import for_each
from dotflow_otel.conventions import ERROR_TYPE, SCOPE
from dotflow_otel.relay.intake import relaying
from dotflow_otel.relay.pacing import pace_spans
from dotflow_otel.spans.finished import FinishedSpan
from dotflow_otel.spans.sdk_access import FastSpanFactory
from dotflow_otel.spans.sdk_tracer import (
    PresetIdSpan,
    allow_preset_ids,
    instrumentation_of,
    limits_of,
    preset_ids,
    wrapped_by,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace.sampling import SamplingResult
    from opentelemetry.trace import Span, Tracer, TracerProvider

    from dotflow_otel.spans.factory import SpanFactory
    from dotflow_otel.spans.finished import PlainSpan
    from dotflow_otel.spans.record import ScopeRecord, SpanRecord


# A span that began more than so many others ago is told by its ids alone.
_REMEMBERED: Final = 10_000


class _Moment(NamedTuple):
    """The start or the end of a span; they sort as they happened."""

    place: int
    is_end: bool
    time: int
    number: int
    record: SpanRecord


class LiveSpans:
    """Begins and ends what workers tell of.

    Args:
        handover: Makes the spans.
        context: The run's, with the caller's baggage.

    Attributes:
        handover: As above.
    """

    def __init__(self, handover: Handover, context: Context) -> None:
        self.handover = handover
        self._context = context
        # Those that have begun, also some of those that have ended: what is below one of these
        # finds it. And of those without an end how many links they began with.
        self._spans: dict[int, Span] = {}
        self._open: dict[int, int] = {}

    def add(self, context: SpanContext, span: Span | None) -> None:
        """Know a span, or of one that is not recorded the ids."""
        while len(self._spans) >= _REMEMBERED:
            try:
                forgotten = next(iter(self._spans))
            except RuntimeError:  # another thread adds one at this moment
                continue
            self._spans.pop(forgotten, None)
            self._open.pop(forgotten, None)
        self._spans[context.span_id] = NonRecordingSpan(context) if span is None else span

    def span_of(self, span_id: int) -> Span:
        """Return a span that is known, by its id."""
        return self._spans[span_id]

    def take_in(self, ended: Sequence[SpanRecord], begun: Sequence[SpanRecord] = ()) -> None:
        """Start and end spans.

        Args:
            ended: Those that have ended; some of them may be known to have begun.
            begun: Those that have begun and not ended.
        """
        moments = [
            _Moment(each.order[0], False, each.started, number, each)
            for number, each in enumerate((*ended, *begun))
            if each.context.span_id not in self._open
        ]
        moments += [
            _Moment(each.order[1], True, each.ended, number, each)
            for number, each in enumerate(ended)
        ]
        moments.sort()
        with relaying():
            for_each(self._happen, moments)

    def _happen(self, moment: _Moment) -> None:
        record = moment.record
        if moment.is_end:
            self.end(record)
        else:
            self._begin(record)

    def _begin(self, record: SpanRecord) -> None:
        above = None if record.parent is None else self._spans.get(record.parent.span_id)
        self.begin(record, above)

    def begin(self, record: SpanRecord, above: Span | None) -> None:
        """Start a span.

        Args:
            record: The span.
            above: Its parent, where that is a span of this process.
        """
        span = self.handover.start(record, above, self._context)
        self.add(record.context.restored(), span)
        self._open[record.context.span_id] = len(record.links)

    def end(self, record: SpanRecord) -> None:
        """End a span that has begun, if it has."""
        links = self._open.pop(record.context.span_id, None)
        span = self._spans.get(record.context.span_id)
        if links is not None and span is not None:
            self.handover.end(span, record, links)

    def lose(self, begun: Collection[int], ended: int, error_type: str, description: str) -> None:
        """End spans that their worker will not.

        Args:
            begun: The ids of spans that had begun; some of them may have ended.
            ended: When, in nanoseconds since the epoch.
            error_type: Why.
            description: Likewise, in words.
        """
        # Children began after their parents.
        left = [each for each in list(self._open) if each in begun]
        with relaying():
            for span_id in reversed(left):
                del self._open[span_id]
                span = self._spans[span_id]
                if span.is_recording():
                    span.set_attribute(ERROR_TYPE, error_type)
                    span.set_status(StatusCode.ERROR, description)
                    span.end(ended)


class Handover(Protocol):
    """Makes spans that were recorded elsewhere begin and end for the application's processors."""

    def start(self, record: SpanRecord, above: Span | None, context: Context) -> Span:
        """Begin a span, or what stands for one that the application's sampler leaves out.

        Args:
            record: The span, as it began or as it ended.
            above: Its parent, where that began in this process.
            context: The run's; processors are told it, with the parent as the current span.
        """

    def end(self, span: Span, record: SpanRecord, links: int) -> None:
        """End a span that `start` has begun.

        Args:
            span: The span.
            record: It, as it ended.
            links: How many links it began with.
        """

    def hand_over(self, records: Sequence[SpanRecord], context: Context) -> None:
        """Make spans begin and end that are above or below no others."""

    def hand_over_plain(self, span: PlainSpan) -> bool:
        """Make a span that has ended, at less cost; return whether that could be done."""


def handover_of(factory: SpanFactory, provider: TracerProvider | None = None) -> Handover:
    """Return what hands spans to where a run's own spans go.

    Args:
        factory: Makes the run's own.
        provider: Makes tracers for what others have instrumented, where that is not the SDK's.
    """
    tracer = factory.tracer
    if not isinstance(tracer, SdkTracer):
        for each in wrapped_by(tracer):
            pace_spans(each)
        return _ByReplay(tracer, provider)
    pace_spans(tracer)
    return _ToProcessors(tracer, factory if isinstance(factory, FastSpanFactory) else None)


class _Handover:
    """What both kinds have in common."""

    def hand_over(self, records: Sequence[SpanRecord], context: Context) -> None:
        LiveSpans(self, context).take_in(records)  # type: ignore[arg-type] # one of the two kinds

    def end(self, span: Span, record: SpanRecord, links: int) -> None:
        if not span.is_recording():
            return
        if record.first is not None:
            name, attributes = record.first
            if name != record.name:
                span.update_name(record.name)
            for key, value in record.attributes.items():
                if key not in attributes or attributes[key] != value:
                    span.set_attribute(key, value)
        for link in _links(record)[links:]:
            span.add_link(link.context, link.attributes)
        for event in record.events:
            span.add_event(event.name, event.attributes, event.timestamp)
        _set_status(span, record)
        span.end(record.ended)


class _ToProcessors(_Handover):
    """Makes spans of the SDK, whose processors see their start and their end.

    Args:
        tracer: Whose processors, resource and limits are used.
        factory: Makes simple ones at less cost, where no sampler has a say.
    """

    def __init__(self, tracer: SdkTracer, factory: FastSpanFactory | None) -> None:
        self._tracer = tracer
        self._factory = factory
        self._limits = limits_of(tracer)
        self._own_scope = instrumentation_of(tracer)
        self._scopes: dict[ScopeRecord, InstrumentationScope] = {}

    def hand_over_plain(self, span: PlainSpan) -> bool:
        if self._factory is None or not self._factory.needs_only_the_end(span.attributes):
            return False
        tracer = self._tracer
        tracer.span_processor.on_end(FinishedSpan(span, tracer.resource, self._own_scope))
        return True

    def start(self, record: SpanRecord, above: Span | None, context: Context) -> Span:
        name, attributes = record.first or (record.name, record.attributes)
        parent = _parent_of(record, above)
        context = _with_baggage(record, context)
        context = set_span_in_context(above or NonRecordingSpan(parent or INVALID), context)
        own, links = record.context.restored(), _links(record)
        # About an attempt the sampler was asked when that was sent, and about most spans below it
        # where they began. Below a sampled span no other one that has a factory has a say.
        has_a_say = self._factory is None or parent is None
        if has_a_say and record.scope is not None and not record.is_decided:
            result = self._tracer.sampler.should_sample(
                context, own.trace_id, name, SpanKind(record.kind), attributes, links
            )
            own = _sampled_as(own, result)
            if result.decision is Decision.DROP:
                return NonRecordingSpan(own)
            attributes = dict(result.attributes or {})
        elif self._factory is not None and parent is not None and _is_simple(record):
            # That is all attempts that went well, and most spans come from these.
            fast = self._factory.start_preset(
                name, own, parent, context, dict(attributes), record.started
            )
            if fast is not None:
                return fast
        span = PresetIdSpan(
            name,
            own,
            parent,
            self._tracer.sampler,
            resource=self._tracer.resource,
            attributes=attributes,
            links=links,
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


class _ByReplay(_Handover):
    """Makes the spans again through the API, where what makes them is not the SDK.

    They keep names, times, order and parents; and their ids where it wraps the SDK, as the
    providers of vendors do.

    Args:
        tracer: Makes this project's own.
        provider: Makes the tracers of the others; None: that makes all.
    """

    def __init__(self, tracer: Tracer, provider: TracerProvider | None) -> None:
        self._tracer = tracer
        self._provider = provider
        self._tracers: dict[ScopeRecord, Tracer] = {}
        allow_preset_ids(tracer)

    def _tracer_of(self, scope: ScopeRecord | None) -> Tracer:
        if scope is None or self._provider is None or scope.name == SCOPE:
            return self._tracer
        found = self._tracers.get(scope)
        if found is None:
            name, version, schema_url, told = scope
            # Older releases, and what vendors made for these, know no attributes.
            more: dict[str, Any] = {"attributes": dict(told)} if told else {}
            found = self._provider.get_tracer(name, version, schema_url=schema_url, **more)
            allow_preset_ids(found)
            self._tracers[scope] = found
        return found

    def hand_over_plain(self, span: PlainSpan) -> bool:  # noqa: ARG002 - there is no such way
        return False

    def start(self, record: SpanRecord, above: Span | None, context: Context) -> Span:
        name, attributes = record.first or (record.name, record.attributes)
        parent = _parent_of(record, above)
        context = _with_baggage(record, context)
        with preset_ids(record.context.trace_id, record.context.span_id):
            return self._tracer_of(record.scope).start_span(
                name,
                set_span_in_context(above or NonRecordingSpan(parent or INVALID), context),
                SpanKind(record.kind),
                attributes,
                _links(record),
                record.started,
            )


def _parent_of(record: SpanRecord, above: Span | None) -> SpanContext | None:
    if record.parent is None:
        return None
    # What is above may have got other flags by the sampler, or other ids, than in the worker.
    return record.parent.restored() if above is None else above.get_span_context()


def _with_baggage(record: SpanRecord, context: Context) -> Context:
    if record.baggage is None:
        return context
    context = baggage.clear(context)
    for name, value in record.baggage.items():
        context = baggage.set_baggage(name, value, context)
    return context


def _sampled_as(own: SpanContext, result: SamplingResult) -> SpanContext:
    flags = int(own.trace_flags) & ~TraceFlags.SAMPLED
    if result.decision is Decision.RECORD_AND_SAMPLE:
        flags |= TraceFlags.SAMPLED
    state = result.trace_state
    return SpanContext(own.trace_id, own.span_id, False, TraceFlags(flags), state)


def _is_simple(record: SpanRecord) -> bool:
    is_internal = record.kind == SpanKind.INTERNAL.value
    return is_internal and record.scope is None and not record.links


def _links(record: SpanRecord) -> list[Link]:
    return [Link(link.context.restored(), link.attributes) for link in record.links]


def _set_status(span: Span, record: SpanRecord) -> None:
    code, description = record.status
    if code != StatusCode.UNSET.value:
        span.set_status(Status(StatusCode(code), description))
