"""Reads the history: runs, their spans and log lines, and what was in flight where one was lost."""

from __future__ import annotations

import json
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from dotflow.core.arguments import check_file, strict_arguments
from dotflow.core.exception import DotflowError
from dotflow.core.process_mark import ProcessMark
from dotflow_otel import conventions as names
from dotflow_otel.history.place import default_path, history_path
from dotflow_otel.history.segments import LogLine, Outcome, Span, unpacked
from dotflow_otel.history.store import LOST, RUNNING, in_use, open_to_read, unreadable
from dotflow_otel.plain import escape_unencodable

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Sequence

_ERROR: Final = 2
_LATEST: Final = "latest"
_FAILED: Final = "failed"

# How many runs an ambiguous reference names.
_SHOWN: Final = 5
# And how much of their names.
_NAME: Final = 40

# The shortest prefix of an id that is looked for: a shorter one is more likely a word.
_SHORTEST: Final = 2

# SQLite's largest integer: no history has more runs.
_LARGEST: Final = (1 << 63) - 1


class RunNotFound(DotflowError, LookupError):
    """No run of the history is meant, or several may be."""

    def __init__(self, reference: str = "", found: Sequence[RunInfo] = ()) -> None:
        hint = f"Give the beginning of a run's or a trace's id, {_LATEST!r}, or {_FAILED!r}."
        if found:
            ids = ", ".join(f"{run.id} ({run.workflow[:_NAME]})" for run in found[:_SHOWN])
            more = ", ..." if len(found) > _SHOWN else ""
            super().__init__(f"{reference!r} may be any of {ids}{more}: give more of the id.")
        else:
            super().__init__(f"The history has no run {reference!r}. {hint}")


class RunInfo(NamedTuple):
    """What the history knows of a run, but for its spans and lines.

    Attributes:
        id: Of this run alone.
        workflow_id: The id of the workflow, which several runs may share.
        workflow: The name of the workflow.
        mode: The mode as it ran.
        status: `running`, `completed`, `failed`, or `lost`: its process is gone.
        started: Nanoseconds since the epoch, as all times.
        ended: Likewise; None where it has not, or was lost.
        tasks: How many tasks it has.
        begun: How many of them ran, or run.
        completed: How many ran and completed.
        failed: How many failed.
        restored: How many were taken from a checkpoint.
        retried: How many attempts were followed by another.
        error_type: What made it fail, if it has.
        error: The text of that.
        trace_id: 32 digits in hex.
        span_id: That of its own span.
        is_sampled: Whether its spans are exported.
        host: The machine.
        pid: The number of the process.
        beat: The last heartbeat of the process.
        size: How many bytes the spans and lines take.
        key: Distinguishes the run from the others of this file.
    """

    id: str
    workflow_id: str
    workflow: str
    mode: str
    status: str
    started: int
    ended: int | None
    tasks: int
    begun: int
    completed: int
    failed: int
    restored: int
    retried: int
    error_type: str | None
    error: str | None
    trace_id: str
    span_id: int
    is_sampled: bool
    host: str
    pid: int
    beat: int
    size: int
    key: int

    @property
    def duration(self) -> float:
        """Seconds until the end, or until the last heartbeat where there is none."""
        return max((self.ended or self.beat) - self.started, 0) / 1e9

    @property
    def in_flight(self) -> int:
        """How many tasks go on, or went on when the run was lost."""
        return 0 if self.ended else max(self.begun - self.completed - self.failed, 0)

    @property
    def skipped(self) -> int:
        """How many tasks did not run, of a run that has ended."""
        return max(self.tasks - self.begun - self.restored, 0) if self.ended else 0


class Recorded(NamedTuple):
    """A part of what was recorded of a run.

    Attributes:
        spans: Spans that began, and that ended: one may be there twice.
        lines: Log lines.
        position: What to ask with for what comes after this.
    """

    spans: Sequence[Span]
    lines: Sequence[LogLine]
    position: int


