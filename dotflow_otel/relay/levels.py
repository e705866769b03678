"""The levels of logging in a worker: those of the applications whose attempts run there."""

from __future__ import annotations

import logging
import pickle
import warnings
from functools import lru_cache
from typing import Final, NamedTuple

from dotflow.workers.pickling import dump_or_none, load_or_none

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
