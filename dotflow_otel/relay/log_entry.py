"""What a step logs in a worker, as plain values, for the way back to its run."""

from __future__ import annotations

import logging
import pickle
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from time import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from structlog.contextvars import bound_contextvars, get_contextvars

from dotflow.core.user_objects import guarded, traceback_of, whole_repr_of
from dotflow.workers.pickling import dump_or_none, load_or_none
from dotflow_otel.conventions import LOGGED_AT
from dotflow_otel.log_context import run_context
from dotflow_otel.plain import to_plain
from dotflow_otel.relay.structlogs import Origin
from dotflow_otel.span_ids import current_numbers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


# Deeper, and after so many, a container is pickled as a whole, or told by its text.
_DEPTH: Final = 8
_MOST: Final = 1000

# Larger ones, a table of data say, are told by their text, in bytes.
_LARGEST: Final = 1 << 16

_SIMPLE: Final = frozenset({type(None), bool, int, float, complex, str, bytes})
_CONTAINERS: Final = frozenset({list, tuple, dict})


class Odd(NamedTuple):
    """An object that is not made of plain values.

    Attributes:
        data: It, pickled; None where it cannot travel, or is large.
        text: Its text.
        shown: Its representation, where it cannot travel.
    """

    data: bytes | None
    text: str
    shown: str

    @classmethod
    def of(cls, value: object) -> Odd:
        """Make one of an object."""
        data, text = _pickled(value), str(to_plain(value, 0))
        return cls(data, text, text if data is not None else whole_repr_of(value))

    def restored(self, stand_in: Callable[[str, str], Any]) -> Any:
        """Return the object; where it cannot be had here, what is made of its two texts."""
        found = load_or_none(self.data)
        return stand_in(self.text, self.shown) if found is None else found


class Shown:
    """Stands for an object that cannot travel: it formats as that did.

    Args:
        text: The object's text.
        shown: Its representation.
    """

    __slots__ = ("_shown", "_text")

    def __init__(self, text: str, shown: str) -> None:
        self._text = text
        self._shown = shown

    @staticmethod
    def text_of(text: str, _shown: str) -> str:
        """Return the text alone: for those who are not to format it."""
        return text

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return self._shown


def packed(value: Any, depth: int = _DEPTH) -> Any:
    """Return a copy that travels: containers are gone into, what is not plain is `Odd`."""
    kind = type(value)
    if type(kind) is not type:  # a metaclass may have any idea of being in a set
        return Odd.of(value)
    if kind in _SIMPLE:
        return value
    if kind in _CONTAINERS and depth > 0 and len(value) <= _MOST:
        if kind is dict:
            return {packed(key, 1): packed(each, depth - 1) for key, each in value.items()}
        return kind(packed(each, depth - 1) for each in value)
    return Odd.of(value)


def is_simple(value: object) -> bool:
    """Return whether a value travels as it is."""
    kind = type(value)
    return type(kind) is type and kind in _SIMPLE


def unpacked(value: Any, stand_in: Callable[[str, str], Any] = Shown) -> Any:
    """Return what `packed` was given.

    Args:
        value: What that returned.
        stand_in: Makes what stands for an object that cannot be had here of its two texts.
    """
    kind = type(value)
    if kind is Odd:
        return value.restored(stand_in)
    if kind is dict:
        return {key: unpacked(each, stand_in) for key, each in _with_keys(value)}
    if kind in _CONTAINERS:
        return kind(unpacked(each, stand_in) for each in value)
    return value


def _with_keys(packed_dict: dict[Any, Any]) -> Iterator[tuple[Any, Any]]:
    return ((unpacked(key), each) for key, each in packed_dict.items())


class _TooLarge(Exception):
    """What is pickled is too large to travel with a log record."""


class _Bounded:
    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self._left = _LARGEST

    def write(self, piece: Any) -> int:
        data = memoryview(piece)
        self._left -= data.nbytes
        if self._left < 0:
            raise _TooLarge
        self.pieces.append(bytes(data))
        return data.nbytes