_COLUMNS: Final = (
    "r.id, r.workflow_id, r.workflow, r.mode, r.status, r.started, r.ended, r.tasks, r.begun, "
    "r.completed, r.failed, r.restored, r.retried, r.error_type, r.error, r.trace_id, r.span_id, "
    "r.sampled, p.host, p.pid, p.beat, r.size, r.key, p.boot, p.namespace, p.born"
)
_FROM: Final = f"SELECT {_COLUMNS} FROM runs r JOIN processes p ON p.key = r.process"  # noqa: S608


class History:
    """A history that is there, to be read while others write to it.

    As a context manager it closes itself.

    Args:
        path: The file; None: the one that `DOTFLOW_HISTORY` names, else the usual place.

    Attributes:
        path: The file.

    Raises:
        HistoryUnusable: There is none, it is damaged, or a later version wrote it.
        InvalidOption: `path` is no path of a file.
    """

    @strict_arguments
    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        check_file("path", path, optional=True)
        found = history_path() or default_path() if path is None else Path(path).absolute()
        self.path: Final[Path] = found
        self._connection = open_to_read(found)
        # A process is looked at once for each reading, however many runs it has.
        self._gone: dict[tuple[ProcessMark, int], bool] = {}

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # --- runs -------------------------------------------------------------------------

    def runs(
        self,
        *,
        workflow: str | None = None,
        status: str | None = None,
        since: int | None = None,
        until: int | None = None,
        limit: int | None = None,
    ) -> list[RunInfo]:
        """Return runs, the latest first.

        Args:
            workflow: Only those of this name.
            status: Only those that are `running`, `completed`, `failed` or `lost` now.
            since: Only those that started then or later, in nanoseconds since the epoch.
            until: Only those that started before.
            limit: At most so many.
        """
        conditions: list[tuple[str, Any]] = []
        if workflow is not None:
            conditions.append(("r.workflow = ?", escape_unencodable(workflow)))
        if since is not None:
            conditions.append(("r.started >= ?", since))
        if until is not None:
            conditions.append(("r.started < ?", until))
        if status in {RUNNING, LOST}:
            # Which of the two it is, is seen by its process.
            conditions.append((f"r.status IN ('{RUNNING}', ?)", LOST))
        elif status is not None:
            conditions.append(("r.status = ?", status))
        # Of those that may be lost, all are looked at.
        most = None if status in {RUNNING, LOST} else limit
        found = [run for run in self._found(conditions, most) if status in {None, run.status}]
        return found[:limit]

    def run(self, reference: str) -> RunInfo:
        """Return one run.

        Args:
            reference: The beginning of its id or of its trace's, the id of its workflow,
                `latest`, `latest:WORKFLOW`, or `failed`: the latest that failed or was lost.

        Raises:
            RunNotFound: There is none, or it may be one of several.
        """
        word, _, workflow = reference.partition(":")
        if word == _LATEST:
            found = self.runs(workflow=workflow or None, limit=1)
        elif reference == _FAILED:
            both = [run for status in (_FAILED, LOST) for run in self.runs(status=status, limit=1)]
            found = sorted(both, key=lambda run: run.started)[-1:]
        else:
            found = self._by_id(escape_unencodable(reference))  # as all that is recorded
        if len(found) != 1:
            raise RunNotFound(reference, found)
        return found[0]

    def _by_id(self, reference: str) -> list[RunInfo]:
        if len(reference) < _SHORTEST:
            return []
        beginning = "substr({}, 1, length(?)) = ?"
        run_id, trace_id = beginning.format("r.id"), beginning.format("lower(hex(r.trace_id))")
        low = reference.lower()
        query = f"{run_id} OR {trace_id} OR r.workflow_id = ?"
        found = list(self._found([(query, (reference, reference, low, low, reference))]))
        exact = [run for run in found if reference in {run.id, run.trace_id}]
        return exact[:1] or found

    def _found(
        self, conditions: Sequence[tuple[str, Any]], most: int | None = None
    ) -> Iterator[RunInfo]:
        self._gone.clear()
        where = " AND ".join(f"({condition})" for condition, _ in conditions)
        query = f"{_FROM}{' WHERE ' if where else ''}{where} ORDER BY r.started DESC, r.key LIMIT ?"
        arguments: list[Any] = []
        for _, value in conditions:
            arguments += value if isinstance(value, tuple) else (value,)
        arguments.append(-1 if most is None else min(most, _LARGEST))
        return map(self._info, self._read(query, arguments))

    def _read(self, query: str, arguments: Sequence[Any]) -> list[tuple[Any, ...]]:
        try:
            with in_use:
                return self._connection.execute(query, arguments).fetchall()
        except sqlite3.Error as error:
            raise unreadable(self.path, error) from error

    def _info(self, row: tuple[Any, ...]) -> RunInfo:
        *fields, boot, namespace, born = row
        run = RunInfo(*fields)
        status = run.status
        if status == RUNNING and self._is_gone(
            ProcessMark(run.host, boot, namespace, run.pid, born), run.beat
        ):
            status = LOST
        return run._replace(
            status=status,
            trace_id=fields[15].hex(),
            span_id=run.span_id & 0xFFFFFFFFFFFFFFFF,
            is_sampled=bool(run.is_sampled),
        )

    def _is_gone(self, mark: ProcessMark, beat: int) -> bool:
        found = self._gone.get((mark, beat))
        if found is None:
            found = self._gone[mark, beat] = mark.is_gone(beat)
        return found

    # --- what was recorded ------------------------------------------------------------

    def recorded(self, run: RunInfo, after: int = 0) -> Recorded:
        """Return what was recorded of a run, as it came: for those who follow one that goes on.

        Args:
            run: The run.
            after: The position of what was read before.
        """
        spans: list[Span] = []
        lines: list[LogLine] = []
        query = "SELECT key, body FROM segments WHERE run = ? AND key > ? ORDER BY key"
        for key, body in self._read(query, (run.key, after)):
            after = key
            for each in _unpacked(self.path, body):
                if isinstance(each, LogLine):
                    lines.append(each)
                elif isinstance(each, Span):
                    spans.append(each)
        return Recorded(spans, lines, after)

    def spans(self, run: RunInfo, *, nested: bool = False) -> list[Span]:
        """Return the spans of a run, its own first, in the order of their starts.

        One that has no end went on when that was last written, or when the run was lost.

        Args:
            run: The run.
            nested: Whether those of the runs that its steps started come with them.
        """
        merged = _Merged(run)
        others = self._runs_of_trace(run)
        for key in (run.key, *others):
            for body in self._bodies(key):
                merged.add(_unpacked(self.path, body), is_own=key == run.key)
        return merged.spans(set() if nested else set(others.values()))

    def logs(self, run: RunInfo) -> list[LogLine]:
        """Return the log lines of a run, in the order of their times."""
        found = (
            each
            for body in self._bodies(run.key)
            for each in _unpacked(self.path, body)
            if isinstance(each, LogLine)
        )
        return sorted(found, key=lambda line: line.time)

    def resource(self, run: RunInfo) -> dict[str, Any]:
        """Return what describes the process of a run, as in OpenTelemetry: `service.name`, say."""
        query = (
            "SELECT p.resource FROM runs r JOIN processes p ON p.key = r.process WHERE r.key = ?"
        )
        for (resource,) in self._read(query, (run.key,)):
            with suppress(ValueError):
                found = json.loads(resource)
                return found if isinstance(found, dict) else {}
        return {}

    def _runs_of_trace(self, run: RunInfo) -> dict[int, int]:
        # Runs that one caller's span is above, at the same time maybe.
        query = "SELECT key, span_id FROM runs WHERE trace_id = ? AND key != ?"
        rows = self._read(query, (bytes.fromhex(run.trace_id), run.key))
        return {key: span_id & 0xFFFFFFFFFFFFFFFF for key, span_id in rows}

    def _bodies(self, key: int) -> Iterator[bytes]:
        query = "SELECT body FROM segments WHERE run = ? ORDER BY key"
        return (body for (body,) in self._read(query, (key,)))


