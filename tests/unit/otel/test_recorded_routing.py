"""Which recording a span of the global provider belongs to, and spans from elsewhere."""

from __future__ import annotations

import contextvars

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, TraceFlags, set_span_in_context

from dotflow_otel import RecordedTelemetry
from dotflow_otel.testing.span_reader import Router, SpanCollector, provider_of


def finished(
    name: str, span_id: int, parent_id: int | None = None, trace_id: int = 7
) -> ReadableSpan:
    """Make a span as it comes from a worker: finished, and never begun here."""
    flags = TraceFlags(TraceFlags.SAMPLED)
    return ReadableSpan(
        name,
        SpanContext(trace_id, span_id, is_remote=False, trace_flags=flags),
        None if parent_id is None else SpanContext(trace_id, parent_id, True, flags),
        start_time=1,
        end_time=2,
    )


def names(collector: SpanCollector) -> list[str]:
    """Return the names of what a collector has, in the order of the ends."""
    return [span.name for span in collector.finished]


def test_spans_that_are_told_of_at_their_end_alone() -> None:
    """Spans of workers find their place, in whatever order they come."""
    telemetry = RecordedTelemetry()
    for span in (finished("select", 3, 2), finished("attempt", 2, 1), finished("task load", 1)):
        telemetry.collector.on_end(span)
    telemetry.assert_tree("task load\n  attempt\n    select")
    assert telemetry.spans[0].scope == ""


def test_a_parent_elsewhere() -> None:
    """A span whose parent is not recorded is a root that tells its parent's id."""
    telemetry = RecordedTelemetry()
    telemetry.collector.on_end(finished("workflow billing", 2, 1))
    (root,) = telemetry.roots
    assert (root.parent, root.parent_id) == (None, "0000000000000001")


def test_without_a_recording_spans_are_dropped() -> None:
    """Before, between and after recordings nothing is kept, and nothing breaks."""
    router, collector = Router(), SpanCollector()
    tracer = provider_of(router).get_tracer("test")
    tracer.start_span("before").end()
    with router.to(collector):
        tracer.start_span("while").end()
    tracer.start_span("after").end()
    router.on_end(finished("from elsewhere", 9))
    assert names(collector) == ["while"]


def test_a_known_trace_leads_to_its_recording() -> None:
    """A span goes where its trace is known, be another recording nearer or later."""
    router, first, second = Router(), SpanCollector(), SpanCollector()
    tracer = provider_of(router).get_tracer("test")
    run = provider_of(first).get_tracer("test").start_span("run")
    with router.to(first), router.to(second):
        tracer.start_span("step", set_span_in_context(run)).end()
        router.on_end(finished("relayed", 5, trace_id=run.get_span_context().trace_id))
        tracer.start_span("another").end()
    assert names(first) == ["step", "relayed"]
    assert names(second) == ["another"]


def test_the_recording_of_the_context_comes_first() -> None:
    """The first span of a trace goes to the recording of its context, else to the latest."""
    router, first, second = Router(), SpanCollector(), SpanCollector()
    tracer = provider_of(router).get_tracer("test")
    outside = contextvars.copy_context()
    with router.to(first):
        inside = contextvars.copy_context()
        with router.to(second):
            inside.run(lambda: tracer.start_span("here").end())
            outside.run(lambda: tracer.start_span("latest").end())
        inside.run(lambda: tracer.start_span("still here").end())
    inside.run(lambda: tracer.start_span("too late").end())
    assert (names(first), names(second)) == (["here", "still here"], ["latest"])


def test_a_span_that_outlives_its_recording() -> None:
    """A span that began in a recording ends there, and is told of as open until then."""
    router, collector = Router(), SpanCollector()
    tracer = provider_of(router).get_tracer("test")
    with router.to(collector):
        span = tracer.start_span("long")
    assert collector.open == ("long",)
    span.end()
    assert (names(collector), collector.open) == (["long"], ())
