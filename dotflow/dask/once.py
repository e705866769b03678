"""Keeps a Dask cluster from running an attempt twice, and sends small outcomes on at once.

Dask runs a task again whose worker went away: that is right for a calculation, and wrong for
a step that charges a customer. Whether there is another attempt, the run decides. So each
attempt asks the scheduler before its step begins. Where a worker goes away, the scheduler
tells the run what had begun there, and leaves what had not to be run elsewhere.

Dask keeps a result on the worker until it is fetched, and so it can be lost with the worker.
A small one goes to the run by way of the scheduler, before the worker begins anything else.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any, Final

from dotflow.core.exception import WorkerLost
from dotflow.workers.remote import perform_packed

if TYPE_CHECKING:
    from dotflow.workers.remote import Parcel

NAME: Final = "dotflow-once"

# What is larger waits on the worker to be fetched, in bytes.
_SMALL: Final = 1_000_000


def make_once_plugin() -> Any:  # noqa: C901 - the methods of its class count as its own
    """Make the scheduler's plugin.

    Its class is made here, so that it travels whole: a scheduler needs no `dotflow`.
    """
    from time import monotonic  # noqa: PLC0415 - travels along

    from distributed import SchedulerPlugin  # noqa: PLC0415 - an extra

    class OncePlugin(SchedulerPlugin):
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

    return OncePlugin()


def perform_once(payload: bytes) -> Parcel | None:
    """Perform an attempt in this worker, unless it has been begun before.

    Returns:
        Its outcome; None where the scheduler has told the run of that, or of the worker that
        had begun it.

    Raises:
        WorkerLost: There is no scheduler any more to ask.
    """
    scheduler = _Scheduler()
    if not scheduler.lets_begin():
        return None
    parcel = perform_packed(payload)
    if _size(parcel) <= _SMALL and scheduler.takes(parcel):
        return None
    return parcel


def _size(parcel: Parcel) -> int:
    return sum(len(each or b"") for each in (parcel.value, parcel.recorded, parcel.shared))


class _Scheduler:
    """The scheduler of this worker's cluster, asked about the task that this thread runs."""

    def __init__(self) -> None:
        from distributed import get_worker  # noqa: PLC0415 - it runs in one

        self._worker = get_worker()
        self._key = self._worker.get_current_task()

    def lets_begin(self) -> bool:
        """Ask whether this is the first time.

        Raises:
            WorkerLost: It does not answer.
        """
        worker = self._worker
        about = {"worker": worker.address, "pid": os.getpid(), "host": socket.gethostname()}
        cause: Exception | None = None
        try:
            answer = self._ask(worker.scheduler.dotflow_begin, **about)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is no answer
            answer, cause = None, error
        if not isinstance(answer, bool):  # one that was started again knows nothing of us
            raise WorkerLost("the scheduler cannot be asked whether it may begin") from cause
        return answer

    def takes(self, parcel: Parcel) -> bool:
        """Hand the outcome over; tell whether that went well."""
        try:
            answer = self._ask(self._worker.scheduler.dotflow_end, outcome=tuple(parcel))
        except Exception:  # noqa: BLE001 - then it goes the long way
            return False
        return answer is True

    def _ask(self, call: Any, **about: Any) -> Any:
        from distributed.utils import sync  # noqa: PLC0415

        return sync(self._worker.loop, call, key=self._key, **about)
