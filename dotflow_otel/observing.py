"""Everything at once: the SDK, and a configuration with the three providers."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from opentelemetry import metrics

from dotflow.abc.log import level_of
from dotflow.core.arguments import refuse_unknown, strict_arguments
from dotflow.core.config import Config, check_slots
from dotflow.core.exception import InvalidOption
from dotflow.core.options import Slots
from dotflow_otel._process import TIMEOUT
from dotflow_otel.conventions import BUCKETS
from dotflow_otel.history.place import history_path
from dotflow_otel.logs.log import LogStructlog
from dotflow_otel.metrics.errors import check_registry
from dotflow_otel.metrics.prometheus import MetricsPrometheus
from dotflow_otel.sdk.setting_up import check_set_up, setup
from dotflow_otel.sdk.variables import METRICS, metric_exporter_names, valid_variables
from dotflow_otel.traces.tracer import TracerOpenTelemetry

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from typing import Unpack

    from prometheus_client import CollectorRegistry

    from dotflow.abc.metrics import Metrics

_logger: Final = logging.getLogger("dotflow_otel")

# What `observe` takes, in the order in which they are listed.
ARGUMENTS: Final = (
    *("service_name", "registry", "buckets", "level", "timeout", "logs", "history"),
    *Slots.__annotations__,
)


@strict_arguments
def observe(
    service_name: str | None = None,
    *,
    registry: CollectorRegistry | None = None,
    buckets: Sequence[float] = BUCKETS,
    level: str | int = "INFO",
    timeout: float = TIMEOUT,
    logs: bool | None = None,
    history: bool | str | os.PathLike[str] | None = None,
    **providers: Unpack[Slots],
) -> Config:
    """Set OpenTelemetry up as `setup` does, and return a configuration that observes runs.

    Metrics are Prometheus' unless `OTEL_METRICS_EXPORTER` says otherwise: `otlp` or another
    exporter sends them away in its place, `none` keeps none.

    Args:
        service_name: The `service.name` of all telemetry; it stands over `OTEL_SERVICE_NAME`.
        registry: Where Prometheus' metrics are registered; None: prometheus-client's own.
        buckets: The upper bounds of the histograms, in seconds.
        level: The lowest level that is logged, as in `LogStructlog`.
        timeout: Seconds that the exit may wait for the backend, for all signals together.
        logs: Whether log records are exported, as in `setup`.
        history: Whether runs are recorded in a local file, or its path. True: in the one that
            `DOTFLOW_HISTORY` names, else in `.dotflow/history.db` below the working directory;
            None: only where `DOTFLOW_HISTORY` is set.
        **providers: Further slots of `Config`, such as `storage`; `tracer`, `metrics` and
            `log` take the place of this project's.

    Raises:
        InvalidOption: An argument has a value that it cannot have, or `registry` is given beside
            `metrics`, which takes its place. Nothing is set up then.
        ModuleNotFound: A library of `dotflow[otel]` is not installed.
        NotCallableObject: A provider is no instance of its slot's interface.
        TypeError: There is no such argument, nor such a slot.
    """
    refuse_unknown("observe", providers, ARGUMENTS)
    check_slots(providers)
    check_set_up(service_name, timeout, logs, buckets)
    check_registry(registry, "register")
    if registry is not None and "metrics" in providers:
        raise InvalidOption("registry", registry, "the provider given as metrics= has its own")
    level_of(level)
    path = history_path(history)
    telemetry = setup(service_name, timeout=timeout, logs=logs, buckets=buckets)
    if "metrics" not in providers:
        providers["metrics"] = _metrics(registry, buckets)
    slots: Slots = {"tracer": TracerOpenTelemetry(), "log": LogStructlog(level)}
    slots.update(providers)
    config = Config(**slots)
    if path is not None:
        # Here, because most programs do without it and what it needs.
        from dotflow_otel.history.recording import record  # noqa: PLC0415

        record(config, path, telemetry)
    return config


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
    # Here, because most programs do without it.
    from dotflow_otel.metrics.otel import MetricsOpenTelemetry  # noqa: PLC0415

    return MetricsOpenTelemetry(meter_provider=metrics.get_meter_provider(), buckets=buckets)


def _has_meters() -> bool:
    # Here, because most programs do without that half of the SDK.
    from dotflow_otel.sdk.meter import is_unset  # noqa: PLC0415

    # Where a variable names a provider that is not there, to look for one raises.
    with valid_variables(warns=False):
        return not is_unset()
