"""Spans that are made from the run's span are what the SDK's own would be."""

from __future__ import annotations

import inspect
import json
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, SpanProcessor, Tracer, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from dotflow import Config, DotFlow, action
from dotflow.testing import Recording
from dotflow_otel import TracerOpenTelemetry
from dotflow_otel.relay.handover import handover_of
from dotflow_otel.sdk.span_pipeline import SpanPipeline
from dotflow_otel.span_ids import SpanClock
from dotflow_otel.spans.factory import SpanFactory
from dotflow_otel.spans.finished import FinishedSpan, PlainSpan
from dotflow_otel.spans.sdk_access import FastSpan, FastSpanFactory
from dotflow_otel.traces.spans import factory_of

if TYPE_CHECKING:
    from collections.abc import Callable

ATTRIBUTES = {"text": "t", "number": 1, "part": 0.5, "flag": True}
LAST = {"status": "completed", "attempts": 1}
ELSEWHERE = SpanContext(5, 7, is_remote=True, trace_flags=TraceFlags(1))


def fails() -> Exception:
    """Return an exception that was raised."""
    try:
        raise ValueError("no such table")
    except ValueError as error:
        return error


def everything(span: Span) -> None:
    """Do with a span all that a step may."""
    span.set_attribute("rows", 3)
    span.set_attributes({"text": "changed", "list": ["a", "b"]})
    span.add_event("seen", {"n": 1}, 12)
    span.add_link(ELSEWHERE, {"why": "retry"})
    span.record_exception(fails(), {"more": "x"}, 13, escaped=True)
    span.update_name("renamed")
    span.set_status(StatusCode.ERROR, "broken")


def many(span: Span) -> None:
    """Do more with a span than the limits allow."""
    for number in range(8):
        span.set_attribute(f"a{number}", number)
        span.add_event(f"e{number}", {f"b{n}": n for n in range(5)})
        span.add_link(ELSEWHERE, {f"b{n}": n for n in range(5)})


def after_its_end(span: Span) -> None:
    """Go on with a span that has ended."""
    span.end(99)
    everything(span)


def with_status(span: Span) -> None:
    """Set a status that stays."""
    span.set_status(Status(StatusCode.OK))
    span.set_status(StatusCode.ERROR, "not any more")


class Traced:
    """A provider whose spans can be read back, a span of a run, and a factory below it."""

    def __init__(self, *, remote_parent: bool = False, **options: Any) -> None:
        self.exporter = InMemorySpanExporter()
        resource = Resource({"service.name": "test"})
        self.provider = TracerProvider(shutdown_on_exit=False, resource=resource, **options)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = self.provider.get_tracer("dotflow_otel", "1", "https://schema", {"of": "it"})
        parent = set_span_in_context(NonRecordingSpan(ELSEWHERE)) if remote_parent else None
        self.run = self.tracer.start_span("workflow w", parent, links=None)
        self.context = set_span_in_context(self.run)
        self.factory = factory_of(self.tracer, self.run, SpanClock())

    def ended(self) -> ReadableSpan:
        """Return the only span that has ended, and forget it."""
        (span,) = self.exporter.get_finished_spans()
        self.exporter.clear()
        return span

    def both(self, use: Callable[[Span], object]) -> tuple[ReadableSpan, ReadableSpan]:
        """Use a span of the factory and one of the SDK; give what is exported of each."""
        made = self.factory.start("task t", self.run, self.context, dict(ATTRIBUTES), 11)
        use(made)
        self.factory.end(made, LAST)
        fast = self.ended()
        plain = self.tracer.start_span(
            "task t", self.context, SpanKind.INTERNAL, ATTRIBUTES, None, 11
        )
        use(plain)
        for name, value in LAST.items():
            plain.set_attribute(name, value)
        plain.end()
        return fast, self.ended()


def facts(span: ReadableSpan) -> dict[str, Any]:
    """Return all that can be read from a span, but for what differs from span to span."""
    names = [name for name, _ in inspect.getmembers(ReadableSpan, inspect.isdatadescriptor)]
    hidden = {"end_time", "context", "events", "links", "instrumentation_info", "__weakref__"}
    found = {name: getattr(span, name) for name in names if name not in hidden}
    told = json.loads(span.to_json())
    told["context"].pop("span_id")
    told.pop("end_time")
    for event in told["events"]:
        event.pop("timestamp")
    links = [(link.context, dict(link.attributes or {})) for link in span.links]
    events = [(event.name, dict(event.attributes or {})) for event in span.events]
    context = span.context
    assert context is not None
    found["status"] = span.status.status_code, span.status.description
    shared = (context.trace_id, context.is_remote, context.trace_flags, context.trace_state)
    return {**found, "told": told, "links": links, "events": events, "context": shared}


