"""What becomes of an attempt that is late, or whose worker is gone: judged by what is known of it.

Nothing is done here: whoever drives workers asks, and acts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from dotflow.core.exception import WorkerLost
from dotflow.core.failure import TIMEOUT, WORKER_LOST, Failure
from dotflow.core.limit import OWNER_GRACE, LimitError

if TYPE_CHECKING:
    from dotflow.core.attempt import Attempt

# How many workers may die under an attempt before one of them has it.
_MOST_LOSSES: Final = 5


class Moments(NamedTuple):
    """When an attempt got how far in its worker, in seconds of the monotonic clock; None: not.

    Attributes:
        received: It arrived whole.
        begun: Its step began.
        ended: Its outcome was ready, where it has a limit.
    """

    received: float | None = None
    begun: float | None = None
    ended: float | None = None

    @property
    def running_since(self) -> float | None:
        """Since when its step runs; None where that has not begun, or has ended."""
        return self.begun if self.ended is None else None

    @property
    def started(self) -> float | None:
        """When it began, or at least arrived."""
        return self.received if self.begun is None else self.begun


def limit_of(attempt: Attempt) -> float:
    """Return the seconds after which the worker of an attempt with a limit is killed."""
    # A coroutine is cancelled by its worker, and has a while for its clean-up.
    return attempt.timeout + (OWNER_GRACE if attempt.step.is_coroutine else 0)


def is_late(attempt: Attempt, lasted: float) -> bool:
    """Return whether an attempt that has lasted so many seconds is late, though it has ended.

    A coroutine that was late was cancelled by its worker, which says so.
    """
    return 0 < attempt.timeout < lasted and not attempt.step.is_coroutine


def timed_out(attempt: Attempt) -> Failure:
    """Return how an attempt failed that was late."""
    return Failure.of(LimitError.of(attempt.name, attempt.timeout), TIMEOUT)


def due(attempt: Attempt, moments: Moments, now: float) -> float:
    """Return when to kill the worker of an attempt, or to look again: now or before, to kill it.

    Its time counts from when the step began, not from when it was sent, and until its outcome is
    on its way, which takes as long as the run lets it.
    """
    since = moments.running_since
    return (now if since is None else since) + limit_of(attempt)


def lost(
    attempt: Attempt, moments: Moments, losses: int, now: float, worker: str, hint: str
) -> Failure | None:
    """Return how an attempt failed whose worker is gone; None: it is none yet, and sent again.

    Args:
        attempt: The attempt.
        moments: How far it got.
        losses: How many workers have died before they had it.
        now: The time of the monotonic clock.
        worker: Which worker it was, and how it ended.
        hint: What may be the reason where the worker never began.
    """
    if moments.started is None and losses < _MOST_LOSSES:
        return None
    since = moments.running_since
    if since is not None and 0 < attempt.timeout <= now - since:
        return timed_out(attempt)  # it has ended its worker itself
    when = "while it ran" if moments.started is not None else "before it began"
    what = f"the worker process {worker} {when} {attempt.name}"
    error = WorkerLost(what if moments.started is not None else what + hint)
    return Failure.of(error, WORKER_LOST)
