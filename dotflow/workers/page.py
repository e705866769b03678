"""A few bytes that a worker and its owner share: which attempt it began, and when.

So the owner knows of a dead worker whether it had begun the attempt, without a message
more for each attempt.
"""

from __future__ import annotations

import mmap
import os
from struct import Struct

_STARTED = Struct("=d")
_NUMBER = Struct("=Q")
_SIZE = mmap.PAGESIZE


def make_page() -> int:
    """Make the memory; gives its descriptor."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("dotflow", os.MFD_CLOEXEC)
    else:
        from tempfile import TemporaryFile  # noqa: PLC0415 - where there is no memfd

        with TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, _SIZE)
    return descriptor


class Page:
    """One side's view of the shared memory."""

    def __init__(self, descriptor: int) -> None:
        self._memory = mmap.mmap(descriptor, _SIZE)

    def begin(self, number: int, started: float) -> None:
        """Note that an attempt begins, at a time of the monotonic clock."""
        # The number comes last: who reads it finds the time that goes with it.
        _STARTED.pack_into(self._memory, 8, started)
        _NUMBER.pack_into(self._memory, 0, number)

    def started(self, number: int) -> float | None:
        """Tell when an attempt began; None if it has not."""
        if _NUMBER.unpack_from(self._memory, 0)[0] != number:
            return None
        started: float = _STARTED.unpack_from(self._memory, 8)[0]
        return started

    def close(self) -> None:
        """Let go of the memory."""
        self._memory.close()