LIMITS = SpanLimits(
    max_span_attributes=10,
    max_events=3,
    max_links=2,
    max_event_attributes=4,
    max_link_attributes=3,
)


@pytest.mark.parametrize("use", [repr, everything, many, with_status, after_its_end])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"span_limits": LIMITS},
        {"remote_parent": True},
        {"sampler": ALWAYS_ON},
        {"sampler": ParentBased(TraceIdRatioBased(1))},
    ],
    ids=["default", "limits", "remote parent", "always on", "ratio of traces"],
)
def test_like_the_sdks_own(options: dict[str, Any], use: Callable[[Span], object]) -> None:
    """What is exported of a span is what it would be had the SDK made it, whatever is done."""
    traced = Traced(**options)
    assert type(traced.factory) is FastSpanFactory
    fast, plain = traced.both(use)
    assert type(fast) is FastSpan
    assert facts(fast) == facts(plain)


@pytest.mark.parametrize("processor", [SimpleSpanProcessor, BatchSpanProcessor, SpanPipeline])
def test_a_run_takes_the_short_way(processor: Any) -> None:
    """Its tasks' and attempts' spans are made so, with this SDK, whatever exports them."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor(exporter))
    tracer = TracerOpenTelemetry(tracer_provider=provider)

    @action(retry=2, retry_delay=0)
    def step(calls: list[int] = []) -> None:  # noqa: B006 - counts
        calls.append(1)
        if len(calls) == 1:
            raise ValueError("once")

    flow = DotFlow(config=Config(tracer=tracer, log=Recording().providers["log"]), name="w")
    flow.task.add(step)
    flow.start()
    provider.shutdown()
    spans = exporter.get_finished_spans()
    made = [(span.name, type(span) is FastSpan) for span in spans]
    tasks = [("attempt", True), ("attempt", True), ("task step", True)]
    assert made == [*tasks, ("workflow w", False)]


def test_times_and_ids() -> None:
    """A span has an id of its own, begins now unless told otherwise, and ends after that."""
    traced = Traced()
    spans = []
    for _ in range(3):
        made = traced.factory.start("t", traced.run, traced.context, {})
        assert made.is_recording()
        traced.factory.end(made, {})
        assert not made.is_recording()
        spans.append(traced.ended())
    assert len({span.context.span_id for span in spans if span.context}) == 3
    times = [time for span in spans for time in (span.start_time or 0, span.end_time or 0)]
    run = traced.run
    assert isinstance(run, ReadableSpan)
    assert [run.start_time, *times] == sorted([run.start_time or 0, *times])


def test_spans_share_nothing() -> None:
    """What is written into one span is in no other, nor in the run's."""
    traced = Traced()
    first = traced.factory.start("t", traced.run, traced.context, {})
    everything(first)
    second = traced.factory.start("t", traced.run, traced.context, {})
    assert isinstance(first, ReadableSpan)
    for span in (second, traced.run):
        assert isinstance(span, ReadableSpan)
        assert (dict(span.attributes or {}), span.events, span.links) == ({}, (), ())
        assert span.status.status_code is StatusCode.UNSET
    assert (len(first.events), len(first.links)) == (2, 1)


def test_below_a_span_of_its_own() -> None:
    """A span below one of the factory's has that one as its parent."""
    traced = Traced()
    task = traced.factory.start("task", traced.run, traced.context, {})
    attempt = traced.factory.start("attempt", task, set_span_in_context(task), {"n": 1})
    assert isinstance(attempt, FastSpan)
    assert attempt.parent == task.get_span_context()


def test_processors_are_told() -> None:
    """Processors get each span at its start with its parent's context, and at its end."""
    told: list[tuple[str, str, object]] = []

    class Recorder(SpanProcessor):
        def on_start(self, span: Any, parent_context: Any = None) -> None:
            span.set_attribute("by", "processor")
            told.append(("start", span.name, parent_context))

        def on_end(self, span: ReadableSpan) -> None:
            told.append(("end", span.name, dict(span.attributes or {})))

    traced = Traced()
    traced.provider.add_span_processor(Recorder())
    made = traced.factory.start("t", traced.run, traced.context, {"n": 1})
    traced.factory.end(made, LAST)
    assert told == [
        ("start", "t", traced.context),
        ("end", "t", {"n": 1, "by": "processor", **LAST}),
    ]


