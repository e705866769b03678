"""Connections to a Dask cluster: one that is there, or one of our own."""

from __future__ import annotations

import sys
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from distributed import Client, Scheduler, SpecCluster, WorkerPlugin

from dotflow.core.exception import ClusterUnusable
from dotflow.providers.dask_greeting import greet
from dotflow.providers.dask_silence import LEVEL, SILENCE
from dotflow.providers.dask_worker import QuietWorker

if TYPE_CHECKING:
    from collections.abc import Sequence

_HOST: Final = "127.0.0.1"

# Our workers have this long to start, in seconds, and end when they find no scheduler so long.
_START: Final = 60
_WITHOUT_SCHEDULER: Final = 10


class Connection(NamedTuple):
    """A client, and what ends with it."""

    client: Client
    ends: ExitStack

    def is_usable(self) -> bool:
        """Tell whether attempts can be submitted."""
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
    greet(address, timeout)
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
        "cls": QuietWorker,
        "options": {
            "worker_kwargs": {
                "host": _HOST,
                "nthreads": 1,
                "dashboard": False,
                "death_timeout": _WITHOUT_SCHEDULER,
                "silence_logs": LEVEL,
            }
        },
    }
    # Without an address its web server would take the port that the next cluster wants.
    options = {"host": _HOST, "dashboard": False, "dashboard_address": f"{_HOST}:0"}
    scheduler = {"cls": Scheduler, "options": options}
    with ExitStack() as ends:
        ends.enter_context(SILENCE)
        cluster = SpecCluster(dict.fromkeys(range(workers), worker), scheduler, worker)
        ends.callback(_close, cluster)
        client = Client(cluster, timeout=timeout, set_as_default=False)
        ends.callback(_close, client)
        try:
            client.register_plugin(_path_giver(sys.path))
            client.wait_for_workers(workers, timeout=_START)
        except Exception as error:
            raise ClusterUnusable(cluster.scheduler_address, error) from error
        return Connection(client, ends.pop_all())


def _close(part: Client | SpecCluster) -> None:
    # What cannot be ended is gone already.
    with suppress(Exception):
        part.close(timeout=_WITHOUT_SCHEDULER)


def _path_giver(path: Sequence[str]) -> Any:
    # Made here, so that it travels whole. Steps of modules beside the program are found.
    class PathGiver(WorkerPlugin):
        name = "dotflow-path"

        def __init__(self) -> None:
            self.path = list(path)

        def setup(self, worker: Any) -> None:  # noqa: ARG002 - Dask names it
            import sys  # noqa: PLC0415 - the one of the worker

            sys.path.extend(entry for entry in self.path if entry not in sys.path)

    return PathGiver()
