"""What is recorded in a worker, one part at a time."""

from __future__ import annotations

import enum
import logging
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from held_locks import holding
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import (
    Link,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
)

from dotflow_otel._process import for_each
from dotflow_otel.plain import to_plain
from dotflow_otel.relay.buffers import BoundedBuffer, BufferRegistry
from dotflow_otel.relay.handover import handover_of
from dotflow_otel.relay.log_entry import RecordEntry
from dotflow_otel.relay.log_relay import LogBuffer, LogRelay
from dotflow_otel.relay.span_relay import Relay, SpanBuffer
from dotflow_otel.spans.factory import SpanFactory
from dotflow_otel.spans.record import record_of, scope_of

if TYPE_CHECKING:
    from pathlib import Path

OWNER = (1, b"elsewhere")


class Colour(enum.StrEnum):
    RED = "red"

    def __str__(self) -> str:
        return "not what it is"


class Nameless:
    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, 1),
        (b"x", b"x"),
        (None, None),
        (Colour.RED, "red"),
        ([1, ({"a": {2}},)], [1, ({"a": "{2}"},)]),
        (range(10**9), "range(0, 1000000000)"),
        (bytearray(b"ab"), "bytearray(b'ab')"),
        (Nameless(), "<Nameless without a text>"),
    ],
)
def test_plain(value: object, expected: object) -> None:
    """What is not plain becomes its text, inside of lists and dictionaries as well."""
    assert to_plain(value) == expected
    assert type(to_plain(value)) is type(expected)


def test_a_span_comes_back_as_it_was() -> None:
    """A span that was recorded and handed over exports as the one that was made."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("lib", "1.2", "https://example.org/schema", {"a": 1})
    state = TraceState([("vendor", "1")])
    remote = SpanContext(5, 6, is_remote=True, trace_flags=TraceFlags(1), trace_state=state)
    parent = trace.set_span_in_context(trace.NonRecordingSpan(remote))
    links = [Link(SpanContext(7, 8, is_remote=False), {"why": "batch"})]
    span = tracer.start_span("select", parent, SpanKind.CLIENT, {"x": [1.5, 2.5]}, links)
    span.add_event("sent", {"bytes": 12}, 17)
    span.set_status(Status(StatusCode.ERROR, "broken"))
    span.end()
    (made,) = exporter.get_finished_spans()
    exporter.clear()
    record = record_of(made, scope_of(made))
    handover_of(SpanFactory(provider.get_tracer("dotflow_otel"))).hand_over(
        [record], trace.Context()
    )
    (handed,) = exporter.get_finished_spans()
    assert handed.to_json() == made.to_json()
    assert handed.instrumentation_scope == made.instrumentation_scope
    assert handed.resource is made.resource
    assert handed.parent == remote


def test_relay_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spans beyond what there is room for are counted, and what was taken is forgotten."""
    providers: list[TracerProvider] = []
    # The tests' own global provider stays what it is.
    monkeypatch.setattr(trace, "get_tracer_provider", trace.ProxyTracerProvider)
    monkeypatch.setattr(trace, "set_tracer_provider", providers.append)
    relay = Relay(BufferRegistry(most=2))
    buffer = SpanBuffer(OWNER, 1, sampled=True)
    relay.begin(buffer, 7)
    buffer.enter()
    tracer = providers[0].get_tracer("lib")
    for _ in range(5):
        tracer.start_span("select").end()
    taken = relay.end(buffer)
    assert ([record.name for record in taken.spans], taken.dropped) == (["select"] * 2, 3)
    assert relay.end(buffer) == ((), 0, ())


def test_log_relay_is_bounded() -> None:
    """So are log records."""
    buffers: BufferRegistry[Any] = BufferRegistry(most=1)
    relay = LogRelay(buffers)
    buffer = LogBuffer(OWNER, b"")
    buffers.open(buffer)
    record = logging.makeLogRecord({"msg": "hello"})
    for _ in range(3):
        assert relay.keep(RecordEntry.of(record))
    taken = relay.end(buffer)
    assert taken is not None
    assert (len(taken.items), taken.dropped) == (1, 2)
    assert relay.end(buffer) is None


