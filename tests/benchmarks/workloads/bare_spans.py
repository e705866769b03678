"""The spans of a run in workers, made by the SDK's own calls and by nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.trace import Span, SpanKind, TracerProvider, set_span_in_context

from dotflow.abc.tracer import Tracer

if TYPE_CHECKING:
    from dotflow.core.attempt import Outcome
    from dotflow.core.run import Run
    from dotflow.core.task import Task


class BareSpans(Tracer):
    """Makes a span of the run, and of each task and its attempt, all in the run's process.

    They have the names and attributes of `TracerOpenTelemetry`'s. Nothing goes to a worker: a
    step's own spans would find no parent there. It is what those pay at least who make their
    spans with the SDK.

    Args:
        provider: Makes them.
    """

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer("bare")
        self._tasks: dict[Task, Span] = {}

    def start_workflow(self, workflow_id: Any, **kwargs: Any) -> None:
        """Make none: the record tells more."""

    def end_workflow(self, workflow_id: Any, **kwargs: Any) -> None:
        """End none."""

    def run_started(self, run: Run) -> None:
        """Begin the run's span."""
        self._run = self._tracer.start_span(f"workflow {run.name}")
        self._below = set_span_in_context(self._run)
        self._of_run = {
            "dotflow.workflow.id": str(run.workflow_id),
            "dotflow.workflow.name": run.name,
            "code.function.name": "observed.step",
            "code.file.path": __file__,
            "code.line.number": 1,
        }

    def run_finished(self, run: Run) -> None:
        """End the run's span."""
        self._run.end()

    def start_task(self, task: Task) -> None:
        """Begin a task's span."""
        attributes = {
            **self._of_run,
            "dotflow.task.id": task.task_id,
            "dotflow.task.name": task.name,
            "dotflow.task.group": task.group_name,
            "dotflow.task.index": task.index,
        }
        name = f"task {task.name}"
        span = self._tracer.start_span(name, self._below, SpanKind.INTERNAL, attributes)
        self._tasks[task] = span

    def attempt_finished(
        self,
        task: Task,
        attempt: int,
        outcome: Outcome,
        recorded: Any,
    ) -> None:
        """Make the attempt's span."""
        attributes = {
            "dotflow.attempt.number": attempt,
            "dotflow.task.queue.duration": task.queue_duration or 0.0,
            "process.pid": outcome.pid or 0,
            "host.name": outcome.host or "",
        }
        below = set_span_in_context(self._tasks[task], self._below)
        span = self._tracer.start_span("attempt", below, SpanKind.INTERNAL, attributes)
        span.end()

    def end_task(self, task: Task) -> None:
        """End a task's span."""
        span = self._tasks.pop(task)
        span.set_attribute("dotflow.task.status", "completed")
        span.set_attribute("dotflow.task.attempts", task.attempt)
        span.end()
