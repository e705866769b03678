"""The spans of a run while it goes on, and how a failure is written into one."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from opentelemetry.context import attach, detach
from opentelemetry.trace import Link, SpanKind, StatusCode, get_current_span, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from dotflow.abc.scope import Scope
from dotflow_otel import conventions as names
from dotflow_otel import span_ids
from dotflow_otel.plain import escape_unencodable
from dotflow_otel.span_ids import SpanIds
from dotflow_otel.spans.attributes import MethodScope, description_of, mark_failed, step_attributes
from dotflow_otel.spans.factory import SpanFactory, let_tracers_travel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextvars import Token
    from types import TracebackType

    from opentelemetry.context import Context
    from opentelemetry.trace import Span, Tracer, TracerProvider

    from dotflow.abc.scope import RemoteScope
    from dotflow.core.action import Action
    from dotflow.core.attempt import Outcome
    from dotflow.core.failure import Failure
    from dotflow.core.model import Task
    from dotflow.core.run import Run
    from dotflow_otel.relay.handover import LiveSpans
    from dotflow_otel.relay.remote_attempt import RemoteAttempt, RemoteAttempts
    from dotflow_otel.span_ids import SpanClock


_SDK: Final = "opentelemetry.sdk.trace"


class RunWatcher(Protocol):
    """Is notified of runs, tasks and attempts, with their spans.

    Attributes:
        receives_spans: Whether it is notified of the ends of recording spans by their provider.
    """

    receives_spans: bool

    def run_started(self, run: Run, span: Span) -> None:
        """A run begins."""

    def run_finished(self, run: Run, error: tuple[str, str] | None) -> None:
        """A run has ended; why it failed: the type and the text."""

    def task_started(self, run: Run, task: Task, span: Span) -> None:
        """A task begins; called where its span does not cover it."""

    def task_ended(self, run: Run, task: Task, span: Span, failure: Failure | None) -> None:
        """A task has ended; called where its span does not cover it."""

    def task_restored(self, run: Run, task: Task, span: Span) -> None:
        """A task was restored; called where its span does not cover it."""

    def attempt_started(
        self, run: Run, span_id: int, parent_id: int, number: int, *, sampled: bool
    ) -> None:
        """An attempt begins that has a span of its own."""

    def attempt_ended(self, span_id: int) -> None:
        """An attempt with a span of its own has ended; the span will."""


_propagator = TraceContextTextMapPropagator()


class SpanTemplate(NamedTuple):
    """What the spans of like tasks have in common.

    Attributes:
        name: The name of the span.
        attributes: Those that are the same.
    """

    name: str
    attributes: Mapping[str, str | int | float]


class RunSpan:
    """A run's span, and what the spans below it share.

    Args:
        tracer: Made the span, and makes those below.
        span: The span.
        context: The caller's context, baggage and all, with the span as the current one.
        shared: The attributes that tasks have from their run.
        ids: The ids of the span.
        clock: Tells when the spans of the run begin and end.
        provider: Made the tracer.

    Attributes:
        factory: Makes the spans below at less cost.
        failures: How many tasks failed.
        watcher: Is notified of what happens below the span, if anybody is.
    """

    def __init__(
        self,
        tracer: Tracer,
        span: Span,
        context: Context,
        shared: Mapping[str, str],
        ids: SpanIds | None,
        clock: SpanClock,
        provider: TracerProvider | None = None,
    ) -> None:
        self.tracer = tracer
        self._provider = provider
        self.factory = factory_of(tracer, span, clock)
        self.span = span
        self.context = context
        self._shared = shared
        self._templates: dict[tuple[Action, str, str], SpanTemplate] = {}
        self.ids = ids
        self.failures = 0
        self.watcher: RunWatcher | None = None
        self._is_covered = True
        self._first: tuple[str, Failure] | None = None

    def watch(self, watcher: RunWatcher) -> None:
        """Register a watcher that is notified of what happens below the span."""
        self.watcher = watcher
        # Below a span that others are made like, all are recorded.
        self._is_covered = watcher.receives_spans and type(self.factory) is not SpanFactory

    def watcher_of(self, task: Task, span: Span) -> RunWatcher | None:
        """Return who is to be notified of a task, where its span does not cover it."""
        if self._is_covered or self.watcher is None or task.run is None:
            return None
        return None if self.watcher.receives_spans and span.is_recording() else self.watcher

    @cached_property
    def live(self) -> LiveSpans:
        """The spans of workers, which begin and end for the application's processors."""
        from dotflow_otel.relay.handover import LiveSpans, handover_of  # noqa: PLC0415

        return LiveSpans(handover_of(self.factory, self._provider), self.context)

    @cached_property
    def attempts(self) -> RemoteAttempts | None:
        """What begins the spans of attempts in workers; None without the SDK."""
        try:
            # Here, because it needs the SDK, and is for `parallel` only.
            from dotflow_otel.relay.remote_attempt import RemoteAttempts  # noqa: PLC0415
        except ModuleNotFoundError:
            return None
        let_tracers_travel()
        attempts = RemoteAttempts(self.factory, self.span, self.context)
        attempts.expect(self.live.take_in)
        return attempts

    def template_of(self, task: Task) -> SpanTemplate:
        """Return what a task's span has in common with others of this run."""
        key = task.step, task.name, task.group_name
        found = self._templates.get(key)
        if found is None:
            name = escape_unencodable(task.name)
            attributes = {
                **self._shared,
                **step_attributes(task.step),
                names.TASK_NAME: name,
                names.TASK_GROUP: escape_unencodable(task.group_name),
            }
            found = self._templates[key] = SpanTemplate(names.TASK_SPAN.format(name), attributes)
        return found

    def ids_of(self, span: Span) -> SpanIds | None:
        """Return the ids of a span below this one."""
        context = span.get_span_context()
        if self.ids is None:
            return SpanIds.of(context)
        sampled = context.trace_flags.sampled
        return SpanIds(self.ids.trace_id, f"{context.span_id:016x}", sampled=sampled)

    def method_scope(self, action: Action, attempt: int | None) -> MethodScope:
        """Return what makes a span of a method of a class step, or of a try of it."""
        return MethodScope(self.start_below, action, attempt)

    def start_below(self, name: str, attributes: Mapping[str, Any]) -> Span:
        """Begin a span below the current one."""
        return self.tracer.start_span(name, None, SpanKind.INTERNAL, attributes)

    def note(self, task_name: str, failure: Failure) -> None:
        """Take in that a task failed."""
        self.failures += 1
        if self._first is None:
            self._first = task_name, failure

    def why(self) -> tuple[str, str] | None:
        """Return why the run failed, its first failed task: the type of the error, and a text."""
        if self._first is None:
            return None
        name, failure = self._first
        more = f" ({self.failures} tasks failed)" if self.failures > 1 else ""
        return (
            failure.error_type,
            f"task {escape_unencodable(name)}: {description_of(failure)}{more}",
        )

    def mark_failed(self) -> None:
        """Write into the span why the run failed."""
        why = self.why()
        if why is None:
            self.span.set_status(StatusCode.ERROR)
            return
        self.span.set_attribute(names.ERROR_TYPE, why[0])
        self.span.set_status(StatusCode.ERROR, why[1])


