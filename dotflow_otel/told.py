"""Runs that were told of by the hooks of dotflow 1.x, which know ids and no records."""

from __future__ import annotations

import time
from typing import Any

from dotflow.core.run import Run


class ToldRuns:
    """Makes the records that the hooks of 1.x do without.

    The engine does not call those; a program that drives a provider itself may.
    """

    def __init__(self) -> None:
        self._runs: dict[str, Run] = {}

    def start(self, workflow_id: Any, *, mode: str = "sequential", tasks_count: int = 0) -> Run:
        """Give the record of a run that begins."""
        key = str(workflow_id)
        run = Run(key, workflow_id, "workflow", mode, tasks_count, time.time())
        self._runs[key] = run
        return run

    def finish(self, workflow_id: Any, *, duration: float, failed: bool) -> Run | None:
        """Give the record of a run that ended; None where it was not told to begin."""
        run = self._runs.pop(str(workflow_id), None)
        return None if run is None else run.finished(duration, failed=failed)
