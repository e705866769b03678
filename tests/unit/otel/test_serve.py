"""The endpoint that Prometheus scrapes."""

from __future__ import annotations

import socket
from urllib.request import Request, urlopen

import pytest
from prometheus_client import CollectorRegistry

from dotflow.core.run import Run
from dotflow_otel import MetricsPrometheus, serve_metrics


def scrape(url: str, accept: str) -> str:
    """Read the endpoint as a scraper that accepts a format."""
    with urlopen(Request(url, headers={"Accept": accept}), timeout=10) as response:  # noqa: S310
        return str(response.read().decode())


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
