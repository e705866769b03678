"""Backends of telemetry that are down, silent or broken: runs go on, exits are in time."""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import pytest
from backends.ports import closed_port
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider

from dotflow import Config, DotFlow, action
from dotflow_otel import LogStructlog, TracerOpenTelemetry

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PROTOCOLS = ("http/protobuf", "grpc")
BOUND = 0.5
# An exit takes the bound and what the interpreter takes besides, on a machine that is busy;
# the SDK alone would take 10 s and more.
IN_TIME = BOUND + 8.0
TASKS = 30

RUN = f"""
import logging, signal, sys, time
from dotflow import DotFlow, action
from dotflow_otel import observe

@action
def step(previous_context):
    return (previous_context.storage or 0) + 1

@action
def waits():
    print("waiting", flush=True)
    # In many short calls: Python handles a signal that comes just before one after it.
    for _ in range(6000):
        time.sleep(0.01)

def run(*steps, **options):
    config = observe("billing", level="ERROR", timeout={BOUND}, **options)
    flow = DotFlow(config=config, name="etl")
    flow.task.add(list(steps))
    flow.start()
    return flow.result_storage()
"""
ANSWERS = {
    "closes": b"",
    "garbage": b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n\xff\xfe{[%\x00!",
    "unavailable": b"HTTP/1.1 503 No\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n",
    "refuses": b"HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n",
    "nonsense": b"\x00\x01\x02 this is no HTTP at all\r\n\r\n",
}


class Listener:
    """Answers whatever comes with the same bytes, or not at all."""

    def __init__(self, answer: bytes | None) -> None:
        self._answer = answer
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._stop, self._stopped = socket.socketpair()
        self.port: int = self._socket.getsockname()[1]
        self._thread = Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        kept: list[socket.socket] = []
        while True:
            ready, _, _ = select.select([self._socket, self._stopped], [], [])
            if self._stopped in ready:
                break
            connection, _ = self._socket.accept()
            if self._answer is None:
                kept.append(connection)
            else:
                Thread(target=self._reply, args=(connection,), daemon=True).start()
        for connection in kept:
            connection.close()

    def _reply(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(5)
            try:
                if self._answer:
                    _read_request(connection)
                    connection.sendall(self._answer)
            except OSError:
                pass

    def close(self) -> None:
        """Stop listening."""
        self._stop.close()
        self._thread.join()
        self._stopped.close()
        self._socket.close()


def _read_request(connection: socket.socket) -> None:
    received = b""
    while True:
        received += connection.recv(65536)
        head, found, body = received.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        if found and (length is None or len(body) >= int(length[1])):
            return


@pytest.fixture
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    """Return the port of a backend that is `absent`, `silent` or has a wrong answer."""
    kind = request.param
    if kind == "absent":
        with closed_port() as address:
            yield int(address.rpartition(":")[2])
        return
    listener = Listener(ANSWERS.get(kind))
    yield listener.port
    listener.close()


def child(source: str, port: int, protocol: str, **variables: str) -> subprocess.Popen[str]:
    """Start a program whose telemetry goes to a port."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    return subprocess.Popen(
        [sys.executable, "-c", RUN + textwrap.dedent(source)],
        env={
            **kept,
            "PYTHONPATH": str(ROOT),
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            **variables,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[list[str], str, float]:
    """Wait for a program; give its lines, its errors and the seconds since the last line.

    The program's last line is the time at which it was written.
    """
    out, err = process.communicate(timeout=60)
    lines = out.splitlines()
    return lines[:-1], err, time.time() - float(lines[-1])


def dropped(errors: str, items: str = "span") -> int:
    """Return how many items the lines about drops tell of."""
    return sum(map(int, re.findall(rf"(\d+) {items}", errors)))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "port",
    ["absent", "silent", "closes", "unavailable", "refuses", "nonsense"],
    indirect=True,
)
def test_a_backend_that_takes_nothing(port: int, protocol: str) -> None:
    """Results are right, the exit is in time, and every span is told of as dropped."""
    process = child(
        f"print(run(*[step] * {TASKS})[-1])\nprint(time.time())",
        port,
        protocol,
    )
    lines, errors, exit_seconds = ended(process)
    assert process.returncode == 0, errors
    assert lines == [str(TASKS)]
    assert exit_seconds < IN_TIME
    assert dropped(errors) == TASKS + 1


@pytest.mark.parametrize("port", ["garbage"], indirect=True)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_backend_that_accepts_with_garbage(port: int, protocol: str) -> None:
    """A 200 with what is no answer of OTLP is told of as dropped."""
    process = child(f"run(*[step] * {TASKS})\nprint(time.time())", port, protocol)
    _, errors, exit_seconds = ended(process)
    assert process.returncode == 0, errors
    assert exit_seconds < IN_TIME
    assert dropped(errors) == TASKS + 1


@pytest.mark.parametrize(
    ("port", "protocol"), [("absent", "http/protobuf"), ("silent", "grpc")], indirect=["port"]
)
def test_all_signals_share_the_bound(port: int, protocol: str) -> None:
    """The exit takes the bound once, not once an exporter, and tells of each signal's drops."""
    process = child(
        """
        from dotflow_otel import MetricsPrometheus, setup
        setup("billing", timeout=3)
        run(step, step, metrics=MetricsPrometheus())
        logging.getLogger("mine").error("one")
        from opentelemetry import metrics
        metrics.get_meter("t").create_counter("c").add(1)
        print(time.time())
        """,
        port,
        protocol,
        OTEL_LOGS_EXPORTER="otlp",
        OTEL_METRICS_EXPORTER="otlp",
        OTEL_TRACES_EXPORTER="otlp,otlp",
    )
    _, errors, exit_seconds = ended(process)
    assert process.returncode == 0, errors
    # Three exporters one after another would take 9 s.
    assert exit_seconds < 3 + 5
    # The other record is the warning that the timeout of `run` comes too late.
    assert (dropped(errors), dropped(errors, "log record")) == (2 * 3, 2)
    assert dropped(errors, "data point") >= 1


@pytest.mark.parametrize("port", ["silent"], indirect=True)
def test_all_that_end_at_exit_share_the_bound(port: int) -> None:
    """A collector, a Pushgateway and a reader's backend take the bound once, not one by one."""
    process = child(
        f"""
        from dotflow_otel import MetricsOpenTelemetry, MetricsPrometheus, PushGateway, setup
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
        setup("billing", timeout=3)
        run(step, metrics=MetricsOpenTelemetry(
            PeriodicExportingMetricReader(OTLPMetricExporter()), timeout=3
        ))
        gateway = PushGateway("127.0.0.1:{port}", "nightly", timeout=3)
        run(step, metrics=MetricsPrometheus(push_to=gateway))
        print(time.time())
        """,
        port,
        "http/protobuf",
    )
    _, errors, exit_seconds = ended(process)
    assert process.returncode == 0, errors
    # The three one after another would take 9 s.
    assert exit_seconds < 3 + 5
    for line in (
        "telemetry was not delivered within 3 s and is dropped",
        "metrics were not delivered within 3 s; the rest is dropped",
        "The metrics of job 'nightly' ",
    ):
        assert line in errors
    assert dropped(errors) == 4


@pytest.mark.parametrize("port", ["silent"], indirect=True)
def test_timeout_of_an_export(port: int) -> None:
    """`OTEL_EXPORTER_OTLP_TIMEOUT` ends an export that hangs, before the exit's bound does."""
    # Older exporters for gRPC begin such an export again, for a minute.
    process = child(
        """
        from dotflow_otel import setup
        setup("billing", timeout=20)
        run(step, step)
        print(time.time())
        """,
        port,
        "http/protobuf",
        OTEL_EXPORTER_OTLP_TIMEOUT="1",
    )
    _, errors, exit_seconds = ended(process)
    assert process.returncode == 0, errors
    assert exit_seconds < 1 + 10
    assert "telemetry was dropped: 3 spans" in errors


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("endpoint", ["nonsense", "http://", "http://no.such.host.invalid:4318"])
def test_an_endpoint_that_is_none(endpoint: str, protocol: str) -> None:
    """An address that leads nowhere costs the spans, and nothing else."""
    process = child(
        "print(run(step, step)[-1])\nprint(time.time())",
        0,
        protocol,
        OTEL_EXPORTER_OTLP_ENDPOINT=endpoint,
    )
    lines, errors, exit_seconds = ended(process)
    assert (process.returncode, lines) == (0, ["2"]), errors
    assert exit_seconds < IN_TIME
    assert dropped(errors) == 3 or "spans are not exported to 'otlp'" in errors


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("port", ["silent"], indirect=True)
def test_terminated_during_a_step(port: int, protocol: str) -> None:
    """A program that exits on SIGTERM ends its run's spans, and exits in time."""
    process = child(
        """
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
        run(step, waits, step)
        """,
        port,
        protocol,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    begun = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 7, errors
    assert time.monotonic() - begun < IN_TIME
    assert dropped(errors) == 3


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("port", ["silent"], indirect=True)
def test_terminated_at_once(port: int, protocol: str) -> None:
    """SIGTERM without a handler ends a program as ever: no thread of ours holds it."""
    process = child("run(step)\nrun(waits)", port, protocol)
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGTERM


@pytest.mark.parametrize("port", ["silent"], indirect=True)
def test_a_full_queue_holds_no_run_up(port: int) -> None:
    """Ten times more spans than are queued: the run ends before the backend answers."""
    process = child(
        """
        print(run(*[step] * 1000)[-1])
        print(time.time())
        """,
        port,
        "http/protobuf",
        OTEL_BSP_MAX_QUEUE_SIZE="100",
    )
    lines, errors, exit_seconds = ended(process)
    assert lines == ["1000"]
    assert exit_seconds < IN_TIME
    assert dropped(errors) == 1001
    told = [line for line in errors.splitlines() if "telemetry was" in line]
    assert [line.split(":")[0] for line in told] == [
        "telemetry was dropped",
        f"telemetry was not delivered within {BOUND} s and is dropped",
    ]


def test_a_processor_that_raises() -> None:
    """A span processor of the application's own that raises changes no result."""

    class Raising(SpanProcessor):
        def on_start(self, span: object, parent_context: object = None) -> None:
            raise RuntimeError("start")

        def on_end(self, span: ReadableSpan) -> None:
            raise RuntimeError("end")

    @action
    def ok() -> int:
        return 1

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(Raising())
    tracer = TracerOpenTelemetry(tracer_provider=provider)
    flow = DotFlow(
        config=Config(tracer=tracer, log=LogStructlog("ERROR", output="file", path=os.devnull))
    )
    flow.task.add([ok] * 3)
    flow.start()
    assert flow.result_storage() == [1, 1, 1]
    assert [task.status for task in flow.result_task()] == ["Completed"] * 3
