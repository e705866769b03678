"""Makes the spans below a run's span."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from opentelemetry.trace import SpanKind

from dotflow_otel.spans.clock import SpanClock

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.context import Context
    from opentelemetry.trace import Span, Tracer

_SDK: Final = "opentelemetry.sdk.trace"


class SpanMaker:
    """Makes spans with any tracer.

    Args:
        tracer: Makes them.
        clock: Tells when its spans begin and end; None: one that begins now.

    Attributes:
        tracer: As above.
        clock: As above.
    """

    def __init__(self, tracer: Tracer, clock: SpanClock | None = None) -> None:
        self.tracer = tracer
        self.clock = SpanClock() if clock is None else clock

    def start(
        self,
        name: str,
        parent: Span,  # noqa: ARG002 - for those who make spans themselves
        context: Context,
        attributes: dict[str, Any],
        start_time: int | None = None,
    ) -> Span:
        """Begin a span.

        Args:
            name: Its name.
            parent: The span that it is below.
            context: A context whose current span is `parent`.
            attributes: Texts, numbers and flags; the dictionary is the span's from then on.
            start_time: Nanoseconds since the epoch, of `clock`; None: now.
        """
        kind = SpanKind.INTERNAL
        begun = self.clock.now() if start_time is None else start_time
        return self.tracer.start_span(name, context, kind, attributes, None, begun)

    def end(self, span: Span, attributes: Mapping[str, Any]) -> None:
        """Set last attributes and end a span that this maker began."""
        # One by one: the SDK takes longer over a dictionary of two.
        for name, value in attributes.items():
            span.set_attribute(name, value)
        span.end(self.clock.now())


def maker_of(tracer: Tracer, span: Span, clock: SpanClock) -> SpanMaker:
    """Return what makes spans like `span`, which the tracer made, and below it."""
    if type(tracer).__module__ == type(span).__module__ == _SDK:
        # Here, because this package works with the API alone.
        from dotflow_otel.spans.sdk_access import fast_maker  # noqa: PLC0415

        found = fast_maker(tracer, span, clock)
        if found is not None:
            return found
    return SpanMaker(tracer, clock)
