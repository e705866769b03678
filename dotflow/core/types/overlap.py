"""What a schedule does when a tick comes while the run before is still going."""

from __future__ import annotations

from typing import Final


class TypeOverlap:
    """Policies for `SchedulerCron(overlap=...)`."""

    SKIP: Final = "skip"
    QUEUE: Final = "queue"
    PARALLEL: Final = "parallel"
