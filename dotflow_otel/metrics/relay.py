"""What steps count and measure in workers, on its way to the meters of the run's process.

A worker has no exporter, and nobody scrapes it. So there the global provider of meters is one
that keeps measurements: sums are added up, other values kept one by one, with the span that was
current. The run's process makes the same measurements with the application's provider: its
views, readers and exemplars see what they would have seen.
"""

from __future__ import annotations

import copyreg
from dataclasses import dataclass, field
from functools import cache, partial
from threading import RLock
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from opentelemetry import metrics, trace
from opentelemetry.environment_variables import OTEL_PYTHON_METER_PROVIDER
from opentelemetry.metrics import NoOpMeter, NoOpMeterProvider
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from dotflow.core.process import once
from dotflow_otel._process import METRICS, drop_counter, for_each
from dotflow_otel.conventions import SCOPE
from dotflow_otel.hidden_variables import hidden_variables
from dotflow_otel.metrics.instruments import owners
from dotflow_otel.plain import to_plain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from opentelemetry.context import Context

    from dotflow_otel._process import Process

# The kinds of instruments, by the names of what makes them.
COUNTER: Final = "create_counter"
UP_DOWN: Final = "create_up_down_counter"
HISTOGRAM: Final = "create_histogram"
GAUGE: Final = "create_gauge"
_SUMS: Final = frozenset({COUNTER, UP_DOWN})

# A step that measures without end must not fill the memory.
_MOST: Final = 100_000


class Instrument(NamedTuple):
    """What a measurement is made with.

    Attributes:
        kind: The name of the method that makes it.
        scope: The name, version and schema URL of its meter.
        name: Its name.
        unit: Its unit.
        description: Its description.
        bounds: The bounds of buckets that it asks for, if any.
    """

    kind: str
    scope: tuple[str, str | None, str | None]
    name: str
    unit: str
    description: str
    bounds: tuple[float, ...] | None = None


Ids = tuple[int, int, int]
Attributes = tuple[tuple[str, Any], ...]


class Measured(NamedTuple):
    """What was measured with one instrument and one set of attributes.

    Attributes:
        instrument: The instrument.
        attributes: The attributes.
        values: The values, each with the ids of the span that was current, if it is exported.
    """

    instrument: Instrument
    attributes: Attributes
    values: list[tuple[float, Ids | None]]


@dataclass
class _Kept:
    """What is kept for one application.

    Attributes:
        measured: By the instrument and the attributes.
        count: How many values these have.
        dropped: How many more there was no room for.
    """

    measured: dict[tuple[Instrument, Attributes], Measured] = field(default_factory=dict)
    count: int = 0
    dropped: int = 0


class MeterRelay:
    """Keeps what is measured in this process until it is fetched.

    Attributes:
        on_put: Called with how much waits when that grows; None: nobody asks.
    """

    def __init__(self) -> None:
        # One that its owner can take again: a finalizer that counts may run in between.
        self._lock = RLock()
        self._provider = _RelayProvider(self)
        self._has_looked = False
        self.on_put: Callable[[int], object] | None = None
        self._kept: dict[Process, _Kept] = {}

    def begin(self, on_put: Callable[[int], object] | None) -> None:
        """Become the global provider of meters, where there is none."""
        self.on_put = on_put
        if not self._has_looked:
            self._has_looked = True
            if _is_unset():
                metrics.set_meter_provider(self._provider)

    def put(
        self,
        instrument: Instrument,
        value: float,
        attributes: Mapping[str, Any] | None,
        context: Context | None,
    ) -> None:
        """Keep a measurement."""
        given: Attributes = ()
        if attributes:
            given = tuple(sorted((str(key), _hashable(each)) for key, each in attributes.items()))
        ids = _ids_of(context)
        owner = owners.here()
        if owner is None:  # it may be another application's
            return
        with self._lock:
            kept = self._kept.setdefault(owner, _Kept())
            found = kept.measured.get((instrument, given))
            if found is None:
                if kept.count >= _MOST:
                    kept.dropped += 1
                    return
                found = kept.measured[instrument, given] = Measured(instrument, given, [])
            values = found.values
            if values and instrument.kind in _SUMS:
                # An exemplar is of one measurement: the last one.
                values[0] = values[0][0] + value, ids or values[0][1]
            elif values and instrument.kind == GAUGE:
                values[0] = value, ids
            elif kept.count >= _MOST:
                kept.dropped += 1
            else:
                kept.count += 1
                values.append((value, ids))
        if self.on_put is not None:
            self.on_put(kept.count)

    def take(self, owner: Process, *, own: bool) -> tuple[list[Measured], int] | None:
        """Return what was measured and how much there was no room for, if anything, once.

        Args:
            owner: The application that it was measured for.
            own: Whether also with the instruments of our metrics: what these measure of a run in a
                worker comes as a whole.
        """
        with self._lock:
            kept = self._kept.pop(owner, None)
            if kept is None:
                return None
            measured = list(kept.measured.items())
            if not own:
                left = {key: each for key, each in measured if _is_own(key[0])}
                if left:
                    count = sum(len(each.values) for each in left.values())
                    self._kept[owner] = _Kept(left, count)
                measured = [each for each in measured if each[0] not in left]
        return ([each for _, each in measured], kept.dropped) if measured or kept.dropped else None


