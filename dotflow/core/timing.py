"""Clocks that only the system sets, and waits that end in time, however they are interrupted.

Libraries for tests (such as freezegun) put clocks of their own in the place of those of `time`,
in every module that has imported them. Those stand still, or step back, and who waits by one
waits for ever. Where a user looks for the time of day, `time.time` stays in use.
"""

from __future__ import annotations

import time
from _thread import allocate_lock
from collections import deque
from contextlib import suppress
from queue import Empty
from threading import TIMEOUT_MAX
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable


def _own_time() -> Any:
    # Another copy of the module, which nobody else has: its functions are as fast, and they are
    # real ones also where this is imported while others are replaced.
    spec: Any = time.__spec__
    try:
        module = spec.loader.create_module(spec)
        spec.loader.exec_module(module)
    except (AttributeError, ImportError):  # an interpreter of another make
        return time
    return module


_time: Final = _own_time()

# In seconds and in nanoseconds, from an unknown beginning that all processes of a machine share.
monotonic: Final[Callable[[], float]] = _time.monotonic
monotonic_ns: Final[Callable[[], int]] = _time.monotonic_ns

# In nanoseconds since the epoch: the system's own, for what other processes are told.
system_time_ns: Final[Callable[[], int]] = _time.time_ns


_Item = TypeVar("_Item")


class Latch:
    """Opens once; whoever waits for it may be interrupted, and wait again.

    It takes the place of `threading.Event`, of whose `wait` two interrupts in a row are a
    RuntimeError, as `Condition` releases a lock there that it does not hold.

    Attributes:
        is_open: Whether it is.
    """

    __slots__ = ("_lock", "is_open")

    def __init__(self) -> None:
        self.is_open = False
        # Held until it opens.
        self._lock = allocate_lock()
        self._lock.acquire()

    def open(self) -> None:
        """Open it; nothing happens where it is open."""
        self.is_open = True
        with suppress(RuntimeError):  # nobody holds the lock
            self._lock.release()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it opens.

        Args:
            timeout: How long at most, in seconds; None: until then.

        Returns:
            Whether it has opened.
        """
        if not self.is_open and self._lock.acquire(timeout=-1 if timeout is None else timeout):
            self.open()  # for the next who waits
        return self.is_open


class TimedQueue(Generic[_Item]):
    """A queue for one reader and any number of writers, signal handlers and finalizers included.

    It takes the place of `queue.SimpleQueue`, whose `get` with a timeout never returns, up to
    Python 3.12, where the system suspends the thread for as long as the timeout while `get`
    begins: what is left of the timeout is negative then, and means "for ever" there.
    """

    def __init__(self) -> None:
        self._items: deque[_Item] = deque()
        # Held, unless something may have been put since the reader looked.
        self._wakeup = allocate_lock()

    def put(self, item: _Item) -> None:
        """Add an item, without waiting for anything."""
        self._items.append(item)
        with suppress(RuntimeError):  # it is not held: the reader looks again anyway
            self._wakeup.release()

    def get(self, timeout: float | None = None) -> _Item:
        """Return the oldest item, and remove it.

        Args:
            timeout: How long to wait for one, in seconds; None: until there is one.

        Raises:
            Empty: None came in time.
        """
        until = None if timeout is None else monotonic() + timeout
        while not self._items:
            left = -1.0 if until is None else min(max(0.0, until - monotonic()), TIMEOUT_MAX)
            if not self._wakeup.acquire(timeout=left) and not self._items:
                raise Empty
        return self._items.popleft()
