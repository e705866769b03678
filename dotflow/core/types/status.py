"""The states of a task."""

from __future__ import annotations

from typing import Final


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
        """Give the symbol that stands for a state, or None for an unknown one."""
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
