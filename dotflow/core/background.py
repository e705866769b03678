"""Runs that go on while the caller does, and that finish before the interpreter goes."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import signal
import sys
import threading
from contextvars import copy_context
from functools import partial
from math import inf
from threading import TIMEOUT_MAX
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

from dotflow.core.failure import drop_tracebacks
from dotflow.core.limit import CLEAN_UP, Limit, interruption_of
from dotflow.core.process import call_at_childs_end, call_in_forked_child
from dotflow.core.timing import Latch, monotonic
from dotflow.core.user_objects import exc_info_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from dotflow.core.engine import Engine

    _Argument = TypeVar("_Argument")
    _Result = TypeVar("_Result")

_logger = logging.getLogger("dotflow")

# The runs that the exit waits for: their threads cannot be waited for before they are started.
pending: Final[set[BackgroundRun]] = set()
_registered = False

# How long an interrupted exit waits for the runs to come to where they can be ended, in seconds.
PATIENCE: Final = 1.0

# A forked child has none of these threads.
call_in_forked_child(pending.clear)


class BackgroundRun:
    """A run, or a part of one, in a thread that the interpreter waits for before it exits.

    At most one thread acts for the run at a time. That is its own, except while a step runs or
    the run waits: there the interrupted exit may take over, and end the run.

    Args:
        run: The run.
        give_up: Ends the run in its place, for the reason that is passed.
        name: What the thread is named after.

    Attributes:
        thread: The thread.
    """

    def __init__(
        self,
        run: Callable[[], None],
        give_up: Callable[[BaseException], None],
        name: str,
    ) -> None:
        self._run = run
        self._give_up = give_up
        # Reentrant, for an interrupt may come as it is acquired, before that is known.
        self._acts = threading.RLock()
        self._is_outside = threading.Lock()
        self._has_begun = self._is_taken = False
        self._cancelled_by: BaseException | None = None
        self._ended = Latch()
        self._context = copy_context()
        # Has none of its own: it stands for what can be cancelled of the step that runs.
        self._limit = Limit(None, name)
        self._context.run(self._limit.cover)
        target = self._context.run
        self.thread = _Thread(target=target, args=(self._work,), name=f"dotflow-{name}")

    def start(self) -> None:
        """Start the thread.

        Raises:
            RuntimeError: The system has no more threads, or the interpreter is going.
            KeyboardInterrupt: It came meanwhile; `call_off` tells whether the run has begun.
        """
        if not threading.main_thread().is_alive() and _is_main():
            self._run_at_exit()
            return
        _wait_at_exit()
        try:
            pending.add(self)
            self.thread.start()
        except BaseException as error:  # noqa: BLE001 - raised, or what it was made of
            self.call_off()
            raise interruption_of(error) from None

    def _run_at_exit(self) -> None:
        # In a handler of `atexit`: the interpreter waits for threads no longer, and from Python
        # 3.12 on begins none. So the run ends before its caller goes on.
        try:
            self.thread.start()
        except RuntimeError:
            self.thread.is_needless = True
            self._context.run(self._work)
        else:
            self.thread.join()

    def call_off(self) -> bool:
        """Keep the run from beginning; return whether it had not begun."""
        if not self._acts.acquire(blocking=False):
            return False
        try:
            if not self._has_begun:
                self._is_taken = True
                self._end()
            return self._is_taken
        finally:
            self._acts.release()

    def _work(self) -> None:
        try:
            with self._acts:
                if not self._is_taken:
                    self._has_begun = True
                    self._run()
        except TakenOver:
            pass
        except BaseException as error:
            if error is self._cancelled_by:
                return  # whoever cancelled it knows
            # There is no caller to raise to: the run's record and callbacks told it.
            _logger.exception("a background run ended with an error", exc_info=exc_info_of(error))
            drop_tracebacks([error], keep=None)
        finally:
            self._end()

    def _end(self) -> None:
        self._ended.open()
        pending.discard(self)

    def outside(self, call: Callable[[_Argument], _Result], argument: _Argument) -> _Result:
        """Make a call that belongs to no run, such as a step, where the run may be taken over.

        Raises:
            BaseException: What `take_over` was called with; the call was not made.
            TakenOver: It was.
        """
        self.check()
        self._is_outside.acquire()
        self._acts.release()
        try:
            return call(argument)
        finally:
            self._is_outside.release()
            self._acts.acquire()
            if self._is_taken:
                raise TakenOver

    def run_outside(self, engine: Engine) -> None:
        """Have an engine perform attempts, and wait between them, where it may be taken over."""
        engine.perform = partial(self.outside, engine.perform)
        engine.sleep = partial(self.outside, engine.sleep)

    def check(self) -> None:
        """Raise the reason for which the run is to end, where there is one.

        A run asks that, time and again, which waits for what it can end by itself.

        Raises:
            BaseException: What `take_over` was called with.
        """
        if self._cancelled_by is not None:
            raise self._cancelled_by

    def wait(self) -> None:
        """Wait until it has ended."""
        self._ended.wait()
        pending.discard(self)

    def take_over(self, error: BaseException, until: float = inf) -> None:
        """End the run here, unless it ends by itself; it does nothing more in its own thread.

        A second call goes on where the first one was interrupted.

        Args:
            error: The reason.
            until: How long to wait for its turn, in time of the monotonic clock.
        """
        self._cancelled_by = error
        if not self._acts.acquire(timeout=min(max(0.0, until - monotonic()), TIMEOUT_MAX)):
            _logger.warning("the background run in %s did not end in time", self.thread.name)
            return
        try:
            if self._ended.is_open:
                return
            self._is_taken = True
            if self._limit.cancel() and self._is_outside.acquire(timeout=CLEAN_UP):
                self._is_outside.release()
            self._context.copy().run(self._give_up, error)
            self._end()
        finally:
            self.release_turn()

    def release_turn(self) -> None:
        """End this thread's part in the run, also where it was interrupted."""
        with contextlib.suppress(RuntimeError):
            while True:  # as often as interrupted calls have acquired it
                self._acts.release()


