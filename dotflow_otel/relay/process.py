"""The identity of a process."""

from __future__ import annotations

import os
from contextvars import ContextVar
from typing import Final

# The number of a process, and what it has in common with its forked children alone.
Process = tuple[int, bytes]

# Also from one with the same number on another machine.
_MARK: Final = os.urandom(8)


def this_process() -> Process:
    """Return what tells this process from every other, also from its forked children."""
    return os.getpid(), _MARK


def is_forked_from(owner: Process) -> bool:
    """Return whether this process is a forked child of another one, with all that was set there."""
    return owner[1] == _MARK and owner != this_process()


class Owners:
    """Identifies the application that code here runs for, in a worker of several."""

    def __init__(self) -> None:
        self._first: Process | None = None
        self._is_shared = False
        # Also in what has a copy of an attempt's context.
        self._current: ContextVar[Process | None] = ContextVar("dotflow_owner", default=None)

    def begin(self, owner: Process) -> None:
        """Note that what runs in this context from now on runs for an application."""
        self._current.set(owner)
        if self._first is None:
            self._first = owner
        elif self._first != owner:
            self._is_shared = True

    def here(self) -> Process | None:
        """Return for which one this code runs; None: for any of several."""
        return self._current.get() or (None if self._is_shared else self._first)
