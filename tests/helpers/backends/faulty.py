"""A proxy on loopback that is told which requests to spoil, and how."""

from __future__ import annotations

import socket
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urlsplit

from backends.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable

SLOW_DOWN: Final = "503 SlowDown, not passed on"
BREAK_BEFORE: Final = "the connection breaks in the middle of the body, not passed on"
BREAK_AFTER: Final = "passed on, then the connection breaks without an answer"
MEANWHILE: Final = "passed on after a call of the test's"

_THROTTLED: Final = (
    b'<?xml version="1.0" encoding="UTF-8"?>'
    b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
)


class Faulty:
    """Passes requests on to a server, but for the faults that it is told to make.

    Args:
        url: Of the server.

    Attributes:
        url: Of the proxy, once entered.
        method: Of the requests that are spoilt.
        faults: Those to come, one a request, the first one first.
        meanwhile: What `MEANWHILE` calls.
        seen: The methods of all requests.
    """

    url: str

    def __init__(self, url: str, method: str = "PUT") -> None:
        self.method = method
        self.faults: list[str] = []
        self.meanwhile: Callable[[], object] | None = None
        self.seen: list[str] = []
        self._lock = Lock()
        target = urlsplit(url).netloc
        faulty = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                """Log nothing."""

            def _answer(self) -> None:
                faulty._answer(self, target)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _answer  # noqa: N815

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True

    def __enter__(self) -> Self:
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = Thread(target=self._server.serve_forever)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, handler: BaseHTTPRequestHandler, target: str) -> None:
        fault = self._next_fault(handler.command)
        length = int(handler.headers.get("Content-Length") or 0)
        if fault == BREAK_BEFORE:
            handler.rfile.read(length // 2)
            _break(handler)
            return
        body = handler.rfile.read(length)
        if fault == SLOW_DOWN:
            _send(handler, 503, [("Content-Type", "application/xml")], _THROTTLED)
            return
        if fault == MEANWHILE and self.meanwhile is not None:
            self.meanwhile()
        connection = HTTPConnection(target, timeout=PATIENCE)
        connection.request(handler.command, handler.path, body, dict(handler.headers.items()))
        response = connection.getresponse()
        content = response.read()
        connection.close()
        if fault == BREAK_AFTER:
            _break(handler)
            return
        _send(handler, response.status, response.getheaders(), content)

    def _next_fault(self, method: str) -> str | None:
        with self._lock:
            self.seen.append(method)
            return self.faults.pop(0) if method == self.method and self.faults else None


def _send(
    handler: BaseHTTPRequestHandler, status: int, headers: list[tuple[str, str]], body: bytes
) -> None:
    handler.send_response_only(status)
    for name, value in headers:
        if name.lower() not in ("content-length", "transfer-encoding", "connection"):
            handler.send_header(name, value)
    length = dict(headers).get("Content-Length", "0") if handler.command == "HEAD" else len(body)
    handler.send_header("Content-Length", str(length))
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(body)


def _break(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)
