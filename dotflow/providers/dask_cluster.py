"""Connections to a Dask cluster: one that is there, or one of our own."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from distributed import Client, Scheduler, SpecCluster, WorkerPlugin
from distributed.deploy.subprocess import SubprocessWorker

from dotflow.core.exception import ClusterUnusable
from dotflow.providers.dask_greeting import greet

if TYPE_CHECKING:
    from collections.abc import Sequence

_HOST: Final = "127.0.0.1"

# What is lost with a worker, the run tells.
_LEVEL: Final = logging.ERROR

# Our workers have this long to start, in seconds, and end when they find no scheduler so long.
_START: Final = 60
_WITHOUT_SCHEDULER: Final = 10


class Connection(NamedTuple):
    """A client, with the cluster if that is our own."""

    client: Client
    cluster: SpecCluster | None = None

    def is_usable(self) -> bool:
        """Tell whether attempts can be submitted."""
        return self.client.status in ("running", "connecting")

    def close(self) -> None:
        """End it, and the cluster if that is our own."""
        for part in (self.client, self.cluster):
            # What cannot be ended is gone already.
            with suppress(Exception):
                if part is not None:
                    part.close(timeout=_WITHOUT_SCHEDULER)


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
        return Connection(Client(address, timeout=timeout, set_as_default=False))
    except (OSError, ImportError, ValueError, TypeError) as error:
        raise ClusterUnusable(address, error) from error


def start(workers: int, timeout: float) -> Connection:
    """Start a cluster of processes on this machine, and connect to it.

    Args:
        workers: How many, of one thread each.
        timeout: Seconds that its scheduler has to answer.

    Raises:
        ClusterUnusable: Its workers do not start.
    """
    worker = {
        "cls": SubprocessWorker,
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
    cluster = SpecCluster(
        dict.fromkeys(range(workers), worker),
        {"cls": Scheduler, "options": options},
        worker,
        silence_logs=_LEVEL,
    )
    connection = Connection(Client(cluster, timeout=timeout, set_as_default=False), cluster)
    try:
        connection.client.register_plugin(_path_giver(sys.path))
        connection.client.wait_for_workers(workers, timeout=_START)
    except Exception as error:
        connection.close()
        raise ClusterUnusable(cluster.scheduler_address, error) from error
    return connection


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
