"""Traces, metrics and logs of whole runs, in the modes that run steps in this process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from log_records import own_records
from observed import Observed, is_child, span_id
from opentelemetry import baggage, context, trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode
from prometheus_client.openmetrics.exposition import generate_latest

from dotflow import Config, DotFlow, action
from dotflow.core.task import Task
from dotflow.core.workflow import Manager
from dotflow_otel import LogStructlog

if TYPE_CHECKING:
    from collections.abc import Callable

MODES = ("sequential", "sequential_group", "background")


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    """Return each mode in turn."""
    return str(request.param)


@action
def ok() -> int:
    """Succeed."""
    return 1


@action
def fails() -> None:
    """Fail."""
    raise ValueError("no such table")


@action(timeout=10)
def in_time() -> int:
    """Succeed within a limit."""
    return 2


@action
async def coroutine() -> int:
    """Succeed, asynchronously."""
    return 3


@action
class Pipe:
    """A class step."""

    @action
    def first(self) -> int:
        """Succeed."""
        return 4

    @action
    def second(self) -> int:
        """Succeed."""
        return 5


def flaky(failures: int, **options: Any) -> Any:
    """Make a step that fails some times before it succeeds."""
    left = [failures]

    @action(**{"retry": 3, "retry_delay": 0, **options})
    def step() -> int:
        if left[0]:
            left[0] -= 1
            raise KeyError("k")
        return 6

    return step


# --- spans ------------------------------------------------------------------------------


def test_workflow_span(observed: Observed, mode: str) -> None:
    """A run is one root span `workflow <name>` with its attributes, and nothing else."""
    manager = observed.run(ok, mode=mode)
    span = observed.ended("workflow billing")
    assert span.parent is None
    assert span.kind is SpanKind.INTERNAL
    assert span.status.status_code is StatusCode.UNSET
    assert dict(span.attributes or {}) == {
        "dotflow.workflow.id": str(manager.workflow_id),
        "dotflow.workflow.name": "billing",
        "dotflow.workflow.mode": mode,
        "dotflow.workflow.task.count": 1,
        "dotflow.workflow.status": "completed",
    }


def test_two_groups_tell_their_mode(observed: Observed) -> None:
    """`sequential` over two groups tells the mode as it ran, in the span and in the metrics."""
    observed.run({"step": ok, "group_name": "a"}, {"step": ok, "group_name": "b"})
    attributes = observed.ended("workflow billing").attributes or {}
    assert attributes["dotflow.workflow.mode"] == "sequential_group"
    labels = {"workflow": "billing", "mode": "sequential_group"}
    assert observed.metric("dotflow_workflow_completed_total", **labels) == 1


def test_task_span(observed: Observed, mode: str) -> None:
    """A task is one span `task <name>` below its workflow's, with its attributes."""
    manager = observed.run({"step": in_time, "group_name": "load", "name": "loader"}, mode=mode)
    span, workflow = (
        observed.ended("task loader"),
        observed.ended("workflow billing"),
    )
    function = in_time.func
    assert is_child(span, workflow)
    assert observed.below(span) == []
    assert span.kind is SpanKind.INTERNAL
    assert span.status.status_code is StatusCode.UNSET
    assert span.events == ()
    assert dict(span.attributes or {}) == {
        "dotflow.workflow.id": str(manager.workflow_id),
        "dotflow.workflow.name": "billing",
        "dotflow.task.id": manager.tasks[0].task_id,
        "dotflow.task.name": "loader",
        "dotflow.task.group": "load",
        "dotflow.task.index": 0,
        "dotflow.task.timeout": 10.0,
        "dotflow.task.status": "completed",
        "dotflow.task.attempts": 1,
        "code.function.name": f"{__name__}.in_time",
        "code.file.path": __file__,
        "code.line.number": function.__code__.co_firstlineno,
    }
    types = {type((span.attributes or {})[name]) for name in ("dotflow.task.timeout",)}
    assert types == {float}


