"""The ids and times of spans, for whoever writes them down, without OpenTelemetry.

The tracer attaches them to the run or the task; metrics (exemplars) and logs read them there. So
they need not know the tracer, and find a run's span also after that has ended. Ids are kept as the
texts that are written.
"""

from __future__ import annotations

import sys
import time
from contextvars import ContextVar
from time import time_ns
from typing import TYPE_CHECKING, Any, Final, Protocol

from dotflow.core.run import Attachment, Run
from dotflow.core.timing import monotonic_ns
from dotflow_otel.conventions import SPAN_ID, TRACE_ID

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import SpanContext

    from dotflow.core.model import Task


# The two clocks are read that closely together, in nanoseconds, or again, so many times.
_CLOSE: Final = 20_000
_TRIES: Final = 3


class SpanClock:
    """The time of day as if nobody set it, from now on.

    Were the time of day itself asked for at each end, a span would have a negative duration
    whose machine's clock was set back meanwhile, and backends refuse it.

    Attributes:
        to_wall: What is added to the monotonic clock, in nanoseconds.
    """

    __slots__ = ("to_wall",)

    def __init__(self) -> None:
        for _ in range(_TRIES):
            before, wall, after = monotonic_ns(), time_ns(), monotonic_ns()
            if after - before < _CLOSE:
                break
        self.to_wall = wall - (before + after) // 2

    def now(self) -> int:
        """Return the time, in nanoseconds since the epoch."""
        return self.to_wall + monotonic_ns()


class SpanIds:
    """The ids of a span.

    Attributes:
        trace_id: 32 digits in hex.
        span_id: 16 digits in hex.
        sampled: Whether the span is exported, so that its ids lead somewhere.
        attempt: Of a task's span: the ids of the span of its attempt, while that goes on.
    """

    __slots__ = ("attempt", "sampled", "span_id", "trace_id")

    def __init__(self, trace_id: str, span_id: str, *, sampled: bool) -> None:
        self.trace_id = trace_id
        self.span_id = span_id
        self.sampled = sampled
        self.attempt: SpanIds | None = None

    @classmethod
    def of(cls, context: SpanContext) -> SpanIds | None:
        """Return the ids of a span context, or None where that is invalid."""
        if not context.is_valid:
            return None
        return cls(
            f"{context.trace_id:032x}",
            f"{context.span_id:016x}",
            sampled=context.trace_flags.sampled,
        )

    def as_dict(self) -> dict[str, str]:
        """Return the ids as the fields of a log line, or the labels of an exemplar."""
        return {TRACE_ID: self.trace_id, SPAN_ID: self.span_id}


class DeferredAttempt(Protocol):
    """An attempt in a worker whose span waits for OpenTelemetry to be imported.

    Attributes:
        buffer: The buffer of the spans that its step opens, once there is OpenTelemetry.
        context: That of the step, where it began before.
    """

    buffer: Any
    context: Context | None

    @property
    def ids(self) -> tuple[int, int, int] | None:
        """The ids and flags of the span, once it is the current one."""
        ...


# The attempt that this code runs for, where that began in a worker without OpenTelemetry. Here, for
# logs ask for its ids.
deferred: Final[ContextVar[DeferredAttempt | None]] = ContextVar("dotflow_deferred", default=None)


def attach_to_run(run: Run, ids: SpanIds) -> None:
    """Attach the ids of its span to a run, for as long as somebody has that."""
    if run.attached is not None:
        run.attached.value = ids


def attach_to_task(task: Task, ids: SpanIds) -> None:
    """Attach the ids of its span to a task, until `detach`."""
    task.attached = ids


def attach_attempt(task: Task, ids: SpanIds | None) -> None:
    """Attach the ids of the span of its attempt to a task that has a span; None: detach them."""
    if task.attached is not None:
        task.attached.attempt = ids


def detach(task: Task) -> None:
    """Release the ids of a task's spans."""
    task.attached = None


def ids_of_run(run: Run) -> SpanIds | None:
    """Return the ids of a run's span; without one, those of the caller's current span."""
    found: SpanIds | None = None if run.attached is None else run.attached.value
    return found or current_ids()


def ids_of_task(task: Task) -> SpanIds | None:
    """Return the ids of a task's span; without one, its run's, else the caller's."""
    found: SpanIds | None = task.attached
    if found is not None:
        return found
    return current_ids() if task.run is None else ids_of_run(task.run)


def ids_of_step(task: Task) -> SpanIds | None:
    """Return the ids of the span that is current when a task's step begins."""
    found = ids_of_task(task)
    return found if found is None else found.attempt or found


def exemplar_of_run(run: Run) -> dict[str, str] | None:
    """Return the labels of an exemplar, where the run's span is sampled."""
    return _exemplar(ids_of_run(run))


def exemplar_of_task(task: Task) -> dict[str, str] | None:
    """Return the labels of an exemplar, where the task's span is sampled."""
    return _exemplar(ids_of_task(task))


def _exemplar(ids: SpanIds | None) -> dict[str, str] | None:
    return ids.as_dict() if ids is not None and ids.sampled else None


def current_ids() -> SpanIds | None:
    """Return the ids of the caller's current span, if there is one."""
    found = current_numbers()
    if found is None:
        return None
    trace_id, span_id, flags = found
    return SpanIds(f"{trace_id:032x}", f"{span_id:016x}", sampled=bool(flags & 1))


def current_numbers() -> tuple[int, int, int] | None:
    """Return the ids and flags of the caller's current span, if there is one."""
    # Where nobody imported the API, nobody made a span: logs and metrics do not need it.
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        attempt = deferred.get()
        return None if attempt is None else attempt.ids
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return None
    return context.trace_id, context.span_id, int(context.trace_flags)


class LegacyRuns:
    """Makes the records that the hooks of 1.x do without.

    The engine does not call those; a program that drives a provider itself may.
    """

    def __init__(self) -> None:
        self._runs: dict[str, Run] = {}

    def start(self, workflow_id: Any, *, mode: str = "sequential", tasks_count: int = 0) -> Run:
        """Return the record of a run that begins."""
        key = str(workflow_id)
        run = Run(
            key, workflow_id, "workflow", mode, tasks_count, time.time(), attached=Attachment()
        )
        self._runs[key] = run
        return run

    def finish(self, workflow_id: Any, *, duration: float, failed: bool) -> Run | None:
        """Return the record of a run that ended; None where nobody was notified of its start."""
        run = self._runs.pop(str(workflow_id), None)
        return None if run is None else run.finished(duration, failed=failed)
