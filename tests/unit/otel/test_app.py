"""Metrics as an application to mount in a service."""

from __future__ import annotations

import asyncio
import inspect
import threading
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen
from wsgiref.simple_server import WSGIRequestHandler, make_server
from wsgiref.util import shift_path_info

import pytest
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import CollectorRegistry

from dotflow import Config, DotFlow, action
from dotflow.testing import Recording
from dotflow_otel import MetricsApp, MetricsPrometheus, TracerOpenTelemetry, metrics_app

if TYPE_CHECKING:
    from collections.abc import Iterator

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
LINE = 'dotflow_workflow_started_total{mode="sequential",workflow="billing"} 1.0'


@action
def step() -> None:
    """Do nothing."""


@pytest.fixture
def registry() -> CollectorRegistry:
    """Return a registry with the metrics of one traced run."""
    made = CollectorRegistry()
    tracer = TracerOpenTelemetry(tracer_provider=TracerProvider(shutdown_on_exit=False))
    log = Recording().providers["log"]
    config = Config(metrics=MetricsPrometheus(made), tracer=tracer, log=log)
    flow = DotFlow(config=config, name="billing")
    flow.task.add(step)
    flow.start()
    return made


class Silent(WSGIRequestHandler):
    """A handler that writes no line for a request."""

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def service(registry: CollectorRegistry) -> Iterator[str]:
    """Return the address of a WSGI service that has the metrics mounted at `/inner/metrics`."""
    app = metrics_app(registry)

    def route(environ: dict[str, Any], start_response: Any) -> Any:
        if shift_path_info(environ) == "inner" and shift_path_info(environ) == "metrics":
            return app(environ, start_response)
        start_response("404 Not Found", [])
        return [b""]

    server = make_server("127.0.0.1", 0, route, handler_class=Silent)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/inner/metrics"
    server.shutdown()
    server.server_close()
    thread.join()


def test_wsgi(service: str) -> None:
    """Mounted below a path of a WSGI service, it shows the metrics."""
    with urlopen(service, timeout=10) as response:  # noqa: S310
        assert response.headers["Content-Type"].startswith("text/plain")
        assert LINE in response.read().decode().splitlines()


def test_wsgi_exemplars(service: str) -> None:
    """A scraper that asks for OpenMetrics gets exemplars."""
    request = Request(service, headers={"Accept": OPENMETRICS})  # noqa: S310
    with urlopen(request, timeout=10) as response:  # noqa: S310
        text = response.read().decode()
    assert text.endswith("# EOF\n")
    assert text.count("# {span_id=") + text.count("# {trace_id=") >= 2


async def _request(app: Any, accept: str = "text/plain") -> tuple[int, dict[str, str], str]:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/inner/metrics",
        "root_path": "/inner/metrics",
        "query_string": b"",
        "headers": [(b"accept", accept.encode())],
    }
    await app(scope, receive, send)
    start, body = sent
    headers = {name.decode().lower(): value.decode() for name, value in start["headers"]}
    return start["status"], headers, body["body"].decode()


@pytest.mark.parametrize("as_function", [True, False])
def test_asgi(registry: CollectorRegistry, as_function: bool) -> None:
    """Mounted in an ASGI service, it shows the metrics, by itself or by its function."""
    app = metrics_app(registry)
    status, headers, text = asyncio.run(_request(app.asgi if as_function else app))
    assert status == 200
    assert headers["content-type"].startswith("text/plain")
    assert LINE in text.splitlines()


def test_asgi_exemplars(registry: CollectorRegistry) -> None:
    """A scraper that asks for OpenMetrics gets exemplars."""
    _, headers, text = asyncio.run(_request(metrics_app(registry), OPENMETRICS))
    assert headers["content-type"].startswith("application/openmetrics-text")
    assert text.count("# {span_id=") + text.count("# {trace_id=") >= 2


def test_functions(registry: CollectorRegistry) -> None:
    """A server that looks can tell what each function is for."""
    app = metrics_app(registry)
    assert isinstance(app, MetricsApp)
    assert inspect.iscoroutinefunction(app.asgi)
    assert list(inspect.signature(app.asgi).parameters) == ["scope", "receive", "send"]
    assert not inspect.iscoroutinefunction(app.wsgi)
    assert list(inspect.signature(app.wsgi).parameters) == ["environ", "start_response"]


def test_default_registry() -> None:
    """Without a registry prometheus-client's own is shown."""
    MetricsPrometheus()
    _, _, text = asyncio.run(_request(metrics_app()))
    assert "# TYPE dotflow_workers gauge" in text
    assert "\npython_info{" in text
