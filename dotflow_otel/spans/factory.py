"""Makes the spans below a run's span; and lets the tracers that steps hold travel to workers."""

from __future__ import annotations

import copyreg
import sys
from functools import cache
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.trace import SpanKind

from dotflow_otel.span_ids import SpanClock

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.context import Context
    from opentelemetry.trace import Span, Tracer


class SpanFactory:
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
        """Set last attributes and end a span that this factory began."""
        # One by one: the SDK takes longer over a dictionary of two.
        for name, value in attributes.items():
            span.set_attribute(name, value)
        span.end(self.clock.now())


@cache
def let_tracers_travel() -> None:
    """Register, once in a process, how tracers and their providers pickle."""
    _register(trace.ProxyTracer, _reduced_proxy)
    _register(trace.NoOpTracer, lambda _: (trace.NoOpTracer, ()))
    _register(trace.ProxyTracerProvider, _reduced_provider)
    sdk = sys.modules.get("opentelemetry.sdk.trace")
    if sdk is not None:
        _register(sdk.Tracer, _reduced_tracer)
        _register(sdk.TracerProvider, _reduced_provider)


def _register(kind: Any, reduce: Any) -> None:
    # Not where somebody else has said how.
    copyreg.dispatch_table.setdefault(kind, reduce)


def _reduced_proxy(tracer: Any) -> tuple[Any, ...]:
    # These have no public names; without them the tracer is one without a name.
    fields = ("_instrumenting_module_name", "_instrumenting_library_version", "_schema_url")
    name, *others = (getattr(tracer, field, None) for field in fields)
    return _tracer_again, (name or "", *others)


def _reduced_tracer(tracer: Any) -> tuple[Any, ...]:
    # Here, because the API alone can be installed.
    from dotflow_otel.spans.sdk_tracer import instrumentation_of  # noqa: PLC0415

    scope = instrumentation_of(tracer)
    if scope is None:
        return _tracer_again, ("", None, None)
    return _tracer_again, (scope.name, scope.version, scope.schema_url)


def _reduced_provider(_provider: Any) -> tuple[Any, ...]:
    return trace.get_tracer_provider, ()


def _tracer_again(name: str, version: str | None, schema_url: str | None) -> trace.Tracer:
    return trace.get_tracer(name, version, schema_url=schema_url)
