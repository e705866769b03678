"""Runs that go on while the caller does, and that finish before the interpreter goes."""

from __future__ import annotations

import logging
import threading
from contextvars import copy_context
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_logger = logging.getLogger("dotflow")

_pending: set[threading.Thread] = set()
_registered = False


def start_in_background(run: Callable[[], None], name: str) -> threading.Thread:
    """Start `run` in a thread that the interpreter waits for before it exits."""
    _wait_at_exit()
    context = copy_context()
    thread = threading.Thread(target=context.run, args=(_guarded, run), name=f"dotflow-{name}")
    _pending.add(thread)
    thread.start()
    return thread


def _guarded(run: Callable[[], None]) -> None:
    try:
        run()
    except BaseException:
        # There is no caller to raise to: the run's record and callbacks told it.
        _logger.exception("a background run ended with an error")
    finally:
        _pending.discard(threading.current_thread())


def _wait_at_exit() -> None:
    # The interpreter waits for plain threads as well, but by then the pools of
    # `concurrent.futures` (and so `asyncio.to_thread`) refuse new work: they stop in a hook
    # of `threading` that runs first. Ours is registered after theirs, so it runs before.
    global _registered  # noqa: PLW0603 - once for a process
    register = getattr(threading, "_register_atexit", None)
    if _registered or register is None:
        return
    import concurrent.futures.thread  # noqa: F401, PLC0415 - registers its hook at import

    register(_join_pending)
    _registered = True


def _join_pending() -> None:
    while _pending:
        for thread in tuple(_pending):
            thread.join()
