"""What there is one of in a process, whatever forks it or ends it; and who that process is."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from contextvars import ContextVar
from threading import Event, Lock, RLock, Thread
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar
from uuid import uuid4
from weakref import WeakKeyDictionary, WeakMethod, ref

from dotflow.core.process import call_at_exit, call_in_forked_child, fork_safe_lock
from dotflow.core.timing import monotonic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from opentelemetry.sdk.resources import Resource

    Watcher = Callable[[str, int], None]


# The number of a process, and what it has in common with its forked children alone.
Process = tuple[int, bytes]

# Also from one with the same number on another machine.
_MARK: Final = os.urandom(8)


def this_process() -> Process:
    """Return what tells this process from every other, also from its forked children."""
    return os.getpid(), _MARK


def is_forked_from(owner: Process) -> bool:
    """Return whether this process is a forked child of another one, with all that was set there."""
    return owner[1] == _MARK and owner != this_process()


class Owners:
    """Identifies the application that code here runs for, in a worker of several."""

    def __init__(self) -> None:
        self._first: Process | None = None
        self._is_shared = False
        # Also in what has a copy of an attempt's context.
        self._current: ContextVar[Process | None] = ContextVar("dotflow_owner", default=None)

    def begin(self, owner: Process) -> None:
        """Note that what runs in this context from now on runs for an application."""
        self._current.set(owner)
        if self._first is None:
            self._first = owner
        elif self._first != owner:
            self._is_shared = True

    def here(self) -> Process | None:
        """Return for which one this code runs; None: for any of several."""
        return self._current.get() or (None if self._is_shared else self._first)


_logger: Final = logging.getLogger("dotflow_otel")
_lock: Final = fork_safe_lock()

# How much of the time that an exit may take is for delivering. The rest is for the
# interpreter, whose exit is bounded as a whole.
_SHARE: Final = 0.9


class ShutdownHook(Protocol):
    """Something that delivers at exit, in a thread of its own."""

    @property
    def bound(self) -> float:
        """Seconds that the exit may take for its sake."""
        ...

    def ask_to_end(self) -> None:
        """Ask it to deliver what it has; do not wait."""

    def end_within(self, seconds: float) -> object:
        """Wait until it has, for so many seconds at most; then give up what is left."""


class Shutdown:
    """Ends all together, so that an exit takes the longest bound, and not their sum."""

    def __init__(self) -> None:
        self._hooks: list[ShutdownHook] = []
        self._is_known = False

    def add(self, ending: ShutdownHook) -> None:
        """Register what is to be ended at exit."""
        if not self._is_known:
            self._is_known = True
            call_at_exit(self.end)
        self._hooks.append(ending)

    def remove(self, ending: ShutdownHook) -> None:
        """Release what has ended, or needs no end."""
        with suppress(ValueError):
            self._hooks.remove(ending)

    def end(self) -> None:
        """Ask all, then wait for each until its time is up, counted from now."""
        begun, asked = monotonic(), tuple(self._hooks)
        for ending in asked:
            _guard_end(ending.ask_to_end)
        for ending in asked:
            left = begun + ending.bound * _SHARE - monotonic()
            _guard_end(ending.end_within, max(left, 0.0))


def _guard_end(function: Callable[..., object], *arguments: float) -> None:
    try:
        function(*arguments)
    except Exception:
        _logger.exception("telemetry could not be ended")


# As global as the exit.
at_exit: Final = Shutdown()


# Seconds that anything of this project waits for a backend, unless set otherwise.
TIMEOUT: Final = 5.0


class TimedCall:
    """One call, made when it is asked for, in a thread that waits for that from now on.

    At the exit of the interpreter no thread can be started any more; this one is there. It
    is a daemon: where the call hangs, the interpreter goes without it.

    Args:
        function: What to call.
        name: The name of the thread.
    """

    def __init__(self, function: Callable[[], object], name: str) -> None:
        self._function = function
        self._name = name
        self._start()
        call_in_forked_child(self._start)

    def _start(self) -> None:
        # Again in a forked child: it has none of its parent's threads.
        self._asked = Event()
        self._ended = Event()
        work = _Work(self._function, self._asked, self._ended)
        Thread(target=work, name=self._name, daemon=True).start()

    def ask(self) -> None:
        """Ask for the call, at the first time; do not wait."""
        self._asked.set()

    def wait(self, timeout: float) -> bool:
        """Return whether the call, once asked for, ended within `timeout` seconds."""
        return self._ended.wait(max(timeout, 0.0))

    def call(self, timeout: float) -> bool:
        """Make the call, at the first time; return whether it ended within `timeout` seconds."""
        self.ask()
        return self.wait(timeout)


class _Work:
    # No method of TimedCall, so that the thread keeps that alive no longer than its owner.
    def __init__(self, function: Callable[[], object], asked: Event, ended: Event) -> None:
        self._function = function
        self._asked = asked
        self._ended = ended

    def __call__(self) -> None:
        self._asked.wait()
        try:
            self._function()
        except Exception:
            _logger.exception("telemetry could not be delivered")
        finally:
            self._ended.set()


TRACES: Final = "traces"
METRICS: Final = "metrics"
LOGS: Final = "logs"
HISTORY: Final = "history"

# What a signal's items are called: one, several.
_ITEMS: Final = {
    TRACES: ("span", "spans"),
    METRICS: ("data point of metrics", "data points of metrics"),
    LOGS: ("log record", "log records"),
    HISTORY: ("record of the history", "records of the history"),
}
_WHY: Final = "telemetry was dropped"


class DropCounter:
    """How much was dropped, by signal, and how much of that was not reported yet."""

    def __init__(self) -> None:
        self._watchers: list[WeakMethod[Watcher]] = []
        self._begin()
        call_in_forked_child(self._begin)

    def _begin(self) -> None:
        # Again in a forked child: what its parent lost, its parent reports.
        # One that a signal handler or a finalizer that logs can take again.
        self._lock = RLock()
        self._totals: dict[str, int] = {}
        self._unreported: dict[str, int] = {}

    def add(self, signal: str, count: int) -> None:
        """Count items of a signal that were dropped."""
        if count <= 0:
            return
        with self._lock:
            for counts in (self._totals, self._unreported):
                counts[signal] = counts.get(signal, 0) + count

    def total(self, signal: str) -> int:
        """Return how many items of a signal were dropped in this process."""
        return self._totals.get(signal, 0)

    def watch(self, watcher: Watcher) -> None:
        """Register a method for each signal and its count, for as long as its object lives.

        It is called by `tell`, with what has been dropped since that was last called.
        """
        with self._lock:
            living = [each for each in self._watchers if each() is not None]
            self._watchers = [*living, WeakMethod(watcher)]

    def tell(self, why: str | None = None) -> None:
        """Log one line of what was dropped since the last one, and notify the watchers.

        Args:
            why: What the line begins with, which is then written in any case.
        """
        if not self._unreported and why is None:
            return
        with self._lock:
            dropped, self._unreported = self._unreported, {}
        if dropped or why is not None:
            listed = ", ".join(_worded(signal, count) for signal, count in sorted(dropped.items()))
            _logger.warning("%s%s", why or _WHY, f": {listed}" if listed else "")
        for each in self._watchers:
            watcher = each()
            if watcher is not None:
                _notify(watcher, dropped)


def _notify(watcher: Watcher, dropped: Mapping[str, int]) -> None:
    for signal, count in dropped.items():
        watcher(signal, count)


def _worded(signal: str, count: int) -> str:
    one, several = _ITEMS[signal]
    return f"{count} {one if count == 1 else several}"


drop_counter: Final = DropCounter()


_Item = TypeVar("_Item")


def for_each(function: Callable[[_Item], object], items: Iterable[_Item]) -> None:
    """Call a function with each item.

    Raises:
        Exception: The first one that a call raised, after all of them.
    """
    first: Exception | None = None
    for item in items:
        try:
            function(item)
        except Exception as error:  # noqa: BLE001 - raised below, when the others had their turn
            first = error if first is None else first
    if first is not None:
        raise first


_kept: Final[list[_Instance]] = []


def service_resource(service_name: str | None) -> Resource:
    """Return the resource of this process, with an id that a forked child has another one for.

    Args:
        service_name: The `service.name`; None: as the variables say.
    """
    # Here, because metrics need no SDK where the application has its own provider.
    from opentelemetry.sdk import resources as sdk  # noqa: PLC0415

    resource = sdk.Resource.create({} if service_name is None else {sdk.SERVICE_NAME: service_name})
    if sdk.SERVICE_INSTANCE_ID not in resource.attributes:  # newer SDKs give one
        resource = resource.merge(sdk.Resource({sdk.SERVICE_INSTANCE_ID: str(uuid4())}))
    # One that a variable sets stays.
    if sdk.SERVICE_INSTANCE_ID not in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        _kept.append(_Instance(resource))
    return resource


class _Instance:
    def __init__(self, resource: Resource) -> None:
        self._resource = resource
        call_in_forked_child(self._renew)

    def _renew(self) -> None:
        from opentelemetry.attributes import BoundedAttributes  # noqa: PLC0415 - as above
        from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID  # noqa: PLC0415

        # Newer SDKs do it by themselves. In others the providers, and what they made, have the
        # resource itself: what it says is changed in place, for none of them can be given another.
        attributes = {**self._resource.attributes, SERVICE_INSTANCE_ID: str(uuid4())}
        inside: Any = self._resource
        inside._attributes = BoundedAttributes(attributes=attributes)  # noqa: SLF001


_known: Final[WeakKeyDictionary[Any, _Reset]] = WeakKeyDictionary()


def reset_in_children(provider: Any) -> None:
    """Reset the sums of a provider of the SDK in every child that is forked.

    Does nothing where the SDK is not as it is known.

    Args:
        provider: One of this project; those of the application are left as they are.
    """
    if all(hasattr(each, "_instrument_view_instrument_matches") for each in _sums(provider)):
        _known[provider] = _Reset(provider)


def resets_in_children(provider: object) -> bool:
    """Return whether a provider begins at nothing in a forked child."""
    return provider in _known


def _sums(provider: Any) -> list[Any]:
    consumer = getattr(provider, "_measurement_consumer", None)
    return list(getattr(consumer, "_reader_storages", {None: None}).values())


class _Reset:
    def __init__(self, provider: Any) -> None:
        self._provider = ref(provider)
        call_in_forked_child(self._begin)

    def _begin(self) -> None:
        provider = self._provider()
        if provider is None:
            return
        # The locks as well: a thread may have held one at the fork, an export for seconds.
        consumer: Any = provider._measurement_consumer  # noqa: SLF001
        consumer._lock = Lock()  # noqa: SLF001
        for reader, sums in consumer._reader_storages.items():  # noqa: SLF001
            sums._lock = RLock()  # noqa: SLF001
            sums._instrument_view_instrument_matches = {}  # noqa: SLF001
            if hasattr(reader, "_export_lock"):
                reader._export_lock = Lock()  # noqa: SLF001
