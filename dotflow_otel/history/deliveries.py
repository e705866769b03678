"""Notes which spans were delivered, so that none is sent again for a process that was killed."""

from __future__ import annotations

import logging
import sqlite3
from array import array
from threading import Lock
from typing import TYPE_CHECKING, Final

from dotflow.core.process import call_in_forked_child
from dotflow.core.timing import system_time_ns
from dotflow_otel.history.store import HistoryUnusable, in_use, open_to_write

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.trace import ReadableSpan

    from dotflow_otel.history.recorder import Recorder

_logger: Final = logging.getLogger("dotflow_otel")

# What a forked child has of its parent's connections: neither used nor closed there.
_inherited: Final[list[sqlite3.Connection]] = []


class Deliveries:
    """The journal of a process's exporters.

    It is written by the threads that export, before a request and after the answer, for what
    counts is what was written when the process is killed in between. These wait for the disk;
    no run does.

    Args:
        recorder: Records the runs whose spans these are.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        # The traces of lost runs whose spans this process sends.
        self.recovering: set[int] = set()
        self._was_warned = False
        self._connection: sqlite3.Connection | None = None
        self._lock = Lock()
        call_in_forked_child(self._begin_in_child)

    def _begin_in_child(self) -> None:
        if self._connection is not None:
            _inherited.append(self._connection)
        self._connection = None
        self._lock = Lock()
        self.recovering = set()

    def sending(self, exporter: str, spans: Sequence[ReadableSpan]) -> int | None:
        """Note that spans are about to be sent; return what distinguishes them from others.

        Args:
            exporter: The name of the exporter.
            spans: The spans; those of runs are noted.
        """
        traces = self._recorder.traces
        contexts = [span.context for span in spans if span.context is not None]
        ids = array(
            "Q",
            (
                context.span_id
                for context in contexts
                if context.trace_id in traces or context.trace_id in self.recovering
            ),
        )
        if not ids:
            return None
        return self._execute(
            "INSERT INTO sends (process, exporter, sent, spans) VALUES (?, ?, ?, ?)",
            (self._recorder.process, exporter, system_time_ns(), ids.tobytes()),
        )

    def sent(self, key: int, *, delivered: bool) -> None:
        """Note whether spans were delivered."""
        self._execute("UPDATE sends SET delivered = ? WHERE key = ?", (int(delivered), key))

    def _execute(self, statement: str, arguments: tuple[object, ...]) -> int | None:
        try:
            with self._lock:
                if self._connection is None:
                    self._connection = open_to_write(self._recorder.path)
                with in_use:
                    return self._connection.execute(statement, arguments).lastrowid
        except (sqlite3.Error, HistoryUnusable, OSError) as error:
            if not self._was_warned:
                self._was_warned = True
                _logger.warning(
                    "What was delivered cannot be noted in the history %r: %s",
                    str(self._recorder.path),
                    error,
                )
            return None

    def close(self) -> None:
        """Close the file; it is opened again where there is more to note."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None


def read_ids(noted: bytes) -> array[int]:
    """Return the ids that were noted together."""
    ids = array("Q")
    ids.frombytes(noted)
    return ids
