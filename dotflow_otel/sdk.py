"""Sets the OpenTelemetry SDK up from the standard OTEL_* variables, and ends it in time."""

from __future__ import annotations

import atexit
import logging
import os
from threading import Lock
from typing import TYPE_CHECKING, Final

from opentelemetry import trace
from opentelemetry.sdk.environment_variables import OTEL_SDK_DISABLED
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from dotflow_otel.bounded import BoundedCall
from dotflow_otel.exporters import span_exporters

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opentelemetry.sdk.trace.export import SpanExporter

_logger: Final = logging.getLogger("dotflow_otel")
_lock: Final = Lock()

# Seconds that the exit of the interpreter may wait for the backend.
TIMEOUT: Final = 5.0


class Telemetry:
    """What `setup` created, to be flushed and ended: at exit by itself, or on call.

    Where the application had set a tracer provider there is nothing of ours to end, and the
    methods do nothing.

    Args:
        provider: What was created, if anything.
        timeout: Seconds that flushing and ending may take, whatever the backend does.
    """

    def __init__(self, provider: TracerProvider | None, timeout: float = TIMEOUT) -> None:
        self.provider: Final = provider
        self._timeout = timeout
        self._end: BoundedCall | None = None
        if provider is not None:
            self._end = BoundedCall(provider.shutdown, "dotflow-telemetry-end")
            atexit.register(self.shutdown)

    def flush(self, timeout: float | None = None) -> bool:
        """Hand what was recorded to the exporters; tell whether that ended in time.

        Args:
            timeout: Seconds; None: what `setup` was given.
        """
        if self.provider is None:
            return True
        flushing = BoundedCall(self.provider.force_flush, "dotflow-telemetry-flush")
        return flushing.call(self._timeout if timeout is None else timeout)

    def shutdown(self, timeout: float | None = None) -> bool:
        """Flush, and end for good; tell whether that ended in time.

        Args:
            timeout: Seconds; None: what `setup` was given.
        """
        if self._end is None:
            return True
        atexit.unregister(self.shutdown)
        seconds = self._timeout if timeout is None else timeout
        ended = self._end.call(seconds)
        if not ended:
            _logger.warning("telemetry was not delivered within %g s; the rest is dropped", seconds)
        return ended


_ours: Telemetry | None = None


def setup(service_name: str | None = None, *, timeout: float = TIMEOUT) -> Telemetry:
    """Set the global tracer provider up from the standard variables, once.

    Read are `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_TRACES_EXPORTER`,
    `OTEL_EXPORTER_OTLP_*`, `OTEL_TRACES_SAMPLER`, `OTEL_BSP_*`, the limits of spans, and
    `OTEL_SDK_DISABLED`, which leaves everything as it is. Where nothing tells where spans
    go, they go to a collector on this machine if one listens on the default port of OTLP
    at this moment, and nowhere if not. A provider that the application has set stays.

    Args:
        service_name: The `service.name` of the resource; it stands over the variables.
        timeout: Seconds that the exit may wait for the backend.

    Raises:
        ModuleNotFound: The OpenTelemetry SDK is not installed.
    """
    return _install(service_name, timeout, exports=True)


def ensure_provider(service_name: str) -> Telemetry:
    """Set a tracer provider without an exporter, where the application has set none."""
    return _install(service_name, TIMEOUT, exports=False)


def _install(service_name: str | None, timeout: float, *, exports: bool) -> Telemetry:
    global _ours  # noqa: PLW0603 - as global as the provider that it belongs to
    with _lock:
        current = trace.get_tracer_provider()
        if _ours is not None and _ours.provider is current:
            return _ours
        if _is_disabled() or not isinstance(current, trace.ProxyTracerProvider):
            return Telemetry(None, timeout)
        provider = _provider(service_name, span_exporters() if exports else ())
        trace.set_tracer_provider(provider)
        _ours = Telemetry(provider, timeout)
        return _ours


def _is_disabled() -> bool:
    return os.environ.get(OTEL_SDK_DISABLED, "").strip().lower() == "true"


def _provider(service_name: str | None, exporters: Iterable[SpanExporter]) -> TracerProvider:
    named = {} if service_name is None else {SERVICE_NAME: service_name}
    # Its own handler at exit would wait 30 s for a backend that does not answer.
    provider = TracerProvider(resource=Resource.create(named), shutdown_on_exit=False)
    for exporter in exporters:
        provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider
