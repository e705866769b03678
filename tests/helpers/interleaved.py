"""Two threads that take turns at a chosen place: one interleaving after another, all of them."""

from __future__ import annotations

import sys
from itertools import count
from threading import Thread
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

# Who waits longer than this (in seconds) waits for a lock of the first, which goes on then.
_WAITS: Final = 0.02


class _Turn:
    """Runs a call as it is, but for one place where another thread makes a second one.

    Args:
        second: The other thread's call.
        place: Before which of the interpreter's steps in our packages it is made.
        within: The name of the only function whose steps count; None: all do.
    """

    def __init__(self, second: Callable[[], object], place: int, within: str | None) -> None:
        self._thread = Thread(target=second, daemon=True)
        self._left = place
        self._within = within
        self.came = False

    def run(self, first: Callable[[], object]) -> None:
        before = sys.gettrace()
        sys.settrace(self._trace)
        try:
            first()
        finally:
            sys.settrace(before)
        if self.came:
            self._thread.join(20)
            assert not self._thread.is_alive()

    def _trace(self, frame: FrameType, event: str, _: Any) -> Any:
        if not frame.f_globals.get("__name__", "").startswith("dotflow"):
            return None
        if self._within not in {None, frame.f_code.co_name}:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode" and not self.came:
            self._left -= 1
            if self._left < 0:
                self.came = True
                self._thread.start()
                self._thread.join(_WAITS)
        return self._trace


def interleave(
    prepare: Callable[[], Sequence[Callable[[], object]]], within: str | None = None
) -> None:
    """Try every place of a call at which another thread may make another one.

    Args:
        prepare: Gives, anew for each place, the call, that of the other thread, and what
            checks afterwards that nothing is wrong.
        within: The name of the function to interrupt; None: all that the call comes to.
    """
    for place in count():
        first, second, check = prepare()
        turn = _Turn(second, place, within)
        turn.run(first)
        if not turn.came:
            if not place and sys.version_info[:2] == (3, 12):
                pytest.skip("Python 3.12 does not tell of every step")
            assert place, "the call makes no step in our packages"
            return
        check()
