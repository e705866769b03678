"""Serves metrics over HTTP for Prometheus to scrape, or as an application in a web service."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final, Self, overload

from prometheus_client import make_asgi_app, make_wsgi_app, start_http_server

from dotflow.core.arguments import check_text, strict_arguments
from dotflow.core.exception import InvalidOption
from dotflow_otel.metrics.errors import CannotListen, check_registry
from dotflow_otel.metrics.multiprocess import shown

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, MutableMapping
    from threading import Thread
    from wsgiref.simple_server import WSGIServer
    from wsgiref.types import StartResponse, WSGIEnvironment

    from prometheus_client import CollectorRegistry

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]

_LAST_PORT: Final = 65535


class MetricsServer:
    """A running server, made by `serve_metrics`. As a context manager it closes itself.

    Attributes:
        port: Where it listens.
        url: What Prometheus scrapes.
    """

    @strict_arguments
    def __init__(self, server: WSGIServer, thread: Thread, addr: str) -> None:
        self._server = server
        self._thread = thread
        self._pid = os.getpid()
        self.port: int = server.server_port
        host = f"[{addr}]" if ":" in addr else addr
        self.url = f"http://{host}:{self.port}/metrics"

    def close(self) -> None:
        """Stop listening. Needless at exit: the server's thread keeps no program alive.

        A second time there is nothing to do.

        In a forked child it releases the socket alone: the server is the parent's.
        """
        if os.getpid() != self._pid:
            self._server.socket.close()
            return
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


@strict_arguments
def serve_metrics(
    port: int, addr: str = "127.0.0.1", registry: CollectorRegistry | None = None
) -> MetricsServer:
    """Serve metrics at `/metrics`, in a thread.

    Exemplars are shown to a scraper that asks for OpenMetrics, as Prometheus does where
    exemplar storage is on. In prometheus-client's multiprocess mode, which has none, the
    metrics are those of all processes.

    Args:
        port: Where to listen; 0 takes any that is free, see `MetricsServer.port`.
        addr: The address to listen on. Any but loopback shows the metrics to others.
        registry: Whose metrics; None: prometheus-client's own.

    Raises:
        CannotListen: The port is taken, or the address is none of this machine; an `OSError`.
        InvalidOption: The port is out of range, the address is no text, `registry` is none, or
            the folder of the multiprocess mode is not there.
        ModuleNotFound: prometheus-client is not installed.
    """
    if not isinstance(port, int) or isinstance(port, bool) or not 0 <= port <= _LAST_PORT:
        raise InvalidOption("port", port, f"give a number from 0 to {_LAST_PORT}")
    # A blank one would be every address of this machine.
    check_text("addr", addr, "give an address of this machine, as '127.0.0.1'")
    read = shown(registry)
    try:
        server, thread = start_http_server(port, addr, read)
    except OSError as error:
        raise CannotListen(addr, port, error) from error
    return MetricsServer(server, thread, addr)


_ASGI_ARGUMENTS: Final = 3


class MetricsApp:
    """Shows metrics, to WSGI and to ASGI alike: the two call it with 2 and with 3 arguments.

    Attributes:
        wsgi: As a function for WSGI alone.

    Args:
        registry: What is shown.

    Raises:
        InvalidOption: `registry` is none.
    """

    @strict_arguments
    def __init__(self, registry: CollectorRegistry) -> None:
        check_registry(registry, "collect")
        self.wsgi: Final[Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]]] = (
            make_wsgi_app(registry)
        )
        self._asgi = make_asgi_app(registry)

    async def asgi(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request of ASGI: for what looks at the function to tell the two apart."""
        await self._asgi(scope, receive, send)

    @overload
    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse, /
    ) -> Iterable[bytes]: ...
    @overload
    def __call__(self, scope: Message, receive: Receive, send: Send, /) -> Awaitable[None]: ...
    def __call__(self, *request: Any) -> Any:
        """Answer a request."""
        return self.asgi(*request) if len(request) == _ASGI_ARGUMENTS else self.wsgi(*request)


@strict_arguments
def metrics_app(registry: CollectorRegistry | None = None) -> MetricsApp:
    """Return metrics as an application to mount in a service, at any path.

    It is one for WSGI (Flask, Django) and for ASGI (FastAPI, Starlette) at once. A server
    that must be given one of the two gets `metrics_app().wsgi` or `metrics_app().asgi`.
    Whoever can reach the service there can read the metrics.

    Exemplars are shown to a scraper that asks for OpenMetrics. In prometheus-client's
    multiprocess mode, which has none, the metrics are those of all processes.

    Args:
        registry: Whose metrics; None: prometheus-client's own.

    Raises:
        InvalidOption: `registry` is none, or the folder of the multiprocess mode is not there.
        ModuleNotFound: prometheus-client is not installed.
    """
    return MetricsApp(shown(registry))
