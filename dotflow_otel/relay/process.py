"""Tells a process from every other."""

from __future__ import annotations

import os
from secrets import token_bytes
from typing import Final

# Also from one with the same number on another machine.
_MARK: Final = token_bytes(8)


def this_process() -> tuple[int, bytes]:
    """Give what tells this process from every other, also from its forked children."""
    return os.getpid(), _MARK
