"""How many workers live and run attempts, told to all who use or have used them, or watch."""

from __future__ import annotations

import logging
from threading import Lock
from typing import TYPE_CHECKING, Final
from weakref import WeakMethod

from dotflow.core.locks import fork_safe_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    Tell = Callable[[int, int], object]
    Live = Callable[[], int]

_logger: Final = logging.getLogger("dotflow")

# How many runs that have ended are told on.
_MOST_LEFT: Final = 32


class Occupancy:
    """Tells each run that shares workers of the use of all of them.

    A run that has ended is told on, until no worker is busy: what it was told last must not
    stand for ever when the others, which may tell somebody else, end after it. Where some are
    always busy, the last ones that ended are.
    """

    def __init__(self) -> None:
        self._lock = fork_safe_lock()
        self._watchers: list[_Watcher] = []
        self.forget()

    def forget(self) -> None:
        """Begin with the watchers alone, as in a forked child: no run goes on there."""
        self._users: list[User] = []
        for watcher in self._watchers:
            watcher.begin()

    def watch(self, tell: Tell) -> None:
        """Have a method told of every change, in any thread, for as long as its object lives."""
        with self._lock:
            living = [each for each in self._watchers if each.lives()]
            self._watchers = [*living, _Watcher(tell)]

    def join(self, jobs: Collection[object]) -> User:
        """Give a new user of the pool; `jobs` are the attempts that it has running."""
        user = User(jobs)
        with self._lock:
            self._users.append(user)
        return user

    def publish(self, live: Live) -> None:
        """Tell everybody to whom it is news; `live` gives how many workers live."""
        users = tuple(self._users)
        for user in users:
            user.hear(lambda: (live(), self.busy()))
        for watcher in self._watchers:
            watcher.user.hear(lambda: (live(), self.busy()))
        if any(user.has_left for user in users):
            with self._lock:
                self._let_go()

    def _let_go(self) -> None:
        told_on = [user for user in self._users if user.has_left and not user.is_done]
        going_on = [user for user in self._users if not user.has_left]
        self._users = [*told_on[-_MOST_LEFT:], *going_on]

    def busy(self) -> int:
        """Tell how many attempts run, of all users."""
        return sum(len(user.jobs) for user in tuple(self._users))


class User:
    """A run that uses a pool, or has used it.

    It is told in whichever thread there is news, by one of them at a time.

    Attributes:
        jobs: The attempts that it has running.
        tell: Told how many workers live and how many are busy, if anybody is.
        has_left: Whether the run has ended.
        is_done: Whether it has ended and nobody was busy any more: it is told nothing then.
    """

    def __init__(self, jobs: Collection[object]) -> None:
        self.jobs = jobs
        self.tell: Tell | None = None
        self.has_left = False
        self.is_done = False
        self._lock = Lock()
        self._has_news = False
        self._told: tuple[int, int] | None = None

    def hear(self, counts: Callable[[], tuple[int, int]]) -> None:
        """Tell the run how it is now, unless it knows, or has nobody to be notified."""
        if self.tell is None and not self.has_left:
            return
        # Who comes while another tells leaves it to that one: so nobody waits for a slow
        # listener, and what is told last is what is so.
        self._has_news = True
        while self._has_news and self._lock.acquire(blocking=False):
            try:
                self._has_news = False
                now = counts()
                if self.tell is not None and now != self._told and not self.is_done:
                    self.tell(*now)
                    self._told = now
                self.is_done = self.has_left and not now[1]
            finally:
                self._lock.release()


class _Watcher:
    # Never done; it lives as long as the object whose method is told.
    def __init__(self, tell: Tell) -> None:
        self._tell = WeakMethod(tell)
        self.begin()

    def begin(self) -> None:
        self.user = User(())
        self.user.tell = self._hear

    def lives(self) -> bool:
        return self._tell() is not None

    def _hear(self, live: int, busy: int) -> None:
        tell = self._tell()
        if tell is not None:
            try:
                tell(live, busy)
            except Exception:
                _logger.exception("a watcher of workers raised; runs go on")


# Of all pools of this process.
everywhere: Final = Occupancy()
