"""Histories that are made as if runs had been recorded in them, at times that a test says."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from dotflow.core.process_mark import ProcessMark
from dotflow_otel import conventions as names
from dotflow_otel.history.segments import SAMPLED, SegmentBuilder
from dotflow_otel.history.store import open_to_write, transaction

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# Sunday, 2026-03-01 12:00:00 UTC.
NOON = 1_772_366_400 * 10**9

_TRACE = "File 'shop.py', line 7"


def at(seconds: float) -> int:
    """Return a time: so many seconds after noon."""
    return NOON + round(seconds * 1e9)


class MadeSpan(NamedTuple):
    """A span that a step opened; times are in seconds after noon."""

    name: str
    started: float
    ended: float
    error: str | None = None
    below: Sequence[MadeSpan] = ()


class MadeAttempt(NamedTuple):
    """An attempt; with a process it is one in a worker, that waited for this."""

    started: float
    ended: float | None
    error: str | None = None
    pid: int | None = None
    queue: float | None = None
    spans: Sequence[MadeSpan] = ()


class MadeTask(NamedTuple):
    """A task; without attempts its span is the only one."""

    name: str
    ready: float
    ended: float | None
    group: str = "default"
    error: str | None = None
    attempts: Sequence[MadeAttempt] = ()
    spans: Sequence[MadeSpan] = ()
    restored: bool = False
    tries: int | None = None


class MadeLine(NamedTuple):
    """A log line of a run, or of the task at a place."""

    time: float
    event: str
    level: int = 20
    fields: dict[str, Any] = {}  # noqa: RUF012 - nobody changes it
    task: int | None = None


_INSERT = (
    "INSERT INTO runs (key, id, process, workflow_id, workflow, mode, status, started, ended, "
    "tasks, begun, completed, failed, restored, retried, error_type, error, trace_id, span_id, "
    "sampled, size) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


class MadeHistory:
    """Makes a history.

    As a context manager it closes the file.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.connection = open_to_write(path)
        self.keys = count(1)
        self._ids = count(0x1000)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self.connection.close()

    def process(self, beat: float = 0.0, *, gone: bool = True) -> int:
        """Add a process, this one unless it is gone; return its key."""
        key = next(self.keys)
        host, boot, namespace, pid, born = ProcessMark.of_this()
        row = key, host, boot, namespace, pid, born - gone, '{"service.name": "shop"}', at(beat)
        self.connection.execute(
            "INSERT INTO processes (key, host, boot, namespace, pid, born, resource, exporters, "
            "opened, beat) VALUES (?, ?, ?, ?, ?, ?, ?, '[]', 0, ?)",
            row,
        )
        return key

    def add(
        self,
        workflow: str = "billing",
        *tasks: MadeTask,
        started: float = 0.0,
        ended: float | None = 10.0,
        mode: str = "sequential",
        count: int | None = None,
        error: str | None = None,
        lines: Sequence[MadeLine] = (),
        process: int | None = None,
        run_id: str | None = None,
        sampled: bool = True,
    ) -> str:
        """Add a run of some tasks, whose times are seconds after noon; return its id."""
        key = next(self.keys)
        process = self.process(started) if process is None else process
        run_id = f"RUN{key:05d}" if run_id is None else run_id
        root = next(self._ids)
        segment = SegmentBuilder()
        _add(segment, names.WORKFLOW_SPAN.format(workflow), root, 0, started, ended, {}, error)
        spans = [self._add_task(segment, root, place, task) for place, task in enumerate(tasks)]
        for line in lines:
            span_id = root if line.task is None else spans[line.task]
            segment.add_line(at(line.time), line.level, line.event, line.fields, span_id)
        ran = [task for task in tasks if not task.restored]
        failed = [task for task in ran if task.error is not None]
        done = [task for task in ran if task.ended is not None and task.error is None]
        status = "running" if ended is None else "failed" if failed or error else "completed"
        kind, _, text = (failed[0].error or "" if failed else error or "").partition(": ")
        body = segment.packed()
        row = (
            *(key, run_id, process, f"id of {workflow}", workflow, mode, status, at(started)),
            None if ended is None else at(ended),
            *(len(tasks) if count is None else count, len(ran), len(done), len(failed)),
            len(tasks) - len(ran),
            sum(max(len(task.attempts) - 1, 0) for task in tasks),
            *(kind or None, text or None, key.to_bytes(16, "big"), root, sampled, len(body)),
        )
        with transaction(self.connection):
            self.connection.execute(_INSERT, row)
            self.connection.execute("INSERT INTO segments (run, body) VALUES (?, ?)", (key, body))
        return run_id

    def _add_task(self, segment: SegmentBuilder, root: int, place: int, task: MadeTask) -> int:
        span_id = next(self._ids)
        attributes: dict[str, Any] = {
            names.TASK_ID: f"T{place:04d}",
            names.TASK_NAME: task.name,
            names.TASK_GROUP: task.group,
            names.TASK_INDEX: place,
        }
        if task.ended is not None:
            tries = 0 if task.restored else task.tries or max(len(task.attempts), 1)
            status = "completed" if task.error is None else "failed"
            attributes |= {names.TASK_STATUS: status, names.TASK_ATTEMPTS: tries}
        if task.restored:
            attributes[names.TASK_RESTORED] = True
        name = names.TASK_SPAN.format(task.name)
        _add(segment, name, span_id, root, task.ready, task.ended, attributes, task.error)
        for number, attempt in enumerate(task.attempts, 1):
            self._add_attempt(segment, span_id, number, attempt)
        self._add_spans(segment, span_id, task.spans)
        return span_id

    def _add_attempt(
        self, segment: SegmentBuilder, task: int, number: int, attempt: MadeAttempt
    ) -> None:
        span_id = next(self._ids)
        attributes: dict[str, Any] = {names.ATTEMPT_NUMBER: number}
        if attempt.pid is not None:
            attributes |= {names.PROCESS_PID: attempt.pid, names.HOST_NAME: "here"}
        if attempt.queue is not None:
            attributes[names.TASK_QUEUE_DURATION] = attempt.queue
        times = attempt.started, attempt.ended
        _add(segment, names.ATTEMPT_SPAN, span_id, task, *times, attributes, attempt.error)
        self._add_spans(segment, span_id, attempt.spans)

    def _add_spans(self, segment: SegmentBuilder, above: int, spans: Sequence[MadeSpan]) -> None:
        for span in spans:
            span_id = next(self._ids)
            _add(segment, span.name, span_id, above, span.started, span.ended, {}, span.error)
            self._add_spans(segment, span_id, span.below)


def _add(
    segment: SegmentBuilder,
    name: str,
    span_id: int,
    above: int,
    started: float,
    ended: float | None,
    attributes: dict[str, Any],
    error: str | None,
) -> None:
    if ended is None:
        segment.add_open(name, span_id, above, at(started), SAMPLED, attributes)
        return
    if error is None:
        segment.add_full(
            name, span_id, above, at(started), at(ended), SAMPLED, attributes,
            *(0, (0, None), [], [], None, ""),
        )  # fmt: skip
        return
    kind, _, text = error.partition(": ")
    about = {
        names.EXCEPTION_TYPE: kind,
        names.EXCEPTION_MESSAGE: text,
        names.EXCEPTION_STACKTRACE: f"{_TRACE}\n{error}\n",
    }
    event = names.EXCEPTION_EVENT, at(ended), about
    segment.add_full(
        name, span_id, above, at(started), at(ended), SAMPLED,
        {**attributes, names.ERROR_TYPE: kind}, *(0, (2, error), [event], [], None, ""),
    )  # fmt: skip
