"""The JSON lines that every task has, put together from texts.

They are what the encoder would make of the same fields, at less than half of its cost: the
names are written here, and the ids of a span need no encoding.
"""

from __future__ import annotations

from json import JSONEncoder
from math import isfinite
from typing import TYPE_CHECKING, Final

from dotflow.core.texts import to_json
from dotflow.core.user_objects import text_of
from dotflow_otel.conventions import SPAN_ID, TRACE_ID

if TYPE_CHECKING:
    from collections.abc import Callable

    from dotflow.core.task import Task
    from dotflow_otel.span_ids import SpanIds

_encode: Final = JSONEncoder(default=text_of).encode


def encode(value: object) -> str:
    """Return a value of a field as strict JSON."""
    return _encode(to_json(value))


def head_of(workflow_id: str, workflow: str) -> str:
    """Give what the lines of all tasks of a run have in common."""
    return f'"workflow_id": {encode(workflow_id)}, "workflow": {encode(workflow)}'


def started_line(now: str, head: str, task: Task, ids: SpanIds | None) -> str:
    """Give the line of `task.started`."""
    return (
        f'{{"timestamp": "{now}", "level": "info", "event": "task.started", {head}, '
        f'{_fields(task, ids)}, "attempt": {task.attempt}}}\n'
    )


def completed_line(now: str, head: str, task: Task, ids: SpanIds | None) -> str:
    """Give the line of `task.completed`."""
    return (
        f'{{"timestamp": "{now}", "level": "info", "event": "task.completed", {head}, '
        f'{_fields(task, ids)}, "attempt": {task.attempt}, "duration": {_number(task.duration)}}}\n'
    )


def _fields(task: Task, ids: SpanIds | None) -> str:
    fields = _names(task, _encode)
    if "\\ud" in fields:
        fields = _names(task, encode)
    if ids is None:
        return fields
    return f'{fields}, "{TRACE_ID}": "{ids.trace_id}", "{SPAN_ID}": "{ids.span_id}"'


def _names(task: Task, encode: Callable[[object], str]) -> str:
    return (
        f'"task_id": {encode(task.task_id)}, "task": {encode(task.name)}, '
        f'"group": {encode(task.group_name)}'
    )


def _number(value: float | None) -> str:
    # As the encoder writes it; making that up for a single number takes as long as a line.
    return repr(value) if type(value) is float and isfinite(value) else encode(value)
