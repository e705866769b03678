"""Telemetry for programs that say nothing of it, as OpenTelemetry's instrumentations do it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined] # it has no types

from dotflow.core.arguments import check_method
from dotflow.core.config import DefaultProviders

if TYPE_CHECKING:
    from collections.abc import Collection

_logger: Final = logging.getLogger("dotflow_otel")

_ARGUMENTS: Final = {
    "tracer_provider": "get_tracer",
    "meter_provider": "get_meter",
    "logger_provider": "get_logger",
}


class DotflowInstrumentor(BaseInstrumentor):  # type: ignore[misc] # as above
    """Gives each workflow spans, metrics and log records of the application's OpenTelemetry.

    Under `opentelemetry-instrument python app.py` that is done for each program whose environment
    has dotflow with the extra `instrument`. Without that command:

        DotflowInstrumentor().instrument(tracer_provider=..., meter_provider=...)

    Each `Config` that is made afterwards, and each workflow without one, takes
    `TracerOpenTelemetry`, `MetricsOpenTelemetry` and `LogStructlog` where it leaves those slots
    open; a provider that the program gives stays. Nothing of OpenTelemetry is set up here: the
    providers are those that are given, else OpenTelemetry's global ones at a run's start.
    `uninstrument()` sets the default providers again, also in configurations that were made
    meanwhile.

    There is one object of this class, as of every instrumentor.
    """

    _defaults: DefaultProviders | None = None
    _log: Any = None

    def instrumentation_dependencies(self) -> Collection[str]:
        """Return no requirement: dotflow itself is what is instrumented."""
        return ()

    def _instrument(self, **kwargs: Any) -> None:
        """Set default providers.

        Args:
            **kwargs: `tracer_provider`, `meter_provider` and `logger_provider`; those that other
                instrumentations know are ignored.

        Raises:
            InvalidOption: One of the three is no such provider.
        """
        for name, method in _ARGUMENTS.items():
            if kwargs.get(name) is not None:
                hint = f"give one of OpenTelemetry's, which has a method {method}"
                check_method(name, kwargs[name], method, hint)
        providers: dict[str, Any] = {}
        for slot, make in (
            ("tracer", _tracer),
            ("metrics", _metrics),
            ("log", _log),
        ):
            try:
                providers[slot] = make(kwargs)
            except ModuleNotFoundError as error:
                # What has no library must not keep the program from starting.
                _logger.warning(
                    "workflows are instrumented without %s: %s",
                    slot,
                    error,
                )
        self._log = providers.get("log")
        self._defaults = DefaultProviders(**providers)
        self._defaults.apply()

    def _uninstrument(self, **kwargs: Any) -> None:  # noqa: ARG002 - those of the interface
        if self._defaults is not None:
            self._defaults.undo()
            self._defaults = None
        if self._log is not None:
            self._log.end()
            self._log = None


def _log(kwargs: dict[str, Any]) -> Any:
    # Here, as the others: its library may be missing.
    from dotflow_otel.sdk.log_pipeline import InstrumentedLog  # noqa: PLC0415

    return InstrumentedLog(kwargs.get("logger_provider"))


def _tracer(kwargs: dict[str, Any]) -> Any:
    from dotflow_otel.traces.tracer import TracerOpenTelemetry  # noqa: PLC0415

    return TracerOpenTelemetry(tracer_provider=kwargs.get("tracer_provider"))


def _metrics(kwargs: dict[str, Any]) -> Any:
    from dotflow_otel.metrics.otel import MetricsOpenTelemetry  # noqa: PLC0415

    return MetricsOpenTelemetry(meter_provider=kwargs.get("meter_provider"))
