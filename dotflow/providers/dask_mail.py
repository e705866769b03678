"""What comes back from a Dask cluster, by the scheduler or by Dask's own way."""

from __future__ import annotations

from concurrent import futures
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from dotflow.core.attempt import Outcome
from dotflow.core.clock import monotonic
from dotflow.core.exception import WorkerLost
from dotflow.core.failure import WORKER_LOST, Failure
from dotflow.providers.dask_environment import without_dotflow
from dotflow.workers.remote import Parcel

if TYPE_CHECKING:
    from distributed import Client

_mailboxes: Final[WeakKeyDictionary[Any, Mailbox]] = WeakKeyDictionary()


def mailbox_of(client: Client) -> Mailbox:
    """Give the mailbox of a client, which all its runs share."""
    return _mailboxes.setdefault(client, Mailbox())


class Mailbox:
    """Holds the promises of what attempts bring back, by the keys of their tasks."""

    def __init__(self) -> None:
        self._expected: dict[str, tuple[str, futures.Future[Any]]] = {}

    def expect(self, key: str, name: str) -> futures.Future[Any]:
        """Promise the outcome of an attempt.

        Args:
            key: The key of its task.
            name: The name of its step, for messages.
        """
        promise: futures.Future[Any] = futures.Future()
        self._expected[key] = name, promise
        promise.add_done_callback(lambda _: self._expected.pop(key, None))
        return promise

    def take(self, event: tuple[str, Any, Any]) -> None:
        """Take in what the scheduler tells, in the client's own thread."""
        key, outcome, lost = event
        name, promise = self._expected.get(key, ("", None))
        if promise is None:
            return  # nobody waits any more
        with suppress(futures.InvalidStateError):
            promise.set_result(Parcel(*outcome) if outcome else _lost(name, *lost))

    def follow(self, client: Client, task: Any, name: str, promise: futures.Future[Any]) -> None:
        """Keep the promise by Dask's own way, where nothing comes by the scheduler."""

        async def wait() -> None:
            try:
                await task.exception()
                if not promise.done():
                    parcel = await client.gather(task, asynchronous=True)
                    if isinstance(parcel, str):
                        promise.set_exception(without_dotflow(client, f"its worker {parcel}"))
                    else:
                        promise.set_result(parcel or _lost_unseen(name))
            except futures.InvalidStateError:
                pass  # it was cancelled meanwhile
            except BaseException as error:  # noqa: BLE001 - whoever waits is told
                with suppress(futures.InvalidStateError):
                    promise.set_exception(error)

        loop: Any = client.loop
        loop.add_callback(wait)
        # Nobody else wants it, so the cluster drops it where it has not begun.
        promise.add_done_callback(lambda ended: task.release() if ended.cancelled() else None)


def _lost_unseen(name: str) -> Outcome:
    # The scheduler was not there to see it.
    error = WorkerLost(f"a worker that is gone had begun {name}, which is not run twice")
    return Outcome.failed(Failure.of(error, WORKER_LOST))


def _lost(name: str, pid: int, host: str, since: float) -> Outcome:
    now = monotonic()
    error = WorkerLost(f"the worker process {pid} of {host} ended while it ran {name}")
    return Outcome(None, Failure.of(error, WORKER_LOST), now - since, now, {}, pid, host)
