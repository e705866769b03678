"""Logs: one event a line, with the ids of its run, task and trace."""

from __future__ import annotations

from logging import ERROR, INFO, WARNING
from typing import TYPE_CHECKING, Any, Final

import structlog
from structlog.contextvars import bound_contextvars, get_contextvars

from dotflow.abc.log import LEVELS, Log, level_of
from dotflow.core.arguments import strict_arguments
from dotflow.core.failure import Failure
from dotflow.core.types import TypeStatus
from dotflow.core.user_objects import is_json, to_json
from dotflow_otel._process import LOGS, drop_counter, for_each, this_process
from dotflow_otel.conventions import LOGGER, SPAN_ID, TRACE_ID
from dotflow_otel.log_context import BoundIds, TraceContextFilter, add_run_context, ids_bound
from dotflow_otel.logs import events
from dotflow_otel.logs.lines import fields_of, head_of, line_maker
from dotflow_otel.logs.output import LogOutput
from dotflow_otel.plain import bounded
from dotflow_otel.relay.intake import relaying
from dotflow_otel.relay.log_relay import RemoteLogs, is_configured, levels_here
from dotflow_otel.relay.pacing import pace_logs
from dotflow_otel.relay.structlogs import let_loggers_travel
from dotflow_otel.span_ids import ids_of_run, ids_of_task

if TYPE_CHECKING:
    import os
    from contextlib import AbstractContextManager
    from typing import TextIO

    from dotflow.abc.scope import RemoteScope
    from dotflow.core.attempt import Outcome
    from dotflow.core.model import Task
    from dotflow.core.run import Run
    from dotflow_otel.span_ids import SpanIds

__all__ = ["LogStructlog", "TraceContextFilter", "add_run_context"]

_LEVEL_NAMES: Final = {number: name.lower() for name, number in LEVELS.items()}

_EVENTS: Final = {
    TypeStatus.IN_PROGRESS: "task.started",
    TypeStatus.COMPLETED: "task.completed",
    TypeStatus.RETRY: "task.retried",
    TypeStatus.FAILED: "task.failed",
}

# The events that every task has: most of all lines.
_LINES: Final = {event: line_maker(event) for event in ("task.started", "task.completed")}


