"""Where log records go that a step makes in a worker: into entries that return with the outcome.

A worker has no logging configuration of its own. In ours, records of the standard library
and events of structlog are kept, and the run has them handled as the application logs.
Where logging is configured (a worker that its owner has set up, a module that a step
imports) it is left as it is.
"""

from __future__ import annotations

import logging
import pickle
from typing import TYPE_CHECKING, Any, Final

import structlog
from structlog.contextvars import merge_contextvars
from structlog.processors import StackInfoRenderer, format_exc_info

from dotflow.core.once import once
from dotflow_otel.relay.backlog import Backlog
from dotflow_otel.relay.log_entry import EventEntry, RecordEntry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from structlog.typing import EventDict, WrappedLogger

    from dotflow_otel.relay.backlog import Taken
    from dotflow_otel.relay.log_entry import Entry

_logger: Final = logging.getLogger("dotflow_otel")

_ROOT: Final = ""
_METHODS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}


def levels_here() -> bytes:
    """Give the levels that the application has set, in a form that is cheap to send."""
    loggers = logging.root.manager.loggerDict.copy().items()
    levels = {
        name: logger.level
        for name, logger in loggers
        if isinstance(logger, logging.Logger) and logger.level
    }
    levels = {_ROOT: logging.root.level, **levels}
    return pickle.dumps((logging.root.manager.disable, levels, _structlog_level()))


def _structlog_level() -> int:
    # Its filtering loggers have methods that do nothing below their level, all the same one.
    wrapper = structlog.get_config()["wrapper_class"]
    nothing = getattr(structlog.make_filtering_bound_logger(logging.CRITICAL), "debug", None)
    for method, level in _METHODS.items():
        if getattr(wrapper, method, None) is not nothing:
            return level
    return logging.CRITICAL


def is_configured() -> bool:
    """Tell whether the application, or its worker's owner, has configured structlog."""
    if not structlog.is_configured():
        return False
    factory = structlog.get_config()["logger_factory"]
    return not isinstance(factory, _RelayLoggers)


class LogRelay:
    """Keeps what steps log in this process.

    Args:
        backlog: Where it waits to be taken.
    """

    def __init__(self, backlog: Backlog[Entry] | None = None) -> None:
        self._backlog: Backlog[Entry] = backlog or Backlog()
        self._handler = _Handler(self)
        self._levels = b""
        self._set: dict[str, int] = {}

    def begin(self, levels: bytes) -> None:
        """Keep what is logged from now on, at the levels that the application has set."""
        if not logging.root.handlers:
            logging.root.addHandler(self._handler)
        is_new = levels != self._levels
        if self._handler in logging.root.handlers and is_new:
            self._apply(levels)
        if not structlog.is_configured() or (is_new and not is_configured()):
            self._configure_structlog(levels)
        self._levels = levels

    def _configure_structlog(self, levels: bytes) -> None:
        _, _, level = _read(levels)
        structlog.configure(
            processors=[merge_contextvars, StackInfoRenderer(), format_exc_info, _sent],
            wrapper_class=structlog.make_filtering_bound_logger(level),
            logger_factory=_RelayLoggers(self),
        )

    def _apply(self, levels: bytes) -> None:
        disabled, wanted, _ = _read(levels)
        logging.disable(disabled)
        for name in self._set.keys() - wanted.keys():
            logging.getLogger(name).setLevel(logging.NOTSET)
        for name, level in wanted.items():
            logging.getLogger(name).setLevel(level)
        self._set = wanted

    def keep(self, entry: Entry) -> None:
        """Keep one record or event."""
        self._backlog.put(entry)

    def take(self) -> Taken[Entry] | None:
        """Give what was logged, if anything, and forget it."""
        taken = self._backlog.take()
        return taken if taken.items or taken.dropped else None


@once
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


class _RelayLoggers:
    """Makes what structlog's loggers call in the end."""

    def __init__(self, relay: LogRelay) -> None:
        self._relay = relay

    def __call__(self, *args: Any) -> _RelayLogger:
        return _RelayLogger(self._relay, args)


class _RelayLogger:
    """Keeps an event, whatever the method."""

    def __init__(self, relay: LogRelay, args: Sequence[Any]) -> None:
        self._relay = relay
        self._args = args

    def __getattr__(self, method: str) -> Any:
        if method.startswith("__"):
            raise AttributeError(method)
        return lambda event: self._keep(method, event)

    def _keep(self, method: str, event: dict[str, Any]) -> None:
        try:
            self._relay.keep(EventEntry.of(self._args, method, event))
        except Exception:
            # To the root logger's handlers, which is the relay as well: the step goes on.
            _logger.exception("an event of structlog could not be sent to the run")


def _read(levels: bytes) -> tuple[int, dict[str, int], int]:
    told: tuple[int, dict[str, int], int] = pickle.loads(levels)  # noqa: S301 - from the run
    return told


def _sent(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> tuple[Any, Any]:
    return (event_dict,), {}
