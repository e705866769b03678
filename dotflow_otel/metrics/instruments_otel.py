"""The table of metrics as instruments of OpenTelemetry."""

from __future__ import annotations

from functools import partial
from inspect import signature
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import metrics as api
from opentelemetry.context import Context
from opentelemetry.trace import (
    INVALID_SPAN,
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    set_span_in_context,
)

from dotflow.core.process import call_in_forked_child
from dotflow_otel import conventions as names

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dotflow_otel.conventions import Metric
    from dotflow_otel.metrics.instruments import Add, GaugeSeries, Observe

# Before 1.28 the API takes no context, and the SDK knows no exemplars.
TAKES_CONTEXT: Final = "context" in signature(api.Counter.add).parameters

# Later still came the buckets that an instrument asks for; before, a view sets them.
ADVISES_BUCKETS: Final = "explicit_bucket_boundaries_advisory" in (
    signature(api.Meter.create_histogram).parameters
)

# Has a span, which is none. An empty context would not do: it is false, and the SDK takes
# the current one for it, whose span is that of whoever called.
_NO_SPAN: Final = set_span_in_context(INVALID_SPAN, Context())


class OtelInstruments:
    """The instruments of one meter, made from the table.

    What is added up over processes is an up-down counter, so that a backend can sum it; other
    gauges are observed at each export: up to 1.44 the SDK exports one that is set in the interval
    in which it was, and then no more.

    Args:
        meter: Makes them.
        buckets: The upper bounds of the histograms, in seconds.
        resets: Whether the meter begins at nothing in a forked child.
    """

    def __init__(self, meter: api.Meter, buckets: Sequence[float], *, resets: bool = False) -> None:
        self._counters: dict[Metric, api.Counter] = {}
        self._sums: dict[Metric, api.UpDownCounter] = {}
        self._histograms: dict[Metric, api.Histogram] = {}
        self._resets = resets
        self._lock = Lock()
        self._levels: dict[tuple[Metric, tuple[str, ...]], _Level] = {}
        advice: dict[str, Any] = {}
        if ADVISES_BUCKETS:
            advice["explicit_bucket_boundaries_advisory"] = buckets
        for metric in names.METRICS:
            about = metric.otel_name, metric.unit, metric.help
            if metric.kind == names.COUNTER:
                self._counters[metric] = meter.create_counter(*about)
            elif metric.kind == names.HISTOGRAM:
                self._histograms[metric] = meter.create_histogram(*about, **advice)
            elif metric.across == "livesum":
                self._sums[metric] = meter.create_up_down_counter(*about)
            else:
                observed = [partial(self._observed, metric)]
                meter.create_observable_gauge(metric.otel_name, observed, *about[1:])
            if metric.kind == names.GAUGE and not metric.labels:
                self.gauge(metric)
        call_in_forked_child(self._begin_in_child)

    def _begin_in_child(self) -> None:
        self._lock = Lock()
        for level in self._levels.values():
            level.begin_in_child(resets=self._resets)

    def counter(self, metric: Metric, *values: str) -> Add:
        """Return a series of a counter, which is there from now on: at 0."""
        series = _Measured(self._counters[metric].add, _attributes(metric, values))
        series(0)
        return series

    def gauge(self, metric: Metric, *values: str) -> GaugeSeries:
        """Return a series of a gauge; one that is added up is there from now on: at 0."""
        with self._lock:
            found = self._levels.get((metric, values))
            if found is None:
                found = self._levels[metric, values] = self._new_level(metric, values)
        return found

    def _new_level(self, metric: Metric, values: tuple[str, ...]) -> _Level:
        attributes = _attributes(metric, values)
        if metric not in self._sums:
            return _Level(None)
        level = _Level(_Measured(self._sums[metric].add, attributes))
        level.set(0)
        return level

    def _observed(self, metric: Metric, _options: api.CallbackOptions) -> list[api.Observation]:
        # The copy is made in one step, while other threads look series up.
        return [
            api.Observation(level.value, _attributes(metric, values))
            for (of, values), level in self._levels.copy().items()
            if of is metric and level.is_set
        ]

    def histogram(self, metric: Metric, *values: str) -> Observe:
        """Return a series of a histogram."""
        return _Measured(self._histograms[metric].record, _attributes(metric, values))


def _attributes(metric: Metric, values: tuple[str, ...]) -> dict[str, str]:
    return dict(zip(metric.labels, values, strict=True))


class _Measured:
    # One series of a counter or histogram.
    __slots__ = ("_attributes", "_measure")

    def __init__(self, measure: Callable[..., object], attributes: dict[str, str]) -> None:
        self._measure = measure
        self._attributes = attributes

    def __call__(self, amount: float, exemplar: Mapping[str, str] | None = None, /) -> None:
        if TAKES_CONTEXT:
            context = _NO_SPAN if exemplar is None else _context_of(exemplar)
            self._measure(amount, self._attributes, context)
        else:
            self._measure(amount, self._attributes)


class _Level:
    # A series that goes up and down. An up-down counter is given the change alone, so this
    # remembers what it has come to; without one it is asked.
    __slots__ = ("_lock", "_measure", "is_set", "value")

    def __init__(self, measure: _Measured | None) -> None:
        self._measure = measure
        self._lock = Lock()
        self.value = 0.0
        self.is_set = False

    def begin_in_child(self, *, resets: bool) -> None:
        self._lock = Lock()
        if resets:
            self.value, self.is_set = 0.0, False

    def inc(self, amount: float = 1, /) -> None:
        with self._lock:
            self._move_to(self.value + amount)

    def dec(self, amount: float = 1, /) -> None:
        self.inc(-amount)

    def set(self, value: float, /) -> None:
        with self._lock:
            self._move_to(value)

    def _move_to(self, value: float) -> None:
        if self._measure is not None:
            self._measure(value - self.value)
        self.value, self.is_set = value, True


def _context_of(exemplar: Mapping[str, str]) -> Context:
    # The SDK takes an exemplar's ids from the span that is current in the measurement's
    # context. The task's own may have ended, and another be current in this thread.
    span = SpanContext(
        int(exemplar[names.TRACE_ID], 16),
        int(exemplar[names.SPAN_ID], 16),
        is_remote=False,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
    )
    return set_span_in_context(NonRecordingSpan(span), Context())
