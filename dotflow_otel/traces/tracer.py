"""Traces: a span for each run, task and attempt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from opentelemetry import trace
from opentelemetry.trace import SpanKind, set_span_in_context

from dotflow.abc.tracer import Tracer
from dotflow.core.arguments import check_method, check_text, strict_arguments
from dotflow.core.failure import Failure
from dotflow.core.types import TypeStatus
from dotflow_otel import conventions as names
from dotflow_otel import span_ids
from dotflow_otel._process import drop_counter, for_each
from dotflow_otel.parent import parent_context
from dotflow_otel.plain import escape_unencodable
from dotflow_otel.span_ids import LegacyRuns, SpanClock
from dotflow_otel.spans.attributes import description_of, mark_failed
from dotflow_otel.traces.spans import AttemptScope, Current, RunSpan, TaskSpan, link_to, traceparent
from dotflow_otel.traces.ticks import TickScope, skip

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from dotflow.abc.scheduler import Tick
    from dotflow.abc.scope import RemoteScope
    from dotflow.core.attempt import Outcome
    from dotflow.core.model import Task
    from dotflow.core.run import Run
    from dotflow_otel.traces.spans import RunWatcher

_STATUSES: Final = {TypeStatus.COMPLETED: names.COMPLETED, TypeStatus.FAILED: names.FAILED}


class TracerOpenTelemetry(Tracer):
    """Makes OpenTelemetry spans of runs, tasks and attempts.

    The caller's current span is the parent of the workflow's span; without one, the span that
    `TRACEPARENT` told `setup` of. The task's span, or the
    attempt's where a task may have several, is current while the step runs.

    Args:
        service_name: Only where the application has set no tracer provider: one of the SDK
            with this `service.name` is set, without an exporter. Add one with
            `opentelemetry.trace.get_tracer_provider().add_span_processor(...)`.
        tracer_provider: Makes the spans; None: what is OpenTelemetry's global one when a
            run starts.

    Raises:
        InvalidOption: `service_name` is no name, or `tracer_provider` makes no tracers.
        ModuleNotFound: OpenTelemetry is not installed.
    """

    @strict_arguments
    def __init__(
        self,
        service_name: str | None = None,
        *,
        tracer_provider: trace.TracerProvider | None = None,
    ) -> None:
        check_text("service_name", service_name, "give a name, or None", optional=True)
        if tracer_provider is not None:
            hint = "give a tracer provider, which has a method get_tracer"
            check_method("tracer_provider", tracer_provider, "get_tracer", hint)
        elif service_name is not None:
            # Here, because the SDK is needed in this case only.
            from dotflow_otel.sdk.setting_up import ensure_provider  # noqa: PLC0415

            ensure_provider(service_name)
        self._provider = tracer_provider
        self._made_by: trace.TracerProvider | None = None
        self._factory: trace.Tracer | None = None
        self._runs: dict[str, RunSpan] = {}
        self._tasks: dict[Task, TaskSpan] = {}
        self._legacy_runs = LegacyRuns()
        self._watcher: RunWatcher | None = None

    @property
    def provider(self) -> trace.TracerProvider:
        """What makes the spans of a run that starts now."""
        return self._provider or trace.get_tracer_provider()

    def watch(self, watcher: RunWatcher) -> None:
        """Register a watcher that is notified of runs that start from now on."""
        self._watcher = watcher

    def _tracer(self) -> trace.Tracer:
        provider = self.provider
        if self._factory is None or provider is not self._made_by:
            from dotflow import __version__  # noqa: PLC0415 - the package imports its providers

            self._factory = provider.get_tracer(names.SCOPE, __version__)
            self._made_by = provider
        return self._factory

    # --- runs -------------------------------------------------------------------------

    def start_workflow(self, workflow_id: Any, **kwargs: Any) -> None:
        """A run begins that has no record. Keywords: `mode`, `tasks_count`."""
        self.run_started(self._legacy_runs.start(workflow_id, **kwargs))

    def end_workflow(self, workflow_id: Any, **kwargs: Any) -> None:
        """A run that has no record has ended. Keywords: `duration` in seconds, `failed`."""
        duration, failed = kwargs.get("duration") or 0.0, bool(kwargs.get("failed"))
        run = self._legacy_runs.finish(workflow_id, duration=duration, failed=failed)
        if run is not None:
            self.run_finished(run)

    def run_started(self, run: Run) -> None:
        """Begin the workflow's span, below the caller's current one."""
        parent = parent_context()
        tracer = self._tracer()
        name = escape_unencodable(run.name)
        shared = {
            names.WORKFLOW_ID: escape_unencodable(str(run.workflow_id)),
            names.WORKFLOW_NAME: name,
        }
        clock = SpanClock()
        span = tracer.start_span(
            names.WORKFLOW_SPAN.format(name),
            parent,
            SpanKind.INTERNAL,
            {**shared, names.WORKFLOW_MODE: run.mode, names.WORKFLOW_TASK_COUNT: run.task_count},
            link_to(run.resumed_from),
            clock.now(),
        )
        ids = span_ids.SpanIds.of(span.get_span_context())
        if ids is not None:
            span_ids.attach_to_run(run, ids)
        below = set_span_in_context(span, parent)
        state = RunSpan(tracer, span, below, shared, ids, clock, self._made_by)
        self._runs[run.id] = state
        if self._watcher is not None:
            state.watch(self._watcher)
            self._watcher.run_started(run, span)

    def run_finished(self, run: Run) -> None:
        """End the workflow's span."""
        state = self._runs.get(run.id)
        if state is None:
            return
        try:
            self._end_left_over(state)
        finally:
            self._end_run(state, run)
        drop_counter.tell()

    def _end_run(self, state: RunSpan, run: Run) -> None:
        span = state.span
        try:
            span.set_attribute(names.WORKFLOW_STATUS, str(run.outcome))
            # An override of a mode may have added tasks, or run some again.
            span.set_attribute(names.WORKFLOW_TASK_COUNT, run.task_count)
            if run.failed:
                _tell_why(state, run)
            span.end(state.factory.clock.now())
        finally:
            self._runs.pop(run.id, None)
            if state.watcher is not None:
                state.watcher.run_finished(run, _why(state, run))

    def _end_left_over(self, run: RunSpan) -> None:
        # An interruption can come between a task's span and the task's own beginning, or
        # while the one of them ends.
        # A copy is made in one step; a list of the items is not, while other runs go on.
        left = [task for task, state in self._tasks.copy().items() if state.run is run]
        for_each(self.end_task, left)

    def run_carrier(self, run: Run) -> Mapping[str, str] | None:
        """Return the workflow's span in the headers of W3C Trace Context."""
        state = self._runs.get(run.id)
        return None if state is None else traceparent(state.context)

    # --- schedules --------------------------------------------------------------------

    def tick_scope(self, tick: Tick) -> AbstractContextManager[object] | None:
        """Return what makes the span of a tick, below which is its run."""
        return TickScope(self._tracer(), tick)

    def tick_skipped(self, tick: Tick, reason: str) -> None:
        """Make the span of a tick that does not run."""
        skip(self._tracer(), tick, reason)

    # --- tasks ------------------------------------------------------------------------

    def start_task(self, task: Task) -> None:
        """Begin the task's span at the time when the task was ready."""
        run = self._run_of(task)
        span = self._begin(
            task, run, None if task.ready_at is None else _nanoseconds(task.ready_at, run)
        )
        self._tasks[task] = TaskSpan(task, run, span)
        ids = run.ids_of(span)
        if ids is not None:
            span_ids.attach_to_task(task, ids)
        watcher = run.watcher_of(task, span)
        if watcher is not None and task.run is not None:
            watcher.task_started(task.run, task, span)

    def open_tasks(self) -> dict[Task, tuple[str, trace.Span]]:
        """Return the tasks that go on, each with the id of its run and its span."""
        # The copy is made in one step, while other threads begin and end tasks.
        states = self._tasks.copy().items()
        return {task: (task.run.id, state.span) for task, state in states if task.run is not None}

    def end_task(self, task: Task) -> None:
        """End the task's span."""
        state = self._tasks.get(task)
        if state is None:
            return
        try:
            self._end(task, state)
        except Exception:
            self._forget(task)
            raise
        # Not where it is interrupted: the end of the run has another look at it.
        self._forget(task)

    def _end(self, task: Task, state: TaskSpan) -> None:
        failure = task.failure if task.status == TypeStatus.FAILED else None
        state.end_attempt(failure)
        state.end_remote(None, failure, None)
        if failure is not None:
            mark_failed(state.span, failure, state.run.factory.clock.now())
            state.run.note(task.name, failure)
        status = _STATUSES.get(task.status, names.FAILED)
        last = {names.TASK_STATUS: status, names.TASK_ATTEMPTS: task.attempt}
        watcher = state.run.watcher_of(task, state.span)
        if watcher is not None and task.run is not None:
            watcher.task_ended(task.run, task, state.span, failure)
        if state.span.is_recording():
            state.run.factory.end(state.span, last)

    def _forget(self, task: Task) -> None:
        self._tasks.pop(task, None)
        span_ids.detach(task)

    def task_restored(self, task: Task) -> None:
        """Make a short span, so that a task that did not run stays visible."""
        run = self._run_of(task)
        last = {
            names.TASK_RESTORED: True,
            names.TASK_STATUS: names.COMPLETED,
            names.TASK_ATTEMPTS: 0,
        }
        span = self._begin(task, run, None)
        watcher = run.watcher_of(task, span)
        if watcher is not None and task.run is not None:
            watcher.task_restored(task.run, task, span)
        run.factory.end(span, last)

    def _run_of(self, task: Task) -> RunSpan:
        key = str(task.workflow_id) if task.run is None else task.run.id
        return self._runs.get(key) or self._unknown_run(task)

    def _unknown_run(self, task: Task) -> RunSpan:
        # A Manager without a config has providers for its tasks but none for the run.
        parent = parent_context()
        shared = {names.WORKFLOW_ID: str(task.workflow_id)}
        if task.run is not None:
            shared[names.WORKFLOW_NAME] = escape_unencodable(task.run.name)
        above = trace.get_current_span(parent)
        return RunSpan(self._tracer(), above, parent, shared, None, SpanClock())

    def _begin(self, task: Task, run: RunSpan, start_time: int | None) -> trace.Span:
        template = run.template_of(task)
        attributes = {
            **template.attributes,
            names.TASK_ID: task.task_id,
            names.TASK_INDEX: task.index,
        }
        return run.factory.start(template.name, run.span, run.context, attributes, start_time)

    # --- what serves them -------------------------------------------------------------

    def run_scope(self, run: Run) -> AbstractContextManager[object] | None:
        """Return what makes the workflow's span current for its storage and callbacks."""
        state = self._runs.get(run.id)
        return None if state is None else Current(state.context)

    def task_scope(self, task: Task) -> AbstractContextManager[object] | None:
        """Return what makes the task's span current for `notify`, its storage and callback."""
        state = self._tasks.get(task)
        return None if state is None else Current(state.context_with(state.span))

    # --- attempts ---------------------------------------------------------------------

    def attempt_scope(self, task: Task, attempt: int) -> AbstractContextManager[object] | None:
        """Return what makes the task's span current, or that of one of several attempts."""
        state = self._tasks.get(task)
        if state is None or task.step.policy.attempts == 1:
            return state
        return AttemptScope(state, attempt)

    def remote_scope(self, task: Task, attempt: int) -> RemoteScope | None:
        """Return what makes the span of an attempt in a worker."""
        state = self._tasks.get(task)
        return None if state is None else state.begin_remote(attempt)

    def attempt_recorded(self, task: Task, attempt: int, recorded: Any) -> None:  # noqa: ARG002
        """Hand on what a worker recorded of an attempt that goes on."""
        state = self._tasks.get(task)
        if state is not None:
            state.take_in_recorded(recorded)

    def attempt_finished(
        self,
        task: Task,
        attempt: int,  # noqa: ARG002 - the signature of the interface
        outcome: Outcome,
        recorded: Any,
    ) -> None:
        """End the attempt's span, if it has one of its own, and hand on what a worker recorded."""
        state = self._tasks.get(task)
        if state is not None:
            state.end_attempt(outcome.failure)
            state.end_remote(outcome, outcome.failure, recorded)


def _nanoseconds(seconds: float, run: RunSpan) -> int:
    # The clock that told it is not the span's: it must not lie ahead of that.
    return min(int(seconds * 1e9), run.factory.clock.now())


def _why(state: RunSpan, run: Run) -> tuple[str, str] | None:
    if state.failures or run.error is None:
        return state.why()
    failure = Failure.of(run.error)
    return failure.error_type, description_of(failure)


def _tell_why(state: RunSpan, run: Run) -> None:
    if state.failures or run.error is None:
        state.mark_failed()
    else:
        mark_failed(state.span, Failure.of(run.error), state.factory.clock.now())
