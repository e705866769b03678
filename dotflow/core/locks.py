"""Locks that are as global as a process."""

from __future__ import annotations

import os
from threading import RLock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


def process_lock() -> AbstractContextManager[Any]:
    """Give a lock for a module to keep: one that is free in every forked child.

    Another thread may hold it at the fork, and is not there in the child to let it go. Its
    owner can take it again, for a finalizer or a signal handler may run in between.
    """
    lock = RLock()
    # The name is private, and what the standard library uses for its own locks.
    free = getattr(lock, "_at_fork_reinit", None)
    if free is not None and hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=free)
    return lock
