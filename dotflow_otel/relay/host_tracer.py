"""The spans of attempts in a worker that its owner has set up to trace by itself."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.trace import Tracer
from opentelemetry.trace import NonRecordingSpan, SpanKind, set_span_in_context

from dotflow import __version__
from dotflow_otel import conventions as names
from dotflow_otel._process import is_forked_from
from dotflow_otel.spans.sdk_tracer import (
    PresetIdSpan,
    instrumentation_of,
    is_switched_on,
    limits_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, SpanContext

    from dotflow_otel._process import Process


class HostTracer:
    """Makes spans that go where the worker's owner has them go, and nowhere else.

    Of an attempt the worker knows all but the time that it waited, which the run reckons.

    Args:
        tracer: Of the provider that is set there.
    """

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def started(
        self, name: str, own: SpanContext, parent: SpanContext, attributes: dict[str, Any]
    ) -> PresetIdSpan:
        """Begin the span of an attempt, with the ids that its run has chosen."""
        tracer = self._tracer
        here: dict[str, Any] = {
            names.PROCESS_PID: os.getpid(),
            names.HOST_NAME: socket.gethostname(),
        }
        span = PresetIdSpan(
            name,
            own,
            parent,
            tracer.sampler,
            resource=tracer.resource,
            attributes={**attributes, **here},
            kind=SpanKind.INTERNAL,
            span_processor=tracer.span_processor,
            limits=limits_of(tracer),
            instrumentation_scope=instrumentation_of(tracer),
        )
        span.start(parent_context=set_span_in_context(NonRecordingSpan(parent)))
        return span

    def started_below(self, name: str, attributes: Mapping[str, Any]) -> Span:
        """Begin a span below the current one."""
        return self._tracer.start_span(name, None, SpanKind.INTERNAL, attributes)


def host_tracer(provider: TracerProvider, owner: Process) -> HostTracer | None:
    """Return what makes spans with a provider that is set in this process.

    None where it makes none, or is not of this process: a forked child has that of the run,
    whose processors may never export there.
    """
    tracer = provider.get_tracer(names.SCOPE, __version__)
    if is_forked_from(owner) or not isinstance(tracer, Tracer) or not is_switched_on(tracer):
        return None
    return HostTracer(tracer)