@once
def meter_relay_here() -> MeterRelay:
    """Return the relay of this process."""
    return MeterRelay()


def _is_unset() -> bool:
    from opentelemetry.metrics._internal import _ProxyMeterProvider  # noqa: PLC0415 - private

    # As with tracers: the look-up would make a provider where this variable names one.
    with hidden_variables((OTEL_PYTHON_METER_PROVIDER,)):
        return isinstance(metrics.get_meter_provider(), _ProxyMeterProvider)


def has_meters() -> bool:
    """Return whether the application has set a provider of meters."""
    return not _is_unset()


def _is_own(instrument: Instrument) -> bool:
    return instrument.scope[0] == SCOPE


def _hashable(value: Any) -> Any:
    found = to_plain(value)
    return tuple(map(_hashable, found)) if type(found) in {list, tuple} else found


def _ids_of(context: Context | None) -> Ids | None:
    ids = trace.get_current_span(context).get_span_context()
    if not ids.trace_flags.sampled:
        return None
    return ids.trace_id, ids.span_id, int(ids.trace_flags)


class _RelayProvider(NoOpMeterProvider):
    def __init__(self, relay: MeterRelay) -> None:
        super().__init__()
        self._relay = relay

    def get_meter(
        self,
        name: str,
        version: str | None = None,
        schema_url: str | None = None,
        *_: Any,
        **__: Any,
    ) -> metrics.Meter:
        return _RelayMeter(self._relay, name, version, schema_url)


class _RelayMeter(NoOpMeter):
    """Its observable instruments do nothing: what they would measure is this process's alone."""

    def __init__(
        self, relay: MeterRelay, name: str, version: str | None, schema_url: str | None
    ) -> None:
        super().__init__(name, version, schema_url)
        self._relay = relay
        self._scope = name, version, schema_url

    def _made(self, kind: str, name: str, unit: str, description: str, bounds: Any = None) -> Any:
        given = None if bounds is None else tuple(bounds)
        return _INSTRUMENTS[kind](
            self._relay, Instrument(kind, self._scope, name, unit, description, given)
        )

    def create_counter(self, name: str, unit: str = "", description: str = "") -> metrics.Counter:
        made: metrics.Counter = self._made(COUNTER, name, unit, description)
        return made

    def create_up_down_counter(
        self, name: str, unit: str = "", description: str = ""
    ) -> metrics.UpDownCounter:
        made: metrics.UpDownCounter = self._made(UP_DOWN, name, unit, description)
        return made

    def create_gauge(self, name: str, unit: str = "", description: str = "") -> Any:
        return self._made(GAUGE, name, unit, description)

    def create_histogram(
        self,
        name: str,
        unit: str = "",
        description: str = "",
        *,
        explicit_bucket_boundaries_advisory: Sequence[float] | None = None,
    ) -> metrics.Histogram:
        made: metrics.Histogram = self._made(
            HISTOGRAM, name, unit, description, explicit_bucket_boundaries_advisory
        )
        return made


class _Relayed:
    def __init__(self, relay: MeterRelay, instrument: Instrument) -> None:
        self._relay = relay
        self.instrument = instrument

    def _measure(
        self,
        amount: float,
        attributes: Mapping[str, Any] | None = None,
        context: Context | None = None,
    ) -> None:
        self._relay.put(self.instrument, amount, attributes, context)


class _RelayedCounter(_Relayed, metrics.Counter):
    def add(self, amount: float, *args: Any, **kwargs: Any) -> None:
        # As in the SDK, what would make it fall is left out.
        if amount >= 0:
            self._measure(amount, *args, **kwargs)


class _RelayedUpDownCounter(_Relayed, metrics.UpDownCounter):
    def add(self, amount: float, *args: Any, **kwargs: Any) -> None:
        self._measure(amount, *args, **kwargs)


class _RelayedHistogram(_Relayed, metrics.Histogram):
    def record(self, amount: float, *args: Any, **kwargs: Any) -> None:
        if amount >= 0:
            self._measure(amount, *args, **kwargs)


