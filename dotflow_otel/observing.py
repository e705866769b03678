"""Everything at once: the SDK, and a configuration with the three providers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dotflow.core.config import Config
from dotflow_otel.conventions import BUCKETS
from dotflow_otel.log import LogStructlog
from dotflow_otel.metrics import MetricsPrometheus
from dotflow_otel.sdk import TIMEOUT, setup
from dotflow_otel.tracer import TracerOpenTelemetry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prometheus_client import CollectorRegistry


def observe(
    service_name: str | None = None,
    *,
    registry: CollectorRegistry | None = None,
    buckets: Sequence[float] = BUCKETS,
    level: str = "INFO",
    timeout: float = TIMEOUT,
    **providers: Any,
) -> Config:
    """Set OpenTelemetry up as `setup` does, and give a configuration that observes runs.

    Args:
        service_name: The `service.name` of all spans; it stands over `OTEL_SERVICE_NAME`.
        registry: Where the metrics are registered; None: prometheus-client's own.
        buckets: The upper bounds of the histograms, in seconds.
        level: The lowest level that is logged.
        timeout: Seconds that the exit may wait for the backend.
        **providers: Further slots of `Config`, such as `storage`; `tracer`, `metrics` and
            `log` take the place of ours.

    Raises:
        InvalidOption: The buckets do not rise.
        ModuleNotFound: A library of `dotflow[otel]` is not installed.
        NotCallableObject: A provider is no instance of its slot's interface.
    """
    setup(service_name, timeout=timeout)
    ours = {
        "tracer": TracerOpenTelemetry(),
        "metrics": MetricsPrometheus(registry, buckets=buckets),
        "log": LogStructlog(level),
    }
    return Config(**{**ours, **providers})
