"""The application's processors and sampler meet a step's spans as if they were made here."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from waiting import wait_for
from wrapping_tracers import WrappingProvider

from dotflow import action
from dotflow.providers import ExecutorFutures

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from observed import Observed
    from opentelemetry.sdk.trace import ReadableSpan, Span

MODES = ("sequential", "sequential_group", "background", "parallel")


class Notes(SpanProcessor):
    """Notes what happens, in order."""

    def __init__(self) -> None:
        self.seen: list[tuple[Any, ...]] = []

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        above: Any = trace.get_current_span(parent_context)
        recording = above.is_recording()
        self.seen.append(("start", span.name, above.name if recording else None))

    def on_end(self, span: ReadableSpan) -> None:
        self.seen.append(("end", span.name))


@pytest.mark.parametrize("mode", MODES)
def test_order_and_parents(observed: Observed, mode: str) -> None:
    """Each span begins after its parent, which records, and ends before it; siblings in turn."""
    notes = Notes()
    observed.provider.add_span_processor(notes)
    tracer = observed.provider.get_tracer("app")

    @action(retry=2, retry_delay=0)
    def nested() -> None:
        with tracer.start_as_current_span("outer"):
            with tracer.start_as_current_span("first"):
                pass
            with tracer.start_as_current_span("second"), tracer.start_as_current_span("third"):
                pass
        tracer.start_span("last").end()

    observed.run(nested, mode=mode)
    assert notes.seen == [
        ("start", "workflow billing", None),
        ("start", "task nested", "workflow billing"),
        ("start", "attempt", "task nested"),
        ("start", "outer", "attempt"),
        ("start", "first", "outer"),
        ("end", "first"),
        ("start", "second", "outer"),
        ("start", "third", "second"),
        ("end", "third"),
        ("end", "second"),
        ("end", "outer"),
        ("start", "last", "attempt"),
        ("end", "last"),
        ("end", "attempt"),
        ("end", "task nested"),
        ("end", "workflow billing"),
    ]


@pytest.mark.parametrize("mode", MODES)
def test_order_while_the_step_goes_on(observed: Observed, tmp_path: Path, mode: str) -> None:
    """A processor sees the parent of a span that has arrived, though that has not ended."""
    mark, notes = tmp_path / "arrived", Notes()

    class Marks(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            if span.name == "inner":
                mark.touch()

    observed.provider.add_span_processor(notes)
    observed.provider.add_span_processor(Marks())
    tracer = observed.provider.get_tracer("app")

    @action(retry=2, retry_delay=0)
    def step() -> None:
        with tracer.start_as_current_span("outer"):
            with tracer.start_as_current_span("inner"):
                pass
            wait_for(mark.exists, 10)
            with tracer.start_as_current_span("late"):
                pass

    observed.run(step, mode=mode)
    assert notes.seen[2:-3] == [
        ("start", "attempt", "task step"),
        ("start", "outer", "attempt"),
        ("start", "inner", "outer"),
        ("end", "inner"),
        ("start", "late", "outer"),
        ("end", "late"),
        ("end", "outer"),
    ]


class Methods:
    """A class step."""

    @action
    def first(self) -> None:
        """Do nothing."""


def test_order_in_threads_of_a_pool(observed: Observed) -> None:
    """An attempt in a `ThreadPoolExecutor`, and methods there, begin before what is below them."""
    notes = Notes()
    observed.provider.add_span_processor(notes)
    tracer = observed.provider.get_tracer("app")

    @action
    def step() -> Methods:
        trace.get_current_span().set_attribute("rows", 3)
        with tracer.start_as_current_span("query"):
            pass
        return Methods()

    with ThreadPoolExecutor(1) as pool:
        observed.config.executor = ExecutorFutures(pool)
        observed.run(step, mode="parallel")
    assert notes.seen[2:-2] == [
        ("start", "attempt", "task step"),
        ("start", "query", "attempt"),
        ("end", "query"),
        ("start", "method first", "attempt"),
        ("end", "method first"),
        ("end", "attempt"),
    ]
    attributes = dict(observed.ended("attempt").attributes or {})
    assert attributes["rows"] == 3
    assert attributes["dotflow.attempt.number"] == 1


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("waits", [False, True], ids=["at once", "in parts"])
def test_what_a_span_says_at_its_start(
    observed: Observed, tmp_path: Path, mode: str, waits: bool
) -> None:
    """A processor sees the name and attributes that a span began with, and its own stay."""
    mark = tmp_path / "arrived"

    class Looks(SpanProcessor):
        def __init__(self) -> None:
            self.seen: list[tuple[str, dict[str, Any]]] = []

        def on_start(self, span: Span, parent_context: Context | None = None) -> None:
            self.seen.append((span.name, dict(span.attributes or {})))
            span.set_attribute("tenant", "acme")
            if span.name == "read":
                mark.touch()

    looks = Looks()
    observed.provider.add_span_processor(looks)
    tracer = observed.provider.get_tracer("app")
    other = trace.Link(trace.SpanContext(7, 8, is_remote=False), {"why": "batch"})

    @action
    def step() -> None:
        with tracer.start_as_current_span("read", attributes={"table": "orders"}) as span:
            if waits:
                wait_for(mark.exists, 10)
            span.update_name("read orders")
            span.set_attribute("rows", 3)
            span.set_attribute("table", "all")
            span.add_event("sent", {"bytes": 12}, 17)
            span.add_link(other.context, other.attributes)
            span.set_status(trace.Status(trace.StatusCode.ERROR, "broken"))

    observed.run(step, mode=mode)
    assert ("read", {"table": "orders"}) in looks.seen
    span = observed.ended("read orders")
    assert dict(span.attributes or {}) == {"table": "all", "tenant": "acme", "rows": 3}
    events = [(each.name, dict(each.attributes or {}), each.timestamp) for each in span.events]
    assert events == [("sent", {"bytes": 12}, 17)]
    assert [(link.context, dict(link.attributes or {})) for link in span.links] == [
        (other.context, {"why": "batch"})
    ]
    assert (span.status.status_code, span.status.description) == (trace.StatusCode.ERROR, "broken")


def test_open_spans_of_a_dead_worker(observed: Observed, tmp_path: Path) -> None:
    """A span that its killed worker had open ends with the attempt, and tells why."""
    mark, notes = tmp_path / "arrived", Notes()

    class Marks(SpanProcessor):
        def on_start(self, span: Span, parent_context: Context | None = None) -> None:
            if span.name == "inner":
                mark.touch()

    observed.provider.add_span_processor(notes)
    observed.provider.add_span_processor(Marks())
    tracer = observed.provider.get_tracer("app")

    @action
    def step() -> None:
        with tracer.start_as_current_span("outer"), tracer.start_as_current_span("inner"):
            wait_for(mark.exists, 10)
            os.kill(os.getpid(), signal.SIGKILL)

    observed.run(step, mode="parallel")
    assert notes.seen[2:-2] == [
        ("start", "attempt", "task step"),
        ("start", "outer", "attempt"),
        ("start", "inner", "outer"),
        ("end", "inner"),
        ("end", "outer"),
        ("end", "attempt"),
    ]
    for name in ("inner", "outer"):
        span = observed.ended(name)
        assert dict(span.attributes or {}) == {"error.type": "worker_lost"}
        assert span.status.status_code is trace.StatusCode.ERROR


class Asked(Sampler):
    """Notes what it is asked; drops pings, only records peeks, and marks what it keeps."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any], str | None, bool]] = []

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: Any = None,
        attributes: Any = None,
        links: Any = None,
        trace_state: Any = None,
    ) -> SamplingResult:
        """Decide by the name."""
        above: Any = trace.get_current_span(parent_context)
        ids = above.get_span_context()
        self.asked.append(
            (name, dict(attributes or {}), getattr(above, "name", None), ids.trace_flags.sampled)
        )
        decision = Decision.RECORD_AND_SAMPLE
        if name == "ping":
            decision = Decision.DROP
        elif name == "peek":
            decision = Decision.RECORD_ONLY
        return SamplingResult(decision, {**(attributes or {}), "kept.by": "us"})

    def get_description(self) -> str:
        """Return who it is."""
        return "asked"


