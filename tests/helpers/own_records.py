"""The log records of this project among those that a test caught."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import logging

    import pytest

_LOGGERS: Final = frozenset({"dotflow", "dotflow_otel"})


def own_records(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """Give what the project logged, in order.

    The rest need not be of this test: older exporters go on in threads for a minute, and log.
    """
    return [record for record in caplog.records if record.name in _LOGGERS]
