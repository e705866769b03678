"""Which exporters the standard variables ask for."""

from __future__ import annotations

import logging
import os
import socket
from typing import TYPE_CHECKING

import pytest
from log_records import own_records
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as Grpc
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as Http
from opentelemetry.sdk.trace.export import ConsoleSpanExporter

from dotflow_otel.sdk import variables
from dotflow_otel.sdk.variables import span_exporters

if TYPE_CHECKING:
    from collections.abc import Iterator

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
EXPORTER = "OTEL_TRACES_EXPORTER"
PROTOCOL = "OTEL_EXPORTER_OTLP_PROTOCOL"
TRACES_PROTOCOL = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"
URL = "http://127.0.0.1:1"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away what the environment and the machine would tell."""
    for name in list(os.environ):
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)
    monkeypatch.setattr(variables, "DEFAULT_COLLECTOR", ("127.0.0.1", 1))


@pytest.fixture
def listener() -> Iterator[tuple[str, int]]:
    """Return the address of something that listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()


def kinds() -> list[type]:
    """Return the classes of the exporters, and end those."""
    made = list(span_exporters())
    for exporter in made:
        exporter.shutdown()
    return [type(exporter) for exporter in made]


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, []),
        ({ENDPOINT: URL}, [Http]),
        ({ENDPOINT: URL, PROTOCOL: "http/protobuf"}, [Http]),
        ({ENDPOINT: URL, PROTOCOL: "grpc"}, [Grpc]),
        ({ENDPOINT: URL, PROTOCOL: "grpc", TRACES_PROTOCOL: "http/protobuf"}, [Http]),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{URL}/v1/traces"}, [Http]),
        ({EXPORTER: "otlp"}, [Http]),
        ({EXPORTER: "otlp_proto_grpc"}, [Grpc]),
        ({EXPORTER: "console, otlp"}, [ConsoleSpanExporter, Http]),
        ({EXPORTER: "none", ENDPOINT: URL}, []),
    ],
)
def test_variables(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: list[type]
) -> None:
    """The variables tell the exporters and their protocol; HTTP unless told otherwise."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert kinds() == expected


def test_a_collector_on_this_machine(
    monkeypatch: pytest.MonkeyPatch, listener: tuple[str, int]
) -> None:
    """Where nothing is told, spans go to a collector that listens where OTLP goes by default."""
    monkeypatch.setattr(variables, "DEFAULT_COLLECTOR", listener)
    assert kinds() == [Http]


@pytest.mark.parametrize(
    "variables",
    [{EXPORTER: "nonsense"}, {ENDPOINT: URL, PROTOCOL: "http/json"}],
)
def test_what_cannot_be_made(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    variables: dict[str, str],
) -> None:
    """An exporter or protocol that is not there is left out, with a warning that names it."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with caplog.at_level(logging.WARNING, "dotflow_otel"):
        assert kinds() == []
    (record,) = own_records(caplog)
    assert record.exc_info is not None
    assert next(reversed(variables.values())) in str(record.exc_info[1])
