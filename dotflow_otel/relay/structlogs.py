"""What an application has set up in structlog, where its steps log in workers.

Its processors and what they write to stay in the run's process, where each event is logged again.
What a step itself meets travels: the class of its loggers, with methods of its own, and loggers
that a module has bound. And what the processors look at is as it was: where the event comes from in
the source, and the thread.
"""

from __future__ import annotations

import copyreg
import logging
import pickle
import sys
import warnings
from functools import lru_cache
from threading import current_thread, get_ident
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import structlog

from dotflow.workers.pickling import dump_or_none, load_or_none

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import CodeType, FrameType


METHODS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}

# The modules between a step and what keeps its event.
_BETWEEN: Final = ("structlog", "dotflow_otel.relay")

# What a coroutine's logger notes before it goes on in another thread. The names are private, and
# some releases have neither.
_CALLING_STACK: Final[Any] = getattr(structlog.contextvars, "_ASYNC_CALLING_STACK", None)
_CALLING_THREAD: Final[Any] = getattr(structlog.contextvars, "_ASYNC_CALLING_THREAD", None)

# How many places in the source are kept, each of which logs again and again.
_PLACES: Final = 1024


# --- the classes of loggers ---------------------------------------------------------------


class Classes(NamedTuple):
    """The classes that an application has configured.

    Attributes:
        wrapper: Of loggers.
        context: Of what is bound to one.
    """

    wrapper: type[Any]
    context: type[Any]


def level_here() -> int:
    """Return the level of the application's loggers, where their class has one."""
    # structlog's filtering loggers have methods that do nothing below their level, all one.
    wrapper = structlog.get_config()["wrapper_class"]
    nothing = getattr(structlog.make_filtering_bound_logger(logging.CRITICAL), "debug", None)
    for method, level in METHODS.items():
        if getattr(wrapper, method, None) is not nothing:
            return level
    return logging.CRITICAL


def classes_here() -> bytes | None:
    """Return the application's classes, pickled; None where they cannot travel."""
    config = structlog.get_config()
    return dump_or_none(Classes(config["wrapper_class"], config["context_class"]))


@lru_cache(maxsize=64)
def classes_of(data: bytes | None) -> Classes | None:
    """Return the classes of `classes_here`, where they can be had in this process."""
    found = load_or_none(data)
    return found if isinstance(found, Classes) else None


# --- loggers that travel ------------------------------------------------------------------


def let_loggers_travel() -> None:
    """Register how loggers pickle that the application has bound: they are made again."""
    wrapper = structlog.get_config()["wrapper_class"]
    for kind in {wrapper, structlog.BoundLogger, structlog.stdlib.BoundLogger}:
        if isinstance(kind, type) and issubclass(kind, structlog.BoundLoggerBase):
            # Not where somebody else has said how.
            copyreg.dispatch_table.setdefault(kind, _reduced)


def _reduced(logger: Any) -> Any:
    fields = vars(logger)  # which have no public names
    if fields.get("_processors") is not structlog.get_config()["processors"]:
        return logger.__reduce_ex__(2)
    name = getattr(fields["_logger"], "name", None)
    given = (name,) if isinstance(name, str) else ()
    return _logger_again, (given, dict(structlog.get_context(logger)))


def _logger_again(given: Sequence[Any], bound: Mapping[str, Any]) -> Any:
    # One that is configured when it is first used.
    return structlog.get_logger(*given, **bound)


# --- where an event comes from ------------------------------------------------------------


class Origin(NamedTuple):
    """Where an event was logged.

    Attributes:
        file: The path of the source.
        function: The name of the function.
        qualified: Its qualified name.
        line: The number of the line.
        module: The name of the module.
        thread: The number and the name of the thread.
    """

    file: str
    function: str
    qualified: str
    line: int
    module: str
    thread: tuple[int, str]

    @classmethod
    def here(cls) -> Origin:
        """Return where the code comes from that logs now."""
        # Where a coroutine logs, this is another thread.
        frame: FrameType | None = _CALLING_STACK and _CALLING_STACK.get(None)
        thread = _CALLING_THREAD and _CALLING_THREAD.get(None)
        frame = last = sys._getframe() if frame is None else frame  # noqa: SLF001
        while frame is not None and _module_of(frame).startswith(_BETWEEN):
            last, frame = frame, frame.f_back
        found: Any = frame or last
        code = found.f_code
        return cls(
            code.co_filename,
            code.co_name,
            code.co_qualname,
            found.f_lineno,
            _module_of(found),
            thread or (get_ident(), current_thread().name),
        )

    def log(
        self, given: Sequence[Any], method: str, fields: dict[str, Any], *, is_wrapped: bool
    ) -> None:
        """Log an event as this process logs, from a frame that looks like the step's.

        Whoever looks for the caller, structlog's and the application's own processors, factories
        and the standard library's loggers, finds that.

        Args:
            given: What the logger was asked for with.
            method: The name of the method of what a logger wraps.
            fields: The event, and what was bound.
            is_wrapped: Whether the application's class of loggers has had its say in the worker.
        """
        names = {
            **_NAMES,
            "__name__": self.module,
            "given": tuple(given),
            "method": method,
            "fields": fields,
        }
        if is_wrapped:
            names["event"] = fields.pop("event", None)
        code = _code_at(*self[:4], is_wrapped)
        if _CALLING_THREAD is None:
            eval(code, names)  # noqa: S307 - the text is one of those below
            return
        token = _CALLING_THREAD.set(self.thread)
        try:
            eval(code, names)  # noqa: S307 - likewise
        finally:
            _CALLING_THREAD.reset(token)


