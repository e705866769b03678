"""A finished span as plain values, and back: the SDK's own objects hold locks."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opentelemetry.sdk.resources import Resource

_PLAIN: Final = frozenset({str, bool, int, float, bytes, type(None)})

# Attributes, and how many of them were dropped.
Attributes = tuple[dict[str, Any], int]
# Trace id, span id, flags, state as in a header, and whether it came from elsewhere.
Context = tuple[int, int, int, str, bool]
# Name, version, schema and attributes.
Scope = tuple[str, str | None, str, dict[str, Any]]
_NO_SCOPE: Final[Scope] = ("", None, "", {})


class SpanValues(NamedTuple):
    """A finished span.

    Attributes:
        name: Its name.
        context: Its ids.
        parent: Those of its parent, if any.
        kind: The number of its kind.
        start: Nanoseconds since the epoch.
        end: Likewise.
        attributes: Its attributes.
        events: Name, time and attributes of each event.
        dropped_events: How many more there were.
        links: Context and attributes of each link.
        dropped_links: How many more there were.
        status: The number of its status code, and a description.
        scope: Name, version, schema and attributes of what made it.
    """

    name: str
    context: Context
    parent: Context | None
    kind: int
    start: int
    end: int
    attributes: Attributes = ({}, 0)
    events: tuple[tuple[str, int, Attributes], ...] = ()
    dropped_events: int = 0
    links: tuple[tuple[Context, Attributes], ...] = ()
    dropped_links: int = 0
    status: tuple[int, str | None] = (StatusCode.UNSET.value, None)
    scope: Scope = _NO_SCOPE


def values_of(span: ReadableSpan) -> SpanValues:
    """Give the values of a finished span."""
    assert span.context is not None  # noqa: S101 - the SDK gives each of its spans one
    return SpanValues(
        span.name,
        context_values(span.context),
        None if span.parent is None else context_values(span.parent),
        span.kind.value,
        span.start_time or 0,
        span.end_time or 0,
        _attributes(span.attributes, span.dropped_attributes),
        tuple(
            (event.name, event.timestamp, _attributes(event.attributes, event.dropped_attributes))
            for event in span.events
        ),
        span.dropped_events,
        tuple(
            (context_values(link.context), _attributes(link.attributes, link.dropped_attributes))
            for link in span.links
        ),
        span.dropped_links,
        (span.status.status_code.value, span.status.description),
        _scope(span.instrumentation_scope),
    )


def context_values(context: SpanContext) -> Context:
    """Give the values of a span context."""
    state = context.trace_state.to_header() if context.trace_state else ""
    return context.trace_id, context.span_id, int(context.trace_flags), state, context.is_remote


def context_from(values: Context) -> SpanContext:
    """Make a span context from its values."""
    trace_id, span_id, flags, state, is_remote = values
    return SpanContext(trace_id, span_id, is_remote, TraceFlags(flags), _state(state))


def span_from(values: SpanValues, resource: Resource) -> ReadableSpan:
    """Make a finished span from its values."""
    code, description = values.status
    return ReadableSpan(
        name=values.name,
        context=context_from(values.context),
        parent=None if values.parent is None else context_from(values.parent),
        resource=resource,
        attributes=_bounded(values.attributes),
        events=_bounded_list(
            [Event(name, _bounded(found), time) for name, time, found in values.events],
            values.dropped_events,
        ),
        links=_bounded_list(
            [Link(context_from(found), _bounded(more)) for found, more in values.links],
            values.dropped_links,
        ),
        kind=_KINDS[values.kind],
        status=Status(_CODES[code], description),
        start_time=values.start,
        end_time=values.end,
        instrumentation_scope=_scope_from(values.scope),
    )


_KINDS: Final = {kind.value: kind for kind in SpanKind}
_CODES: Final = {code.value: code for code in StatusCode}


def _attributes(found: Mapping[str, Any] | None, dropped: int) -> Attributes:
    return {str(name): _plain(value) for name, value in (found or {}).items()}, dropped


def _plain(value: Any) -> Any:
    """Give a value of a type that every process knows: no class of the application's."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if isinstance(value, (tuple, list)):
        return tuple(_plain(item) for item in value)
    for base in (str, int, float, bytes):
        if isinstance(value, base):
            return base.__new__(base, value)
    if hasattr(value, "items"):
        return {str(name): _plain(item) for name, item in value.items()}
    return str(value)


def _scope(scope: InstrumentationScope | None) -> Scope:
    if scope is None:
        return _NO_SCOPE
    found, _ = _attributes(scope.attributes, 0)
    return scope.name, scope.version, scope.schema_url or "", found


def _scope_from(values: Scope) -> InstrumentationScope:
    name, version, schema_url, attributes = values
    if attributes:
        return InstrumentationScope(name, version, schema_url, attributes)
    return _plain_scope(name, version, schema_url)


@lru_cache(maxsize=256)
def _plain_scope(name: str, version: str | None, schema_url: str) -> InstrumentationScope:
    return InstrumentationScope(name, version, schema_url)


@lru_cache(maxsize=256)
def _state(header: str) -> TraceState:
    return TraceState.from_header([header] if header else [])


def _bounded(values: Attributes) -> Mapping[str, Any]:
    attributes, dropped = values
    if not dropped:
        return attributes
    bounded = BoundedAttributes(attributes=attributes)
    bounded.dropped = dropped
    return bounded


def _bounded_list(items: list[Any], dropped: int) -> Sequence[Any]:
    if not dropped:
        return items
    bounded = BoundedList.from_seq(len(items), items)
    bounded.dropped = dropped
    return bounded
