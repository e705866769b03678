"""Metrics for Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus_client import REGISTRY, CollectorRegistry

from dotflow.core.arguments import check_count, check_instance, check_seconds, strict_arguments
from dotflow_otel import conventions as names
from dotflow_otel.metrics.errors import check_buckets, check_registry
from dotflow_otel.metrics.instruments_prometheus import series_of_registry
from dotflow_otel.metrics.ledger import BaseMetrics
from dotflow_otel.metrics.multiprocess import check_folder
from dotflow_otel.metrics.push import PushAtEnd, PushGateway

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dotflow.core.run import Run


class MetricsPrometheus(BaseMetrics):
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
        series = series_of_registry(self.registry, buckets, max_label_values)
        super().__init__(lambda: series)
        self._pushing: PushAtEnd | None = None
        if push_to is not None:
            self._pushing = PushAtEnd(push_to, self.registry, self._count_failed_push)

    def run_finished(self, run: Run) -> None:
        """Count a run that has ended, and push the metrics if they are to be."""
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