def test_every_kind_of_step_is_one_span(observed: Observed, mode: str) -> None:
    """Functions, classes and coroutines, limited or not, are one span each, in order."""
    observed.run(ok, in_time, coroutine, Pipe, mode=mode)
    workflow = observed.ended("workflow billing")
    assert observed.below(workflow) == ["task ok", "task in_time", "task coroutine", "task Pipe"]
    assert observed.below(observed.ended("task Pipe")) == ["method first", "method second"]
    assert len(observed.finished) == 7
    starts = [span.start_time or 0 for span in observed.finished]
    ends = [span.end_time or 0 for span in observed.finished]
    assert (workflow.start_time, workflow.end_time) == (min(starts), max(ends))


def test_class_step_tells_its_place(observed: Observed) -> None:
    """The span of a class step names the class, its file and a line inside it."""
    observed.run(Pipe)
    attributes = observed.ended("task Pipe").attributes or {}
    assert attributes["code.function.name"] == f"{__name__}.Pipe"
    assert attributes["code.file.path"] == __file__
    first = Pipe.func.__dict__["first"].func.__code__.co_firstlineno
    assert first - 4 <= int(str(attributes["code.line.number"])) <= first


def test_methods_of_a_class_step(observed: Observed, mode: str) -> None:
    """Each method is a span with its place; spans that it opens are below it, limited or not."""
    tracer = observed.provider.get_tracer("test")

    @action(retry=2, retry_delay=0)
    class Load:
        @action(timeout=10)
        def read(self) -> int:
            with tracer.start_as_current_span("select"):
                return 1

        @action
        async def write(self) -> int:
            with tracer.start_as_current_span("insert"):
                return 2

    observed.run(Load, mode=mode)
    attempt = observed.ended("attempt")
    read, write = observed.ended("method read"), observed.ended("method write")
    assert is_child(attempt, observed.ended("task Load"))
    assert observed.below(attempt) == ["method read", "method write"]
    assert (observed.below(read), observed.below(write)) == (["select"], ["insert"])
    assert dict(read.attributes or {}) == {
        "code.function.name": f"{__name__}.test_methods_of_a_class_step.<locals>.Load.read",
        "code.file.path": __file__,
        "code.line.number": Load.func.__dict__["read"].func.__code__.co_firstlineno,
    }
    assert read.status.status_code is StatusCode.UNSET


def test_a_method_that_fails(observed: Observed, mode: str) -> None:
    """A method's tries are spans where it may have several; its last failure is its own."""

    @action
    class Load:
        @action(retry=2, retry_delay=0)
        def read(self) -> None:
            raise KeyError("k")

        @action
        def write(self) -> None:
            raise AssertionError("never comes to this")

    observed.run(Load, mode=mode)
    method = observed.ended("method read")
    tries = [span for span in observed.finished if span.name == "attempt"]
    assert [dict(span.attributes or {}) for span in tries] == [
        {"dotflow.attempt.number": 1, "error.type": "KeyError"},
        {"dotflow.attempt.number": 2, "error.type": "KeyError"},
    ]
    assert all(is_child(span, method) for span in tries)
    assert (method.attributes or {})["error.type"] == "KeyError"
    assert method.status.description == "KeyError: 'k'"
    assert "method write" not in [span.name for span in observed.finished]


def test_retries_are_attempt_spans(observed: Observed, mode: str) -> None:
    """Each attempt of a task that may have several is a span; a handled one is no error of it."""
    observed.run({"step": flaky(2), "name": "extract"}, mode=mode)
    task = observed.ended("task extract")
    attempts = [span for span in observed.finished if span.name == "attempt"]
    assert all(is_child(span, task) for span in attempts)
    assert [dict(span.attributes or {}) for span in attempts] == [
        {"dotflow.attempt.number": 1, "error.type": "KeyError"},
        {"dotflow.attempt.number": 2, "error.type": "KeyError"},
        {"dotflow.attempt.number": 3},
    ]
    codes = [span.status.status_code for span in (*attempts, task)]
    assert codes == [StatusCode.ERROR, StatusCode.ERROR, StatusCode.UNSET, StatusCode.UNSET]
    assert [len(span.events) for span in (*attempts, task)] == [1, 1, 0, 0]
    assert (task.attributes or {})["dotflow.task.attempts"] == 3


