"""Wakes a thread that waits for sockets, from another one."""

from __future__ import annotations

import contextlib

from dotflow.workers.descriptors import socket_pair


class Bell:
    """Is readable, for a selector, when it has been rung."""

    def __init__(self) -> None:
        self._heard, self._rung = socket_pair()

    def fileno(self) -> int:
        """Give the descriptor that becomes readable."""
        return self._heard.fileno()

    def ring(self) -> None:
        """Wake who waits, in any thread."""
        # Who waited may have closed it at this moment.
        with contextlib.suppress(OSError):
            self._rung.send(b"!")

    def hush(self) -> None:
        """Take in that it was rung."""
        self._heard.recv(64)

    def close(self) -> None:
        """End it."""
        self._heard.close()
        self._rung.close()
