"""An end in order when a service is stopped."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from dotflow.core.exception import WrongMoment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# As shells tell of a program that this signal has ended.
TERMINATED: Final = 128 + signal.SIGTERM


class Terminated(SystemExit):
    """SIGTERM came: it ends a run as Ctrl-C does, and the program with exit code 143."""

    def __init__(self) -> None:
        super().__init__(TERMINATED)


def exit_on_sigterm() -> None:
    """Make SIGTERM end this process in order, as the exit of its main thread does.

    A run that goes on in the main thread ends as with Ctrl-C: its tasks fail as interrupted, its
    worker processes end. A run in the background goes on to its end. Then what `atexit` has is
    called: telemetry is delivered, within its bound. A second SIGTERM ends the process at once.

    A handler that the program or its server has set stays, and what it does is what happens; so
    does a signal that is ignored. A handler that is set later takes the place of this one; that of
    uvicorn sets it back, and raises the signal again, when the server has shut down. Forked
    children have it as well.

    Raises:
        WrongMoment: It is called in another thread than the main one, where none can be set.
    """
    if threading.current_thread() is not threading.main_thread():
        raise WrongMoment("exit_on_sigterm() was called in another thread: call it in the main one")
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminate)


@contextmanager
def sigterm_exits(last_words: Callable[[], object]) -> Iterator[None]:
    """Do inside what `exit_on_sigterm` does, whatever handler there is.

    Args:
        last_words: Called first, for the second signal leaves no time for it.
    """

    def end(number: int, frame: object) -> None:
        last_words()
        _terminate(number, frame)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(number: int, _frame: Any) -> None:
    signal.signal(number, signal.SIG_DFL)
    raise Terminated