def test_first_of_several_attempts(observed: Observed) -> None:
    """Where several attempts are allowed the first is a span of its own, also if it succeeds."""
    observed.run({"step": flaky(0), "name": "extract"})
    assert observed.below(observed.ended("task extract")) == ["attempt"]


def test_failure(observed: Observed, mode: str) -> None:
    """A failed task has status, type and exception; its workflow tells of it."""
    observed.run(fails, mode=mode)
    task, workflow = (
        observed.ended("task fails"),
        observed.ended("workflow billing"),
    )
    assert (task.attributes or {})["error.type"] == "ValueError"
    assert (task.attributes or {})["dotflow.task.status"] == "failed"
    assert task.status.status_code is StatusCode.ERROR
    assert task.status.description == "ValueError: no such table"
    (event,) = task.events
    assert event.name == "exception"
    attributes = dict(event.attributes or {})
    stacktrace = str(attributes.pop("exception.stacktrace"))
    assert attributes == {"exception.type": "ValueError", "exception.message": "no such table"}
    assert "in fails\n" in stacktrace
    assert stacktrace.endswith("ValueError: no such table\n")
    assert (workflow.attributes or {})["error.type"] == "ValueError"
    assert (workflow.attributes or {})["dotflow.workflow.status"] == "failed"
    assert workflow.status.description == "task fails: ValueError: no such table"
    assert workflow.events == ()


def test_last_attempt_fails(observed: Observed) -> None:
    """A task whose attempts all fail is an error, as each of them is."""
    observed.run({"step": flaky(9), "name": "extract"}, keep_going=True)
    failed = [span for span in observed.finished if span.status.status_code is StatusCode.ERROR]
    names = ["attempt", "attempt", "attempt", "task extract", "workflow billing"]
    assert [span.name for span in failed] == names
    assert {(span.attributes or {})["error.type"] for span in failed} == {"KeyError"}


def test_several_failures(observed: Observed) -> None:
    """The workflow's span tells of its first failed task, and how many there were."""
    observed.run(ok, fails, fails, keep_going=True)
    description = observed.ended("workflow billing").status.description
    assert description == "task fails: ValueError: no such table (2 tasks failed)"


def test_timeout(observed: Observed) -> None:
    """A timeout's type is `timeout`, on the attempt, the task and the workflow."""
    release = threading.Event()

    @action(timeout=0.01, retry=2, retry_delay=0)
    def slow() -> None:
        release.wait(10)

    observed.run(slow)
    release.set()
    types = [(span.attributes or {}).get("error.type") for span in observed.finished]
    assert types == ["timeout"] * 4
    labels = {"workflow": "billing", "task": "slow"}
    assert observed.metric("dotflow_task_timed_out_total", **labels) == 2
    assert observed.metric("dotflow_task_retried_total", error_type="timeout", **labels) == 1
    assert observed.metric("dotflow_task_failed_total", error_type="timeout", **labels) == 1


def test_callers_span_is_the_parent(observed: Observed, mode: str) -> None:
    """The workflow's span goes on from the caller's current one."""
    tracer = observed.provider.get_tracer("test")
    with tracer.start_as_current_span("request"):
        observed.run(ok, mode=mode)
    assert is_child(observed.ended("workflow billing"), observed.ended("request"))


