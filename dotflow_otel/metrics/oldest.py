"""Which of the runs in progress began first."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

from dotflow_otel import conventions as names

if TYPE_CHECKING:
    from dotflow_otel.metrics.instruments import Instruments


class RunsInProgress:
    """The runs of one workflow that go on, and the gauge of the oldest one's start.

    Attributes:
        gauge: The gauge.
    """

    def __init__(self, instruments: Instruments, workflow: str) -> None:
        self._lock = Lock()
        self._starts: dict[str, float] = {}
        self.gauge = instruments.gauge(names.WORKFLOW_OLDEST_START, workflow)

    def begin(self, run_id: str, started_at: float) -> None:
        """Take in that a run begins."""
        with self._lock:
            self._starts[run_id] = started_at
            self._tell()

    def end(self, run_id: str) -> None:
        """Take in that a run has ended."""
        with self._lock:
            self._starts.pop(run_id, None)
            self._tell()

    def _tell(self) -> None:
        self.gauge.set(min(self._starts.values(), default=0.0))
