"""Locks that a forked child finds free."""

from __future__ import annotations

import os
from threading import RLock
from typing import Any, Final
from weakref import WeakSet

_all: Final[WeakSet[Any]] = WeakSet()


def fork_safe_lock() -> RLock:
    """Return a lock that is free in every forked child.

    Another thread may hold it at the fork, and is not there in the child to let it go. Its
    owner can take it again, for a finalizer or a signal handler may run in between.
    """
    lock = RLock()
    _all.add(lock)
    return lock


def _free_in_child() -> None:
    for lock in list(_all):
        # The name is private, and what the standard library uses for its own locks.
        lock._at_fork_reinit()  # noqa: SLF001


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_free_in_child)
