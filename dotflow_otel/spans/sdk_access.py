"""Spans of the OpenTelemetry SDK at a third of what its `start_span` and `end` cost.

A run makes a span for each of its tasks, all alike but for a few fields. So these are made
from the fields of the run's own span, which the SDK made, instead of being worked out again.
They are spans of the SDK in all that can be done with them.

That needs to know the SDK from the inside. This file alone does, knows the fields of the
releases from 1.27 on, and leaves to `start_span` whatever is not exactly as it knows it.
"""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.sdk.trace import (
    ConcurrentMultiSpanProcessor,
    SpanProcessor,
    SynchronousMultiSpanProcessor,
)
from opentelemetry.sdk.trace import Span as SdkSpan
from opentelemetry.sdk.trace import Tracer as SdkTracer
from opentelemetry.sdk.trace.export import BatchSpanProcessor as Batch
from opentelemetry.sdk.trace.export import SimpleSpanProcessor as Simple
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Decision, ParentBased
from opentelemetry.trace import SpanContext, SpanKind, StatusCode

from dotflow.core.timing import monotonic_ns
from dotflow_otel.spans.factory import SpanFactory
from dotflow_otel.spans.finished import FinishedSpan

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opentelemetry.context import Context
    from opentelemetry.trace import Span, Tracer

    from dotflow_otel.span_ids import SpanClock

# What a span has in every release, and what it has in some. One with more of them may keep
# something there that spans must not share.
_FIELDS: Final = frozenset(
    {
        "_attributes", "_context", "_end_time", "_events", "_instrumentation_info",
        "_instrumentation_scope", "_kind", "_limits", "_links", "_lock", "_name", "_parent",
        "_record_exception", "_resource", "_sampler", "_set_status_on_exception",
        "_span_processor", "_start_time", "_status", "_trace_config",
    }
)  # fmt: skip
_MORE_FIELDS: Final = frozenset({"_record_end_metrics"})
_ATTRIBUTES: Final = frozenset(
    {"_dict", "_immutable", "_lock", "dropped", "max_value_len", "maxlen"}
)
_MORE_ATTRIBUTES: Final = frozenset({"_extended_attributes"})

# What does nothing, in the processors of the SDK, of the calls before a span's end.
_IDLE: Final = {
    call: {getattr(kind, call, None) for kind in (SpanProcessor, Batch, Simple)}
    for call in ("on_start", "_on_ending")
}

_MULTI: Final = frozenset({SynchronousMultiSpanProcessor, ConcurrentMultiSpanProcessor})

# The SDK takes values of these types as they are, where their length has no limit.
_PLAIN: Final = frozenset({str, int, float, bool})


class FastSpan(SdkSpan):
    """A span of the SDK that its factory fills, in place of the constructor."""

    _shared: tuple[Any, Any]
    _unset: Any

    def add_event(self, *args: Any, **kwargs: Any) -> None:
        """Add an event, as the SDK does."""
        with self._lock:
            # Until the first one, all spans of a run share an empty list.
            if self._events is self._shared[0]:
                self._events = self._new_events()  # type: ignore[no-untyped-call] # the SDK's
        super().add_event(*args, **kwargs)

    def add_link(self, *args: Any, **kwargs: Any) -> None:
        """Add a link, as the SDK does."""
        with self._lock:
            if self._links is self._shared[1]:
                self._links = self._new_links(())
        super().add_link(*args, **kwargs)

    def _readable_span(self) -> FastSpan:
        # Processors may have the span itself: it has ended, and takes no more changes.
        return self

    def end_without_processors(self, end_time: int) -> None:
        """End a span that no processor waits for, unless it has ended."""
        with self._lock:
            if self._end_time is None:
                self._end_time = end_time

    def is_unmodified(self, name: str, attributes: Mapping[str, Any]) -> bool:
        """Return whether it has this name, these attributes, and nothing else."""
        kept: Any = self._attributes
        events, links = self._shared
        return (
            self._name == name
            and kept._dict == attributes
            and self._events is events
            and self._links is links
            and self._status is self._unset
        )


