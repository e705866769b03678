"""The workers of one executor, shared by all runs that use it."""

from __future__ import annotations

import os
from collections import deque
from typing import TYPE_CHECKING, Final

from dotflow.core.process import fork_safe_lock
from dotflow.core.timing import monotonic
from dotflow.workers.environment import check_one_more, pool_size, share_of_each
from dotflow.workers.imports import code_version
from dotflow.workers.protocol import pipe
from dotflow.workers.usage import count_living, notify_elsewhere, register, worker_usage
from dotflow.workers.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    Wake = Callable[[], None]

    # A worker and how many attempts it has had; or whom one is promised, and 0.
    Unused = tuple[Worker | Wake, int]

_POLITE: Final = 1.0  # seconds that all workers together get to end by themselves


class Pool:
    """At most `size` workers, started when first needed and leased to one run at a time.

    Who finds none free waits in line. A worker that becomes free is kept for the first in
    line, so that no run can take it again before that one's thread has woken.

    A run whose thread is in a callback or a hook reads no outcomes and gives no worker back. Where
    that one waits for another run, which waits for a worker, neither would ever end. So what stands
    still with such a run does not count: the size limits how many attempts run at a time, and there
    may be more workers for a while.

    Args:
        size: How many; in a worker, as many of them as it may have.

    Raises:
        TooManyNestedWorkers: In a worker that may have none.
    """

    def __init__(self, size: int) -> None:
        self.size = pool_size(size)
        self._lock = fork_safe_lock()
        self._idle: list[Worker] = []
        self._lifeline: tuple[int, ...] = ()
        self._lifeline = pipe()
        # Workers that are leased and those that are being started, and to whom.
        self.leased: dict[Worker, Wake] = {}
        self._starting: list[Wake] = []
        self._waiting: deque[Wake] = deque()
        self._promised: list[Wake] = []
        register(self)

    def counts(self) -> tuple[int, int]:
        """Return how many workers live, and how many of them are leased."""
        with self._lock:
            return len(self._idle) + len(self.leased), len(self.leased)

    def live(self) -> int:
        """Return how many workers live."""
        return self.counts()[0]

    # --- leasing ----------------------------------------------------------------------

    def acquire(
        self,
        wake: Wake,
        preferred: Worker | None = None,
        around: Sequence[Wake] = (),
        unused: Collection[Unused] = (),
    ) -> Worker | None:
        """Return a worker; where none is free return None, and call `wake`, once, when one is.

        Args:
            wake: Called in any thread; it stands for whoever asks.
            preferred: The worker to return if it is free.
            around: Who waits until `wake` has ended, and returns none before: as many as these
                have are leased beyond the size of the pool.
            unused: What has stood still with others for a while; as many workers as do so yet are
                leased beyond the size of the pool.

        Raises:
            OSError: No process can be started.
            DotflowError: None may be started here, or with nothing that is there.
        """
        with self._lock:
            if unused:
                self._take_back_promises(unused)
            if not self._may_lease(wake, around, unused):
                if wake not in self._waiting:
                    self._waiting.append(wake)
                return None
            self._withdraw(wake)
            worker = self._lease_idle_one(wake, preferred)
            if worker is not None:
                return worker
            self._starting.append(wake)
        return self._start_one(wake)

    def _may_lease(
        self, wake: Wake, around: Sequence[Wake], unused: Collection[Unused] = ()
    ) -> bool:
        free, promised = self._free, self._promised
        if around or unused:
            free += sum(
                user in around or (worker, worker.attempts) in unused
                for worker, user in self.leased.items()
            )
            promised = [each for each in promised if each not in around]
        return wake in promised or free > len(promised)

    def _take_back_promises(self, unused: Collection[Unused]) -> None:
        # Those whose they were are the first in line again.
        late = [each for each in self._promised if (each, 0) in unused]
        self._promised = [each for each in self._promised if each not in late]
        self._waiting.extendleft(reversed(late))

    def unused(self, wake: Wake) -> frozenset[Unused]:
        """Return what others than `wake` have, or were promised, and what stands still now."""
        with self._lock:
            leased = [worker for worker, user in self.leased.items() if user != wake]
            promised = [each for each in self._promised if each != wake]
        still = ((worker, worker.attempts) for worker in leased if worker.stands_still())
        return frozenset((*still, *((each, 0) for each in promised)))

    def is_full(self, around: Sequence[Wake] = ()) -> bool:
        """Return whether no further attempt may begin, be there a worker that is free.

        Args:
            around: As for `acquire`.
        """
        if self._free >= 0:
            return False  # no more are leased than may be
        with self._lock:
            leased = [worker for worker, user in self.leased.items() if user not in around]
        running = sum(not worker.stands_still() for worker in leased)
        return running + len(self._starting) >= self.size

    @property
    def _free(self) -> int:
        return self.size - len(self.leased) - len(self._starting)

    def _start_one(self, wake: Wake) -> Worker:
        worker = None
        try:
            check_one_more(count_living())
            worker = Worker(self._lifeline[0], share_of_each(self.size))
            worker.code_version = code_version.number
        finally:
            with self._lock:
                self._starting.remove(wake)
                if worker is not None:
                    self.leased[worker] = wake
            if worker is None:
                self._wake_next()
        return worker

    def _lease_idle_one(self, wake: Wake, preferred: Worker | None) -> Worker | None:
        while self._idle:
            worker = preferred if preferred in self._idle else self._idle[-1]
            assert worker is not None  # noqa: S101 - none is idle
            # In this order: one who is interrupted in between has it, and leaves it.
            self.leased[worker] = wake
            self._idle.remove(worker)
            if worker.code_version == code_version.number and worker.is_alive():
                return worker
            worker.kill()
            del self.leased[worker]
        return None

    def release(self, worker: Worker) -> None:
        """Receive a worker that has nothing to do."""
        if len(self._idle) + len(self.leased) > self.size:
            self.discard(worker)
            return
        with self._lock:
            # In this order: one who is interrupted in between has it yet, and leaves it.
            self._idle.append(worker)
            self.leased.pop(worker, None)
        self._wake_next()

    def discard(self, worker: Worker) -> str:
        """Receive a worker that is dead or must die; return how it ended."""
        ended = worker.kill()
        with self._lock:
            self.leased.pop(worker, None)
        self._wake_next()
        return ended

    # --- waiting ----------------------------------------------------------------------

    def is_wanted(self, wake: Wake) -> bool:
        """Return whether another than `wake` waits for a worker."""
        if not self._waiting:
            return False
        with self._lock:
            return any(each != wake for each in self._waiting)

    def stop_waiting(self, wake: Wake) -> None:
        """Leave the line."""
        with self._lock:
            self._withdraw(wake)
        self._wake_next()

    def leave(self, wake: Wake) -> None:
        """Leave for good: what is still leased by `wake` is killed, wherever it was interrupted.

        A second call does what an interrupted one has left.
        """
        with self._lock:
            self._starting = [each for each in self._starting if each != wake]
            left = [worker for worker, user in self.leased.items() if user == wake]
            self._idle = [worker for worker in self._idle if worker not in left]
            # One that it was about to wake when it was interrupted: to be woken twice is no harm.
            promised = [each for each in self._promised if each != wake]
        for each in promised:
            each()
        for worker in left:
            self.discard(worker)
        self.stop_waiting(wake)

    def _withdraw(self, wake: Wake) -> None:
        for line in (self._waiting, self._promised):
            while wake in line:
                line.remove(wake)

    def _wake_next(self) -> None:
        with self._lock:
            if not self._waiting or self._free <= len(self._promised):
                return
            # In this order: who is interrupted in between leaves the first in line where it is.
            wake = self._waiting[0]
            self._promised.append(wake)
            self._waiting.popleft()
        wake()

    # --- the end ----------------------------------------------------------------------

    def close(self) -> None:
        """End all workers: those with nothing to do by themselves, the others at once."""
        with self._lock:
            idle, self._idle = self._idle, []
            leased = list(self.leased)
        for worker in idle:
            worker.connection.close()
        for worker in leased:
            # The run that has it sees it die, and gives it back for good.
            worker.signal()
        until = monotonic() + _POLITE
        for worker in idle:
            worker.end(max(0.0, until - monotonic()))
        worker_usage.notify(count_living)

    def __del__(self, close_descriptor: Callable[[int], None] = os.close) -> None:
        # Of a pool that was let go without a word: nobody has its workers by now. Modules
        # may be gone at the interpreter's exit, hence the default argument.
        if not hasattr(self, "_lifeline"):
            return  # it was refused when it was made
        idle, self._idle = self._idle, []
        for worker in idle:
            worker.kill()
        for end in self._lifeline:
            close_descriptor(end)
        if idle:
            notify_elsewhere()

    def forget(self) -> None:
        """Start with nothing in a forked copy of the process."""
        for worker in (*self._idle, *self.leased):
            worker.forget()
        for end in self._lifeline:
            os.close(end)
        worker_usage.reset()
        self._lifeline = pipe()
        self._idle, self.leased, self._starting = [], {}, []
        self._waiting.clear()
        self._promised.clear()
