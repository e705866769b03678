"""Exporters of spans, as the standard OTEL_* variables name them."""

from __future__ import annotations

import logging
import os
import socket
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Final

from opentelemetry.environment_variables import OTEL_TRACES_EXPORTER
from opentelemetry.sdk.environment_variables import (
    OTEL_EXPORTER_OTLP_PROTOCOL,
    OTEL_EXPORTER_OTLP_TRACES_PROTOCOL,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.sdk.trace.export import SpanExporter

_logger: Final = logging.getLogger("dotflow_otel")

_GROUP: Final = "opentelemetry_traces_exporter"
_OTLP: Final = "otlp"
_NONE: Final = "none"
_BY_PROTOCOL: Final = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}
_DEFAULT_PROTOCOL: Final = "http/protobuf"

# Where OTLP goes unless told otherwise.
_DEFAULT_COLLECTOR: Final = ("localhost", 4318)
_PROBE_SECONDS: Final = 0.25


def span_exporters() -> Iterator[SpanExporter]:
    """Give the exporters that the environment asks for.

    `OTEL_TRACES_EXPORTER` names them (`otlp`, `console`, `none`, or any that is installed),
    separated by commas. Without it there is the one for OTLP if any `OTEL_EXPORTER_OTLP_*`
    variable is set, or if a collector listens on this machine where OTLP goes by default.
    Each reads its own variables. One that cannot be made is left out, with a warning.
    """
    for name in _wanted():
        try:
            yield _made(name)
        except Exception:
            _logger.warning(
                "spans are not exported to %r, which OTEL_* variables ask for", name, exc_info=True
            )


def _wanted() -> list[str]:
    named = os.environ.get(OTEL_TRACES_EXPORTER, "").strip()
    if not named:
        return [_OTLP] if _otlp_is_configured() or _collector_listens_here() else []
    names = [name.strip() for name in named.split(",")]
    return [name for name in names if name and name.lower() != _NONE]


def _otlp_is_configured() -> bool:
    return any(name.startswith("OTEL_EXPORTER_OTLP_") and os.environ[name] for name in os.environ)


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


def _made(name: str) -> SpanExporter:
    entry_name = _otlp_name() if name == _OTLP else name
    for entry in entry_points(group=_GROUP, name=entry_name):
        exporter: SpanExporter = entry.load()()
        return exporter
    raise LookupError(f"no exporter of spans is installed under the name {entry_name!r}")


def _otlp_name() -> str:
    protocol = (
        os.environ.get(OTEL_EXPORTER_OTLP_TRACES_PROTOCOL)
        or os.environ.get(OTEL_EXPORTER_OTLP_PROTOCOL)
        or _DEFAULT_PROTOCOL
    ).strip()
    if protocol not in _BY_PROTOCOL:
        raise LookupError(
            f"OTLP over {protocol!r} is not available: use one of {', '.join(_BY_PROTOCOL)}"
        )
    return _BY_PROTOCOL[protocol]
