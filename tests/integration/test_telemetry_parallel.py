"""Traces, metrics and logs of whole runs whose steps run in worker processes."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from observed import Observed, is_child, span_id
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Decision, Sampler, SamplingResult
from opentelemetry.trace import SpanKind, StatusCode

from dotflow import Config, DotFlow, action
from dotflow.providers import ExecutorLocal
from dotflow_otel import TracerOpenTelemetry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dotflow import Context

GROUPS = ("one group", "two groups")

tracer = trace.get_tracer("steps", "1.2", schema_url="https://example.org/schema")


@pytest.fixture(params=GROUPS)
def groups(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Return the groups of two tasks: every task on its own, or each in a group."""
    return ("a", "a") if request.param == "one group" else ("a", "b")


@pytest.fixture
def one_worker(observed: Observed) -> Iterator[None]:
    """Have a single worker run all steps."""
    executor = observed.config.executor = ExecutorLocal(workers=1)
    yield
    executor.close()


@action
def ok() -> int:
    """Succeed."""
    return 1


@action
def fails() -> None:
    """Fail."""
    raise ValueError("no such table")


@action
def queries() -> int:
    """Open spans, and write into the current one."""
    with tracer.start_as_current_span("select", kind=SpanKind.CLIENT) as span:
        span.set_attribute("rows", 3)
        span.set_attribute("tables", ["a", "b"])
        span.add_event("sent", {"bytes": 12})
        with tracer.start_as_current_span("parse"):
            pass
    trace.get_current_span().set_attribute("mine", 1.5)
    return 2


@action
class Pipe:
    """A class step."""

    @action
    def first(self) -> int:
        """Succeed, with a span."""
        with tracer.start_as_current_span("inner"):
            return 4

    @action(retry=2, retry_delay=0)
    def second(self) -> int:
        """Fail twice."""
        raise KeyError("k")


def attributes(span: ReadableSpan) -> dict[str, Any]:
    """Return the attributes of a span."""
    return dict(span.attributes or {})


def attempts(observed: Observed) -> list[ReadableSpan]:
    """Return the spans of attempts, in the order of their ends."""
    return [span for span in observed.finished if span.name == "attempt"]


# --- spans ------------------------------------------------------------------------------


def test_tracers_as_decorators(observed: Observed) -> None:
    """A step, and what it calls, may be decorated with a span, also where it travels by value."""

    @tracer.start_as_current_span("helper", kind=SpanKind.CLIENT)
    def helper() -> int:
        return 2

    @action
    @tracer.start_as_current_span("step")
    def decorated() -> int:
        return helper()

    manager = observed.run(decorated, mode="parallel")
    assert [task.errors for task in manager.tasks] == [[]]
    assert manager.tasks[0].current_context.storage == 2
    [attempt] = attempts(observed)
    step, inner = observed.ended("step"), observed.ended("helper")
    assert is_child(step, attempt)
    assert is_child(inner, step)
    assert inner.kind == SpanKind.CLIENT


def test_every_task_has_an_attempt(observed: Observed, groups: tuple[str, str]) -> None:
    """A run is one workflow span, one span a task below it, and one attempt below each of these."""
    observed.run(*({"step": ok, "group_name": group} for group in groups), mode="parallel")
    workflow = observed.ended("workflow billing")
    tasks = [span for span in observed.finished if span.name == "task ok"]
    assert len(observed.finished) == 5
    assert all(is_child(task, workflow) for task in tasks)
    assert [observed.below(task) for task in tasks] == [["attempt"], ["attempt"]]
    assert len({span_id(span) for span in observed.finished}) == 5
    assert attributes(workflow)["dotflow.workflow.mode"] == "parallel"


def test_attempt_span(observe: Callable[..., Observed]) -> None:
    """An attempt tells its number, its worker and how long it waited for that."""
    observed = observe(resource=Resource({"service.name": "billing"}))
    observed.run(ok, mode="parallel")
    (attempt,) = attempts(observed)
    told = attributes(attempt)
    queued, pid = told.pop("dotflow.task.queue.duration"), told.pop("process.pid")
    assert (type(queued), type(pid)) == (float, int)
    assert queued >= 0
    assert pid != os.getpid()
    assert told == {"dotflow.attempt.number": 1, "host.name": socket.gethostname()}
    assert attempt.kind is SpanKind.INTERNAL
    assert attempt.status.status_code is StatusCode.UNSET
    assert attempt.resource.attributes["service.name"] == "billing"
    task = observed.ended("task ok")
    assert attempt.instrumentation_scope == task.instrumentation_scope
    assert (task.start_time or 0) <= (attempt.start_time or 0)
    assert (attempt.start_time or 0) <= (attempt.end_time or 0) <= (task.end_time or 0)
    assert attempt.parent is not None
    assert attempt.parent.is_remote


