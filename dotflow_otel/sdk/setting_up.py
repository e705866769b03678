"""Sets the OpenTelemetry SDK up from the standard OTEL_* variables."""

from __future__ import annotations

import os
from threading import Lock
from typing import TYPE_CHECKING, Final

from opentelemetry import trace
from opentelemetry.sdk.environment_variables import OTEL_SDK_DISABLED

from dotflow.core.exception import InvalidOption
from dotflow_otel.bounded import TIMEOUT
from dotflow_otel.conventions import BUCKETS
from dotflow_otel.parent import inherit
from dotflow_otel.sdk.telemetry import Telemetry
from dotflow_otel.sdk.variables import valid_variables

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Telemetry", "setup"]

_lock: Final = Lock()

_ours: Telemetry | None = None


def setup(
    service_name: str | None = None,
    *,
    timeout: float = TIMEOUT,
    logs: bool | None = None,
    buckets: Sequence[float] = BUCKETS,
) -> Telemetry:
    """Set the global providers up from the standard variables, once.

    Read are `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_TRACES_EXPORTER`,
    `OTEL_LOGS_EXPORTER`, `OTEL_METRICS_EXPORTER`, `OTEL_EXPORTER_OTLP_*`,
    `OTEL_TRACES_SAMPLER`, `OTEL_PROPAGATORS`, `OTEL_BSP_*`, `OTEL_BLRP_*`, the limits of
    spans, and `OTEL_SDK_DISABLED`, which leaves everything as it is. One whose value is wrong
    counts as if it were not set, with a warning.

    Where nothing tells where spans go, they go to a collector on this machine if one listens
    on the default port of OTLP at this moment, and nowhere if not. Metrics and log records
    are exported only where their variable names an exporter. A provider that the application
    has set stays.

    Runs that have no current span to belong to continue the trace that `TRACEPARENT`,
    `TRACESTATE` and `BAGGAGE` tell of, in which this process was started.

    Args:
        service_name: The `service.name` of the resource; it stands over the variables.
        timeout: Seconds that the exit may wait for the backend, for all signals together.
        logs: Whether log records are exported, over OTLP where `OTEL_LOGS_EXPORTER` names no
            exporter; None: as that says.
        buckets: The upper bounds of the exported histograms, in seconds.

    Raises:
        InvalidOption: The timeout is no number of seconds.
        ModuleNotFound: The OpenTelemetry SDK is not installed.
    """
    if not isinstance(timeout, (int, float)) or not timeout >= 0:
        raise InvalidOption("timeout", timeout, "give a number of seconds, 0 or more")
    with _lock:
        if _is_disabled():
            return Telemetry(timeout)
        if _ours is not None and _is_current(_ours):
            return _ours
        with valid_variables():
            inherit(os.environ)
            from dotflow_otel.sdk.creation import create  # noqa: PLC0415 - as wrong ones break it

            return _kept(create(service_name, timeout, logs=logs, buckets=buckets))


def ensure_provider(service_name: str) -> Telemetry:
    """Set a tracer provider without an exporter, where the application has set none."""
    with _lock:
        if _is_disabled():
            return Telemetry()
        if _ours is not None and _is_current(_ours):
            return _ours
        with valid_variables():
            from dotflow_otel.sdk.creation import create_silent  # noqa: PLC0415 - as above

            return _kept(create_silent(service_name))


def _kept(telemetry: Telemetry) -> Telemetry:
    global _ours  # noqa: PLW0603 - as global as the providers that belong to it
    if telemetry.is_empty:
        return telemetry
    _ours = telemetry
    return telemetry


def _is_current(telemetry: Telemetry) -> bool:
    # What an application's tests set back is set up again.
    return telemetry.provider in {None, trace.get_tracer_provider()}


def _is_disabled() -> bool:
    return os.environ.get(OTEL_SDK_DISABLED, "").strip().lower() == "true"
