"""What collectors answer to OTLP over HTTP: nothing is taken for delivered that is not."""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult

from dotflow_otel._process import DropCounter
from dotflow_otel.sdk.batching import Account
from dotflow_otel.sdk.exports import exporting
from dotflow_otel.sdk.otlp_session import AnswerRefused, OtlpSession
from dotflow_otel.sdk.span_pipeline import CountingSpanExporter
from dotflow_otel.sdk.variables import LOGS, METRICS, TRACES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.sdk.trace import ReadableSpan

TOKEN = "s3cr3t"  # noqa: S105 - of this test


class Answer(NamedTuple):
    """What a collector answers."""

    status: int = 200
    body: bytes = b""
    kind: str = "application/x-protobuf"
    headers: tuple[tuple[str, str], ...] = ()


class Collector(ThreadingHTTPServer):
    """Answers each request with the next of some answers, and then with the last of them."""

    daemon_threads = True

    def __init__(self, *answers: Answer) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers = list(answers)
        self.asked: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append((self.path, self.headers["x-token"]))
        answers = self.server.answers
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        self.send_response(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    do_GET = do_POST  # noqa: N815 - as redirects are followed

    def log_message(self, *args: Any) -> None:
        pass


def partial(rejected: int, message: str = "") -> bytes:
    """Return an answer that tells of spans that were rejected."""
    made = ExportTraceServiceResponse()
    made.partial_success.rejected_spans = rejected
    made.partial_success.error_message = message
    return made.SerializeToString()


def spans(count: int) -> list[ReadableSpan]:
    """Return spans that have ended."""
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("test")
    made: list[Any] = [tracer.start_span(str(number)) for number in range(count)]
    for span in made:
        span.end()
    return made


@pytest.fixture
def other() -> Iterator[Collector]:
    """Start a server of somebody else's."""
    with Collector(Answer()) as server:
        yield server


def sent_to(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, int]:
    """Export five spans; return the result and how many count as dropped."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"x-token={TOKEN}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "5")
    drops = DropCounter()
    (exporter,) = TRACES.exporters(["otlp"])
    counting = CountingSpanExporter(exporter, Account("traces", drops=drops))
    result = SpanExportResult.FAILURE
    # Older exporters, as of OpenTelemetry 1.38, let errors of a session pass.
    with suppress(AnswerRefused):
        result = counting.export(spans(5))
    counting.shutdown()
    return result, drops.total("traces")


@pytest.mark.parametrize(
    ("answer", "dropped"),
    [
        (Answer(), 0),
        (Answer(body=partial(0)), 0),
        (Answer(body=partial(2, "too old")), 2),
        (Answer(body=partial(99)), 5),
        (Answer(body=b"{}", kind="application/json"), 0),
        (
            Answer(
                body=b'{"partialSuccess": {"rejectedSpans": "3", "errorMessage": "no"}}',
                kind="application/json; charset=utf-8",
            ),
            3,
        ),
        (Answer(body=b"<html>It works!</html>", kind="text/html"), 5),
        (Answer(body=b"\xff\xff\xff\xff"), 5),
        (Answer(body=b"[1]", kind="application/json"), 5),
        (Answer(body=b"{", kind="application/json"), 5),
        (Answer(400), 5),
        (Answer(401), 5),
        (Answer(404), 5),
    ],
)
def test_answers(answer: Answer, dropped: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is rejected, and all that got no answer of OTLP, counts as dropped."""
    with Collector(answer) as collector:
        result, counted = sent_to(collector, monkeypatch)
        assert counted == dropped
        delivered = answer.status == 200 and (dropped < 5 or answer.body == partial(99))
        assert result is SpanExportResult[("FAILURE", "SUCCESS")[delivered]]
        assert collector.asked == [("/v1/traces", TOKEN)]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects(
    status: int,
    other: Collector,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A redirect is not followed: whoever it names gets neither spans nor tokens."""
    headers = (("Location", f"{other.url}/v1/traces"),)
    with Collector(Answer(status, headers=headers)) as collector:
        result, dropped = sent_to(collector, monkeypatch)
    assert (result, dropped) == (SpanExportResult.FAILURE, 5)
    assert other.asked == []
    assert TOKEN not in caplog.text


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is asked to come back later does, and what the second answer says counts."""
    later = Answer(status, headers=(("Retry-After", "0"),))
    with Collector(later, Answer(body=partial(1))) as collector:
        result, dropped = sent_to(collector, monkeypatch)
        assert (result, dropped) == (SpanExportResult.SUCCESS, 1)
        assert len(collector.asked) == 2


def test_a_reason_is_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Why a collector rejects items is logged, on one line, and the same reason once."""
    old = Answer(body=partial(1, "too\nold"))
    with Collector(old, old, Answer(body=partial(2, "quota"))) as server:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.url)
        (exporter,) = TRACES.exporters(["otlp"])
        counting = CountingSpanExporter(exporter, Account("traces", drops=DropCounter()))
        with caplog.at_level(logging.WARNING, "dotflow_otel"):
            for _ in range(4):
                counting.export(spans(2))
        counting.shutdown()
    assert [each.getMessage() for each in caplog.records if each.name == "dotflow_otel"] == [
        "the collector has rejected 1 items: 'too\\nold'",
        "the collector has rejected 2 items: 'quota'",
    ]


def test_other_signals() -> None:
    """Answers to log records and metrics are read in the same way."""
    made = ExportLogsServiceResponse()
    made.partial_success.rejected_log_records = 4
    body = made.SerializeToString()
    with Collector(Answer(body=body)) as server:
        for name in (LOGS.name, METRICS.name):
            with exporting() as export, OtlpSession(name) as session:
                session.post(server.url, data=b"")
            assert export.rejected == 4