@pytest.mark.parametrize("options", [{}, {"timeout": 10}, {"retry": 2}])
def test_steps_own_spans(observed: Observed, mode: str, options: dict[str, Any]) -> None:
    """Spans that a step opens are below its task or attempt, sync or async, limited or not."""
    tracer = observed.provider.get_tracer("test")

    @action(**options)
    def query() -> None:
        with tracer.start_as_current_span("select"):
            trace.get_current_span().set_attribute("rows", 3)

    @action(**options)
    async def fetch() -> None:
        with tracer.start_as_current_span("get"):
            pass

    observed.run(query, fetch, mode=mode)
    for inner, task in (("select", "task query"), ("get", "task fetch")):
        parents = observed.finished if "retry" in options else [observed.ended(task)]
        (parent,) = (span for span in parents if is_child(observed.ended(inner), span))
        assert parent.name == ("attempt" if "retry" in options else task)
    assert (observed.ended("select").attributes or {})["rows"] == 3


@pytest.mark.parametrize("options", [{}, {"timeout": 10}, {"retry": 2}])
def test_inside_a_running_loop(observed: Observed, mode: str, options: dict[str, Any]) -> None:
    """Inside a running event loop a coroutine's spans and baggage are where they belong."""
    tracer = observed.provider.get_tracer("test")

    @action(**options)
    async def fetch() -> object:
        with tracer.start_as_current_span("get"):
            await asyncio.sleep(0)
        return baggage.get_baggage("tenant")

    async def serve() -> Manager:
        context.attach(baggage.set_baggage("tenant", "acme"))
        with tracer.start_as_current_span("request"):
            return observed.run(fetch, mode=mode)

    manager = asyncio.run(serve())
    parent = observed.ended("attempt" if "retry" in options else "task fetch")
    assert is_child(observed.ended("get"), parent)
    assert is_child(observed.ended("workflow billing"), observed.ended("request"))
    assert manager.tasks[0].current_context.storage == "acme"


def test_current_span_in_a_step(observed: Observed, mode: str) -> None:
    """A step can write into its task's span; afterwards the caller's span is current again."""
    before = trace.get_current_span()

    @action
    def annotate() -> None:
        trace.get_current_span().set_attribute("rows", 7)

    observed.run(annotate, mode=mode)
    assert (observed.ended("task annotate").attributes or {})["rows"] == 7
    assert trace.get_current_span() is before


def test_baggage_reaches_the_step(observed: Observed, mode: str) -> None:
    """The caller's baggage is there in the step, also in the background."""
    seen: list[object] = []

    @action
    def read() -> None:
        seen.append(baggage.get_baggage("tenant"))

    token = context.attach(baggage.set_baggage("tenant", "acme"))
    try:
        observed.run(read, mode=mode)
    finally:
        context.detach(token)
    assert seen == ["acme"]


def test_nested_workflow(observed: Observed) -> None:
    """A workflow that a step runs is below that step's task, and its lines carry its own ids."""

    @action
    def outer() -> None:
        inner = DotFlow(config=observed.config, name="inner")
        inner.task.add(ok)
        inner.start()

    observed.run(outer)
    assert is_child(observed.ended("workflow inner"), observed.ended("task outer"))
    started = observed.event("workflow.started", workflow="inner")
    assert "task" not in started.fields
    assert started["span_id"] == f"{span_id(observed.ended('workflow inner')):016x}"