class Starts(SpanProcessor):
    """Hears the starts of spans."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        """Note the name."""
        self.names.append(span.name)


class Ends(SpanProcessor):
    """Hears the ends of spans alone."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def on_end(self, span: ReadableSpan) -> None:
        """Note the name."""
        self.names.append(span.name)


def test_a_processor_that_comes_later_is_told_of_later_spans() -> None:
    """A processor that the application adds in the middle of a run hears what comes after it."""
    traced = Traced()
    starts = Starts()
    traced.factory.end(traced.factory.start("before", traced.run, traced.context, {}), {})
    traced.provider.add_span_processor(starts)
    traced.factory.end(traced.factory.start("after", traced.run, traced.context, {}), {})
    assert starts.names == ["after"]
    assert [span.name for span in traced.exporter.get_finished_spans()] == ["before", "after"]


def test_a_patched_processor_is_told() -> None:
    """A processor whose method was replaced on the object hears the starts by that."""
    traced = Traced()
    patched, names = Ends(), []
    patched.on_start = lambda span, parent_context=None: names.append(span.name)  # type: ignore[method-assign,misc,assignment]
    traced.provider.add_span_processor(patched)
    traced.factory.end(traced.factory.start("t", traced.run, traced.context, {}), {})
    assert (names, patched.names) == (["t"], ["t"])


def handed_over(traced: Traced, attributes: dict[str, Any], times: tuple[int, int]) -> bool:
    """Hand a span over as an attempt's that came from a worker."""
    above = traced.run.get_span_context()
    own = SpanContext(above.trace_id, 99, is_remote=False, trace_flags=above.trace_flags)
    return handover_of(traced.factory).hand_over_plain(
        PlainSpan("attempt", own, above, attributes, times)
    )


@pytest.mark.parametrize("options", [{}, {"span_limits": LIMITS}], ids=["default", "limits"])
def test_what_is_handed_over_is_like_the_sdks_own(options: dict[str, Any]) -> None:
    """A span that has ended elsewhere is exported as if the SDK had made it, with its times."""
    traced = Traced(**options)
    traced.provider.add_span_processor(Ends())
    assert handed_over(traced, dict(ATTRIBUTES), (11, 15))
    fast = traced.ended()
    assert type(fast) is FinishedSpan
    plain = traced.tracer.start_span(
        "attempt", traced.context, SpanKind.INTERNAL, ATTRIBUTES, None, 11
    )
    plain.end(15)
    assert facts(fast) == facts(traced.ended())
    assert (fast.start_time, fast.end_time, fast.context and fast.context.span_id) == (11, 15, 99)
    with pytest.raises(TypeError):
        fast.attributes["more"] = 1  # type: ignore[index]


@pytest.mark.parametrize("why", ["starts are heard", "too many", "no plain value"])
def test_what_cannot_be_handed_over_is_not(why: str) -> None:
    """Nothing is exported of a span that has to be made in the usual way."""
    traced = Traced(span_limits=SpanLimits(max_span_attributes=4))
    attributes: dict[str, Any] = dict(ATTRIBUTES)
    if why == "starts are heard":
        traced.provider.add_span_processor(Starts())
    else:
        attributes["more"] = ["a"] if why == "no plain value" else 1
    assert not handed_over(traced, attributes, (11, 15))
    assert traced.exporter.get_finished_spans() == ()


class Judge(Sampler):
    """Decides as told and adds an attribute and a trace state."""

    def __init__(self, decision: Decision) -> None:
        self.decision = decision
        self.asked: list[str] = []

    def should_sample(self, _context: Any, _id: int, name: str, *_: Any, **__: Any) -> Any:
        self.asked.append(name)
        return SamplingResult(self.decision, {"by": "judge"}, TraceState([("j", "1")]))

    def get_description(self) -> str:
        return "Judge"


@pytest.mark.parametrize("decision", list(Decision))
def test_a_sampler_is_asked(decision: Decision) -> None:
    """A sampler that is not known to let all through decides on each span, once."""
    sampler = Judge(decision)
    traced = Traced(sampler=sampler)
    assert type(traced.factory) is SpanFactory
    made = traced.factory.start("t", traced.run, traced.context, {"n": 1})
    assert sampler.asked == ["workflow w", "t"]
    assert made.is_recording() is (decision is not Decision.DROP)
    context = made.get_span_context()
    assert context.trace_flags.sampled is (decision is Decision.RECORD_AND_SAMPLE)
    assert context.trace_state == TraceState([("j", "1")])


def never(traced: Traced) -> None:
    """Leave everything as it is."""


