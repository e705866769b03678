"""The log records that an application handles, and those of this project that a test caught."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

_LOGGERS: Final = frozenset({"dotflow", "dotflow_otel"})


class Keeping(logging.Handler):
    """Keeps what it is given, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.records.append(record)


@contextmanager
def records_kept(level: int | None = None) -> Iterator[list[logging.LogRecord]]:
    """Configure logging as an application does, and keep what is handled.

    Args:
        level: That of the root logger meanwhile; None: as it is.
    """
    handler, before = Keeping(), logging.root.level
    logging.root.addHandler(handler)
    logging.root.setLevel(before if level is None else level)
    yield handler.records
    logging.root.removeHandler(handler)
    logging.root.setLevel(before)


def own_records(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """Return what the project logged, in order.

    The rest need not be of this test: older exporters go on in threads for a minute, and log.
    """
    return [record for record in caplog.records if record.name in _LOGGERS]
