"""The scheduler that is used by default: none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dotflow.abc.scheduler import Scheduler

if TYPE_CHECKING:
    from collections.abc import Callable


class SchedulerDefault(Scheduler):
    """Never calls the workflow."""

    def start(self, workflow: Callable[..., Any], **kwargs: Any) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""
