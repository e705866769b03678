"""Metrics for Prometheus."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from dotflow.core.checks import check_count, check_instance, check_seconds
from dotflow.core.locks import fork_safe_lock
from dotflow.core.signatures import strict_arguments
from dotflow_otel import conventions as names
from dotflow_otel.metrics.checks import check_buckets, check_registry
from dotflow_otel.metrics.labels import BoundedLabels
from dotflow_otel.metrics.ledger import LedgerMetrics
from dotflow_otel.metrics.multiprocess import FOLDER_VARIABLE, check_folder
from dotflow_otel.metrics.push import PushGateway
from dotflow_otel.metrics.push_at_end import PushAtEnd
from dotflow_otel.metrics.remote import RelayedInstruments, counted_here
from dotflow_otel.metrics.series import SeriesBook

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeVar

    from dotflow.core.run import Run
    from dotflow_otel.conventions import Metric
    from dotflow_otel.metrics.instruments import Add, GaugeSeries, Instruments, Observe
    from dotflow_otel.metrics.remote import Counted

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
        push_to: Where the registry's metrics are pushed at the end of each run, for jobs that
            end before a scrape; None: nowhere. No run waits for it, only the exit of the
            interpreter; a push that fails is logged and counted.

    Raises:
        InvalidOption: The buckets do not rise, no label value is allowed, `registry` is none,
            `push_to` is no `PushGateway`, or the folder of prometheus-client's multiprocess
            mode is not there.
        ModuleNotFound: prometheus-client is not installed.
    """

    @strict_arguments
    def __init__(
        self,
        registry: CollectorRegistry | None = None,
        *,
        buckets: Sequence[float] = names.BUCKETS,
        max_label_values: int = names.MAX_LABEL_VALUES,
        push_to: PushGateway | None = None,
    ) -> None:
        check_registry(registry, "register")
        check_buckets(buckets)
        check_count("max_label_values", max_label_values, optional=False)
        if push_to is not None:
            hint = 'give a PushGateway, such as PushGateway("localhost:9091", job="nightly")'
            check_instance("push_to", push_to, PushGateway, hint)
        check_folder()
        self.registry: Final = REGISTRY if registry is None else registry
        book = _book_of(self.registry, buckets, max_label_values)
        super().__init__(lambda: book)
        self._pushing: PushAtEnd | None = None
        if push_to is not None:
            self._pushing = PushAtEnd(push_to, self.registry, self._count_failed_push)

    def run_finished(self, run: Run) -> None:
        """Count a run that has ended, and have the metrics pushed if they are to be."""
        super().run_finished(run)
        if self._pushing is not None:
            self._pushing.ask()

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until what is to be pushed has been, or has failed; return whether it is so.

        Args:
            timeout: Seconds; None: those that one push may take.

        Raises:
            InvalidOption: `timeout` is no number of seconds.
        """
        check_seconds("timeout", timeout, optional=True, zero=True)
        return self._pushing is None or self._pushing.wait(timeout)

    def _count_failed_push(self) -> None:
        self.telemetry_error(type(self).__name__, "push")


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
_books: WeakKeyDictionary[CollectorRegistry, SeriesBook] = globals().get(
    "_books", WeakKeyDictionary()
)
_lock: Final = fork_safe_lock()


def _book_of(
    registry: CollectorRegistry, buckets: Sequence[float], max_label_values: int
) -> SeriesBook:
    with _lock:
        found = _books.get(registry)
        if found is None:
            instruments: Instruments = _PrometheusInstruments(registry, buckets)
            # In a worker; not where prometheus-client adds up over processes by itself.
            if counted_here.is_on and registry is REGISTRY and not os.environ.get(FOLDER_VARIABLE):
                instruments = RelayedInstruments(instruments)
            found = _books[registry] = SeriesBook(instruments, BoundedLabels(max_label_values))
        return found


def count_in_registry(counted: Counted) -> None:
    """Count in prometheus-client's own registry what was counted in a worker."""
    book = _book_of(REGISTRY, names.BUCKETS, names.MAX_LABEL_VALUES)
    book.count_again(counted)
