"""Where log records go that a step makes in a worker: into entries that return with the outcome.

A worker has no logging configuration of its own. In ours, records of the standard library
and events of structlog are kept, and the run has them handled as the application logs.
Where logging is configured (a worker that its owner has set up, a module that a step
imports) it is left as it is.
"""

from __future__ import annotations

import logging
import pickle
import sys
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

import structlog
from structlog.contextvars import bound_contextvars
from structlog.processors import StackInfoRenderer, format_exc_info

from dotflow.abc.scope import RemoteScope
from dotflow.core.process import fork_safe_lock, once
from dotflow_otel._process import this_process
from dotflow_otel.plain import to_plain
from dotflow_otel.relay.buffers import AttemptBuffer, BufferRegistry, Drained
from dotflow_otel.relay.log_entry import EventEntry, RecordEntry
from dotflow_otel.relay.structlogs import (
    METHODS,
    ROOT,
    Classes,
    Levels,
    LevelsHere,
    classes_here,
    classes_of,
    level_here,
    makers_here,
    warns_here,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from types import TracebackType

    from structlog.typing import EventDict, WrappedLogger

    from dotflow_otel._process import Process
    from dotflow_otel.relay.log_entry import Entry


_logger: Final = logging.getLogger("dotflow_otel")


def levels_here() -> bytes:
    """Return the levels that the application has set, in a form that is cheap to send."""
    loggers = logging.root.manager.loggerDict.copy().items()
    levels = {
        name: logger.level
        for name, logger in loggers
        if isinstance(logger, logging.Logger) and logger.level
    }
    levels = {ROOT: logging.root.level, **levels}
    told = Levels(
        logging.root.manager.disable,
        levels,
        level_here(),
        classes_here(),
        makers_here(),
        warns_here(),
    )
    return pickle.dumps(tuple(told))


def is_configured() -> bool:
    """Return whether the application, or its worker's owner, has configured structlog."""
    if not structlog.is_configured():
        return False
    factory = structlog.get_config()["logger_factory"]
    return not isinstance(factory, _RelayLoggers)


class LogBuffer(AttemptBuffer["Entry"]):
    """The buffer of what an attempt logs.

    Args:
        owner: Tells the process that owns the run.
        levels: The levels that the application has set.
        on_put: As of `AttemptBuffer`.
    """

    __slots__ = ("levels",)

    def __init__(
        self, owner: Process, levels: bytes, on_put: Callable[[int], object] | None = None
    ) -> None:
        # Runs of one application are told apart where their records are handled.
        super().__init__(owner, 0, on_put)
        self.levels = levels


# The attempt that this code runs for, also in what has a copy of its context.
_current: Final[ContextVar[LogBuffer | None]] = ContextVar("dotflow_logs", default=None)


class LogRelay:
    """Keeps what steps log in this process.

    Args:
        buffers: Where it waits to be taken.
    """

    def __init__(self, buffers: BufferRegistry[Entry] | None = None) -> None:
        self._buffers: BufferRegistry[Entry] = buffers or BufferRegistry()
        self._handler = _Handler(self)
        self._levels = LevelsHere()
        # Those that count, where all attempts want the same; None while that changes.
        self._only_levels: bytes | None = None
        self._lock = fork_safe_lock()

    def begin(
        self, owner: Process, levels: bytes, on_put: Callable[[int], object] | None = None
    ) -> LogBuffer:
        """Keep what an attempt logs from now on.

        Args:
            owner: Tells the process that owns the run.
            levels: The levels that the application has set.
            on_put: As of `AttemptBuffer`.
        """
        buffer = LogBuffer(owner, levels, on_put)
        self._buffers.open(buffer)
        # After that is open, so that who changes the levels knows of it, or this of the change.
        is_known = self._only_levels == levels
        if not (is_known and logging.root.handlers and structlog.is_configured()):
            self._set_up()
        _current.set(buffer)
        return buffer

    def _set_up(self) -> None:
        with self._lock:
            if not logging.root.handlers:
                logging.root.addHandler(self._handler)
            self._only_levels = None
            buffers = self._buffers.all_open
            wanted = frozenset(buffer.levels for buffer in buffers if isinstance(buffer, LogBuffer))
            is_new = self._levels.change(wanted)
            if self._handler in logging.root.handlers and is_new:
                self._levels.apply()
            if not structlog.is_configured() or (is_new and not is_configured()):
                self._configure_structlog(self._levels)
            self._only_levels = next(iter(wanted)) if len(wanted) == 1 else None

    def _configure_structlog(self, levels: LevelsHere) -> None:
        classes = classes_of(levels.classes)
        is_wrapped = classes is not None
        if classes is None:
            classes = Classes(structlog.make_filtering_bound_logger(levels.structlogs), dict)
        structlog.configure(
            processors=[StackInfoRenderer(), format_exc_info, _sent],
            wrapper_class=classes.wrapper,
            context_class=classes.context,
            logger_factory=_RelayLoggers(self, is_wrapped),
        )

    def keep(self, entry: Entry) -> bool:
        """Keep one record or event; tell whether it is known whose it is, and so is kept."""
        buffer = _current.get()
        if buffer is None:
            owner = _owner_by_span()
            if owner is not None and self._buffers.only is None:
                self._buffers.put_orphan(owner, entry)
                return True
        return self._buffers.put(buffer, entry)

    def take_some(self, buffer: LogBuffer) -> Drained[Entry] | None:
        """Return some of what an attempt has logged that goes on, if anything."""
        return self._buffers.take_some(buffer)

    def end(self, buffer: LogBuffer) -> Drained[Entry] | None:
        """Return what an attempt logged and what is late of its application, if anything, once."""
        _current.set(None)
        found = self._buffers.close(buffer)
        if found is None:
            return None
        own, late = found
        items = (*(each.item for each in late.items), *own.items)
        dropped = own.dropped + late.dropped
        return Drained(items, dropped)


@once
def log_relay_here() -> LogRelay:
    """Return the relay of this process."""
    return LogRelay()


def _owner_by_span() -> Process | None:
    # In a thread that has the step's span and not its context.
    relays = sys.modules.get("dotflow_otel.relay.span_relay")
    owner: Process | None = None if relays is None else relays.relay_here().owner_here()
    return owner


class _Handler(logging.Handler):
    def __init__(self, relay: LogRelay) -> None:
        super().__init__()
        self._relay = relay

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if not self._relay.keep(RecordEntry.of(record)):
                _handle_here(record)
        except Exception:  # noqa: BLE001 - a record must not fail the step
            self.handleError(record)


class _RelayLoggers:
    """Makes what structlog's loggers call in the end.

    Args:
        relay: Keeps their events.
        is_wrapped: Whether the class of the loggers is the application's.
    """

    def __init__(self, relay: LogRelay, is_wrapped: bool) -> None:
        self._relay = relay
        self._is_wrapped = is_wrapped

    def __call__(self, *args: Any) -> _RelayLogger:
        return _RelayLogger(self._relay, args, self._is_wrapped)


class _RelayLogger:
    """Keeps an event, whatever the method.

    What a logger of the standard library has besides, that of the same name here has for it: the
    application's class of loggers may ask.
    """

    def __init__(self, relay: LogRelay, args: Sequence[Any], is_wrapped: bool) -> None:
        self._relay = relay
        self._args = args
        self._is_wrapped = is_wrapped

    def __getattr__(self, method: str) -> Any:
        if method.startswith("__"):
            raise AttributeError(method)
        if method == "name":
            return self._args[0] if self._args else "root"
        if method in _OF_LOGGERS:
            return getattr(logging.getLogger(self.name), method)
        return lambda event: self._keep(method, event)

    def _keep(self, method: str, event: dict[str, Any]) -> None:
        try:
            entry = EventEntry.of(self._args, method, event, is_wrapped=self._is_wrapped)
            if not self._relay.keep(entry):
                told = {"name": "structlog", "levelno": METHODS.get(method, logging.INFO)}
                _handle_here(logging.makeLogRecord({**told, "msg": str(to_plain(event))}))
        except Exception:
            # To the root logger's handlers, which is the relay as well: the step goes on.
            _logger.exception("an event of structlog could not be sent to the run")


# What loggers of the standard library have that writes nothing.
_OF_LOGGERS: Final = {
    *dir(logging.getLogger("dotflow_otel")),
} - {*METHODS, "exception", "fatal", "log", "warn"}


def _handle_here(record: logging.LogRecord) -> None:
    """Do with a record, which may be of any application, what is done without a relay."""
    handler = logging.lastResort
    if handler is not None and record.levelno >= handler.level:
        handler.handle(record)


def _sent(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> tuple[Any, Any]:
    return (event_dict,), {}


class RemoteLogs:
    """What the scopes of a run's attempts have in common.

    Args:
        ids: What is bound for each of them.
        levels: The levels that the application has set, as `levels_here` gives them.
        owner: Tells the process that owns the run.
    """

    def __init__(self, ids: Mapping[str, str], levels: bytes, owner: Process) -> None:
        self._sent = ids, levels, owner
        self.ids = ids
        self.levels = levels
        self.owner = owner

    def __reduce__(self) -> tuple[Any, ...]:
        return RemoteLogs, self._sent

    def scope(self, ids: Mapping[str, str]) -> RemoteLog:
        """Make the scope of an attempt: see `RemoteLog`."""
        return RemoteLog(self, ids)


class RemoteLog(RemoteScope):
    """Binds the ids where the attempt runs, and keeps what the step logs there.

    Args:
        shared: What it has in common with the run's other attempts.
        ids: What is bound besides.
    """

    shared: RemoteLogs

    def __init__(self, shared: RemoteLogs, ids: Mapping[str, str]) -> None:
        self.shared = shared
        self.arguments = (ids,)
        self._buffer: LogBuffer | None = None
        self._bound: AbstractContextManager[None] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return RemoteLog, (self.shared, *self.arguments)

    def prepare(self) -> None:
        """Keep what the step logs here, where logging is not configured."""
        shared = self.shared
        if shared.owner != this_process():
            self._buffer = log_relay_here().begin(shared.owner, shared.levels, self.on_recorded)

    def __enter__(self) -> None:
        self._bound = bound_contextvars(**self.shared.ids, **self.arguments[0])
        self._bound.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bound is not None:
            # Without the error, of which it would set attributes.
            self._bound.__exit__(None, None, None)

    def drain(self) -> Drained[Entry] | None:
        """Return some of what was logged, called while the step runs."""
        return None if self._buffer is None else log_relay_here().take_some(self._buffer)

    def collect(self) -> Drained[Entry] | None:
        """Return what was logged, called after the exit."""
        return None if self._buffer is None else log_relay_here().end(self._buffer)
