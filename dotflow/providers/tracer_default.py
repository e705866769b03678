"""The tracer that is used by default: none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dotflow.abc.noop import noop
from dotflow.abc.tracer import Tracer

if TYPE_CHECKING:
    from dotflow.core.model import Task


class TracerDefault(Tracer):
    """Records nothing. A subclass may override any hook."""

    @noop
    def start_workflow(self, workflow_id: Any, **kwargs: Any) -> None:
        """Do nothing."""

    @noop
    def end_workflow(self, workflow_id: Any, **kwargs: Any) -> None:
        """Do nothing."""

    @noop
    def start_task(self, task: Task) -> None:
        """Do nothing."""

    @noop
    def end_task(self, task: Task) -> None:
        """Do nothing."""
