"""The interface of a log, and the record that its JSON lines hold."""

from __future__ import annotations

from abc import ABC
from datetime import UTC, datetime
from logging import DEBUG, ERROR, INFO, WARNING
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from dotflow.abc.noop import noop
from dotflow.core.exception import InvalidOption
from dotflow.core.user_objects import strict_json, text_of
from dotflow.printable import printable, printable_lines

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager
    from logging import Logger, LoggerAdapter

    from dotflow.abc.scope import RemoteScope
    from dotflow.core.attempt import Outcome
    from dotflow.core.model import Task
    from dotflow.core.run import Run

LEVELS: Final = {"DEBUG": DEBUG, "INFO": INFO, "WARNING": WARNING, "ERROR": ERROR}

_NAMES: Final = {number: name for name, number in LEVELS.items()}


def level_of(level: object) -> int:
    """Return the number of a level that is given as a name, in any case, or as a number.

    An unknown name means `INFO`.

    Raises:
        InvalidOption: It is neither.
    """
    if isinstance(level, int) and not isinstance(level, bool):
        return level
    if not isinstance(level, str):
        names = ", ".join(LEVELS)
        raise InvalidOption("level", level, f"use one of {names}, or a number of logging")
    return LEVELS.get(level.upper(), INFO)


class LogRecordError(NamedTuple):
    """The error of a failed task, in a JSON line.

    Attributes:
        exception: The name of the exception's type.
        message: The exception's text.
    """

    exception: str = ""
    message: str = ""

    def model_dump(self, *, exclude_none: bool = False) -> dict[str, Any]:
        """Return the fields as a dictionary, without those that are None if told so."""
        return _dumped(self._asdict(), exclude_none=exclude_none)

    def model_dump_json(self, *, exclude_none: bool = False) -> str:
        """Return the fields as JSON text, without those that are None if told so."""
        return strict_json(self.model_dump(exclude_none=exclude_none))


class LogRecord(NamedTuple):
    """One JSON line about a task.

    Attributes:
        timestamp: UTC, ISO 8601.
        level: The name of the level.
        workflow_id: The id of the workflow.
        task_id: The id of the task.
        status: The task's state.
        duration: Seconds, once the task has ended.
        retry_count: How many attempts were repeated, if any.
        error: What went wrong, at level ERROR.
        workflow: The name of the workflow, while it runs.
        task: The name of the task.
    """

    timestamp: str = ""
    level: str = ""
    workflow_id: str = ""
    task_id: str = ""
    status: str = ""
    duration: float | None = None
    retry_count: int | None = None
    error: LogRecordError | None = None
    workflow: str | None = None
    task: str | None = None

    def model_dump(self, *, exclude_none: bool = False) -> dict[str, Any]:
        """Return the fields as a dictionary, without those that are None if told so."""
        fields = self._asdict()
        if self.error is not None:
            fields["error"] = self.error.model_dump(exclude_none=exclude_none)
        return _dumped(fields, exclude_none=exclude_none)

    def model_dump_json(self, *, exclude_none: bool = False) -> str:
        """Return the fields as JSON text, without those that are None if told so."""
        return strict_json(self.model_dump(exclude_none=exclude_none))