def patch_tracer(traced: Traced) -> None:
    """Take part in the making of spans."""
    vars(traced.tracer)["start_span"] = traced.tracer.start_span


def add_field(traced: Traced) -> None:
    """Return the span a field that no release has had."""
    vars(traced.run)["_children"] = []


def drop_field(traced: Traced) -> None:
    """Take a field away."""
    del vars(traced.run)["_sampler"]


def end_run(traced: Traced) -> None:
    """End the run's span."""
    traced.run.end()


def of_another_scope(traced: Traced) -> None:
    """Have a tracer that did not make the run's span."""
    traced.tracer = traced.provider.get_tracer("other")


def of_another_kind(traced: Traced) -> None:
    """Have a tracer that extends the SDK's."""

    class Own(Tracer):
        pass

    traced.tracer.__class__ = Own


@pytest.mark.parametrize(
    ("change", "options"),
    [
        (patch_tracer, {}),
        (add_field, {}),
        (drop_field, {}),
        (end_run, {}),
        (of_another_scope, {}),
        (of_another_kind, {}),
        (never, {"sampler": ALWAYS_OFF}),
        (never, {"sampler": TraceIdRatioBased(1)}),
        (never, {"sampler": ParentBased(ALWAYS_ON, local_parent_sampled=ALWAYS_OFF)}),
        (never, {"span_limits": SpanLimits(max_span_attribute_length=4)}),
    ],
)
def test_anything_unknown_is_left_to_the_sdk(
    change: Callable[[Traced], None], options: dict[str, Any]
) -> None:
    """Where anything is not as it is known, the tracer itself makes the spans."""
    traced = Traced(**options)
    change(traced)
    assert type(factory_of(traced.tracer, traced.run, SpanClock())) is SpanFactory


def test_odd_values_are_left_to_the_sdk() -> None:
    """Attributes that the SDK would clean make the tracer itself make the span."""
    traced = Traced()
    attributes: dict[str, Any] = {"list": ["a"], "text": "t"}
    made = traced.factory.start("t", traced.run, traced.context, attributes)
    assert not isinstance(made, FastSpan)
    traced.factory.end(made, LAST)
    assert dict(traced.ended().attributes or {}) == {"list": ("a",), "text": "t", **LAST}


@pytest.mark.skipif(
    "meter_provider" not in inspect.signature(TracerProvider).parameters,
    reason="this release of the SDK does not count its spans",
)
def test_the_sdk_counts_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the SDK counts the spans that begin and that are live, these are counted as well."""
    monkeypatch.setenv("OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED", "true")
    reader = InMemoryMetricReader()
    traced = Traced(meter_provider=MeterProvider([reader], shutdown_on_exit=False))
    assert type(traced.factory) is FastSpanFactory

    def counts() -> dict[str, list[tuple[dict[str, Any], float]]]:
        told = json.loads(reader.get_metrics_data().to_json())  # type: ignore[union-attr]
        return {
            metric["name"]: [
                (point["attributes"], point["value"]) for point in metric["data"]["data_points"]
            ]
            for scope in told["resource_metrics"][0]["scope_metrics"]
            for metric in scope["metrics"]
            if metric["name"].startswith("otel.sdk.span.")
        }

    sampled = {"otel.span.sampling_result": "RECORD_AND_SAMPLE"}
    begun = [({"otel.span.parent.origin": "none", **sampled}, 1)]
    assert counts() == {"otel.sdk.span.started": begun, "otel.sdk.span.live": [(sampled, 1)]}
    made = traced.factory.start("t", traced.run, traced.context, {})
    begun.append(({"otel.span.parent.origin": "local", **sampled}, 1))
    assert counts() == {"otel.sdk.span.started": begun, "otel.sdk.span.live": [(sampled, 2)]}
    traced.factory.end(made, {})
    assert counts() == {"otel.sdk.span.started": begun, "otel.sdk.span.live": [(sampled, 1)]}


def test_disabled_sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the SDK is disabled its tracer makes spans that record nothing."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    traced = Traced()
    made = traced.factory.start("t", traced.run, traced.context, {"n": 1})
    traced.factory.end(made, LAST)
    assert (type(traced.factory), made.is_recording()) == (SpanFactory, False)
    assert traced.exporter.get_finished_spans() == ()


def test_after_shutdown() -> None:
    """A provider that was shut down drops the spans, as it drops the SDK's own."""
    traced = Traced()
    traced.provider.shutdown()
    made = traced.factory.start("t", traced.run, traced.context, {"n": 1})
    traced.factory.end(made, LAST)
    assert traced.exporter.get_finished_spans() == ()
