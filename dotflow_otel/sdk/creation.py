"""Creates the providers of the SDK, and sets each where the application has set none."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from opentelemetry import trace
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider

from dotflow_otel.bounded import TIMEOUT
from dotflow_otel.sdk.exporters import (
    LOGS,
    METRICS,
    log_exporter_names,
    metric_exporter_names,
    span_exporters,
)
from dotflow_otel.sdk.span_pipeline import SpanPipeline
from dotflow_otel.sdk.telemetry import Telemetry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_logger: Final = logging.getLogger("dotflow_otel")


def create(
    service_name: str | None, timeout: float, *, logs: bool | None, buckets: Sequence[float]
) -> Telemetry:
    """Create and set what the variables ask for; what cannot be made is left out.

    The arguments are those of `setup`.
    """
    telemetry = Telemetry(timeout)
    resource = _resource(service_name)
    _try(_add_traces, telemetry, resource)
    _try(_add_logs, telemetry, resource, logs)
    _try(_add_metrics, telemetry, resource, buckets)
    return telemetry


def _try(add: Callable[..., None], *arguments: object) -> None:
    try:
        add(*arguments)
    except Exception:
        _logger.warning("OpenTelemetry could not be set up in full", exc_info=True)


def create_silent(service_name: str) -> Telemetry:
    """Create and set a provider of tracers without an exporter."""
    telemetry = Telemetry(TIMEOUT)
    if _has_no_tracer_provider():
        _set_tracer_provider(telemetry, _resource(service_name), ())
    return telemetry


def _resource(service_name: str | None) -> Resource:
    return Resource.create({} if service_name is None else {SERVICE_NAME: service_name})


def _has_no_tracer_provider() -> bool:
    return isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def _add_traces(telemetry: Telemetry, resource: Resource) -> None:
    if _has_no_tracer_provider():
        pipelines = [SpanPipeline(exporter) for exporter in span_exporters()]
        _set_tracer_provider(telemetry, resource, pipelines)


def _set_tracer_provider(
    telemetry: Telemetry, resource: Resource, pipelines: Sequence[SpanPipeline]
) -> None:
    # Its own handler at exit would wait 30 s for a backend that does not answer.
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    for pipeline in pipelines:
        provider.add_span_processor(pipeline)
    trace.set_tracer_provider(provider)
    telemetry.provider = provider
    # The provider as well: the application may add processors to it.
    telemetry.add([*pipelines, provider], [pipeline.account for pipeline in pipelines])


def _add_logs(telemetry: Telemetry, resource: Resource, wanted: bool | None) -> None:
    names = log_exporter_names(wanted=wanted)
    if not names:
        return
    # Here, as metrics below: most programs do without.
    from dotflow_otel.sdk import log_pipeline  # noqa: PLC0415
    from dotflow_otel.sdk.log_export import export_records  # noqa: PLC0415

    if not log_pipeline.is_unset():
        return
    provider, pipelines = log_pipeline.set_provider(resource, LOGS.exporters(names))
    if provider is not None:
        telemetry.logger_provider = provider
        telemetry.add([*pipelines, provider], [pipeline.account for pipeline in pipelines])
        export_records(log_pipeline.LogWriter(provider, resource))


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
