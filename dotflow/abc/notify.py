"""The interface of a notifier."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dotflow.core.model import Task


class Notify(ABC):
    """Told of every change of a task's status."""

    @abstractmethod
    def hook_status_task(self, task: Task) -> None:
        """The task was added or its status changed. An error here is logged, not raised."""
