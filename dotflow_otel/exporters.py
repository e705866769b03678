"""Exporters of spans, metrics and log records, as the standard OTEL_* variables name them."""

from __future__ import annotations

import logging
import os
import socket
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from dotflow_otel.drops import LOGS, METRICS, TRACES

if TYPE_CHECKING:
    from collections.abc import Iterator

_logger: Final = logging.getLogger("dotflow_otel")

_OTLP: Final = "otlp"
_NONE: Final = "none"
_PROMETHEUS: Final = "prometheus"
_BY_PROTOCOL: Final = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}
_DEFAULT_PROTOCOL: Final = "http/protobuf"

# Where OTLP goes unless told otherwise.
_DEFAULT_COLLECTOR: Final = ("localhost", 4318)
_PROBE_SECONDS: Final = 0.25


class Exporter(NamedTuple):
    """An exporter, and the name that asked for it."""

    name: str
    made: Any


def span_exporters() -> Iterator[Exporter]:
    """Give the exporters of spans that the environment asks for.

    `OTEL_TRACES_EXPORTER` names them (`otlp`, `console`, `none`, or any that is installed),
    separated by commas. Without it there is the one for OTLP if `OTEL_EXPORTER_OTLP_*`
    variables are set that concern spans, or if a collector listens on this machine where OTLP
    goes by default. Each reads its own variables. One that cannot be made is left out, with a
    warning.
    """
    names = _named(TRACES)
    if names is None:
        names = [_OTLP] if _otlp_is_configured() or _collector_listens_here() else []
    return _made(TRACES, names)


def log_exporters() -> Iterator[Exporter]:
    """Give the exporters of log records that `OTEL_LOGS_EXPORTER` names; none unless it does."""
    return _made(LOGS, _named(LOGS) or [])


def metric_exporters() -> Iterator[Exporter]:
    """Give the exporters of metrics that `OTEL_METRICS_EXPORTER` names, but Prometheus."""
    return _made(METRICS, [name for name in _named(METRICS) or [] if name != _PROMETHEUS])


def prometheus_is_wanted() -> bool:
    """Tell whether metrics are kept for Prometheus: so unless others are named."""
    names = _named(METRICS)
    return names is None or _PROMETHEUS in names


def _named(signal: str) -> list[str] | None:
    value = os.environ.get(f"OTEL_{signal.upper()}_EXPORTER", "").strip()
    if not value:
        return None
    names = [name.strip() for name in value.split(",")]
    return [name for name in names if name and name.lower() != _NONE]


def _otlp_is_configured() -> bool:
    return any(
        name.startswith("OTEL_EXPORTER_OTLP_")
        and not name.startswith(("OTEL_EXPORTER_OTLP_METRICS_", "OTEL_EXPORTER_OTLP_LOGS_"))
        and value
        for name, value in os.environ.items()
    )


def _collector_listens_here() -> bool:
    try:
        with socket.create_connection(_DEFAULT_COLLECTOR, _PROBE_SECONDS):
            return True
    except OSError:
        _logger.info(
            "spans are not exported: no collector listens on %s:%d, and none is named by "
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            *_DEFAULT_COLLECTOR,
        )
        return False


def _made(signal: str, names: list[str]) -> Iterator[Exporter]:
    for name in names:
        try:
            yield Exporter(name, _make(signal, name))
        except Exception:
            _logger.warning(
                "%s are not exported to %r, which OTEL_* variables ask for",
                signal,
                name,
                exc_info=True,
            )


def _make(signal: str, name: str) -> Any:
    entry_name = _otlp_name(signal) if name == _OTLP else name
    for entry in entry_points(group=f"opentelemetry_{signal}_exporter", name=entry_name):
        return entry.load()()
    raise LookupError(f"no exporter of {signal} is installed under the name {entry_name!r}")


def _otlp_name(signal: str) -> str:
    protocol = (
        os.environ.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL")
        or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
        or _DEFAULT_PROTOCOL
    ).strip()
    if protocol not in _BY_PROTOCOL:
        raise LookupError(
            f"OTLP over {protocol!r} is not available: use one of {', '.join(_BY_PROTOCOL)}"
        )
    return _BY_PROTOCOL[protocol]