def test_backlog_is_bounded_in_bytes() -> None:
    """What waits is bounded in size as well; a small item still fits after a large one."""
    bounded: BoundedBuffer[Any] = BoundedBuffer(most_bytes=1000)
    for item in ("x" * 600, {"a": ["y" * 600]}, ("z",)):
        bounded.put(item)
    assert bounded.take() == (("x" * 600, ("z",)), 1)
    bounded.put("x" * 600)
    assert bounded.take().dropped == 0


def test_backlog_is_taken_while_something_comes() -> None:
    """What comes while it is taken, in the same thread, as from a finalizer, does not hang."""
    bounded: BoundedBuffer[str] = BoundedBuffer()

    def put_inside() -> None:
        with holding(bounded):
            bounded.put("inside")

    thread = threading.Thread(target=put_inside, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    assert bounded.take().items == ("inside",)


_IN_A_WORKER = """
import os, sys
from opentelemetry import trace
{before}
from dotflow_otel.relay.span_relay import SpanBuffer
from dotflow_otel.relay.span_relay import Relay
relay, buffer = Relay(), SpanBuffer((1, b"elsewhere"), 1, sampled=True)
relay.begin(buffer, 7)
buffer.enter()
trace.get_tracer("lib").start_span("select").end()
print(len(relay.end(buffer).spans), type(trace.get_tracer_provider()).__module__)
"""


@pytest.mark.parametrize(
    ("before", "environment", "printed"),
    [
        ("", {}, "1 opentelemetry.sdk.trace"),
        ("", {"OTEL_PYTHON_TRACER_PROVIDER": "sdk_tracer_provider"}, "1 opentelemetry.sdk.trace"),
        ("trace.set_tracer_provider(trace.NoOpTracerProvider())", {}, "0 opentelemetry.trace"),
    ],
)
def test_global_provider(before: str, environment: dict[str, str], printed: str) -> None:
    """The relay is the global provider where there is none; one that is set stays."""
    done = subprocess.run(
        [sys.executable, "-c", _IN_A_WORKER.format(before=before)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == printed


def test_for_each() -> None:
    """Every item has its turn; the first error is raised in the end."""
    seen: list[int] = []

    def divide(number: int) -> None:
        seen.append(number)
        if number % 2:
            raise ValueError(number)

    with pytest.raises(ValueError, match=r"^1$"):
        for_each(divide, range(5))
    assert seen == [0, 1, 2, 3, 4]


def test_logging_that_is_configured_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the root logger has a handler, records are left to that."""
    handler = logging.NullHandler()
    monkeypatch.setattr(logging.root, "handlers", [handler])
    import structlog

    monkeypatch.setattr(structlog, "is_configured", lambda: True)
    relay = LogRelay()
    buffer = relay.begin(OWNER, b"")
    assert logging.root.handlers == [handler]
    assert relay.end(buffer) is None


_HOLDS_A_TRACER = """
from opentelemetry import trace
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from dotflow import Config, DotFlow, action
from dotflow.providers import LogDefault
from dotflow_otel import TracerOpenTelemetry

tracer = trace.get_tracer("mine")
exporter = InMemorySpanExporter()
trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(exporter))

@action
def held():
    with tracer.start_as_current_span("select"):
        return 1

flow = DotFlow(config=Config(tracer=TracerOpenTelemetry(), log=LogDefault(level="ERROR")), name="x")
flow.task.add(held)
flow.start(mode="parallel")
print(sorted(span.name for span in exporter.get_finished_spans()))
"""


def test_a_provider_that_a_variable_names(tmp_path: Path) -> None:
    """Where a variable has the API make a provider, spans of workers come back all the same."""
    (tmp_path / "program.py").write_text(_HOLDS_A_TRACER)
    done = subprocess.run(
        [sys.executable, "program.py"],
        cwd=tmp_path,
        env={**os.environ, "OTEL_PYTHON_TRACER_PROVIDER": "sdk_tracer_provider"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.strip() == "['attempt', 'select', 'task held', 'workflow x']"
