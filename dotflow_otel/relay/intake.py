"""What a pipeline does with an item: queue it, keep it until there is room, or drop it.

What a worker has recorded comes in batches, where what a step records in this process comes as it
goes. So a batch that does not fit into the queue is kept beside it, and follows as the exporter
takes what is queued.
"""

from __future__ import annotations

from collections import deque
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, Protocol

from dotflow.core.process import call_in_forked_child
from dotflow.core.timing import monotonic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


_relays: Final[ContextVar[bool]] = ContextVar("dotflow_relays", default=False)


@contextmanager
def relaying() -> Iterator[None]:
    """Mark what is done inside as handing over what comes from a worker."""
    token = _relays.set(True)
    try:
        yield
    finally:
        _relays.reset(token)


def is_relaying() -> bool:
    """Return whether this code hands over what comes from a worker."""
    return _relays.get()


# How many relayed items are kept beside the queue.
MOST: Final = 32_768


class Room(Protocol):
    """Decides what fits into a queue, and counts what does not."""

    def admit(self, *, matters: bool = False, own: bool = False) -> bool:
        """Queue one item that was recorded in this process; count it where it does not fit."""

    def try_to_admit(self, *, matters: bool = False, own: bool = False) -> bool:
        """Queue one item where there is room for it."""

    def keep(self, most: int) -> bool:
        """Keep one item beside the queue, if fewer than so many are; else count it as dropped."""

    def admit_kept(self) -> bool:
        """Queue one of the items that are kept, if there is room; a part of that stays free."""

    def put_back(self) -> None:
        """Keep again what `admit_kept` has queued."""


class Intake:
    """The way into the queue of a batch processor.

    Args:
        account: Of the pipeline.
        put: Puts an item into the queue.
    """

    def __init__(self, account: Room, put: Callable[[Any], object]) -> None:
        self._account = account
        self._put = put
        self._begin()
        call_in_forked_child(self._begin)

    def _begin(self) -> None:
        # Empty in a forked child: what its parent keeps, that delivers.
        self._kept: deque[Any] = deque()

    @property
    def keeps(self) -> bool:
        """Whether something is kept beside the queue."""
        return bool(self._kept)

    def take(self, item: Any, *, own: bool, matters: bool = False) -> None:
        """Take an item in; count it where there is no room for it.

        Args:
            item: The item.
            own: Whether it is of this project's own, which a step's never take the room of.
            matters: Whether it may take the room that is kept for such.
        """
        if not is_relaying():
            if self._account.admit(own=own, matters=matters):
                self._put(item)
            return
        if (own or matters) and self._account.try_to_admit(own=own, matters=matters):
            self._put(item)
            return
        if not self._account.keep(MOST):
            return
        self._kept.append(item)
        # Also where the exporter has made room, and looked here, just before.
        self.refill()

    def refill(self) -> None:
        """Queue what is kept, as far as there is room."""
        while self._kept and self._account.admit_kept():
            try:
                item = self._kept.popleft()
            except IndexError:  # another thread has it
                self._account.put_back()
                return
            self._put(item)

    def flush(self, flush: Callable[[int], object], timeout_millis: int) -> bool:
        """Export everything that is queued or kept; return whether that was done.

        Args:
            flush: Exports what is queued, within so many milliseconds.
            timeout_millis: How long it may take.
        """
        until = monotonic() + timeout_millis / 1000
        while True:
            left = len(self._kept)
            done = bool(flush(max(0, round((until - monotonic()) * 1000))))
            if not done or not left:
                return done
            # What is queued by this is exported the next time.
            self.refill()
            if len(self._kept) >= left or monotonic() >= until:
                return False