class _RelayedGauge(_Relayed):
    def set(self, amount: float, *args: Any, **kwargs: Any) -> None:
        self._measure(amount, *args, **kwargs)


_INSTRUMENTS: Final[dict[str, Any]] = {
    COUNTER: _RelayedCounter,
    UP_DOWN: _RelayedUpDownCounter,
    HISTOGRAM: _RelayedHistogram,
    GAUGE: _RelayedGauge,
}
_MEASURES: Final = {COUNTER: "add", UP_DOWN: "add", HISTOGRAM: "record", GAUGE: "set"}


class Meters:
    """Makes measurements of workers with the application's provider."""

    def __init__(self) -> None:
        self._made_by: metrics.MeterProvider | None = None
        self._measures: dict[Instrument, Callable[..., object]] = {}

    def measure(self, recorded: tuple[list[Measured], int]) -> None:
        """Make measurements again; count those that are lost."""
        measured, dropped = recorded
        drop_counter.add(METRICS, dropped)
        provider = metrics.get_meter_provider()
        if provider is not self._made_by:
            self._made_by, self._measures = provider, {}
        for_each(self._measure, measured)

    def _measure(self, each: Measured) -> None:
        measure = self._measures.get(each.instrument)
        if measure is None:
            measure = self._measures[each.instrument] = self._made(each.instrument)
        attributes = dict(each.attributes)
        for value, ids in each.values:
            _measure_within(ids, measure, value, attributes)

    def _made(self, about: Instrument) -> Callable[..., object]:
        measure: Callable[..., object] = getattr(_instrument_again(about), _MEASURES[about.kind])
        return measure


def _measure_within(
    ids: Ids | None, measure: Callable[..., object], value: float, attributes: dict[str, Any]
) -> None:
    if ids is None:
        measure(value, attributes)
        return
    trace_id, span_id, flags = ids
    span = NonRecordingSpan(SpanContext(trace_id, span_id, False, TraceFlags(flags)))
    # An exemplar has the ids of the current span; instruments were not always given a context.
    with trace.use_span(span):
        measure(value, attributes)


meters: Final = Meters()


# --- how meters and instruments travel ----------------------------------------------------


@cache
def let_meters_travel() -> None:
    """Register, once in a process, how meters of the SDK and their instruments pickle.

    Scripts keep them at module level, and a step that uses one travels with it. What matters of it
    is its name: it is looked up again where it arrives.
    """
    from opentelemetry.sdk import metrics as sdk  # noqa: PLC0415 - where a provider of it is set

    reduce: Any
    for kind, name in (
        (sdk.Counter, COUNTER),
        (sdk.UpDownCounter, UP_DOWN),
        (sdk.Histogram, HISTOGRAM),
        (getattr(sdk, "Gauge", None) or getattr(sdk, "_Gauge", None), GAUGE),
    ):
        # What a meter gives is of a class below.
        for each in () if kind is None else (kind, *kind.__subclasses__()):
            reduce = partial(_reduced_instrument, name)
            copyreg.dispatch_table.setdefault(each, reduce)
    copyreg.dispatch_table.setdefault(sdk.Meter, _reduced_meter)
    copyreg.dispatch_table.setdefault(sdk.MeterProvider, _reduced_provider)


def _reduced_instrument(kind: str, instrument: Any) -> tuple[Any, ...]:
    advisory = getattr(instrument, "_advisory", None)
    bounds = getattr(advisory, "explicit_bucket_boundaries", None)
    scope = _scope_of(instrument.instrumentation_scope)
    about = kind, scope, instrument.name, instrument.unit, instrument.description
    return _instrument_again, (Instrument(*about, None if bounds is None else tuple(bounds)),)


def _reduced_meter(meter: Any) -> tuple[Any, ...]:
    return _meter_again, (_scope_of(getattr(meter, "_instrumentation_scope", None)),)


def _reduced_provider(_provider: Any) -> tuple[Any, ...]:
    return metrics.get_meter_provider, ()


def _scope_of(scope: Any) -> tuple[str, str | None, str | None]:
    return ("", None, None) if scope is None else (scope.name, scope.version, scope.schema_url)


def _meter_again(scope: tuple[str, str | None, str | None]) -> metrics.Meter:
    name, version, schema_url = scope
    return metrics.get_meter(name, version or "", schema_url=schema_url)


def _instrument_again(about: Instrument) -> Any:
    advice: dict[str, Any] = {}
    if about.bounds is not None:
        advice["explicit_bucket_boundaries_advisory"] = list(about.bounds)
    make = getattr(_meter_again(about.scope), about.kind)
    return make(about.name, unit=about.unit, description=about.description, **advice)
