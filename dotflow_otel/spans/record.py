"""Finished spans as plain values, for the way from a worker to its run.

The SDK's spans do not pickle (they hold locks), and a resource, a scope and limits of the
worker's are not those of the application. So what a span says travels as tuples of plain
values, and the run makes a span of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from opentelemetry.trace import SpanContext, TraceFlags, TraceState

from dotflow_otel.plain import to_plain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opentelemetry.sdk.trace import ReadableSpan


class PlainContext(NamedTuple):
    """A span context. The trace state is that of the W3C header, empty where there is none."""

    trace_id: int
    span_id: int
    is_remote: bool
    flags: int
    state: str

    @classmethod
    def of(cls, context: SpanContext) -> PlainContext:
        """Make one of a span context."""
        state = context.trace_state.to_header() if context.trace_state else ""
        flags = int(context.trace_flags)
        return cls(context.trace_id, context.span_id, context.is_remote, flags, state)

    def restored(self) -> SpanContext:
        """Return the span context."""
        state = TraceState.from_header([self.state]) if self.state else None
        flags = TraceFlags(self.flags)
        return SpanContext(self.trace_id, self.span_id, self.is_remote, flags, state)


class EventRecord(NamedTuple):
    """An event of a span; the time is in nanoseconds since the epoch."""

    name: str
    timestamp: int
    attributes: dict[str, Any]


class LinkRecord(NamedTuple):
    """A link of a span."""

    context: PlainContext
    attributes: dict[str, Any]


class ScopeRecord(NamedTuple):
    """Which instrumentation made a span."""

    name: str
    version: str | None
    schema_url: str | None
    attributes: tuple[tuple[str, Any], ...]


class SpanRecord(NamedTuple):
    """A finished span; times are in nanoseconds since the epoch.

    Attributes:
        kind: The value of its `SpanKind`.
        status: The value of its `StatusCode`, and the description.
        scope: None: this project's own.
        order: Its places among the starts and ends in its process; 0 where it has none.
        first: The name and attributes that it began with; None: those that it has.
        is_decided: Whether the application's sampler was asked about it where it began.
        baggage: That of the context that it began in; None: the caller's.
    """

    name: str
    kind: int
    context: PlainContext
    parent: PlainContext | None
    started: int
    ended: int
    status: tuple[int, str | None]
    attributes: dict[str, Any]
    events: Sequence[EventRecord] = ()
    links: Sequence[LinkRecord] = ()
    scope: ScopeRecord | None = None
    order: tuple[int, int] = (0, 0)
    first: tuple[str, dict[str, Any]] | None = None
    is_decided: bool = False
    baggage: dict[str, Any] | None = None


class Begun(NamedTuple):
    """A span that has begun, as it was then.

    Attributes:
        place: Its place among the starts and ends in its process.
        name: Its name.
        attributes: Its attributes, plain.
        span: The span.
        is_decided: Whether the application's sampler was asked about it.
        baggage: As of `SpanRecord`.
    """

    place: int
    name: str
    attributes: dict[str, Any]
    span: ReadableSpan
    is_decided: bool
    baggage: dict[str, Any] | None

    def record(self) -> SpanRecord:
        """Return what it says, without an end."""
        span = self.span
        return SpanRecord(
            self.name,
            span.kind.value,
            PlainContext.of(_known(span.context)),
            None if span.parent is None else PlainContext.of(span.parent),
            span.start_time or 0,
            0,
            (0, None),
            self.attributes,
            (),
            _links_of(span),
            scope_of(span),
            (self.place, 0),
            None,
            self.is_decided,
            self.baggage,
        )


def record_of(
    span: ReadableSpan,
    scope: ScopeRecord | None,
    begun: Begun | None = None,
    place: int = 0,
    *,
    is_decided: bool = False,
) -> SpanRecord:
    """Return what a finished span says.

    Args:
        span: The span.
        scope: Which instrumentation made it; None: this project's own.
        begun: As it began, if that is known.
        place: The place of its end among the starts and ends in its process.
        is_decided: Whether the application's sampler was asked about it.
    """
    attributes = plain_attributes(span.attributes)
    first = None
    if begun is not None and (begun.name, begun.attributes) != (span.name, attributes):
        first = begun.name, begun.attributes
    return SpanRecord(
        span.name,
        span.kind.value,
        PlainContext.of(_known(span.context)),
        None if span.parent is None else PlainContext.of(span.parent),
        span.start_time or 0,
        span.end_time or 0,
        (span.status.status_code.value, span.status.description),
        attributes,
        [EventRecord(e.name, e.timestamp, plain_attributes(e.attributes)) for e in span.events],
        _links_of(span),
        scope,
        (0 if begun is None else begun.place, place),
        first,
        is_decided,
        None if begun is None else begun.baggage,
    )


def _links_of(span: ReadableSpan) -> Sequence[LinkRecord]:
    return [
        LinkRecord(PlainContext.of(link.context), plain_attributes(link.attributes))
        for link in span.links
    ]


def scope_of(span: ReadableSpan) -> ScopeRecord | None:
    """Return which instrumentation made a span."""
    scope = span.instrumentation_scope
    if scope is None:
        return None
    # The attributes came with a later SDK than the oldest one that is supported.
    attributes = plain_attributes(getattr(scope, "attributes", None))
    return ScopeRecord(scope.name, scope.version, scope.schema_url, tuple(attributes.items()))


def plain_attributes(attributes: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return attributes whose values are plain, and so pickle wherever they go."""
    return {key: to_plain(value) for key, value in attributes.items()} if attributes else {}


def _known(context: SpanContext | None) -> SpanContext:
    assert context is not None  # noqa: S101 - only a span that was never started has none
    return context