def test_steps_own_spans(observed: Observed) -> None:
    """What a step records in a worker arrives whole, below its attempt, with its own scope."""
    observed.run(queries, mode="parallel")
    (attempt,) = attempts(observed)
    select, parse = observed.ended("select"), observed.ended("parse")
    assert is_child(select, attempt)
    assert is_child(parse, select)
    assert attributes(attempt)["mine"] == 1.5
    assert attributes(select) == {"rows": 3, "tables": ("a", "b")}
    (event,) = select.events
    assert (event.name, dict(event.attributes or {})) == ("sent", {"bytes": 12})
    assert select.kind is SpanKind.CLIENT
    scope = select.instrumentation_scope
    assert scope is not None
    assert (scope.name, scope.version) == ("steps", "1.2")
    assert scope.schema_url == "https://example.org/schema"
    assert (attempt.start_time or 0) <= (select.start_time or 0) <= (select.end_time or 0)
    assert len(observed.finished) == 5


@pytest.mark.parametrize("options", [{}, {"timeout": 10}, {"retry": 2}])
def test_coroutines_and_limits(observed: Observed, options: dict[str, Any]) -> None:
    """A coroutine's spans are below its attempt, limited or not."""

    @action(**options)
    async def fetch() -> None:
        with tracer.start_as_current_span("get"):
            await asyncio.sleep(0)

    observed.run(fetch, mode="parallel")
    (attempt,) = attempts(observed)
    assert is_child(observed.ended("get"), attempt)


def test_methods_of_a_class_step(observed: Observed) -> None:
    """Each method is a span below the attempt; one that may be retried has its tries below it."""
    observed.run(Pipe, mode="parallel")
    attempt = next(span for span in attempts(observed) if "process.pid" in attributes(span))
    first, second = observed.ended("method first"), observed.ended("method second")
    assert observed.below(attempt) == ["method first", "method second"]
    assert observed.below(first) == ["inner"]
    assert observed.below(second) == ["attempt", "attempt"]
    assert attributes(first)["code.function.name"].endswith("Pipe.first")
    assert first.status.status_code is StatusCode.UNSET
    assert attributes(second)["error.type"] == "KeyError"
    assert second.status.status_code is StatusCode.ERROR
    assert attributes(attempt)["error.type"] == "KeyError"


def test_retries(observed: Observed) -> None:
    """Each attempt is a span that tells its own failure; a handled one is no error of the task."""
    calls: list[int] = []

    @action(retry=2, retry_delay=0)
    def flaky() -> int:
        calls.append(1)
        if len(calls) == 1:
            raise KeyError("k")
        return 1

    observed.run(flaky, mode="parallel")
    one, two = attempts(observed)
    assert [attributes(span)["dotflow.attempt.number"] for span in (one, two)] == [1, 2]
    assert attributes(one)["error.type"] == "KeyError"
    assert one.status.description == "KeyError: 'k'"
    (event,) = one.events
    assert (event.name, event.timestamp) == ("exception", one.end_time)
    assert "in flaky\n" in str((event.attributes or {})["exception.stacktrace"])
    assert "error.type" not in attributes(two)
    assert observed.ended("task flaky").status.status_code is StatusCode.UNSET
    assert all(attributes(span)["dotflow.task.queue.duration"] >= 0 for span in (one, two))


def test_callers_span_and_baggage(observed: Observed) -> None:
    """The caller's trace goes on in the worker, and its baggage is there."""

    @action
    def read() -> object:
        return baggage.get_all()

    token = context.attach(baggage.set_baggage("tenant", "acme"))
    try:
        with observed.provider.get_tracer("test").start_as_current_span("request"):
            manager = observed.run(read, mode="parallel")
    finally:
        context.detach(token)
    assert manager.tasks[0].current_context.storage == {"tenant": "acme"}
    assert is_child(observed.ended("workflow billing"), observed.ended("request"))
    assert len({span.context.trace_id for span in observed.finished if span.context}) == 1


def test_inside_a_running_loop(observed: Observed) -> None:
    """A workflow that is started inside a running event loop has the same trace."""

    async def serve() -> None:
        observed.run(queries, mode="parallel")

    asyncio.run(serve())
    (attempt,) = attempts(observed)
    assert is_child(observed.ended("select"), attempt)
    assert len(observed.finished) == 5


