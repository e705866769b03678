"""Tasks and workflows as plain data: what `schema()` and `result()` give."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from dotflow.core.context import Context
from dotflow.core.user_objects import guarded, text_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from dotflow.core.exception import TaskError
    from dotflow.core.task.model import Task

_TOO_LARGE: Final = {"message": "Context size exceeded"}
_CONTEXTS: Final = ("initial_context", "current_context", "previous_context")


class _Record:
    """Plain data with named fields."""

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)

    def model_dump(self) -> dict[str, Any]:
        """Return the record as a dictionary of plain values."""
        return {name: _plain(value) for name, value in vars(self).items()}

    def model_dump_json(self) -> str:
        """Return the record as JSON text."""
        return json.dumps(self.model_dump())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model_dump()!r})"


class ErrorRecord(_Record):
    """One failed attempt."""

    attempt: int | None
    exception: str
    traceback: str
    message: str


class TaskRecord(_Record):
    """One task. Times are ISO 8601 texts, `duration` is in seconds."""

    task_id: str
    id: str
    workflow_id: str
    name: str
    status: str
    duration: float | None
    initial_context: Any
    current_context: Any
    previous_context: Any
    group_name: str
    retry_count: int
    created_at: str | None
    started_at: str | None
    finished_at: str | None
    errors: list[ErrorRecord]
    error: ErrorRecord | None


class WorkflowRecord(_Record):
    """A workflow with its tasks."""

    id: str
    workflow_id: str
    name: str | None
    workflow_name: str | None
    tasks: list[TaskRecord]

    @classmethod
    def of(cls, workflow_id: Any, name: str | None, tasks: Iterable[Task]) -> WorkflowRecord:
        """Make the record of a workflow."""
        return cls(
            id=str(workflow_id),
            workflow_id=str(workflow_id),
            name=name,
            workflow_name=name,
            tasks=[task_record(task) for task in tasks],
        )


def task_record(task: Task, limit: int | None = None) -> TaskRecord:
    """Make the record of a task.

    Args:
        task: The task.
        limit: How many characters its JSON text may have. Over that, contexts are replaced,
            the largest first, then the errors left out, then the contexts left out.
    """
    errors = [_error_record(error) for error in task.errors]
    record = TaskRecord(
        task_id=task.task_id,
        id=task.task_id,
        workflow_id=str(task.workflow_id),
        name=task.name,
        status=task.status,
        duration=task.duration,
        initial_context=_context(task.initial_context),
        current_context=_context(task.current_context),
        previous_context=_context(task.previous_context),
        group_name=task.group_name,
        retry_count=task.retry_count,
        created_at=_iso(task.created_at),
        started_at=_iso(task.started_at),
        finished_at=_iso(task.finished_at),
        errors=errors,
        error=errors[-1] if errors else None,
    )
    if limit is not None:
        _shorten(record, limit)
    return record


def _error_record(error: TaskError) -> ErrorRecord:
    return ErrorRecord(
        attempt=error.attempt,
        exception=error.exception,
        traceback=error.traceback,
        message=error.message,
    )


def _shorten(record: TaskRecord, limit: int) -> None:
    def fits() -> bool:
        return len(record.model_dump_json()) <= limit

    sizes = {name: len(json.dumps(getattr(record, name))) for name in _CONTEXTS}
    for name in sorted(_CONTEXTS, key=sizes.__getitem__, reverse=True):
        if fits():
            return
        setattr(record, name, dict(_TOO_LARGE))
    if not fits():
        record.errors, record.error = [], None
    if limit and not fits():
        for name in _CONTEXTS:
            setattr(record, name, None)


def _context(context: Context) -> Any:
    value = context.storage
    if value is None:
        return None
    if not issubclass(type(value), (list, tuple)):
        return _text(value)
    items, _ = guarded(lambda: dict(_item(index, each) for index, each in enumerate(value)))
    return _text(value) if items is None else items


def _item(index: int, value: Any) -> tuple[str, Any]:
    if issubclass(type(value), Context):
        return value.task_id or f"ctx:{index}", _context(value)
    return f"raw:{index}", _text(value)


def _text(value: Any) -> str:
    text, _ = guarded(lambda: json.dumps(value))
    return text_of(value) if text is None else text


def _plain(value: Any) -> Any:
    if isinstance(value, _Record):
        return value.model_dump()
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value


def _iso(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()