class Log(ABC):
    """Told of every change of a task's status, at the level that fits it.

    A subclass sets `_logger`, `_level` and `_format` and inherits the rest: what is below
    `_level` is dropped, the rest formatted and given to `_logger.log(level, text)`. Or it
    overrides the hooks. An error in a hook is logged and never reaches the run.

    Attributes:
        _logger: Where the texts go.
        _level: The lowest level that is written, as in `logging`.
        _format: `simple` or `json`.
    """

    _logger: Logger | LoggerAdapter[Any]
    _level: int = INFO
    _format: str = "simple"

    def info(self, **kwargs: Any) -> None:
        """Write at level INFO. Keyword: `task`; without one all keywords are written."""
        if self._level <= INFO:
            self._write(INFO, kwargs)

    def error(self, **kwargs: Any) -> None:
        """Write at level ERROR: the task's last error with it. Keywords as in `info`."""
        if self._level <= ERROR:
            self._write(ERROR, kwargs)

    def warning(self, **kwargs: Any) -> None:
        """Write at level WARNING. Keywords as in `info`."""
        if self._level <= WARNING:
            self._write(WARNING, kwargs)

    def debug(self, **kwargs: Any) -> None:
        """Write at level DEBUG. Keywords as in `info`."""
        if self._level <= DEBUG:
            self._write(DEBUG, kwargs)

    def _write(self, level: int, facts: Mapping[str, Any]) -> None:
        text = _json_line if self._format == "json" else _simple_text
        self._logger.log(level, text(level, facts))

    @noop
    def run_started(self, run: Run) -> None:
        """A run begins."""

    @noop
    def run_finished(self, run: Run) -> None:
        """A run has ended."""

    def task_restored(self, task: Task) -> None:
        """A task was taken from its checkpoint and did not run; by default as `info`."""
        self.info(task=task)

    @noop
    def task_skipped(self, task: Task) -> None:
        """A task will not run, because one before it in its chain failed."""

    @noop
    def attempt_scope(self, task: Task, attempt: int) -> AbstractContextManager[object] | None:
        """Return what is entered around an attempt that runs in this process.

        Args:
            task: The task.
            attempt: The number of the attempt, from 1.
        """
        return None

    @noop
    def remote_scope(self, task: Task, attempt: int) -> RemoteScope | None:
        """Return what is sent along, and entered around an attempt in a worker."""
        return None

    @noop
    def attempt_recorded(self, task: Task, attempt: int, recorded: object) -> None:
        """An attempt goes on, and its remote scope has recorded something.

        Args:
            task: The task.
            attempt: The number of the attempt, from 1.
            recorded: What the remote scope's `drain` returned.
        """

    @noop
    def attempt_finished(
        self, task: Task, attempt: int, outcome: Outcome, recorded: object
    ) -> None:
        """An attempt has ended, or its worker died.

        Args:
            task: The task.
            attempt: The number of the attempt, from 1.
            outcome: How it ended, and when.
            recorded: What the remote scope's `collect` gave; None in this process, or
                where the worker died.
        """


def _simple_text(level: int, facts: Mapping[str, Any]) -> str:
    task = facts.get("task")
    if task is None:
        return printable(text_of(dict(facts)))
    text = f"ID {task.workflow_id} - {task.task_id} - {task.status}"
    # A task of the user's own, written for 1.x, has no name.
    name = getattr(task, "name", None)
    if name:
        text = f"{text} - {name}"
    text = printable(text)
    if level >= ERROR and task.errors:
        text = f"{text}\n{printable_lines(task.errors[-1].traceback)}"
    return text


def _json_line(level: int, facts: Mapping[str, Any]) -> str:
    timestamp = datetime.now(UTC).isoformat()
    task = facts.get("task")
    if task is None:
        return strict_json({**facts, "timestamp": timestamp, "level": _NAMES[level]})
    run = getattr(task, "run", None)
    record = LogRecord(
        timestamp=timestamp,
        level=_NAMES[level],
        workflow_id=str(task.workflow_id),
        task_id=str(task.task_id),
        status=task.status,
        duration=task.duration,
        retry_count=task.retry_count or None,
        error=_last_error(task) if level >= ERROR else None,
        workflow=None if run is None else run.name,
        task=getattr(task, "name", None),
    )
    return record.model_dump_json(exclude_none=True)


def _last_error(task: Task) -> LogRecordError | None:
    if not task.errors:
        return None
    error = task.errors[-1]
    return LogRecordError(exception=error.exception, message=error.message)


def _dumped(fields: dict[str, Any], *, exclude_none: bool) -> dict[str, Any]:
    if not exclude_none:
        return fields
    return {name: value for name, value in fields.items() if value is not None}