def test_unsampled(observe: Callable[..., Observed]) -> None:
    """Where the run is not sampled nothing is recorded, and what the step calls is told so."""

    @action
    def look() -> tuple[bool, bool, bool, bool]:
        here = trace.get_current_span()
        with tracer.start_as_current_span("select") as below:
            pass
        with tracer.start_as_current_span("root", context=context.Context()) as root:
            pass
        at = here.get_span_context()
        return at.is_valid, at.trace_flags.sampled, below.is_recording(), root.is_recording()

    observed = observe(sampler=ALWAYS_OFF)
    manager = observed.run(look, mode="parallel")
    assert manager.tasks[0].current_context.storage == (True, False, False, False)
    assert observed.finished == ()


def test_sampler_is_asked(observe: Callable[..., Observed]) -> None:
    """The application's sampler decides on attempts in workers as on all other spans, by itself.

    It keeps those below an attempt that it drops, as it does where a step runs in this process.
    """

    class NoAttempts(Sampler):
        def should_sample(
            self,
            parent_context: Any,
            trace_id: int,
            name: str,
            kind: Any = None,
            attributes: Any = None,
            links: Any = None,
            trace_state: Any = None,
        ) -> SamplingResult:
            drop = name == "attempt"
            decision = Decision.DROP if drop else Decision.RECORD_AND_SAMPLE
            return SamplingResult(decision, {**(attributes or {}), "asked": name})

        def get_description(self) -> str:
            return "NoAttempts"

    observed = observe(sampler=NoAttempts())
    observed.run(queries, mode="parallel")
    names = sorted(span.name for span in observed.finished)
    assert names == ["parse", "select", "task queries", "workflow billing"]


def test_nothing_of_the_process_is_set(observed: Observed) -> None:
    """In the process that owns the run the global provider stays as the application has it."""
    before = trace.get_tracer_provider()
    handlers = list(logging.root.handlers)
    observed.run(queries, mode="parallel")
    assert trace.get_tracer_provider() is before
    assert logging.root.handlers == handlers
    assert not structlog.is_configured()


# --- processors -------------------------------------------------------------------------


class Watching(SpanProcessor):
    """Notes starts and ends, and adds an attribute at the start, as processors may."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.ended: list[str] = []

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        self.started.append(span.name)
        span.set_attribute("tenant", str(baggage.get_baggage("tenant", parent_context)))

    def on_end(self, span: ReadableSpan) -> None:
        self.ended.append(span.name)


def test_processors_see_starts_and_ends(observed: Observed) -> None:
    """The application's processors see each span start and end, in the caller's context."""
    watching = Watching()
    observed.provider.add_span_processor(watching)
    token = context.attach(baggage.set_baggage("tenant", "acme"))
    try:
        observed.run(queries, mode="parallel")
    finally:
        context.detach(token)
    assert sorted(watching.started) == sorted(watching.ended)
    assert sorted(watching.ended) == sorted(span.name for span in observed.finished)
    assert {attributes(span)["tenant"] for span in observed.finished} == {"acme"}


def test_limits_are_the_applications(observe: Callable[..., Observed]) -> None:
    """The limits of the application's provider hold for spans from workers."""

    @action
    def verbose() -> None:
        with tracer.start_as_current_span("select") as span:
            for number in range(5):
                span.add_event(f"event {number}")
                span.set_attribute(f"attribute {number}", "x" * 10)

    limits = SpanLimits(max_events=2, max_span_attributes=3, max_span_attribute_length=4)
    observed = observe(span_limits=limits)
    observed.run(verbose, mode="parallel")
    span = observed.ended("select")
    assert (len(span.events), span.dropped_events) == (2, 3)
    assert (len(attributes(span)), span.dropped_attributes) == (3, 2)
    assert set(attributes(span).values()) == {"xxxx"}


def test_batch_processor(observed: Observed) -> None:
    """Behind a batch processor each span arrives once as well."""
    exporter = InMemorySpanExporter()
    batch = BatchSpanProcessor(exporter)
    observed.provider.add_span_processor(batch)
    observed.run(*[queries] * 20, mode="parallel")
    batch.force_flush()
    batch.shutdown()
    for spans in (observed.finished, exporter.get_finished_spans()):
        ids = [span_id(span) for span in spans]
        assert len(ids) == len(set(ids)) == 1 + 4 * 20


