"""Setting the SDK up and ending it in time: each test in an interpreter of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import pytest
from backends.ports import closed_port
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from dotflow.core.exception import InvalidOption
from dotflow_otel import observe, setup
from dotflow_otel._process import TimedCall

if TYPE_CHECKING:
    from collections.abc import Iterator

# Far from the 0.5 s that are asked for, and from the 10 s and more that the SDK would take.
_SOON = 8.0

ROOT = Path(__file__).resolve().parents[3]

RUN = """
from dotflow import DotFlow, action
from dotflow_otel import observe

@action
def ok():
    pass

flow = DotFlow(config=observe("billing", level="ERROR", timeout=0.5), name="etl")
flow.task.add([ok] * 3)
flow.start()
"""
# The same with all the time that a busy machine takes to deliver.
PATIENT = RUN.replace("timeout=0.5", "timeout=30")


def python(source: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run source text in a new interpreter with these OTEL_* variables and no others."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(source)],
        env={**kept, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


class Collector(HTTPServer):
    """Takes OTLP over HTTP, and keeps it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[ExportTraceServiceRequest] = []
        self.paths: list[str] = []
        self.headers: list[str | None] = []


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append(ExportTraceServiceRequest.FromString(body))
        self.server.paths.append(self.path)
        self.server.headers.append(self.headers["X-Tenant"])
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.end_headers()
        self.wfile.write(ExportTraceServiceResponse().SerializeToString())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    """Return a running collector."""
    server = Collector()
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def silent() -> Iterator[int]:
    """Return the port of a listener that accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as server:
        yield server.getsockname()[1]


@pytest.fixture
def free_port() -> Iterator[int]:
    """Return a port where nobody listens."""
    with closed_port() as address:
        yield int(address.rpartition(":")[2])


def test_spans_arrive(collector: Collector) -> None:
    """A script's spans are all delivered by its exit, with the resource that is told."""
    python(
        PATIENT,
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{collector.server_port}",
        OTEL_EXPORTER_OTLP_HEADERS="x-tenant=acme",
        OTEL_SERVICE_NAME="not-this",
        OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=test",
    )
    (resource_spans,) = (spans for each in collector.requests for spans in each.resource_spans)
    resource = {each.key: each.value.string_value for each in resource_spans.resource.attributes}
    assert resource["service.name"] == "billing"
    assert resource["deployment.environment.name"] == "test"
    (scope_spans,) = resource_spans.scope_spans
    assert scope_spans.scope.name == "dotflow_otel"
    names = [span.name for span in scope_spans.spans]
    assert names == ["task ok", "task ok", "task ok", "workflow etl"]
    assert (collector.paths, collector.headers) == (["/v1/traces"], ["acme"])


def test_variables_of_the_sdk(collector: Collector) -> None:
    """The sampler's variable counts: nothing is exported that it drops."""
    python(
        PATIENT,
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{collector.server_port}",
        OTEL_TRACES_SAMPLER="always_off",
    )
    assert collector.requests == []


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_exit_beside_a_silent_backend(silent: int, protocol: str) -> None:
    """A backend that accepts and never answers holds the exit up no longer than the bound."""
    done = python(
        RUN + "import time; print(time.time())",
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{silent}",
        OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
    )
    assert time.time() - float(done.stdout) < _SOON
    assert "telemetry was not delivered within 0.5 s" in done.stderr


def test_exit_without_a_backend(free_port: int) -> None:
    """Nor does one where nobody listens."""
    done = python(
        RUN + "import time; print(time.time())",
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{free_port}",
    )
    assert time.time() - float(done.stdout) < _SOON


def test_nothing_told() -> None:
    """Where nothing tells of a backend, a script runs and exits silently."""
    done = python(
        "from dotflow_otel.sdk import variables\n"
        "variables.DEFAULT_COLLECTOR = ('127.0.0.1', 1)\n" + RUN
    )
    assert (done.stdout, done.stderr) == ("", "")


def test_flush_and_shutdown(collector: Collector) -> None:
    """What `setup` gives can flush, and end once; afterwards the exit has nothing to do."""
    done = python(
        """
        from dotflow_otel import setup
        from opentelemetry import trace
        telemetry = setup("billing")
        assert setup("other") is telemetry
        assert trace.get_tracer_provider() is telemetry.provider
        trace.get_tracer("t").start_span("one").end()
        print(telemetry.flush())
        trace.get_tracer("t").start_span("two").end()
        print(telemetry.shutdown(), telemetry.shutdown())
        """,
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{collector.server_port}",
    )
    assert done.stdout.split() == ["True", "True", "True"]
    spans = [
        span.name
        for each in collector.requests
        for resource_spans in each.resource_spans
        for scope_spans in resource_spans.scope_spans
        for span in scope_spans.spans
    ]
    assert spans == ["one", "two"]


def test_flush_in_time(silent: int) -> None:
    """Flushing ends in time, whatever the backend does, and says that it was not done."""
    done = python(
        """
        import time
        from dotflow_otel import setup
        from opentelemetry import trace
        telemetry = setup("billing", timeout=0.1)
        trace.get_tracer("t").start_span("one").end()
        begun = time.monotonic()
        print(telemetry.flush(0.2), time.monotonic() - begun < 8)
        """,
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{silent}",
    )
    assert done.stdout.split() == ["False", "True"]


