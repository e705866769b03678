"""The interface of an executor: where the chains of `parallel` mode run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from dotflow.abc.noop import noop

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dotflow.abc.scope import WorkerScope
    from dotflow.core.attempt import Attempt, Outcome


class Executor(ABC):
    """Runs attempts elsewhere than in the thread that drives the run."""

    @abstractmethod
    def session(self) -> Session:
        """Begin the use by one run."""


class Session(ABC):
    """The use of an executor by one run, from one thread."""

    @abstractmethod
    def has_room(self) -> bool:
        """Return whether one more attempt may be submitted now."""

    @abstractmethod
    def submit(self, ticket: int, attempt: Attempt) -> None:
        """Begin an attempt. Its outcome comes from `wait`, whatever happens to it."""

    @abstractmethod
    def wait(self, seconds: float | None) -> Sequence[tuple[int, Outcome]]:
        """Return outcomes with their tickets, waiting for the first one at most so long.

        Args:
            seconds: How long; None: until there is one.
        """

    @noop
    def watch_workers(self, notify: Callable[[int, int], object]) -> None:
        """Register what is notified of how many workers live and are busy, where that is known.

        Args:
            notify: Called with the two numbers when they have changed, in any thread, and also
                after the use has ended, as long as workers live. Where two are equal, it is
                enough to call one of them.
        """

    @noop
    def watch_recorded(self, notify: Callable[[int, Mapping[str, object]], object]) -> None:
        """Register what is notified of what attempts record while they run, where that comes.

        Args:
            notify: Called in the thread of the run, within `wait`, with the ticket of the attempt
                and what the `drain` of its remote scopes returned, by slot.
        """

    @noop
    def share(
        self, scopes: Mapping[str, WorkerScope], notify: Callable[[Mapping[str, object]], object]
    ) -> None:
        """Register scopes that each worker sets up, where that can be, before its first attempt.

        Args:
            scopes: The scopes, by the slot of their provider.
            notify: Called in the thread of the run, within `wait`, with what they recorded.
        """

    @abstractmethod
    def close(self) -> None:
        """End the use; attempts that still run are ended or abandoned.

        Called in another thread where the run was interrupted, and then maybe a second time,
        after a call that the interrupt cut short.
        """


# Of the runs in whose callbacks and hooks this code runs, which go on when it has ended.
sessions_around: Final[ContextVar[tuple[Session, ...]]] = ContextVar(
    "dotflow_sessions_around", default=()
)
