"""What one step hands to the next."""

from __future__ import annotations

import time as clock
from datetime import datetime
from typing import Any
from uuid import UUID

from dotflow.core.user_objects import is_a, repr_of, whole_repr_of


class Context:
    """A value with the ids of the task and workflow that it belongs to.

    Always truthy, and without equality of its own.

    Args:
        storage: The value. A `Context` is unwrapped: its value, time and ids are taken over.
        task_id: The id of the task that made the value.
        workflow_id: The id of the workflow: a UUID, the text of one, or None.

    Raises:
        TypeError: `task_id` or `workflow_id` is of another type.
        ValueError: `workflow_id` is a text that is no UUID.
    """

    __slots__ = ("_storage", "_task_id", "_time", "_workflow_id")

    _storage: Any
    _task_id: str | None
    _time: datetime | float
    _workflow_id: UUID | None

    def __init__(
        self,
        storage: Any = None,
        task_id: str | None = "",
        workflow_id: UUID | str | None = None,
    ) -> None:
        if issubclass(type(storage), Context):
            self._time = storage._time
            self._task_id = storage._task_id
            self._workflow_id = storage._workflow_id
            self._storage = storage._storage
            return
        self._time = clock.time()
        self._storage = storage
        # Checked only where need be: there is one context for every task.
        if type(task_id) is str:
            self._task_id = task_id
        else:
            self.task_id = task_id
        if workflow_id is None or type(workflow_id) is UUID:
            self._workflow_id = workflow_id
        else:
            self.workflow_id = workflow_id

    @classmethod
    def of(cls, value: object) -> Context:
        """Return `value` itself where it is a `Context`, else wrap it in one."""
        if type(value) is Context:
            return value
        return value if is_a(value, Context) else cls(value)

    @property
    def time(self) -> datetime:
        """When the context was made: naive local time."""
        if not isinstance(self._time, datetime):
            self._time = datetime.fromtimestamp(self._time)
        return self._time

    @time.setter
    def time(self, value: datetime) -> None:
        self._time = value

    @property
    def task_id(self) -> str | None:
        """The id of the task that made the value."""
        return self._task_id

    @task_id.setter
    def task_id(self, value: str | None) -> None:
        if value is not None and not isinstance(value, str):
            raise TypeError(f"task_id must be a str or None, not {repr_of(value)}")
        self._task_id = value

    @property
    def workflow_id(self) -> UUID | None:
        """The id of the workflow, where it is a UUID."""
        return self._workflow_id

    @workflow_id.setter
    def workflow_id(self, value: UUID | str | None) -> None:
        if isinstance(value, str):
            value = _uuid(value)
        elif value is not None and not isinstance(value, UUID):
            raise TypeError(f"workflow_id must be a UUID, its text or None, not {repr_of(value)}")
        self._workflow_id = value

    @property
    def storage(self) -> Any:
        """The value."""
        return self._storage

    @storage.setter
    def storage(self, value: Any) -> None:
        if issubclass(type(value), Context):
            Context.__init__(self, value)
        else:
            self._storage = value

    def __repr__(self) -> str:
        return f"Context(storage={whole_repr_of(self._storage)}, task_id={self._task_id!r})"


def result_context(value: Any, task_id: str, workflow_id: UUID | None, time: float) -> Context:
    """Return the context of what a task returned at a time, in seconds since the epoch.

    As the constructor makes it, in half the time: there is one for every task.
    """
    if issubclass(type(value), Context):
        context = Context(value)
    else:
        context = Context.__new__(Context)
        context._storage = value
        context._task_id = task_id
        context._workflow_id = workflow_id
    context._time = time
    return context


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise ValueError(f"workflow_id must be the text of a UUID, not {text!r}") from error


def uuid_or_none(workflow_id: object) -> UUID | None:
    """Return a workflow's id where a `Context` can carry it: any other text is no UUID."""
    if isinstance(workflow_id, str):
        try:
            return UUID(workflow_id)
        except ValueError:
            return None
    return workflow_id if isinstance(workflow_id, UUID) else None
