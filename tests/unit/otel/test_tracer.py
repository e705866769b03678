"""The tracer's hooks one by one: what no sequential run shows."""

from __future__ import annotations

import functools
import time
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from dotflow import action
from dotflow.core.run import Run
from dotflow.core.task import Task
from dotflow_otel import TracerOpenTelemetry
from dotflow_otel.spans.attributes import step_attributes

RUN = Run("r1", "w", "billing", "sequential", 1, 1.0)


@action
def step() -> None:
    """Do nothing."""


class Exported:
    """A tracer, and what it exports."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = TracerOpenTelemetry(tracer_provider=provider)

    @property
    def spans(self) -> dict[str, Any]:
        """The finished spans by their names."""
        return {span.name: span for span in self.exporter.get_finished_spans()}


@pytest.fixture
def exported() -> Exported:
    """Return a tracer."""
    return Exported()


def test_hooks_of_1x(exported: Exported) -> None:
    """A program that calls the hooks of 1.x itself gets its spans."""
    tracer = exported.tracer
    task = Task("t" * 26, step, workflow_id="w")
    tracer.start_workflow("w", mode="parallel", tasks_count=1)
    tracer.start_task(task)
    task.status = "Completed"
    tracer.end_task(task)
    tracer.end_workflow("w", duration=1.0, failed=True)
    tracer.end_workflow("unknown", duration=1.0, failed=False)
    workflow = exported.spans["workflow workflow"]
    assert workflow.attributes["dotflow.workflow.mode"] == "parallel"
    assert workflow.status.status_code is StatusCode.ERROR
    assert exported.spans["task step"].parent.span_id == workflow.context.span_id


@pytest.mark.parametrize("ahead", [-5.0, 5.0])
def test_a_task_begins_when_it_is_ready(exported: Exported, ahead: float) -> None:
    """A task's span begins when the task was ready, and never after its own end."""
    task = Task("t" * 26, step)
    task.run, task.ready_at = RUN, time.time() + ahead
    exported.tracer.run_started(RUN)
    exported.tracer.start_task(task)
    exported.tracer.end_task(task)
    exported.tracer.run_finished(RUN.finished(1.0, failed=False))
    span = exported.spans["task step"]
    assert span.start_time <= span.end_time
    expected = min(task.ready_at, span.end_time / 1e9)
    assert span.start_time / 1e9 == pytest.approx(expected, abs=0.5)


def test_a_run_that_its_tasks_did_not_fail(exported: Exported) -> None:
    """A run that ends by an error of no task, as of its storage, tells that error."""
    exported.tracer.run_started(RUN)
    exported.tracer.run_finished(RUN.finished(1.0, failed=True, error=OSError("disk full")))
    span = exported.spans["workflow billing"]
    assert span.attributes["error.type"] == "OSError"
    assert span.status.description == "OSError: disk full"
    assert [event.attributes["exception.message"] for event in span.events] == ["disk full"]


def test_unknown_runs_and_tasks(exported: Exported) -> None:
    """The end of what was not begun is no error."""
    exported.tracer.run_finished(RUN.finished(1.0, failed=False))
    exported.tracer.end_task(Task("t" * 26, step))
    assert exported.tracer.run_carrier(RUN) is None
    assert exported.tracer.attempt_scope(Task("t" * 26, step), 1) is None
    assert exported.spans == {}


def test_a_task_without_an_end(exported: Exported) -> None:
    """A task that was interrupted before it began ends with its run, and is not kept."""
    task = Task("t" * 26, step)
    task.run = RUN
    exported.tracer.run_started(RUN)
    exported.tracer.start_task(task)
    exported.tracer.run_finished(RUN.finished(1.0, failed=True, error=KeyboardInterrupt()))
    assert exported.spans["task step"].attributes["dotflow.task.status"] == "failed"
    assert exported.tracer.attempt_scope(task, 1) is None


def test_carrier(exported: Exported) -> None:
    """The carrier of a run is its span in the headers of W3C Trace Context."""
    exported.tracer.run_started(RUN)
    carrier = exported.tracer.run_carrier(RUN)
    exported.tracer.run_finished(RUN.finished(1.0, failed=False))
    context = exported.spans["workflow billing"].context
    flags = f"{context.trace_flags:02x}"
    ids = f"{context.trace_id:032x}-{context.span_id:016x}"
    assert carrier == {"traceparent": f"00-{ids}-{flags}"}
    assert context.trace_flags.sampled


@pytest.mark.parametrize("carrier", [{}, {"traceparent": "nonsense"}, {"other": "x"}])
def test_bad_carrier(exported: Exported, carrier: dict[str, str]) -> None:
    """A carrier that tells of no span is no link."""
    run = RUN._replace(resumed_from=carrier)
    exported.tracer.run_started(run)
    exported.tracer.run_finished(run.finished(1.0, failed=False))
    assert exported.spans["workflow billing"].links == ()


def test_steps_without_source() -> None:
    """A step that is no function tells what is known of it."""
    assert step_attributes(action(functools.partial(print))) == {"dotflow.task.timeout": 0.0}


def test_wrapped_steps() -> None:
    """A decorated function tells the place of the function itself."""

    def inner() -> None:
        pass

    @functools.wraps(inner)
    def outer() -> None:
        inner()

    attributes = step_attributes(action(outer))
    assert attributes["code.line.number"] == inner.__code__.co_firstlineno
    assert attributes["code.file.path"] == __file__