_SENDS: Final = "getattr(structlog.get_logger(*given), method)(**fields)"
_SENDS_WRAPPED: Final = (
    "send(structlog.wrap_logger(None, wrapper_class=base, logger_factory_args=given)"
    ".bind(**fields), method, event)"
)
_NAMES: Final = {
    "structlog": structlog,
    "base": structlog.BoundLoggerBase,
    # It is there for classes of loggers of an application's own.
    "send": structlog.BoundLoggerBase._proxy_to_logger,  # noqa: SLF001
}


@lru_cache(maxsize=_PLACES)
def _code_at(file: str, function: str, qualified: str, line: int, is_wrapped: bool) -> CodeType:
    code = compile(_SENDS_WRAPPED if is_wrapped else _SENDS, file, "eval")
    return code.replace(co_name=function, co_qualname=qualified, co_firstlineno=line)


def _module_of(frame: FrameType) -> str:
    name = frame.f_globals.get("__name__")
    return name if isinstance(name, str) else "?"


# The name of the root logger among the others, which all have one.
ROOT: Final = ""


class Levels(NamedTuple):
    """The levels that an application has set.

    Attributes:
        disabled: The level up to which all records are disabled.
        by_logger: The levels of loggers that have one of their own.
        structlogs: That of structlog.
        classes: The classes of structlog's loggers, as `classes_here` gives them.
        makes: What makes loggers and records, as `makers_here` gives it.
        warns: Whether warnings are logged.
    """

    disabled: int
    by_logger: dict[str, int]
    structlogs: int
    classes: bytes | None = None
    makes: tuple[bytes | None, bytes | None] = (None, None)
    warns: bool = False

    def of(self, name: str) -> int:
        """Return the level that counts for a logger: its own, or that of the next one above."""
        while name:
            if name in self.by_logger:
                return self.by_logger[name]
            name = name.rpartition(".")[0]
        return self.by_logger.get(ROOT, logging.WARNING)


def makers_here() -> tuple[bytes | None, bytes | None]:
    """Return the application's class of loggers and its record factory, pickled.

    None stands for what is not the application's own, or cannot travel.
    """
    kind, factory = logging.getLoggerClass(), logging.getLogRecordFactory()
    return (
        None if kind is logging.Logger else dump_or_none(kind),
        None if factory is logging.LogRecord else dump_or_none(factory),
    )


def warns_here() -> bool:
    """Return whether the application has warnings logged."""
    return getattr(warnings.showwarning, "__module__", None) == logging.__name__


class LevelsHere:
    """Sets the levels of this process so that no attempt here misses a record.

    What one application wants and another does not, that other one leaves out where it arrives.
    """

    def __init__(self) -> None:
        self._wanted: frozenset[bytes] = frozenset()
        self._set: dict[str, int] = {}
        self._has_makers = False

    def change(self, wanted: frozenset[bytes]) -> bool:
        """Take in what the attempts here want from now on; tell whether that is something else."""
        is_new = wanted != self._wanted
        self._wanted = wanted
        return is_new

    def apply(self) -> None:
        """Set the levels of the loggers, what makes loggers and records, and what is logged."""
        told = [_read(each) for each in self._wanted]
        self._set_makers({each.makes for each in told})
        logging.captureWarnings(all(each.warns for each in told))
        logging.disable(min(each.disabled for each in told))
        names = {name for each in told for name in each.by_logger}
        wanted = {name: min(each.of(name) for each in told) for name in names}
        for name in self._set.keys() - wanted.keys():
            logging.getLogger(name).setLevel(logging.NOTSET)
        for name, level in wanted.items():
            logging.getLogger(name).setLevel(level)
        self._set = wanted

    def _set_makers(self, wanted: set[tuple[bytes | None, bytes | None]]) -> None:
        # Of several applications each gets the standard library's.
        kind, factory = map(load_or_none, wanted.pop() if len(wanted) == 1 else (None, None))
        if kind is not None or self._has_makers:
            logging.setLoggerClass(kind or logging.Logger)
        if factory is not None or self._has_makers:
            logging.setLogRecordFactory(factory or logging.LogRecord)
        self._has_makers = kind is not None or factory is not None

    @property
    def structlogs(self) -> int:
        """The level of structlog."""
        return min(_read(each).structlogs for each in self._wanted)

    @property
    def classes(self) -> bytes | None:
        """The classes of structlog's loggers, where all attempts here have the same."""
        found = {_read(each).classes for each in self._wanted}
        return found.pop() if len(found) == 1 else None


@lru_cache(maxsize=64)
def _read(levels: bytes) -> Levels:
    return Levels(*pickle.loads(levels))  # noqa: S301 - from the run
