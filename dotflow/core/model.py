"""One step of a workflow, with what became of it; and it and its workflow as plain data."""

from __future__ import annotations

import time
import warnings
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from dotflow.core.action import Action, check_callback
from dotflow.core.arguments import refuse_unknown
from dotflow.core.context import Context, own_context
from dotflow.core.exception import (
    InvalidOption,
    MissingActionDecorator,
    ParameterNotPassed,
    TaskError,
)
from dotflow.core.module import Module
from dotflow.core.process import fork_safe_lock
from dotflow.core.types import TypeStatus
from dotflow.core.user_objects import guarded, is_a, repr_of, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Never

    from dotflow.core.failure import Failure
    from dotflow.core.run import Run


_ARGUMENTS: Final = (
    "task_id",
    "step",
    "callback",
    "initial_context",
    "workflow_id",
    "config",
    "group_name",
    "name",
)

# What `vars(task)` shows: the attributes of dotflow 1.x, and the name.
_SHOWN: Final = (
    "task_id",
    "workflow_id",
    "name",
    "step",
    "callback",
    "group_name",
    "status",
    "duration",
    "retry_count",
    "errors",
    "created_at",
    "started_at",
    "finished_at",
    "initial_context",
    "previous_context",
    "current_context",
    "config",
)

# Held for a moment while a task gets what most tasks never need.
_making = fork_safe_lock()


class _Configs:
    """What a task knows of configurations, which know it through their providers.

    `dotflow.core.task` sets it with `use_configs`.
    """

    kind: type[Any] = object
    check: Callable[[object], None]
    default: Callable[[], Any]


def use_configs(
    kind: type[Any], check: Callable[[object], None], default: Callable[[], Any]
) -> None:
    """Set what a task's configuration is.

    Args:
        kind: The class of most configurations.
        check: Raises an error where an object is no configuration.
        default: Returns the one of tasks that were given none.
    """
    _Configs.kind = kind
    _Configs.check = staticmethod(check)
    _Configs.default = staticmethod(default)


def basic_callback(*args: Any, **kwargs: Any) -> None:
    """Do nothing: the callback of a task that was given none."""


