"""Keeps a Dask cluster from running an attempt twice.

Dask runs a task again whose worker went away: that is right for a calculation, and wrong for
a step that charges a customer. Whether there is another attempt, the run decides. So each
attempt asks the scheduler before its step begins, and where a worker goes away, the scheduler
cancels what had begun there and leaves the rest to be run elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME: Final = "dotflow-referee"


def make_referee() -> Any:
    """Make the scheduler's plugin.

    Its class is made here, so that it travels whole: a scheduler needs no `dotflow`.
    """
    from distributed import SchedulerPlugin  # noqa: PLC0415 - an extra

    class Referee(SchedulerPlugin):
        name = NAME
        idempotent = True

        def __init__(self) -> None:
            # Which worker began an attempt, by the key of its task.
            self.begun: dict[Any, str] = {}
            self.tasks: Mapping[Any, Any] = {}

        async def start(self, scheduler: Any) -> None:
            self.tasks = scheduler.tasks
            scheduler.handlers["dotflow_begin"] = self.begin

        async def begin(self, key: Any, worker: str) -> bool:
            task = self.tasks.get(key)
            has_it = task is not None and task.processing_on
            if not has_it or has_it.address != worker or key in self.begun:
                return False
            self.begun[key] = worker
            return True

        def transition(self, key: Any, start: str, finish: str, *_: Any, **__: Any) -> None:
            if start != finish == "forgotten":
                self.begun.pop(key, None)

        def remove_worker(self, scheduler: Any, worker: str, **_: Any) -> None:
            for key in [key for key, began in self.begun.items() if began == worker]:
                task = self.tasks.get(key)
                for client in list((task and task.who_wants) or ()):
                    scheduler.stimulus_cancel(
                        keys=[key],
                        client=client.client_key,
                        force=True,
                        reason="worker-lost",
                        msg=f"The worker {worker} is gone.",
                    )

    return Referee()
