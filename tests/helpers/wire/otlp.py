"""What a receiver of OTLP got, in the official messages, and how it behaves."""

from __future__ import annotations

from threading import Event, Lock
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

# The names of the signals are those of the paths of OTLP over HTTP.
REQUESTS: Final[Mapping[str, type[Any]]] = {
    "traces": ExportTraceServiceRequest,
    "metrics": ExportMetricsServiceRequest,
    "logs": ExportLogsServiceRequest,
}
RESPONSES: Final[Mapping[str, type[Any]]] = {
    "traces": ExportTraceServiceResponse,
    "metrics": ExportMetricsServiceResponse,
    "logs": ExportLogsServiceResponse,
}


class Received(NamedTuple):
    """The requests of each signal, in the order of their coming."""

    traces: list[ExportTraceServiceRequest]
    metrics: list[ExportMetricsServiceRequest]
    logs: list[ExportLogsServiceRequest]


class Receiver(Protocol):
    """Takes OTLP."""

    def endpoint(self, protocol: str) -> str:
        """Return the URL for `OTEL_EXPORTER_OTLP_ENDPOINT`, by `grpc` or `http/protobuf`."""
        ...

    def take(self) -> Received:
        """Return what has come since the last call."""
        ...


class Inbox:
    """Keeps what comes, from any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._got = Received([], [], [])

    def put(self, signal: str, request: Any) -> None:
        """Keep a request."""
        with self._lock:
            getattr(self._got, signal).append(request)

    def take(self) -> Received:
        """Return what has come since the last call."""
        with self._lock:
            got, self._got = self._got, Received([], [], [])
        return got


class Conduct:
    """How a receiver of ours answers: at once and well, unless told otherwise.

    Attributes:
        refused: How many requests were refused since the last `heal`.
    """

    def __init__(self) -> None:
        self._released = Event()
        self.heal()

    def heal(self) -> None:
        """Answer at once and well again; who still waits for an answer is let go."""
        self._released.set()
        self._released = Event()
        self._delay: float | None = 0.0
        self._refusals = 0.0
        self.refused = 0

    def be_slow(self, seconds: float) -> None:
        """Answer well, but so much later."""
        self._delay = seconds

    def be_silent(self) -> None:
        """Take what comes and never answer."""
        self._delay = None

    def refuse(self, times: float = float("inf")) -> None:
        """Say that the service is unavailable, so many times."""
        self._refusals = times

    def admits(self) -> bool:
        """Wait as long as told; tell whether the request that came is to be taken."""
        if self._refusals > 0:
            self._refusals -= 1
            self.refused += 1
            return False
        # What is waited for here is that the receiver is healed, and the request then late.
        return self._delay == 0 or not self._released.wait(self._delay)