def test_many_runs_at_once(observed: Observed) -> None:
    """Runs in many threads, some of one workflow id, keep their spans apart."""
    threads = [
        threading.Thread(target=observed.run, args=(ok, ok), kwargs={"workflow_id": f"w{n % 2}"})
        for n in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    workflows = [span for span in observed.finished if span.name == "workflow billing"]
    assert len(workflows) == 12
    assert all(observed.below(workflow) == ["task ok", "task ok"] for workflow in workflows)
    labels = {"workflow": "billing"}
    assert observed.metric("dotflow_workflow_in_progress", mode="sequential", **labels) == 0
    assert observed.metric("dotflow_workflow_oldest_start_timestamp_seconds", **labels) == 0


def test_restored_task(observed: Observed) -> None:
    """A restored task is a short span; the resumed run links to the one it resumes from."""
    step = flaky(1, retry=1)
    tasks = (ok, {"step": step, "name": "load"})
    observed.run(*tasks, workflow_id="etl")
    first = observed.ended("workflow billing")
    observed.collector.clear()
    observed.run(*tasks, workflow_id="etl", resume=True)
    workflow, restored = (
        observed.ended("workflow billing"),
        observed.ended("task ok"),
    )
    (link,) = workflow.links
    assert link.context.span_id == span_id(first)
    assert first.context is not None
    assert link.context.trace_id == first.context.trace_id
    assert observed.below(workflow) == ["task ok", "task load"]
    attributes = restored.attributes or {}
    assert attributes["dotflow.task.restored"] is True
    assert attributes["dotflow.task.status"] == "completed"
    assert attributes["dotflow.task.attempts"] == 0
    assert "dotflow.task.restored" not in (observed.ended("task load").attributes or {})
    labels = {"workflow": "billing", "task": "ok"}
    assert observed.metric("dotflow_task_restored_total", **labels) == 1
    assert observed.metric("dotflow_task_started_total", **labels) == 1
    assert observed.event("task.restored", task="ok").level == "info"


def test_unsampled(observe: Callable[..., Observed], mode: str) -> None:
    """Where the sampler drops a trace there are no spans and no exemplars; all else is there."""
    observed = observe(sampler=ALWAYS_OFF)
    observed.run(ok, {"step": flaky(1), "name": "load"}, fails, mode=mode)
    assert observed.finished == ()
    assert observed.metric("dotflow_task_completed_total") == 2
    assert "# {" not in generate_latest(observed.registry).decode()
    assert len(observed.event("workflow.failed")["trace_id"]) == 32


def test_manager_without_a_config(observed: Observed) -> None:
    """Tasks with a config, in a run without one, have spans, counts and lines of their own."""
    task = Task("t" * 26, ok, config=observed.config)
    Manager(tasks=[task])
    assert [span.name for span in observed.finished] == ["task ok"]
    labels = {"workflow": "workflow", "task": "ok"}
    assert observed.metric("dotflow_task_completed_total", **labels) == 1
    assert [line.event for line in observed.events] == ["task.started", "task.completed"]


# --- metrics ----------------------------------------------------------------------------


def ledger(observed: Observed) -> dict[str, float]:
    """Return the sums of the counters of tasks."""
    names = ("started", "completed", "failed", "retried", "restored", "skipped", "timed_out")
    return {name: observed.metric(f"dotflow_task_{name}_total") for name in names}


def test_ledger(observed: Observed, mode: str) -> None:
    """Every task is started, restored or skipped, and what started completed or failed."""
    steps = (
        {"step": ok, "group_name": "a"},
        {"step": flaky(2), "group_name": "a", "name": "extract"},
        {"step": fails, "group_name": "a"},
        {"step": ok, "group_name": "a"},
        {"step": ok, "group_name": "b"},
    )
    observed.run(*steps, mode=mode)
    assert ledger(observed) == {
        "started": 4,
        "completed": 3,
        "failed": 1,
        "retried": 2,
        "restored": 0,
        "skipped": 1,
        "timed_out": 0,
    }
    assert observed.metric("dotflow_task_in_progress") == 0
    assert observed.metric("dotflow_task_duration_seconds_count", status="completed") == 3
    assert observed.metric("dotflow_task_duration_seconds_count", status="failed") == 1
    labels = {"workflow": "billing", "mode": mode if mode != "sequential" else "sequential_group"}
    assert observed.metric("dotflow_workflow_started_total", **labels) == 1
    assert observed.metric("dotflow_workflow_completed_total", **labels) == 0
    assert observed.metric("dotflow_workflow_failed_total", **labels) == 1
    assert observed.metric("dotflow_workflow_in_progress", **labels) == 0
    name = "dotflow_workflow_duration_seconds_count"
    assert observed.metric(name, status="failed", **labels) == 1
    name = "dotflow_workflow_last_success_timestamp_seconds"
    assert observed.registry.get_sample_value(name, {"workflow": "billing"}) is None


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_ledger_of_an_interrupted_run(observed: Observed, error: type[BaseException]) -> None:
    """An interrupted task counts as failed, and what would have come after it as skipped."""

    @action(retry=3)
    def interrupted() -> None:
        raise error

    with pytest.raises(error):
        observed.run(ok, interrupted, ok, keep_going=True)
    counts = ledger(observed)
    assert (counts["started"], counts["completed"], counts["failed"]) == (2, 1, 1)
    assert (counts["skipped"], counts["retried"]) == (1, 0)
    labels = {"workflow": "billing", "task": "interrupted", "error_type": error.__name__}
    assert observed.metric("dotflow_task_failed_total", **labels) == 1
    assert observed.metric("dotflow_task_in_progress") == 0
    assert observed.metric("dotflow_workflow_in_progress") == 0
    assert observed.metric("dotflow_workflow_failed_total") == 1
    names = [span.name for span in observed.finished]
    assert names == ["task ok", "attempt", "task interrupted", "workflow billing"]
    assert (observed.ended("attempt").attributes or {})["error.type"] == error.__name__
    assert observed.event("workflow.failed")["error_type"] == error.__name__


def test_gauges_of_a_run(observed: Observed) -> None:
    """While a run goes on the gauges tell of it and of its start; then of its success."""
    seen: dict[str, float] = {}
    begun = time.time()

    @action
    def look() -> None:
        labels = {"workflow": "billing"}
        oldest = "dotflow_workflow_oldest_start_timestamp_seconds"
        seen["oldest"] = observed.metric(oldest, **labels)
        seen["runs"] = observed.metric("dotflow_workflow_in_progress", mode="sequential", **labels)
        seen["tasks"] = observed.metric("dotflow_task_in_progress", task="look", **labels)

    observed.run(look)
    assert begun - 1 <= seen["oldest"] <= time.time()
    assert (seen["runs"], seen["tasks"]) == (1, 1)
    name = "dotflow_workflow_last_success_timestamp_seconds"
    assert begun <= observed.metric(name, workflow="billing") <= time.time()


def test_exemplars(observed: Observed, mode: str) -> None:
    """Durations and failures carry the ids of their own spans, shown as OpenMetrics."""
    observed.run(ok, fails, mode=mode)
    text = generate_latest(observed.registry).decode()
    for name, family in (
        ("task ok", "dotflow_task_duration_seconds_bucket"),
        ("task fails", "dotflow_task_failed_total"),
        ("workflow billing", "dotflow_workflow_failed_total"),
    ):
        span = observed.ended(name)
        assert span.context is not None
        ids = f'span_id="{span.context.span_id:016x}",trace_id="{span.context.trace_id:032x}"'
        (line,) = (line for line in text.splitlines() if line.startswith(family) and ids in line)
        assert f'task="{name.removeprefix("task ")}"' in line or name.startswith("workflow")


# --- logs -------------------------------------------------------------------------------


def test_lines(observed: Observed, mode: str) -> None:
    """Each event is one line, in order; a task that was only added writes none."""
    observed.run(
        {"step": flaky(1), "name": "extract", "group_name": "a"},
        {"step": fails, "group_name": "a"},
        {"step": ok, "group_name": "a"},
        mode=mode,
    )
    assert [(line.event, line.get("task"), line.level) for line in observed.events] == [
        ("workflow.started", None, "info"),
        ("task.started", "extract", "info"),
        ("task.retried", "extract", "warning"),
        ("task.completed", "extract", "info"),
        ("task.started", "fails", "info"),
        ("task.failed", "fails", "error"),
        ("task.skipped", "ok", "warning"),
        ("workflow.failed", None, "error"),
    ]


def test_fields(observed: Observed) -> None:
    """A line tells ids, names, attempt, duration and error, and no more than that."""
    manager = observed.run(fails)
    event = observed.event("task.failed")
    line = dict(event.fields)
    span = observed.ended("task fails")
    assert span.context is not None
    assert (event.event, event.level) == ("task.failed", "error")
    assert event.timestamp.endswith("Z")
    assert line.pop("exception").endswith("ValueError: no such table\n")
    assert line == {
        "workflow_id": str(manager.workflow_id),
        "workflow": "billing",
        "task_id": manager.tasks[0].task_id,
        "task": "fails",
        "group": "default",
        "attempt": 1,
        "duration": manager.tasks[0].duration,
        "error_type": "ValueError",
        "error": "no such table",
        "trace_id": f"{span.context.trace_id:032x}",
        "span_id": f"{span.context.span_id:016x}",
    }


def test_attempts_in_lines(observed: Observed) -> None:
    """A retry's line tells the attempt that failed, the last one how many there were."""
    observed.run(flaky(2))
    lines = [line for line in observed.events if "attempt" in line.fields]
    events = [(line.event, line["attempt"]) for line in lines]
    assert events == [
        ("task.started", 1),
        ("task.retried", 1),
        ("task.retried", 2),
        ("task.completed", 3),
    ]


def test_no_values_in_telemetry(observed: Observed, mode: str) -> None:
    """Inputs, results and contexts are nowhere: not in spans, not in metrics, not in logs."""

    @action
    def leak(initial_context: Any) -> str:
        return f"{initial_context.storage}-result"

    observed.run({"step": leak, "initial_context": "s3cret"}, leak, mode=mode)
    told = [
        json.dumps([event.fields for event in observed.events]),
        generate_latest(observed.registry).decode(),
        *(span.to_json() for span in observed.finished),
    ]
    assert not [text for text in told if "s3cret" in text or "-result" in text]


@pytest.mark.parametrize("options", [{}, {"timeout": 10}, {"retry": 2}])
def test_ids_are_bound_in_a_step(observed: Observed, mode: str, options: dict[str, Any]) -> None:
    """While a step runs its ids are bound in structlog's context, and afterwards they are not."""
    seen: list[dict[str, Any]] = []
    structlog.contextvars.bind_contextvars(task="before", request="r1")

    @action(**options)
    def look() -> None:
        seen.append(structlog.contextvars.get_contextvars())

    try:
        manager = observed.run(look, mode=mode)
        assert structlog.contextvars.get_contextvars() == {"task": "before", "request": "r1"}
    finally:
        structlog.contextvars.clear_contextvars()
    span = observed.ended("attempt" if "retry" in options else "task look")
    assert span.context is not None
    (bound,) = seen
    bound.pop("request", None)
    assert bound == {
        "workflow_id": str(manager.workflow_id),
        "workflow": "billing",
        "task_id": manager.tasks[0].task_id,
        "task": "look",
        "trace_id": f"{span.context.trace_id:032x}",
        "span_id": f"{span.context.span_id:016x}",
    }


def test_current_span_without_our_tracer(observed: Observed) -> None:
    """Without a tracer of ours, lines and exemplars carry the caller's current span."""
    config = Config(log=observed.config.log, metrics=observed.config.metrics)
    flow = DotFlow(config=config, name="billing")
    flow.task.add(ok)
    with observed.provider.get_tracer("test").start_as_current_span("request") as span:
        flow.start()
    expected = f"{span.get_span_context().span_id:016x}"
    assert {line["span_id"] for line in observed.events} == {expected}
    assert f'span_id="{expected}"' in generate_latest(observed.registry).decode()


def test_a_broken_processor_breaks_no_run(
    observed: Observed, caplog: pytest.LogCaptureFixture
) -> None:
    """A span processor that raises is logged once for each hook, and the run completes."""

    class Broken(SimpleSpanProcessor):
        def on_start(self, span: Any, parent_context: Any = None) -> None:
            raise RuntimeError("broken")

    observed.provider.add_span_processor(Broken(InMemorySpanExporter()))
    manager = observed.run(ok, {"step": flaky(1), "name": "load"})
    assert not manager.failed
    assert observed.metric("dotflow_task_completed_total") == 2
    name = "dotflow_telemetry_errors_total"
    assert observed.metric(name, provider="TracerOpenTelemetry", hook="run_started") == 1
    assert observed.metric(name, provider="TracerOpenTelemetry", hook="start_task") == 2
    assert len([record for record in own_records(caplog) if record.levelno == logging.ERROR]) == 2


def test_stderr_is_the_default_stream(capsys: pytest.CaptureFixture[str]) -> None:
    """Lines go to what is `sys.stderr` when they are written, as JSON where that is no terminal."""
    flow = DotFlow(config=Config(log=LogStructlog()), name="billing")
    flow.task.add(ok)
    flow.start()
    captured = capsys.readouterr()
    assert not sys.stderr.isatty()
    assert captured.out == ""
    events = [json.loads(line)["event"] for line in captured.err.splitlines()]
    assert events == ["workflow.started", "task.started", "task.completed", "workflow.completed"]


def test_texts_that_cannot_be_encoded(observed: Observed, mode: str) -> None:
    """Names and messages with lone surrogates are escaped; they spoil no batch and no scrape."""

    @action
    def reads() -> None:
        raise ValueError("cannot read caf\udce9.csv")

    observed.run({"step": reads, "name": "caf\udce9", "group_name": "g\udce9"}, mode=mode)
    text = generate_latest(observed.registry).decode()
    assert 'task="caf\\\\udce9"' in text
    span = observed.ended("task caf\\udce9")
    assert span.status.description == "ValueError: cannot read caf\\udce9.csv"
    assert (span.attributes or {})["dotflow.task.group"] == "g\\udce9"
    for each in observed.finished:
        each.to_json().encode()
    assert encode_spans(observed.finished).SerializeToString()
    assert observed.event("task.failed")["error"] == "cannot read caf\\udce9.csv"


# --- interruptions ----------------------------------------------------------------------


class Raising(SpanProcessor):
    """Raises once, at the end of the span of a name."""

    def __init__(self, name: str, error: BaseException) -> None:
        self.name = name
        self.error: BaseException | None = error

    def on_end(self, span: ReadableSpan) -> None:
        if span.name == self.name and self.error is not None:
            error, self.error = self.error, None
            raise error


@pytest.mark.parametrize("name", ["task load", "attempt", "workflow billing"])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_processor_that_raises_leaves_nothing(
    observed: Observed, name: str, error: type[BaseException]
) -> None:
    """What raises where a span ends leaves neither an open span nor anything kept of the task."""
    observed.provider.add_span_processor(Raising(name, error()))
    with contextlib.suppress(KeyboardInterrupt):
        observed.run(ok, {"step": flaky(1), "name": "load"})
    names = sorted(span.name for span in observed.finished)
    expected = ["attempt", "attempt", "task load", "task ok", "workflow billing"]
    if name == "attempt" and error is KeyboardInterrupt:
        expected.remove("attempt")  # the first one's end was interrupted: there is no second
    assert names == expected
    assert all(span.end_time for span in observed.finished)


@pytest.mark.parametrize("slot", ["tracer", "metrics", "log"])
def test_interrupted_at_its_start(
    observed: Observed, slot: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is interrupted while it is announced ends for all who were told of it."""
    provider = getattr(observed.config, slot)
    started = provider.run_started

    def interrupted(run: Any) -> None:
        started(run)
        raise KeyboardInterrupt

    monkeypatch.setattr(provider, "run_started", interrupted)
    with pytest.raises(KeyboardInterrupt):
        observed.run(ok)
    assert [span.name for span in observed.finished] == ["workflow billing"]
    began = observed.metric("dotflow_workflow_started_total")
    assert began == (0 if slot == "tracer" else 1)
    assert observed.metric("dotflow_workflow_failed_total") == began
    assert observed.metric("dotflow_workflow_in_progress") == 0
    assert observed.metric("dotflow_task_skipped_total") == began
    ended = [line.event for line in observed.find_events("workflow.failed")]
    assert len(ended) == (1 if slot == "log" else 0)
