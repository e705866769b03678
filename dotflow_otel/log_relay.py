"""Where log records go that a step makes in a worker: into entries that return with the outcome.

A worker has no logging configuration of its own. In ours, records of the standard library
and events of structlog are kept, and the run has them handled as the application logs.
Where logging is configured (a worker that its owner has set up, a module that a step
imports) it is left as it is.
"""

from __future__ import annotations

import logging
import pickle
from collections import deque
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import structlog
from structlog.contextvars import merge_contextvars
from structlog.processors import StackInfoRenderer, format_exc_info

from dotflow_otel.log_entry import EventEntry, RecordEntry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from structlog.typing import EventDict, WrappedLogger

    from dotflow_otel.log_entry import Entry

# A step that logs without end must not fill the memory: so many entries wait for the next
# outcome, and the rest is counted.
_MOST: Final = 100_000
_ROOT: Final = ""


class TakenEntries(NamedTuple):
    """What was logged since the last time.

    Attributes:
        entries: The records and events, in order.
        dropped: How many there was no room for.
    """

    entries: Sequence[Entry]
    dropped: int


def levels_here() -> bytes:
    """Give the levels that the application has set, in a form that is cheap to send."""
    loggers = list(logging.root.manager.loggerDict.items())
    levels = {
        name: logger.level
        for name, logger in loggers
        if isinstance(logger, logging.Logger) and logger.level
    }
    return pickle.dumps((logging.root.manager.disable, {_ROOT: logging.root.level, **levels}))


class LogRelay:
    """Keeps what steps log in this process.

    Args:
        most: How many entries may wait to be taken.
    """

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._lock = Lock()
        self._entries: deque[Entry] = deque()
        self._dropped = 0
        self._handler = _Handler(self)
        self._levels = b""
        self._set: dict[str, int] = {}

    def begin(self, levels: bytes) -> None:
        """Keep what is logged from now on, at the levels that the application has set."""
        if self._handler not in logging.root.handlers and not logging.root.handlers:
            logging.root.addHandler(self._handler)
        if self._handler in logging.root.handlers and levels != self._levels:
            self._apply(levels)
        if not structlog.is_configured():
            structlog.configure(
                processors=[merge_contextvars, StackInfoRenderer(), format_exc_info, _sent],
                logger_factory=lambda *args: _RelayLogger(self, args),
            )

    def _apply(self, levels: bytes) -> None:
        disabled, wanted = pickle.loads(levels)  # noqa: S301 - from the run, as the step itself
        logging.disable(disabled)
        for name in self._set.keys() - wanted.keys():
            logging.getLogger(name).setLevel(logging.NOTSET)
        for name, level in wanted.items():
            logging.getLogger(name).setLevel(level)
        self._set, self._levels = wanted, levels

    def keep(self, entry: Entry) -> None:
        """Keep one record or event."""
        with self._lock:
            if len(self._entries) < self._most:
                self._entries.append(entry)
            else:
                self._dropped += 1

    def take(self) -> TakenEntries | None:
        """Give what was logged, if anything, and forget it."""
        with self._lock:
            taken = TakenEntries(tuple(self._entries), self._dropped)
            self._entries.clear()
            self._dropped = 0
        return taken if taken.entries or taken.dropped else None


@cache
def log_relay_here() -> LogRelay:
    """Give the relay of this process."""
    return LogRelay()


class _Handler(logging.Handler):
    def __init__(self, relay: LogRelay) -> None:
        super().__init__()
        self._relay = relay

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._relay.keep(RecordEntry.of(record))
        except Exception:  # noqa: BLE001 - a record must not fail the step
            self.handleError(record)


class _RelayLogger:
    """What structlog's loggers call in the end, whatever the method."""

    def __init__(self, relay: LogRelay, args: Sequence[Any]) -> None:
        self._relay = relay
        self._args = args

    def __getattr__(self, method: str) -> Any:
        if method.startswith("__"):
            raise AttributeError(method)
        return lambda event: self._relay.keep(EventEntry.of(self._args, method, event))


def _sent(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> tuple[Any, Any]:
    return (event_dict,), {}
