"""The workers that a run has at the moment, and what happens to them."""

from __future__ import annotations

import contextlib
import selectors
from typing import TYPE_CHECKING, Final

from dotflow.core.timing import monotonic
from dotflow.workers.protocol import socket_pair

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dotflow.workers.pool import Pool, Unused, Wake
    from dotflow.workers.worker import Worker

# How long it waits at a time, in seconds: a selector takes no more than 24 days.
_AT_A_TIME: Final = 86_400.0

# How long workers must stand still with others who read no outcomes before they do not count, and
# how often a run in line looks for such, in seconds.
LOOK_IN_LINE: Final = 0.1


class _Wakeup:
    """Wakes a thread that waits for sockets, from another one: it becomes readable."""

    def __init__(self) -> None:
        self._reading, self._writing = socket_pair()

    def fileno(self) -> int:
        """Return the descriptor that becomes readable."""
        return self._reading.fileno()

    def wake(self) -> None:
        """Wake who waits, in any thread."""
        # Who waited may have closed it at this moment.
        with contextlib.suppress(OSError):
            self._writing.send(b"!")

    def clear(self) -> None:
        """Note that who waited was woken."""
        self._reading.recv(64)

    def close(self) -> None:
        """End it."""
        self._reading.close()
        self._writing.close()


class LeasedWorkers:
    """Workers of a pool that one run has, and those of them that are free.

    Args:
        pool: Has them.
        around: What stands at the pool for the runs that wait until this one has ended.

    Attributes:
        wake: What stands at the pool for this run.
        waits: Whether this run is in line for a worker.
        must_look: Whether there is one whose death the system does not tell.
    """

    def __init__(self, pool: Pool, around: Sequence[Wake] = ()) -> None:
        self._pool = pool
        self._around = around
        self._wakeup = _Wakeup()
        self.wake = self._wakeup.wake
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wakeup, selectors.EVENT_READ, None)
        self._free: list[Worker] = []
        self.waits = False
        self._looked = 0.0
        self._stood: frozenset[Unused] = frozenset()
        self._unused: frozenset[Unused] = frozenset()
        self.must_look = False

    @property
    def has_free(self) -> bool:
        """Whether one of them is free."""
        return bool(self._free)

    @property
    def are_wanted(self) -> bool:
        """Whether another run waits for a worker."""
        return self._pool.is_wanted(self.wake)

    def is_free(self, worker: Worker) -> bool:
        """Return whether one of them is free."""
        return worker in self._free

    def take(self, preferred: Worker | None) -> Worker | None:
        """Return one that is free, or of the pool; None: `events` says when to ask again.

        Args:
            preferred: The one to return, if it is free.

        Raises:
            OSError: No process can be started.
        """
        if self._free and self._pool.is_full(self._around):
            # Another run has the place of a worker that stood still with this one.
            self.release_free()
        if preferred is not None and preferred in self._free:
            self._free.remove(preferred)
            return preferred
        if self._free:
            return self._free.pop()
        worker = self._pool.acquire(self.wake, preferred, self._around, self._unused)
        self.waits = worker is None
        if worker is not None:
            self._watch(worker)
        return worker

    def look(self) -> bool:
        """Return whether workers, or promises of one, stand still since a while with others."""
        now = monotonic()
        if now < self._looked + LOOK_IN_LINE:
            return False
        before, self._stood = self._stood, self._pool.unused(self.wake)
        self._unused = before & self._stood
        self._looked = now
        return bool(self._unused)

    def cancel_wait(self) -> None:
        """Leave the line, if it stands there."""
        if self.waits:
            self.waits = False
            self._stood = self._unused = frozenset()
            self._pool.stop_waiting(self.wake)

    def keep(self, worker: Worker) -> None:
        """Keep or release one that has nothing to do."""
        if self.are_wanted:
            # Runs that wait get their turn between two attempts of this one.
            self._release(worker)
        else:
            self._free.append(worker)

    def release_free(self) -> None:
        """Release those that are free: another run may have something for them."""
        free, self._free = self._free, []
        for worker in free:
            self._release(worker)

    def _release(self, worker: Worker) -> None:
        self._unwatch(worker)
        self._pool.release(worker)

    def drop(self, worker: Worker) -> str:
        """Release one that is dead or must die; return how it ended."""
        self._unwatch(worker)
        if worker in self._free:
            self._free.remove(worker)
        return self._pool.discard(worker)

    # --- waiting ----------------------------------------------------------------------

    def events(self, seconds: float | None) -> Iterable[tuple[Worker | None, int]]:
        """Wait for news at most so long: of a worker, or, None, that there may be a free one.

        Where that is very long there may be no news before.
        """
        patience = None if seconds is None else min(seconds, _AT_A_TIME)
        for key, events in self._selector.select(patience):
            if key.data is None:
                self._wakeup.clear()
            yield key.data, events

    def _watch(self, worker: Worker) -> None:
        self._selector.register(worker.connection, selectors.EVENT_READ, worker)
        if worker.death is None:
            self.must_look = True
        else:
            self._selector.register(worker.death, selectors.EVENT_READ, worker)

    def watch_sending(self, worker: Worker) -> None:
        """Be notified when one receives more, for as long as there is something to be sent."""
        wanted = selectors.EVENT_READ
        if worker.wants_to_send:
            wanted |= selectors.EVENT_WRITE
        self._selector.modify(worker.connection, wanted, worker)

    def _unwatch(self, worker: Worker) -> None:
        self._selector.unregister(worker.connection)
        if worker.death is not None:
            self._selector.unregister(worker.death)

    def close(self) -> None:
        """Return those that are free; the others are killed. A second call ends what is left."""
        self._selector.close()
        free, self._free = self._free, []
        try:
            for worker in free:
                self._pool.release(worker)
        finally:
            try:
                self._pool.leave(self.wake)
            finally:
                self._wakeup.close()