class Task:
    """A step, the options it was added with, and its state.

    A plain record: the engine alone changes the state of a task that runs.

    Args:
        task_id: Unique in its workflow.
        step: An action, or the import string of one.
        callback: Called as `callback(task=task)` after the task ran; or its import string.
        initial_context: The value that the step finds in `initial_context.storage`.
        workflow_id: The id of the workflow.
        config: The providers, a `Config`; None: those of the run, or the process's default ones.
        group_name: The group that the task belongs to.
        name: What it is called in logs, traces and metrics; by default the step's name.

    Raises:
        ImportModuleError: An import string leads nowhere.
        InvalidOption: `task_id`, `group_name`, `name` or `config` is of the wrong type.
        MissingActionDecorator: The step is no action.
        NotCallableObject: The callback cannot be called with `task=`.
        ParameterNotPassed: The step has a parameter that a workflow does not pass.
        TypeError: There is no such argument.
    """

    # Slots, and times as plain floats: a queue of 100,000 tasks has 100,000 of these.
    __slots__ = (
        "_config",
        "_created",
        "_current",
        "_entries",
        "_errors",
        "_finished",
        "_initial",
        "_previous",
        "_started",
        "attached",
        "callback",
        "duration",
        "failure",
        "group_name",
        "index",
        "name",
        "queue_duration",
        "ready_at",
        "restored",
        "retry_count",
        "run",
        "status",
        "step",
        "task_id",
        "workflow_id",
    )

    def __init__(
        self,
        task_id: str,
        step: Action | str | type[Any],
        callback: Callable[..., Any] | str = basic_callback,
        initial_context: Any = None,
        workflow_id: Any = None,
        config: Any = None,
        group_name: str = "default",
        name: str | None = None,
        **unknown: Never,
    ) -> None:
        if unknown:
            refuse_unknown("Task", unknown, _ARGUMENTS)
        # In one look, because a queue may have 100,000 tasks.
        if not (type(task_id) is type(group_name) is str and (name is None or type(name) is str)):
            check_texts(task_id=task_id, group_name=group_name, name=name)
        if type(config) is not _Configs.kind:
            _Configs.check(config)
        self.task_id = task_id
        self.workflow_id = workflow_id
        self.step: Action = step if type(step) is Action and step.is_step else step_of(step)
        self.callback: Callable[..., Any] = (
            callback if callback is basic_callback else callback_of(callback)
        )
        self.group_name = group_name
        self.name = name or self.step.name
        self._config = config
        self._initial = initial_context
        self._previous: Any = None
        self._created: Any = time.time()
        # What goes from the storage with the last task of its run.
        self._entries: Any = None
        self.index = 0
        self.reset()

    def reset(self) -> None:
        """Make the task as if it had never run."""
        self.status: str = TypeStatus.NOT_STARTED
        self.retry_count = 0
        self.duration: float | None = None
        self.run: Run | None = None
        self.attached: Any = None
        self.failure: Failure | None = None
        self.restored = False
        self.ready_at: float | None = None
        self.queue_duration: float | None = None
        self._errors: list[TaskError] | None = None
        self._previous = None
        self._current: Any = None
        self._started: Any = None
        self._finished: Any = None

    def copy(self, task_id: str) -> Task:
        """Return a task as this one was when it was made, with another id."""
        task = Task(
            task_id,
            self.step,
            self.callback,
            own_context(self._initial),
            self.workflow_id,
            self._config,
            self.group_name,
            self.name,
        )
        task.index = self.index
        return task

    @property
    def config(self) -> Any:
        """The providers: a `Config`."""
        return self._config or _Configs.default()

    @config.setter
    def config(self, value: Any) -> None:
        self._config = value

    @property
    def initial_context(self) -> Context:
        """What the task was added with; empty if nothing."""
        self._initial = context = Context.of(self._initial)
        return context

    @initial_context.setter
    def initial_context(self, value: Any) -> None:
        self._initial = Context.of(value)

    @property
    def previous_context(self) -> Context:
        """What the task before it handed on; empty if nothing."""
        return Context.of(self._previous)

    @previous_context.setter
    def previous_context(self, value: Any) -> None:
        self._previous = Context.of(value)

    @property
    def current_context(self) -> Context:
        """What the step returned; empty if it did not."""
        # An empty one is not kept: the run may put the result there at this very moment.
        return Context.of(self._current)

    @current_context.setter
    def current_context(self, value: Any) -> None:
        self._current = Context.of(value)

    @property
    def created_at(self) -> datetime | None:
        """When the task was made: naive local time."""
        return _as_datetime(self._created)

    @created_at.setter
    def created_at(self, value: datetime | float | None) -> None:
        self._created = value

    @property
    def started_at(self) -> datetime | None:
        """When the first attempt started: naive local time."""
        return _as_datetime(self._started)

    @started_at.setter
    def started_at(self, value: datetime | float | None) -> None:
        self._started = value

    @property
    def finished_at(self) -> datetime | None:
        """When the last attempt ended: naive local time."""
        return _as_datetime(self._finished)

    @finished_at.setter
    def finished_at(self, value: datetime | float | None) -> None:
        self._finished = value

    @property
    def errors(self) -> list[TaskError]:
        """What went wrong, one record for each failed attempt."""
        if self._errors is None:
            with _making:
                # Looked at again: the run and who reads the task may both come here first.
                if self._errors is None:
                    self._errors = []
        return self._errors

    @errors.setter
    def errors(self, value: list[TaskError] | TaskError | BaseException) -> None:
        if is_a(value, list):
            self._errors = value
        else:
            self.errors.append(_as_error(value))

    @property
    def error(self) -> TaskError:
        """The last of `errors`, or an empty one. Deprecated."""
        _warn_of_error()
        return self._errors[-1] if self._errors else TaskError()

    @error.setter
    def error(self, value: TaskError | BaseException) -> None:
        _warn_of_error()
        self.errors.append(_as_error(value))

    @property
    def attempt(self) -> int:
        """The number of the attempt that runs, or ran last; from 1."""
        return self.retry_count + 1

    def schema(self, max: int | None = None) -> TaskRecord:  # noqa: A002 - the 1.x name
        """Return the task as a typed record; `max` limits the length of its JSON text."""
        return task_record(self, max)

    def result(self, max: int | None = None) -> dict[str, Any]:  # noqa: A002 - the 1.x name
        """Return the task as a dictionary; `max` limits the length of its JSON text."""
        return self.fields() if max is None else self.schema(max).model_dump()

    def fields(self, workflow_id: str | None = None) -> dict[str, Any]:
        """Return the task as a dictionary, with the fields of a `TaskRecord`.

        Args:
            workflow_id: The text of its workflow's id, where that is known: one is enough for
                all tasks of a workflow.
        """
        # Of what the task holds, and not by its properties: a result may have 100,000 tasks.
        errors = [_error_fields(error) for error in self._errors or ()]
        return {
            "task_id": self.task_id,
            "id": self.task_id,
            "workflow_id": str(self.workflow_id) if workflow_id is None else workflow_id,
            "name": self.name,
            "status": self.status,
            "duration": self.duration,
            "initial_context": _context(self._initial),
            "current_context": _context(self._current),
            "previous_context": _context(self._previous),
            "group_name": self.group_name,
            "retry_count": self.retry_count,
            "created_at": _iso(self._created),
            "started_at": _iso(self._started),
            "finished_at": _iso(self._finished),
            "errors": errors,
            "error": dict(errors[-1]) if errors else None,
        }

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override]
        """The attributes of the task as they are now, for `vars(task)`; a copy."""
        return {name: getattr(self, name) for name in _SHOWN}

    def __getstate__(self) -> tuple[None, dict[str, Any]]:
        # Without that copy.
        state = {name: getattr(self, name) for name in self.__slots__}
        return None, {**state, "attached": None}  # which is of this process

    def __repr__(self) -> str:
        return f"<Task {self.name} {self.task_id} {self.status!r}>"


