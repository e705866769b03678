"""The storage that every run has unless told otherwise: in memory."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from dotflow.abc.storage import Storage
from dotflow.core.arguments import strict_arguments
from dotflow.core.context import Context
from dotflow.core.keys import task_key
from dotflow.core.locks import fork_safe_lock

if TYPE_CHECKING:
    from dotflow.core.task import Task

_FIRST_SWEEP: Final = 64


class StorageDefault(Storage):
    """Keeps the contexts themselves, not copies, until the process ends. Thread-safe."""

    @strict_arguments
    def __init__(self) -> None:
        self._contexts: dict[str, Context] = {}
        # Apart from the contexts, because the engine uses neither and a tuple an entry
        # would cost every run memory.
        self._expiries: dict[str, float] = {}
        self._fingerprints: dict[str, str] = {}
        self._sweep_at = _FIRST_SWEEP
        # Re-entrant: a value's own `__eq__` or `__del__` may come back here.
        self._lock = fork_safe_lock()

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
        """Give the context under `key` itself, or an empty one."""
        if self._expiries:
            with self._lock:
                self._expire(key)
                context = self._contexts.get(key)
        else:
            context = self._contexts.get(key)
        return Context() if context is None else context

    def key(self, task: Task) -> str:
        """Give `<workflow id>-<task id>`."""
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
        """Give the keys that begin with `prefix`, as they are now."""
        with self._lock:
            self._sweep()
            return [key for key in self._contexts if key.startswith(prefix)]

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
        """Give the mark that was stored beside `key`."""
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

    def _sweep(self) -> None:
        for key in list(self._expiries):
            self._expire(key)

    def _sweep_if_many(self) -> None:
        # Keys that nobody asks for again would stay for ever. Each sweep waits for the
        # number to double, so that a post stays cheap.
        if len(self._expiries) >= self._sweep_at:
            self._sweep()
            self._sweep_at = max(_FIRST_SWEEP, 2 * len(self._expiries))


def _matches(current: Context | None, expected: Context | None) -> bool:
    if current is None or expected is None:
        return current is None and (expected is None or expected.storage is None)
    there, wanted = current.storage, expected.storage
    return there is wanted or bool(there == wanted)
