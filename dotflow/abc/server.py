"""The interface of a server that is told of workflows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dotflow.core.model import Task


class Server(ABC):
    """Told of workflows and tasks. An error in a hook is logged and never reaches the run."""

    @abstractmethod
    def create_workflow(self, workflow: Any) -> None:
        """A `DotFlow` with a generated id was made; it is passed itself."""

    @abstractmethod
    def update_workflow(self, workflow: Any, status: str = "") -> None:
        """The workflow with the id `workflow` has a new status."""

    @abstractmethod
    def create_task(self, task: Task) -> None:
        """A task was added."""

    @abstractmethod
    def update_task(self, task: Task) -> None:
        """A task has ended."""
