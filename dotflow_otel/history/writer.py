"""Writes what is recorded to the history, in a thread of its own."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections import OrderedDict
from contextlib import suppress
from secrets import randbits
from threading import Event
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from dotflow.core.process_mark import ProcessMark
from dotflow.core.timing import monotonic, system_time_ns
from dotflow_otel import conventions as names
from dotflow_otel._process import HISTORY, drop_counter
from dotflow_otel.history.segments import PARENT_IS_REMOTE, SAMPLED, SegmentBuilder
from dotflow_otel.history.store import (
    HistoryUnusable,
    Limits,
    in_use,
    is_damaged,
    open_to_write,
    set_aside,
    shrink,
    transaction,
)
from dotflow_otel.plain import escape_unencodable
from dotflow_otel.spans.record import record_of, scope_of

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from opentelemetry.trace import Span, SpanContext

    from dotflow.core.run import Run
    from dotflow_otel.history.segments import PlainColumns

_logger: Final = logging.getLogger("dotflow_otel")

# Seconds between two heartbeats, and how long a batch waits for more.
BEAT: Final = 1.0
_LINGER: Final = 0.05

# Seconds between two tries where the file cannot be written.
PAUSE: Final = 1.0

# Seconds between two warnings that it cannot be: on a full disk what is small may fit in between.
_BETWEEN_WARNINGS: Final = 60.0

# How many items are taken into one transaction: another process waits for its end.
_MOST_AT_ONCE: Final = 5_000

# The attributes by which tasks are counted.
_COUNTED: Final = (names.TASK_STATUS, names.TASK_ATTEMPTS)

# Spans and lines that come after a run's end still find it, for as many runs.
KEPT_AFTER_END: Final = 256

# After so many runs that ended the history is looked at for those that are too many.
BETWEEN_SHRINKS: Final = 20


class RunBegan(NamedTuple):
    """A run begins; `written` is set when that is in the file, or cannot be."""

    run: Run
    trace_id: int
    span_id: int
    sampled: bool
    span: Span | None
    written: Event


class Flush(NamedTuple):
    """Asks for `written` to be set when all that was recorded before is in the file."""

    written: Event


class RunEnded(NamedTuple):
    """A run has ended. The error is its type and text."""

    run: Run
    time: int
    error: tuple[str, str] | None


class OpenSpan(NamedTuple):
    """The beginning of a span that is not at hand in this process."""

    name: str
    span_id: int
    parent_id: int
    started: int
    flags: int
    attributes: dict[str, Any]


class TaskEnded(NamedTuple):
    """A task has ended whose span does not cover it."""

    run_id: str
    began: OpenSpan
    time: int
    attributes: dict[str, Any]


# The first item of a plain tuple that is a log line. Others are spans, as `plain_row` returns them:
# their first item is their name, and no span of this project is called so. After it: the id of the
# run, or None: by the trace; the ids of trace and span in hex; time, level, event and fields.
LINE: Final = "line"


class Source(NamedTuple):
    """What the writer shares with the threads that record.

    Attributes:
        items: What was recorded.
        going_on: Returns the tasks and attempts that go on: by what distinguishes each, the id
            of its run, and its span or the beginning of that.
        traces: The run that last began in each trace.
        filled: Set when there is something to do.
        urgent: Set when that should not wait for more.
    """

    items: deque[Any]
    going_on: Callable[[], dict[Any, tuple[str, Any]]]
    traces: dict[int, str]
    filled: Event
    urgent: Event


class _LiveRun:
    """A run of this process, and what of it is to be written next."""

    def __init__(self, run_id: str, key: int, trace_id: int, span_id: int) -> None:
        self.run_id = run_id
        self.key = key
        self.trace_id = trace_id
        self.span_id = span_id
        self.segment = SegmentBuilder()
        self.open = 0
        self.completed = 0
        self.failed = 0
        self.restored = 0
        self.retried = 0
        self.ended: tuple[int, str, str | None, str | None] | None = None
        self.is_over = False

    def count(self, status: str, attempts: int, *, restored: bool, times: int = 1) -> None:
        """Count a task that has ended, or several that ended alike."""
        if restored:
            self.restored += times
            return
        self.retried += max(attempts - 1, 0) * times
        if status == names.COMPLETED:
            self.completed += times
        else:
            self.failed += times

    def counts(self) -> tuple[int, ...]:
        begun = self.completed + self.failed + self.open
        return begun, self.completed, self.failed, self.restored, self.retried


class _LiveTrace:
    """The runs of one trace: a step may start one, and one caller's span be above several."""

    def __init__(self) -> None:
        self.runs: list[_LiveRun] = []
        self.last = ""

    def add(self, live: _LiveRun) -> None:
        self.runs.append(live)
        self.last = live.run_id

    def owner(self) -> _LiveRun:
        """Return the run that what comes now is recorded with: the last of those that go on."""
        return next((live for live in reversed(self.runs) if not live.is_over), self.runs[-1])


