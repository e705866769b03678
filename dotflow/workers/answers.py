"""The threads of a worker beside its step: one sends what it records, one ends it where it is late.

The owner ends a worker that is late; where it is too busy to do so, the worker ends itself.
"""

from __future__ import annotations

import os
import signal
import time
from _thread import start_new_thread
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from dotflow.core.limit import WORKER_GRACE
from dotflow.core.timing import monotonic
from dotflow.workers.pickling import dump_or_none
from dotflow.workers.protocol import Recorded, encoded, send

if TYPE_CHECKING:
    from collections.abc import Callable
    from socket import socket

    from dotflow.core.guard import GuardedScopes
    from dotflow.workers.protocol import Body, Ended


# How often it looks, in seconds.
LOOK: Final = 0.1


def start_thread(run: Callable[..., object], *args: Any) -> None:
    """Start a thread that gets no signal: one that a step blocks, to wait for it, is the step's.

    A thread blocks from its first moment on what the one that starts it blocks.

    Raises:
        RuntimeError: There are no more threads.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        start_new_thread(run, args)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Watchdog:
    """Kills this process and its children when an attempt is late.

    It costs nothing before the first attempt that has a limit, and then a look now and then.
    """

    def __init__(self) -> None:
        self._due: float | None = None
        self._watches = False

    def watch(self, began: float, seconds: float) -> None:
        """Begin to watch an attempt that began at a time of the monotonic clock.

        Args:
            began: When.
            seconds: Its limit.
        """
        self._due = began + seconds + WORKER_GRACE
        if not self._watches:
            self._watches = True
            start_thread(self._run)

    def stop(self) -> bool:
        """Watch nothing; return whether there was an attempt that it watched."""
        had, self._due = self._due, None
        return had is not None

    def _run(self) -> None:
        while not self._is_late():
            time.sleep(LOOK)
        os.killpg(0, signal.SIGKILL)

    def _is_late(self) -> bool:
        due = self._due
        return due is not None and monotonic() >= due


# How long what is recorded waits to be sent, in seconds, and how many items wait no longer.
INTERVAL: Final = 0.25
_MANY: Final = 512

# The shortest time between two such messages, in seconds: a step that records without end must
# not keep its run busy.
PAUSE: Final = 0.1


class Answers:
    """The sending side of a worker's connection.

    A thread sends what a step records, from the first time that one records something: a worker
    whose steps record nothing has none.

    Args:
        connection: The worker's end of the socket.
    """

    def __init__(self, connection: socket) -> None:
        self._connection = connection
        self._sending = Lock()
        self._running: tuple[int, GuardedScopes] | None = None
        # What is recorded for no attempt in particular, and whether any of that waits.
        self._shared: GuardedScopes | None = None
        self._has_shared = False
        # Locks that are released to wake the thread. Those of `threading` can deadlock where a
        # finalizer that logs runs inside of them.
        self._is_due = _taken_lock()
        self._is_urgent = _taken_lock()
        self._never = _taken_lock()
        self._is_awake = False
        self._has_thread = False

    def begin(self, number: int, scopes: GuardedScopes) -> None:
        """Note the attempt that runs from now on.

        Args:
            number: What the owner calls it.
            scopes: What records.
        """
        self._running = number, scopes

    def share(self, scopes: GuardedScopes) -> None:
        """Note what records for all attempts from now on."""
        self._shared, self._has_shared = scopes, False

    def note_shared(self, waiting: int) -> None:
        """Note that something was recorded for all attempts, as `note` does."""
        self._has_shared = True
        self.note(waiting)

    def note(self, waiting: int) -> None:
        """Note that something was recorded.

        Args:
            waiting: How many items wait by now.
        """
        if not self._is_awake:
            self._is_awake = True
            self._wake()
        elif waiting == _MANY:
            _release(self._is_urgent)

    def _wake(self) -> None:
        if self._has_thread:
            _release(self._is_due)
            return
        self._has_thread = True
        # Where there are no more threads, everything comes with the outcome.
        with suppress(RuntimeError):
            start_thread(self._send_recorded)

    def _send_recorded(self) -> None:
        with suppress(OSError):  # the owner has gone
            while True:
                self._is_urgent.acquire(timeout=INTERVAL)
                self._is_awake = False
                while self._send_some():
                    self._never.acquire(timeout=PAUSE)
                self._is_due.acquire()

    def _send_some(self) -> bool:
        with self._sending:
            if self._running is None:
                return False
            number, scopes = self._running
            shared = self._shared.drain() if self._has_shared and self._shared else None
            return self._sent(None, shared) | self._sent(number, scopes.drain())

    def _sent(self, number: int | None, recorded: dict[str, object] | None) -> bool:
        """Send what was recorded, for all attempts where there is no number, if it was."""
        if not recorded:
            return False
        send(self._connection, encoded(Recorded(number)), dump_or_none(recorded) or b"")
        return True

    def send(self, ended: Ended, body: Body) -> None:
        """Send how the attempt ended that runs: the last of its messages."""
        with self._sending:
            self._running = None
            if self._has_shared and self._shared:
                self._has_shared = False
                self._sent(None, self._shared.collect())
            send(self._connection, encoded(ended), body)


def _taken_lock() -> Lock:
    lock = Lock()
    lock.acquire()
    return lock


def _release(lock: Lock) -> None:
    with suppress(RuntimeError):  # released already
        lock.release()
