"""The workers of a Dask cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from dotflow.abc.executor import Executor
from dotflow.core.exception import InvalidOption, ModuleNotFound

if TYPE_CHECKING:
    from dotflow.abc.executor import Session

# A worker that died is not replaced behind our back: its attempt must not run twice unseen.
_LOCAL: Final = {"distributed.scheduler.allowed-failures": 0}


class ExecutorDask(Executor):
    """Runs attempts on a Dask cluster, connected to when first needed.

    The scheduler of a cluster of your own must be started with the setting
    `distributed.scheduler.allowed-failures` at 0: with another one Dask itself runs an attempt
    again whose worker died, and tells nobody.

    Args:
        address: Of the scheduler (`tcp://host:port`); None: a cluster on this machine, that
            listens on loopback only and ends with `close`.
        in_flight: How many attempts the cluster has at a time at most; by default 64.

    Raises:
        InvalidOption: `in_flight` is no whole number of at least 1.
        ModuleNotFound: `distributed` is not installed.
    """

    def __init__(self, address: str | None = None, in_flight: int | None = None) -> None:
        if in_flight is not None and (not isinstance(in_flight, int) or in_flight < 1):
            raise InvalidOption("in_flight", in_flight, "give a whole number, 1 or more")
        self.address = address
        self.in_flight = in_flight
        self._dask = _distributed()
        self._client: Any = None
        self._cluster: Any = None

    def session(self) -> Session:
        """Begin the use by one run, and the connection where there is none."""
        from dotflow.providers.executor_futures import ExecutorFutures  # noqa: PLC0415

        if self._client is None:
            self._connect()
        return ExecutorFutures(self._client.get_executor(pure=False), self.in_flight).session()

    def _connect(self) -> None:
        if self.address is None:
            import dask  # noqa: PLC0415 - slow to import

            with dask.config.set(_LOCAL):
                self._cluster = self._dask.LocalCluster(
                    host="127.0.0.1", dashboard_address=None, threads_per_worker=1
                )
        self._client = self._dask.Client(self._cluster or self.address, set_as_default=False)

    def close(self) -> None:
        """Leave the cluster, and end it if it was started here."""
        for each in (self._client, self._cluster):
            if each is not None:
                each.close()
        self._client = self._cluster = None


def _distributed() -> Any:
    try:
        import distributed  # noqa: PLC0415 - slow to import
    except ModuleNotFoundError:
        raise ModuleNotFound("distributed", "dotflow[dask]") from None
    return distributed
