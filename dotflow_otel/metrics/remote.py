"""What is counted in workers: the runs of steps that run workflows, and what steps measure.

It comes back with the outcome of the attempt, so that a run in a worker that is killed is neither
started nor lost; what steps measure with OpenTelemetry comes while they go on.
"""

from __future__ import annotations

import sys
from threading import RLock
from typing import TYPE_CHECKING, Any, Final

from dotflow_otel import conventions as names
from dotflow_otel.relay.process import Owners, Process, is_forked_from, this_process

if TYPE_CHECKING:
    from collections.abc import Callable

    from dotflow_otel.conventions import Metric
    from dotflow_otel.metrics.instruments import Add, GaugeSeries, Instruments, Observe

    Exemplar = dict[str, str] | None
    # A metric's name, the values of its labels, and what was done with the series.
    Key = tuple[str, tuple[str, ...], str]
    Counted = dict[Key, list[tuple[float, Exemplar]]]

BY_NAME: Final = {metric.name: metric for metric in names.METRICS}

_ADD: Final = "add"
_SET: Final = "set"
_OBSERVE: Final = "observe"

# What these tell is of one process: that of the worker is not that of the run.
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

    def put(self, metric: Metric, values: tuple[str, ...], how: str, told: tuple[Any, Any]) -> None:
        """Keep a value that was added, set or observed, with its exemplar."""
        owner = owners.here()
        if metric.name in _OF_A_PROCESS or owner is None:
            return
        with self._lock:
            counted = self._kept.setdefault(owner, {})
            kept = counted.setdefault((metric.name, values, how), [])
            amount, exemplar = told
            if kept and how == _ADD:
                kept[0] = kept[0][0] + amount, exemplar or kept[0][1]
            elif kept and how == _SET:
                kept[0] = told
            elif self._count < _MOST:
                self._count += 1
                kept.append(told)
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
    for (name, values, how), told in counted.items():
        metric = BY_NAME[name]
        for amount, exemplar in told:
            if how == _OBSERVE:
                instruments.histogram(metric, *values)(amount, exemplar)
            elif metric.kind == names.COUNTER:
                instruments.counter(metric, *values)(amount, exemplar)
            elif how == _SET:
                instruments.gauge(metric, *values).set(amount)
            else:
                instruments.gauge(metric, *values).inc(amount)


class RemoteMetrics:
    """Brings back what is counted in a worker: the scope of a worker.

    Args:
        owner: Tells the process that owns the run.
        meters: Whether steps can measure with OpenTelemetry's meters.

    Attributes:
        on_recorded: Called with how much waits.
    """

    on_recorded: Callable[[int], object] | None = None

    def __init__(self, owner: Process, meters: bool) -> None:
        self._sent = owner, meters

    @classmethod
    def here(cls) -> RemoteMetrics:
        """Make one for the workers of this process."""
        # Where nobody has imported them, nobody has set a provider.
        meters = False
        if "opentelemetry.metrics" in sys.modules:
            from dotflow_otel.metrics import relay  # noqa: PLC0415 - where it is used

            meters = relay.has_meters()
            if meters:
                relay.let_meters_travel()
        return cls(this_process(), meters)

    def __reduce__(self) -> tuple[Any, ...]:
        return RemoteMetrics, self._sent

    def prepare(self) -> None:
        """Begin to keep what is counted."""
        owner, meters = self._sent
        if owner == this_process() or is_forked_from(owner):
            return
        owners.begin(owner)
        counted_here.is_on, counted_here.on_put = True, self.on_recorded
        if meters:
            from dotflow_otel.metrics.relay import meter_relay_here  # noqa: PLC0415 - as above

            meter_relay_here().begin(self.on_recorded)

    def _measured(self, *, own: bool) -> Any:
        owner, meters = self._sent
        if not meters:
            return None
        from dotflow_otel.metrics.relay import meter_relay_here  # noqa: PLC0415 - as above

        return meter_relay_here().take(owner, own=own)

    def drain(self) -> Any:
        """Return what steps have measured since this was last called, if anything."""
        measured = self._measured(own=False)
        return None if measured is None else (None, measured)

    def collect(self) -> Any:
        """Return that, and what our metrics have counted."""
        counted, measured = counted_here.take(self._sent[0]), self._measured(own=True)
        return None if counted is measured is None else (counted, measured)


def receive(recorded: Any) -> None:
    """Count and measure in this process what `RemoteMetrics` has brought."""
    counted, measured = recorded
    if measured is not None:
        from dotflow_otel.metrics.relay import meters  # noqa: PLC0415 - where it is used

        meters.measure(measured)
    if counted is not None:
        from dotflow_otel.metrics.prometheus import count_in_registry  # noqa: PLC0415 - as above

        count_in_registry(counted)
