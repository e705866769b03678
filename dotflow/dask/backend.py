"""The way of a run's attempts into a Dask cluster, each of them at most once, and back.

Imported where an executor is one of Dask's.
"""

from __future__ import annotations

from concurrent import futures
from contextlib import suppress
from itertools import islice
from secrets import token_hex
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary, WeakSet

from distributed import KilledWorker
from distributed.cfexecutor import ClientExecutor

from dotflow.core.attempt import Outcome
from dotflow.core.exception import ClusterUnusable, WorkerLost
from dotflow.core.failure import WORKER_LOST, Failure
from dotflow.core.timing import monotonic
from dotflow.dask.once import NAME, make_once_plugin
from dotflow.workers.remote import Packer, Parcel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from distributed import Client

    from dotflow.core.attempt import Attempt

# How long a scheduler that is connected may take for an answer, in seconds.
_PATIENCE: Final = 10

# Workers of one cluster are mostly alike: so many of them are asked, and have so long, in seconds.
_ASKED: Final = 8
_ASKED_FOR: Final = 2

_checked: WeakSet[Client] = WeakSet()
_routers: Final[WeakKeyDictionary[Any, _ResultRouter]] = WeakKeyDictionary()


class DaskBackend:
    """Begins the attempts of one run in a Dask cluster.

    Args:
        executor: What `Client.get_executor()` returned.
        client: That client.

    Attributes:
        packer: Pickles attempts.
        losses: The errors that say that a worker is gone.
    """

    losses: tuple[type[BaseException], ...] = (KilledWorker,)

    def __init__(self, executor: futures.Executor, client: Client) -> None:
        self._client = client
        # Which workers, resources and the like it was made for: it has no public name.
        self._options = {**getattr(executor, "_kwargs", {}), "pure": False}
        self._entry = _make_remote_entry()
        self.packer = Packer()
        self._router = _router_of(client)

    def open(self) -> int:
        """Make the cluster keep attempts from running twice.

        Returns:
            How many threads its workers have now.

        Raises:
            ClusterUnusable: The scheduler does not answer, or refuses; there is no dotflow.
        """
        client = self._client
        if client.asynchronous:
            hint = "Give a client that was not made with asynchronous=True."
            raise ClusterUnusable(_address_of(client), "its client is asynchronous", hint)
        if client.status == "closed":
            hint = "Give the executor of one that is open."
            raise ClusterUnusable(_address_of(client), "its client is closed", hint)
        try:
            client.subscribe_topic(NAME, self._router.take)
            client.sync(client.register_plugin, make_once_plugin(), callback_timeout=_PATIENCE)
            threads: dict[str, int] = client.sync(client.nthreads, callback_timeout=_PATIENCE)
        except Exception as error:
            raise ClusterUnusable(_address_of(client), error) from error
        _check_environment(client, threads)
        return sum(threads.values())

    def begin(self, attempt: Attempt) -> futures.Future[Any]:
        """Begin an attempt, under a key of its own that names its step."""
        payload = self.packer.pack(attempt)
        key = f"{attempt.name}-{token_hex(16)}"
        promise = self._router.expect(key, attempt.name)
        try:
            task = self._client.submit(self._entry, payload, key=key, **self._options)
        except BaseException:
            promise.cancel()  # so that nobody waits for it
            raise
        self._router.follow(self._client, task, attempt.name, promise)
        return promise


def backend_of(executor: futures.Executor) -> DaskBackend | None:
    """Return that of an executor; None where it is none of Dask's, or of another version."""
    if not isinstance(executor, ClientExecutor):
        return None
    # It has no public name; without it attempts go the way of every other executor.
    client: Client | None = getattr(executor, "_client", None)
    return None if client is None else DaskBackend(executor, client)


def _router_of(client: Client) -> _ResultRouter:
    """Return the router of a client, which all its runs share."""
    return _routers.setdefault(client, _ResultRouter())


class _ResultRouter:
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
        """Receive what the scheduler sends, in the client's own thread."""
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
                        promise.set_exception(_without_dotflow(client, f"its worker {parcel}"))
                    else:
                        promise.set_result(parcel or _lost_unseen(name))
            except futures.InvalidStateError:
                pass  # it was cancelled meanwhile
            except BaseException as error:  # noqa: BLE001 - raised where it is waited for
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


def _address_of(client: Client) -> str:
    """Return the address of a client's scheduler, for messages."""
    return str(getattr(client.scheduler, "address", None) or "an unknown address")


def _check_environment(client: Client, workers: Iterable[str]) -> None:
    """Ask the scheduler and some workers, once for each client that has any.

    Args:
        client: A client that is connected.
        workers: The addresses of the cluster's workers.

    Raises:
        ClusterUnusable: One of them has no `dotflow`.
    """
    asked = list(islice(workers, _ASKED))
    if client in _checked:
        return
    if asked:
        _checked.add(client)
    look = _make_look()
    answers = {"its scheduler": _ask(client, client.run_on_scheduler, look)}
    found = _ask(client, client.run, look, workers=asked, on_error="return") if asked else None
    answers.update({f"its worker {name}": has for name, has in (found or {}).items()})
    for name, has in answers.items():
        if has is False:
            _checked.discard(client)
            raise _without_dotflow(client, name)


def _without_dotflow(client: Client, name: str) -> ClusterUnusable:
    """Return the error for a process of the cluster that has no dotflow.

    Args:
        client: The cluster's.
        name: What the process is, with its address.
    """
    hint = "Install dotflow, and the modules of your steps, wherever the cluster runs."
    return ClusterUnusable(_address_of(client), f"{name} has no module 'dotflow'", hint)


def _make_remote_entry() -> Callable[[bytes], Parcel | str | None]:
    """Make what a worker does with an attempt: `perform_once`, where it can.

    It is made here, so that it travels whole. By reference a worker without dotflow could not
    read it, and would end, and so would the next one; this returns the address of such a worker.
    """

    def entry(payload: bytes) -> Parcel | str | None:
        try:
            from dotflow.dask.once import perform_once  # noqa: PLC0415 - travels along
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] != "dotflow":
                raise
            from distributed import get_worker  # noqa: PLC0415 - it runs in one

            return str(get_worker().address)
        return perform_once(payload)

    return entry


def _make_look() -> Callable[[], bool]:
    # Made here, so that it travels whole.
    def look() -> bool:
        from importlib.util import find_spec  # noqa: PLC0415 - travels along

        # One of 1.x has no such workers.
        return all(find_spec(name) is not None for name in ("dotflow", "dotflow.dask"))

    return look


def _ask(client: Client, ask: Callable[..., Any], look: Any, **options: Any) -> Any:
    try:
        return client.sync(ask, look, callback_timeout=_ASKED_FOR, **options)
    except Exception:  # noqa: BLE001 - whoever does not answer may be all right
        return None
