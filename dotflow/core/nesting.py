"""Runs that begin where none may: in a process that is still reading the step that it shall run.

A worker imports the modules of its steps. One that starts a workflow when it is imported would
start workers in each worker, and these in each of theirs, without end.
"""

from __future__ import annotations

import threading
from typing import Final

from dotflow.core.exception import RunWhileReading


class _Thread(threading.local):
    is_reading = False


_thread: Final = _Thread()


def note_reading(reading: bool) -> bool:
    """Note whether this thread reads what travels, or performs a step; return what it did."""
    # Called twice an attempt, hence no context manager.
    before, _thread.is_reading = _thread.is_reading, reading
    return before


def check_may_run() -> None:
    """Check that this thread may begin a run.

    Raises:
        RunWhileReading: It is still reading what it shall run.
    """
    if _thread.is_reading:
        raise RunWhileReading