def check_texts(**texts: object) -> None:
    """Check options that are texts; `name` may be None.

    Raises:
        InvalidOption: One is of another type.
    """
    for option, value in texts.items():
        if not isinstance(value, str) and not (option == "name" and value is None):
            raise InvalidOption(option, value, "give a text")


def step_of(step: object) -> Action:
    """Return the action that `step` is or names.

    Raises:
        ImportModuleError: The import string leads nowhere.
        MissingActionDecorator: It is no action.
        ParameterNotPassed: It has a parameter that a workflow does not pass.
    """
    found = step if isinstance(step, Action) else Module(step)
    if not isinstance(found, Action) or found.func is None:
        raise MissingActionDecorator(step)
    if found.unmet is not None:
        raise ParameterNotPassed(*found.unmet)
    return found


def callback_of(callback: object) -> Callable[..., Any]:
    """Return the callable that `callback` is or names.

    Raises:
        ImportModuleError: The import string leads nowhere.
        NotCallableObject: It cannot be called with `task=`.
    """
    found = Module(callback)
    check_callback(found, ("task",), f"callback={repr_of(callback)}")
    checked: Callable[..., Any] = found
    return checked


def _as_error(value: Any) -> TaskError:
    return value if is_a(value, TaskError) else TaskError(value)


def _as_datetime(value: datetime | float | None) -> datetime | None:
    return datetime.fromtimestamp(value) if isinstance(value, (int, float)) else value


def _warn_of_error() -> None:
    warnings.warn("Task.error is deprecated: use Task.errors", DeprecationWarning, stacklevel=3)


# Beyond it, Python may refuse to write a number out.
_SMALL: Final = 1 << 63
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
        return _json(self.model_dump())

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
        record = cls(**workflow_fields(workflow_id, name, ()))
        record.tasks = [task_record(task) for task in tasks]
        return record


def task_record(task: Task, limit: int | None = None) -> TaskRecord:
    """Make the record of a task.

    Args:
        task: The task.
        limit: How many characters its JSON text may have. Over that, contexts are replaced,
            the largest first, then the errors left out, then the contexts left out.
    """
    record = TaskRecord(**task.fields())
    record.errors = [ErrorRecord(**fields) for fields in vars(record)["errors"]]
    record.error = record.errors[-1] if record.errors else None
    if limit is not None:
        _shorten(record, limit)
    return record


def workflow_fields(workflow_id: Any, name: str | None, tasks: Iterable[Task]) -> dict[str, Any]:
    """Return a workflow with its tasks as a dictionary, with the fields of a `WorkflowRecord`."""
    text = str(workflow_id)
    return {
        "id": text,
        "workflow_id": text,
        "name": name,
        "workflow_name": name,
        "tasks": [task.fields(text if task.workflow_id is workflow_id else None) for task in tasks],
    }


def _error_fields(error: TaskError) -> dict[str, Any]:
    return {
        "attempt": error.attempt,
        "exception": error.exception,
        "traceback": error.traceback,
        "message": error.message,
    }


def _shorten(record: TaskRecord, limit: int) -> None:
    def fits() -> bool:
        return len(record.model_dump_json()) <= limit

    sizes = {name: len(_json(getattr(record, name))) for name in _CONTEXTS}
    for name in sorted(_CONTEXTS, key=sizes.__getitem__, reverse=True):
        if fits():
            return
        setattr(record, name, dict(_TOO_LARGE))
    if not fits():
        record.errors, record.error = [], None
    if limit and not fits():
        for name in _CONTEXTS:
            setattr(record, name, None)


def _context(held: Any) -> Any:
    # What a task holds may be a bare value, of which no context is made: tasks are many.
    if held is None:
        return None
    value = held.storage if is_a(held, Context) else held
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
    # Most values are of these types, of which nothing can go wrong.
    kind = type(value)
    if kind is str:
        return _json(value)
    if kind is int and -_SMALL < value < _SMALL:
        return repr(value)
    text, _ = guarded(lambda: _json(value))
    return text_of(value) if text is None else text


def _plain(value: Any) -> Any:
    if isinstance(value, _Record):
        return value.model_dump()
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value


def _iso(time: datetime | float | None) -> str | None:
    made = _as_datetime(time)
    return None if made is None else made.isoformat()


def _json(value: Any) -> str:
    from json import dumps  # noqa: PLC0415 - slow to import, and for results only

    return dumps(value)