def test_a_provider_that_is_not_the_sdks(observe: Callable[..., Observed]) -> None:
    """Where something else than the SDK makes the spans, it makes those of workers too."""

    class Wrapped(trace.TracerProvider):
        def __init__(self, inner: trace.TracerProvider) -> None:
            self.inner = inner

        def get_tracer(self, *args: Any, **kwargs: Any) -> trace.Tracer:
            return WrappedTracer(self.inner.get_tracer(*args, **kwargs))

    class WrappedTracer(trace.Tracer):
        def __init__(self, inner: trace.Tracer) -> None:
            self.inner = inner

        def start_span(self, *args: Any, **kwargs: Any) -> trace.Span:
            return self.inner.start_span(*args, **kwargs)

        start_as_current_span: Any = None

    observed = observe(Wrapped)
    observed.run(queries, Pipe, mode="parallel")
    select = observed.ended("select")
    attempt = next(span for span in attempts(observed) if is_child(select, span))
    assert is_child(attempt, observed.ended("task queries"))
    assert is_child(observed.ended("parse"), select)
    assert attributes(attempt)["process.pid"] != os.getpid()
    assert observed.below(observed.ended("method second")) == ["attempt", "attempt"]
    assert len(observed.finished) == 12


def test_a_broken_processor_loses_no_other_span(observed: Observed) -> None:
    """A processor that raises at one span of a worker is reported; all spans are exported."""

    class Broken(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            if span.name == "parse":
                raise RuntimeError("broken")

    observed.provider.add_span_processor(Broken())
    manager = observed.run(queries, mode="parallel")
    assert not manager.failed
    assert len(observed.finished) == 5
    labels = {"provider": "TracerOpenTelemetry", "hook": "attempt_finished"}
    assert observed.metric("dotflow_telemetry_errors_total", **labels) == 1


# --- workers that end -------------------------------------------------------------------


def test_a_killed_worker(observed: Observed, tmp_path: Path) -> None:
    """A worker that is killed leaves a complete trace, which tells what is known of the attempt."""

    @action(retry=2, retry_delay=0)
    def killed(initial_context: Context) -> int:
        once = Path(initial_context.storage)
        if once.exists():
            return 1
        once.touch()
        with tracer.start_as_current_span("lost"):
            os.kill(os.getpid(), signal.SIGKILL)
        return 0

    step = {"step": killed, "initial_context": str(tmp_path / "once")}
    manager = observed.run(step, ok, mode="parallel")
    assert not manager.failed
    lost = next(span for span in attempts(observed) if span.status.status_code is StatusCode.ERROR)
    task = observed.ended("task killed")
    told = attributes(lost)
    assert told["error.type"] == "worker_lost"
    assert told["dotflow.attempt.number"] == 1
    assert told["process.pid"] != os.getpid()
    assert told["host.name"] == socket.gethostname()
    assert told["dotflow.task.queue.duration"] >= 0
    assert "was killed by SIGKILL" in str(lost.status.description)
    assert (task.start_time or 0) <= (lost.start_time or 0) < (lost.end_time or 0)
    assert observed.below(task) == ["attempt", "attempt"]
    assert len(observed.finished) == 6
    labels = {"workflow": "billing", "task": "killed"}
    assert observed.metric("dotflow_worker_lost_total", **labels) == 1
    assert observed.metric("dotflow_task_retried_total", error_type="worker_lost", **labels) == 1
    assert observed.event("task.retried")["error_type"] == "worker_lost"


def test_services_find_the_lost_attempt(observed: Observed, tmp_path: Path) -> None:
    """The span that a step was told is the one that is exported after its worker died."""

    @action
    def calls_then_dies(initial_context: Context) -> None:
        span = trace.get_current_span().get_span_context()
        Path(initial_context.storage).write_text(f"{span.trace_id:x} {span.span_id:x}")
        os.kill(os.getpid(), signal.SIGKILL)

    path = tmp_path / "told"
    observed.run({"step": calls_then_dies, "initial_context": str(path)}, mode="parallel")
    (attempt,) = attempts(observed)
    assert attempt.context is not None
    told = f"{attempt.context.trace_id:x} {attempt.context.span_id:x}"
    assert path.read_text() == told


def test_a_timed_out_worker(observed: Observed) -> None:
    """An attempt that is killed at its timeout is a span of that length with type `timeout`."""

    @action(timeout=0.2)
    def slow() -> None:
        threading.Event().wait(30)

    observed.run(slow, mode="parallel")
    (attempt,) = attempts(observed)
    assert attributes(attempt)["error.type"] == "timeout"
    assert 0.2e9 <= (attempt.end_time or 0) - (attempt.start_time or 0) < 10e9
    assert attributes(observed.ended("task slow"))["error.type"] == "timeout"
    labels = {"workflow": "billing", "task": "slow"}
    assert observed.metric("dotflow_task_timed_out_total", **labels) == 1


def test_a_result_that_cannot_travel(observed: Observed) -> None:
    """An attempt whose result cannot come back is a failed one, though its step had ended."""

    @action
    def lock() -> object:
        with tracer.start_as_current_span("select"):
            return threading.Lock()

    observed.run(lock, mode="parallel")
    (attempt,) = attempts(observed)
    assert attributes(attempt)["error.type"] == "dotflow.core.exception.PicklingFailed"
    assert is_child(observed.ended("select"), attempt)


def test_an_input_that_cannot_travel(observed: Observed) -> None:
    """An attempt that never reached a worker is a failed one without a worker."""

    @action
    def needs(initial_context: Context) -> object:
        return initial_context.storage

    observed.run({"step": needs, "initial_context": threading.Lock()}, mode="parallel")
    (attempt,) = attempts(observed)
    told = attributes(attempt)
    assert told["error.type"] == "dotflow.core.exception.PicklingFailed"
    assert "process.pid" not in told


def test_an_interrupted_run(observed: Observed) -> None:
    """Ctrl-C while a worker runs a step ends every span that was begun."""

    @action
    def interrupts(initial_context: Context) -> None:
        os.kill(initial_context.storage, signal.SIGINT)
        threading.Event().wait(30)

    with pytest.raises(KeyboardInterrupt):
        observed.run({"step": interrupts, "initial_context": os.getpid()}, mode="parallel")
    names = [span.name for span in observed.finished]
    assert names == ["attempt", "task interrupts", "workflow billing"]
    assert attributes(observed.finished[0])["error.type"] == "KeyboardInterrupt"


def test_spans_that_end_late(observed: Observed, one_worker: None) -> None:
    """A span that a thread of a step ends after the step comes with the worker's next outcome."""

    @action
    def leaves_a_span() -> None:
        span = tracer.start_span("late")
        threading.Timer(0.01, span.end).start()

    @action
    def waits() -> None:
        for thread in threading.enumerate():
            if isinstance(thread, threading.Timer):
                thread.join()

    observed.run(leaves_a_span, waits, mode="parallel")
    (first,) = (
        span for span in attempts(observed) if is_child(span, observed.ended("task leaves_a_span"))
    )
    assert is_child(observed.ended("late"), first)


def test_nothing_of_a_run_that_nobody_observes(
    observed: Observed, one_worker: None, caplog: pytest.LogCaptureFixture
) -> None:
    """What its steps log and trace in a worker comes with no other run that used the worker."""

    def record(name: str) -> None:
        logging.getLogger("shop").warning("logs of %s", name)
        structlog.get_logger("shop").warning(f"event of {name}")
        trace.get_tracer("shop").start_span(f"span of {name}").end()
        thread = threading.Thread(
            target=logging.getLogger("shop").warning, args=(f"thread of {name}",)
        )
        thread.start()
        thread.join()

    @action
    def seen() -> None:
        record("observed")

    @action
    def unseen() -> None:
        record("another")

    caplog.set_level(logging.WARNING)
    for _ in range(2):
        observed.run(seen, mode="parallel")
        flow = DotFlow(config=Config(executor=observed.config.executor))
        flow.task.add(unseen)
        assert not flow.start(mode="parallel").failed
    observed.run(ok, mode="parallel")
    told = [record.getMessage() for record in caplog.records if record.name == "shop"]
    assert told == ["logs of observed", "thread of observed"] * 2
    own = {"span of observed", "span of another"}
    assert [each.name for each in observed.finished if each.name in own] == ["span of observed"] * 2


# --- nested -----------------------------------------------------------------------------


def test_a_workflow_in_a_worker(observed: Observed) -> None:
    """A workflow that a step runs in a worker has its spans below that step's attempt."""

    @action
    def outer() -> None:
        @action
        def inner() -> int:
            return 1

        flow = DotFlow(config=Config(tracer=TracerOpenTelemetry()), name="inner")
        flow.task.add(inner)
        flow.start()

    observed.run(outer, mode="parallel")
    (attempt,) = attempts(observed)
    workflow = observed.ended("workflow inner")
    assert is_child(workflow, attempt)
    assert observed.below(workflow) == ["task inner"]
