"""The interface of a scheduler."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class Scheduler(ABC):
    """Calls a workflow again and again."""

    @abstractmethod
    def start(self, workflow: Callable[..., Any], **kwargs: Any) -> None:
        """Call `workflow(**kwargs)` at each tick, until stopped."""

    @abstractmethod
    def stop(self) -> None:
        """End the schedule."""
