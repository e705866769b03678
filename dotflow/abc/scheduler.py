"""The interface of a scheduler, and what is notified of its ticks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from dotflow.abc.noop import noop

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

# Why a tick is skipped: runs before it are still going; nobody could look at the time when it
# came, and it is not to be caught up; the schedule ended while it waited; the system has no thread.
OVERLAP: Final = "overlap"
MISSED: Final = "missed"
STOPPED: Final = "stopped"
NO_THREAD: Final = "no_thread"

# A run that begins so many seconds after its tick is late.
LATE: Final = 1.0


class Tick(NamedTuple):
    """A tick of a schedule.

    Attributes:
        due: When it comes, jitter included: seconds since the epoch.
        schedule: The schedule, as a cron expression.
        began: When its run begins: seconds since the epoch; None where it has none.
        workflow: The name of the workflow.
    """

    due: float
    schedule: str = ""
    began: float | None = None
    workflow: str = "workflow"

    @property
    def delay(self) -> float:
        """Seconds from the tick to the begin of its run; never negative."""
        return 0.0 if self.began is None else max(self.began - self.due, 0.0)

    @property
    def is_late(self) -> bool:
        """Whether its run begins late."""
        return self.delay > LATE


class ScheduleObserver:
    """Is notified of the ticks of a schedule, in its threads. By default it does nothing."""

    def tick_scope(self, tick: Tick) -> AbstractContextManager[object]:
        """Return what is entered around the run of a tick."""
        return nullcontext()

    def tick_fired(self, tick: Tick) -> None:
        """The run of a tick begins."""

    def tick_skipped(self, tick: Tick, reason: str) -> None:
        """A tick has no run, because of `OVERLAP`, `MISSED`, `STOPPED` or `NO_THREAD`."""


class Scheduler(ABC):
    """Calls a workflow again and again."""

    @abstractmethod
    def start(self, workflow: Callable[..., Any], **kwargs: Any) -> None:
        """Call `workflow(**kwargs)` at each tick, until stopped."""

    @abstractmethod
    def stop(self) -> None:
        """End the schedule."""

    @noop
    def observe(self, observer: ScheduleObserver) -> None:
        """Notify an observer of the ticks from the next `start` on.

        `DotFlow.schedule` calls this, so that tracer and metrics of its configuration know of them.
        """
