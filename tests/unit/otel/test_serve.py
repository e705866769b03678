"""The endpoint that Prometheus scrapes."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from prometheus_client import CollectorRegistry

from dotflow.core.exception import DotflowError, InvalidOption
from dotflow.core.run import Run
from dotflow_otel import CannotListen, MetricsPrometheus, serve_metrics
from tests.unit.otel.test_forks import forked


def scrape(url: str, accept: str) -> str:
    """Read the endpoint as a scraper that accepts a format."""
    with urlopen(Request(url, headers={"Accept": accept}), timeout=10) as response:  # noqa: S310
        return str(response.read().decode())


def listens(port: int) -> bool:
    """Return whether this process has a socket that listens at a port."""
    for entry in list(Path("/dev/fd").iterdir()):
        descriptor = int(entry.name)
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as found:
            address = found.getsockname()
            if isinstance(address, tuple) and address[1] == port:
                return True
    return False


def test_serves_a_registry_on_loopback() -> None:
    """Metrics are served at `/metrics` on loopback, in the format that is asked for."""
    registry = CollectorRegistry()
    metrics = MetricsPrometheus(registry)
    metrics.run_started(Run("r", "w", "billing", "sequential", 1, 1.0))
    with serve_metrics(0, registry=registry) as server:
        assert server.url == f"http://127.0.0.1:{server.port}/metrics"
        line = 'dotflow_workflow_started_total{mode="sequential",workflow="billing"} 1.0'
        assert line in scrape(server.url, "text/plain").splitlines()
        openmetrics = scrape(server.url, "application/openmetrics-text; version=1.0.0")
        assert openmetrics.endswith("# EOF\n")


def test_close_frees_the_port() -> None:
    """A closed server listens no more."""
    server = serve_metrics(0, registry=CollectorRegistry())
    server.close()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", server.port), 1)


def test_close_in_a_forked_child() -> None:
    """A child, which has no thread of the server's, lets go of it; the parent's goes on."""
    with serve_metrics(0, registry=CollectorRegistry()) as server:

        def child() -> list[bool]:
            before = listens(server.port)
            server.close()
            return [before, listens(server.port)]

        assert forked(child) == [True, False]
        assert scrape(server.url, "application/openmetrics-text; version=1.0.0") == "# EOF\n"


def test_an_occupied_port() -> None:
    """A port that is taken is an OSError that names it, its address and what to do."""
    with serve_metrics(0, registry=CollectorRegistry()) as server:
        with pytest.raises(CannotListen) as raised:
            serve_metrics(server.port, registry=CollectorRegistry())
        told = str(raised.value)
        assert isinstance(raised.value, OSError)
        assert isinstance(raised.value, DotflowError)
        assert raised.value.errno == errno.EADDRINUSE
        assert f"on '127.0.0.1', port {server.port}: Address already in use." in told
        assert "port 0 takes any that is free" in told


def test_an_address_of_another_machine() -> None:
    """An address that this machine does not have is such an error too."""
    with pytest.raises(CannotListen, match=r"'192\.0\.2\.1', port 0"):
        serve_metrics(0, "192.0.2.1", CollectorRegistry())


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_out_of_range(port: int) -> None:
    """A number that is no port is an error that names it."""
    with pytest.raises(InvalidOption, match=f"port={port} "):
        serve_metrics(port, registry=CollectorRegistry())


def test_a_port_that_is_a_text() -> None:
    """A port from an environment variable, not made a number, is a clear error."""
    with pytest.raises(InvalidOption, match=r"^port='9464' is not valid: give a number"):
        serve_metrics("9464")  # type: ignore[arg-type]
