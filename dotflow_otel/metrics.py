"""Metrics for Prometheus."""

from __future__ import annotations

from itertools import pairwise
from threading import Lock
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from dotflow.core.exception import InvalidOption
from dotflow_otel import conventions as names
from dotflow_otel.labels import BoundedLabels
from dotflow_otel.ledger import LedgerMetrics
from dotflow_otel.series import SeriesBook

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeVar

    from dotflow_otel.conventions import Metric
    from dotflow_otel.instruments import Add, GaugeSeries, Observe

    _Collector = TypeVar("_Collector", Counter, Gauge, Histogram)


class MetricsPrometheus(LedgerMetrics):
    """Counts and measures runs, tasks and workers, for Prometheus to scrape.

    Instances on one registry share their metrics, whose buckets and bounds are those of the
    first. Histograms and counters of failures carry the ids of a sampled span as exemplars,
    which a scrape shows that asks for OpenMetrics; prometheus-client has none in its
    multiprocess mode, and the text format of the Pushgateway has none either.

    Args:
        registry: Where the metrics are registered; None: prometheus-client's own.
        buckets: The upper bounds of the histograms, in seconds, rising; from 5 ms to 1 h
            unless given.
        max_label_values: How many values each label may have; further ones become `other`.

    Raises:
        InvalidOption: The buckets do not rise, or no label value is allowed.
        ModuleNotFound: prometheus-client is not installed.
    """

    def __init__(
        self,
        registry: CollectorRegistry | None = None,
        *,
        buckets: Sequence[float] = names.BUCKETS,
        max_label_values: int = names.MAX_LABEL_VALUES,
    ) -> None:
        _check(buckets, max_label_values)
        self.registry: Final = REGISTRY if registry is None else registry
        super().__init__(_book_of(self.registry, buckets, max_label_values))


class _PrometheusInstruments:
    """The table of metrics as collectors of one registry."""

    def __init__(self, registry: CollectorRegistry, buckets: Sequence[float]) -> None:
        self._counters: dict[Metric, Counter] = {}
        self._gauges: dict[Metric, Gauge] = {}
        self._histograms: dict[Metric, Histogram] = {}
        for metric in names.METRICS:
            about = metric.name, metric.help, metric.labels
            if metric.kind == names.COUNTER:
                self._counters[metric] = Counter(*about, registry=registry)
            elif metric.kind == names.GAUGE:
                gauge = Gauge(*about, registry=registry, multiprocess_mode=metric.across)
                self._gauges[metric] = gauge
            else:
                histogram = Histogram(*about, registry=registry, buckets=buckets)
                self._histograms[metric] = histogram

    def counter(self, metric: Metric, *values: str) -> Add:
        return _child(self._counters[metric], values).inc

    def gauge(self, metric: Metric, *values: str) -> GaugeSeries:
        return _child(self._gauges[metric], values)

    def histogram(self, metric: Metric, *values: str) -> Observe:
        return _child(self._histograms[metric], values).observe


def _child(collector: _Collector, values: tuple[str, ...]) -> _Collector:
    return collector.labels(*values) if values else collector


_books: WeakKeyDictionary[CollectorRegistry, SeriesBook] = WeakKeyDictionary()
_lock: Final = Lock()


def _book_of(
    registry: CollectorRegistry, buckets: Sequence[float], max_label_values: int
) -> SeriesBook:
    with _lock:
        found = _books.get(registry)
        if found is None:
            instruments = _PrometheusInstruments(registry, buckets)
            found = _books[registry] = SeriesBook(instruments, BoundedLabels(max_label_values))
        return found


def _check(buckets: Sequence[float], max_label_values: int) -> None:
    rising = all(low < high for low, high in pairwise(buckets))
    if not buckets or not rising:
        raise InvalidOption("buckets", buckets, "give upper bounds in seconds, each above the last")
    if max_label_values < 1:
        raise InvalidOption("max_label_values", max_label_values, "give 1 or more")
