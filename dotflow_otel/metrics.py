"""Metrics for Prometheus."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Final

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from dotflow_otel import conventions as names
from dotflow_otel.books import Books
from dotflow_otel.ledger import LedgerMetrics

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeVar

    from dotflow.core.run import Run
    from dotflow_otel.conventions import Metric
    from dotflow_otel.instruments import Add, GaugeSeries, Observe
    from dotflow_otel.push import Pushgateway

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
        push_to: Where the metrics are pushed at the end of each run, in a thread of its own.
            A push that fails is logged and counted. The exit of the interpreter waits for
            the last one, no longer than the gateway's timeout.

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
        push_to: Pushgateway | None = None,
    ) -> None:
        self.registry: Final = REGISTRY if registry is None else registry
        super().__init__(_books.of(self.registry, buckets, max_label_values))
        self._pusher = None if push_to is None else push_to.pusher(registry, self._push_failed)

    def run_finished(self, run: Run) -> None:
        """Count a run that has ended, and have the metrics pushed."""
        super().run_finished(run)
        if self._pusher is not None:
            self._pusher.push_soon()

    def _push_failed(self) -> None:
        self.telemetry_error(type(self).__name__, "push")


class _PrometheusInstruments:
    """The table of metrics as collectors of one registry."""

    def __init__(self, registry: CollectorRegistry, buckets: Sequence[float]) -> None:
        self._registry = registry_of = _Held(registry)
        self._lock = Lock()
        self._counters: dict[Metric, Counter] = {}
        self._gauges: dict[Metric, Gauge] = {}
        self._histograms: dict[Metric, Histogram] = {}
        del registry_of
