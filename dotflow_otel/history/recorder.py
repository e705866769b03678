"""The way of what happens in runs to the history: handed over, never waited for."""

from __future__ import annotations

import logging
from collections import deque
from random import getrandbits
from threading import Event, Thread
from time import time_ns
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

from opentelemetry.sdk.trace import SpanProcessor

from dotflow.core.process import call_in_forked_child, fork_safe_lock
from dotflow_otel import conventions as names
from dotflow_otel._process import HISTORY, at_exit, drop_counter
from dotflow_otel.history.segments import SAMPLED
from dotflow_otel.history.store import Limits
from dotflow_otel.history.writer import (
    LINE,
    Flush,
    OpenSpan,
    RunBegan,
    RunEnded,
    Source,
    TaskEnded,
    Writer,
)
from dotflow_otel.log_context import run_context, stack_trace_of
from dotflow_otel.plain import bounded, escape_unencodable, to_plain
from dotflow_otel.sdk.batching import RootHandler
from dotflow_otel.span_ids import SpanClock
from dotflow_otel.spans.sdk_access import plain_row

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import Span

    from dotflow.core.failure import Failure
    from dotflow.core.model import Task
    from dotflow.core.run import Run
    from dotflow_otel.span_ids import SpanIds
    from dotflow_otel.traces.tracer import TracerOpenTelemetry

_logger: Final = logging.getLogger("dotflow_otel")

# How many items may wait for the writer. A run's own beginning and end still fit in where
# others do not.
ROOM: Final = 50_000
_RESERVE: Final = 1_000

# Seconds that the beginning of a run may take to be in the file: it takes less than one
# thousandth where the disk is well. Once that took longer, no run waits any more.
PATIENCE: Final = 0.5

# Seconds that the exit of the interpreter may take for what is not written yet.
_BOUND: Final = 5.0

# What a forked child has of its parent's history: neither used nor closed there.
_inherited: Final[list[Writer]] = []