class _Thread(threading.Thread):
    """The thread of a run, which may be joined though another has run that.

    Attributes:
        is_needless: Whether another has.
    """

    is_needless = False

    def join(self, timeout: float | None = None) -> None:
        if not self.is_needless:
            super().join(timeout)


class TakenOver(BaseException):
    """Unwinds the thread of a run that has been ended by another thread."""


def _is_main() -> bool:
    return threading.get_ident() == threading.main_thread().ident


def _wait_at_exit() -> None:
    # The interpreter waits for plain threads as well, but by then the pools of
    # `concurrent.futures` (and so `asyncio.to_thread`) refuse new work: they stop in a hook
    # of `threading` that runs first. Ours is registered after theirs, so it runs before.
    # A child of multiprocessing ends its telemetry before it comes to either.
    global _registered  # noqa: PLW0603 - once for a process
    register = getattr(threading, "_register_atexit", None)
    if _registered or register is None:
        return
    with contextlib.suppress(RuntimeError):  # where the interpreter is going already
        import concurrent.futures.thread  # noqa: F401, PLC0415 - registers its hook at import

        register(join_pending)
        call_at_childs_end(join_pending)
    _registered = True


def join_pending() -> None:
    """Wait for all runs that go on; where that is interrupted, end them."""
    try:
        while pending:
            for run in pending.copy():
                run.wait()
    except BaseException as interruption:
        try:
            end_pending(interruption)
        finally:
            if isinstance(interruption, (KeyboardInterrupt, SystemExit)):
                _end_process(interruption)
        raise


def end_pending(interruption: BaseException) -> None:
    """End all runs that go on, for the reason that is passed."""
    until = monotonic() + PATIENCE
    runs = list(pending)
    try:
        while runs:
            _end_one(runs[-1], interruption, until)
            runs.pop()
    except KeyboardInterrupt:
        # After Ctrl-C again the rest are to have their ends all the same, unless that takes long:
        # in a thread, for this one would wait for a callback that goes on.
        rest = threading.Thread(target=_end_rest, args=(runs, interruption, until), daemon=True)
        while runs and monotonic() < until:
            with contextlib.suppress(KeyboardInterrupt):
                for run in runs:
                    run.release_turn()
                if rest.ident is None:
                    rest.start()
                rest.join(max(0.0, until - monotonic()))


def _end_one(run: BackgroundRun, interruption: BaseException, until: float) -> None:
    try:
        run.take_over(interruption, until)
    except Exception as error:
        _logger.exception("the end of a background run failed", exc_info=exc_info_of(error))


def _end_rest(runs: list[BackgroundRun], interruption: BaseException, until: float) -> None:
    while runs:
        with contextlib.suppress(BaseException):  # an interrupt that the callback raises
            _end_one(runs[-1], interruption, until)
        runs.pop()


def _end_process(interruption: KeyboardInterrupt | SystemExit) -> NoReturn:
    # Python would report the interruption, wait no longer for any thread, and end with code 0.
    # So what it calls at the exit is called here, and then the process ends as one does that is
    # interrupted before its end.
    try:
        atexit._run_exitfuncs()  # noqa: SLF001 - the name is private, and in every version
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        if isinstance(interruption, KeyboardInterrupt):
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)
        os._exit(_code_of(interruption))


def _code_of(interruption: BaseException) -> Any:
    code = interruption.code if isinstance(interruption, SystemExit) else 128 + signal.SIGINT
    if code is None or isinstance(code, int):
        return (code or 0) & 0xFF
    return 1
