"""A Dask cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dotflow.abc.executor import Executor, Session
from dotflow.core.arguments import check_count, check_seconds, check_text, strict_arguments
from dotflow.core.exception import InvalidOption, ModuleNotFound
from dotflow.core.process import fork_safe_lock
from dotflow.providers.executor_local import cores

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from dotflow.dask.cluster import Connection


class ExecutorDask(Executor):
    """Runs attempts on the workers of a Dask cluster, each attempt at most once.

    Without an address it starts a cluster of processes on this machine, of one thread each,
    when first needed; they end with `close` or with the program, and as long as they live
    Dask's own log has errors alone on this process's stderr. With one it uses the
    cluster there, whose scheduler and workers must be able to import `dotflow`, the workers
    also the modules of the steps. A dead worker fails the attempts that it had begun. A
    timed-out step is abandoned where it runs.

    Args:
        address: Where the scheduler listens, as `tcp://host:8786`; None: a cluster of its own.
        workers: How many processes that one has; by default one per core that this process
            may use.
        in_flight: How many attempts of a run the cluster has at a time; by default twice its
            threads, and at least 64.
        timeout: Seconds that the scheduler has to answer.

    Raises:
        ModuleNotFound: `distributed` is not installed.
        InvalidOption: An argument cannot have that value.
    """

    @strict_arguments
    def __init__(
        self,
        address: str | None = None,
        *,
        workers: int | None = None,
        in_flight: int | None = None,
        timeout: float = 10,
    ) -> None:
        _check_installed()
        hint = "give the scheduler's address, as 'tcp://host:8786', or None for a cluster here"
        check_text("address", address, hint, optional=True)
        check_count("workers", workers)
        check_count("in_flight", in_flight)
        if address is not None and workers is not None:
            raise InvalidOption("workers", workers, "the cluster at an address has its own")
        check_seconds("timeout", timeout)
        self.address = address
        self.workers = None if address is not None else workers or cores()
        self.in_flight = in_flight
        self.timeout = timeout
        self._connection: Connection | None = None
        self._lock = fork_safe_lock()

    def session(self) -> Session:
        """Begin the use by one run; connect, and start a cluster, where there is none yet.

        Raises:
            ClusterUnusable: Nobody answers at the address, or the cluster refuses.
        """
        from dotflow.providers.executor_futures import ExecutorFutures  # noqa: PLC0415

        executor = self._connected().client.get_executor()
        return ExecutorFutures(executor, self.in_flight).session()

    def _connected(self) -> Connection:
        from dotflow.dask import cluster  # noqa: PLC0415 - it imports an extra

        with self._lock:
            if self._connection is not None and not self._connection.is_usable():
                self._connection.close()
                self._connection = None
            if self._connection is None:
                if self.workers is None:
                    self._connection = cluster.connect(str(self.address), self.timeout)
                else:
                    self._connection = cluster.start(self.workers, self.timeout)
            return self._connection

    def close(self) -> None:
        """End the connection, and the cluster if it is its own. A later run starts another."""
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _check_installed() -> None:
    from importlib.util import find_spec  # noqa: PLC0415 - `import dotflow` does without it

    # It takes a second to import, and a constructor need not.
    try:
        found = find_spec("distributed") is not None
    except ValueError:  # somebody has put None in its place
        found = False
    if not found:
        raise ModuleNotFound("distributed", "dotflow[dask]")
