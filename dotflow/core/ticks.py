"""Notifies the providers of a configuration of the ticks of its schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dotflow.abc.scheduler import ScheduleObserver
from dotflow.core.hooks import call, guarded_scope

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from dotflow.abc.scheduler import Tick
    from dotflow.core.config import Config


class ScheduleHooks(ScheduleObserver):
    """Notifies tracer and metrics, each call guarded.

    Args:
        config: The providers.
        workflow: The name of the workflow.
    """

    def __init__(self, config: Config, workflow: str) -> None:
        self._config = config
        self._workflow = workflow

    def tick_scope(self, tick: Tick) -> AbstractContextManager[object]:
        """Return what the tracer wants to be entered around the run of a tick."""
        return guarded_scope(self._config, "tick_scope", self._named(tick))

    def tick_fired(self, tick: Tick) -> None:
        """Notify of the run of a tick that begins."""
        call(self._config, "metrics", "tick_fired", self._named(tick))

    def tick_skipped(self, tick: Tick, reason: str) -> None:
        """Notify of a tick that has no run."""
        for slot in ("tracer", "metrics"):
            call(self._config, slot, "tick_skipped", self._named(tick), reason)

    def _named(self, tick: Tick) -> Tick:
        return tick._replace(workflow=self._workflow)
