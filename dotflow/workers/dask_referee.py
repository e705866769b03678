"""Keeps a Dask cluster from running an attempt twice, and sends small outcomes on at once.

Dask runs a task again whose worker went away: that is right for a calculation, and wrong for
a step that charges a customer. Whether there is another attempt, the run decides. So each
attempt asks the scheduler before its step begins. Where a worker goes away, the scheduler
tells the run what had begun there, and leaves what had not to be run elsewhere.

Dask keeps a result on the worker until it is fetched, and so it can be lost with the worker.
A small one goes to the run by way of the scheduler, before the worker begins anything else.
"""

from __future__ import annotations

from typing import Any, Final

NAME: Final = "dotflow-referee"


def make_referee() -> Any:  # noqa: C901 - the methods of its class count as its own
    """Make the scheduler's plugin.

    Its class is made here, so that it travels whole: a scheduler needs no `dotflow`.
    """
    from time import monotonic  # noqa: PLC0415 - travels along

    from distributed import SchedulerPlugin  # noqa: PLC0415 - an extra

    class Referee(SchedulerPlugin):
        name = NAME
        idempotent = True

        def __init__(self) -> None:
            # Who began an attempt, and when, by the key of its task; None: it has ended.
            self.begun: dict[Any, tuple[str, int, str, float] | None] = {}
            self.scheduler: Any = None

        async def start(self, scheduler: Any) -> None:
            self.scheduler = scheduler
            scheduler.handlers["dotflow_begin"] = self.begin
            scheduler.handlers["dotflow_end"] = self.end

        async def begin(self, key: Any, worker: str, pid: int, host: str) -> bool:
            task = self.scheduler.tasks.get(key)
            has_it = task is not None and task.processing_on
            if not has_it or has_it.address != worker or key in self.begun:
                return False
            self.begun[key] = worker, pid, host, monotonic()
            return True

        async def end(self, key: Any, outcome: tuple[Any, ...]) -> bool:
            if not self.begun.get(key):
                return False
            self.begun[key] = None
            self.tell(key, outcome, None)
            return True

        def tell(self, key: Any, outcome: Any, lost: Any) -> None:
            task = self.scheduler.tasks.get(key)
            told = {"op": "event", "topic": NAME, "event": (key, outcome, lost)}
            for client in (task and task.who_wants) or ():
                self.scheduler.client_send(client.client_key, told)

        def transition(self, key: Any, start: str, finish: str, *_: Any, **__: Any) -> None:
            if start != finish == "forgotten":
                self.begun.pop(key, None)

        def restart(self, scheduler: Any) -> None:  # noqa: ARG002 - Dask names it
            self.begun.clear()

        def remove_worker(
            self,
            scheduler: Any,  # noqa: ARG002 - Dask names it
            worker: str,
            **_: Any,
        ) -> None:
            lost = [(key, each) for key, each in self.begun.items() if each and each[0] == worker]
            for key, (_worker, pid, host, since) in lost:
                self.begun[key] = None
                self.tell(key, None, (pid, host, monotonic() - since))

    return Referee()