@pytest.mark.parametrize("mode", MODES)
def test_the_sampler_decides_on_each_span(observe: Callable[..., Observed], mode: str) -> None:
    """It is asked by name, by the attributes at the start and with the parent; it is obeyed."""
    sampler = Asked()
    observed = observe(sampler=sampler)
    tracer = observed.provider.get_tracer("app")

    @action(retry=2, retry_delay=0)
    def step() -> None:
        with tracer.start_as_current_span("query", attributes={"table": "t"}) as span:
            span.set_attribute("later", 1)
            with tracer.start_as_current_span("ping"), tracer.start_as_current_span("below"):
                pass
            with tracer.start_as_current_span("peek"):
                pass

    observed.run(step, mode=mode)
    asked = [each for each in sampler.asked if not each[0].startswith(("workflow", "task"))]
    number = {"dotflow.attempt.number": 1}
    assert asked == [
        ("attempt", number, "task step", True),
        ("query", {"table": "t"}, "attempt", True),
        ("ping", {}, "query", True),
        ("below", {}, None, False),
        ("peek", {}, "query", True),
    ]
    names = {span.name for span in observed.finished}
    assert names == {"workflow billing", "task step", "attempt", "query", "below"}
    assert {dict(span.attributes or {}).get("kept.by") for span in observed.finished} == {"us"}
    assert dict(observed.ended("query").attributes or {})["later"] == 1


