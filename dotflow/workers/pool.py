"""The workers of one executor, shared by all runs that use it."""

from __future__ import annotations

import atexit
import os
import weakref
from collections import deque
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING

from dotflow.workers.process import Worker

if TYPE_CHECKING:
    from collections.abc import Callable


class Pool:
    """At most `size` workers, started when first needed and lent to one run at a time.

    Args:
        size: How many.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._lock = Lock()
        self._lifeline = os.pipe()
        self._idle: list[Worker] = []
        self._lent: set[Worker] = set()
        self._starting = 0
        self._waiting: deque[Callable[[], None]] = deque()
        ref = weakref.ref(self)
        atexit.register(_close, ref)
        os.register_at_fork(after_in_child=partial(_forget, ref))

    @property
    def is_wanted(self) -> bool:
        """Whether a run waits for a worker."""
        return bool(self._waiting)

    @property
    def has_free(self) -> bool:
        """Whether a worker could be leased now."""
        with self._lock:
            return bool(self._idle) or len(self._lent) + self._starting < self.size

    def counts(self) -> tuple[int, int]:
        """Tell how many workers live, and how many of them are lent."""
        with self._lock:
            return len(self._idle) + len(self._lent), len(self._lent)

    def lease(self) -> Worker | None:
        """Lend a worker, or give None where all are lent.

        Raises:
            OSError: No process can be started.
        """
        with self._lock:
            worker = self._idle_one()
            if worker is not None:
                self._lent.add(worker)
                return worker
            if len(self._lent) + self._starting >= self.size:
                return None
            self._starting += 1
        try:
            worker = Worker(self._lifeline[0])
        finally:
            with self._lock:
                self._starting -= 1
        with self._lock:
            self._lent.add(worker)
        return worker

    def _idle_one(self) -> Worker | None:
        while self._idle:
            worker = self._idle.pop()
            if worker.is_alive():
                return worker
            worker.kill()
        return None

    def give_back(self, worker: Worker) -> None:
        """Take back a worker that has nothing to do."""
        with self._lock:
            self._lent.discard(worker)
            self._idle.append(worker)
        self._wake_one()

    def discard(self, worker: Worker) -> str:
        """Take back a worker that is dead or must die; tell how it ended."""
        ended = worker.kill()
        with self._lock:
            self._lent.discard(worker)
        self._wake_one()
        return ended

    def call_when_free(self, wake: Callable[[], None]) -> None:
        """Have `wake` called, once, when a worker is free; whoever waits longest is first."""
        with self._lock:
            self._waiting.append(wake)

    def stop_waiting(self, wake: Callable[[], None]) -> None:
        """Take back what was asked of `call_when_free`, if it is still to come."""
        with self._lock:
            if wake in self._waiting:
                self._waiting.remove(wake)

    def _wake_one(self) -> None:
        with self._lock:
            wake = self._waiting.popleft() if self._waiting else None
        if wake is not None:
            wake()

    def close(self) -> None:
        """End all workers: those with nothing to do by themselves, the others at once."""
        with self._lock:
            idle, self._idle = self._idle, []
            lent, self._lent = self._lent, set()
        for worker in idle:
            worker.connection.close()
        for worker in lent:
            worker.kill()
        for worker in idle:
            worker.end()

    def forget(self) -> None:
        """Start with nothing in a forked copy of the process."""
        for worker in (*self._idle, *self._lent):
            worker.forget()
        for end in self._lifeline:
            os.close(end)
        self._lock = Lock()
        self._lifeline = os.pipe()
        self._idle, self._lent = [], set()
        self._waiting.clear()


def _close(ref: weakref.ref[Pool]) -> None:
    pool = ref()
    if pool is not None:
        pool.close()


def _forget(ref: weakref.ref[Pool]) -> None:
    pool = ref()
    if pool is not None:
        pool.forget()
