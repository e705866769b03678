"""A receiver of OTLP over HTTP, in this process."""

from __future__ import annotations

import gzip
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Self

from wire.otlp import REQUESTS, RESPONSES, Conduct, Inbox


class HttpReceiver:
    """Listens on a free port of loopback while it is entered."""

    def __init__(self) -> None:
        self.conduct = Conduct()
        self.inbox = Inbox()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.receiver = self
        self._thread = Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.conduct.heal()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_port}"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    receiver: HttpReceiver


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        receiver = self.server.receiver
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if not receiver.conduct.admits():
            self._answer(503, b"")
            return
        if self.headers["Content-Encoding"] == "gzip":
            body = gzip.decompress(body)
        _, _, signal = self.path.partition("/v1/")
        if signal not in REQUESTS or self.headers["Content-Type"] != "application/x-protobuf":
            self._answer(400, b"")
            return
        receiver.inbox.put(signal, REQUESTS[signal].FromString(body))
        self._answer(200, RESPONSES[signal]().SerializeToString())

    def _answer(self, status: int, body: bytes) -> None:
        # Whoever waited too long has gone.
        self.close_connection = status != 200
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass
