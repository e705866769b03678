"""The one guarded way to call a provider, and the table of which call happens when.

Telemetry observes: an `Exception` in a hook is logged, once per provider and hook, counted,
and the run goes on. A hook that a provider leaves at its do-nothing default is not called.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from dotflow.abc.noop import is_noop
from dotflow.core.types.workflow import WorkflowStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from dotflow.abc.scope import Scope
    from dotflow.core.attempt import Outcome
    from dotflow.core.config import Config
    from dotflow.core.run import Run
    from dotflow.core.task.model import Task

    Call = tuple[Callable[..., Any], str, str]

_logger = logging.getLogger("dotflow")

# What happens at each moment of a task, in order: (slot of the config, hook).
_TASK_MOMENTS: Final = {
    "added": (("notify", "hook_status_task"), ("log", "info"), ("server", "create_task")),
    "started": (
        ("tracer", "start_task"),
        ("metrics", "task_started"),
        ("notify", "hook_status_task"),
        ("log", "info"),
    ),
    "timed_out": (("metrics", "task_timed_out"),),
    "worker_lost": (("metrics", "worker_lost"),),
    "retried": (
        ("notify", "hook_status_task"),
        ("log", "warning"),
        ("metrics", "task_retried"),
    ),
    "completed": (
        ("notify", "hook_status_task"),
        ("log", "info"),
        ("metrics", "task_completed"),
        ("tracer", "end_task"),
        ("server", "update_task"),
    ),
    "failed": (
        ("notify", "hook_status_task"),
        ("log", "error"),
        ("metrics", "task_failed"),
        ("tracer", "end_task"),
        ("server", "update_task"),
    ),
    "restored": (
        ("notify", "hook_status_task"),
        ("log", "task_restored"),
        ("tracer", "task_restored"),
        ("metrics", "task_restored"),
    ),
    "skipped": (("metrics", "task_skipped"), ("log", "task_skipped")),
}
_RUN_HOOKS: Final = {
    "run_started": ("tracer", "metrics", "log"),
    "run_finished": ("tracer", "metrics", "log"),
}
_SCOPED: Final = ("tracer", "log")


class Hooks:
    """The hooks of one configuration, looked up once."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._reported: set[tuple[str, str]] = set()
        self._moments = {
            moment: tuple(self._calls(places)) for moment, places in _TASK_MOMENTS.items()
        }
        self.started = self._moment("started")
        self.retried = self._moment("retried")
        self.completed = self._moment("completed")
        self.failed = self._moment("failed")
        self.added = self._moment("added")
        self.restored = self._moment("restored")
        self.skipped = self._moment("skipped")
        self.timed_out = self._moment("timed_out")
        self.worker_lost = self._moment("worker_lost")
        self._scopes = tuple(self._calls((slot, "attempt_scope") for slot in _SCOPED))
        self._remote = tuple(self._calls((slot, "remote_scope") for slot in _SCOPED))
        self._ended = dict(
            (slot, call)
            for slot in _SCOPED
            for call in self._calls([(slot, "attempt_finished")])
        )

    def _calls(self, places: Iterable[tuple[str, str]]) -> Iterable[Call]:
        for slot, hook in places:
            function = getattr(getattr(self._config, slot), hook)
            if not is_noop(function):
                yield function, slot, hook