class FastSpanFactory(SpanFactory):
    """Makes spans from the fields of a run's span.

    Args:
        tracer: What made that span.
        span: The run's span: recording, sampled, and begun in this process.
        clock: Tells when the spans begin and end.
    """

    def __init__(self, tracer: SdkTracer, span: SdkSpan, clock: SpanClock) -> None:
        super().__init__(tracer, clock)
        self._to_wall = self.clock.to_wall
        like: Any = span  # not all of its insides have types
        self._new_id = tracer.id_generator.generate_span_id
        self._processor = tracer.span_processor
        # Some releases count their spans, in metrics of their own.
        self._count = _counter_of(tracer)
        self._kinds = (type(span), FastSpan)
        self._fields = {
            **vars(span),
            "_events": like._new_events(),
            "_links": like._new_links(()),
            "_kind": SpanKind.INTERNAL,
        }
        self._fields["_shared"] = self._fields["_events"], self._fields["_links"]
        self._fields["_unset"] = self._fields["_status"]
        self._seen: Any = None
        self._hears_only_ends = False
        self._kept = type(like._attributes)
        self._kept_fields = {**vars(like._attributes), "dropped": 0}
        self._room: int | None = like._attributes.maxlen

    def start(
        self,
        name: str,
        parent: Span,
        context: Context,
        attributes: dict[str, Any],
        start_time: int | None = None,
    ) -> Span:
        """Begin a span: see `SpanFactory.start`."""
        if type(parent) not in self._kinds or not self._takes(attributes):
            return super().start(name, parent, context, attributes, start_time)
        above = parent.get_span_context()
        own = SpanContext(
            above.trace_id, self._new_id(), False, above.trace_flags, above.trace_state
        )
        begun = self._to_wall + monotonic_ns() if start_time is None else start_time
        return self._made(name, own, above, context, attributes, begun)

    def start_preset(
        self,
        name: str,
        own: SpanContext,
        above: SpanContext,
        context: Context | None,
        attributes: dict[str, Any],
        start_time: int,
    ) -> FastSpan | None:
        """Begin a span whose ids were chosen elsewhere; None where the SDK has to make it.

        Args:
            name: Its name.
            own: Its ids.
            above: Those of its parent.
            context: What processors are told as the context of its start.
            attributes: As in `start`.
            start_time: Nanoseconds since the epoch.
        """
        if not self._takes(attributes):
            return None
        return self._made(name, own, above, context, attributes, start_time)

    def _made(
        self,
        name: str,
        own: SpanContext,
        above: SpanContext,
        context: Context | None,
        attributes: dict[str, Any],
        start_time: int,
    ) -> FastSpan:
        span = self._filled(name, own, above, attributes)
        span._start_time = start_time
        if self._count is not None:
            span._record_end_metrics = self._count(above, Decision.RECORD_AND_SAMPLE)
        if not self._only_needs_on_end():
            self._processor.on_start(span, parent_context=context)
        return span

    def _filled(
        self, name: str, own: SpanContext, above: SpanContext, attributes: dict[str, Any]
    ) -> FastSpan:
        kept = object.__new__(self._kept)
        kept.__dict__ = {**self._kept_fields, "_dict": attributes, "_lock": Lock()}
        span = object.__new__(FastSpan)
        # A copy and some entries, where the constructor works out more than twenty.
        span.__dict__ = {
            **self._fields,
            "_name": name,
            "_parent": above,
            "_context": own,
            "_attributes": kept,
            "_lock": Lock(),
        }
        return span

    def needs_only_the_end(self, attributes: Mapping[str, Any]) -> bool:
        """Return whether of a span with these attributes nobody but `on_end` has to know."""
        return self._count is None and self._takes(attributes) and self._only_needs_on_end()

    def _only_needs_on_end(self) -> bool:
        # The application may add a processor at any time.
        processors = getattr(self._processor, "_span_processors", None)
        if processors is not self._seen:
            self._seen = processors
            known = type(self._processor) in _MULTI
            self._hears_only_ends = known and all(map(_only_needs_on_end, processors or ()))
        return self._hears_only_ends

    def end(self, span: Span, attributes: Mapping[str, Any]) -> None:
        """Set last attributes and end a span: see `SpanFactory.end`."""
        if type(span) is not FastSpan:
            super().end(span, attributes)
            return
        kept: Any = span._attributes
        quiet = self._count is None and self._only_needs_on_end()
        with span._lock:
            fits = self._room is None or len(kept._dict) + len(attributes) <= self._room
            fits = fits and span._end_time is None
            if fits:
                kept._dict.update(attributes)
                if quiet:
                    span._end_time = self._to_wall + monotonic_ns()
                    kept._immutable = True  # as the SDK leaves it
        if not fits:
            span.set_attributes(attributes)
        if fits and quiet:
            self._processor.on_end(span)
        else:
            span.end(self.clock.now())

    def _takes(self, attributes: Mapping[str, Any]) -> bool:
        few = self._room is None or len(attributes) <= self._room
        return few and _PLAIN.issuperset(map(type, attributes.values()))


