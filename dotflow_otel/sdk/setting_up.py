"""Sets the OpenTelemetry SDK up from the standard OTEL_* variables."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Final

from opentelemetry import trace
from opentelemetry.sdk.environment_variables import OTEL_SDK_DISABLED
from opentelemetry.sdk.resources import SERVICE_NAME

from dotflow.core.arguments import check_flag, check_seconds, check_text, strict_arguments
from dotflow.core.process import fork_safe_lock
from dotflow_otel._process import TIMEOUT
from dotflow_otel.conventions import BUCKETS
from dotflow_otel.metrics.errors import check_buckets
from dotflow_otel.parent import inherit
from dotflow_otel.sdk.telemetry import Telemetry
from dotflow_otel.sdk.variables import valid_variables

if TYPE_CHECKING:
    from collections.abc import Sequence


__all__ = ["Telemetry", "setup"]

_logger: Final = logging.getLogger("dotflow_otel")
_lock: Final = fork_safe_lock()

_ours: Telemetry | None = None


@strict_arguments
def setup(
    service_name: str | None = None,
    *,
    timeout: float = TIMEOUT,
    logs: bool | None = None,
    buckets: Sequence[float] = BUCKETS,
) -> Telemetry:
    """Set the global providers up from the standard variables, once.

    A later call gives what the first one made, and adds to it what that was not asked for:
    with `logs=True` the log records, and after a `TracerOpenTelemetry(service_name=...)` all
    that the variables name. Another name or timeout comes too late, and is warned of.

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
        InvalidOption: The name is no text, the timeout no number of seconds, `logs` no boolean,
            or the buckets do not rise.
        ModuleNotFound: The OpenTelemetry SDK is not installed.
    """
    check_set_up(service_name, timeout, logs, buckets)
    with _lock:
        if _is_disabled():
            return Telemetry(timeout)
        if _ours is not None and _is_current(_ours):
            _add_missing(_ours, service_name, timeout, logs, buckets)
            return _ours
        with valid_variables():
            inherit(os.environ)
            from dotflow_otel.sdk.creation import create  # noqa: PLC0415 - as wrong ones break it

            return _kept(create(service_name, timeout, logs=logs, buckets=buckets))


def check_set_up(
    service_name: str | None, timeout: float, logs: bool | None, buckets: Sequence[float]
) -> None:
    """Check the arguments of `setup`.

    Raises:
        InvalidOption: One has a value that it cannot have.
    """
    check_text("service_name", service_name, "give a name, or None", optional=True)
    check_seconds("timeout", timeout, zero=True)
    check_flag("logs", logs, optional=True)
    check_buckets(buckets)


def ensure_provider(service_name: str | None) -> Telemetry:
    """Set a tracer provider without an exporter, where the application has set none."""
    with _lock:
        if _is_disabled():
            return Telemetry()
        if _ours is not None and _is_current(_ours):
            _warn_of_name(_ours, service_name)
            return _ours
        with valid_variables():
            from dotflow_otel.sdk.creation import create_silent  # noqa: PLC0415 - as above

            return _kept(create_silent(service_name))


def _add_missing(
    telemetry: Telemetry,
    service_name: str | None,
    timeout: float,
    logs: bool | None,
    buckets: Sequence[float],
) -> None:
    _warn_of_name(telemetry, service_name)
    if not telemetry.is_silent and timeout not in {TIMEOUT, telemetry.bound}:
        _warn_of("timeout", timeout, telemetry.bound)
    if telemetry.is_over:
        return
    from dotflow_otel.sdk import creation  # noqa: PLC0415 - as above

    with valid_variables():
        if telemetry.is_silent:
            inherit(os.environ)
            creation.complete(telemetry, timeout, logs=logs, buckets=buckets)
        elif logs and telemetry.logger_provider is None:
            creation.complete_logs(telemetry)


def _warn_of_name(telemetry: Telemetry, service_name: str | None) -> None:
    if telemetry.resource is not None and service_name is not None:
        first = telemetry.resource.attributes[SERVICE_NAME]
        if first != service_name:
            _warn_of("service_name", service_name, first)


def _warn_of(option: str, value: object, first: object) -> None:
    _logger.warning(
        "%s=%r comes too late: telemetry was set up with %r, which stays. Give it where it is "
        "set up first",
        option,
        value,
        first,
    )


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
