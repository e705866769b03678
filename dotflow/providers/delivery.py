"""Hands items to a slow receiver, in order, without making anybody wait for it."""

from __future__ import annotations

import logging
import threading
import weakref
from collections import deque
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

from dotflow.core.process import call_at_exit, call_in_forked_child, fork_safe_lock, once
from dotflow.core.timing import monotonic

if TYPE_CHECKING:
    from collections.abc import Callable, Sized
    from contextlib import AbstractContextManager

_logger: Final = logging.getLogger("dotflow")

# How long the thread waits for more before it ends, in seconds.
LINGER: Final = 2.0

# What is entered around everything that is sent: entry points, each of which returns a context
# manager. Telemetry has one, so that what is sent makes no spans, whose URLs may hold a token.
_SURROUNDINGS: Final = "dotflow.deliveries"


class Item(Protocol):
    """What is delivered: made at the moment of its call, so that nothing can change it any more."""

    @property
    def body(self) -> Sized:
        """What it is measured by, in bytes or characters."""
        ...


_Item = TypeVar("_Item", bound=Item)


class Delivery(Generic[_Item]):
    """A bounded queue, and a daemon thread that lives while there is something in it.

    What finds the queue full is dropped, so that the receiver always knows a true past,
    only not all of it: a task that it is notified of is one of a workflow that it knows.

    Args:
        send: Called in the thread with one item at a time. What it raises is logged, so that
            must hold no secret.
        receiver: Who it is, as log lines call it.
        items: What is sent there, as log lines call it.
        on_idle: Called in the thread when nothing has come for a while and it ends.
        flush_timeout: Seconds that the exit of the interpreter may wait for the queue.
        max_items: How many items may wait.
        max_bytes: How long their bodies may be together.

    Attributes:
        dropped: How many items found the queue full.
    """

    def __init__(
        self,
        send: Callable[[_Item], None],
        *,
        receiver: str = "the server",
        items: str = "requests",
        on_idle: Callable[[], object] | None = None,
        flush_timeout: float = 5.0,
        max_items: int = 10_000,
        max_bytes: int = 64_000_000,
    ) -> None:
        self.flush_timeout = flush_timeout
        self.dropped = 0
        self._send = send
        self._name = receiver
        self._items = items
        self._on_idle = on_idle
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._forget()
        with _all_lock:
            deliveries.add(self)

    def put(self, item: _Item) -> None:
        """Leave an item to the thread. Never waits and never raises."""
        with self._changed:
            if self._is_full(item) or not self._has_thread():
                self._drop()
                return
            self._waiting.append(item)
            self._bytes += len(item.body)
            self._changed.notify_all()

    def flush(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds until nothing waits; return whether that is so."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting, timeout)

    @property
    def pending(self) -> int:
        """How many items wait, the one that is being sent included."""
        return len(self._waiting)

    def _forget(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[_Item] = deque()
        self._bytes = 0
        self._thread: threading.Thread | None = None

    def _is_full(self, item: _Item) -> bool:
        return (
            len(self._waiting) >= self._max_items or self._bytes + len(item.body) > self._max_bytes
        )

    def _has_thread(self) -> bool:
        if self._thread is None:
            thread = threading.Thread(target=self._work, name="dotflow-delivery", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # The interpreter is going, or the system has no more.
                return False
            self._thread = thread
        return True

    def _drop(self) -> None:
        self.dropped += 1
        if self.dropped == 1:
            _logger.warning(
                "%s to %s are dropped from here on, for it is too slow. "
                "They are counted, and not logged again.",
                self._items.capitalize(),
                self._name,
            )

    def log_what_waits(self) -> None:
        """Log how many items were not delivered."""
        _logger.warning("%d %s were not delivered to %s", self.pending, self._items, self._name)

    def _work(self) -> None:
        while (item := self._first()) is not None:
            try:
                with ExitStack() as stack:
                    for surrounding in _surroundings():
                        stack.enter_context(surrounding())
                    self._send(item)
            except Exception:  # One bad item must not end the others.
                _logger.exception("One of the %s could not be made", self._items)
            self._done(item)

    def _first(self) -> _Item | None:
        with self._changed:
            if not self._changed.wait_for(lambda: self._waiting, LINGER):
                self._thread = None
                # With the lock held: the next thread begins after it.
                if self._on_idle is not None:
                    self._on_idle()
                return None
            return self._waiting[0]

    def _done(self, item: _Item) -> None:
        # Only now, so that `flush` waits for the one that is on its way.
        with self._changed:
            self._waiting.popleft()
            self._bytes -= len(item.body)
            self._changed.notify_all()


@once
def _surroundings() -> list[Callable[[], AbstractContextManager[object]]]:
    # Here, because `import dotflow` does without it.
    from importlib.metadata import entry_points  # noqa: PLC0415

    found = []
    for entry in entry_points(group=_SURROUNDINGS):
        try:
            found.append(entry.load())
        except Exception:
            _logger.exception("%s of %s cannot be used", entry.name, _SURROUNDINGS)
    return found


deliveries: Final[weakref.WeakSet[Delivery[Any]]] = weakref.WeakSet()
_all_lock: Final = fork_safe_lock()


def _known() -> list[Delivery[Any]]:
    with _all_lock:
        return list(deliveries)


def flush_at_exit() -> None:
    """Wait until everything is delivered; log how much was not in time."""
    # All of them share one span of time: each goes on sending while another is waited for.
    begun = monotonic()
    for delivery in _known():
        left = begun + delivery.flush_timeout - monotonic()
        if not delivery.flush(max(left, 0.0)):
            delivery.log_what_waits()


def _forget_after_fork() -> None:
    # The child has neither the thread nor the duty: its parent delivers.
    for delivery in _known():
        delivery._forget()  # noqa: SLF001 - this module's own


call_at_exit(flush_at_exit)
call_in_forked_child(_forget_after_fork)
