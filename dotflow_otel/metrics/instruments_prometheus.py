"""The table of metrics as collectors of prometheus-client."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from dotflow.core.process import fork_safe_lock
from dotflow_otel import conventions as names
from dotflow_otel.metrics.instruments import (
    BoundedLabels,
    RelayedInstruments,
    SeriesCache,
    counted_here,
)
from dotflow_otel.metrics.multiprocess import FOLDER_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeVar

    from dotflow_otel.conventions import Metric
    from dotflow_otel.metrics.instruments import Add, Counted, GaugeSeries, Instruments, Observe

    _Collector = TypeVar("_Collector", Counter, Gauge, Histogram)


class _PrometheusInstruments:
    """The table of metrics as collectors of one registry."""

    def __init__(self, registry: CollectorRegistry, buckets: Sequence[float]) -> None:
        self._counters: dict[Metric, Counter] = {}
        self._gauges: dict[Metric, Gauge] = {}
        self._histograms: dict[Metric, Histogram] = {}
        for metric in names.METRICS:
            about = metric.name, metric.help, metric.labels
            if metric.kind == names.COUNTER:
                self._counters[metric] = _registered(Counter, *about, registry=registry)
            elif metric.kind == names.GAUGE:
                across: dict[str, Any] = {"multiprocess_mode": metric.across}
                self._gauges[metric] = _registered(Gauge, *about, registry=registry, **across)
            else:
                bounds: dict[str, Any] = {"buckets": buckets}
                made = _registered(Histogram, *about, registry=registry, **bounds)
                self._histograms[metric] = made

    def counter(self, metric: Metric, *values: str) -> Add:
        return _child(self._counters[metric], values).inc

    def gauge(self, metric: Metric, *values: str) -> GaugeSeries:
        return _child(self._gauges[metric], values)

    def histogram(self, metric: Metric, *values: str) -> Observe:
        return _child(self._histograms[metric], values).observe


def _registered(
    kind: type[_Collector],
    name: str,
    about: str,
    labels: Sequence[str],
    *,
    registry: CollectorRegistry,
    **options: Any,
) -> _Collector:
    try:
        return kind(name, about, labels, registry=registry, **options)
    except ValueError:
        # Made by a copy of this module, before that was imported again, or by way of another
        # object that stands for the same registry.
        known: dict[str, Any] = getattr(registry, "_names_to_collectors", {})
        found = known.get(name)
        if type(found) is kind and found._labelnames == tuple(labels):  # noqa: SLF001
            return found
        raise


def _child(collector: _Collector, values: tuple[str, ...]) -> _Collector:
    return collector.labels(*values) if values else collector


# Those of before, where the module is loaded again.
_caches: WeakKeyDictionary[CollectorRegistry, SeriesCache] = globals().get(
    "_caches", WeakKeyDictionary()
)
_lock: Final = fork_safe_lock()


def series_of_registry(
    registry: CollectorRegistry, buckets: Sequence[float], max_label_values: int
) -> SeriesCache:
    """Return the series of a registry, whose buckets and bounds are those of the first call."""
    with _lock:
        found = _caches.get(registry)
        if found is None:
            instruments: Instruments = _PrometheusInstruments(registry, buckets)
            # In a worker; not where prometheus-client adds up over processes by itself.
            if counted_here.is_on and registry is REGISTRY and not os.environ.get(FOLDER_VARIABLE):
                instruments = RelayedInstruments(instruments)
            found = _caches[registry] = SeriesCache(instruments, BoundedLabels(max_label_values))
        return found


def count_in_registry(counted: Counted) -> None:
    """Count in prometheus-client's own registry what was counted in a worker."""
    series = series_of_registry(REGISTRY, names.BUCKETS, names.MAX_LABEL_VALUES)
    series.count_again(counted)
