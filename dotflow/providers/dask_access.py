"""What executors need to know of Dask, which only its users have imported."""

from __future__ import annotations

import sys
from secrets import token_hex
from typing import TYPE_CHECKING, Any, Final

from dotflow.core.exception import ClusterUnusable
from dotflow.providers.dask_environment import address_of, check_environment, make_errand
from dotflow.providers.dask_mail import mailbox_of
from dotflow.workers.dask_referee import NAME, make_referee
from dotflow.workers.remote import Packer

if TYPE_CHECKING:
    from concurrent import futures

    from distributed import Client

    from dotflow.core.attempt import Attempt

# How long a scheduler that is connected may take for an answer, in seconds.
_PATIENCE: Final = 10


class DaskDoor:
    """The way of one run's attempts into a Dask cluster, each of them at most once.

    Args:
        executor: What `Client.get_executor()` gave.
        client: That client.

    Attributes:
        packer: Makes what travels of attempts.
    """

    def __init__(self, executor: futures.Executor, client: Client) -> None:
        self._client = client
        # Which workers, resources and the like it was made for: it has no public name.
        self._options = {**getattr(executor, "_kwargs", {}), "pure": False}
        self._errand = make_errand()
        self.packer: Final = Packer()
        self._mailbox = mailbox_of(client)

    def open(self) -> int:
        """Have the cluster keep attempts from running twice.

        Returns:
            How many threads its workers have now.

        Raises:
            ClusterUnusable: The scheduler does not answer, or refuses; there is no dotflow.
        """
        client = self._client
        if client.asynchronous:
            hint = "Give a client that was not made with asynchronous=True."
            raise ClusterUnusable(address_of(client), "its client is asynchronous", hint)
        if client.status == "closed":
            hint = "Give the executor of one that is open."
            raise ClusterUnusable(address_of(client), "its client is closed", hint)
        try:
            client.subscribe_topic(NAME, self._mailbox.take)
            client.sync(client.register_plugin, make_referee(), callback_timeout=_PATIENCE)
            threads: dict[str, int] = client.sync(client.nthreads, callback_timeout=_PATIENCE)
        except Exception as error:
            raise ClusterUnusable(address_of(client), error) from error
        check_environment(client, threads)
        return sum(threads.values())

    def begin(self, attempt: Attempt) -> futures.Future[Any]:
        """Begin an attempt, under a key of its own that tells its step."""
        payload = self.packer.pack(attempt)
        key = f"{attempt.name}-{token_hex(16)}"
        promise = self._mailbox.expect(key, attempt.name)
        try:
            task = self._client.submit(self._errand, payload, key=key, **self._options)
        except BaseException:
            promise.cancel()  # so that nobody waits for it
            raise
        self._mailbox.follow(self._client, task, attempt.name, promise)
        return promise


def client_of(executor: futures.Executor) -> Client | None:
    """Give the client of an executor that is one of Dask's."""
    kind = getattr(sys.modules.get("distributed.cfexecutor"), "ClientExecutor", ())
    if not isinstance(executor, kind):
        return None
    # It has no public name; without it attempts go the way of every other executor.
    client: Client | None = getattr(executor, "_client", None)
    return client


def losses_of_dask() -> tuple[type[BaseException], ...]:
    """Give the errors that tell of a worker that is gone."""
    killed = getattr(sys.modules.get("distributed"), "KilledWorker", None)
    return () if killed is None else (killed,)
