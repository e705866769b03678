"""What a backend of metrics offers: series to count and measure with, also in workers.

In a worker what is counted is kept for the run's process as well.
"""

from __future__ import annotations

from threading import RLock
from typing import TYPE_CHECKING, Any, Final, Protocol

from dotflow_otel import conventions as names
from dotflow_otel.relay.process import Owners, Process

if TYPE_CHECKING:
    from collections.abc import Callable

    from dotflow_otel.conventions import Metric

    Exemplar = dict[str, str] | None
    # A metric's name, the values of its labels, and what was done with the series.
    Key = tuple[str, tuple[str, ...], str]
    Counted = dict[Key, list[tuple[float, Exemplar]]]


class Add(Protocol):
    """Adds to one series of a counter, with the exemplar's labels if there is one."""

    def __call__(self, amount: float, exemplar: dict[str, str] | None = None, /) -> None:
        """Add an amount."""


class Observe(Protocol):
    """Puts a value into one series of a histogram, likewise."""

    def __call__(self, value: float, exemplar: dict[str, str] | None = None, /) -> None:
        """Put a value in."""


class GaugeSeries(Protocol):
    """One series of a gauge."""

    def inc(self, amount: float = 1, /) -> None:
        """Raise the value."""

    def dec(self, amount: float = 1, /) -> None:
        """Lower the value."""

    def set(self, value: float, /) -> None:
        """Replace the value."""


class Instruments(Protocol):
    """The instruments of the table in `conventions`, in one backend.

    A series is asked for once and kept. Values are given in the order of the metric's labels.
    """

    def counter(self, metric: Metric, *values: str) -> Add:
        """Return a series of a counter."""
        ...

    def gauge(self, metric: Metric, *values: str) -> GaugeSeries:
        """Return a series of a gauge."""
        ...

    def histogram(self, metric: Metric, *values: str) -> Observe:
        """Return a series of a histogram."""
        ...


BY_NAME: Final = {metric.name: metric for metric in names.METRICS}

_ADD: Final = "add"
_SET: Final = "set"
_OBSERVE: Final = "observe"

# These are of one process: that of the worker is not that of the run.
_OF_A_PROCESS: Final = frozenset(
    {names.WORKERS.name, names.WORKERS_BUSY.name, names.WORKFLOW_OLDEST_START.name}
)

# A step that runs workflows without end must not fill the memory.
_MOST: Final = 100_000


class CountedHere:
    """Keeps what our metrics count in this process, where that is a worker.

    Attributes:
        is_on: Whether somebody fetches it.
        on_put: Called when something was counted.
    """

    def __init__(self) -> None:
        self._lock = RLock()
        self._kept: dict[Process, Counted] = {}
        self._count = 0
        self.is_on = False
        self.on_put: Callable[[int], object] | None = None

    def put(
        self, metric: Metric, values: tuple[str, ...], how: str, recorded: tuple[Any, Any]
    ) -> None:
        """Keep a value that was added, set or observed, with its exemplar."""
        owner = owners.here()
        if metric.name in _OF_A_PROCESS or owner is None:
            return
        with self._lock:
            counted = self._kept.setdefault(owner, {})
            kept = counted.setdefault((metric.name, values, how), [])
            amount, exemplar = recorded
            if kept and how == _ADD:
                kept[0] = kept[0][0] + amount, exemplar or kept[0][1]
            elif kept and how == _SET:
                kept[0] = recorded
            elif self._count < _MOST:
                self._count += 1
                kept.append(recorded)
        if self.on_put is not None:
            self.on_put(0)

    def take(self, owner: Process) -> Counted | None:
        """Return what was counted for an application, if anything, once."""
        with self._lock:
            kept = self._kept.pop(owner, None)
            self._count -= sum(map(len, kept.values())) if kept else 0
        return kept


owners: Final = Owners()
counted_here: Final = CountedHere()


class RelayedInstruments:
    """Instruments whose values are kept for the run's process as well.

    Args:
        instruments: Those of this process.
    """

    def __init__(self, instruments: Instruments) -> None:
        self._instruments = instruments

    def counter(self, metric: Metric, *values: str) -> Add:
        """Return a series of a counter."""
        add = self._instruments.counter(metric, *values)

        def added(amount: float, exemplar: Exemplar = None, /) -> None:
            add(amount, exemplar)
            counted_here.put(metric, values, _ADD, (amount, exemplar))

        return added

    def gauge(self, metric: Metric, *values: str) -> GaugeSeries:
        """Return a series of a gauge."""
        return _RelayedGauge(self._instruments.gauge(metric, *values), metric, values)

    def histogram(self, metric: Metric, *values: str) -> Observe:
        """Return a series of a histogram."""
        observe = self._instruments.histogram(metric, *values)

        def observed(value: float, exemplar: Exemplar = None, /) -> None:
            observe(value, exemplar)
            counted_here.put(metric, values, _OBSERVE, (value, exemplar))

        return observed


class _RelayedGauge:
    def __init__(self, series: GaugeSeries, metric: Metric, values: tuple[str, ...]) -> None:
        self._series = series
        self._about = metric, values

    def inc(self, amount: float = 1, /) -> None:
        self._series.inc(amount)
        counted_here.put(*self._about, _ADD, (amount, None))

    def dec(self, amount: float = 1, /) -> None:
        self._series.dec(amount)
        counted_here.put(*self._about, _ADD, (-amount, None))

    def set(self, value: float, /) -> None:
        self._series.set(value)
        counted_here.put(*self._about, _SET, (value, None))


def count_again(instruments: Instruments, counted: Counted) -> None:
    """Count in this process what was counted in a worker."""
    for (name, values, how), recorded in counted.items():
        metric = BY_NAME[name]
        for amount, exemplar in recorded:
            if how == _OBSERVE:
                instruments.histogram(metric, *values)(amount, exemplar)
            elif metric.kind == names.COUNTER:
                instruments.counter(metric, *values)(amount, exemplar)
            elif how == _SET:
                instruments.gauge(metric, *values).set(amount)
            else:
                instruments.gauge(metric, *values).inc(amount)
