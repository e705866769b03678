"""The providers of a workflow."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from dotflow.abc.executor import Executor
from dotflow.abc.log import Log
from dotflow.abc.metrics import Metrics
from dotflow.abc.notify import Notify
from dotflow.abc.scheduler import Scheduler
from dotflow.abc.server import Server
from dotflow.abc.storage import Storage
from dotflow.abc.tracer import Tracer
from dotflow.core.exception import InvalidOption, NotCallableObject
from dotflow.core.once import once
from dotflow.providers.executor_local import shared_executor
from dotflow.providers.log_default import LogDefault
from dotflow.providers.metrics_default import MetricsDefault
from dotflow.providers.notify_default import NotifyDefault
from dotflow.providers.scheduler_default import SchedulerDefault
from dotflow.providers.server_default import ServerDefault
from dotflow.providers.storage_default import StorageDefault
from dotflow.providers.tracer_default import TracerDefault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent import futures

_OTHER_EXECUTORS: Final = (
    " or of concurrent.futures.Executor (with Dask ExecutorDask(address) or client.get_executor())"
)

# Providers by slot, in place of the default ones; see `default_providers`.
_defaults: dict[str, Any] = {}


class Config:
    """Which provider serves each slot; None gives the default one.

    Attributes:
        reported: The (provider, hook) pairs whose first error was logged.

    Raises:
        NotCallableObject: A value is no instance of the slot's interface.
    """

    def __init__(
        self,
        storage: Storage | None = None,
        notify: Notify | None = None,
        log: Log | None = None,
        server: Server | None = None,
        scheduler: Scheduler | None = None,
        tracer: Tracer | None = None,
        metrics: Metrics | None = None,
        executor: Executor | futures.Executor | None = None,
    ) -> None:
        self.storage: Storage = _slot("storage", storage, Storage, StorageDefault)
        self.notify: Notify = _slot("notify", notify, Notify, NotifyDefault)
        self.log: Log = _slot("log", log, Log, LogDefault)
        self.server: Server = _slot("server", server, Server, ServerDefault)
        self.scheduler: Scheduler = _slot("scheduler", scheduler, Scheduler, SchedulerDefault)
        self.tracer: Tracer = _slot("tracer", tracer, Tracer, TracerDefault)
        self.metrics: Metrics = _slot("metrics", metrics, Metrics, MetricsDefault)
        self.executor: Executor = _slot("executor", _adapted(executor), Executor, shared_executor)
        self.reported: set[tuple[str, str]] = set()


@contextmanager
def default_providers(**providers: Any) -> Iterator[None]:
    """Have each `Config` made inside take these providers where a slot is None.

    For programs that run workflows of others, such as the command `dotflow start`: what the
    workflow itself sets is left as it is. Holds in all threads of the process.

    Args:
        **providers: Slots of `Config`; None leaves a slot's default as it is.

    Raises:
        NotCallableObject: A `Config` made inside needs a slot whose provider here is no instance
            of the slot's interface.
    """
    before = dict(_defaults)
    _defaults.update({slot: given for slot, given in providers.items() if given is not None})
    try:
        yield
    finally:
        _defaults.clear()
        _defaults.update(before)


def check_config(config: object) -> None:
    """Check what is given as the configuration.

    Raises:
        InvalidOption: It is no `Config`.
    """
    if config is not None and not isinstance(config, Config):
        hint = "give a Config, or what dotflow_otel.observe() returns"
        raise InvalidOption("config", config, hint)


@once
def default_config() -> Config:
    """Give the one configuration of this process for tasks that were given none."""
    return Config()


def _adapted(executor: Any) -> Any:
    if executor is None or isinstance(executor, Executor):
        return executor
    from concurrent import futures  # noqa: PLC0415 - slow to import, and seldom needed

    if not isinstance(executor, futures.Executor):
        return executor
    from dotflow.providers.executor_futures import ExecutorFutures  # noqa: PLC0415

    return ExecutorFutures(executor)


def _slot(name: str, value: Any, interface: type, default: Callable[[], Any]) -> Any:
    if value is None:
        value = _defaults.get(name)
    if value is None:
        return default()
    if not isinstance(value, interface):
        other = _OTHER_EXECUTORS if interface is Executor else ""
        kind = f"{interface.__module__}.{interface.__qualname__}"
        expected = f"an instance of {kind}{other}, not {value!r}"
        raise NotCallableObject(name, expected)
    return value