def plain_row(span: Any) -> tuple[dict[str, Any], str, int, int, int, int, int, int] | None:
    """Return what an ended span says that was made here and has attributes alone; else None.

    Returns:
        Its attributes, its name, the id of its trace, its own, that of its parent, its start,
        its duration (both in nanoseconds), and its flags (1: sampled, 2: the parent is remote).
        The garbage collector does not look at such a tuple twice, as it would at the span.
    """
    if type(span) is FinishedSpan:
        return span.row()
    if type(span) is not FastSpan:
        return None
    fields = span.__dict__
    events, links = fields["_shared"]
    if (
        fields["_events"] is not events
        or fields["_links"] is not links
        or fields["_status"] is not fields["_unset"]
    ):
        return None
    # Contexts are tuples, whose fields take twice as long by name: in their order the ids of the
    # trace and the span, whether it is remote, and the flags.
    own, above, started = fields["_context"], fields["_parent"], fields["_start_time"]
    return (
        fields["_attributes"]._dict,
        fields["_name"],
        own[0],
        own[1],
        above[1],
        started,
        fields["_end_time"] - started,
        (own[3] & 1) | (2 if above[2] else 0),
    )


def fast_factory(tracer: Tracer, span: Span, clock: SpanClock) -> FastSpanFactory | None:
    """Return a factory of spans below one that a tracer of the SDK made.

    None where anything is unlike what is known here, or a sampler has a say in each span.
    """
    if type(tracer) is not SdkTracer or not isinstance(span, SdkSpan):
        return None
    try:
        known = not _is_patched(tracer) and _has_known_fields(span) and _is_of(tracer, span)
        return FastSpanFactory(tracer, span, clock) if known and _is_sampled(tracer, span) else None
    except (AttributeError, TypeError):
        return None


def _counter_of(tracer: SdkTracer) -> Callable[..., Callable[[], None]] | None:
    metrics: Any = getattr(tracer, "_tracer_metrics", None)
    counts = metrics is not None and type(metrics).__name__ != "NoOpTracerMetrics"
    return metrics.start_span if counts else None


def _only_needs_on_end(processor: Any) -> bool:
    """Return whether a processor leaves the other calls at what does nothing."""
    kind = type(processor)
    own = getattr(processor, "__dict__", ())
    return all(
        call not in own and getattr(kind, call, None) in idle for call, idle in _IDLE.items()
    )


def _is_patched(tracer: SdkTracer) -> bool:
    return "start_span" in vars(tracer) or hasattr(SdkTracer.start_span, "__wrapped__")


def _has_known_fields(span: SdkSpan) -> bool:
    kept: Any = span._attributes
    return (
        _FIELDS <= vars(span).keys() <= _FIELDS | _MORE_FIELDS
        and _ATTRIBUTES <= vars(kept).keys() <= _ATTRIBUTES | _MORE_ATTRIBUTES
        and type(kept._dict) is dict
        and kept.max_value_len is None
    )


def _is_sampled(tracer: SdkTracer, span: SdkSpan) -> bool:
    # Below a sampled span of this process these samplers let everything through as it is.
    sampler = tracer.sampler
    if type(sampler) is ParentBased:
        sampler = sampler._local_parent_sampled
    return sampler is ALWAYS_ON and span.get_span_context().trace_flags.sampled


def _is_of(tracer: SdkTracer, span: SdkSpan) -> bool:
    return (
        span.is_recording()
        and span._instrumentation_scope is tracer._instrumentation_scope
        and span._resource is tracer.resource
        and span._span_processor is tracer.span_processor
        and span._status.status_code is StatusCode.UNSET
    )
