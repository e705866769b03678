"""An S3 on loopback, by moto; run with the Python that has it, of `make tools`.

Prints one line of JSON with its URL, and ends with its input.
"""

from __future__ import annotations

import json
import sys
from io import BytesIO
from threading import Lock, Thread
from typing import Any

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

app = DomainDispatcherApplication(create_backend_app)
lock = Lock()


def one_by_one(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Answer one request at a time: moto checks the condition of a write apart from the write."""
    # What comes late from one client must keep no other one waiting.
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = BytesIO(body)
    with lock:
        return [b"".join(app(environ, start_response))]


class Quiet(WSGIRequestHandler):
    """Logs no request, and keeps connections."""

    protocol_version = "HTTP/1.1"

    def log_request(self, *_: object) -> None:
        """Log nothing."""


server = make_server("127.0.0.1", 0, one_by_one, threaded=True, request_handler=Quiet)
Thread(target=server.serve_forever, daemon=True).start()
print(json.dumps({"url": f"http://127.0.0.1:{server.port}"}), flush=True)
sys.stdin.read()
server.shutdown()