class CurrentScope(Scope):
    """Makes current again what was before, where a subclass has attached a context."""

    __slots__ = ("_token",)

    _token: Token[Context] | None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._token is not None:
            detach(self._token)


class TaskSpan(CurrentScope):
    """A task's span. As a scope it makes that the current one.

    Args:
        task: The task.
        run: The run's span.
        span: The span.
    """

    __slots__ = ("_attempt", "_remote", "_task", "run", "span")

    def __init__(self, task: Task, run: RunSpan, span: Span) -> None:
        self._task = task
        self.run = run
        self.span = span
        self._attempt: Span | None = None
        self._remote: RemoteAttempt | None = None
        self._token = None

    def context_with(self, span: Span) -> Context:
        """Return the run's context with a span as the current one."""
        return set_span_in_context(span, self.run.context)

    def begin_attempt(self, number: int) -> Span:
        """Begin the span of an attempt."""
        self._attempt = self.run.factory.start(
            names.ATTEMPT_SPAN,
            self.span,
            self.context_with(self.span),
            {names.ATTEMPT_NUMBER: number},
        )
        span_ids.attach_attempt(self._task, self.run.ids_of(self._attempt))
        context = self._attempt.get_span_context()
        self._notify(context.span_id, number, sampled=context.trace_flags.sampled)
        return self._attempt

    def _notify(self, span_id: int, number: int, *, sampled: bool) -> None:
        watcher, run = self.run.watcher, self._task.run
        if watcher is not None and run is not None:
            above = self.span.get_span_context().span_id
            watcher.attempt_started(run, span_id, above, number, sampled=sampled)

    def end_attempt(self, failure: Failure | None) -> None:
        """End the span of the attempt, if there is one."""
        span = self._attempt
        if span is None:
            return
        now = self.run.factory.clock.now()
        if failure is not None:
            mark_failed(span, failure, now)
        self._attempt = None
        span_ids.attach_attempt(self._task, None)
        if self.run.watcher is not None:
            self.run.watcher.attempt_ended(span.get_span_context().span_id)
        span.end(now)

    def begin_remote(self, number: int) -> RemoteScope | None:
        """Begin the span of an attempt in a worker; None where there is no trace."""
        attempts = self.run.attempts if self.span.get_span_context().is_valid else None
        if attempts is None:
            return None
        remote = self._remote = attempts.begin(self.span, self.run.context, number)
        self._notify(remote.span_id, number, sampled=remote.sampled)
        ids = self.run.ids
        if ids is not None:
            span_id = f"{remote.span_id:016x}"
            attempt = SpanIds(ids.trace_id, span_id, sampled=remote.sampled)
            span_ids.attach_attempt(self._task, attempt)
        return remote.scope(_Here(remote, self))

    def take_in_recorded(self, recorded: bytes) -> None:
        """Hand on what was recorded in a worker below the span of an attempt that goes on."""
        if self._remote is not None:
            self._remote.take_in(recorded, self.run.live, self.span)

    def end_remote(
        self, outcome: Outcome | None, failure: Failure | None, recorded: bytes | None
    ) -> None:
        """End the span of the attempt in a worker, if there is one, and those below it."""
        remote, self._remote = self._remote, None
        if remote is None:
            return
        span_ids.attach_attempt(self._task, None)
        if self.run.watcher is not None:
            self.run.watcher.attempt_ended(remote.span_id)
        queued = self._task.queue_duration
        remote.finish(outcome, failure, recorded, queued, self.run.live, self.span)

    def method_scope(self, action: Action, attempt: int | None) -> MethodScope:
        """Return what makes a span of a method of a class step, or of a try of it."""
        return self.run.method_scope(action, attempt)

    def __enter__(self) -> None:
        self._token = attach(self.context_with(self.span))


