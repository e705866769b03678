"""Creates the providers of the SDK, and sets each where the application has set none."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from dotflow_otel._process import TIMEOUT, service_resource
from dotflow_otel.sdk.span_pipeline import SpanPipeline
from dotflow_otel.sdk.telemetry import Telemetry
from dotflow_otel.sdk.variables import (
    LOGS,
    METRICS,
    log_exporter_names,
    metric_exporter_names,
    span_exporters,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.sdk.resources import Resource

_logger: Final = logging.getLogger("dotflow_otel")


def create(
    service_name: str | None, timeout: float, *, logs: bool | None, buckets: Sequence[float]
) -> Telemetry:
    """Create and set what the variables ask for; what cannot be made is left out.

    The arguments are those of `setup`.
    """
    telemetry = Telemetry(timeout)
    resource = telemetry.resource = service_resource(service_name)
    _try(_add_traces, telemetry, resource)
    _add_others(telemetry, resource, logs, buckets)
    return telemetry


def complete(
    telemetry: Telemetry, timeout: float, *, logs: bool | None, buckets: Sequence[float]
) -> None:
    """Add to a provider without an exporter what the variables ask for.

    The arguments are those of `setup`; the resource is the one that is there.
    """
    telemetry.bound, telemetry.is_silent = timeout, False
    provider, resource = telemetry.provider, telemetry.resource
    if provider is not None and resource is not None:
        _try(_add_pipelines, telemetry, provider)
        _add_others(telemetry, resource, logs, buckets)


def complete_logs(telemetry: Telemetry) -> None:
    """Export log records as well, where that was not asked for before."""
    if telemetry.resource is not None:
        _try(_add_logs, telemetry, telemetry.resource, True)


def _add_others(
    telemetry: Telemetry, resource: Resource, logs: bool | None, buckets: Sequence[float]
) -> None:
    _try(_add_logs, telemetry, resource, logs)
    _try(_add_metrics, telemetry, resource, buckets)


def _try(add: Callable[..., None], *arguments: object) -> None:
    try:
        add(*arguments)
    except Exception:
        _logger.warning("OpenTelemetry could not be set up in full", exc_info=True)


def create_silent(service_name: str | None) -> Telemetry:
    """Create and set a provider of tracers without an exporter."""
    telemetry = Telemetry(TIMEOUT)
    if _has_no_tracer_provider():
        telemetry.resource = service_resource(service_name)
        telemetry.is_silent = True
        _set_tracer_provider(telemetry, telemetry.resource)
    return telemetry


def _has_no_tracer_provider() -> bool:
    return isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def _add_traces(telemetry: Telemetry, resource: Resource) -> None:
    if _has_no_tracer_provider():
        _add_pipelines(telemetry, _set_tracer_provider(telemetry, resource))


def _set_tracer_provider(telemetry: Telemetry, resource: Resource) -> TracerProvider:
    # Its own handler at exit would wait 30 s for a backend that does not answer.
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    trace.set_tracer_provider(provider)
    telemetry.provider = provider
    # Beside its pipelines: the application may add processors to it.
    telemetry.add([provider], ())
    return provider


def _add_pipelines(telemetry: Telemetry, provider: TracerProvider) -> None:
    pipelines = [SpanPipeline(exporter) for exporter in span_exporters()]
    for pipeline in pipelines:
        provider.add_span_processor(pipeline)
    telemetry.pipelines += pipelines
    telemetry.add(pipelines, [pipeline.account for pipeline in pipelines])


def _add_logs(telemetry: Telemetry, resource: Resource, wanted: bool | None) -> None:
    names = log_exporter_names(wanted=wanted)
    if not names:
        return
    # Here, as metrics below: most programs do without.
    from dotflow_otel.sdk import log_pipeline  # noqa: PLC0415

    if not log_pipeline.is_unset():
        # The application's: its own handlers give it the records, and only we our events.
        log_pipeline.export_events(log_pipeline.LogWriter.of_application(resource))
        return
    provider, pipelines = log_pipeline.set_provider(resource, LOGS.exporters(names))
    if provider is not None:
        telemetry.logger_provider = provider
        telemetry.add([*pipelines, provider], [pipeline.account for pipeline in pipelines])
        log_pipeline.export_records(log_pipeline.LogWriter(provider, resource))


def _add_metrics(telemetry: Telemetry, resource: Resource, buckets: Sequence[float]) -> None:
    names = metric_exporter_names()
    if not names:
        return
    from dotflow_otel.sdk import meter  # noqa: PLC0415

    if not meter.is_unset():
        return
    provider, accounts = meter.set_provider(resource, METRICS.exporters(names), buckets)
    if provider is not None:
        telemetry.meter_provider = provider
        telemetry.add([provider], accounts)