class ByName(Sampler):
    """Drops pings and only records peeks; it has no state, and so is asked where spans begin."""

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: Any = None,
        attributes: Any = None,
        links: Any = None,
        trace_state: Any = None,
    ) -> SamplingResult:
        """Decide by the name."""
        decision = {"ping": Decision.DROP, "peek": Decision.RECORD_ONLY}.get(
            name, Decision.RECORD_AND_SAMPLE
        )
        return SamplingResult(decision, {**(attributes or {}), "kept.by": "us"})

    def get_description(self) -> str:
        """Return who it is."""
        return "by name"


class Locked(ByName):
    """Likewise, and cannot travel."""

    def __init__(self) -> None:
        self.lock = Lock()


@pytest.mark.parametrize("mode", MODES)
def test_a_span_knows_in_its_step_what_the_sampler_says(
    observe: Callable[..., Observed], mode: str
) -> None:
    """`is_recording()` and the flags are the sampler's decision, also of what is below."""
    observed = observe(sampler=ByName())
    notes = Notes()
    observed.provider.add_span_processor(notes)
    tracer = observed.provider.get_tracer("app")

    @action(retry=2, retry_delay=0)
    def step() -> dict[str, tuple[bool, bool]]:
        told = {}
        for name in ("query", "ping", "peek"):
            with tracer.start_as_current_span(name) as span:
                told[name] = span.is_recording(), span.get_span_context().trace_flags.sampled
        return told

    manager = observed.run(step, mode=mode)
    told = manager.tasks[0].current_context.storage
    assert told == {"query": (True, True), "ping": (False, False), "peek": (True, False)}
    seen = [each for each in notes.seen if each[1] in told]
    assert seen == [
        ("start", "query", "attempt"),
        ("end", "query"),
        ("start", "peek", "attempt"),
        ("end", "peek"),
    ]
    names = [span.name for span in observed.finished]
    assert names == ["query", "attempt", "task step", "workflow billing"]
    assert {dict(span.attributes or {}).get("kept.by") for span in observed.finished} == {"us"}


@pytest.mark.parametrize("mode", MODES)
def test_a_sampler_that_cannot_travel(observe: Callable[..., Observed], mode: str) -> None:
    """It decides in the run's process, about every span."""
    observed = observe(sampler=Locked())
    tracer = observed.provider.get_tracer("app")

    @action
    def step() -> None:
        for name in ("query", "ping", "peek"):
            tracer.start_span(name).end()

    observed.run(step, mode=mode)
    own = {"attempt"} if mode == "parallel" else set()
    names = {span.name for span in observed.finished}
    assert names == {"query", "task step", "workflow billing"} | own
    assert {dict(span.attributes or {}).get("kept.by") for span in observed.finished} == {"us"}


