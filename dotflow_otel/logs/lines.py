"""What the events of a task say: one table, for the encoder and for lines made of texts.

Every task has a line for its start and one for its end. Put together from texts they are what
the encoder makes of the same fields, at less than half of its cost: the names are written once,
and the ids of a span need no encoding.
"""

from __future__ import annotations

import json
from json import JSONEncoder
from json.encoder import encode_basestring_ascii
from math import isfinite
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from dotflow.core.user_objects import strict_json, text_of, to_json
from dotflow_otel.conventions import SPAN_ID, TRACE_ID
from dotflow_otel.plain import bounded

if TYPE_CHECKING:
    from collections.abc import Callable

    from dotflow.core.model import Task
    from dotflow_otel.span_ids import SpanIds

_encode: Final = JSONEncoder(default=text_of).encode


def _number(value: float | None) -> str:
    # As the encoder writes it; making that up for a single number takes as long as a line.
    return repr(value) if type(value) is float and isfinite(value) else _encode(to_json(value))


# How a line has a value: a text (as a task checks that it is one), a number, a count.
_TEXT: Final = "{quote(task.%s)}"
_NUMBER: Final = "{number(task.%s)}"
_COUNT: Final = "{task.%s}"
_ENCODERS: Final = {"quote": encode_basestring_ascii, "number": _number}


class _Field(NamedTuple):
    """A field of an event.

    Attributes:
        name: Its name in the line.
        attribute: The attribute of the task that it tells.
        kind: How a line has its value.
    """

    name: str
    attribute: str
    kind: str


_OF_EACH: Final = (
    _Field("task_id", "task_id", _TEXT),
    _Field("task", "name", _TEXT),
    _Field("group", "group_name", _TEXT),
)
_ATTEMPT: Final = _Field("attempt", "attempt", _COUNT)
_DURATION: Final = _Field("duration", "duration", _NUMBER)
# The attempt that failed: the task counts the next one already.
_FAILED_ATTEMPT: Final = _Field("attempt", "retry_count", _COUNT)

# What comes after the ids of the span.
_FIELDS: Final = {
    "task.started": (_ATTEMPT,),
    "task.completed": (_ATTEMPT, _DURATION),
    "task.retried": (_FAILED_ATTEMPT,),
    "task.failed": (_ATTEMPT, _DURATION),
    "task.restored": (),
    "task.skipped": (),
}
_WITH_ERROR: Final = frozenset({"task.retried", "task.failed"})


def fields_of(event: str, run: dict[str, Any], task: Task, ids: SpanIds | None) -> dict[str, Any]:
    """Return what an event of a task says, in the order of its line.

    Args:
        event: Its name.
        run: What the events of all tasks of the run say.
        task: The task.
        ids: Those of its span, if it has one.
    """
    fields = dict(run)
    for name, attribute, _ in _OF_EACH:
        fields[name] = getattr(task, attribute)
    if ids is not None:
        fields[TRACE_ID], fields[SPAN_ID] = ids.trace_id, ids.span_id
    for name, attribute, _ in _FIELDS[event]:
        fields[name] = getattr(task, attribute)
    failure = task.failure
    if failure is not None and event in _WITH_ERROR:
        fields["error_type"], fields["error"] = failure.error_type, bounded(failure.message)
        fields["exception"] = bounded(failure.traceback)
    return fields


def line_maker(event: str) -> Callable[[str, str, Task, SpanIds | None], str]:
    """Return what makes the lines of an event whose level is `info` and that has no error.

    It takes the timestamp, what `head_of` returned for the run, the task, and the ids of its
    span if it has one; and returns what the encoder makes of `fields_of`.
    """
    of_each, of_event = (
        "".join(f', "{name}": {kind % attribute}' for name, attribute, kind in fields)
        for fields in (_OF_EACH, _FIELDS[event])
    )
    ids = f', "{TRACE_ID}": "{{ids.trace_id}}", "{SPAN_ID}": "{{ids.span_id}}"'
    begin = f'{{{{"timestamp": "{{now}}", "level": "info", "event": "{event}", {{head}}{of_each}'
    end = f"{of_event}}}}}\\n"
    # Compiled, as a named tuple is: to go through the fields takes as long again as a line.
    source = f"f'{begin}{end}' if ids is None else f'{begin}{ids}{end}'"
    make = eval(f"lambda now, head, task, ids: {source}", _ENCODERS)  # noqa: S307 - of the table alone

    def line(now: str, head: str, task: Task, ids: SpanIds | None) -> str:
        made: str = make(now, head, task, ids)
        # A lone surrogate is no UTF-8, and strict JSON has none.
        return strict_json(json.loads(made)) + "\n" if "\\ud" in made else made

    return line


def head_of(run: dict[str, Any]) -> str:
    """Return what the lines of all tasks of a run have in common, as a part of their JSON."""
    return ", ".join(f'"{name}": {_encode(to_json(value))}' for name, value in run.items())
