"""The pools of this process: how many of their workers live and run attempts, and their end.

Each run is notified of the workers of all pools, and those that it has notified go on being so
after its end: what they heard last must not stand for ever when workers end later.
"""

from __future__ import annotations

import _thread
import contextlib
import weakref
from functools import partial
from operator import methodcaller
from threading import Lock
from typing import TYPE_CHECKING, Final, Protocol

from dotflow.core.process import call_at_exit, call_in_forked_child, fork_safe_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    Notify = Callable[[int, int], object]
    CountLiving = Callable[[], int]

# How many listeners are kept whose runs have ended.
_MOST_LEFT: Final = 32


class WorkerUsage:
    """Notifies the runs that share workers of how many live and are busy."""

    def __init__(self) -> None:
        self._lock = fork_safe_lock()
        self.reset()

    def reset(self) -> None:
        """Forget all runs, as in a forked child: none goes on there."""
        self._users: list[User] = []
        self._listeners: dict[Notify, Listener] = {}

    def register(self, running: Collection[object]) -> User:
        """Return a new user of workers; `running` are the attempts that it has running."""
        user = User(running)
        with self._lock:
            self._users.append(user)
        return user

    def listen(self, user: User, notify: Notify) -> None:
        """Register what is notified of every change for a user; equal ones are notified once."""
        with self._lock:
            user.notify = notify
            self._listeners.setdefault(notify, Listener(notify)).users += 1

    def release(self, user: User) -> None:
        """Note that a run has ended; what it has notified is kept as long as workers live."""
        with self._lock:
            if user not in self._users:
                return
            self._users.remove(user)
            if user.notify in self._listeners:
                listener = self._listeners.pop(user.notify)
                listener.users -= 1
                self._listeners[listener.notify] = listener  # now the last one
            unused = [each for each in self._listeners.values() if not each.users]
            for each in unused[:-_MOST_LEFT]:
                del self._listeners[each.notify]

    def notify(self, count_living: CountLiving) -> None:
        """Notify all to whom it is news."""
        listeners = tuple(self._listeners.values())
        for listener in listeners:
            listener.update(lambda: (count_living(), self.busy()))
        if any(listener.is_done for listener in listeners):
            with self._lock:
                for listener in listeners:
                    if listener.is_done and not listener.users:
                        self._listeners.pop(listener.notify, None)

    def busy(self) -> int:
        """Return how many attempts run, of all users."""
        return sum(len(user.running) for user in tuple(self._users))


class User:
    """A run that uses workers.

    Attributes:
        running: The attempts that it has running.
        notify: Called with how many workers live and how many are busy, if anybody is to know.
    """

    def __init__(self, running: Collection[object]) -> None:
        self.running = running
        self.notify: Notify | None = None


class Listener:
    """What is notified for one or more runs, in whichever thread there is news, one at a time.

    Attributes:
        notify: It.
        users: How many runs it is notified for that have not ended.
        is_done: Whether all of them have ended and no worker lives any more.
    """

    def __init__(self, notify: Notify) -> None:
        self.notify = notify
        self.users = 0
        self.is_done = False
        self._lock = Lock()
        self._has_news = False
        self._last: tuple[int, int] | None = None

    def update(self, counts: Callable[[], tuple[int, int]]) -> None:
        """Notify of how it is now, unless that was the last."""
        # Who comes while another notifies leaves it to that one: so nobody waits for a slow
        # listener, and what it hears last is what is so.
        self._has_news = True
        while self._has_news and self._lock.acquire(blocking=False):
            try:
                self._has_news = False
                now = counts()
                if now != self._last:
                    self.notify(*now)
                    self._last = now
                self.is_done = not self.users and not now[0]
            finally:
                self._lock.release()


class Pool(Protocol):
    """What has workers."""

    def live(self) -> int:
        """Return how many of them live."""
        ...

    def close(self) -> None:
        """End them."""
        ...

    def forget(self) -> None:
        """Begin with none, in a forked copy of the process."""
        ...


# Of all pools of this process.
worker_usage: Final = WorkerUsage()

known_pools: Final[list[weakref.ref[Pool]]] = []
_lock: Final = fork_safe_lock()


def register(pool: Pool) -> None:
    """Register a pool to be closed at the interpreter's exit, and forgotten in a forked copy."""
    with _lock:
        known_pools[:] = [each for each in known_pools if each() is not None]
        known_pools.append(weakref.ref(pool))


def count_living() -> int:
    """Return how many workers live, of all pools."""
    return sum(pool.live() for pool in _living())


def notify_elsewhere() -> None:
    """Notify those who listen of how many workers live, from another thread."""
    # Garbage is collected at any moment, also while this thread holds a lock of a listener's:
    # another one notifies them. Started without `threading`, whose own locks may be held as well.
    with contextlib.suppress(RuntimeError):  # no threads at the interpreter's exit
        _thread.start_new_thread(worker_usage.notify, (count_living,))


def _living() -> list[Pool]:
    found = [each() for each in tuple(known_pools)]
    return [pool for pool in found if pool is not None]


def _call_all(end: Callable[[Pool], None]) -> None:
    # An error of one keeps no other from it.
    with contextlib.ExitStack() as all_of_them:
        for pool in _living():
            all_of_them.callback(end, pool)


call_at_exit(partial(_call_all, methodcaller("close")))
call_in_forked_child(partial(_call_all, methodcaller("forget")))
