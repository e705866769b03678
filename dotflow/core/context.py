"""What one step hands to the next, and copies of it, so that what a step changes is its own.

A step that may be repeated gets copies; any other one gets the very objects.
"""

from __future__ import annotations

import sys
import time as clock
from collections import Counter, OrderedDict, defaultdict, deque
from datetime import datetime
from functools import partial
from itertools import count
from types import FunctionType, ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from dotflow.core.process import once
from dotflow.core.user_objects import defined_by, guarded, is_a, repr_of, whole_repr_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


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


# Nothing can be changed in these; a bare `object()` is known by its identity.
_IMMUTABLE: Final = frozenset({type(None), bool, int, float, complex, str, bytes, object})

# Containers, in which what can be copied is copied although something beside it cannot.
_SEQUENCES: Final = frozenset({list, tuple, set, frozenset, deque})
_MAPPINGS: Final = frozenset({dict, defaultdict, OrderedDict, Counter})
_OPEN: Final = _SEQUENCES | _MAPPINGS | {bytearray, Context, SimpleNamespace}

# And so it is in objects of classes that say of themselves that they are records.
_MARKS_OF_RECORDS: Final = ("__dataclass_fields__", "__attrs_attrs__", "__pydantic_fields__")


def own_context(context: Context | None) -> Context | None:
    """Return a context like this one whose value is a copy; see `copy_of`."""
    if type(context) is not Context:
        copied: Context | None = copy_of(context)
        return copied
    own, value = Context(context), context.storage
    if not _is_plain(type(value)):
        own.storage = copy_of(value)
    return own


def copy_of(value: Any) -> Any:
    """Return a deep copy of a value, and for what cannot be copied the object itself.

    It is made by pickling, as for a worker, which takes a fifth of the time of
    `copy.deepcopy`; by that where a class in it says how it is copied (`__deepcopy__`), or
    something in it does not pickle. In containers, records and contexts only what cannot be
    copied either way (a generator, a lock, a connection) stays the object itself. An object of
    any other class is copied whole or not at all: what it holds belongs together, as do a pool
    and its lock, or a socket and what has been read from it.

    A generator of random numbers is itself: those who share it draw different numbers.
    """
    if is_immutable(value):
        return value
    # Copying runs the value's own code, and may import modules.
    copied, error = guarded(lambda: _pickled(value))
    return copied if error is None else _deep_copied(value)


def is_immutable(value: Any) -> bool:
    """Return whether a value is a plain one that nobody can change, or a tuple of such."""
    kind = type(value)
    if kind is tuple:
        return all(_is_plain(type(each)) for each in value)
    return _is_plain(kind)


def _is_plain(kind: type) -> bool:
    # A class's own metaclass may have any idea of being in a set.
    return type(kind) is type and kind in _IMMUTABLE


# --- by pickling ----------------------------------------------------------------------


def _is_kept(kind: type) -> bool:
    if issubclass(kind, (type, FunctionType, ModuleType)):
        return True
    random = sys.modules.get("random")  # whoever has made one has imported it
    if random is not None and issubclass(kind, random.Random):
        return True
    if _says_how_it_is_copied(kind):
        raise _OwnWay
    return False


class _OwnWay(Exception):
    """A class in the value has a `__deepcopy__`."""


def _says_how_it_is_copied(kind: type) -> bool:
    function = defined_by(kind, "__deepcopy__")
    # Those of the standard library, as of `Fraction`, do what pickling does.
    return type(function) is FunctionType and (
        str(function.__module__).partition(".")[0] not in sys.stdlib_module_names
    )


# What is pickled by its place here: by a number for each pickle, and one in it.
_kept: Final[dict[int, list[Any]]] = {}
_numbers: Final = count()


def _pickled(value: Any) -> Any:
    from io import BytesIO  # noqa: PLC0415 - only where something is copied
    from pickle import loads  # noqa: PLC0415 - likewise

    file, number = BytesIO(), next(_numbers)
    kept = _kept[number] = []
    try:
        _copier()(file, number, kept).dump(value)
        return loads(file.getbuffer())  # noqa: S301 - our own
    finally:
        del _kept[number]


def _itself(number: int, index: int) -> Any:
    return _kept[number][index]


@once
def _copier() -> Any:
    from pickle import HIGHEST_PROTOCOL, Pickler  # noqa: PLC0415 - only where something is copied

    class Copier(Pickler):
        def __init__(self, file: Any, number: int, kept: list[Any]) -> None:
            super().__init__(file, HIGHEST_PROTOCOL)
            self._number = number
            self._objects = kept
            self._known: dict[type, bool] = {}

        def reducer_override(self, value: Any) -> Any:
            # Not called for what is of the types that pickling knows by itself.
            kind = type(value)
            keeps = self._known.get(kind)
            if keeps is None:
                keeps = self._known[kind] = _is_kept(kind)
            if not keeps or value is _itself:
                return NotImplemented
            self._objects.append(value)
            return _itself, (self._number, len(self._objects) - 1)

    return Copier


# --- by deepcopy ----------------------------------------------------------------------


def _deep_copied(value: Any) -> Any:
    from copy import deepcopy  # noqa: PLC0415 - rarely needed

    copied, error = guarded(lambda: deepcopy(value))
    if error is None:
        return copied
    # `deepcopy` takes what is in its memo as copied already.
    memo: dict[int, Any] = {}
    for leaf in _leaves(value):
        if guarded(partial(deepcopy, leaf))[1] is not None:
            memo[id(leaf)] = leaf
    copied, error = guarded(lambda: deepcopy(value, memo))
    return copied if error is None else value  # nested too deep, say


def _leaves(value: Any) -> Iterator[Any]:
    """Yield what is in containers and records, however deep, and is none itself; each once."""
    seen: set[int] = set()
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if id(each) in seen or is_immutable(each):
            continue
        seen.add(id(each))
        if _is_open(type(each)):
            waiting += _inside(each)
        else:
            yield each


def _is_open(kind: type) -> bool:
    """Return whether a type is of containers or records."""
    if type(kind) is type:
        if kind in _OPEN:
            return True
        if kind in _IMMUTABLE:
            return False
    if issubclass(kind, tuple):
        return defined_by(kind, "_fields") is not None
    return any(defined_by(kind, mark) is not None for mark in _MARKS_OF_RECORDS)


def _inside(value: Any) -> Iterable[Any]:
    kind = type(value)
    if kind is Context:
        return (value.storage,)
    if kind in _MAPPINGS:
        return (*value.keys(), *value.values(), getattr(value, "default_factory", None))
    if kind in _SEQUENCES or issubclass(kind, tuple):
        return tuple(value)
    if kind is bytearray:
        return ()
    state = object.__getstate__(value)
    parts = state if type(state) is tuple else (state,)
    return tuple(each for part in parts if part for each in part.values())
