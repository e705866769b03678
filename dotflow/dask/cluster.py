"""Connections to a Dask cluster: one that is there, or one of our own."""

from __future__ import annotations

import asyncio
import logging
import sys
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from threading import Thread
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import psutil  # Dask needs it too
from distributed import Client, Scheduler, SpecCluster, WorkerPlugin
from distributed.comm.core import connect as connect_comm
from distributed.core import send_recv
from distributed.deploy.subprocess import SubprocessWorker
from distributed.security import Security
from distributed.utils import silence_logging_cmgr

from dotflow.core.exception import ClusterUnusable
from dotflow.core.process import fork_safe_lock

if TYPE_CHECKING:
    from collections.abc import Sequence

_HOST: Final = "127.0.0.1"

# Our workers have this long to start, in seconds, and end when they find no scheduler so long.
_START: Final = 60
_WITHOUT_SCHEDULER: Final = 10

_HINT: Final = "Is the scheduler (`dask scheduler`) up, and the address right?"

# Of Dask's own log, as long as a cluster of ours lives: what is lost, the run reports.
_LEVEL: Final = logging.ERROR


class Silence:
    """Keeps Dask's log in this process to errors, while entered.

    A cluster's own `silence_logs` ends before its connections have ended, which then
    report each other. Entered more than once it ends with the last; the program may end before.
    """

    def __init__(self) -> None:
        self._lock = fork_safe_lock()
        self._entered = 0
        self._levels = ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if not self._entered:
                self._levels.enter_context(silence_logging_cmgr(_LEVEL))
            self._entered += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._entered -= 1
            if not self._entered:
                self._levels.close()


_SILENCE: Final = Silence()


class _QuietWorker(SubprocessWorker):
    """A process with a Dask worker and its nanny, that ends without a word.

    Dask ends what a nanny has started, and then the nanny, which in between may tell on the
    program's stderr what it misses.
    """

    async def close(self) -> None:
        """End them, the nanny first."""
        if self.process is not None and self.process.returncode is None:
            with suppress(psutil.NoSuchProcess):
                children = psutil.Process(self.process.pid).children(recursive=True)
                self.process.kill()
                for child in children:
                    with suppress(psutil.NoSuchProcess):
                        child.kill()
            await self.process.wait()
        await super().close()


class Connection(NamedTuple):
    """A client, and what ends with it."""

    client: Client
    ends: ExitStack

    def is_usable(self) -> bool:
        """Return whether attempts can be submitted."""
        return self.client.status in ("running", "connecting")

    def close(self) -> None:
        """End it, and the cluster if that is our own."""
        self.ends.close()


def connect(address: str, timeout: float) -> Connection:
    """Connect to a cluster.

    Args:
        address: Where its scheduler listens.
        timeout: Seconds that it has to answer.

    Raises:
        ClusterUnusable: It does not, or the address is none.
    """
    _probe(address, timeout)
    try:
        client = Client(address, timeout=timeout, set_as_default=False)
    except (OSError, ImportError, ValueError, TypeError) as error:
        raise ClusterUnusable(address, error) from error
    ends = ExitStack()
    ends.callback(_close, client)
    return Connection(client, ends)


def start(workers: int, timeout: float) -> Connection:
    """Start a cluster of processes on this machine, and connect to it.

    Args:
        workers: How many, of one thread each.
        timeout: Seconds that its scheduler has to answer.

    Raises:
        ClusterUnusable: Its workers do not start.
    """
    worker = {
        "cls": _QuietWorker,
        "options": {
            "worker_kwargs": {
                "host": _HOST,
                "nthreads": 1,
                "dashboard": False,
                "death_timeout": _WITHOUT_SCHEDULER,
                "silence_logs": _LEVEL,
            }
        },
    }
    # Without an address its web server would take the port that the next cluster wants.
    options = {"host": _HOST, "dashboard": False, "dashboard_address": f"{_HOST}:0"}
    scheduler = {"cls": Scheduler, "options": options}
    with ExitStack() as ends:
        ends.enter_context(_SILENCE)
        cluster = SpecCluster(dict.fromkeys(range(workers), worker), scheduler, worker)
        ends.callback(_close, cluster)
        client = Client(cluster, timeout=timeout, set_as_default=False)
        ends.callback(_close, client)
        try:
            client.register_plugin(_sys_path_plugin(sys.path))
            client.wait_for_workers(workers, timeout=_START)
        except Exception as error:
            raise ClusterUnusable(cluster.scheduler_address, error) from error
        return Connection(client, ends.pop_all())


def _close(part: Client | SpecCluster) -> None:
    # What cannot be ended is gone already.
    with suppress(Exception):
        part.close(timeout=_WITHOUT_SCHEDULER)


def _sys_path_plugin(path: Sequence[str]) -> Any:
    # Made here, so that it travels whole. Steps of modules beside the program are found.
    class SysPathPlugin(WorkerPlugin):
        name = "dotflow-path"

        def __init__(self) -> None:
            self.path = list(path)

        def setup(self, worker: Any) -> None:  # noqa: ARG002 - Dask names it
            import sys  # noqa: PLC0415 - the one of the worker

            sys.path.extend(entry for entry in self.path if entry not in sys.path)

    return SysPathPlugin()


def _probe(address: str, timeout: float) -> None:
    """Check that a scheduler listens at an address.

    Dask's client waits for ever where something accepts connections and says nothing, or what it
    does not understand: a dashboard's port, say.

    Args:
        address: Where a scheduler should listen.
        timeout: Seconds that it has to answer.

    Raises:
        ClusterUnusable: Nobody answers in that time, or no scheduler; or the address is none.
    """
    who: Future[str] = Future()
    # A thread, because the caller's may run a loop already. Looking a name up may take
    # longer than there is time, and cannot be cancelled.
    Thread(target=_resolve, args=(who, address, timeout), daemon=True).start()
    try:
        kind = who.result(timeout)
    except TimeoutError as error:
        reason = f"no scheduler answered within {timeout} s"
        raise ClusterUnusable(address, reason, _HINT) from error
    except (OSError, ValueError, TypeError) as error:
        raise ClusterUnusable(address, error, _HINT) from error
    except Exception as error:  # of Dask, which has read what is not its own
        reason = f"what listens there is no scheduler ({type(error).__name__})"
        raise ClusterUnusable(address, reason, _HINT) from error
    if kind != "Scheduler":
        raise ClusterUnusable(address, f"what listens there is a {kind}", _HINT)


def _resolve(who: Future[str], address: str, timeout: float) -> None:
    try:
        who.set_result(asyncio.run(asyncio.wait_for(_kind_of(address, timeout), timeout)))
    except Exception as error:  # noqa: BLE001 - raised where it is waited for
        who.set_exception(error)


async def _kind_of(address: str, seconds: float) -> str:
    options: dict[str, Any] = Security().get_connection_args("client")
    comm = await connect_comm(address, timeout=seconds, **options)
    try:
        return str((await send_recv(comm, op="identity"))["type"])
    finally:
        comm.abort()
