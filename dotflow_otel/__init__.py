"""Traces, metrics and logs of dotflow's runs.

Each name is imported when it is first asked for, so that one provider does not need the
library of another. One whose library is not installed raises when it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NoReturn

from dotflow.core.exception import ModuleNotFound

if TYPE_CHECKING:
    from dotflow_otel.log import LogStructlog as LogStructlog
    from dotflow_otel.log_context import TraceContextFilter as TraceContextFilter
    from dotflow_otel.log_context import add_run_context as add_run_context
    from dotflow_otel.metrics import MetricsPrometheus as MetricsPrometheus
    from dotflow_otel.observing import observe as observe
    from dotflow_otel.sdk import Telemetry as Telemetry
    from dotflow_otel.sdk import setup as setup
    from dotflow_otel.serve import MetricsServer as MetricsServer
    from dotflow_otel.serve import serve_metrics as serve_metrics
    from dotflow_otel.tracer import TracerOpenTelemetry as TracerOpenTelemetry

# No module has the name of what it gives: importing it would put it in that one's place.
_PLACES: Final = {
    "LogStructlog": "log",
    "MetricsPrometheus": "metrics",
    "MetricsServer": "serve",
    "Telemetry": "sdk",
    "TraceContextFilter": "log_context",
    "TracerOpenTelemetry": "tracer",
    "add_run_context": "log_context",
    "observe": "observing",
    "serve_metrics": "serve",
    "setup": "sdk",
}
_LIBRARIES: Final = ("opentelemetry", "prometheus_client", "structlog")
_EXTRA: Final = "dotflow[otel]"


def __getattr__(name: str) -> Any:
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        found = getattr(import_module(f"{__name__}.{place}"), name)
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library not in _LIBRARIES:
            raise
        return _absent(name, library)
    # The next look-up finds it without coming here.
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES})


def _absent(name: str, library: str) -> type:
    def refuse(*_args: object, **_kwargs: object) -> NoReturn:
        raise ModuleNotFound(library, _EXTRA)

    return type(name, (), {"__new__": refuse, "__doc__": f"Needs {library}."})
