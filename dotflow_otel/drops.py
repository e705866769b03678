"""How much telemetry was dropped, and why: one book for this process."""

from __future__ import annotations

import logging
from collections import Counter
from threading import RLock
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_logger: Final = logging.getLogger("dotflow_otel")

TRACES: Final = "traces"
METRICS: Final = "metrics"
LOGS: Final = "logs"

QUEUE_FULL: Final = "the queue was full"
NOT_TAKEN: Final = "the backend did not take them"
OUT_OF_TIME: Final = "the time to deliver them was over"

_ITEMS: Final = {TRACES: "spans", METRICS: "data points", LOGS: "log records"}


class Drops:
    """Counts what was dropped, by signal and reason."""

    def __init__(self) -> None:
        # Reentrant, for a signal handler that ends a span in the middle of a count.
        self._lock = RLock()
        self._counts: Counter[tuple[str, str]] = Counter()
        self._told: Counter[tuple[str, str]] = Counter()

    def add(self, signal: str, reason: str, amount: int = 1) -> None:
        """Count what was dropped.

        Args:
            signal: `traces`, `metrics` or `logs`.
            reason: Why, for the log line.
            amount: How many spans, data points or log records.
        """
        if amount > 0:
            with self._lock:
                self._counts[signal, reason] += amount

    def totals(self) -> Mapping[str, int]:
        """Give how much was dropped so far, by signal."""
        if not self._counts:
            return {}
        totals: Counter[str] = Counter()
        with self._lock:
            for (signal, _), amount in self._counts.items():
                totals[signal] += amount
        return totals

    def tell(self) -> None:
        """Write one warning about what was dropped since the last one, if anything was."""
        if not self._counts:
            return
        with self._lock:
            news = self._counts - self._told
            self._told = self._counts.copy()
        if news:
            parts = [f"{n} {_ITEMS[signal]} ({why})" for (signal, why), n in sorted(news.items())]
            _logger.warning("telemetry was dropped: %s", ", ".join(parts))


# Exporters have no run and no configuration, so what they drop is known to the process.
drops: Final = Drops()