class _Here(NamedTuple):
    """Begins the span of an attempt in a thread of this process.

    Attributes:
        attempt: The attempt.
        task: The task's span.
    """

    attempt: RemoteAttempt
    task: TaskSpan

    def begin(self) -> Span:
        """Begin it."""
        return self.attempt.begin_here(self.task.run.live, self.task.span)

    def start_below(self, name: str, attributes: Mapping[str, Any]) -> Span:
        """Begin a span below the current one."""
        return self.task.run.start_below(name, attributes)


class Current(CurrentScope):
    """Makes a context the current one.

    Args:
        context: The context.
    """

    __slots__ = ("_context",)

    def __init__(self, context: Context) -> None:
        self._context = context
        self._token = None

    def __enter__(self) -> None:
        self._token = attach(self._context)


class AttemptScope(CurrentScope):
    """Begins the span of an attempt and makes it the current one.

    The span is not ended here but when the outcome is known, with all that is to be told.
    """

    __slots__ = ("_number", "_task")

    def __init__(self, task: TaskSpan, number: int) -> None:
        self._task = task
        self._number = number
        self._token = None

    def __enter__(self) -> None:
        span = self._task.begin_attempt(self._number)
        self._token = attach(self._task.context_with(span))

    def method_scope(self, action: Action, attempt: int | None) -> MethodScope:
        """Return what makes a span of a method of a class step, or of a try of it."""
        return self._task.method_scope(action, attempt)


def traceparent(context: Context) -> Mapping[str, str] | None:
    """Return the current span of a context in the headers of W3C Trace Context."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier, context)
    return carrier or None


def link_to(carrier: Mapping[str, str] | None) -> Sequence[Link] | None:
    """Return a link to the span that a carrier tells of, if it tells of one."""
    if not carrier:
        return None
    span_context = get_current_span(_propagator.extract(carrier)).get_span_context()
    return [Link(span_context)] if span_context.is_valid else None


def factory_of(tracer: Tracer, span: Span, clock: SpanClock) -> SpanFactory:
    """Return what makes spans like `span`, which the tracer made, and below it."""
    if type(tracer).__module__ == type(span).__module__ == _SDK:
        # Here, because this package works with the API alone.
        from dotflow_otel.spans.sdk_access import fast_factory  # noqa: PLC0415

        found = fast_factory(tracer, span, clock)
        if found is not None:
            return found
    return SpanFactory(tracer, clock)
