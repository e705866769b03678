"""Spans that have ended elsewhere, for the processors of the application.

Nobody can change such a span any more, so all that the SDK does while a span lives is left out.
It takes the public constructor of `ReadableSpan` alone.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from opentelemetry.sdk.trace import ReadableSpan

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import SpanContext


class PlainSpan(NamedTuple):
    """A finished span of this project's own, without events, links and status.

    Attributes:
        name: Its name.
        own: Its ids.
        above: Those of its parent.
        attributes: The dictionary is the span's that is made of it.
        times: When it began and ended, in nanoseconds since the epoch.
    """

    name: str
    own: SpanContext
    above: SpanContext
    attributes: dict[str, Any]
    times: tuple[int, int]


class FinishedSpan(ReadableSpan):
    """A span that has ended, as processors and exporters read it.

    Args:
        plain: What it says.
        resource: That of the tracer which its run's spans come from.
        scope: Likewise.
    """

    def __init__(
        self, plain: PlainSpan, resource: Resource, scope: InstrumentationScope | None
    ) -> None:
        started, ended = plain.times
        super().__init__(
            plain.name,
            plain.own,
            plain.above,
            resource,
            MappingProxyType(plain.attributes),
            instrumentation_scope=scope,
            start_time=started,
            end_time=ended,
        )
        self._plain = plain

    def row(self) -> tuple[dict[str, Any], str, int, int, int, int, int, int]:
        """Return what it says as numbers and texts: see `plain_row`."""
        name, own, above, attributes, (started, ended) = self._plain
        flags = (own.trace_flags & 1) | (2 if above.is_remote else 0)
        ids = own.trace_id, own.span_id, above.span_id
        return attributes, name, *ids, started, ended - started, flags
