"""Everything at once: the SDK, and a configuration with the three providers."""

from __future__ import annotations

import logging
from difflib import get_close_matches
from inspect import signature
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import metrics

import dotflow_otel
from dotflow.core.config import Config
from dotflow_otel.bounded import TIMEOUT
from dotflow_otel.conventions import BUCKETS
from dotflow_otel.history.place import history_path
from dotflow_otel.logs.log import LogStructlog
from dotflow_otel.metrics.prometheus import MetricsPrometheus
from dotflow_otel.sdk.exporters import METRICS, metric_exporter_names
from dotflow_otel.sdk.setting_up import setup
from dotflow_otel.traces.tracer import TracerOpenTelemetry

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from prometheus_client import CollectorRegistry

    from dotflow.abc.metrics import Metrics

_logger: Final = logging.getLogger("dotflow_otel")


def observe(
    service_name: str | None = None,
    *,
    registry: CollectorRegistry | None = None,
    buckets: Sequence[float] = BUCKETS,
    level: str = "INFO",
    timeout: float = TIMEOUT,
    logs: bool | None = None,
    history: bool | str | os.PathLike[str] | None = None,
    **providers: Any,
) -> Config:
    """Set OpenTelemetry up as `setup` does, and give a configuration that observes runs.

    Metrics are Prometheus' unless `OTEL_METRICS_EXPORTER` says otherwise: `otlp` or another
    exporter sends them away in its place, `none` keeps none.

    Args:
        service_name: The `service.name` of all telemetry; it stands over `OTEL_SERVICE_NAME`.
        registry: Where Prometheus' metrics are registered; None: prometheus-client's own.
        buckets: The upper bounds of the histograms, in seconds.
        level: The lowest level that is logged.
        timeout: Seconds that the exit may wait for the backend, for all signals together.
        logs: Whether log records are exported, as in `setup`.
        history: Whether runs are recorded in a local file, or its path. True: in the one that
            `DOTFLOW_HISTORY` names, else in `.dotflow/history.db` below the working directory;
            None: only where `DOTFLOW_HISTORY` is set.
        **providers: Further slots of `Config`, such as `storage`; `tracer`, `metrics` and
            `log` take the place of ours.

    Raises:
        InvalidOption: The buckets do not rise, the timeout is no number of seconds, or
            `history` is no path.
        ModuleNotFound: A library of `dotflow[otel]` is not installed.
        NotCallableObject: A provider is no instance of its slot's interface.
        TypeError: There is no such argument, nor such a slot.
    """
    _check_slots(providers)
    path = history_path(history)
    telemetry = setup(service_name, timeout=timeout, logs=logs, buckets=buckets)
    if "metrics" not in providers:
        providers["metrics"] = _metrics(registry, buckets)
    ours = {"tracer": TracerOpenTelemetry(), "log": LogStructlog(level)}
    config = Config(**{**ours, **providers})
    if path is not None:
        # Here, because most programs do without it and what it needs.
        from dotflow_otel.history.recording import record  # noqa: PLC0415

        record(config, path, telemetry)
    return config


def _check_slots(providers: Mapping[str, Any]) -> None:
    slots = signature(Config).parameters.keys()
    for name in providers:
        if name not in slots:
            known = [*signature(observe).parameters, *slots]
            begins = [each for each in known if each.startswith(name)]
            close = begins or get_close_matches(name, known, 1)
            meant = f": is {close[0]} meant?" if close else ""
            raise TypeError(f"observe() takes no argument {name!r}{meant}")


def _metrics(registry: CollectorRegistry | None, buckets: Sequence[float]) -> Metrics | None:
    named, sent_by = METRICS.named(), metric_exporter_names()
    if named == ["none"]:
        return None
    if not sent_by or not _has_meters():
        return MetricsPrometheus(registry, buckets=buckets)
    if len(sent_by) < len(named):
        _logger.warning(
            "%s=%s: metrics are exported, and not offered to Prometheus as well",
            METRICS.variable,
            ",".join(named),
        )
    provider = metrics.get_meter_provider()
    made: Metrics = dotflow_otel.MetricsOpenTelemetry(meter_provider=provider, buckets=buckets)
    return made


def _has_meters() -> bool:
    # Here, because most programs do without that half of the SDK.
    from dotflow_otel.sdk.meter import is_unset  # noqa: PLC0415

    return not is_unset()
