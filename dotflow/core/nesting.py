"""Runs that begin where none may: in a process that is still reading the step that it shall run.

A worker imports the modules of its steps. One that starts a workflow when it is imported would
start workers in each worker, and these in each of theirs, without end.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any, Final

from dotflow.core.exception import RunWhileReading

if TYPE_CHECKING:
    from types import TracebackType


class _Thread(threading.local):
    is_reading = False


_thread: Final = _Thread()


class _Marked:
    """Marks what this thread does, for as long as it is entered."""

    def __init__(self, *, reading: bool) -> None:
        self._reading = reading
        self._before: list[bool] = []

    def __enter__(self) -> None:
        self._before.append(_thread.is_reading)
        _thread.is_reading = self._reading

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _thread.is_reading = self._before.pop()


def reading() -> _Marked:
    """Return a context in which this thread reads or writes what travels: no run may begin."""
    return _Marked(reading=True)


def performing() -> _Marked:
    """Return a context in which this thread performs a step: that may run a workflow."""
    return _Marked(reading=False)


def check_may_run() -> None:
    """Check that this thread may begin a run.

    Raises:
        RunWhileReading: It is still reading what it shall run.
    """
    if _thread.is_reading:
        raise RunWhileReading


def check_may_start_workers() -> None:
    """Check that this process may start workers.

    Raises:
        RunWhileReading: It is a child of `multiprocessing` that is still reading its main module.
    """
    # The module is not imported for this. The name is private, and what `multiprocessing` asks
    # itself before it starts a child of a child.
    process: Any = sys.modules.get("multiprocessing.process")
    if process is not None and getattr(process.current_process(), "_inheriting", False):
        raise RunWhileReading
