"""Sends the backend what a process that was killed could not send of its runs."""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
from contextlib import closing
from time import sleep
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
)

from dotflow import __version__
from dotflow.core.process_mark import SILENCE, ProcessMark
from dotflow.core.timing import monotonic, system_time_ns
from dotflow_otel import conventions as names
from dotflow_otel._process import at_exit
from dotflow_otel.history.deliveries import read_ids
from dotflow_otel.history.reader import History
from dotflow_otel.history.segments import PARENT_IS_REMOTE, SAMPLED
from dotflow_otel.history.store import (
    LOST,
    HistoryUnusable,
    in_use,
    open_to_write,
    transaction,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from dotflow_otel.history.deliveries import Deliveries
    from dotflow_otel.history.reader import RunInfo
    from dotflow_otel.history.recorder import Recorder
    from dotflow_otel.history.segments import Scope, Span
    from dotflow_otel.sdk.span_pipeline import SpanPipeline

_logger: Final = logging.getLogger("dotflow_otel")

# How many spans are sent at once.
_MOST_AT_ONCE: Final = 256

# Seconds that go on once the interpreter exits, and that the exit may take for it in all.
_AT_EXIT: Final = 2.0
_BOUND: Final = 5.0

# Seconds after the silence of a process by which it is looked for again.
_MARGIN: Final = 1.0

_WHY: Final = "the process of the run is gone"


class Outlets(NamedTuple):
    """Where what is recovered goes.

    Attributes:
        pipelines: This project's own, which note what they deliver.
        deliveries: Where they note it.
        replay: Gives spans to the processors of another provider.
        lost: Called for each run that is found to be lost, once, with its spans.
    """

    pipelines: Sequence[SpanPipeline] = ()
    deliveries: Deliveries | None = None
    replay: Callable[[Sequence[ReadableSpan]], None] | None = None
    lost: Callable[[RunInfo, Sequence[Span]], None] = lambda _run, _spans: None


class Sending(NamedTuple):
    """What was sent of a run whose process was killed.

    Attributes:
        run: The run, which had ended or is lost.
        spans: How many spans were sent; where there are several backends, to the one that got most.
        is_delivered: Whether these are all that were missing, at every backend.
    """

    run: RunInfo
    spans: int
    is_delivered: bool


class Recovery:
    """Looks for runs that are lost, in a thread of its own, and sends what is missing of them.

    Args:
        recorder: Records the runs of this process in the same history.
        outlets: Where what is recovered goes.

    Attributes:
        sendings: What was sent, in the order of the runs' starts.
    """

    def __init__(self, recorder: Recorder, outlets: Outlets) -> None:
        self.sendings: list[Sending] = []
        self._recorder = recorder
        self._path = recorder.path
        self._outlets = outlets
        self._until: float | None = None
        self._is_done = threading.Event()
        self._thread = threading.Thread(target=self._work, name="dotflow-recovery", daemon=True)

    def start(self) -> None:
        """Begin; do not wait."""
        self._begin()
        self._thread.start()

    def wait(self, seconds: float) -> bool:
        """Wait until all has been sent that is known to be lost; return whether it has."""
        # A forked child has none of its parent's threads, and waits for nothing.
        return not self._thread.is_alive() or self._is_done.wait(seconds)

    @property
    def bound(self) -> float:
        """Seconds that the exit may take for it."""
        return _BOUND

    def ask_to_end(self) -> None:
        """Ask it to end soon: what is left, the next process sends."""
        self._until = monotonic() + _AT_EXIT

    def end_within(self, seconds: float) -> bool:
        """Wait for its end."""
        return self.wait(seconds)

    def _work(self) -> None:
        self._look()
        doubt = self._seconds_of_doubt()
        if doubt is not None and self._until is None:
            sleep(doubt)
            self._begin()
            self._look()

    def _begin(self) -> None:
        self._is_done.clear()
        for pipeline in self._outlets.pipelines:
            pipeline.hold_open()
        at_exit.add(self)

    def _look(self) -> None:
        try:
            self.recover()
        except HistoryUnusable:
            _logger.debug("there is no history to recover", exc_info=True)  # the writer warns
        except Exception as error:  # noqa: BLE001 - telemetry never breaks a program
            _logger.warning("The history %r could not be recovered: %s", str(self._path), error)
        finally:
            at_exit.remove(self)
            for pipeline in self._outlets.pipelines:
                pipeline.release()
            self._is_done.set()

    def _seconds_of_doubt(self) -> float | None:
        """Return after how long it is known which processes elsewhere are gone; None: it is now.

        One that was killed as this one began, as a container is that another one takes the place
        of, was not silent for long enough when it was first looked for.
        """
        query = (
            "SELECT host, boot, namespace, pid, born, beat FROM processes "
            "WHERE NOT closed AND key != ?"
        )
        try:
            with closing(open_to_write(self._path)) as connection, in_use:
                rows = connection.execute(query, (self._recorder.process,)).fetchall()
        except (HistoryUnusable, sqlite3.Error, OSError):
            return None
        beats: list[int] = [beat for *mark, beat in rows if _is_in_doubt(ProcessMark(*mark), beat)]
        if not beats:
            return None
        return max(max(beats) + SILENCE - system_time_ns(), 0) / 10**9 + _MARGIN

    def recover(self) -> list[RunInfo]:
        """Send what the processes that are gone have not sent; return the runs that were lost.

        Raises:
            HistoryUnusable: There is no history, or this version cannot use it.
            sqlite3.Error: It cannot be written.
        """
        lost: list[RunInfo] = []
        # What this process claims is its own as long as it is known to live.
        self._recorder.flush()
        with closing(open_to_write(self._path)) as connection, History(self._path) as history:
            for row in self._claimed(connection):
                key, resource, exporters = row
                ended, found = _runs_of(connection, history, key)
                spans_of = {run.key: history.spans(run) for run in found}
                for run in found:
                    self._outlets.lost(run, spans_of[run.key])
                lost += found
                gone = _Gone(connection, Resource(json.loads(resource)), json.loads(exporters))
                done = self._send(gone, history, ended, self._to_send(connection, history, key))
                _settle(connection, key, done=done)
        return lost

    def _claimed(self, connection: sqlite3.Connection) -> Iterator[tuple[int, str, str]]:
        """Claim the processes that are gone, one by one: no other process takes them then."""
        own = self._recorder.process
        query = "SELECT key FROM processes WHERE NOT closed AND key != ? ORDER BY opened"
        with in_use:
            rows = connection.execute(query, (own,)).fetchall()
        for (key,) in rows:
            with transaction(connection):
                row = _claim(connection, key, own)
            if row is not None:
                yield row

    def _to_send(self, connection: sqlite3.Connection, history: History, key: int) -> list[RunInfo]:
        # Also those that an earlier process found to be lost, and could not send.
        query = "SELECT id FROM runs WHERE process = ? AND status = 'lost' AND sampled"
        ids = set(_ids(connection, query, key))
        return [run for run in reversed(history.runs(status=LOST)) if run.id in ids]

    def _send(
        self, gone: _Gone, history: History, ended: Sequence[RunInfo], lost: Sequence[RunInfo]
    ) -> bool:
        outlets = self._outlets
        if not outlets.pipelines:
            if outlets.replay is not None:
                for run in lost:
                    spans = list(gone.missing(run, history.spans(run), None))
                    outlets.replay(spans)
                    self.sendings.append(Sending(run, len(spans), is_delivered=True))
            return True
        sent = [
            self._send_by(pipeline, gone, history, ended, lost) for pipeline in outlets.pipelines
        ]
        for run in (*ended, *lost):
            counts = [each[run.key] for each in sent if run.key in each]
            most = max((count or 0 for count in counts), default=0)
            is_delivered = None not in counts
            if most or not is_delivered:
                self.sendings.append(Sending(run, most, is_delivered))
        return all(None not in each.values() for each in sent)

    def _send_by(
        self,
        pipeline: SpanPipeline,
        gone: _Gone,
        history: History,
        ended: Sequence[RunInfo],
        lost: Sequence[RunInfo],
    ) -> dict[int, int | None]:
        """Return how many spans of each run were sent, by the runs' keys; None: not all."""
        # Of runs that ended, what was not sent is known only where that was noted.
        of_ended = ended if pipeline.name in gone.exporters else ()
        sent: dict[int, int | None] = {}
        is_taken = True
        for run in (*of_ended, *lost):
            if self._is_late():
                sent[run.key] = None
                continue
            spans = list(gone.missing(run, history.spans(run), pipeline.name))
            is_taken = is_taken and self._send_run(pipeline, run, spans)
            sent[run.key] = len(spans) if is_taken or not spans else None
        return sent

    def _is_late(self) -> bool:
        return self._until is not None and monotonic() > self._until

    def _send_run(
        self, pipeline: SpanPipeline, run: RunInfo, spans: Sequence[ReadableSpan]
    ) -> bool:
        if self._outlets.deliveries is not None:
            self._outlets.deliveries.recovering.add(int(run.trace_id, 16))
        for start in range(0, len(spans), _MOST_AT_ONCE):
            if self._is_late() or not pipeline.export_now(spans[start : start + _MOST_AT_ONCE]):
                return False
        return True


def _is_in_doubt(mark: ProcessMark, beat: int) -> bool:
    return mark.is_elsewhere and not mark.is_gone(beat)


def _claim(connection: sqlite3.Connection, key: int, process: int) -> tuple[int, str, str] | None:
    row = connection.execute(
        "SELECT host, boot, namespace, pid, born, beat, resource, exporters, closed, recovery "
        "FROM processes WHERE key = ?",
        (key,),
    ).fetchone()
    if row is None:
        return None
    *mark, beat, resource, exporters, closed, claimed_by = row
    if closed or not ProcessMark(*mark).is_gone(beat):
        return None
    if claimed_by not in {None, process} and _is_at_work(connection, claimed_by):
        return None
    connection.execute("UPDATE processes SET recovery = ? WHERE key = ?", (process, key))
    return key, resource, exporters or "[]"


def _is_at_work(connection: sqlite3.Connection, process: int) -> bool:
    row = connection.execute(
        "SELECT host, boot, namespace, pid, born, beat, closed FROM processes WHERE key = ?",
        (process,),
    ).fetchone()
    if row is None or row[-1]:
        return False
    *mark, beat, _ = row
    return not ProcessMark(*mark).is_gone(beat)


def _runs_of(
    connection: sqlite3.Connection, history: History, process: int
) -> tuple[list[RunInfo], list[RunInfo]]:
    """Return the sampled runs of a process that had ended, and those that are lost from now on."""
    with transaction(connection):
        query = "SELECT id FROM runs WHERE process = ? AND {} ORDER BY started"
        ended = _ids(connection, query.format("ended IS NOT NULL AND sampled"), process)
        lost = _ids(connection, query.format("status = 'running'"), process)
        connection.execute(
            "UPDATE runs SET status = ? WHERE process = ? AND status = 'running'", (LOST, process)
        )
    known = {run.id: run for run in history.runs()}
    return [known[run_id] for run_id in ended], [known[run_id] for run_id in lost]


def _ids(connection: sqlite3.Connection, query: str, process: int) -> list[str]:
    with in_use:
        return [run_id for (run_id,) in connection.execute(query, (process,)).fetchall()]


def _settle(connection: sqlite3.Connection, key: int, *, done: bool) -> None:
    statement = (
        "UPDATE processes SET closed = 1, recovery = NULL WHERE key = ?"
        if done
        else "UPDATE processes SET recovery = NULL WHERE key = ?"
    )
    with in_use:
        connection.execute(statement, (key,))


class _Gone:
    """A process that is gone, and what it and those that recovered it have sent."""

    def __init__(
        self, connection: sqlite3.Connection, resource: Resource, exporters: Sequence[str]
    ) -> None:
        self.exporters = exporters
        self._connection = connection
        self._resource = resource
        self._known: dict[str | None, tuple[set[int], set[int]]] = {}

    def missing(
        self, run: RunInfo, spans: Sequence[Span], exporter: str | None
    ) -> Iterator[ReadableSpan]:
        """Return the spans of a run that were not delivered, those in flight closed.

        Args:
            run: The run.
            spans: All its spans.
            exporter: By which exporter; None: by one that did not note it.
        """
        sent, in_doubt = self._noted(exporter)
        for span in spans:
            is_root = span.span_id == run.span_id
            if not span.flags & SAMPLED or span.span_id in sent:
                continue
            # What was on its way when the process was killed may have arrived. It is not sent
            # twice, but for the span of the run itself, without which nobody finds the rest.
            if span.span_id in in_doubt and not is_root:
                continue
            is_doubtful = span.span_id in in_doubt or not self.exporters
            yield self._readable(run, span, is_doubtful=is_doubtful)

    def _noted(self, exporter: str | None) -> tuple[set[int], set[int]]:
        """Return the spans that an exporter delivered, and those of which nobody knows."""
        found = self._known.get(exporter)
        if found is None:
            sent: set[int] = set()
            in_doubt: set[int] = set()
            query = "SELECT delivered, spans FROM sends WHERE exporter = ?"
            with in_use:
                rows = self._connection.execute(query, (exporter,)).fetchall()
            for delivered, noted in rows:
                if delivered is None:
                    in_doubt.update(read_ids(noted))
                elif delivered:
                    sent.update(read_ids(noted))
            found = self._known[exporter] = sent, in_doubt
        return found

    def _readable(self, run: RunInfo, span: Span, *, is_doubtful: bool) -> ReadableSpan:
        attributes = dict(span.attributes)
        status = Status(StatusCode(span.status[0]), span.status[1])
        ended = span.ended
        if ended is None:
            ended = max(run.beat, span.started)
            attributes[names.ERROR_TYPE] = names.RUN_LOST
            status = Status(StatusCode.ERROR, _WHY)
            if span.span_id == run.span_id:
                attributes[names.WORKFLOW_STATUS] = names.LOST
        if is_doubtful:
            attributes[names.RECOVERED] = True
        trace_id, flags = int(run.trace_id, 16), TraceFlags(span.flags & SAMPLED)
        state = TraceState.from_header([span.state]) if span.state else None
        parent = None
        if span.parent_id:
            is_remote = bool(span.flags & PARENT_IS_REMOTE)
            parent = SpanContext(trace_id, span.parent_id, is_remote, flags, state)
        return ReadableSpan(
            span.name,
            SpanContext(
                trace_id, span.span_id, is_remote=False, trace_flags=flags, trace_state=state
            ),
            parent,
            resource=self._resource,
            attributes=attributes,
            events=[Event(each.name, dict(each.attributes), each.time) for each in span.events],
            links=[
                Link(
                    SpanContext(
                        int(each.trace_id, 16), each.span_id, is_remote=True, trace_flags=flags
                    ),
                    dict(each.attributes),
                )
                for each in span.links
            ],
            kind=SpanKind(span.kind),
            status=status,
            start_time=span.started,
            end_time=ended,
            instrumentation_scope=_scope(span.scope),
        )


def _scope(scope: Scope | None) -> InstrumentationScope:
    if scope is None:
        return InstrumentationScope(names.SCOPE, __version__)
    about: list[Any] = [scope.name, scope.version, scope.schema_url]
    if scope.attributes:  # which came with a later SDK than the oldest one
        about.append(dict(scope.attributes))
    return InstrumentationScope(*about)
