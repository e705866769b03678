"""Hands requests to a slow receiver, in order, without making anybody wait for it."""

from __future__ import annotations

import logging
import threading
import weakref
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from dotflow.core.process import call_at_exit, call_in_forked_child, fork_safe_lock
from dotflow.core.timing import monotonic

if TYPE_CHECKING:
    from collections.abc import Callable

_logger: Final = logging.getLogger("dotflow")

# How long the thread waits for more before it ends, in seconds.
LINGER: Final = 2.0


class Request(NamedTuple):
    """A request, encoded when it was made, so that nothing can change it any more.

    Attributes:
        method: The verb.
        path: The parts of the path, not yet quoted.
        body: The encoded body.
    """

    method: str
    path: tuple[str, ...]
    body: bytes


class Delivery:
    """A bounded queue, and a daemon thread that lives while there is something in it.

    What finds the queue full is dropped, so that the receiver always knows a true past,
    only not all of it: a task that it hears of is one whose workflow it was told of.

    Args:
        send: Called in the thread with one request at a time. What it raises is logged.
        flush_timeout: Seconds that the exit of the interpreter may wait for the queue.
        max_requests: How many requests may wait.
        max_bytes: How long their bodies may be together.
    """

    def __init__(
        self,
        send: Callable[[Request], None],
        *,
        flush_timeout: float = 5.0,
        max_requests: int = 10_000,
        max_bytes: int = 64_000_000,
    ) -> None:
        self.flush_timeout = flush_timeout
        self.dropped = 0
        self._send = send
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self._forget()
        with _all_lock:
            deliveries.add(self)

    def put(self, request: Request) -> None:
        """Leave a request to the thread. Never waits and never raises."""
        with self._changed:
            if self._is_full(request) or not self._has_thread():
                self._drop()
                return
            self._waiting.append(request)
            self._bytes += len(request.body)
            self._changed.notify_all()

    def flush(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds until nothing waits; tell whether that is so."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting, timeout)

    @property
    def pending(self) -> int:
        """How many requests wait, the one that is being sent included."""
        return len(self._waiting)

    def _forget(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[Request] = deque()
        self._bytes = 0
        self._thread: threading.Thread | None = None

    def _is_full(self, request: Request) -> bool:
        return (
            len(self._waiting) >= self._max_requests
            or self._bytes + len(request.body) > self._max_bytes
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
                "The server is too slow: requests are dropped from here on. "
                "They are counted, and not logged again."
            )

    def _work(self) -> None:
        while (request := self._first()) is not None:
            try:
                self._send(request)
            except Exception:  # One bad request must not end the others.
                _logger.exception("A request to the server could not be made")
            self._done(request)

    def _first(self) -> Request | None:
        with self._changed:
            if not self._changed.wait_for(lambda: self._waiting, LINGER):
                self._thread = None
                return None
            return self._waiting[0]

    def _done(self, request: Request) -> None:
        # Only now, so that `flush` waits for the one that is on its way.
        with self._changed:
            self._waiting.popleft()
            self._bytes -= len(request.body)
            self._changed.notify_all()


deliveries: Final[weakref.WeakSet[Delivery]] = weakref.WeakSet()
_all_lock: Final = fork_safe_lock()


def _known() -> list[Delivery]:
    with _all_lock:
        return list(deliveries)


def flush_at_exit() -> None:
    """Wait until all requests are delivered; log how many were not in time."""
    # All of them share one span of time: each goes on sending while another is waited for.
    begun = monotonic()
    for delivery in _known():
        left = begun + delivery.flush_timeout - monotonic()
        if not delivery.flush(max(left, 0.0)):
            _logger.warning("%d requests were not delivered to the server", delivery.pending)


def _forget_after_fork() -> None:
    # The child has neither the thread nor the duty: its parent delivers.
    for delivery in _known():
        delivery._forget()  # noqa: SLF001 - this module's own


call_at_exit(flush_at_exit)
call_in_forked_child(_forget_after_fork)