class LogStructlog(Log):
    """Writes events with structlog: as JSON, or in colours where a person looks on.

    An application that has configured structlog itself keeps its configuration: the events
    go to `structlog.get_logger("dotflow")`, and of the arguments here `level` alone counts.
    Otherwise they are written here, and structlog's configuration stays untouched.

    Where `setup` exports log records, the events are exported as well.

    While a step runs, `workflow_id`, `workflow`, `task_id`, `task`, `trace_id` and `span_id`
    are bound in `structlog.contextvars`. The step's own records carry them with
    `structlog.contextvars.merge_contextvars` or `add_run_context` among the processors of
    structlog, and with `TraceContextFilter` on a handler of the standard library.

    Results, inputs and contexts are never written; the message and the traceback of an
    error are.

    Args:
        level: The lowest level that is written: `DEBUG`, `INFO`, `WARNING` or `ERROR`, in
            any case, or a number of `logging`. An unknown name means `INFO`.
        output: `console` (stderr), `file` or `both`.
        path: The file, which is appended to; made with its folders at the first line. None:
            `Settings.LOG_PATH`.
        format: `json`, one object a line, or `simple`, for people; None: `simple` on a
            terminal, else `json`.
        stream: Stands for stderr.

    Raises:
        InvalidOption: `output` or `format` is none of these, `level` is neither a name nor a
            number, `path` is not that of a file, or `stream` takes no text.
        ModuleNotFound: structlog is not installed.
    """

    @strict_arguments
    def __init__(
        self,
        level: str | int = "INFO",
        output: str = "console",
        path: str | os.PathLike[str] | None = None,
        format: str | None = None,  # noqa: A002 - the name of 1.x
        *,
        stream: TextIO | None = None,
    ) -> None:
        self._level = level_of(level)
        self._output = LogOutput(output, path, format, stream)
        self._runs: dict[str, _RunNote] = {}

    def close(self) -> None:
        """Close the file, if there is one. A later line opens it again."""
        self._output.close()

    def _write(self, level: int, facts: Any) -> None:
        task = facts.get("task")
        if task is None:
            fields = {name: value for name, value in facts.items() if name != "event"}
            self._emit(level, str(facts.get("event", "message")), fields)
            return
        event = _EVENTS.get(task.status)
        # A task that was only added has not begun: that is no event.
        if event is not None:
            self._log_task(level, event, task)

    def run_started(self, run: Run) -> None:
        """Write `workflow.started`."""
        note = self._runs[run.id] = _RunNote(run)
        if self._level <= INFO:
            self._emit_of(run, INFO, "workflow.started", note.fields(), ids_of_run(run))

    def run_finished(self, run: Run) -> None:
        """Write `workflow.completed` or `workflow.failed`."""
        note = self._runs.pop(run.id, None) or _RunNote(run)
        level = ERROR if run.failed else INFO
        if self._level > level:
            return
        fields = note.fields()
        fields["duration"] = run.duration or 0.0
        failure = note.failure
        if failure is None and run.error is not None:
            failure = Failure.of(run.error)
        if run.failed and failure:
            fields["error_type"], fields["error"] = failure.error_type, bounded(failure.message)
        event = "workflow.failed" if run.failed else "workflow.completed"
        self._emit_of(run, level, event, fields, ids_of_run(run))

    def workflow_lost(self, fields: dict[str, Any], ids: SpanIds | None) -> None:
        """Write `workflow.lost`, of a run whose process was killed.

        Args:
            fields: What is known of it.
            ids: Those of its span.
        """
        if self._level <= ERROR:
            self._emit(ERROR, "workflow.lost", _with_ids(fields, ids), ids)

    def task_restored(self, task: Task) -> None:
        """Write `task.restored`."""
        if self._level <= INFO:
            self._log_task(INFO, "task.restored", task)

    def task_skipped(self, task: Task) -> None:
        """Write `task.skipped`."""
        if self._level <= WARNING:
            self._log_task(WARNING, "task.skipped", task)

    def attempt_scope(self, task: Task, attempt: int) -> AbstractContextManager[object] | None:  # noqa: ARG002
        """Return what binds the ids while the step runs."""
        return BoundIds(task, self._note_of(task).workflow_id)

    def remote_scope(self, task: Task, attempt: int) -> RemoteScope | None:  # noqa: ARG002
        """Return what binds the ids in a worker, and keeps what the step logs there."""
        return self._note_of(task).remote.scope(ids_bound(task))

    def attempt_recorded(self, task: Task, attempt: int, recorded: Any) -> None:  # noqa: ARG002
        """Handle what a step that goes on has logged in a worker, as the application logs."""
        _replay(recorded)

    def attempt_finished(
        self,
        task: Task,  # noqa: ARG002 - the signature of the interface
        attempt: int,  # noqa: ARG002
        outcome: Outcome,
        recorded: Any,
    ) -> None:
        """Handle what the step logged in a worker, as the application logs."""
        if recorded is None:
            return
        if outcome.shift:
            shifted = [entry.shifted(outcome.shift) for entry in recorded.items]
            recorded = recorded._replace(items=shifted)
        _replay(recorded)

    def _log_task(self, level: int, event: str, task: Task) -> None:
        note = self._note_of(task)
        ids = ids_of_task(task)
        if event == "task.failed":
            note.failure = note.failure or task.failure
        line_of = _LINES.get(event)
        if line_of is not None and self._writes_json():
            line = line_of(self._output.now(), note.head, task, ids)
            self._output.write_line(line)
            if events.listeners:
                events.notify(task.run and task.run.id, level, event, line, ids)
            return
        self._emit_of(task.run, level, event, fields_of(event, note.common, task, ids), ids)

    def _note_of(self, task: Task) -> _RunNote:
        # A Manager without a config notifies its tasks' providers of no run.
        run = task.run
        return (run and self._runs.get(run.id)) or _RunNote(run, task.workflow_id)

    def _writes_json(self) -> bool:
        exported_or_theirs = events.sinks or is_configured()
        return not exported_or_theirs and self._output.takes_json()

    def _emit_of(
        self,
        run: Run | None,
        level: int,
        event: str,
        fields: dict[str, Any],
        ids: SpanIds | None,
    ) -> None:
        if events.listeners:
            events.notify(run and run.id, level, event, fields, ids)
        self._emit(level, event, fields, ids)

    def _emit(
        self, level: int, event: str, fields: dict[str, Any], ids: SpanIds | None = None
    ) -> None:
        if not events.sinks:
            self._emit_line(level, event, fields)
            return
        with events.as_line():
            self._emit_line(level, event, fields)
        events.export(level, event, fields, ids)

    def _emit_line(self, level: int, event: str, fields: dict[str, Any]) -> None:
        if is_configured():
            _log_as_configured(_LEVEL_NAMES[level], event, fields)
        else:
            self._output.write(_LEVEL_NAMES[level], event, fields)


class _RunNote:
    """A run that goes on: texts of it, made once, and its first failed task's failure."""

    __slots__ = ("_remote", "_run", "common", "failure", "head", "workflow_id")

    def __init__(self, run: Run | None, workflow_id: object = None) -> None:
        self._run = run
        self.workflow_id = str(workflow_id if run is None else run.workflow_id)
        name = "" if run is None else run.name
        self.common = {"workflow_id": self.workflow_id, "workflow": name}
        self.head = head_of(self.common)
        self.failure: Failure | None = None
        self._remote: RemoteLogs | None = None

    @property
    def remote(self) -> RemoteLogs:
        """What goes along to the run's workers."""
        if self._remote is None:
            pace_logs()
            let_loggers_travel()
            self._remote = RemoteLogs(dict(self.common), levels_here(), this_process())
        return self._remote

    def fields(self) -> dict[str, Any]:
        fields: dict[str, Any] = {"workflow_id": self.workflow_id}
        if self._run is None:
            return fields
        fields["workflow"] = self._run.name
        return _with_ids(fields, ids_of_run(self._run))


def _replay(recorded: Any) -> None:
    try:
        with relaying():
            for_each(lambda entry: entry.replay(), recorded.items)
    finally:
        drop_counter.add(LOGS, recorded.dropped)


def _log_as_configured(level: str, event: str, fields: dict[str, Any]) -> None:
    method = getattr(structlog.get_logger(LOGGER), level)
    try:
        method(event, **fields)
    except Exception:
        # What the application has bound may be what its own processors cannot write.
        odd = {name: value for name, value in get_contextvars().items() if not is_json(value)}
        if not odd:
            raise
        with bound_contextvars(**{name: to_json(value) for name, value in odd.items()}):
            method(event, **fields)


def _with_ids(fields: dict[str, Any], ids: SpanIds | None) -> dict[str, Any]:
    if ids is not None:
        fields[TRACE_ID], fields[SPAN_ID] = ids.trace_id, ids.span_id
    return fields
