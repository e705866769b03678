"""A lock that threads and processes share, held by a file."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import ModuleType

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # pragma: no cover - where there is none, nothing here is tested
    fcntl = None


def have_locks() -> bool:
    """Return whether the platform has file locks."""
    return fcntl is not None


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of `path`, which is made; without file locks do nothing.

    A crash of the holder frees it. Not re-entrant.
    """
    if fcntl is None:
        yield
        return
    # A descriptor each time: the lock belongs to it, so it parts threads as well.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        # A child forked meanwhile has the descriptor too: closing ours would not free it.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)
