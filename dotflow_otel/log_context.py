"""Puts the ids of the run, task and trace into the records that a step writes itself."""

from __future__ import annotations

import logging
from contextvars import Context
from typing import TYPE_CHECKING, Any

from structlog.contextvars import bind_contextvars, get_contextvars

from dotflow.core.arguments import strict_arguments
from dotflow.core.user_objects import traceback_of
from dotflow_otel.conventions import BOUND, SPAN_ID, TRACE_ID
from dotflow_otel.span_ids import current_ids, ids_of_step

if TYPE_CHECKING:
    from contextvars import ContextVar, Token
    from types import TracebackType

    from structlog.typing import EventDict, WrappedLogger

    from dotflow.core.model import Task


def _variables() -> tuple[ContextVar[Any], ...]:
    # In a context of its own, so that nothing stays bound. Set directly, structlog's
    # variables take a fifth of the time that its functions take.
    tokens = Context().run(bind_contextvars, **dict.fromkeys(BOUND, ""))
    return tuple(tokens[name].var for name in BOUND)


_workflow_id, _workflow, _task_id, _task, _trace_id, _span_id = _variables()


class BoundIds:
    """Binds the ids of a task while its step runs, and restores what was bound before.

    Args:
        task: The task.
        workflow_id: The text of its workflow's id.
    """

    __slots__ = ("_task", "_tokens", "_workflow_id")

    def __init__(self, task: Task, workflow_id: str) -> None:
        self._task = task
        self._workflow_id = workflow_id
        self._tokens: list[Token[Any]] = []

    def __enter__(self) -> None:
        task = self._task
        # Set one by one: a loop over names and values takes as long again.
        self._tokens = tokens = [
            _workflow_id.set(self._workflow_id),
            _workflow.set("" if task.run is None else task.run.name),
            _task_id.set(task.task_id),
            _task.set(task.name),
        ]
        ids = ids_of_step(task)
        # Without a span the variables of its ids are left as they are.
        if ids is not None:
            tokens.append(_trace_id.set(ids.trace_id))
            tokens.append(_span_id.set(ids.span_id))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for token in self._tokens:
            token.var.reset(token)


def ids_bound(task: Task) -> dict[str, str]:
    """Return what is bound while a step runs, but for what it has from its run."""
    values = {"task_id": task.task_id, "task": task.name}
    ids = ids_of_step(task)
    if ids is not None:
        values[TRACE_ID], values[SPAN_ID] = ids.trace_id, ids.span_id
    return values


class TraceContextFilter(logging.Filter):
    """Adds to records of the standard library the ids of the step that writes them.

    Put it on a handler, and `%(workflow_id)s`, `%(workflow)s`, `%(task_id)s`, `%(task)s`,
    `%(trace_id)s` and `%(span_id)s` into its format; outside of a step they are empty, but
    for those of a span that is current. It lets every record through, whatever its logger, and
    so takes no name of one, unlike other filters.
    """

    @strict_arguments
    def __init__(self) -> None:
        super().__init__()

    def filter(self, record: logging.LogRecord) -> bool:
        """Set the ids on a record, where it has none."""
        found = run_context()
        for name in BOUND:
            if not hasattr(record, name):
                setattr(record, name, found.get(name, ""))
        return True


def add_run_context(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
    """Add the ids of the step that writes an event: a processor for structlog.

    In place of `structlog.contextvars.merge_contextvars`, for those who want nothing else
    that is bound; also, the span is the one that is current when the event is written.
    """
    for name, value in run_context().items():
        event_dict.setdefault(name, value)
    return event_dict


def run_context() -> dict[str, str]:
    """Return the ids of the step that this code runs in, and of the current span."""
    bound = get_contextvars()
    found = {name: bound[name] for name in BOUND if name in bound}
    ids = current_ids()
    if ids is not None:
        found[TRACE_ID], found[SPAN_ID] = ids.trace_id, ids.span_id
    return found


def stack_trace_of(record: logging.LogRecord) -> str | None:
    """Return the stack trace of the exception that a record was given, if it was given one."""
    _, error, traceback = record.exc_info or (None, None, None)
    # Of what was raised in a worker the frames come as text.
    if error is None or (record.exc_text and traceback is None):
        return record.exc_text
    return traceback_of(error)
