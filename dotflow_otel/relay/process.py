"""Tells a process from every other."""

from __future__ import annotations

import os
from secrets import token_bytes
from typing import Final

# The number of a process, and what it has in common with its forked children alone.
Process = tuple[int, bytes]

# Also from one with the same number on another machine.
_MARK: Final = token_bytes(8)


def this_process() -> Process:
    """Give what tells this process from every other, also from its forked children."""
    return os.getpid(), _MARK


def is_forked_from(owner: Process) -> bool:
    """Tell whether this process is a forked child of another one, with all that was set there."""
    return owner[1] == _MARK and owner != this_process()
