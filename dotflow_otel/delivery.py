"""Batches on their way to a backend, and what becomes of each."""

from __future__ import annotations

import os
import weakref
from threading import RLock
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.sdk.trace.export import BatchSpanProcessor

from dotflow_otel.drops import NOT_TAKEN, OUT_OF_TIME, QUEUE_FULL, drops

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.sdk.trace import ReadableSpan

_SUCCESS: Final = "SUCCESS"
_DEFAULT_CAPACITY: Final = 2048


class Account:
    """What a queue took in, what left it for the exporter, and what that delivered.

    Args:
        signal: `traces`, `metrics` or `logs`.
        capacity: How many items the queue holds.
    """

    def __init__(self, signal: str, capacity: int = 0) -> None:
        self._signal = signal
        self._capacity = capacity
        self._open()
        reopen = weakref.WeakMethod(self._open)
        os.register_at_fork(after_in_child=lambda: _call(reopen()))

    def _open(self) -> None:
        # Anew in a forked child: the SDK's queues are empty there.
        self._lock = RLock()
        self._admitted = 0
        self._taken = 0
        self._settled = 0
        self.lost = 0

    def admit(self) -> bool:
        """Take one item in, if there is room; else count it as dropped.

        The SDK's own queue writes a log record for each item that it drops. That takes
        longer than a task, and happens when the backend hangs.
        """
        with self._lock:
            if self._admitted - self._taken < self._capacity:
                self._admitted += 1
                return True
        self._lose(1, QUEUE_FULL)
        return False

    def take(self, size: int) -> None:
        """Note that the exporter has a batch."""
        self._taken += size

    def settle(self, size: int, *, delivered: bool) -> None:
        """Note what became of a batch."""
        self._settled += size
        if not delivered:
            self._lose(size, NOT_TAKEN)

    def abandon(self) -> None:
        """Count as dropped what is still on its way."""
        left, self._settled = self._admitted - self._settled, self._admitted
        self._lose(left, OUT_OF_TIME)

    def _lose(self, amount: int, reason: str) -> None:
        self.lost += amount
        drops.add(self._signal, reason, amount)


class CountedExporter:
    """An exporter of any signal, and the account of what goes through it.

    Args:
        exporter: The exporter.
        account: The account.
        size: Tells the size of a batch.
    """

    def __init__(self, exporter: Any, account: Account, size: Callable[[Any], int] = len) -> None:
        self._exporter = exporter
        self._account = account
        self._size = size

    def export(self, batch: Any, *args: Any, **kwargs: Any) -> Any:
        """Export a batch, and note what became of it."""
        size = self._size(batch)
        self._account.take(size)
        delivered = False
        try:
            result = self._exporter.export(batch, *args, **kwargs)
            delivered = getattr(result, "name", None) == _SUCCESS
        finally:
            self._account.settle(size, delivered=delivered)
        return result

    def __getattr__(self, name: str) -> Any:
        # The SDK asks exporters for more, and for other things in each of its versions.
        return getattr(self._exporter, name)


class CountedSpanProcessor(BatchSpanProcessor):
    """The SDK's batch processor behind an account. Its settings are `OTEL_BSP_*`.

    Args:
        exporter: Where the spans go.
        account: The account.
    """

    def __init__(self, exporter: Any, account: Account) -> None:
        super().__init__(CountedExporter(exporter, account))  # type: ignore[arg-type] # it is one
        self._account = account

    def on_end(self, span: ReadableSpan) -> None:
        """Queue a span that is sampled, if there is room."""
        context = span.context
        if context is not None and context.trace_flags & 1 and self._account.admit():
            super().on_end(span)


def capacity(variable: str) -> int:
    """Give the size of a queue as the SDK reads it from a variable."""
    try:
        return int(os.environ.get(variable, _DEFAULT_CAPACITY))
    except ValueError:
        return _DEFAULT_CAPACITY


def _call(function: Callable[[], None] | None) -> None:
    if function is not None:
        function()
