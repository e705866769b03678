"""A target of HTTP requests on loopback: keeps what it gets, and answers as a test says."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self

LONG = 10.0


class Posted(NamedTuple):
    """A request that the target got."""

    path: str
    body: Any


class HttpTarget(ThreadingHTTPServer):
    """Listens while it is entered.

    Args:
        content: What is answered to GET, as JSON.

    Attributes:
        posted: What was posted, in order.
        asked: The paths that were asked for by GET, in order.
        content: As given.
        answer: The status of its answers.
        headers: What it sends with them.
        go: It answers while this is set.
        arrived: Set once there was a request.
    """

    daemon_threads = True

    def __init__(self, content: Any = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.posted: list[Posted] = []
        self.asked: list[str] = []
        self.content = content
        self.answer = 200
        self.headers: dict[str, str] = {}
        self.go = threading.Event()
        self.go.set()
        self.arrived = threading.Event()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)

    @property
    def host(self) -> str:
        """Its address without a scheme."""
        return f"127.0.0.1:{self.server_port}"

    @property
    def bodies(self) -> list[Any]:
        """What was posted, without the paths."""
        return [each.body for each in self.posted]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.go.set()
        self.shutdown()
        self._thread.join(LONG)
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: HttpTarget

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posted.append(Posted(self.path, json.loads(body)))
        self._answer({})

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        # Whoever was killed meanwhile is gone.
        with suppress(OSError):
            self._answer(self.server.content)

    def _answer(self, content: Any) -> None:
        self.server.arrived.set()
        self.server.go.wait(60)
        body = json.dumps(content).encode()
        self.send_response(self.server.answer)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass
