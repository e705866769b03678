"""A backend of telemetry: `receiver.py MODE PROTOCOL`. It prints its port and serves until killed.

`healthy` answers success to everything, `silent` accepts and never answers, `absent` leaves the
port to nobody. Healthy over gRPC needs grpcio, which the exporter for that brings along.
"""

from __future__ import annotations

import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from signal import pause
from typing import Any


class _Success(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


def serve_http() -> None:
    """Answer 200 to everything."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Success)
    print(server.server_port, flush=True)
    server.serve_forever()


def serve_grpc() -> None:
    """Answer every call with an empty message: all was taken."""
    from concurrent.futures import ThreadPoolExecutor

    import grpc

    class Success(grpc.GenericRpcHandler):
        def service(self, handler_call_details: Any) -> Any:
            return grpc.unary_unary_rpc_method_handler(lambda body, context: b"")

    server = grpc.server(ThreadPoolExecutor(2), handlers=[Success()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    pause()


def main(mode: str, protocol: str) -> None:
    """Be what `mode` says until killed."""
    if mode == "healthy":
        serve_grpc() if protocol == "grpc" else serve_http()
    # Accepted by the kernel: nobody ever reads.
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        port = listener.getsockname()[1]
        if mode == "absent":
            listener.close()
        print(port, flush=True)
        pause()


if __name__ == "__main__":
    main(*sys.argv[1:])