def _unpacked(path: Path, body: bytes) -> Iterator[Span | Outcome | LogLine]:
    try:
        yield from unpacked(body)
    except (ValueError, TypeError, LookupError) as error:
        raise unreadable(path, sqlite3.DatabaseError(str(error))) from error


class _Merged:
    """Puts together what was written of spans when they began, and when they ended."""

    def __init__(self, run: RunInfo) -> None:
        self._run = run
        self._spans: dict[int, Span] = {}
        self._own: set[int] = set()

    def add(self, recorded: Iterable[Span | Outcome | LogLine], *, is_own: bool) -> None:
        for each in recorded:
            if isinstance(each, Span):
                known = self._spans.get(each.span_id)
                if known is None or known.ended is None:
                    self._spans[each.span_id] = each
            elif isinstance(each, Outcome):
                self._end(each)
            else:
                continue
            if is_own:
                self._own.add(each.span_id)

    def _end(self, outcome: Outcome) -> None:
        began = self._spans.get(outcome.span_id)
        if began is None:
            return
        attributes = {**began.attributes, **outcome.attributes}
        message = attributes.pop(names.EXCEPTION_MESSAGE, None)
        status = (_ERROR, message) if names.ERROR_TYPE in attributes else (0, None)
        self._spans[outcome.span_id] = began._replace(
            ended=outcome.ended, attributes=attributes, status=status
        )

    def spans(self, others: set[int]) -> list[Span]:
        root = self._root()
        found = [root]
        # The caller's spans are none of the run's.
        above_root = {0, *self._above(root)}
        for span in self._spans.values():
            if span.span_id == root.span_id or not self._is_below(span, root, above_root | others):
                continue
            above = self._spans.get(span.parent_id)
            if span.ended is None and above is not None and above.ended is not None:
                # Its end was not recorded: it has none of its own, or that was dropped.
                span = span._replace(ended=max(above.ended, span.started))  # noqa: PLW2901
            found.append(span)
        found[1:] = sorted(found[1:], key=lambda span: span.started)
        return found

    def _root(self) -> Span:
        run = self._run
        root = self._spans.get(run.span_id)
        if root is None:
            attributes = {
                names.WORKFLOW_ID: run.workflow_id,
                names.WORKFLOW_NAME: run.workflow,
                names.WORKFLOW_MODE: run.mode,
                names.WORKFLOW_TASK_COUNT: run.tasks,
            }
            name = names.WORKFLOW_SPAN.format(run.workflow)
            root = Span(name, run.span_id, 0, run.started, None, int(run.is_sampled), attributes)
        if root.ended is None and run.ended is not None:
            attributes = {**root.attributes, names.WORKFLOW_STATUS: run.status}
            status = (_ERROR, run.error) if run.status == names.FAILED else (0, None)
            if run.error_type is not None:
                attributes[names.ERROR_TYPE] = run.error_type
            root = root._replace(ended=run.ended, attributes=attributes, status=status)
        self._spans[root.span_id] = root
        return root

    def _above(self, span: Span) -> Iterator[int]:
        seen = {span.span_id}
        above: Span | None = span
        while above is not None and above.parent_id not in seen:
            seen.add(above.parent_id)
            yield above.parent_id
            above = self._spans.get(above.parent_id)

    def _is_below(self, span: Span, root: Span, others: set[int]) -> bool:
        if span.parent_id == root.span_id and span.span_id not in others:
            return True  # as most are
        for above in (span.span_id, *self._above(span)):
            if above == root.span_id:
                return True
            if above in others:
                return False
        # Not all that is above it is known: it belongs to the run that it was written for.
        return span.span_id in self._own
