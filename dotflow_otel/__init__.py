"""Traces, metrics and logs of dotflow's runs.

Each name is imported when it is first asked for, so that one provider does not need the
library of another. One whose library is not installed raises when it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NoReturn

if TYPE_CHECKING:
    from dotflow_otel.history.reader import History as History
    from dotflow_otel.history.recording import record_history as record_history
    from dotflow_otel.instrumentor import DotflowInstrumentor as DotflowInstrumentor
    from dotflow_otel.log_context import TraceContextFilter as TraceContextFilter
    from dotflow_otel.log_context import add_run_context as add_run_context
    from dotflow_otel.logs.log import LogStructlog as LogStructlog
    from dotflow_otel.metrics.errors import CannotListen as CannotListen
    from dotflow_otel.metrics.errors import PushFailed as PushFailed
    from dotflow_otel.metrics.meter_provider import histogram_views as histogram_views
    from dotflow_otel.metrics.multiprocess import worker_exited as worker_exited
    from dotflow_otel.metrics.otel import MetricsOpenTelemetry as MetricsOpenTelemetry
    from dotflow_otel.metrics.prometheus import MetricsPrometheus as MetricsPrometheus
    from dotflow_otel.metrics.push import PushGateway as PushGateway
    from dotflow_otel.metrics.push import push_metrics as push_metrics
    from dotflow_otel.metrics.serve import MetricsApp as MetricsApp
    from dotflow_otel.metrics.serve import MetricsServer as MetricsServer
    from dotflow_otel.metrics.serve import metrics_app as metrics_app
    from dotflow_otel.metrics.serve import serve_metrics as serve_metrics
    from dotflow_otel.observing import observe as observe
    from dotflow_otel.sdk.setting_up import Telemetry as Telemetry
    from dotflow_otel.sdk.setting_up import setup as setup
    from dotflow_otel.testing import Exemplar as Exemplar
    from dotflow_otel.testing import LogEvent as LogEvent
    from dotflow_otel.testing import MetricsSnapshot as MetricsSnapshot
    from dotflow_otel.testing import RecordedSpan as RecordedSpan
    from dotflow_otel.testing import RecordedTelemetry as RecordedTelemetry
    from dotflow_otel.testing import SpanEvent as SpanEvent
    from dotflow_otel.testing import SpanLink as SpanLink
    from dotflow_otel.testing import record_telemetry as record_telemetry
    from dotflow_otel.traces.tracer import TracerOpenTelemetry as TracerOpenTelemetry

# No module has the name of what it gives: importing it would put it in that one's place.
_PLACES: Final = {
    "CannotListen": "metrics.errors",
    "DotflowInstrumentor": "instrumentor",
    "Exemplar": "testing",
    "History": "history.reader",
    "LogEvent": "testing",
    "LogStructlog": "logs.log",
    "MetricsApp": "metrics.serve",
    "MetricsOpenTelemetry": "metrics.otel",
    "MetricsPrometheus": "metrics.prometheus",
    "MetricsServer": "metrics.serve",
    "MetricsSnapshot": "testing",
    "PushFailed": "metrics.errors",
    "PushGateway": "metrics.push",
    "RecordedSpan": "testing",
    "RecordedTelemetry": "testing",
    "SpanEvent": "testing",
    "SpanLink": "testing",
    "Telemetry": "sdk.setting_up",
    "TraceContextFilter": "log_context",
    "TracerOpenTelemetry": "traces.tracer",
    "add_run_context": "log_context",
    "histogram_views": "metrics.meter_provider",
    "metrics_app": "metrics.serve",
    "observe": "observing",
    "push_metrics": "metrics.push",
    "record_history": "history.recording",
    "record_telemetry": "testing",
    "serve_metrics": "metrics.serve",
    "setup": "sdk.setting_up",
    "worker_exited": "metrics.multiprocess",
}
# For those who import all of it; it then needs all of the libraries.
__all__ = [*_PLACES]  # noqa: PLE0604 - names, all of them

_LIBRARIES: Final = ("opentelemetry", "prometheus_client", "structlog")


def __getattr__(name: str) -> Any:
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        found = getattr(import_module(f"{__name__}.{place}"), name)
    except ModuleNotFoundError as error:
        module = error.name or ""
        library = module.partition(".")[0]
        if library not in _LIBRARIES:
            raise
        extra = "instrument" if module.startswith("opentelemetry.instrumentation") else "otel"
        return _absent(name, library, f"dotflow[{extra}]")
    # The next look-up finds it without coming here.
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*(name for name in globals() if name[:2] == "__"), *_PLACES})


def _absent(name: str, library: str, extra: str) -> type:
    def refuse(*_args: object, **_kwargs: object) -> NoReturn:
        # Here, so that pytest, which loads our plugin, measures the core from its import on.
        from dotflow.core.exception import ModuleNotFound  # noqa: PLC0415

        raise ModuleNotFound(library, extra)

    return type(name, (), {"__new__": refuse, "__doc__": f"Needs {library}."})
