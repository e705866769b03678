"""String constants of the public interface; the plain literals may be passed anywhere.

Programs for dotflow 1.x find each in a module of its own as well.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "VALID_POLICIES",
    "TypeExecution",
    "TypeInputChange",
    "TypeOverlap",
    "TypeStatus",
    "TypeStorage",
    "WorkflowStatus",
]


class TypeExecution:
    """Modes for `DotFlow.start(mode=...)`; the literals may be passed as well."""

    SEQUENTIAL: Final = "sequential"
    BACKGROUND: Final = "background"
    PARALLEL: Final = "parallel"


class TypeStatus:
    """States of a task. `PAUSED` is never set by the engine."""

    NOT_STARTED: Final = "Not started"
    IN_PROGRESS: Final = "In progress"
    COMPLETED: Final = "Completed"
    PAUSED: Final = "Paused"
    RETRY: Final = "Retry"
    FAILED: Final = "Failed"

    @classmethod
    def get_symbol(cls, value: str) -> str | None:
        """Return the symbol that stands for a state, or None for an unknown one."""
        return _SYMBOLS.get(value)


# Of a task that has begun and not ended.
UNFINISHED: Final = (TypeStatus.IN_PROGRESS, TypeStatus.RETRY)

_SYMBOLS: Final = {
    TypeStatus.NOT_STARTED: "\u26aa",
    TypeStatus.IN_PROGRESS: "\U0001f535",
    TypeStatus.COMPLETED: "\u2705",
    TypeStatus.PAUSED: "\u25fc\ufe0f",
    TypeStatus.RETRY: "\u2757",
    TypeStatus.FAILED: "\u274c",
}


class WorkflowStatus:
    """States of a workflow, as a server is told them."""

    NEW: Final = "New"
    IN_PROGRESS: Final = "In progress"
    COMPLETED: Final = "Completed"
    FAILED: Final = "Failed"


class TypeInputChange:
    """Policies for `DotFlow.start(on_input_change=...)`."""

    REUSE: Final = "reuse"
    RESET: Final = "reset"
    RAISE: Final = "raise"


VALID_POLICIES: Final = (TypeInputChange.REUSE, TypeInputChange.RESET, TypeInputChange.RAISE)


class TypeOverlap:
    """Policies for `SchedulerCron(overlap=...)`."""

    SKIP: Final = "skip"
    QUEUE: Final = "queue"
    PARALLEL: Final = "parallel"


class TypeStorage:
    """Names of storages."""

    DEFAULT: Final = "default"
    FILE: Final = "file"
    S3: Final = "s3"
    GCS: Final = "gcs"
