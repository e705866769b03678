"""The metrics recorder that is used by default: none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dotflow.abc.metrics import Metrics
from dotflow.abc.noop import noop

if TYPE_CHECKING:
    from dotflow.core.model import Task


class MetricsDefault(Metrics):
    """Counts nothing. A subclass may override any hook."""

    @noop
    def workflow_started(self, workflow_id: Any, **kwargs: Any) -> None:
        """Do nothing."""

    @noop
    def workflow_completed(self, workflow_id: Any, duration: float) -> None:
        """Do nothing."""

    @noop
    def workflow_failed(self, workflow_id: Any, duration: float) -> None:
        """Do nothing."""

    @noop
    def task_completed(self, task: Task) -> None:
        """Do nothing."""

    @noop
    def task_failed(self, task: Task) -> None:
        """Do nothing."""

    @noop
    def task_retried(self, task: Task) -> None:
        """Do nothing."""