_NONE_BELOW = ParentBased(ALWAYS_ON, local_parent_sampled=ALWAYS_OFF)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("sampler", "is_wrapped", "expected"),
    [
        (None, False, (True, True)),
        (ALWAYS_ON, False, (True, True)),
        (ALWAYS_OFF, False, (False, False)),
        (_NONE_BELOW, False, (False, True)),
        (_NONE_BELOW, True, (False, True)),
        (ParentBased(TraceIdRatioBased(0)), False, (True, False)),
        (ParentBased(TraceIdRatioBased(0)), True, (True, False)),
        (ParentBased(Locked(), local_parent_sampled=ALWAYS_ON), False, (True, True)),
    ],
)
def test_samplers_of_the_sdk(
    observe: Callable[..., Observed],
    mode: str,
    sampler: Sampler | None,
    is_wrapped: bool,
    expected: tuple[bool, bool],
) -> None:
    """They decide about a span of a step, and about one that begins a trace of its own there."""
    options = {} if sampler is None else {"sampler": sampler}
    observed = observe(WrappingProvider if is_wrapped else None, **options)
    tracer = observed.provider.get_tracer("app")

    @action
    def step() -> tuple[bool, bool]:
        with tracer.start_as_current_span("below") as below:
            own = tracer.start_span("root", context=Context())
            own.end()
            recording = below.is_recording()
        return recording, own.get_span_context().trace_flags.sampled

    ids = trace.SpanContext(7, 8, is_remote=True, trace_flags=trace.TraceFlags(1))
    with trace.use_span(trace.NonRecordingSpan(ids)):
        manager = observed.run(step, mode=mode)
    assert manager.tasks[0].current_context.storage == expected
    names = [span.name for span in observed.finished]
    assert ("below" in names, "root" in names) == expected


@pytest.mark.parametrize("mode", MODES)
def test_baggage_that_a_step_sets(observed: Observed, mode: str) -> None:
    """A processor finds at a span's start the baggage of the step, and the caller's elsewhere."""

    class Copies(SpanProcessor):
        def on_start(self, span: Span, parent_context: Context | None = None) -> None:
            span.set_attributes(baggage.get_all(parent_context))  # type: ignore[arg-type]

    observed.provider.add_span_processor(Copies())
    tracer = observed.provider.get_tracer("app")

    @action
    def step() -> None:
        with tracer.start_as_current_span("as called"):
            pass
        tracer.start_span("more", baggage.set_baggage("tenant", "acme")).end()
        tracer.start_span("none", baggage.clear(context.get_current())).end()

    token = context.attach(baggage.set_baggage("caller", "me"))
    try:
        observed.run(step, mode=mode)
    finally:
        context.detach(token)
    seen = {
        name: {
            key: (observed.ended(name).attributes or {}).get(key) for key in ("caller", "tenant")
        }
        for name in ("as called", "more", "none", "task step")
    }
    assert seen == {
        "as called": {"caller": "me", "tenant": None},
        "more": {"caller": "me", "tenant": "acme"},
        "none": {"caller": None, "tenant": None},
        "task step": {"caller": "me", "tenant": None},
    }


@pytest.mark.parametrize("mode", MODES)
def test_whose_instrumentation_made_a_span(observe: Callable[..., Observed], mode: str) -> None:
    """With a provider that wraps the SDK's too, a span has the scope of the step's own tracer."""
    observed = observe(WrappingProvider)
    tracer = observed.provider.get_tracer("app", "1.2", schema_url="http://schemas")

    @action
    def step() -> None:
        tracer.start_span("query").end()

    observed.run(step, mode=mode)
    scope = observed.ended("query").instrumentation_scope
    assert scope is not None
    assert (scope.name, scope.version, scope.schema_url) == ("app", "1.2", "http://schemas")
