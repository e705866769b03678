"""The providers of a workflow."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from dotflow.abc.executor import Executor
from dotflow.abc.log import Log
from dotflow.abc.metrics import Metrics
from dotflow.abc.notify import Notify
from dotflow.abc.progress import Progress
from dotflow.abc.scheduler import Scheduler
from dotflow.abc.server import Server
from dotflow.abc.storage import Storage
from dotflow.abc.tracer import Tracer
from dotflow.core.arguments import instance_hint, strict_arguments
from dotflow.core.exception import InvalidOption, NotCallableObject
from dotflow.core.process import once
from dotflow.core.user_objects import repr_of
from dotflow.providers.executor_local import shared_executor
from dotflow.providers.log_default import LogDefault
from dotflow.providers.metrics_default import MetricsDefault
from dotflow.providers.notify_default import NotifyDefault
from dotflow.providers.scheduler_default import SchedulerDefault
from dotflow.providers.server_default import ServerDefault
from dotflow.providers.storage_default import StorageDefault
from dotflow.providers.tracer_default import TracerDefault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from concurrent import futures

    from dotflow.core.options import Slots

_OTHER_EXECUTORS: Final = (
    " or of concurrent.futures.Executor (with Dask ExecutorDask(address) or client.get_executor())"
)
_INTERFACES: Final[Mapping[str, type]] = {
    "storage": Storage,
    "notify": Notify,
    "log": Log,
    "server": Server,
    "scheduler": Scheduler,
    "tracer": Tracer,
    "metrics": Metrics,
    "executor": Executor,
    "progress": Progress,
}


class DefaultProviders:
    """Providers that a `Config` takes where a slot is None, in all threads of the process.

    For what observes workflows of others: what the workflow itself sets is left as it is.

    Args:
        **providers: Slots of `Config`; None leaves a slot's default as it is.
    """

    def __init__(self, **providers: Any) -> None:
        self._providers = {slot: given for slot, given in providers.items() if given is not None}
        # Which configurations have taken some, and in which slots.
        self._taken: WeakKeyDictionary[Config, list[str]] = WeakKeyDictionary()

    def apply(self) -> None:
        """Have each `Config` that is made from now on take them."""
        _defaults.append(self)

    def remove(self) -> None:
        """Have no further `Config` take them; those that did keep them."""
        if self in _defaults:
            _defaults.remove(self)

    def undo(self) -> None:
        """Remove them, and set the defaults in each `Config` that has taken some.

        A run that goes on uses those from then on.
        """
        self.remove()
        for config, slots in list(self._taken.items()):
            for slot in slots:
                if getattr(config, slot) is self._providers[slot]:
                    setattr(config, slot, _DEFAULTS[slot]())

    def take(self, config: Config, slot: str) -> Any:
        """Return the provider that a configuration takes in a slot, if there is one."""
        provider = self._providers.get(slot)
        if provider is not None:
            self._taken.setdefault(config, []).append(slot)
        return provider


# Those that hold now; of several that have a slot the last one counts.
_defaults: Final[list[DefaultProviders]] = []


class Config:
    """The providers of a workflow, one for each slot; None gives the default one.

    Each slot is an attribute as well. The providers named here are imported from
    `dotflow.providers`; one of your own is a subclass of the slot's interface in `dotflow.abc`.

    Args:
        storage: Keeps what tasks returned, for the tasks after them and for a resumed run.
            `StorageDefault`, in memory, unless given; `StorageFile` keeps files.
        notify: Is called at each change of a task's status. `NotifyDefault` does nothing.
        log: Writes what happens. `LogDefault` writes lines to stderr or a file; `LogStructlog`
            writes events with the ids of runs and traces, as JSON.
        server: Is called when workflows and tasks are made and change. `ServerDefault` reports
            them by HTTP where a server is configured, and does nothing elsewhere.
        scheduler: Calls a workflow again and again. `SchedulerDefault` never does;
            `SchedulerCron` does by a cron expression.
        tracer: Makes spans of runs, tasks and attempts. `TracerDefault` makes none;
            `TracerOpenTelemetry` makes those of OpenTelemetry.
        metrics: Counts and measures. `MetricsDefault` does not; `MetricsPrometheus` and
            `MetricsOpenTelemetry` do.
        executor: Runs the steps of the mode `parallel`. Worker processes of this machine,
            shared by all configurations, unless given; `ExecutorLocal` has processes of its
            own, `ExecutorDask` a Dask cluster, and any `concurrent.futures.Executor` will do.
        progress: Shows runs while they go on: `ProgressTerminal` at the bottom of a terminal.
            Nothing does unless given.

    Attributes:
        reported: The (provider, hook) pairs whose first error was logged.

    Raises:
        NotCallableObject: A value is no instance of the slot's interface.
    """

    @strict_arguments
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
        progress: Progress | None = None,
    ) -> None:
        self.storage: Storage = self._provider("storage", storage)
        self.notify: Notify = self._provider("notify", notify)
        self.log: Log = self._provider("log", log)
        self.server: Server = self._provider("server", server)
        self.scheduler: Scheduler = self._provider("scheduler", scheduler)
        self.tracer: Tracer = self._provider("tracer", tracer)
        self.metrics: Metrics = self._provider("metrics", metrics)
        self.executor: Executor = self._provider("executor", _adapted(executor))
        self.progress: Progress = self._provider("progress", progress)
        self.reported: set[tuple[str, str]] = set()

    def _provider(self, slot: str, value: Any) -> Any:
        for defaults in reversed(_defaults):
            if value is not None:
                break
            value = defaults.take(self, slot)
        if value is None:
            return _DEFAULTS[slot]()
        _check_slot(slot, value)
        return value


_DEFAULTS: Final[Mapping[str, Callable[[], Any]]] = {
    "storage": StorageDefault,
    "notify": NotifyDefault,
    "log": LogDefault,
    "server": ServerDefault,
    "scheduler": SchedulerDefault,
    "tracer": TracerDefault,
    "metrics": MetricsDefault,
    "executor": shared_executor,
    "progress": Progress,
}


@contextmanager
def default_providers(**providers: Any) -> Iterator[None]:
    """Make each `Config` inside take these providers where a slot is None.

    For programs that run workflows of others, such as the command `dotflow start`: what the
    workflow itself sets is left as it is. Holds in all threads of the process.

    Args:
        **providers: Slots of `Config`; None leaves a slot's default as it is.

    Raises:
        NotCallableObject: A `Config` made inside needs a slot whose provider here is no instance
            of the slot's interface.
    """
    defaults = DefaultProviders(**providers)
    defaults.apply()
    try:
        yield
    finally:
        defaults.remove()


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
    """Return the one configuration of this process for tasks that were given none."""
    return Config()


def _adapted(executor: Any) -> Any:
    if executor is None or isinstance(executor, Executor):
        return executor
    from concurrent import futures  # noqa: PLC0415 - slow to import, and seldom needed

    if not isinstance(executor, futures.Executor):
        return executor
    from dotflow.providers.executor_futures import ExecutorFutures  # noqa: PLC0415

    return ExecutorFutures(executor)


def check_slots(given: Slots) -> None:
    """Check what is to be passed to `Config`, without making anything.

    Raises:
        NotCallableObject: A value is no instance of its slot's interface.
    """
    for name, value in given.items():
        _check_slot(name, _adapted(value) if name == "executor" else value)


def _check_slot(name: str, value: Any) -> None:
    interface = _INTERFACES[name]
    if value is None or isinstance(value, interface):
        return
    other = _OTHER_EXECUTORS if interface is Executor else ""
    kind = f"{interface.__module__}.{interface.__qualname__}"
    raise NotCallableObject(name, f"an instance of {kind}{other}, not {_described(value)}")


def _described(value: Any) -> str:
    if isinstance(value, type):
        # One of `concurrent.futures` has no more than the name of its method to be known by.
        is_provider = issubclass(value, tuple(_INTERFACES.values())) or hasattr(value, "submit")
        return f"{value!r}; {instance_hint(value)}" if is_provider else repr(value)
    for slot, interface in _INTERFACES.items():
        if isinstance(value, interface):
            return f"{repr_of(value)}, which is for {slot}="
    return repr_of(value)
