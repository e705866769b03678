"""Exporters of spans, log records and metrics, as the standard OTEL_* variables name them."""

from __future__ import annotations

import logging
import os
import socket
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from opentelemetry.sdk.environment_variables import OTEL_EXPORTER_OTLP_PROTOCOL

from dotflow_otel import _process as process
from dotflow_otel.sdk.variables import variable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.sdk.trace.export import SpanExporter

_logger: Final = logging.getLogger("dotflow_otel")

_OTLP: Final = "otlp"
_NONE: Final = "none"
_PROMETHEUS: Final = "prometheus"
_BY_PROTOCOL: Final = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}
_DEFAULT_PROTOCOL: Final = "http/protobuf"

# Where OTLP goes unless told otherwise.
_DEFAULT_COLLECTOR: Final = ("localhost", 4318)
_PROBE_SECONDS: Final = 0.25


class Signal(NamedTuple):
    """One kind of telemetry.

    Attributes:
        name: As the variables and the groups of entry points have it.
        items: What is exported.
    """

    name: str
    items: str

    @property
    def variable(self) -> str:
        """The name of the variable that names the exporters."""
        return f"OTEL_{self.name.upper()}_EXPORTER"

    def named(self) -> list[str]:
        """Give the exporters that the variable names, `none` and `prometheus` among them."""
        names = (name.strip().lower() for name in variable(self.variable).split(","))
        return [name for name in names if name]

    def exporters(self, names: list[str]) -> Iterator[Any]:
        """Make exporters; one that cannot be made is left out, with a warning."""
        for name in names:
            try:
                yield self._made(name)
            except Exception:
                _logger.warning(
                    "%s are not exported to %r, which OTEL_* variables ask for",
                    self.items,
                    name,
                    exc_info=True,
                )

    def _made(self, name: str) -> Any:
        entry_name = self._otlp_name() if name == _OTLP else name
        for entry in entry_points(group=f"opentelemetry_{self.name}_exporter", name=entry_name):
            return entry.load()()
        raise LookupError(
            f"no exporter of {self.items} is installed under the name {entry_name!r}: "
            f"correct {self.variable}, or install one"
        )

    def _otlp_name(self) -> str:
        protocol = (
            variable(f"OTEL_EXPORTER_OTLP_{self.name.upper()}_PROTOCOL")
            or variable(OTEL_EXPORTER_OTLP_PROTOCOL)
            or _DEFAULT_PROTOCOL
        )
        if protocol not in _BY_PROTOCOL:
            raise LookupError(
                f"OTLP over {protocol!r} is not available: use one of {', '.join(_BY_PROTOCOL)}"
            )
        return _BY_PROTOCOL[protocol]


TRACES: Final = Signal(process.TRACES, "spans")
METRICS: Final = Signal(process.METRICS, "metrics")
LOGS: Final = Signal(process.LOGS, "log records")


def span_exporters() -> Iterator[SpanExporter]:
    """Give the exporters of spans that the environment asks for.

    `OTEL_TRACES_EXPORTER` names them (`otlp`, `console`, `none`, or any that is installed),
    separated by commas. Without it there is the one for OTLP if any `OTEL_EXPORTER_OTLP_*`
    variable is set that is not for another signal, or if a collector listens on this machine
    where OTLP goes by default. Each reads its own variables. One that cannot be made is left
    out, with a warning.
    """
    named = TRACES.named()
    if not named and (_otlp_is_configured() or _collector_listens_here()):
        named = [_OTLP]
    return TRACES.exporters([name for name in named if name != _NONE])


def log_exporter_names(*, wanted: bool | None = None) -> list[str]:
    """Tell which exporters of log records `OTEL_LOGS_EXPORTER` names; without it none.

    Args:
        wanted: False: none in any case; True: the one for OTLP where none is named.
    """
    named = [] if wanted is False else LOGS.named()
    if not named and wanted:
        named = [_OTLP]
    return [name for name in named if name != _NONE]


def metric_exporter_names() -> list[str]:
    """Tell which exporters of metrics `OTEL_METRICS_EXPORTER` names; without it none.

    `prometheus` needs none: Prometheus comes for its metrics.
    """
    return [name for name in METRICS.named() if name not in {_NONE, _PROMETHEUS}]


def _otlp_is_configured() -> bool:
    others = tuple(f"OTEL_EXPORTER_OTLP_{each.name.upper()}_" for each in (METRICS, LOGS))
    return any(
        name.startswith("OTEL_EXPORTER_OTLP_") and not name.startswith(others) and variable(name)
        for name in os.environ
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
