"""Metrics over OpenTelemetry, for those who push."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from opentelemetry.metrics import MeterProvider, get_meter_provider

from dotflow.core.arguments import (
    check_count,
    check_method,
    check_seconds,
    check_text,
    strict_arguments,
)
from dotflow.core.exception import InvalidOption
from dotflow.core.process import fork_safe_lock
from dotflow_otel import conventions as names
from dotflow_otel._process import TIMEOUT, resets_in_children
from dotflow_otel.metrics.errors import check_buckets
from dotflow_otel.metrics.instruments import BoundedLabels, SeriesCache
from dotflow_otel.metrics.instruments_otel import OtelInstruments
from dotflow_otel.metrics.ledger import BaseMetrics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.metrics.export import MetricReader

    from dotflow_otel.metrics.meter_provider import OwnMeterProvider


class MetricsOpenTelemetry(BaseMetrics):
    """Counts and measures runs, tasks and workers, with OpenTelemetry's instruments.

    They are those of `MetricsPrometheus`, and so are their names once a backend has turned
    them into Prometheus' (`dotflow.task.duration` in `s` into `dotflow_task_duration_seconds`).
    Histograms and counters of failures carry the ids of a sampled span as exemplars, with the
    OpenTelemetry SDK from 1.28 on. Instances on one provider share their instruments, whose
    buckets and bounds are those of the first.

    A forked child, such as a worker of gunicorn with `preload_app`, counts from nothing with the
    provider of a `reader` or of `setup`. One that the application made goes on from what the
    parent had counted: make such a provider after the fork, or the sum over the processes has
    that once for each.

    Args:
        reader: Takes the metrics out, such as a `PeriodicExportingMetricReader`. A meter
            provider is made for it, and flushed and ended at exit; it is never the global one.
        meter_provider: Makes the instruments, in place of that; the application's, which
            ends it. With neither, OpenTelemetry's global one when a run first starts.
        service_name: The `service.name` that is sent with the metrics of `reader`; it stands
            over `OTEL_SERVICE_NAME`. Another provider has a name of its own.
        buckets: The upper bounds of the histograms, in seconds, rising; from 5 ms to 1 h
            unless given. Where the API is too old for an instrument to ask for them, a provider
            of the application needs the views of `histogram_views(buckets)`.
        max_label_values: How many values each label may have; further ones become `other`.
        timeout: Seconds that flushing and ending may take, whatever the backend does.

    Raises:
        InvalidOption: Both a reader and a provider are given, one of them or the name is none,
            the buckets do not rise, or a number is too small.
        ModuleNotFound: OpenTelemetry is not installed.
    """

    @strict_arguments
    def __init__(
        self,
        reader: MetricReader | None = None,
        *,
        meter_provider: MeterProvider | None = None,
        service_name: str | None = None,
        buckets: Sequence[float] = names.BUCKETS,
        max_label_values: int = names.MAX_LABEL_VALUES,
        timeout: float = TIMEOUT,
    ) -> None:
        check_buckets(buckets)
        check_count("max_label_values", max_label_values, optional=False)
        check_seconds("timeout", timeout)
        check_text("service_name", service_name, "give a name, or None", optional=True)
        if meter_provider is not None:
            hint = "give a meter provider, which has a method get_meter"
            check_method("meter_provider", meter_provider, "get_meter", hint)
        self._own: OwnMeterProvider | None = None
        if reader is not None:
            if meter_provider is not None:
                raise InvalidOption("meter_provider", meter_provider, "give it or a reader")
            # Here, because the SDK is needed in this case only.
            from dotflow_otel.metrics.meter_provider import OwnMeterProvider  # noqa: PLC0415

            self._own = OwnMeterProvider(reader, service_name, buckets, timeout)
            meter_provider = self._own.provider
        super().__init__(lambda: _series_of_provider(meter_provider, buckets, max_label_values))

    def flush(self, timeout: float | None = None) -> bool:
        """Hand what was measured to the reader's backend; return whether that ended in time.

        A provider of the application is left alone. After `shutdown` there is nothing to do.

        Args:
            timeout: Seconds; None: what the constructor was given.

        Raises:
            InvalidOption: `timeout` is no number of seconds.
        """
        check_seconds("timeout", timeout, optional=True, zero=True)
        return self._own is None or self._own.flush(timeout)

    def shutdown(self, timeout: float | None = None) -> bool:
        """Flush, and end the reader for good; return whether that ended in time.

        A provider of the application is left alone. A second time there is nothing to do.

        Args:
            timeout: Seconds; None: what the constructor was given.

        Raises:
            InvalidOption: `timeout` is no number of seconds.
        """
        check_seconds("timeout", timeout, optional=True, zero=True)
        return self._own is None or self._own.shutdown(timeout)


_caches: WeakKeyDictionary[MeterProvider, SeriesCache] = WeakKeyDictionary()
_lock: Final = fork_safe_lock()


def _series_of_provider(
    provider: MeterProvider | None, buckets: Sequence[float], max_label_values: int
) -> SeriesCache:
    from dotflow import __version__  # noqa: PLC0415 - the package imports its providers

    if provider is None:
        provider = get_meter_provider()
    with _lock:
        found = _caches.get(provider)
        if found is None:
            meter = provider.get_meter(names.SCOPE, __version__)
            instruments = OtelInstruments(meter, buckets, resets=resets_in_children(provider))
            found = _caches[provider] = SeriesCache(instruments, BoundedLabels(max_label_values))
        return found
