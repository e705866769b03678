"""The tracer that is used by default: none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dotflow.abc.noop import noop
from dotflow.abc.tracer import Tracer

if TYPE_CHECKING:
    from dotflow.core.model import Task
    from dotflow.core.run import Run


class TracerDefault(Tracer):
    """Records nothing. A subclass may override any hook."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # Else a subclass that overrides the hooks of 1.x would not hear of runs.
        for hook in ("run_started", "run_finished"):
            if getattr(cls, hook) is getattr(TracerDefault, hook):
                setattr(cls, hook, getattr(Tracer, hook))

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

    @noop
    def run_started(self, run: Run) -> None:
        """Do nothing."""

    @noop
    def run_finished(self, run: Run) -> None:
        """Do nothing."""
