"""Ends a worker that is late, where its owner is too busy to do so."""

from __future__ import annotations

import os
import signal
import time
from _thread import start_new_thread
from typing import TYPE_CHECKING, Any, Final

from dotflow.core.clock import monotonic
from dotflow.core.limit import WORKER_GRACE

if TYPE_CHECKING:
    from collections.abc import Callable

# How often it looks, in seconds.
_LOOK: Final = 0.1


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
            time.sleep(_LOOK)
        os.killpg(0, signal.SIGKILL)

    def _is_late(self) -> bool:
        due = self._due
        return due is not None and monotonic() >= due
