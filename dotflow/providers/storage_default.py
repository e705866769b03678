"""The storage that every run has by default: in memory."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from dotflow.abc.storage import Storage
from dotflow.core.arguments import strict_arguments
from dotflow.core.context import Context
from dotflow.core.ids import prefix_of, task_key
from dotflow.core.process import fork_safe_lock

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dotflow.core.model import Task

_FIRST_SWEEP: Final = 64


class StorageDefault(Storage):
    """Keeps the contexts themselves, not copies. Thread-safe.

    Those of a workflow that nobody can resume, because it was given no id, go with its tasks;
    all others stay until the process ends.
    """

    @strict_arguments
    def __init__(self) -> None:
        self._contexts: dict[str, Context] = {}
        # Apart from the contexts, because the engine uses neither and a tuple an entry
        # would cost every run memory.
        self._expiries: dict[str, float] = {}
        self._fingerprints: dict[str, str] = {}
        self._sweep_at = _FIRST_SWEEP
        # Those whose finalizer had no call left before the recursion limit.
        self.left_over: list[TaskEntries] = []
        # Re-entrant: a value's own `__eq__` or `__del__` may come back here.
        self._lock = fork_safe_lock()

    @property
    def can_lease(self) -> bool:
        """No: what is in memory is of no other process."""
        return False

    def post(
        self,
        key: str,
        context: Context,
        ttl: float | None = None,
        fingerprint: str | None = None,
    ) -> None:
        """Store a context, in place of what was there; see `Storage.post`."""
        with self._lock:
            if self._expiries or self._fingerprints or ttl is not None or fingerprint is not None:
                self._mark(key, ttl, fingerprint)
            self._contexts[key] = context

    def get(self, key: str) -> Context:
        """Return the context under `key` itself, or an empty one."""
        if self._expiries:
            with self._lock:
                self._expire(key)
                context = self._contexts.get(key)
        else:
            context = self._contexts.get(key)
        return Context() if context is None else context

    def key(self, task: Task) -> str:
        """Return `<workflow id>-<task id>`."""
        return task_key(task)

    def delete(self, key: str) -> bool:
        """Remove what is under `key`; tell whether anything was."""
        with self._lock:
            self._expire(key)
            return self._drop(key)

    def delete_prefix(self, prefix: str) -> int:
        """Remove all keys that begin with `prefix`; tell how many."""
        with self._lock:
            return sum(self._drop(key) for key in self.list_keys(prefix))

    def list_keys(self, prefix: str) -> list[str]:
        """Return the keys that begin with `prefix`, as they are now."""
        with self._lock:
            self._sweep()
            # Of a list made in one step: `forget` may come in between.
            return [key for key in list(self._contexts) if key.startswith(prefix)]

    def forget(self, keys: Iterable[str]) -> None:
        """Remove what is under keys, without the lock.

        For finalizers: they run in whichever thread collects garbage, so they must wait for no
        other thread, nor be in the way of the method that they interrupt. Each step of it is
        one operation of a dictionary.
        """
        for contents in (self._contexts, self._expiries, self._fingerprints):
            if contents:
                for key in keys:
                    contents.pop(key, None)

    def atomic_swap(
        self,
        key: str,
        expected: Context | None,
        new: Context,
        ttl: float | None = None,
        fingerprint: str | None = None,
    ) -> bool:
        """Store `new` only if the value there is still `expected`; see `Storage.atomic_swap`."""
        with self._lock:
            self._expire(key)
            if not _matches(self._contexts.get(key), expected):
                return False
            self.post(key, new, ttl, fingerprint)
            return True

    def fingerprint(self, key: str) -> str | None:
        """Return the mark that was stored beside `key`."""
        with self._lock:
            self._expire(key)
            return self._fingerprints.get(key)

    def _mark(self, key: str, ttl: float | None, fingerprint: str | None) -> None:
        self._expiries.pop(key, None)
        self._fingerprints.pop(key, None)
        if ttl is not None:
            self._expiries[key] = time.monotonic() + ttl
            self._sweep_if_many()
        if fingerprint is not None:
            self._fingerprints[key] = fingerprint

    def _expire(self, key: str) -> None:
        expiry = self._expiries.get(key)
        if expiry is not None and expiry <= time.monotonic():
            self._drop(key)

    def _drop(self, key: str) -> bool:
        self._expiries.pop(key, None)
        self._fingerprints.pop(key, None)
        return self._contexts.pop(key, None) is not None

    def forget_left_over(self) -> None:
        """Remove what a finalizer could not, because it came at the recursion limit."""
        if self.left_over:
            # Two runs may come here at once, and a finalizer in between.
            left, self.left_over = self.left_over, []
            for entries in left:
                entries.forget()

    def _sweep(self) -> None:
        self.forget_left_over()
        for key in list(self._expiries):
            self._expire(key)

    def _sweep_if_many(self) -> None:
        # Keys that nobody asks for again would stay for ever. Each sweep waits for the
        # number to double, so that a post stays cheap.
        if len(self._expiries) >= self._sweep_at:
            self._sweep()
            self._sweep_at = max(_FIRST_SWEEP, 2 * len(self._expiries))


class TaskEntries:
    """What the tasks of a run have in storages of this kind; it goes with the last of them.

    Each of the tasks refers to it, and beside them only their run.

    Args:
        workflow_id: The id that the tasks run under.
        record_keys: Where the run writes the workflow's record, as more are needed.
    """

    __slots__ = ("_prefix", "_record_keys", "_task_ids")

    def __init__(self, workflow_id: Any, record_keys: Sequence[str]) -> None:
        self._task_ids: list[tuple[StorageDefault, list[str]]] = []
        self._record_keys = record_keys
        self._prefix = prefix_of(workflow_id)

    def add(self, storage: Storage, task_ids: list[str]) -> None:
        """Take the entries of tasks over, where the storage is of this very kind."""
        if type(storage) is StorageDefault:
            storage.forget_left_over()
            self._task_ids.append((storage, task_ids))

    def release(self, workflow_id: Any, task_ids: set[str], *, record: bool) -> None:
        """Leave entries to a later run of tasks, where that is one of the same workflow."""
        if prefix_of(workflow_id) != self._prefix:
            return
        for _, own in self._task_ids:
            own[:] = [task_id for task_id in own if task_id not in task_ids]
        if record:
            self._record_keys = ()

    def __del__(self) -> None:
        # May come when the interpreter ends, so it looks at nothing that is global but this error.
        try:
            self.forget()
        except RecursionError:
            # Garbage is collected anywhere, also where no call is left. This makes none.
            for storage, _ in self._task_ids:
                storage.left_over += [self]

    def forget(self) -> None:
        """Remove the entries from their storages."""
        for storage, task_ids in self._task_ids:
            storage.forget([self._prefix + task_id for task_id in task_ids])
            storage.forget(self._record_keys)

    def __reduce__(self) -> tuple[Any, ...]:
        # A task that was copied or has travelled has no entry of its own.
        return type(None), ()


def _matches(current: Context | None, expected: Context | None) -> bool:
    if current is None or expected is None:
        return current is None and (expected is None or expected.storage is None)
    there, wanted = current.storage, expected.storage
    return there is wanted or bool(there == wanted)
