"""Serves metrics over HTTP for Prometheus to scrape."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, Self

from prometheus_client import start_http_server

from dotflow.core.checks import check_text
from dotflow.core.exception import InvalidOption
from dotflow.core.signatures import strict_arguments
from dotflow_otel.metrics.errors import CannotListen
from dotflow_otel.metrics.multiprocess import shown

if TYPE_CHECKING:
    from threading import Thread
    from wsgiref.simple_server import WSGIServer

    from prometheus_client import CollectorRegistry

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

        In a forked child it lets go of the socket alone: the server is the parent's.
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