_INSERT_PROCESS: Final = (
    "INSERT OR REPLACE INTO processes "
    "(key, host, boot, namespace, pid, born, resource, exporters, opened, beat) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_INSERT_RUN: Final = (
    "INSERT OR IGNORE INTO runs (key, id, process, workflow_id, workflow, mode, started, tasks, "
    "trace_id, span_id, sampled) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_INSERT_SEGMENT: Final = "INSERT INTO segments (run, body) VALUES (?, ?)"
_UPDATE_RUN: Final = (
    "UPDATE runs SET begun = ?, completed = ?, failed = ?, restored = ?, retried = ?, "
    "size = size + ? WHERE key = ?"
)
_END_RUN: Final = "UPDATE runs SET ended = ?, status = ?, error_type = ?, error = ? WHERE key = ?"
_BEAT: Final = "UPDATE processes SET beat = ? WHERE key = ?"
_CLOSE: Final = "UPDATE processes SET beat = ?, closed = ? WHERE key = ?"


class Writer:
    """What the thread does.

    Args:
        path: The file.
        source: What is recorded.
        about: The resource of the process, and the names of the exporters that note what they
            deliver.
        limits: How much the history keeps.
    """

    def __init__(
        self,
        path: Path,
        source: Source,
        about: Callable[[], tuple[dict[str, Any], Sequence[str]]],
        limits: Limits,
    ) -> None:
        self._path = path
        self._source = source
        self._about = about
        self._limits = limits
        self._mark = ProcessMark.of_this()
        self.key = randbits(62)
        self._opened_at = system_time_ns()
        self._connection: sqlite3.Connection | None = None
        self._runs: OrderedDict[str, _LiveRun] = OrderedDict()
        # The same by the ids of their spans: runs may share a trace, and then one has the spans.
        self._roots: dict[int, _LiveRun] = {}
        # Those whose beginnings were taken from the items: the recorder knows of later ones.
        self._traces: dict[int, _LiveTrace] = {}
        self._ended: OrderedDict[str, None] = OrderedDict()
        # The rows of runs that go on, to be written again where the file is made again.
        self._rows: dict[str, tuple[Any, ...]] = {}
        self._pending: list[tuple[str, list[tuple[Any, ...]]]] = []
        self._pending_items = 0
        # Who waits: for a run's beginning, and for all that was recorded.
        self._written: list[Event] = []
        self._flushes: list[Event] = []
        self._known_open: set[Any] = set()
        self._beat_at = 0.0
        self._since_shrink = BETWEEN_SHRINKS
        self._warned_at: float | None = None
        self._is_closing = Event()
        self.refused = False
        self.opened = Event()

    def work(self) -> None:
        """Write until asked to close."""
        while not self._is_closing.is_set():
            self._guarded(self._work_once)
        self._guarded(self._close)

    def close(self) -> None:
        """Ask for the rest to be written, and the file to be closed; do not wait."""
        self._is_closing.set()
        self._source.urgent.set()
        self._source.filled.set()

    def _guarded(self, function: Callable[[], None]) -> None:
        try:
            function()
        except Exception:
            _logger.exception("the history could not be written")
            self._drop_pending()

    def _work_once(self) -> None:
        source = self._source
        if source.filled.wait(self._until_beat()):
            source.filled.clear()
            source.urgent.wait(_LINGER)
        source.urgent.clear()
        self._write()

    def _until_beat(self) -> float | None:
        if not self._rows and not self._pending:
            return None
        return max(self._beat_at + BEAT - monotonic(), 0.0)

    def _write(self) -> None:
        if self.refused:
            self._drop_all()
            return
        is_due = bool(self._rows) and monotonic() >= self._beat_at + BEAT
        if not self._pending:
            self._collect()
        if not (self._pending or is_due or self._flushes):
            return
        try:
            self._commit()
        except HistoryUnusable as error:
            self._refuse(error)
        except (sqlite3.Error, OSError) as error:
            self._fail(error)

    # --- what was recorded ---------------------------------------------------------------

    def _collect(self) -> None:
        # Those that go on come first: what has ended since is among the items then.
        going_on = self._source.going_on()
        items = self._source.items
        batch = [items.popleft() for _ in range(min(len(items), _MOST_AT_ONCE))]
        self._pending_items = len(batch)
        inserts: list[tuple[Any, ...]] = []
        touched: dict[str, _LiveRun] = {}
        # Most are spans that are like the one before, and of the same run.
        name, trace_id = None, 0
        alike: list[tuple[Any, ...]] = []
        for item in batch:
            if type(item) is tuple and item[1] == name and item[2] == trace_id:
                alike.append(item)
                continue
            try:
                if type(item) is tuple and item[0] is not LINE:
                    _, name, trace_id, *_ = item
                    live = self._live_in(trace_id, touched)
                    alike = [] if live is None else live.segment.like(item)
                    alike.append(item)
                else:
                    # After it, spans may be those of another run.
                    name = None
                    self._take(item, inserts, touched)
            except Exception:
                _logger.exception("a record of the history could not be made")
                drop_counter.add(HISTORY, 1)
        self._take_open(going_on, touched)
        if touched:
            self._prepare(inserts, touched)

    def _live_in(self, trace_id: int, touched: dict[str, _LiveRun]) -> _LiveRun | None:
        trace = self._traces.get(trace_id)
        if trace is None:
            return None
        live = trace.owner()
        touched[live.run_id] = live
        return live

    def _take(
        self, item: Any, inserts: list[tuple[Any, ...]], touched: dict[str, _LiveRun]
    ) -> None:
        if not isinstance(item, tuple):
            live = self._live_in(item.context.trace_id, touched)
            if live is not None:
                _add_full(live, item)
                self._count_one(item, touched)
            return
        if isinstance(item, RunBegan):
            inserts.append(self._begin(item))
            touched[item.run.id] = self._runs[item.run.id]
            return
        if isinstance(item, Flush):
            self._flushes.append(item.written)
            return
        if item[0] is LINE:
            self._take_line(*item[1:], touched=touched)
            return
        if isinstance(item, RunEnded):
            live = self._runs.get(item.run.id)
            if live is not None:
                touched[live.run_id] = live
                live.is_over = True
                live.ended = (item.time, str(item.run.outcome), *(item.error or (None, None)))
        elif isinstance(item, TaskEnded):
            live = self._runs.get(item.run_id)
            if live is not None:
                touched[live.run_id] = live
                live.segment.add_open(*_below(live, item.began))
                live.segment.add_outcome(item.began.span_id, item.time, item.attributes)
                _count(live, {**item.began.attributes, **item.attributes})

    def _count_one(self, span: Any, touched: dict[str, _LiveRun]) -> None:
        owner = None if span.parent is None else self._roots.get(span.parent.span_id)
        if owner is not None and names.TASK_STATUS in span.attributes:
            touched[owner.run_id] = owner
            _count(owner, span.attributes)

    def _take_line(
        self,
        run_id: str | None,
        trace_id: str,
        span_id: str,
        *line: Any,
        touched: dict[str, _LiveRun],
    ) -> None:
        if run_id is None:
            live = self._live_in(int(trace_id or "0", 16), touched)
        else:
            live = self._runs.get(run_id)
        if live is not None:
            touched[live.run_id] = live
            time, level, event, fields = line
            live.segment.add_line(time, level, event, fields, int(span_id or "0", 16))

    def _take_open(
        self, going_on: dict[Any, tuple[str, Any]], touched: dict[str, _LiveRun]
    ) -> None:
        """Write the beginning of what goes on, once."""
        for live in self._runs.values():
            live.open = 0
        known, self._known_open = self._known_open, set()
        for key, (run_id, span) in going_on.items():
            live_run = self._runs.get(run_id)
            if live_run is None or run_id not in self._rows:
                continue
            live_run.open += key.__class__ is not int
            self._known_open.add(key)
            is_plain = isinstance(span, OpenSpan)
            if key in known or not (is_plain or span.is_recording()):
                continue
            touched[run_id] = live_run
            if is_plain:
                live_run.segment.add_open(*_below(live_run, span))
            else:
                _add_open(live_run, span)

    def _begin(self, item: RunBegan) -> tuple[Any, ...]:
        run, key = item.run, randbits(62)
        live = self._runs[run.id] = self._roots[item.span_id] = _LiveRun(
            run.id, key, item.trace_id, item.span_id
        )
        self._traces.setdefault(item.trace_id, _LiveTrace()).add(live)
        self._written.append(item.written)
        # Its first task begins after this, which nobody notifies of.
        self._source.filled.set()
        row = (
            key,
            run.id,
            self.key,
            escape_unencodable(str(run.workflow_id)),
            escape_unencodable(run.name),
            run.mode,
            int(run.started_at * 1e9),
            run.task_count,
            item.trace_id.to_bytes(16, "big"),
            _signed(item.span_id),
            int(item.sampled),
        )
        self._rows[run.id] = row
        if item.span is not None:
            _add_open(live, item.span)
        return row

    def _prepare(self, inserts: list[tuple[Any, ...]], touched: dict[str, _LiveRun]) -> None:
        segments, updates, ends = [], [], []
        plain = {run_id: [*live.segment.plain_columns()] for run_id, live in touched.items()}
        for columns in [*plain.values()]:
            for alike in columns:
                self._count_plain(alike, touched)
        for run_id, live in touched.items():
            size = 0
            if not live.segment.is_empty:
                body = live.segment.packed(plain.get(run_id, ()))
                live.segment = SegmentBuilder()
                segments.append((live.key, body))
                size = len(body)
            updates.append((*live.counts(), size, live.key))
            if live.ended is not None:
                ends.append((*live.ended, live.key))
                live.ended = None
                self._end(run_id)
        prepared = (
            (_INSERT_RUN, inserts),
            (_INSERT_SEGMENT, segments),
            (_UPDATE_RUN, updates),
            (_END_RUN, ends),
        )
        self._pending = [(statement, rows) for statement, rows in prepared if rows]

    def _count_plain(self, alike: PlainColumns, touched: dict[str, _LiveRun]) -> None:
        """Count the tasks among spans that have attributes alone."""
        if not set(_COUNTED) <= set(alike.keys):
            return
        restored = names.TASK_RESTORED in alike.keys
        for (parent, status, attempts), times in alike.counts(*_COUNTED):
            owner = self._roots.get(parent)
            if owner is not None:
                touched[owner.run_id] = owner
                owner.count(status, attempts, restored=restored, times=times)

    def _end(self, run_id: str) -> None:
        self._rows.pop(run_id, None)
        self._since_shrink += 1
        self._ended[run_id] = None
        while len(self._ended) > KEPT_AFTER_END:
            oldest, _ = self._ended.popitem(last=False)
            gone = self._runs.pop(oldest)
            self._roots.pop(gone.span_id, None)
            self._forget_in_trace(gone)

    def _forget_in_trace(self, gone: _LiveRun) -> None:
        trace = self._traces[gone.trace_id]
        trace.runs.remove(gone)
        if trace.runs:
            return
        del self._traces[gone.trace_id]
        if self._source.traces.get(gone.trace_id) == trace.last:  # else another has begun
            del self._source.traces[gone.trace_id]

    # --- the file ------------------------------------------------------------------------

    def _commit(self) -> None:
        connection = self._connected()
        now = system_time_ns()
        with transaction(connection):
            for statement, rows in self._pending:
                connection.executemany(statement, rows)
            connection.execute(_BEAT, (now, self.key))
        self._beat_at = monotonic()
        self._pending = []
        self._pending_items = 0
        self._notify(self._written)
        self._notify(self._flushes)
        if self._since_shrink >= BETWEEN_SHRINKS:
            self._since_shrink = 0
            shrink(connection, self._limits)

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            connection = open_to_write(self._path)
            resource, exporters = self._about()
            columns = json.dumps(resource, default=str), json.dumps(list(exporters))
            row = (self.key, *self._mark, *columns, self._opened_at, system_time_ns())
            try:
                with transaction(connection):
                    connection.execute(_INSERT_PROCESS, row)
                    connection.executemany(_INSERT_RUN, list(self._rows.values()))
            except BaseException:
                connection.close()
                raise
            self._connection = connection
            self.opened.set()
        return self._connection

    def _refuse(self, error: HistoryUnusable) -> None:
        _logger.warning("%s Nothing is recorded.", error)
        self.refused = True
        self.opened.set()
        self._drop_pending()

    def _fail(self, error: sqlite3.Error | OSError) -> None:
        self._notify(self._written)
        now = monotonic()
        if self._warned_at is None or now > self._warned_at + _BETWEEN_WARNINGS:
            self._warned_at = now
            _logger.warning("The history %r cannot be written: %s", str(self._path), error)
        self._disconnect()
        if isinstance(error, sqlite3.Error) and is_damaged(error):
            with suppress(OSError):
                set_aside(self._path)
            return
        # What was collected is tried again; meanwhile the rest waits, or does not fit in.
        self._is_closing.wait(PAUSE)

    @staticmethod
    def _notify(waiting: list[Event]) -> None:
        while waiting:
            waiting.pop().set()

    def _drop_pending(self) -> None:
        self._notify(self._written)
        self._notify(self._flushes)
        drop_counter.add(HISTORY, self._pending_items)
        self._pending = []
        self._pending_items = 0

    def _drop_all(self) -> None:
        items = self._source.items
        while items:
            item = items.popleft()
            if isinstance(item, (RunBegan, Flush)):
                item.written.set()
            if not isinstance(item, Flush):
                drop_counter.add(HISTORY, 1)
        self._rows.clear()
        self._source.traces.clear()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with in_use, suppress(sqlite3.Error):
                connection.close()

    def _close(self) -> None:
        while self._source.items or self._pending:
            self._write()
            if self._pending:
                # The last try has failed.
                self._drop_pending()
                self._drop_all()
        if self._connection is not None:
            # Runs that go on, in a thread that the exit does not wait for, are lost with it.
            with in_use, suppress(sqlite3.Error):
                self._connection.execute(_CLOSE, (system_time_ns(), not self._rows, self.key))
        self._disconnect()


def _below(live: _LiveRun, began: OpenSpan) -> OpenSpan:
    # The span of a task that is not recorded does not know its parent.
    return began if began.parent_id else began._replace(parent_id=live.span_id)


def _count(live: _LiveRun, attributes: Mapping[str, Any]) -> None:
    restored = bool(attributes.get(names.TASK_RESTORED))
    live.count(attributes[names.TASK_STATUS], attributes[names.TASK_ATTEMPTS], restored=restored)


def _add_open(live: _LiveRun, span: Any) -> None:
    context, parent = span.get_span_context(), span.parent
    flags = _flags(context, parent)
    parent_id = 0 if parent is None else parent.span_id
    # A copy in one step: the run may add to them at any time.
    attributes = dict(span.attributes or {})
    live.segment.add_open(span.name, context.span_id, parent_id, span.start_time, flags, attributes)


def _add_full(live: _LiveRun, span: Any) -> None:
    scope = scope_of(span)
    record = record_of(span, None if scope is None or scope.name == names.SCOPE else scope)
    parent_id = 0 if record.parent is None else record.parent.span_id
    live.segment.add_full(
        record.name,
        record.context.span_id,
        parent_id,
        record.started,
        record.ended,
        _flags(span.get_span_context(), span.parent),
        record.attributes,
        record.kind,
        record.status,
        [(each.name, each.timestamp, each.attributes) for each in record.events],
        [
            (f"{each.context.trace_id:032x}", each.context.span_id, each.attributes)
            for each in record.links
        ],
        None if record.scope is None else (*record.scope[:3], dict(record.scope.attributes)),
        record.context.state,
    )


def _flags(own: SpanContext, above: SpanContext | None) -> int:
    sampled = own.trace_flags & SAMPLED
    return sampled | PARENT_IS_REMOTE if above is not None and above.is_remote else sampled


def _signed(number: int) -> int:
    # SQLite's integers have a sign.
    return number - (1 << 64) if number >> 63 else number
