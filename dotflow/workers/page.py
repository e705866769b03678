"""A few bytes that a worker and its owner share: which attempt it has, and since when.

So the owner knows of a dead worker whether it had the attempt, without a message more for
each attempt.
"""

from __future__ import annotations

import mmap
import os
from struct import Struct

from dotflow.workers.descriptors import apart

_NOTE = Struct("=dQ")
_TIME = Struct("=d")
_NUMBER = Struct("=Q")
_SIZE = mmap.PAGESIZE

# Where the moments of an attempt are noted: the time, and its number after it.
_RECEIVED, _BEGUN, _ENDED = (place * _NOTE.size for place in range(3))


def make_page() -> int:
    """Make the memory; gives its descriptor."""
    if hasattr(os, "memfd_create"):
        descriptor = apart(os.memfd_create("dotflow", os.MFD_CLOEXEC))
    else:
        from tempfile import TemporaryFile  # noqa: PLC0415 - where there is no memfd

        with TemporaryFile() as file:
            descriptor = apart(os.dup(file.fileno()))
    os.ftruncate(descriptor, _SIZE)
    return descriptor


class Page:
    """One side's view of the shared memory."""

    def __init__(self, descriptor: int) -> None:
        self._memory = mmap.mmap(descriptor, _SIZE)

    def receive(self, number: int, now: float) -> None:
        """Note that an attempt has arrived whole, at a time of the monotonic clock."""
        self._note(_RECEIVED, number, now)

    def begin(self, number: int, now: float) -> None:
        """Note that the step of an attempt begins."""
        self._note(_BEGUN, number, now)

    def end(self, number: int, now: float) -> None:
        """Note that the outcome of an attempt that has a limit is ready to be sent."""
        self._note(_ENDED, number, now)

    def received(self, number: int) -> float | None:
        """Tell when an attempt arrived; None if it has not."""
        return self._noted(_RECEIVED, number)

    def begun(self, number: int) -> float | None:
        """Tell when the step of an attempt began; None if it has not."""
        return self._noted(_BEGUN, number)

    def ended(self, number: int) -> float | None:
        """Tell when the outcome of an attempt was ready; None if it is not."""
        return self._noted(_ENDED, number)

    def _note(self, place: int, number: int, now: float) -> None:
        # The number is written last: who reads it finds the time that goes with it.
        _NOTE.pack_into(self._memory, place, now, number)

    def _noted(self, place: int, number: int) -> float | None:
        if _NUMBER.unpack_from(self._memory, place + _TIME.size)[0] != number:
            return None
        noted: float = _TIME.unpack_from(self._memory, place)[0]
        return noted

    def close(self) -> None:
        """Let go of the memory."""
        self._memory.close()