def _pickled(value: object) -> bytes | None:
    file = _Bounded()
    _, error = guarded(lambda: pickle.Pickler(file, pickle.HIGHEST_PROTOCOL).dump(value))
    return None if error is not None else b"".join(file.pieces)


# What of a record is not sent as it is. structlog keeps the logger itself in a record that it hands
# to the standard library.
_NOT_SENT: Final = frozenset({"args", "exc_info", "msg", "message", "_logger"})
_STRUCTLOGS: Final = "_logger"

# The arguments of an event that are to be formatted into it: these must be a tuple.
_POSITIONAL: Final = "positional_args"
_format: Final = logging.Formatter().formatException


class RecordEntry(NamedTuple):
    """A record of the standard library.

    Attributes:
        fields: Of the record, its arguments among them.
        text: Its text, where an argument of it may not travel as it is.
        error: The exception that it was given, pickled, where that can travel.
        is_structlogs: Whether it holds an event of structlog.
        handled_by: The names of the loggers whose handlers had it in the worker.
        bound: What was bound in structlog's context.
        span: The ids and flags of the span that was current, if any.
    """

    fields: dict[str, Any]
    text: str | None
    error: bytes | None
    is_structlogs: bool
    handled_by: Sequence[str]
    bound: dict[str, Any]
    span: tuple[int, int, int] | None

    @classmethod
    def of(cls, record: logging.LogRecord) -> RecordEntry:
        """Make one of a record."""
        told = record.__dict__
        fields = {name: packed(value) for name, value in told.items() if name not in _NOT_SENT}
        # An event of structlog is a dictionary that its formatter makes a text of.
        is_event = issubclass(type(record.msg), dict)
        fields["msg"] = to_plain(record.msg) if is_event else packed(record.msg)
        fields["args"] = packed(record.args)
        for name, value in run_context().items():
            fields.setdefault(name, value)
        error = None
        if record.exc_info:
            error = dump_or_none(record.exc_info[1])
            if not record.exc_text:
                fields["exc_text"] = _exception_text(record.exc_info)
        return cls(
            fields,
            guarded(record.getMessage)[0] if not is_event and _needs_text(record) else None,
            error,
            _STRUCTLOGS in told,
            _handled_by(record.name),
            _bound(),
            current_numbers(),
        )

    def shifted(self, shift: int) -> RecordEntry:
        """Return the record as if it had been made so many nanoseconds later."""
        created = self.fields["created"] + shift / 1e9
        times = {"created": created, "msecs": created % 1 * 1000 // 1}
        return self._replace(fields={**self.fields, **times})

    def replay(self) -> None:
        """Handle the record as this process logs."""
        logger = logging.getLogger(self.fields["name"])
        if logger.isEnabledFor(self.fields["levelno"]):
            # What looks at the context, a record factory say, finds the step's.
            with _within(self.span), bound_contextvars(**self.bound):
                self._handle(logger, self._record(logger))

    def _record(self, logger: logging.Logger) -> logging.LogRecord:
        fields = {name: unpacked(value, Shown.text_of) for name, value in self.fields.items()}
        fields["levelname"] = logging.getLevelName(fields["levelno"])
        fields["msg"] = msg = unpacked(self.fields["msg"])
        fields["args"] = args = unpacked(self.fields["args"])
        error = load_or_none(self.error)
        # Its frames come as text, which formatters use.
        fields["exc_info"] = exc_info = None if error is None else (type(error), error, None)
        record = _made(fields, msg, args, exc_info)
        if self.text is not None and guarded(record.getMessage)[0] != self.text:
            record.msg, record.args = self.text, ()
        if self.is_structlogs:
            record.__dict__[_STRUCTLOGS] = logger
        return record

    def _handle(self, logger: logging.Logger, record: logging.LogRecord) -> None:
        if not self.handled_by:
            logger.handle(record)
            return
        # The module of a step adds its handlers in the worker as it does here.
        if logger.disabled or not logger.filter(record):
            return
        for each in _on_the_way_up(logger):
            handlers = () if each.name in self.handled_by else each.handlers
            for handler in handlers:
                if record.levelno >= handler.level:
                    handler.handle(record)


def _needs_text(record: logging.LogRecord) -> bool:
    args = record.args or ()
    values = args.values() if type(args) is dict else args
    return type(record.msg) is not str or not all(map(is_simple, values))


def _bound() -> dict[str, Any]:
    bound = get_contextvars()
    return {name: to_plain(value) for name, value in bound.items()} if bound else bound


def _made(fields: dict[str, Any], msg: Any, args: Any, exc_info: Any) -> logging.LogRecord:
    # By the application's factory, which finds what it is given where the record is made.
    given = (
        *(fields["name"], fields["levelno"], fields["pathname"], fields["lineno"], msg),
        # A dictionary that is the only argument is what the arguments are.
        (args,) if type(args) is dict else args,
        *(exc_info, fields["funcName"], fields["stack_info"]),
    )
    made, _ = guarded(lambda: logging.getLogRecordFactory()(*given))
    record = logging.makeLogRecord({}) if made is None else made
    record.__dict__.update(fields)
    return record


class EventEntry(NamedTuple):
    """An event of structlog.

    Attributes:
        logger: What `structlog.get_logger` was given.
        method: The method that was called.
        fields: The event and what the logger was bound to.
        bound: What was bound in structlog's context.
        span: The ids and flags of the span that was current, if any.
        logged: When it was logged, in seconds since the epoch.
        origin: Where.
        is_wrapped: Whether the application's class of loggers has had its say there.
    """

    logger: Sequence[Any]
    method: str
    fields: dict[str, Any]
    bound: dict[str, Any]
    span: tuple[int, int, int] | None
    logged: float
    origin: Origin
    is_wrapped: bool

    @classmethod
    def of(
        cls, logger: Sequence[Any], method: str, event: dict[str, Any], *, is_wrapped: bool
    ) -> EventEntry:
        """Make one of an event."""
        span, origin = current_numbers(), Origin.here()
        fields = to_plain(event)
        return cls(to_plain(logger), method, fields, _bound(), span, time(), origin, is_wrapped)

    def shifted(self, shift: int) -> EventEntry:
        """Return the event as if it had been logged so many nanoseconds later."""
        return self._replace(logged=self.logged + shift / 1e9)

    def replay(self) -> None:
        """Log the event as this process logs."""
        # The application's processors put their own time into it, when they get it.
        logged = datetime.fromtimestamp(self.logged, UTC).isoformat()
        fields = {LOGGED_AT: logged, **self.fields}
        if type(fields.get(_POSITIONAL)) is list:
            fields[_POSITIONAL] = tuple(fields[_POSITIONAL])
        # What they merge is what the step had bound.
        bound = bound_contextvars(**self.bound) if self.bound else nullcontext()
        with _within(self.span), bound:
            self.origin.log(self.logger, self.method, fields, is_wrapped=self.is_wrapped)


Entry = RecordEntry | EventEntry


def _exception_text(exc_info: Any) -> str:
    # As the standard library formats it, where the exception lets that be done.
    text, _ = guarded(lambda: _format(exc_info))
    return traceback_of(exc_info[1]).rstrip() if text is None else text


def _handled_by(name: str) -> list[str]:
    return [each.name for each in _on_the_way_up(logging.getLogger(name)) if _has_handlers(each)]


def _has_handlers(logger: logging.Logger) -> bool:
    # The root logger's is the relay itself.
    return logger.parent is not None and any(
        not isinstance(each, logging.NullHandler) for each in logger.handlers
    )


def _on_the_way_up(logger: logging.Logger) -> Iterator[logging.Logger]:
    each: logging.Logger | None = logger
    while each is not None:
        yield each
        each = each.parent if each.propagate else None


@contextmanager
def _within(ids: tuple[int, int, int] | None) -> Iterator[None]:
    # So that handlers and processors that ask for the current span find the step's.
    if ids is None:
        yield
        return
    from opentelemetry import trace  # noqa: PLC0415 - where there is a span it is there

    trace_id, span_id, flags = ids
    context = trace.SpanContext(trace_id, span_id, True, trace.TraceFlags(flags))
    with trace.use_span(trace.NonRecordingSpan(context)):
        yield