def test_the_applications_provider_stays() -> None:
    """A provider that the application has set is neither replaced nor ended."""
    done = python(
        """
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
        mine = TracerProvider(shutdown_on_exit=False)
        mine.shutdown = lambda: print("ended")
        trace.set_tracer_provider(mine)
        from dotflow_otel import TracerOpenTelemetry, observe, setup
        telemetry = setup("billing")
        observe("billing")
        TracerOpenTelemetry(service_name="billing")
        print(trace.get_tracer_provider() is mine, telemetry.provider, telemetry.shutdown())
        """,
    )
    assert done.stdout.split() == ["True", "None", "True"]


@pytest.mark.parametrize("timeout", [-1, float("nan"), "5", None])
def test_timeout_that_is_none(timeout: float) -> None:
    """A timeout that is no number of seconds is an error, before anything is set up."""
    before = trace.get_tracer_provider()
    with pytest.raises(InvalidOption, match="timeout="):
        setup("billing", timeout=timeout)
    assert trace.get_tracer_provider() is before


def test_disabled() -> None:
    """`OTEL_SDK_DISABLED` leaves everything as it is; runs, metrics and logs go on."""
    done = python(
        RUN + "from opentelemetry import trace\n"
        "print(type(trace.get_tracer_provider()).__name__)\n"
        "from prometheus_client import REGISTRY\n"
        "print(REGISTRY.get_sample_value('dotflow_task_completed_total',"
        " {'workflow': 'etl', 'task': 'ok'}))",
        OTEL_SDK_DISABLED="true",
    )
    assert done.stdout.split() == ["ProxyTracerProvider", "3.0"]


def test_service_name_of_1x() -> None:
    """A tracer with a service name sets a provider up, to which the application adds."""
    done = python(
        """
        from dotflow import Config, DotFlow, action
        from dotflow_otel import TracerOpenTelemetry
        from opentelemetry import trace
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        @action
        def ok(): pass

        config = Config(tracer=TracerOpenTelemetry(service_name="billing"))
        exporter = InMemorySpanExporter()
        trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(exporter))
        flow = DotFlow(config=config)
        flow.task.add(ok)
        flow.start()
        for span in exporter.get_finished_spans():
            print(span.name, span.resource.attributes["service.name"], sep="|")
        """,
    )
    assert done.stdout.splitlines()[-2:] == ["task ok|billing", "workflow workflow|billing"]


def test_constructors_set_nothing() -> None:
    """Without a service name no import and no constructor touches OpenTelemetry's globals."""
    done = python(
        """
        from dotflow import Config
        from dotflow_otel import LogStructlog, MetricsPrometheus, TracerOpenTelemetry, observe
        Config(tracer=TracerOpenTelemetry(), metrics=MetricsPrometheus(), log=LogStructlog())
        import structlog
        from opentelemetry import trace
        print(type(trace.get_tracer_provider()).__name__, structlog.is_configured())
        """,
    )
    assert done.stdout.split() == ["ProxyTracerProvider", "False"]


def test_observe_takes_other_providers(tmp_path: Path) -> None:
    """`observe` passes other slots on, and ours can be replaced."""
    done = python(
        """
        import os
        from dotflow.providers import LogDefault, StorageFile
        from dotflow_otel import observe
        storage, log = StorageFile(path=os.environ["FOLDER"]), LogDefault()
        config = observe(storage=storage, log=log)
        print(config.storage is storage, config.log is log)
        print(type(config.tracer).__name__, type(config.metrics).__name__)
        """,
        OTEL_TRACES_EXPORTER="none",
        FOLDER=str(tmp_path),
    )
    expected = ["True", "True", "TracerOpenTelemetry", "MetricsPrometheus"]
    assert done.stdout.split() == expected


def test_bounded_call_in_a_forked_child() -> None:
    """A forked child, which has none of its parent's threads, makes the call as well."""
    done = python(
        """
        import os
        from dotflow_otel._process import TimedCall
        bounded = TimedCall(lambda: os.write(1, b"called "), "test")
        child = os.fork()
        if not child:
            os._exit(0 if bounded.call(10) else 1)
        print(os.waitpid(child, 0)[1], bounded.call(10))
        """,
    )
    assert sorted(done.stdout.split()) == ["0", "True", "called", "called"]


def test_a_call_that_raises(caplog: pytest.LogCaptureFixture) -> None:
    """A call that raises has ended, and is logged."""
    assert TimedCall(lambda: 1 / 0, "test").call(10)
    assert "ZeroDivisionError" in caplog.text


def test_a_misspelt_argument() -> None:
    """An argument that `observe` does not take is named, with the one that was meant."""
    with pytest.raises(TypeError) as raised:
        observe(service="billing")  # type: ignore[call-arg]
    assert str(raised.value) == "observe() takes no argument 'service': is 'service_name' meant?"
