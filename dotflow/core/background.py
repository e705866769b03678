"""Runs that go on while the caller does, and that finish before the interpreter goes."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from contextvars import copy_context
from typing import TYPE_CHECKING

from dotflow.core.failure import drop_tracebacks
from dotflow.core.user_objects import exc_info_of

if TYPE_CHECKING:
    from collections.abc import Callable

_logger = logging.getLogger("dotflow")

# Set at the end of each run that goes on; they stand for the runs, whose threads cannot be
# waited for before they are started.
_pending: set[threading.Event] = set()
_registered = False

if hasattr(os, "register_at_fork"):
    # A forked child has none of these threads.
    os.register_at_fork(after_in_child=_pending.clear)


def start_in_background(run: Callable[[], None], name: str) -> threading.Thread:
    """Start `run` in a thread that the interpreter waits for before it exits.

    Raises:
        RuntimeError: The system has no more threads, or the interpreter is going.
    """
    _wait_at_exit()
    context, ended = copy_context(), threading.Event()
    target = context.run
    thread = threading.Thread(target=target, args=(_guarded, run, ended), name=f"dotflow-{name}")
    _pending.add(ended)
    try:
        thread.start()
    except RuntimeError:
        _pending.discard(ended)
        raise
    return thread


def _guarded(run: Callable[[], None], ended: threading.Event) -> None:
    try:
        run()
    except BaseException as error:
        # There is no caller to raise to: the run's record and callbacks told it.
        _logger.exception("a background run ended with an error", exc_info=exc_info_of(error))
        drop_tracebacks([error], keep=None)
    finally:
        ended.set()
        _pending.discard(ended)


def _wait_at_exit() -> None:
    # The interpreter waits for plain threads as well, but by then the pools of
    # `concurrent.futures` (and so `asyncio.to_thread`) refuse new work: they stop in a hook
    # of `threading` that runs first. Ours is registered after theirs, so it runs before.
    global _registered  # noqa: PLW0603 - once for a process
    register = getattr(threading, "_register_atexit", None)
    if _registered or register is None:
        return
    import concurrent.futures.thread  # noqa: F401, PLC0415 - registers its hook at import

    with contextlib.suppress(RuntimeError):  # where the interpreter is going already
        register(_join_pending)
    _registered = True


def _join_pending() -> None:
    while _pending:
        for ended in _pending.copy():
            ended.wait()
            _pending.discard(ended)