class Recorder(SpanProcessor):
    """Takes what happens, and hands it to the thread that writes.

    As a processor of spans it is notified of their ends alone, which costs least.

    Args:
        path: The file.
        resource: What describes the process, as in OpenTelemetry.
        exporters: The names of the exporters that note what they deliver.
        limits: How much the history keeps.

    Attributes:
        path: The file.
        traces: The run that last began in each trace.
        process: The key of this process in the history, once that is open.
        receives_spans: Whether the ends of recording spans come from a provider.
        tracers: Whose runs are recorded.
    """

    def __init__(
        self,
        path: Path,
        resource: Mapping[str, Any] | None = None,
        exporters: Sequence[str] = (),
        limits: Limits = Limits(),  # noqa: B008 - a tuple
    ) -> None:
        self.path = path
        self._resource = {name: to_plain(value) for name, value in (resource or {}).items()}
        self._exporters = tuple(exporters)
        self._limits = limits
        self._room = ROOM
        self._lock = fork_safe_lock()
        self.receives_spans = False
        self.tracers: WeakSet[TracerOpenTelemetry] = WeakSet()
        self._begin()
        call_in_forked_child(self._begin_in_child)

    def _begin(self) -> None:
        self._items: deque[Any] = deque()
        self.traces: dict[int, str] = {}
        self._open: dict[Any, tuple[str, Any]] = {}
        self._attempts: dict[int, tuple[str, int, int, int, bool]] = {}
        self._filled = Event()
        self._preset_ids: dict[Task, int] = {}
        self._clocks: dict[str, SpanClock] = {}
        self._waits = True
        self.process = 0
        self._thread: Thread | None = None
        self._writer: Writer | None = None

    def _begin_in_child(self) -> None:
        # Another process: with a row, a thread and a connection of its own.
        if self._writer is not None:
            _inherited.append(self._writer)
            at_exit.remove(self)
        self._begin()

    def start(self) -> Writer:
        """Start the thread, unless it runs."""
        with self._lock:
            if self._writer is None:
                source = Source(self._items, self._going_on, self.traces, self._filled, Event())
                about = self._resource, self._exporters
                self._source = source
                self._writer = Writer(self.path, source, lambda: about, self._limits)
                self._thread = Thread(target=self._writer.work, name="dotflow-history", daemon=True)
                self._thread.start()
                self.process = self._writer.key
                at_exit.add(self)
            return self._writer

    # --- at exit ----------------------------------------------------------------------

    @property
    def bound(self) -> float:
        """Seconds that the exit may take for it."""
        return _BOUND

    def ask_to_end(self) -> None:
        """Ask for the rest to be written; do not wait."""
        if self._writer is not None:
            self._writer.close()

    def end_within(self, seconds: float) -> bool:
        """Wait until the rest is written; return whether it is."""
        at_exit.remove(self)
        thread = self._thread
        if thread is None:
            return True
        thread.join(seconds)
        if thread.is_alive():
            _logger.warning(
                "The history %r was not written within %.3g s: its disk is slow, or another "
                "program has locked it",
                str(self.path),
                seconds,
            )
            drop_counter.add(HISTORY, len(self._items))
        self._thread = self._writer = None
        drop_counter.tell()
        return not thread.is_alive()

    def open(self) -> None:
        """Ask for the file to be opened, and made where there is none; do not wait."""
        self.start()
        self._put(Flush(Event()))

    def flush(self, seconds: float = _BOUND) -> bool:
        """Write what was recorded until now; return whether that was done in time."""
        self.start()
        written = Event()
        self._put(Flush(written), matters=True)
        self._source.urgent.set()
        return written.wait(seconds)

    def close(self, seconds: float = _BOUND) -> bool:
        """Write the rest and close the file; return whether that was done in time."""
        self.ask_to_end()
        return self.end_within(seconds)

    # --- what happens -----------------------------------------------------------------

    def _put(self, item: Any, *, matters: bool = False) -> None:
        if self._writer is None:
            return  # closed
        if len(self._items) < self._room or (matters and len(self._items) < self._room + _RESERVE):
            self._items.append(item)
        else:
            drop_counter.add(HISTORY, 1)
        if not self._filled.is_set():
            self._filled.set()

    def run_started(self, run: Run, span: Span) -> None:
        """Record that a run begins; wait a moment until that is in the file."""
        writer = self.start()
        context = span.get_span_context()
        trace_id = context.trace_id or getrandbits(128)
        self.traces[trace_id] = run.id
        self._clocks[run.id] = SpanClock()
        written = Event()
        recorded = span if self.receives_spans and span.is_recording() else None
        ids = trace_id, context.span_id or getrandbits(64), context.trace_flags.sampled
        self._put(RunBegan(run, *ids, recorded, written), matters=True)
        self._source.urgent.set()
        # A step that ends the process at once must not hide its run. Where the disk is slow, it
        # may: no run waits for that.
        if self._waits and not writer.refused:
            self._waits = written.wait(PATIENCE)

    def run_finished(self, run: Run, error: tuple[str, str] | None) -> None:
        """Record that a run has ended, and why it failed: the type and the text."""
        # Not the clock's time of day, which may have been set back meanwhile.
        ended = int((run.started_at + (run.duration or 0.0)) * 1e9)
        self._clocks.pop(run.id, None)
        self._put(RunEnded(run, ended, error), matters=True)

    def task_started(self, run: Run, task: Task, span: Span) -> None:
        """Note that a task begins whose span does not cover it: it is recorded if it goes on.

        Of others the tracer knows what goes on.
        """
        self._open[task] = run.id, self._begun(run, task, span, {})
        if not self._filled.is_set():
            self._filled.set()

    def _now(self, run: Run) -> int:
        clock = self._clocks.get(run.id)
        return time_ns() if clock is None else clock.now()

    def _begun(self, run: Run, task: Task, span: Span, more: dict[str, Any]) -> OpenSpan:
        span_id = span.get_span_context().span_id
        if not span_id:
            span_id = self._preset_ids[task] = getrandbits(64)
        attributes = {
            names.TASK_ID: task.task_id,
            names.TASK_NAME: escape_unencodable(task.name),
            names.TASK_GROUP: escape_unencodable(task.group_name),
            names.TASK_INDEX: task.index,
            **more,
        }
        started = self._now(run) if task.ready_at is None else int(task.ready_at * 1e9)
        return OpenSpan(
            names.TASK_SPAN.format(attributes[names.TASK_NAME]), span_id, 0, started, 0, attributes
        )

    def task_ended(self, run: Run, task: Task, span: Span, failure: Failure | None) -> None:
        """Record that a task has ended, whose span does not cover it."""
        _, began = self._open.pop(task, (None, None))
        attributes: dict[str, Any] = {
            names.TASK_STATUS: names.COMPLETED if failure is None else names.FAILED,
            names.TASK_ATTEMPTS: task.attempt,
        }
        if failure is not None:
            attributes[names.ERROR_TYPE] = failure.error_type
            attributes[names.EXCEPTION_MESSAGE] = bounded(failure.message)
        if began is None:
            began = self._begun(run, task, span, {})
        self._preset_ids.pop(task, None)
        ended = max(began.started, self._now(run))
        self._put(TaskEnded(run.id, began, ended, attributes))

    def task_restored(self, run: Run, task: Task, span: Span) -> None:
        """Record that a task was restored, whose span does not cover it."""
        began = self._begun(run, task, span, {names.TASK_RESTORED: True})
        self._preset_ids.pop(task, None)
        attributes = {names.TASK_STATUS: names.COMPLETED, names.TASK_ATTEMPTS: 0}
        self._put(TaskEnded(run.id, began, began.started, attributes))

    def _going_on(self) -> dict[Any, tuple[str, Any]]:
        found: dict[Any, tuple[str, Any]] = {}
        if self.receives_spans:
            for tracer in list(self.tracers):
                found.update(tracer.open_tasks())
        found.update(self._open.copy())
        for span_id, (run_id, parent_id, started, number, sampled) in self._attempts.copy().items():
            flags, attributes = SAMPLED if sampled else 0, {names.ATTEMPT_NUMBER: number}
            began = OpenSpan(names.ATTEMPT_SPAN, span_id, parent_id, started, flags, attributes)
            found[span_id] = run_id, began
        return found

    def attempt_started(
        self, run: Run, span_id: int, parent_id: int, number: int, *, sampled: bool
    ) -> None:
        """Note that an attempt begins which has a span of its own."""
        # Most have ended before anybody asks what goes on.
        self._attempts[span_id] = run.id, parent_id, self._now(run), number, sampled
        if not self._filled.is_set():
            self._filled.set()

    def attempt_ended(self, span_id: int) -> None:
        """Note that an attempt has ended."""
        self._attempts.pop(span_id, None)

    def on_end(self, span: ReadableSpan) -> None:
        """Record a span that has ended, where it is of the trace of a run."""
        # Not the span, which is many objects that the garbage collector would look at again and
        # again.
        row = plain_row(span)
        if row is None:
            context = span.context
            if context is not None and context.trace_id in self.traces:
                self._put(span)
        elif row[2] in self.traces:
            if len(self._items) >= self._room or self._writer is None:
                self._put(row)  # which counts it
                return
            self._items.append(row)
            if not self._filled.is_set():
                self._filled.set()

    def event_logged(
        self,
        run_id: str | None,
        level: int,
        event: str,
        fields: Mapping[str, Any] | str,
        ids: SpanIds | None,
    ) -> None:
        """Record an event of `LogStructlog`.

        Args:
            run_id: That of its run; None: that of the trace.
            level: As in `logging`.
            event: The name of the event.
            fields: Its fields, or the line of JSON.
            ids: Those of the span that it belongs to.
        """
        trace_id, span_id = ("", "") if ids is None else (ids.trace_id, ids.span_id)
        self._put((LINE, run_id, trace_id, span_id, time_ns(), level, event, fields))

    def record_logged(self, record: logging.LogRecord) -> None:
        """Record what a step logs with the standard library."""
        if not self.traces:
            return
        bound = run_context()
        trace_id = getattr(record, names.TRACE_ID, "") or bound.get(names.TRACE_ID, "")
        if not trace_id:
            return
        span_id = getattr(record, names.SPAN_ID, "") or bound.get(names.SPAN_ID, "")
        fields: dict[str, Any] = {"logger": record.name}
        stack = stack_trace_of(record)
        if stack is not None:
            fields["exception"] = bounded(stack.rstrip("\n"))
        time = int(record.created * 1e9)
        text = bounded(record.getMessage())
        self._put((LINE, None, trace_id, span_id, time, record.levelno, text, fields))


class RecordedLogs(RootHandler):
    """Hands the records that reach the root logger to recorders.

    Attributes:
        recorders: The recorders.
    """

    def __init__(self) -> None:
        super().__init__()
        self.recorders: list[Recorder] = []

    def handle_record(self, record: logging.LogRecord) -> None:
        """Record it."""
        for recorder in self.recorders:
            recorder.record_logged(record)
