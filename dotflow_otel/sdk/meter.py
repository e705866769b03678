"""A provider of meters that sends metrics away, with an account of what does not arrive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    MetricExporter,
    MetricExportResult,
    PeriodicExportingMetricReader,
)

from dotflow_otel._process import METRICS, reset_in_children
from dotflow_otel.metrics.meter_provider import histogram_views
from dotflow_otel.sdk.batching import Account
from dotflow_otel.sdk.exports import exporting

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from opentelemetry.sdk.metrics.export import MetricsData
    from opentelemetry.sdk.resources import Resource


def set_provider(
    resource: Resource, exporters: Iterable[Any], buckets: Sequence[float]
) -> tuple[MeterProvider | None, Sequence[Account]]:
    """Set a provider of meters that sends to each exporter; none where there is none.

    Args:
        resource: Whose metrics they are.
        exporters: Where they go, at the intervals of `OTEL_METRIC_EXPORT_INTERVAL`.
        buckets: The upper bounds of our histograms, in seconds.
    """
    counting = [CountingMetricExporter(exporter) for exporter in exporters]
    if not counting:
        return None, ()
    readers = [PeriodicExportingMetricReader(exporter) for exporter in counting]
    provider = MeterProvider(
        readers, resource, shutdown_on_exit=False, views=histogram_views(buckets)
    )
    reset_in_children(provider)
    metrics.set_meter_provider(provider)
    return provider, [exporter.account for exporter in counting]


def is_unset() -> bool:
    """Return whether the application has set no provider of meters."""
    from opentelemetry.metrics._internal import _ProxyMeterProvider  # noqa: PLC0415 - private

    return isinstance(metrics.get_meter_provider(), _ProxyMeterProvider)


class CountingMetricExporter(MetricExporter):
    """Counts the data points that another exporter fails to deliver.

    Args:
        exporter: The other one.
    """

    def __init__(self, exporter: MetricExporter) -> None:
        # The reader asks the exporter for them, by these names.
        super().__init__(
            preferred_temporality=exporter._preferred_temporality,  # noqa: SLF001
            preferred_aggregation=exporter._preferred_aggregation,  # noqa: SLF001
        )
        self.account = Account(METRICS)
        self._exporter = exporter

    def export(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any
    ) -> MetricExportResult:
        """Export metrics; their points are dropped where that fails or raises."""
        count = _points(metrics_data)
        self.account.send(count, queued=False)
        delivered, rejected = False, 0
        try:
            with exporting() as export:
                result = self._exporter.export(metrics_data, timeout_millis, **kwargs)
            delivered, rejected = result is not MetricExportResult.FAILURE, export.rejected
        finally:
            self.account.answered(count, delivered=delivered, rejected=rejected)
        return result

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """Shut the other one down."""
        self._exporter.shutdown(timeout_millis, **kwargs)

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Flush the other one."""
        return self._exporter.force_flush(timeout_millis)


def _points(metrics_data: MetricsData) -> int:
    return sum(
        len(metric.data.data_points)
        for of_resource in metrics_data.resource_metrics
        for of_scope in of_resource.scope_metrics
        for metric in of_scope.metrics
    )
