"""Receivers of OTLP, and programs that send to them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from needed import tool
from wire.receivers import ElasticReceiver, OwnReceiver
from wire.sender import Wire
from wire.signals import Signals

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
MODULES = ROOT / "build" / "tools" / "node_modules"
PROTOCOLS = ("grpc", "http/protobuf")
WIRES = [f"{receiver}-{protocol}" for receiver in ("elastic", "own") for protocol in PROTOCOLS]


@pytest.fixture(scope="session")
def own_receiver() -> Iterator[OwnReceiver]:
    """Return a receiver in this process."""
    with OwnReceiver() as receiver:
        yield receiver


@pytest.fixture(scope="session")
def elastic_receiver() -> Iterator[ElasticReceiver]:
    """Return a receiver that was not written here."""
    server = MODULES / "@elastic" / "mockotlpserver"
    node = tool("Node.js", shutil.which("node"), "see https://nodejs.org")
    tool("@elastic/mockotlpserver", server if server.is_dir() else None, "run `make tools`")
    with ElasticReceiver(node, str(MODULES)) as receiver:
        yield receiver


@pytest.fixture(scope="session", params=WIRES)
def wire(request: pytest.FixtureRequest) -> Wire:
    """Return each receiver with each protocol in turn."""
    receiver, _, protocol = request.param.partition("-")
    return Wire(request.getfixturevalue(f"{receiver}_receiver"), protocol)


@pytest.fixture(scope="session", params=["sequential", "parallel"])
def signals(wire: Wire, request: pytest.FixtureRequest) -> Signals:
    """Run a program that sends all signals, in this process and in workers."""
    # Metrics are sent often, so that there are several requests of them.
    variables = {
        "OTEL_METRICS_EXPORTER": "otlp",
        "OTEL_LOGS_EXPORTER": "otlp",
        "OTEL_METRIC_EXPORT_INTERVAL": "100",
    }
    return Signals.of(request.param, wire.run("signals.py", request.param, **variables))


@pytest.fixture(params=PROTOCOLS)
def own(request: pytest.FixtureRequest, own_receiver: OwnReceiver) -> Iterator[Wire]:
    """Return our receiver, which can be told how to behave, with each protocol."""
    yield Wire(own_receiver, request.param)
    own_receiver.conduct(request.param).heal()
    own_receiver.take()
