"""Attempts that wait in workers, behind those that run there, so that no worker waits for its run.

Only where attempts are brief: then a worker would wait as long as it works. What waits behind one
that is not is taken back.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dotflow.workers.payload import PendingAttempt
    from dotflow.workers.worker import Worker

# How many attempts wait behind one, and of how many bytes: what is large takes its time anyway.
MOST: Final = 8
# Of these, how many go in one piece: the others keep the worker busy until it comes.
TOGETHER: Final = 4
_MOST_BYTES: Final = 1 << 14

# Up to how many seconds attempts are brief, and how much the last one counts.
BRIEF: Final = 0.002
_WEIGHT: Final = 0.3


class Ahead:
    """The attempts of one run that were sent to workers that have one already.

    Args:
        running: The attempt that each worker has begun, or will begin next.

    Attributes:
        count: How many wait.
    """

    def __init__(self, running: Mapping[Worker, PendingAttempt]) -> None:
        self._running = running
        self._waiting: dict[Worker, deque[PendingAttempt]] = {}
        self._typical = BRIEF
        self.count = 0

    @property
    def are_brief(self) -> bool:
        """Whether the attempts of late have been."""
        return self._typical < BRIEF

    def note(self, seconds: float) -> None:
        """Note how long an attempt ran."""
        self._typical += _WEIGHT * (seconds - self._typical)

    def worker_for(self, pending: PendingAttempt) -> Worker | None:
        """Return the worker that an attempt can wait in; None: it waits with its run."""
        if not self.are_brief or pending.attempt.number > 1:
            return None  # a retry goes to the worker that had it
        if sum(map(len, pending.body)) + len(pending.step.data) > _MOST_BYTES:
            return None
        found = min(self._running, key=self._waiting_in)
        return found if self._waiting_in(found) < MOST else None

    def _waiting_in(self, worker: Worker) -> int:
        if worker.is_slow:
            return MOST
        waiting = self._waiting.get(worker)
        return 0 if waiting is None else len(waiting)

    def add(self, worker: Worker, pending: PendingAttempt) -> None:
        """Note that an attempt is sent to a worker, to wait there."""
        self._waiting.setdefault(worker, deque()).append(pending)
        self.count += 1

    def next_of(self, worker: Worker) -> PendingAttempt | None:
        """Return the attempt that a worker begins now, and note that it waits no more."""
        waiting = self._waiting.get(worker)
        if not waiting:
            return None
        self.count -= 1
        return waiting.popleft()

    def take_back(self, worker: Worker) -> Sequence[PendingAttempt]:
        """Take back what waits in a worker and that has not begun, in order."""
        waiting = self._waiting.get(worker)
        if not waiting:
            return ()
        # It takes them in order, so it has left the last ones.
        left = worker.withdraw()
        taken = [waiting.pop() for _ in range(left)]
        self.count -= left
        return taken[::-1]

    def forget(self, worker: Worker) -> Sequence[PendingAttempt]:
        """Return what waits in a worker that has ended, in order."""
        waiting = self._waiting.pop(worker, ())
        self.count -= len(waiting)
        return tuple(waiting)

    def slow_ones(self, now: float) -> Sequence[Worker]:
        """Return the workers in which attempts wait behind one that is not brief.

        Args:
            now: The time of the monotonic clock.
        """
        return [
            worker
            for worker, waiting in self._waiting.items()
            if waiting and self._is_slow(worker, now)
        ]

    def _is_slow(self, worker: Worker, now: float) -> bool:
        since = worker.shared_state.moments(self._running[worker].number).started
        return since is not None and now - since > BRIEF
