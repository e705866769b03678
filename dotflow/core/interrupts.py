"""Ctrl-C while a run holds up the event loop whose thread it was started in."""

from __future__ import annotations

import sys
from functools import partial
from threading import current_thread, main_thread
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def interrupt_at_once() -> Callable[[], None] | None:
    """Make Ctrl-C raise `KeyboardInterrupt` here; return what undoes that, if it did not before.

    `asyncio.run` has the first Ctrl-C cancel its main coroutine instead, which that learns where
    it awaits next: not before the run has ended that it called. Its handler alone is replaced. If
    an interrupt comes before it is put back, what is left is what `asyncio.run` leaves itself.
    """
    events: Any = sys.modules.get("asyncio.events")
    if events is None or getattr(events, "_get_running_loop", _none)() is None:
        return None
    import signal  # noqa: PLC0415 - asyncio has imported it

    handler: Any = signal.getsignal(signal.SIGINT)
    if type(handler) is not partial or current_thread() is not main_thread():
        return None
    from asyncio import Runner  # noqa: PLC0415 - a loop runs

    # The name is private: where it is another one, all is as `asyncio` has it.
    if getattr(handler.func, "__func__", None) is not getattr(Runner, "_on_sigint", _none):
        return None
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return partial(_put_back, handler)


def _none() -> None:
    return None


def _put_back(handler: Any) -> None:
    import signal  # noqa: PLC0415 - asyncio has imported it

    # Unless the program has set another one meanwhile.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, handler)
