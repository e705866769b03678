"""Telemetry that was dropped: counted when it happens, told of when a run ends or at exit.

As global as the providers that `setup` sets. It knows no telemetry library, so that metrics
can count what traces lost without importing those.
"""

from __future__ import annotations

import logging
from threading import RLock
from typing import TYPE_CHECKING, Final
from weakref import WeakMethod

from dotflow_otel.forks import call_in_forked_child

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Watcher = Callable[[str, int], None]

_logger: Final = logging.getLogger("dotflow_otel")

TRACES: Final = "traces"
METRICS: Final = "metrics"
LOGS: Final = "logs"
HISTORY: Final = "history"

# What a signal's items are called: one, several.
_ITEMS: Final = {
    TRACES: ("span", "spans"),
    METRICS: ("data point of metrics", "data points of metrics"),
    LOGS: ("log record", "log records"),
    HISTORY: ("record of the history", "records of the history"),
}
_WHY: Final = "telemetry was dropped"


class DropTally:
    """How much was dropped, by signal, and how much of that nobody was told of yet."""

    def __init__(self) -> None:
        self._watchers: list[WeakMethod[Watcher]] = []
        self._begin()
        call_in_forked_child(self._begin)

    def _begin(self) -> None:
        # Anew in a forked child: what its parent lost, its parent tells of.
        # One that a signal handler or a finalizer that logs can take again.
        self._lock = RLock()
        self._totals: dict[str, int] = {}
        self._untold: dict[str, int] = {}

    def add(self, signal: str, count: int) -> None:
        """Take in that items of a signal were dropped."""
        if count <= 0:
            return
        with self._lock:
            for counts in (self._totals, self._untold):
                counts[signal] = counts.get(signal, 0) + count

    def total(self, signal: str) -> int:
        """Give how many items of a signal were dropped in this process."""
        return self._totals.get(signal, 0)

    def watch(self, watcher: Watcher) -> None:
        """Have a method called with each signal and its count, for as long as its object lives.

        It is called by `tell`, with what has been dropped since that was last called.
        """
        with self._lock:
            living = [each for each in self._watchers if each() is not None]
            self._watchers = [*living, WeakMethod(watcher)]

    def tell(self, why: str | None = None) -> None:
        """Log one line of what was dropped since the last one, and tell the watchers.

        Args:
            why: What the line begins with, which is then written in any case.
        """
        if not self._untold and why is None:
            return
        with self._lock:
            dropped, self._untold = self._untold, {}
        if dropped or why is not None:
            told = ", ".join(_worded(signal, count) for signal, count in sorted(dropped.items()))
            _logger.warning("%s%s", why or _WHY, f": {told}" if told else "")
        for each in self._watchers:
            watcher = each()
            if watcher is not None:
                _tell(watcher, dropped)


def _tell(watcher: Watcher, dropped: Mapping[str, int]) -> None:
    for signal, count in dropped.items():
        watcher(signal, count)


def _worded(signal: str, count: int) -> str:
    one, several = _ITEMS[signal]
    return f"{count} {one if count == 1 else several}"


tally: Final = DropTally()
