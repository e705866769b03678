"""A run as a tree: its tasks, their attempts, and the spans that steps opened."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from dotflow.core.types import TypeExecution
from dotflow_otel import conventions as names
from dotflow_otel.history.store import LOST, RUNNING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dotflow_otel.history.reader import RunInfo
    from dotflow_otel.history.segments import Link, Span

RESTORED: Final = "restored"
UNKNOWN: Final = "unknown"


class Error(NamedTuple):
    """Why a span failed.

    Attributes:
        type: The value of `error.type`.
        message: The text of the exception, or the description of the status.
        stacktrace: The traceback; empty where none was recorded.
    """

    type: str
    message: str
    stacktrace: str = ""

    def __str__(self) -> str:
        if self.message.startswith(self.type) or not self.message:
            return self.message or self.type
        return f"{self.type}: {self.message}"


class OwnSpan(NamedTuple):
    """A span that a step opened, or one of a run that a step started.

    Attributes:
        span: The span.
        depth: How many such spans are above it.
        error: Why it failed, if it did.
    """

    span: Span
    depth: int
    error: Error | None


class Attempt(NamedTuple):
    """An attempt of a task.

    Attributes:
        number: From 1.
        started: When the step began, in nanoseconds since the epoch.
        ended: Likewise; None where it goes on, or went on when the run was lost.
        backoff: Seconds that passed between the attempt before and this one's being ready.
        queue: Seconds that it then waited for a worker.
        host: The machine that it ran on.
        pid: The process that it ran in; None where that is not known.
        error: Why it failed, if it did.
        span_id: That of its span: of the task's, where it has none of its own.
        spans: What the step opened, each after the one above it.
    """

    number: int
    started: int
    ended: int | None
    backoff: float
    queue: float
    host: str
    pid: int | None
    error: Error | None
    span_id: int
    spans: Sequence[OwnSpan] = ()

    def duration(self, until: int) -> float:
        """Return its seconds; of one that goes on, until then."""
        return max((self.ended or until) - self.started, 0) / 1e9


class TaskView(NamedTuple):
    """A task that began, or was restored.

    Attributes:
        span_id: That of its span.
        id: Its id.
        name: Its name.
        group: The name of its group.
        place: Its place in the workflow, from 0.
        status: `completed`, `failed`, `restored`, `running`, `lost`, or `unknown`: its end was not
            recorded.
        ready: When it could have begun, in nanoseconds since the epoch.
        ended: Likewise; None where it goes on, or went on when the run was lost.
        attempts: Its attempts, in order; one at least unless it was restored. Where not all are
            recorded, one stands for all.
        tries: How many attempts it had, also where they were not recorded.
        error: Why it failed, if it did.
        spans: What was opened below it and in none of its attempts.
    """

    span_id: int
    id: str
    name: str
    group: str
    place: int
    status: str
    ready: int
    ended: int | None
    attempts: Sequence[Attempt]
    tries: int
    error: Error | None
    spans: Sequence[OwnSpan] = ()

    @property
    def started(self) -> int:
        """When its first attempt began."""
        return self.attempts[0].started if self.attempts else self.ready

    @property
    def queue(self) -> float:
        """Seconds that its attempts waited for a worker."""
        if len(self.attempts) == 1:  # as most have
            return self.attempts[0].queue
        return sum(each.queue for each in self.attempts)

    @property
    def backoff(self) -> float:
        """Seconds between its attempts."""
        return sum(each.backoff for each in self.attempts)

    def duration(self, until: int) -> float:
        """Return the seconds from its first attempt to the end of its last.

        Args:
            until: To this time, in nanoseconds since the epoch, where it goes on.
        """
        ended = self.ended
        if ended is not None and self.attempts:
            # What a worker returns takes its time to come.
            ended = self.attempts[-1].ended or ended
        return max((ended or until) - self.started, 0) / 1e9

    def retried(self, until: int) -> float:
        """Return the seconds of its attempts that were followed by another."""
        return sum(each.duration(until) for each in self.attempts[:-1])

    @property
    def cause(self) -> OwnSpan | None:
        """The deepest span that failed in its last attempt, if one did."""
        inside = self.attempts[-1].spans if self.attempts else ()
        failed = [each for each in inside if each.error is not None]
        return max(failed, key=lambda each: each.depth, default=None)


class RunView:
    """A run, to be shown.

    Args:
        run: The run.
        root: Its own span.
        tasks: Its tasks, in the order in which they could begin.
        spans: Spans below it that are in none of its tasks.
        end: See below.

    Attributes:
        run: The run.
        root: Its own span.
        tasks: Its tasks, in the order in which they could begin.
        spans: Spans below it that are in none of its tasks, such as those of callbacks.
        end: When it ended; until when it is known where it has not, in nanoseconds.
    """

    def __init__(
        self,
        run: RunInfo,
        root: Span,
        tasks: Sequence[TaskView],
        spans: Sequence[OwnSpan],
        end: int,
    ) -> None:
        self.run: Final = run
        self.root: Final = root
        self.tasks: Final = tasks
        self.spans: Final = spans
        self.end: Final = end

    @property
    def duration(self) -> float:
        """Seconds from the start to the end, or until when it is known."""
        return max(self.end - self.run.started, 0) / 1e9

    @property
    def resumed_from(self) -> Sequence[Link]:
        """The spans of the runs that it resumed."""
        return self.root.links

    @cached_property
    def task_by_span(self) -> Mapping[int, TaskView]:
        """The task that each span belongs to, by the id of the span: for log lines, say."""
        found: dict[int, TaskView] = {}
        for task in self.tasks:
            found[task.span_id] = task
            for attempt in task.attempts:
                found[attempt.span_id] = task
                found.update((each.span.span_id, task) for each in attempt.spans)
            found.update((each.span.span_id, task) for each in task.spans)
        return found


def view_of(run: RunInfo, spans: Sequence[Span]) -> RunView:
    """Return a run as a tree.

    Args:
        run: The run.
        spans: Its spans, as `History.spans` returns them.
    """
    return _Builder(run, spans).view()


def error_of(span: Span) -> Error | None:
    """Return why a span failed, if it did."""
    attributes = span.attributes
    if names.ERROR_TYPE not in attributes and not span.has_failed:
        return None
    message, trace = span.status[1] or "", ""
    for event in reversed(span.events):
        if event.name == names.EXCEPTION_EVENT:
            message = str(event.attributes.get(names.EXCEPTION_MESSAGE) or message)
            trace = str(event.attributes.get(names.EXCEPTION_STACKTRACE) or "")
            kind = event.attributes.get(names.EXCEPTION_TYPE)
            return Error(str(attributes.get(names.ERROR_TYPE) or kind), message, trace)
    return Error(str(attributes.get(names.ERROR_TYPE) or "error"), message)


class _Builder:
    def __init__(self, run: RunInfo, spans: Sequence[Span]) -> None:
        self._run = run
        self._root = spans[0]
        self._below: dict[int, list[Span]] = {}
        known = {span.span_id for span in spans}
        for span in spans[1:]:
            # What is above it may not have been recorded.
            above = span.parent_id if span.parent_id in known else self._root.span_id
            self._below.setdefault(above, []).append(span)
        times = (max(span.started, span.ended or 0) for span in spans)
        self._end = run.ended or max(run.beat, *times)
        self._in_flight = LOST if run.status == LOST else RUNNING
        self._is_parallel = run.mode == TypeExecution.PARALLEL
        # What a worker does not tell is not of the run's process.
        self._own_pid = None if self._is_parallel else run.pid

    def view(self) -> RunView:
        tasks, others = [], []
        for span in self._below.get(self._root.span_id, ()):
            if names.TASK_ID in span.attributes and span.parent_id == self._root.span_id:
                tasks.append(self._task(span))
            else:
                others.append(span)
        return RunView(self._run, self._root, tasks, self._opened(others), self._end)

    def _task(self, span: Span) -> TaskView:
        attributes = span.attributes
        attempts: list[Span] = []
        others: list[Span] = []
        for each in self._below.get(span.span_id, ()):
            if each.name == names.ATTEMPT_SPAN and names.ATTEMPT_NUMBER in each.attributes:
                attempts.append(each)
            else:
                others.append(each)
        tries = _number(attributes.get(names.TASK_ATTEMPTS))
        if self._are_incomplete(span, attempts, tries):
            others += (each for above in attempts for each in self._below.get(above.span_id, ()))
            attempts = []
        opened = self._opened(others)
        status = self._status(span)
        made = self._attempts(span, attempts)
        if not made and status != RESTORED:
            made, opened = [self._only_attempt(span, max(tries, 1), opened)], ()
        return TaskView(
            span.span_id,
            str(attributes.get(names.TASK_ID, "")),
            str(attributes.get(names.TASK_NAME, span.name)),
            str(attributes.get(names.TASK_GROUP, "")),
            _number(attributes.get(names.TASK_INDEX)),
            status,
            span.started,
            span.ended,
            made,
            max(tries, len(made)),
            error_of(span),
            opened,
        )

    def _are_incomplete(self, task: Span, attempts: Sequence[Span], tries: int) -> bool:
        """Return whether the attempts of a task that has ended, or their ends, are not all known.

        Of those that are not sampled only the beginnings of some are recorded: they are given the
        end of their task.
        """
        if task.ended is None or not attempts:
            return False
        if len(attempts) < tries or any(each.ended == task.ended for each in attempts[:-1]):
            return True
        return not self._run.is_sampled and attempts[-1].ended == task.ended

    def _status(self, span: Span) -> str:
        if span.ended is None:
            return self._in_flight
        if span.attributes.get(names.TASK_RESTORED):
            return RESTORED
        return str(span.attributes.get(names.TASK_STATUS) or UNKNOWN)

    def _attempts(self, task: Span, spans: Sequence[Span]) -> list[Attempt]:
        made: list[Attempt] = []
        free = task.started
        for span in spans:
            attributes = span.attributes
            gap = max(span.started - free, 0) / 1e9
            queue = attributes.get(names.TASK_QUEUE_DURATION)
            if queue is None:
                # Only workers are waited for; one that still runs its attempt has sent nothing.
                queue = gap if self._is_parallel and not made else 0.0
            queue = min(max(float(queue), 0.0), gap)
            pid = attributes.get(names.PROCESS_PID)
            made.append(
                Attempt(
                    _number(attributes.get(names.ATTEMPT_NUMBER)),
                    span.started,
                    span.ended,
                    max(gap - queue, 0.0) if made else 0.0,
                    queue,
                    str(attributes.get(names.HOST_NAME) or self._run.host),
                    self._own_pid if pid is None else _number(pid),
                    error_of(span),
                    span.span_id,
                    self._opened(self._below.get(span.span_id, ())),
                )
            )
            free = span.ended or span.started
        return made

    def _only_attempt(self, span: Span, number: int, opened: Sequence[OwnSpan]) -> Attempt:
        return Attempt(
            number,
            span.started,
            span.ended,
            backoff=0.0,
            queue=0.0,
            host=self._run.host,
            pid=self._own_pid,
            error=error_of(span),
            span_id=span.span_id,
            spans=opened,
        )

    def _opened(self, spans: Sequence[Span]) -> Sequence[OwnSpan]:
        """Return spans, each followed by those below it: without recursion, however deep."""
        if not spans:
            return ()
        left = [(span, 0) for span in reversed(spans)]
        found = []
        while left:
            span, depth = left.pop()
            found.append(OwnSpan(span, depth, error_of(span)))
            below = self._below.get(span.span_id, ())
            left += [(each, depth + 1) for each in reversed(below)]
        return found


def _number(value: Any) -> int:
    return value if isinstance(value, int) else 0
