"""What is delivered at the exit of the interpreter: all of it at once, within one bound."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

from dotflow.core.clock import monotonic
from dotflow.core.exits import call_at_exit

if TYPE_CHECKING:
    from collections.abc import Callable

_logger: Final = logging.getLogger("dotflow_otel")

# How much of the time that an exit may take is for delivering. The rest is for the
# interpreter, whose exit is bounded as a whole.
_SHARE: Final = 0.9


class Ending(Protocol):
    """Something that delivers at exit, in a thread of its own."""

    @property
    def bound(self) -> float:
        """Seconds that the exit may take for its sake."""
        ...

    def ask_to_end(self) -> None:
        """Have it deliver what it has; do not wait."""

    def end_within(self, seconds: float) -> object:
        """Wait until it has, for so many seconds at most; then give up what is left."""


class Endings:
    """Ends all together, so that an exit takes the longest bound, and not their sum."""

    def __init__(self) -> None:
        self._endings: list[Ending] = []
        self._is_known = False

    def add(self, ending: Ending) -> None:
        """Have something ended at exit."""
        if not self._is_known:
            self._is_known = True
            call_at_exit(self.end)
        self._endings.append(ending)

    def remove(self, ending: Ending) -> None:
        """Let go what has ended, or needs no end."""
        with suppress(ValueError):
            self._endings.remove(ending)

    def end(self) -> None:
        """Ask all, then wait for each until its time is up, counted from now."""
        begun, asked = monotonic(), tuple(self._endings)
        for ending in asked:
            _guarded(ending.ask_to_end)
        for ending in asked:
            left = begun + ending.bound * _SHARE - monotonic()
            _guarded(ending.end_within, max(left, 0.0))


def _guarded(function: Callable[..., object], *arguments: float) -> None:
    try:
        function(*arguments)
    except Exception:
        _logger.exception("telemetry could not be ended")


# As global as the exit.
at_exit: Final = Endings()
