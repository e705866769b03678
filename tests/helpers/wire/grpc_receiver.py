"""A receiver of OTLP over gRPC, in this process."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self

import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc
from wire.otlp import RESPONSES, Conduct, Inbox

if TYPE_CHECKING:
    from collections.abc import Callable


class GrpcReceiver:
    """Listens on a free port of loopback while it is entered."""

    def __init__(self) -> None:
        self.conduct = Conduct()
        self.inbox = Inbox()
        self._threads = ThreadPoolExecutor(4)
        self._server = grpc.server(self._threads)
        for signal, register in _REGISTER.items():
            register(_Service(self, signal), self._server)
        self._port = self._server.add_insecure_port("127.0.0.1:0")

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.conduct.heal()
        self._server.stop(None).wait()
        self._threads.shutdown()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._port}"


class _Service:
    def __init__(self, receiver: GrpcReceiver, signal: str) -> None:
        self._receiver = receiver
        self._signal = signal

    def Export(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 - its name in OTLP
        if not self._receiver.conduct.admits():
            context.abort(grpc.StatusCode.UNAVAILABLE, "told to refuse")
        self._receiver.inbox.put(self._signal, request)
        return RESPONSES[self._signal]()


_REGISTER: dict[str, Callable[[Any, Any], None]] = {
    "traces": trace_service_pb2_grpc.add_TraceServiceServicer_to_server,
    "metrics": metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server,
    "logs": logs_service_pb2_grpc.add_LogsServiceServicer_to_server,
}
